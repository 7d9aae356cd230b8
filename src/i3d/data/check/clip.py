"""Inspect one clip: decode every frame of it, measure it, and find what is wrong with it.

    inspect_clip(ClipJob(Path("clips/a.mp4")))   # ClipInfo(num_frames=250, width=320, ...)

It runs in a worker process that may be killed at any time (`run_limited`).
"""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import signal
import stat
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import file_digest, sha256
from pathlib import Path
from statistics import median
from typing import IO, Any, Final, Literal, TypeVar, get_args

from i3d.data.check.duplicates import Fingerprint, fingerprint
from i3d.data.frame_folders import FrameNaming, consecutive_frames, open_frames
from i3d.data.shards import PackedPath, open_stored_video
from i3d.errors import VideoError, first_line, printable
from i3d.video.base import DecodedFrame, FrameHWC, Limits, NoVideoStreamError, Video
from i3d.video.file_headers import find_truncation, suffix_mismatch
from i3d.video.images import frames_in, open_images

Status = Literal[
    "missing", "empty", "unreadable", "no video", "crashed", "timeout", "truncated", "damaged", "wrong count",
    "too short", "duplicate", "near-duplicate", "ok",
]  # fmt: skip
STATUSES: Final[tuple[Status, ...]] = get_args(Status)  # the most serious first
Problem = tuple[Status, str]  # and the reason

NO_TIME_LIMIT: Final = Limits(max_seconds=float("inf"))  # the worker process has its own limit
NUM_DURATIONS: Final = 1000  # frames from which the frame rate is measured

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class ResourceLimits:
    """Time and memory that the inspection of one clip may take."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class ClipJob:
    """One file, or one folder of frames, to inspect once, even if it is listed several times."""

    file: Path | PackedPath
    is_frames: bool = False
    naming: FrameNaming | None = None  # of the frames of a folder; None: any images, in natural order


@dataclass(frozen=True)
class ClipInfo:
    """The result of an inspection. Frames and seconds are those of the whole file."""

    problems: tuple[Problem, ...] = ()
    remark: str = ""  # unusual but harmless
    num_frames: int | None = None  # decodable
    num_numbered: int | None = None  # consecutively numbered images of a folder, decodable or not
    gap: str = ""  # the first missing number, if further images follow
    width: int | None = None
    height: int | None = None
    frame_seconds: Fraction | None = None  # duration of most frames; None: frames have no times
    starts: array[float] = field(default_factory=lambda: array("d"))  # start of each frame, and end of the last
    num_bytes: int | None = None
    content: str = ""  # SHA-256 in hexadecimal digits
    fingerprint: Fingerprint | None = None

    @property
    def seconds(self) -> float | None:
        return self.starts[-1] if self.frame_seconds is not None and len(self.starts) else None

    @property
    def fps(self) -> float | None:
        return self.num_frames / self.seconds if self.num_frames and self.seconds else None


def run_limited(job: J, run: Callable[[J], R], *, limits: ResourceLimits) -> R:
    """Return `run(job)`; if it exceeds its time, the system kills this process with SIGALRM, wherever it hangs.

    Allocations beyond the memory limit fail with a MemoryError. The limits are those of a worker process: without
    workers there are none, as they would outlive the job and end the process of the caller.
    """
    if multiprocessing.parent_process() is None:
        return run(job)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = limits.memory_bytes if hard == resource.RLIM_INFINITY else min(limits.memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # Python's handler would wait for a hanging C call to return
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    try:
        return run(job)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def inspect_clip(job: ClipJob) -> ClipInfo:
    """Decode every frame of a clip. Everything wrong with it is in `problems`; nothing is raised."""
    inspection = _Inspection(job)
    try:
        inspection.inspect()
    except VideoError as error:
        inspection.add("unreadable", error_reason(error, job.file))
    except OSError as error:
        inspection.add("unreadable", f"cannot be read ({error.strerror}); check its permissions and the disk")
    except MemoryError:
        inspection.add("crashed", "decoding it takes more memory than the limit; replace it, or raise the limit")
    except Exception as error:  # one clip must never stop the others
        inspection.add("crashed", f"decoding it failed ({type(error).__name__}: {first_line(error)}); replace it")
    return ClipInfo(tuple(inspection.problems), **inspection.values)


def error_reason(error: VideoError, file: Path | PackedPath) -> str:
    """The message of an error without the name of the clip, which is in another column."""
    name, why = os.path.basename(error.name), f"{error.why}; {error.todo}"  # noqa: PTH119
    return printable(why if name == os.path.basename(str(file)) else f"{name}: {why}")  # noqa: PTH119


class _Inspection:
    """Collects what is known of a clip, so that a failure on the way loses none of it."""

    def __init__(self, job: ClipJob) -> None:
        self.job = job
        self.problems: list[Problem] = []
        self.values: dict[str, Any] = {}  # of the fields of ClipInfo

    def add(self, status: Status, reason: str) -> None:
        self.problems.append((status, printable(reason)))

    def inspect(self) -> None:
        file = self.job.file
        if isinstance(file, PackedPath):
            if not file.exists():
                return self.add("missing", "no such file in the shards; pack again, or check the list")
        else:
            try:
                mode = file.stat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                what = "its link has no target" if file.is_symlink() else "no such file"
                return self.add("missing", f"{what}; restore it, or remove it from the list")
            except ValueError as error:
                return self.add("missing", f"not a path ({first_line(error)}); correct the list")
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                return self.add("unreadable", "not a regular file; give a video file, or a folder of frames")
        if file.is_dir():
            return self.inspect_folder(file)
        with io.BytesIO(file.read_bytes()) if isinstance(file, PackedPath) else file.open("rb") as content:
            return self.inspect_file(content)

    def inspect_file(self, file: IO[bytes]) -> None:
        """Hash and decode a video file, and compare its size with its headers."""
        digest = file_digest(file, "sha256")  # type: ignore[arg-type]
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return self.add("empty", "the file is empty (0 bytes); copy or download it again")
        if self.job.is_frames:
            return self.add("unreadable", "it is a file, not a folder of frames; correct the list")
        self.values |= {"num_bytes": size, "content": digest.hexdigest(), "num_frames": 0}
        truncation, _ = find_truncation(file, size)
        try:
            with open_stored_video(self.job.file, limits=NO_TIME_LIMIT) as video:
                notes = self._decode(video)
        except VideoError as error:
            why, num_frames = error_reason(error, self.job.file), self.values["num_frames"]
            if isinstance(error, NoVideoStreamError):
                self.add("no video", why)
            elif truncation:
                self.add("truncated", f"{truncation}: {why}")
            else:
                self.add("damaged" if num_frames else "unreadable", why)
            return None
        missing = [note.removesuffix(": truncated?") for note in notes if "truncated" in note]
        if missing:
            self.add("truncated", f"{', '.join(missing)}; copy or download it again")
        for note in notes:
            if "truncated" not in note:
                self.add("damaged", f"{note}; repair or replace the file")
        self.values["remark"] = suffix_mismatch(file, str(self.job.file))
        return None

    def inspect_folder(self, folder: Any) -> None:
        """Hash and decode the images of a folder of frames, up to the first gap in their numbers."""
        naming, job = self.job.naming, self.job
        files, num_frames = self._plain_images(folder) if naming is None else self._named_images(folder, naming)
        if not files:
            first = "image" if naming is None else naming.name(0, folder=folder)
            return self.add("empty", f"the folder contains no {first}; check the folder and --template")
        digest, num_bytes = sha256(), 0
        for name in files:
            content = (folder / name).read_bytes()
            num_bytes += len(content)
            digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogatepass") + content)
        self.values |= {"num_bytes": num_bytes, "content": digest.hexdigest(), "num_numbered": num_frames}
        if naming is None:
            paths = [folder / name for name in files]
            video = open_images(str(folder), paths, frames_fps=None, limits=NO_TIME_LIMIT)
        else:
            video = open_frames(folder, naming, num_frames=num_frames, limits=NO_TIME_LIMIT)
        bad: list[VideoError] = []
        with video:
            self._decode(video, bad)
        if bad:
            count = f"{len(bad)} of {num_frames} frames cannot be read, the first: " if num_frames > 1 else ""
            self.add("damaged" if len(bad) < num_frames else "unreadable", count + error_reason(bad[0], job.file))
        return None

    def _plain_images(self, folder: Any) -> tuple[list[str], int]:
        """(the files of the frames that every command chooses, their number)."""
        images, notes = frames_in(folder)
        gap = next((note for note in notes if "missing" in note), "")
        self.values["gap"] = f"{gap}; restore it, or renumber the frames" if gap else ""
        return [path.name for path in images], len(images)

    def _named_images(self, folder: Any, naming: FrameNaming) -> tuple[list[str], int]:
        """(the files of the frames before the first gap, the number of these frames)."""
        num_frames, later = consecutive_frames(folder, naming)
        axes = ("x", "y") if naming.paired else ("x",)
        files = [naming.name(i, axis, folder) for i in range(num_frames) for axis in axes]
        if later:
            gap = f"{printable(naming.name(num_frames, folder=folder))} is missing, and {len(later)} frames follow it"
            self.values["gap"] = f"{gap}; restore it, or renumber the frames"
        return files[:1] if naming.in_one_file else files, num_frames

    def _decode(self, video: Video, bad: list[VideoError] | None = None) -> tuple[str, ...]:
        """Decode all frames and return the notes of the video. `bad`: collects the errors of single images."""
        timetable = video.timetable()
        num_expected = 0 if timetable is None else len(timetable) - 1
        quarters = {num_expected * quarter // 4 for quarter in (1, 2, 3)}
        samples: list[FrameHWC] = []  # for the fingerprint
        durations: list[Fraction] = []
        starts: array[float] = array("d")
        self.values |= {"num_frames": 0, "starts": starts}
        end = Fraction(0)
        try:
            for frame in video.decode_frames():
                frame_HWC = _to_rgb(frame, bad, wanted=not starts or frame.index in quarters)
                if frame_HWC is not None and "width" not in self.values:
                    self.values |= {"height": frame_HWC.shape[0], "width": frame_HWC.shape[1]}
                if frame_HWC is not None and frame.index in quarters:
                    samples.append(frame_HWC)
                starts.append(float(frame.seconds))
                end = frame.until
                self.values["num_frames"] = len(starts) - len(bad or ())
                if len(durations) < NUM_DURATIONS:
                    durations.append(frame.until - frame.seconds)
        finally:
            if starts:
                starts.append(float(end))
                self.values["frame_seconds"] = _frame_seconds(durations) if video.timed else None
        notes = video.notes
        if not bad:
            if len(samples) < len(quarters) or num_expected != len(starts) - 1:
                samples, indices = [], sorted({(len(starts) - 1) * quarter // 4 for quarter in (1, 2, 3)})
                with suppress(VideoError):
                    samples = list(video.frames_at(indices).frames_THWC)
            self.values["fingerprint"] = fingerprint(samples)
        return notes


def _to_rgb(frame: DecodedFrame, bad: list[VideoError] | None, *, wanted: bool) -> FrameHWC | None:
    """The pixels of a frame, if wanted. Images (`bad` is given) are all converted: only that decodes them."""
    if bad is None:
        return frame.rgb() if wanted else None
    try:
        return frame.rgb()
    except VideoError as error:
        bad.append(error)
        return None


def _frame_seconds(durations: list[Fraction]) -> Fraction:
    """Mean duration of a frame without outliers (beyond a half of the median): 33, 34, 33 ms -> 1/30 s."""
    middle = median(durations)
    inliers = [d for d in durations if middle / 2 <= d <= middle * 3 / 2]
    return sum(inliers, Fraction(0)) / len(inliers)
