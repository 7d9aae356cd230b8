"""What can still be decoded of a damaged video, as a new one. Runs in processes that may die."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from i3d.errors import InputError, VideoError, printable
from i3d.video.reader import FrameHWC, Video, open_video
from i3d.video.writer import write_video


@dataclass(frozen=True)
class RepairJob:
    """From what to what."""

    source: str
    target: str  # an mp4 that is not there yet


def repair(job: RepairJob) -> str:
    """Encode every frame up to the damage as H.264 at the video's own rate; "" or why it could not be done.

    An odd last row or column is cut off, as H.264 needs. An existing target is left as it is.
    """
    target = Path(job.target)
    if target.exists():
        return f"{printable(job.target)} is there already"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open_video(job.source) as video:
            write_video(target, _until_damage(video), fps=_rate(video))
    except (VideoError, InputError, OSError, ValueError) as error:
        return printable(str(error).splitlines()[0])
    return ""


def _until_damage(video: Video) -> Iterator[FrameHWC]:
    size: tuple[int, int] | None = None
    try:
        for frame_HWC in video.stream():
            height, width = frame_HWC.shape[:2]
            size = size or (height - height % 2, width - width % 2)
            yield frame_HWC[: size[0], : size[1]]
    except VideoError:
        if size is None:
            raise


def _rate(video: Video) -> Fraction:
    """Frames a second as the packets tell; 25 where they do not."""
    timetable = video.timetable()
    if timetable is None:
        return Fraction(25)
    return ((len(timetable) - 1) / timetable[-1]).limit_denominator(1001)
