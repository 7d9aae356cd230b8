"""Drawing for `data.preview`: a sheet of strips of frames, and charts. Lengths are in pixels, from the top left.

Frames are put on the sheet pixel by pixel and never resampled by the renderer: what `strip` gives is what it shows.

Letters in names: T frames, H rows, W columns, C channels.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from i3d.errors import printable
from i3d.utils.atomic_files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]

DPI: Final = 100
TILE: Final = 112  # about the side of a frame on the sheet; half of 224, twice 56
GAP: Final = 2  # between the frames of a strip
MARGIN, HEADER, CAPTION, ROW_GAP, COLUMN_GAP = 28, 146, 40, 20, 36
LINE, TITLES = 18, 50  # a line of small text; title and subtitle of a chart
ONE_COLUMN: Final = 4  # so many strips stand below each other, more in two columns
MIN_WIDTH: Final = 680
MAX_NAME: Final = 230  # of a class beside its bar
INK, SOFT, BAR, GRID, BOX = "#1f2933", "#66727f", "#4a7bab", "#e3e7eb", "#ebedef"
WARN, MARK = "#b3261e", "#b45f06"
OTHER_SCRIPTS: Final = (  # looked for where DejaVu has no glyph; those that are installed
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "PingFang SC", "Hiragino Sans", "Microsoft YaHei",
    "Yu Gothic", "Malgun Gothic", "WenQuanYi Zen Hei", "Noto Sans Devanagari", "Noto Sans Thai", "Nirmala UI",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One clip on the sheet."""

    label: str
    file: str
    facts: str
    strip_HWC: Pixels | None  # None: it cannot be read
    reason: str = ""


@dataclass(frozen=True)
class Bars:
    """Rows of a bar chart; a row with words instead of a number has no bar."""

    title: str
    subtitle: str
    rows: tuple[tuple[str, int | str], ...]


@dataclass(frozen=True)
class Histogram:
    """How often values fall into which range, and perhaps a mark at one of them."""

    title: str
    subtitle: str
    values: tuple[float, ...]
    unit: str
    mark: float | None = None
    mark_label: str = ""


def strip(clip_THWC: Pixels, *, num_frames: int = 6) -> Pixels:
    """Frames spread over a clip (T, S, S, 3 or 2), first and last among them, side by side as RGB (H, W, 3).

    Small frames are enlarged a whole number of times, large ones made smaller by area.
    """
    chosen = frames_shown(len(clip_THWC), num_frames=num_frames)
    tiles = [
        _tile(frame_HWC) for frame_HWC in (flow_colours(clip_THWC) if clip_THWC.shape[-1] == 2 else clip_THWC)[chosen]
    ]
    side = tiles[0].shape[0]
    out_HWC = np.full((side, len(tiles) * (side + GAP) - GAP, 3), 255, np.uint8)
    for i, tile_HWC in enumerate(tiles):
        out_HWC[:, i * (side + GAP) : i * (side + GAP) + side] = tile_HWC
    return out_HWC


def frames_shown(clip_len: int, *, num_frames: int = 6) -> npt.NDArray[np.int64]:
    """Which frames of a clip a strip shows: 16 -> 0 3 6 9 12 15."""
    return np.unique(np.linspace(0, clip_len - 1, num_frames).round().astype(np.int64))


def flow_colours(flow_THWC: Pixels) -> Pixels:
    """Flow (..., 2), where 127.5 is no movement, as RGB: the hue is its direction, the brightness its speed.

    The fastest hundredth of the clip is as bright as can be.
    """
    xy = flow_THWC.astype(np.float32) - 127.5
    speed = np.hypot(xy[..., 0], xy[..., 1])
    degrees = np.rad2deg(np.arctan2(xy[..., 1], xy[..., 0])) % 360
    value = np.clip(speed / max(float(np.percentile(speed, 99)), 4.0), 0, 1)
    hsv = np.stack([degrees / 2, np.full_like(value, 255), value * 255], axis=-1).round().astype(np.uint8)
    hsv[..., 0] %= 180
    rgb: Pixels = cv2.cvtColor(hsv.reshape(-1, 1, 3), cv2.COLOR_HSV2RGB).reshape(hsv.shape).astype(np.uint8)
    return rgb


def tile_side(size: int) -> int:
    """The side on the sheet of frames of `size` pixels: 224 -> 112, 56 -> 112, 64 -> 128, 128 -> 128."""
    return max(1, round(TILE / size)) * size if size <= 1.25 * TILE else TILE


def place(number: int, num_clips: int, *, size: int) -> tuple[int, int]:
    """(left, top) of the strip of clip `number`. Two columns are filled row by row."""
    columns = 1 if num_clips <= ONE_COLUMN else 2
    row, column = divmod(number, columns)
    side = tile_side(size)
    left = MARGIN + column * (_column_width(size) + COLUMN_GAP)
    return left, HEADER + row * (CAPTION + side + ROW_GAP) + CAPTION


def draw_sheet(
    path: Path, entries: Sequence[Entry], *, title: str, lines: Sequence[str], size: int, is_flow: bool
) -> None:
    """All strips with their captions, written to `path` (.png)."""
    side, column = tile_side(size), _column_width(size)
    left, top = place(len(entries) - 1, len(entries), size=size)
    width = MARGIN + column + (0 if len(entries) <= ONE_COLUMN else COLUMN_GAP + column) + MARGIN
    with open_page(path, width, top + side + MARGIN) as page:
        page.head(title, lines, room=width - 2 * MARGIN - (90 if is_flow else 0))
        if is_flow:
            page.image(_wheel(64), width - MARGIN - 64, 24)
        for number, entry in enumerate(entries):
            left, top = place(number, len(entries), size=size)
            facts = page.text(left + column, top - 17, entry.facts, points=8, colour=SOFT, right=True)
            page.text(left, top - 17, entry.file, points=8, colour=SOFT, room=column - facts - 16)
            page.text(left, top - 36, entry.label, points=9.5, bold=True, room=column)
            if entry.strip_HWC is not None:
                page.image(entry.strip_HWC, left, top)
                continue
            page.box(left, top, column, side)
            reason = textwrap.wrap(
                printable(entry.reason), width=int(column / 6.8), max_lines=side // 16 - 2, placeholder=" ..."
            )
            page.text(left + 12, top + 12, "cannot be read", points=8.5, bold=True, colour=WARN)
            for i, line in enumerate(reason, start=1):
                page.text(left + 12, top + 12 + 16 * i, line, points=8.5, room=column - 24)


def draw_statistics(
    path: Path, *, title: str, lines: Sequence[str], bars: Sequence[Bars], histograms: Sequence[Histogram]
) -> None:
    """Bar charts below each other, histograms beside them, written to `path` (.png)."""
    column, row, foot, axis, first = 560, 20, 36, 64, HEADER - 2 * LINE
    left_height = sum(TITLES + len(chart.rows) * row + foot for chart in bars) - foot
    spent = len(histograms) * (TITLES + LINE + axis)
    each = min(max(150, (left_height - spent) // len(histograms)), 300)
    height = first + max(left_height, spent + len(histograms) * each - axis // 3) + MARGIN
    with open_page(path, 2 * MARGIN + 2 * column + 2 * MARGIN, height) as page:
        page.head(title, lines, room=2 * column)
        top = first
        for chart in bars:
            page.bars(chart, MARGIN, top, column, len(chart.rows) * row)
            top += TITLES + len(chart.rows) * row + foot
        top = first
        for histogram in histograms:
            page.histogram(histogram, MARGIN * 3 + column, top, column, each)
            top += TITLES + LINE + each + axis


def _column_width(size: int) -> int:
    return max(6 * (tile_side(size) + GAP) - GAP, MIN_WIDTH)


def _tile(frame_HWC: Pixels) -> Pixels:
    size, side = frame_HWC.shape[0], tile_side(frame_HWC.shape[0])
    if side >= size:
        return frame_HWC.repeat(side // size, axis=0).repeat(side // size, axis=1)
    smaller: Pixels = cv2.resize(frame_HWC, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return smaller


def _wheel(side: int) -> Pixels:
    """The colours of all directions, each where it points, the faster the farther out."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    xy = np.stack([x, y], axis=-1)
    rgb_HWC = flow_colours((127.5 + 127.5 * xy.clip(-1, 1)).round().astype(np.uint8))
    rgb_HWC[np.hypot(x, y) > 1] = 255
    return rgb_HWC


@contextmanager
def open_page(path: Path, width: int, height: int) -> Iterator[Page]:
    """A page to draw on, written when the block ends. It looks the same whatever a matplotlibrc says."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from (font|current font)")
        matplotlib.rcdefaults()
        matplotlib.rcParams["font.family"] = ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in installed)]
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        page = Page(figure, FigureCanvasAgg(figure), width, height)
        yield page
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


@dataclass(frozen=True)
class Page:
    figure: Figure
    canvas: FigureCanvasAgg
    width: int
    height: int

    def text(
        self,
        left: float,
        top: float,
        text: str,
        *,
        points: float,
        bold: bool = False,
        colour: str = INK,
        room: float | None = None,
        right: bool = False,
        ghost: bool = False,
    ) -> float:
        """Write a line; if it is wider than `room`, its middle is left out. Its width.

        `right`: `left` is where it ends; `ghost`: only measure.
        """
        line = self.figure.text(
            left / self.width,
            1 - top / self.height,
            printable(text),
            fontsize=points,
            color=colour,
            weight="bold" if bold else "normal",
            ha="right" if right else "left",
            va="top",
            parse_math=False,
        )
        width = self.fit(line, room)
        if ghost:
            line.remove()
        return width

    def head(self, title: str, lines: Sequence[str], *, room: int) -> None:
        """The title and small lines below it. The first line is shortened if it is too long, the others run on."""
        self.text(MARGIN, 24, title, points=15, bold=True, room=room)
        wrapped = [
            part for line in lines[1:] for part in textwrap.wrap(line, int(room / 6.2), max_lines=2, placeholder=" ...")
        ]
        for i, line in enumerate([*lines[:1], *wrapped]):
            self.text(MARGIN, 58 + LINE * i, line, points=8.5, colour=SOFT, room=room)

    def image(self, pixels_HWC: Pixels, left: int, top: int) -> None:
        self.figure.figimage(pixels_HWC, left, self.height - top - pixels_HWC.shape[0], origin="upper")

    def box(self, left: int, top: int, width: int, height: int) -> None:
        from matplotlib.patches import Rectangle

        corner = left / self.width, 1 - (top + height) / self.height
        self.figure.add_artist(
            Rectangle(corner, width / self.width, height / self.height, facecolor=BOX, edgecolor="none")
        )

    def bars(self, bars: Bars, left: int, top: int, width: int, height: int) -> None:
        """Horizontal bars with names on their left and numbers behind them."""
        self._titles(bars.title, bars.subtitle, left, top, width)
        if not bars.rows:
            return
        widths = [self.text(0, 0, name, points=8.5, ghost=True) for name, _ in bars.rows]
        names, numbers = int(min(max(widths), MAX_NAME)) + 10, 60
        axes = self._axes(left + names, top + TITLES, width - names - numbers, height)
        axes.set_ylim(len(bars.rows) - 0.5, -0.5)
        axes.set_xlim(0, max([count for _, count in bars.rows if isinstance(count, int)]) or 1)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.axvline(0, color=SOFT, linewidth=0.8)
        words: dict[str, Any] = {"textcoords": "offset points", "va": "center_baseline", "parse_math": False}
        for row, (name, count) in enumerate(bars.rows):
            is_bar = isinstance(count, int)
            label = axes.annotate(
                printable(name), (0, row), (-6, 0), fontsize=8.5, color=INK if is_bar else SOFT, ha="right", **words
            )
            self.fit(label, MAX_NAME)
            length = count if isinstance(count, int) else 0
            axes.barh(row, length, height=0.62, color=BAR)
            text = f"{count:,}" if isinstance(count, int) else count
            axes.annotate(text, (length, row), (4, 0), fontsize=8, color=WARN if count == 0 else SOFT, **words)

    def histogram(self, histogram: Histogram, left: int, top: int, width: int, height: int) -> None:
        """Bars from 0 on, or of rising widths where values differ much."""
        from matplotlib.ticker import MaxNLocator, ScalarFormatter

        self._titles(histogram.title, histogram.subtitle, left, top, width)
        values, mark = np.array(histogram.values), histogram.mark
        if not len(values):
            return
        axes = self._axes(left + 36, top + TITLES + LINE, width - 36, height)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(SOFT)
        axes.tick_params(which="both", colors=SOFT, labelsize=8, length=3)
        axes.tick_params(axis="y", length=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=2, steps=[1, 2, 5, 10]))
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        ends = [*values, *([] if mark is None else [mark])]
        if is_wide := max(ends) > 60 * min(ends) > 0:
            bins = np.geomspace(min(ends) * 0.95, max(ends) * 1.05, 31)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(ScalarFormatter())
        else:
            bins = np.linspace(0, max(ends) * 1.08, 31)
        axes.hist(values, bins=list(bins), color=BAR, rwidth=0.92)
        axes.set_xlim(bins[0] if is_wide else 0, bins[-1])
        axes.set_xlabel(histogram.unit, color=SOFT, fontsize=8.5)
        if mark is not None:
            axes.axvline(mark, color=MARK, linewidth=1.2, linestyle=(0, (4, 2)))
            self.text(left, top + 20 + LINE, f"\u2506 {histogram.mark_label}", points=8.5, colour=MARK, room=width)

    def _titles(self, title: str, subtitle: str, left: int, top: int, width: int) -> None:
        self.text(left, top, title, points=10.5, bold=True, room=width)
        self.text(left, top + 20, subtitle, points=8.5, colour=SOFT, room=width)

    def _axes(self, left: int, top: int, width: int, height: int) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height), facecolor="none"
        )

    def fit(self, line: Any, room: float | None) -> float:
        """Leave out the middle of a text until it fits; its width then."""
        text, kept = line.get_text(), len(line.get_text())
        while True:
            wide = float(line.get_window_extent().width) if text else 0.0
            if room is None or wide <= room or kept <= 2:
                return wide
            kept = min(kept - 1, int(kept * room / wide))
            line.set_text(f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}")
