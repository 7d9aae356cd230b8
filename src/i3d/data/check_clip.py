"""One clip, decoded to its end: what is wrong with it, what it is known again by. Runs in processes that may die."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from i3d.data.frame_folders import FrameNames, count_frames, open_frames
from i3d.errors import VideoError, printable
from i3d.video.reader import FrameHWC, Limits, NoPicturesError, Video, open_video
from i3d.video.stills import images_in

PLACES: Final = (0.25, 0.5, 0.75)  # of a clip, where its fingerprint looks
FLAT: Final = 6.0  # standard deviation of grey values below which a frame is too plain to be known again
CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class ClipJob:
    """What to look at."""

    path: str  # to open
    names: FrameNames | None  # of a folder of frames
    listed_frames: int | None
    first_frame: int
    limits: Limits
    min_frames: int


@dataclass(frozen=True)
class ClipFacts:
    """What was found. `problem` is "" or one of `check.PROBLEMS`."""

    problem: str = ""
    reason: str = ""
    num_frames: int = 0
    width: int = 0
    height: int = 0
    seconds: float | None = None
    num_bytes: int = 0
    sha256: str = ""
    fingerprint: tuple[int, ...] = ()  # of 64 bits each; empty if the clip is too plain


def look_at(job: ClipJob) -> ClipFacts:
    """Decode every frame. Whatever is wrong with the clip is in the answer, not an error."""
    files = _files(job)
    num_bytes = sum(file.stat().st_size for file in files if file.is_file())
    if num_bytes == 0 and len(files) == 1 and files[0].is_file():
        return ClipFacts("empty", "the file is empty (0 bytes)")
    sha256 = _hash(files)
    facts = ClipFacts(num_bytes=num_bytes, sha256=sha256)
    try:
        with _open(job) as video:
            return _decoded(job, video, facts)
    except NoPicturesError as error:
        return _with(facts, "no video", error)
    except VideoError as error:
        return _with(facts, "unreadable", error)


def _decoded(job: ClipJob, video: Video, facts: ClipFacts) -> ClipFacts:
    timetable = video.timetable()
    expected = len(timetable) - 1 if timetable is not None else None
    looked_at = {int(expected * place) for place in PLACES} if expected else set()
    count, seconds, shape, prints = 0, 0.0, (0, 0), []
    problem = reason = ""
    of_pictures = Path(job.path).is_dir()
    try:
        for picture in video.on_time(video.pictures()):
            if count == 0 or picture.index in looked_at or of_pictures:  # those are decoded only here
                frame_HWC = picture.rgb()
                shape = frame_HWC.shape[:2]
                if picture.index in looked_at:
                    prints.append(fingerprint(frame_HWC))
            count, seconds = picture.index + 1, float(picture.until)
    except VideoError as error:
        frame = f"{Path(error.name).name}: " if of_pictures else ""
        problem, reason = ("damaged" if count else "unreadable"), f"{frame}{error.why}; {error.todo}"
    if not problem and video.missing_seconds:
        problem, reason = "truncated", "; ".join(video.notes)
    elif not problem and video.num_damaged:
        problem, reason = "damaged", "; ".join(video.notes)
    there = count_frames(Path(job.path), job.names) - job.first_frame if job.names is not None else count
    if not problem and job.listed_frames is not None and job.listed_frames != there:
        problem, reason = "wrong count", f"{there} frames are there, the list says {job.listed_frames}"
    if not problem and count < job.min_frames:
        problem, reason = "too short", f"{count} frames, at least {job.min_frames} are wanted"
    known = all(prints) and len(prints) == len(PLACES)
    return ClipFacts(
        problem, printable(reason), count, shape[1], shape[0], seconds if video.timed else None,
        facts.num_bytes, facts.sha256, tuple(bits for bits in prints if bits) if known else (),
    )  # fmt: skip


def fingerprint(frame_HWC: FrameHWC) -> int:
    """64 bits that outlive another size or encoding: is each of 8 x 8 fields brighter than the next? 0: too plain."""
    grey_HW = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY) if frame_HWC.shape[2] == 3 else frame_HWC[..., 0]
    small = cv2.resize(grey_HW, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    if small.std() < FLAT:
        return 0
    bits = (small[:, 1:] > small[:, :-1]).reshape(-1)
    return int(np.packbits(bits).view(">u8")[0])


def _open(job: ClipJob) -> Video:
    if job.names is None:
        return open_video(job.path, limits=job.limits)
    return open_frames(Path(job.path), job.names, first_frame=job.first_frame, limits=job.limits)


def _files(job: ClipJob) -> list[Path]:
    path = Path(job.path)
    return images_in(path) if path.is_dir() else [path]


def _hash(files: Iterable[Path]) -> str:
    """Of the contents; of pictures, in their order. "" for what is no file: a pipe would not end."""
    digest = hashlib.sha256()
    for path in files:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _with(facts: ClipFacts, problem: str, error: VideoError) -> ClipFacts:
    reason = printable(f"{error.why}; {error.todo}")
    return ClipFacts(problem, reason, num_bytes=facts.num_bytes, sha256=facts.sha256)
