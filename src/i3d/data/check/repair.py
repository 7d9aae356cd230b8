"""Encode the decodable frames of truncated and damaged videos again. The original files stay unchanged.

    folder/<path of the clip>.mp4        H.264, constant frame rate, no sound

A file appears when it is complete and was decoded successfully; existing files are not replaced.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from i3d.data.check.clip import NO_TIME_LIMIT, ClipJob, ResourceLimits, error_reason, run_limited
from i3d.data.shards import open_stored_video
from i3d.errors import InputError, VideoError, first_line, printable
from i3d.utils.atomic_files import unfinished_folder, writing_to
from i3d.utils.process_pool import WorkerDied, run_jobs
from i3d.video.base import FrameHWC, Video
from i3d.video.reader import open_video
from i3d.video.writer import write_video

TIME_FACTOR: Final = 4  # of the time limit of a check: encoding is slower than decoding
MAX_RATE: Final = 240


@dataclass(frozen=True)
class RepairJob:
    """One file to encode again."""

    clip: ClipJob
    frame_seconds: Fraction  # duration of a frame
    target: Path


def check_output_folder(folder: Path, root: Path) -> None:
    """Refuse, by an InputError, a folder in which new files could mix with those of the dataset."""
    inside = folder.resolve().is_relative_to(root.resolve())
    if inside and (folder.exists() or folder.resolve() == root.resolve()):
        todo = "give a new folder, or one elsewhere"
        raise InputError(f"--fix {folder}: is in the dataset {root}; {todo}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--fix {folder}: is not a folder; give a new one")


def target_path(path: str, folder: Path) -> Path | None:
    """The path of the new file of a clip; None: the clip lies outside its dataset."""
    relative = os.path.normpath(path).replace(os.sep, "/")
    if relative.startswith(("/", "../")) or ":" in relative[1:2]:
        return None
    return folder / PurePosixPath(relative).with_suffix(".mp4")


def repair_all(
    jobs: Sequence[RepairJob], folder: Path, *, num_workers: int, limits: ResourceLimits
) -> Generator[tuple[int, int | str], None, None]:
    """Yield (index, result of `repair_clip`) of all jobs, run in processes with limits on time and memory."""
    if not jobs:
        return
    limits = replace(limits, seconds=TIME_FACTOR * limits.seconds)
    with ExitStack() as stack:
        with writing_to(f"--fix {folder}:", "choose another"):
            folder.mkdir(parents=True, exist_ok=True)
            parts = stack.enter_context(unfinished_folder(folder))
        run = partial(run_limited, run=partial(repair_clip, parts=parts), limits=limits)
        with closing(run_jobs(run, jobs, num_workers=num_workers)) as running:
            for number, result in running:
                if isinstance(result, WorkerDied):
                    is_late = result.cause == "SIGALRM"
                    late = f"encoding took over {limits.seconds:g} s"
                    result = late if is_late else f"encoding it ended its process ({result.cause})"
                yield number, result


def repair_clip(job: RepairJob, *, parts: Path) -> int | str:
    """Encode one file again, in the folder `parts` until it is complete: the number of frames, or why there is none."""
    part = parts / f"{os.getpid()}.mp4"
    rate = min(1 / job.frame_seconds, Fraction(MAX_RATE)).limit_denominator(10_000)
    try:
        if os.path.lexists(job.target):
            raise FileExistsError
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with open_stored_video(job.clip.file, limits=NO_TIME_LIMIT) as video:
            num_written = write_video(part, _decodable_frames(video, rate), fps=rate)
        with open_video(part, limits=NO_TIME_LIMIT) as video:
            num_read = video.count_frames()
        if num_read != num_written:
            return f"the new file has {num_read} frames, not {num_written}"
        _place(part, job.target)
    except VideoError as error:
        return error_reason(error, job.clip.file)
    except FileExistsError:
        return f"{printable(str(job.target))} exists already"
    except Exception as error:  # one clip must never stop the others
        return f"encoding it failed ({type(error).__name__}: {first_line(error)})"
    finally:
        part.unlink(missing_ok=True)
    return num_written


def _place(part: Path, target: Path) -> None:
    """Rename a file without replacing another: if the target exists, a FileExistsError."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        target.touch(exist_ok=False)
        part.replace(target)


def _decodable_frames(video: Video, rate: Fraction) -> Iterator[FrameHWC]:
    """The frames of a video up to the first decoding error, cropped to an even size, at a constant frame rate."""
    frames = video.stream(fps=float(rate), transform=_even)
    yield next(frames)  # a VideoError if no frame can be decoded
    with suppress(VideoError):
        yield from frames


def _even(frame_HWC: FrameHWC) -> FrameHWC:
    """Crop to an even height and width, which H.264 with 4:2:0 chroma requires."""
    height, width = frame_HWC.shape[:2]
    if min(height, width) < 2:
        raise VideoError("(frame)", f"its frames, {width} x {height}, are too small for H.264", "replace it")
    return np.ascontiguousarray(frame_HWC[: height // 2 * 2, : width // 2 * 2])
