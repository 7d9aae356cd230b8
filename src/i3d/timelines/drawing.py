"""Timelines as an image: a row for each label, time from left to right.

draw_timelines(Path("timeline.png"), timelines)
"""

from collections.abc import Sequence
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
FAINT: Final = 0.25  # opacity of a score of 0


def draw_timelines(path: Path, timelines: Sequence[Timeline]) -> None:
    """Write a PNG of at most 20 videos, a panel each. Without any timeline it is an InputError."""
    drawn = [one for one in timelines if one.segments][:MAX_VIDEOS]
    if not drawn:
        raise InputError(f"{path}: no video has a timeline to draw")
    rows = [shown_labels(one) for one in drawn]
    heights = [HEAD + ROW * len(labels) for labels in rows]
    with open_figure(path, WIDTH, sum(heights)) as figure:
        panels = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, one, labels in zip(panels, drawn, rows, strict=True):
            _draw(axes, one, labels)


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
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0, one.seconds)
    axes.xaxis.set_major_formatter(lambda seconds, _: _clock(seconds))
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title(printable(one.path), loc="left", fontsize="medium")


def _clock(seconds: float) -> str:
    """0:03, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
