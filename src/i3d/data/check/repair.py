"""Videos that are cut short or damaged, encoded anew from the frames that can be decoded. Originals are left alone.

    folder/<path of the clip>.mp4        H.264, one frame rate, no sound; every other file in the folder stays

A file appears when it is whole and was read back; what is there already is not replaced.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from i3d.data.check.clip import PATIENT, Allowance, ClipJob, limited, reason_of
from i3d.data.shards import Shards
from i3d.errors import InputError, VideoError, first_line, printable
from i3d.utils.process_pool import WorkerDied, run_jobs
from i3d.video.base import FrameHWC, Video
from i3d.video.reader import open_video
from i3d.video.writer import write_video

TIMES_LONGER: Final = 4  # than checking may take: encoding is slower than decoding
MAX_RATE: Final = 240


@dataclass(frozen=True)
class FixJob:
    """One file to encode anew."""

    clip: ClipJob
    frame_seconds: Fraction  # how long a frame is shown
    target: Path


@dataclass(frozen=True)
class Fixed:
    """What became of it."""

    path: str  # of the new file; "": there is none
    note: str  # how much of it there is, or why there is none


def check_folder(folder: Path, root: Path) -> None:
    """An InputError if new files in that folder could come among those of the dataset."""
    inside = folder.resolve().is_relative_to(root.resolve())
    if inside and (folder.exists() or folder.resolve() == root.resolve()):
        todo = "give a new folder, or one elsewhere"
        raise InputError(f"--fix {printable(str(folder))}: is in the dataset {printable(str(root))}; {todo}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--fix {printable(str(folder))}: is not a folder; give a new one")


def target_of(path: str, folder: Path) -> Path | None:
    """Where the new file of a clip goes; None: it lies outside of its dataset."""
    relative = os.path.normpath(path).replace(os.sep, "/")
    if relative.startswith(("/", "../")) or ":" in relative[1:2]:
        return None
    return folder / PurePosixPath(relative).with_suffix(".mp4")


def fix_all(
    jobs: Sequence[FixJob], folder: Path, *, num_workers: int, allowed: Allowance
) -> Generator[tuple[int, Fixed], None, None]:
    """(number, what became of it) of all jobs, in processes that are ended when they take too long."""
    if not jobs:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = Path(tempfile.mkdtemp(dir=folder, prefix=".i3d-fix-"))
    except OSError as error:
        raise InputError(
            f"--fix {printable(str(folder))}: cannot be written ({error.strerror}); choose another"
        ) from error
    allowed = replace(allowed, seconds=TIMES_LONGER * allowed.seconds)
    run = partial(limited, run=partial(fix, parts=parts), allowed=allowed)
    try:
        with closing(run_jobs(run, jobs, num_workers=num_workers)) as running:
            for number, answer in running:
                if isinstance(answer, WorkerDied):
                    late = answer.cause == "SIGALRM"
                    why = (
                        f"encoding took over {allowed.seconds:g} s"
                        if late
                        else f"encoding it ended its process ({answer.cause})"
                    )
                    answer = Fixed("", why)
                yield number, answer
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def fix(job: FixJob, *, parts: Path) -> Fixed:
    """Encode one file anew. `parts` holds it until it is whole."""
    if os.path.lexists(job.target):
        return Fixed("", f"{printable(str(job.target))} is there already")
    part = parts / f"{os.getpid()}.mp4"
    frames = _Decodable(job)
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        write_video(part, frames.each(), fps=frames.rate)
        with open_video(part, limits=PATIENT) as video:
            num_read = video.count_frames()
        if num_read != frames.num_written:
            return Fixed("", f"the new file has {num_read} frames, not {frames.num_written}")
        _place(part, job.target)
    except VideoError as error:
        return Fixed("", reason_of(error, job.clip.file))
    except FileExistsError:
        return Fixed("", f"{printable(str(job.target))} is there already")
    except Exception as error:  # one clip must never stop the others
        return Fixed("", f"encoding it failed ({type(error).__name__}: {first_line(error)})")
    finally:
        with suppress(OSError):
            part.unlink()
    return Fixed(str(job.target), f"{frames.num_written} frames encoded anew")


def _place(part: Path, target: Path) -> None:
    """Give a file its name. A FileExistsError if something has that name, which a mere rename would replace."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        target.touch(exist_ok=False)
        part.replace(target)


class _Decodable:
    """The frames of a video up to where decoding fails, of even size, at one rate."""

    def __init__(self, job: FixJob) -> None:
        self.clip = job.clip
        self.rate = min(1 / job.frame_seconds, Fraction(MAX_RATE)).limit_denominator(10_000)
        self.num_written = 0

    def each(self) -> Iterator[FrameHWC]:
        with self._open() as video:
            frames = video.stream(fps=float(self.rate), transform=_even)
            while True:
                try:
                    frame_HWC = next(frames, None)
                except VideoError:
                    if not self.num_written:
                        raise
                    return
                if frame_HWC is None:
                    return
                self.num_written += 1
                yield frame_HWC

    def _open(self) -> Video:
        if self.clip.shards is None:
            return open_video(self.clip.file, limits=PATIENT)
        content = Shards(self.clip.shards).file(self.clip.name).read_bytes()
        return open_video(content, name=self.clip.file, limits=PATIENT)


def _even(frame_HWC: FrameHWC) -> FrameHWC:
    """Without its last row or column, where their number is odd: H.264 of 4:2:0 holds even sizes only."""
    height, width = frame_HWC.shape[:2]
    if min(height, width) < 2:
        raise VideoError("(frame)", f"its frames, {width} x {height}, are too small for H.264", "replace it")
    return np.ascontiguousarray(frame_HWC[: height // 2 * 2, : width // 2 * 2])
