"""A copy of a video with something drawn on its frames: the same size, its sound, and the times of its frames."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from fractions import Fraction
from itertools import islice
from math import lcm
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np

from i3d.errors import InputError, VideoError
from i3d.inference.predictor import source_name
from i3d.utils.outputs import new_file
from i3d.utils.progress import Progress, ProgressCallback
from i3d.video.base import FrameHWC, Limits, Source, Video
from i3d.video.reader import open_video
from i3d.video.sound import open_sound
from i3d.video.writer import TimedFrame, write_timed, write_video

SUFFIXES: Final = (".mp4", ".gif")
GIF_SIDE, GIF_FPS, GIF_FRAMES = 480, 10, 100  # the long side at most; of an animation of 10 s
MAX_DENOMINATOR: Final = 1_000_000  # of the time base of an mp4
USUAL_BASE: Final = Fraction(1, 90_000)  # where the times of the frames have no common one
REPORT_EVERY: Final = 10  # frames


class Drawing(Protocol):
    """What is drawn on the frames of one video."""

    needs_times: bool  # whether it changes with time: frames without times are refused

    @property
    def lines(self) -> Sequence[Sequence[Any]]:
        """All that it depends on besides the frames, as JSON holds it."""

    def draw(self, frame_HWC: FrameHWC, seconds: Fraction) -> None:
        """Draw on the frame whose display begins at this time, in place."""

    def notes(self) -> tuple[str, ...]:
        """What was left out so far."""


def draw_on_video(
    source: Source,
    drawing: Drawing,
    out: str | PathLike[str],
    *,
    frames_fps: float | None,
    limits: Limits | None,
    force: bool,
    on_progress: ProgressCallback,
) -> tuple[str, ...]:
    """Write a copy of a video to an .mp4 or, its first 10 seconds, to a .gif; notes on what was left out.

    An existing file is an InputError, unless `force` replaces it; the video itself always is.
    """
    out = new_file(out, SUFFIXES, force=force)
    if isinstance(source, str | PathLike) and out.exists() and Path(source).exists() and out.samefile(source):
        raise InputError(f"{out}: is the video itself; choose another name")
    notes: list[str] = []
    with open_video(source, frames_fps=frames_fps, limits=limits or Limits()) as video:
        if drawing.needs_times and not video.timed:
            raise VideoError(video.name, "its images have no times", "give their rate with --frames-fps")
        if out.suffix.lower() == ".mp4":
            _write_mp4(out, source, video, drawing, notes, on_progress)
        else:
            frames = islice(video.stream(fps=GIF_FPS, transform=_shrink), GIF_FRAMES)
            times = (Fraction(number, GIF_FPS) for number in range(GIF_FRAMES))
            timed = ((frame_HWC, time, time) for frame_HWC, time in zip(frames, times, strict=False))
            write_video(out, (one[0] for one in _drawn(timed, drawing, on_progress)), fps=GIF_FPS, force=True)
    return tuple(dict.fromkeys([*drawing.notes(), *notes]))


def _drawn(frames: Iterator[TimedFrame], drawing: Drawing, on_progress: ProgressCallback) -> Iterator[TimedFrame]:
    """The frames with the drawing on them."""
    for number, (frame_HWC, start, end) in enumerate(frames, start=1):
        drawn_HWC = np.array(frame_HWC)
        drawing.draw(drawn_HWC, start)
        if number % REPORT_EVERY == 0:
            on_progress(Progress("draw labels", number, None, "frame"))
        yield drawn_HWC, start, end


def _write_mp4(
    out: Path, source: Source, video: Video, drawing: Drawing, notes: list[str], on_progress: ProgressCallback
) -> None:
    frames = _drawn(video.stream_with_times(), drawing, on_progress)
    has_sound = isinstance(source, bytes) or (isinstance(source, str | PathLike) and Path(source).is_file())
    content = source if isinstance(source, bytes) else Path(source) if has_sound else b""  # type: ignore[arg-type]
    with open_sound(content, notes.append) if has_sound else nullcontext() as sound:
        write_timed(out, frames, time_base=_time_base(video), sound=sound, name=source_name(source))


def _time_base(video: Video) -> Fraction:
    """A unit in which the times of all frames are whole numbers, if there is one."""
    common = 1
    for time in video.timetable() or [USUAL_BASE]:
        common = lcm(common, time.denominator)
        if common > MAX_DENOMINATOR:
            return USUAL_BASE
    return Fraction(1, common)


def _shrink(frame_HWC: FrameHWC) -> FrameHWC:
    """A frame of a GIF: at most `GIF_SIDE` pixels wide and high."""
    height, width = frame_HWC.shape[:2]
    factor = min(1.0, GIF_SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small_HWC: FrameHWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small_HWC
