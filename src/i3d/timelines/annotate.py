"""Draw a timeline on its video: at each time, the labels that are on, with a bar for each score.

    annotate_timeline("match.mp4", i3d.timeline("match.mp4"), "labelled.mp4")

A label keeps its row as long as its segment lasts. Where no label is on, the box has "unknown". Scores are those of the
segments, as files have them.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from os import PathLike
from typing import Any, Final

from i3d.data.segments.segment import PRECISION, UNKNOWN, Segment
from i3d.errors import InputError, counted
from i3d.inference.annotate import missing_letters
from i3d.inference.drawn_video import draw_on_video
from i3d.inference.label_box import LabelBox
from i3d.timelines.find import Timeline
from i3d.timelines.rows import RowLayout
from i3d.utils.arguments import checks_types
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import FrameHWC, Limits, Source

VERSION: Final = 1  # of the drawing: increase it when copies would look different
Rows = tuple[Segment | None, ...]  # what is on, from the first row on; None: an empty row


@checks_types
def annotate_timeline(
    source: Source,
    timeline: Timeline,
    out: str | PathLike[str],
    *,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    force: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[str, ...]:
    """Write a copy of a video with the labels of its timeline in the upper left corner; notes on what is left out.

    `out`: an .mp4 of the same size, frame times and sound, or the first 10 seconds as a .gif, as `annotate_video`
    writes them. An existing file is an InputError, unless `force` replaces it; the video itself always is. A timeline
    with an error is an InputError, images without times are a VideoError.
    """
    if timeline.error:
        raise InputError(f"the timeline has an error: {timeline.error}")
    drawing = TimelineDrawing(timeline)
    return draw_on_video(
        source, drawing, out, frames_fps=frames_fps, limits=limits, force=force, on_progress=on_progress
    )


class TimelineDrawing:
    """The segments of one video as a box that changes with time. Its size is that of the widest label."""

    needs_times = True

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        states = rows_over_time(timeline.segments)
        if states and states[-1][0] >= round(timeline.seconds, PRECISION):
            states.pop()  # the last frame may begin a little later than the rounded end
        self._times, self._rows = [time for time, _ in states], [rows for _, rows in states]
        self._layout: RowLayout | None = None
        self._drawn: tuple[Rows, LabelBox] | None = None  # what is on, and its box

    @property
    def lines(self) -> list[list[Any]]:
        """A version, and each segment with its score in per cent."""
        segments = self.timeline.segments
        rows = [[one.start, one.stop, one.label, f"{100 * one.score:.0f}"] for one in segments]
        return [["timeline", VERSION, round(self.timeline.seconds, PRECISION)], *rows]

    def draw(self, frame_HWC: FrameHWC, seconds: Fraction) -> None:
        """Draw the box of this time, in place."""
        rows = self.rows_at(float(seconds))
        if self._drawn is None or self._drawn[0] != rows:
            self._drawn = rows, self._layout_for(frame_HWC).draw(rows)
        self._drawn[1].blend(frame_HWC)

    def rows_at(self, seconds: float) -> Rows:
        """What is on at a time."""
        place = bisect_right(self._times, seconds) - 1
        return self._rows[place] if place >= 0 else ()

    def notes(self) -> tuple[str, ...]:
        """Segments in rows that do not fit, and letters that no font has."""
        if self._layout is None:
            return ()
        fitting = self._layout.num_rows
        hidden = {one for rows in self._rows for one in rows[fitting:] if one is not None}
        what = (
            f"{counted(len(hidden), 'segment')} of {len(self.timeline.segments)} not drawn: at most "
            f"{counted(fitting, 'label')} at a time fit into half of the frame"
        )
        return ((what,) if hidden else ()) + missing_letters(self._layout.missing)

    def _layout_for(self, frame_HWC: FrameHWC) -> RowLayout:
        if self._layout is None:
            labels = dict.fromkeys([*(one.label for one in self.timeline.segments), UNKNOWN])
            most = max(map(len, self._rows), default=1)
            self._layout = RowLayout(list(labels), max(1, most), height=len(frame_HWC), width=frame_HWC.shape[1])
        return self._layout


def rows_over_time(segments: Sequence[Segment]) -> list[tuple[float, Rows]]:
    """From each time on, the segments in their rows: each takes the first free row when it starts, and keeps it."""
    waiting = deque(sorted(segments))
    rows: list[Segment | None] = []
    states: list[tuple[float, Rows]] = []
    for time in sorted({time for one in segments for time in (one.start, one.stop)}):
        rows = [one if one is not None and one.stop > time else None for one in rows]
        while waiting and waiting[0].start <= time:
            if None not in rows:
                rows.append(None)
            rows[rows.index(None)] = waiting.popleft()
        while rows and rows[-1] is None:
            rows.pop()
        states.append((time, tuple(rows)))
    return states
