"""Timelines as an image: a row for each label, time from left to right.

draw_timelines(Path("timeline.png"), timelines)
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from i3d.data.segments.segment import UNKNOWN
from i3d.errors import InputError, printable
from i3d.timelines.find import Timeline
from i3d.utils.drawing import BAR, GRID, SOFT, open_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, ROW, HEAD = 1200, 22, 64  # pixels of the image, of a label, and of a video besides its labels
MAX_LABELS: Final = 30  # of a video: those that last longest
MAX_VIDEOS: Final = 20
TICKS: Final = 8  # at most, after the first
TICK_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
SHORT: Final = 5.0  # seconds of a video whose axis has tenths
FAINT: Final = 0.25  # opacity of a score of 0


def draw_timelines(path: Path, timelines: Sequence[Timeline]) -> tuple[str, ...]:
    """Write a PNG of at most 20 videos, a panel each; notes on what is left out. Without a video: an InputError."""
    read = [one for one in timelines if not one.error]
    drawn = read[:MAX_VIDEOS]
    if not drawn:
        raise InputError(f"{path}: no video has a timeline to draw")
    rows = [shown_labels(one) for one in drawn]
    heights = [HEAD + ROW * max(1, len(labels)) for labels in rows]
    with open_figure(path, WIDTH, sum(heights)) as figure:
        panels = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, one, labels in zip(panels, drawn, rows, strict=True):
            _draw(axes, one, labels)
    return _left_out(drawn, len(read))


def _left_out(drawn: Sequence[Timeline], num_read: int) -> tuple[str, ...]:
    """Videos and labels that are not drawn."""
    notes = []
    if num_read > len(drawn):
        notes.append(f"the first {len(drawn)} of {num_read} videos are drawn; name fewer, or write tables (--out)")
    for one in drawn:
        if (num_labels := len({segment.label for segment in one.segments})) > MAX_LABELS:
            what = f"the {MAX_LABELS} labels that last longest, of {num_labels}, are drawn"
            notes.append(f"{printable(one.path)}: {what}; choose some (--labels)")
    return tuple(notes)


def shown_labels(one: Timeline) -> list[str]:
    """The labels of a video in order of their first segment, "unknown" last; of over 30, those that last longest."""
    seconds: dict[str, float] = {}
    for segment in one.segments:
        seconds[segment.label] = seconds.get(segment.label, 0.0) + segment.stop - segment.start
    longest = set(sorted(seconds, key=lambda label: -seconds[label])[:MAX_LABELS])
    return sorted((label for label in seconds if label in longest), key=lambda label: label == UNKNOWN)


def _draw(axes: "Axes", one: Timeline, labels: Sequence[str]) -> None:
    """A bar for each segment; the higher its score, the stronger its colour."""
    for row, label in enumerate(labels):
        for segment in one.segments:
            if segment.label == label:
                span = [(segment.start, segment.stop - segment.start)]
                opacity = FAINT + (1 - FAINT) * segment.score
                axes.broken_barh(span, (row - 0.35, 0.7), color=SOFT if label == UNKNOWN else BAR, alpha=opacity)
    axes.set_yticks(range(len(labels)), [printable(label) for label in labels])
    axes.set_ylim(max(1, len(labels)) - 0.5, -0.5)
    axes.set_xlim(0, one.seconds)
    axes.set_xticks(times := ticks(one.seconds), [_clock(time, tenths=one.seconds < SHORT) for time in times])
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title(printable(one.path), loc="left", fontsize="medium")


def ticks(seconds: float) -> list[float]:
    """Tenths, whole seconds, minutes or hours, at which the axis of a video of this length has its times."""
    if seconds < SHORT:
        tenths = next(tenths for tenths in (1, 2, 5, 10) if 10 * seconds <= TICKS * tenths)
        return [tenth / 10 for tenth in range(0, int(10 * seconds) + 1, tenths)]
    step = next((step for step in TICK_SECONDS if seconds <= TICKS * step), 3600 * ceil(seconds / 3600 / TICKS))
    return [*range(0, int(seconds) + 1, step)]


def _clock(seconds: float, *, tenths: bool) -> str:
    """0:03, 1:02:03; with tenths 0:00.3."""
    if tenths:
        return f"0:{seconds:04.1f}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
