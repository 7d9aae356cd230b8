"""Images of a dataset: a contact sheet of clips, and charts of its classes, lengths and frame sizes.

Letters in names: T frames, H rows, W columns, C channels.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from i3d.errors import printable
from i3d.utils.atomic_files import replacing
from i3d.utils.fonts import OTHER_SCRIPTS
from i3d.utils.outputs import PNG_METADATA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]

DPI: Final = 100
TILE: Final = 112  # about the side of a frame on the sheet; half of 224, twice 56
GAP: Final = 2  # pixels between the frames of a strip
MIN_STRIP: Final = 682  # pixels of a column of the sheet: its caption needs room
ONE_COLUMN: Final = 4  # so many strips stand below each other, more in two columns
MAX_NAME: Final = 210  # pixels of a class beside its bar
BAR_HEIGHT: Final = 20  # pixels from bar to bar
INK, SOFT, BAR, GRID, BOX = "#1f2933", "#66727f", "#4a7bab", "#e3e7eb", "#ebedef"
WARN, MARK = "#b3261e", "#b45f06"


def film_strip(frames_THWC: Pixels) -> Pixels:
    """Square RGB frames (T, S, S, 3) side by side: (H, W, 3).

    Small frames are enlarged by a whole factor, large ones reduced by area.
    """
    tiles = [_tile(frame_HWC) for frame_HWC in frames_THWC]
    gap_HWC = np.full((len(tiles[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([part for tile in tiles for part in (gap_HWC, tile)][1:], axis=1)


def tile_side(size: int) -> int:
    """The side on the sheet of frames of `size` pixels: 224 -> 112, 56 -> 112, 64 -> 128, 128 -> 128."""
    return max(1, round(TILE / size)) * size if size <= 1.25 * TILE else TILE


def _tile(frame_HWC: Pixels) -> Pixels:
    size, side = frame_HWC.shape[0], tile_side(frame_HWC.shape[0])
    if side >= size:
        return frame_HWC.repeat(side // size, axis=0).repeat(side // size, axis=1)
    smaller: Pixels = cv2.resize(frame_HWC, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return smaller


@contextmanager
def open_figure(
    path: Path, width: int, height: int, *, layout: Literal["constrained", "compressed"] | None = "constrained"
) -> Iterator[Figure]:
    """A figure of so many pixels, written to `path` (PNG, whole or not at all) when the block ends.

    `layout`: matplotlib's layout engine; "compressed" is for axes of a fixed aspect, None for a fixed grid. The figure
    does not depend on a matplotlibrc, and `$` in a name starts no formula.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = None
    if layout is not None:  # lengths in inches
        engine = ConstrainedLayoutEngine(w_pad=0.28, h_pad=0.14, wspace=0.02, compress=layout == "compressed")
    installed = set(fontManager.get_font_names())
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from (font|current font)")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in installed)],
                "font.size": 8.5,
                "text.color": INK,
                "text.parse_math": False,
                "axes.titlesize": 10.5,
                "axes.titleweight": "bold",
                "axes.titlelocation": "left",
                "axes.labelcolor": SOFT,
                "xtick.labelcolor": INK,
                "ytick.labelcolor": INK,
            }
        )
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white", layout=engine)
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI, metadata=PNG_METADATA)


@contextmanager
def contact_sheet(
    path: Path, num_clips: int, *, title: str, lines: Sequence[str], size: int, legend_HWC: Pixels | None = None
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with axes for the strips of clips (`draw_clip`), row by row, written to `path` (.png) at the end.

    `size` is that of the frames; `legend_HWC`: a small image in the top right corner.
    The figure is as large as its strips need, so that no frame is resampled: the pixels are those of training.
    """
    side, columns = tile_side(size), 1 if num_clips <= ONE_COLUMN else 2
    strip_width, rows = max(6 * (side + GAP) - GAP, MIN_STRIP), -(-num_clips // columns)
    margin, gutter, caption, line_height = 28, 36, 60, 18
    width = 2 * margin + columns * (strip_width + gutter) - gutter
    small_print = [part for line in lines for part in textwrap.wrap(line, (width - 2 * margin - 90) // 6)]
    top = 116 + line_height * len(small_print)
    height = top + rows * (side + caption) - caption + margin
    with open_figure(path, width, height, layout=None) as figure:
        figure.text(margin / width, 1 - 24 / height, title, size=15, weight="bold", va="top")
        for i, line in enumerate(small_print):
            figure.text(margin / width, 1 - (58 + line_height * i) / height, line, color=SOFT, va="top")
        if legend_HWC is not None:
            figure.figimage(legend_HWC, width - margin - legend_HWC.shape[1], height - 24 - legend_HWC.shape[0])
        edges = {"left": margin / width, "right": 1 - margin / width, "top": 1 - top / height}
        edges["bottom"] = margin / height
        spaces = {"wspace": gutter / strip_width, "hspace": caption / side}
        grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={**edges, **spaces})
        for axes in grid.flat[num_clips:]:
            axes.set_axis_off()
        yield figure, list(grid.flat[:num_clips])


def draw_clip(
    figure: Figure, axes: Axes, label: str, file: str, facts: str, strip_HWC: Pixels | None, reason: str
) -> None:
    """A strip, or the reason why there is none, and above it the label, the file and what is known of it."""
    at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    width = axes.bbox.width
    right = axes.annotate(facts, (1, 1), (0, 5), size=8, color=SOFT, ha="right", **at)
    room = width - right.get_window_extent().width - 16
    axes.annotate(fit(figure, file, room, size=8), (0, 1), (0, 5), size=8, color=SOFT, **at)
    bold: dict[str, Any] = {"size": 9.5, "weight": "bold"}
    axes.annotate(fit(figure, label, width, **bold), (0, 1), (0, 18), **bold, **at)
    axes.set(xticks=[], yticks=[], facecolor=BOX)
    axes.spines[:].set_visible(False)
    if strip_HWC is not None:
        axes.set_axis_off()
        figure.figimage(strip_HWC, *axes.bbox.p0.round())
        return
    num_lines = int(axes.bbox.height) // 16 - 2
    words = textwrap.wrap(printable(reason), int(width / 6.8), max_lines=num_lines, placeholder=" …")
    axes.annotate("cannot be read", (0, 1), (8, -8), color=WARN, weight="bold", va="top", **at)
    axes.annotate("\n".join(words), (0, 1), (8, -21), va="top", **at)


def fit(figure: Figure, text: str, width: float, **style: Any) -> str:
    """`text` without its middle, where it would be wider than `width` pixels."""
    text = printable(text)
    ghost, length = figure.text(0, 0, text, **style), len(text)
    while length > 2 and (extent := ghost.get_window_extent().width) > width:
        length = min(length - 1, int(length * width / extent))
        ghost.set_text(f"{text[: (length + 1) // 2]}…{text[len(text) - length // 2 :]}")
    ghost.remove()
    return str(ghost.get_text())


@contextmanager
def statistics_sheet(
    path: Path, *, title: str, lines: Sequence[str], num_histograms: int, num_rows: int
) -> Iterator[tuple[Figure, list[Axes], list[Axes]]]:
    """A figure, axes for histograms, and below them axes for two bar charts of at most `num_rows` rows.

    It is written to `path` (.png) at the end.
    """
    heights = [330, 90 + BAR_HEIGHT * num_rows]  # with titles and labels of axes
    with open_figure(path, 1400, sum(heights) + 130) as figure:
        figure.suptitle(title, x=0.02, ha="left", size=15, weight="bold")
        small_print = [part for line in lines for part in textwrap.wrap(line, 210)]
        figure.supxlabel("\n".join(small_print), x=0.02, ha="left", size=8.5, color=SOFT)
        grid = figure.add_gridspec(2, 1, height_ratios=heights)
        upper, lower = (
            [figure.add_subplot(row[column]) for column in range(row.ncols)]
            for row in (grid[0].subgridspec(1, num_histograms), grid[1].subgridspec(1, 2))
        )
        yield figure, upper, lower


def draw_bars(
    figure: Figure, axes: Axes, title: str, subtitle: str, rows: Sequence[tuple[str, int | str]], *, num_rows: int
) -> None:
    """Horizontal bars with names on their left and numbers behind them; room for `num_rows` of them.

    A row with words instead of a number has no bar.
    """
    _title(axes, title, subtitle)
    counts = [count if isinstance(count, int) else 0 for _, count in rows]
    drawn = axes.barh(range(len(counts)), counts, height=0.62, color=BAR)
    numbers = [f"{count:,}" if isinstance(count, int) else count for _, count in rows]
    for label, (_, count) in zip(axes.bar_label(drawn, numbers, padding=4, size=8), rows, strict=True):
        label.set_color(WARN if count == 0 else SOFT)
    names = [fit(figure, name, MAX_NAME) for name, _ in rows]
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set(xticks=[], xlim=(0, max([*counts, 1])), ylim=(num_rows - 0.5, -0.5))
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set(color=SOFT, bounds=(-0.5, len(names) - 0.5))


def draw_histogram(
    axes: Axes, title: str, subtitle: str, values: Sequence[float], unit: str, mark: float | None, mark_label: str
) -> None:
    """Bars from 0 on, or of increasing widths where values differ much; perhaps a mark at one value."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    _title(axes, title, subtitle, above=0 if mark is None else 14)
    if not values:
        axes.set_axis_off()
        return
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.tick_params(which="both", colors=SOFT, labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=2, steps=[1, 2, 5, 10]))
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID)
    ends = [*values, *([] if mark is None else [mark])]
    if is_wide := max(ends) > 60 * min(ends) > 0:
        bins = np.geomspace(min(ends) * 0.95, max(ends) * 1.05, 31)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
    else:
        bins = np.linspace(0, max(ends) * 1.08, 31)
    axes.hist(values, bins=list(bins), color=BAR, rwidth=0.92)
    axes.set_xlim(bins[0] if is_wide else 0, bins[-1])
    axes.set_xlabel(unit)
    if mark is not None:
        axes.axvline(mark, color=MARK, linewidth=1.2, linestyle=(0, (4, 2)), label=mark_label)
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, borderaxespad=0.3, frameon=False, labelcolor=MARK
        )


def _title(axes: Axes, title: str, subtitle: str, *, above: int = 0) -> None:
    """A title, and small text below it, so many points above the axes."""
    lines = textwrap.wrap(subtitle, 76)
    axes.set_title(title, pad=8 + above + 11 * len(lines))
    offset = (0, 5 + above)
    axes.annotate("\n".join(lines), (0, 1), offset, xycoords="axes fraction", textcoords="offset points", color=SOFT)
