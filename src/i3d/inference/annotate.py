"""Draw the predicted labels on a video: a copy of the same size, with its sound and the times of its frames."""

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from fractions import Fraction
from itertools import islice
from math import lcm
from os import PathLike
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from i3d.errors import InputError, counted, printable
from i3d.inference.label_box import LabelBox
from i3d.inference.prediction import Prediction
from i3d.inference.predictor import source_name
from i3d.utils.arguments import checks_types
from i3d.utils.outputs import new_file
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.base import FrameHWC, Limits, Source, Video
from i3d.video.reader import open_video
from i3d.video.sound import open_sound
from i3d.video.writer import TimedFrame, write_timed, write_video

SUFFIXES: Final = (".mp4", ".gif")
GIF_SIDE, GIF_FPS, GIF_FRAMES = 480, 10, 100  # the long side at most; of an animation of 10 s
MAX_DENOMINATOR: Final = 1_000_000  # of the time base of an mp4
USUAL_BASE: Final = Fraction(1, 90_000)  # where the times of the frames have no common one
REPORT_EVERY: Final = 10  # frames

log = logging.getLogger("i3d")


@checks_types
def annotate_video(
    source: Source,
    prediction: Prediction,
    out: str | PathLike[str],
    *,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    force: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[str, ...]:
    """Write a copy of a video with its labels and their scores in the upper left corner; notes on what is left out.

    The name decides. An .mp4 has the size of the video as it is displayed, the times of its frames, and its sound; AAC,
    MP3, AC-3, Opus, FLAC and ALAC are copied, other sound becomes AAC. A .gif has the first 10 seconds, at most 480
    pixels wide and high. All labels of the prediction are drawn that fit into half of the height.

    An existing file is an InputError, unless `force` replaces it; the video itself always is. A prediction without
    labels is an InputError.
    """
    out = new_file(out, SUFFIXES, force=force)
    if not prediction.predictions:
        raise InputError(f"{printable(prediction.path)}: it has no labels to draw ({prediction.error})")
    if isinstance(source, str | PathLike) and out.exists() and Path(source).exists() and out.samefile(source):
        raise InputError(f"{out}: is the video itself; choose another name")
    notes: list[str] = []
    with open_video(source, frames_fps=frames_fps, limits=limits or Limits()) as video:
        draw = _Drawing(prediction, notes.append, on_progress, None if out.suffix.lower() == ".mp4" else GIF_FRAMES)
        if draw.total is None:
            _write_mp4(out, source, video, draw, notes)
        else:
            frames = islice(video.stream(fps=GIF_FPS, transform=_shrink), draw.total)
            write_video(out, map(draw, frames), fps=GIF_FPS, force=True)
    return tuple(dict.fromkeys(notes))


class _Drawing:
    """Draws the labels on one frame after the other. The box is as large as the first frame needs."""

    def __init__(
        self, prediction: Prediction, note: Callable[[str], None], on_progress: ProgressCallback, total: int | None
    ) -> None:
        self.prediction, self.note, self.on_progress, self.total = prediction, note, on_progress, total
        self.box: LabelBox | None = None
        self.num_frames = 0

    def __call__(self, frame_HWC: FrameHWC) -> FrameHWC:
        drawn_HWC = np.array(frame_HWC)
        if self.box is None:
            self.box = LabelBox.draw(self.prediction.drawn_labels, height=len(frame_HWC), width=frame_HWC.shape[1])
            self._note_missing(self.box)
        self.box.blend(drawn_HWC)
        self.num_frames += 1
        if self.num_frames % REPORT_EVERY == 0:
            self.on_progress(Progress("draw labels", self.num_frames, None, "frame"))
        return drawn_HWC

    def _note_missing(self, box: LabelBox) -> None:
        asked = len(self.prediction.predictions)
        if box.num_lines < asked:
            name = printable(self.prediction.path)
            log.info("%s: %d of %s fit into half of the frame", name, box.num_lines, counted(asked, "label"))
        if box.missing:
            letters = "".join(dict.fromkeys(box.missing))[:20]
            self.note(f"no installed font has the letters {letters!r}: install one, such as Noto Sans CJK")


def _write_mp4(out: Path, source: Source, video: Video, draw: _Drawing, notes: list[str]) -> None:
    frames = _timed(video, draw)
    has_sound = isinstance(source, bytes) or (isinstance(source, str | PathLike) and Path(source).is_file())
    content = source if isinstance(source, bytes) else Path(source) if has_sound else b""  # type: ignore[arg-type]
    with open_sound(content, notes.append) if has_sound else nullcontext() as sound:
        write_timed(out, frames, time_base=_time_base(video), sound=sound, name=source_name(source))


def _timed(video: Video, draw: _Drawing) -> Iterator[TimedFrame]:
    for frame_HWC, start, end in video.stream_with_times():
        yield draw(frame_HWC), start, end


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
