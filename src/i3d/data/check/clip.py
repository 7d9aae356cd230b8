"""What is known of one clip after every frame of it was decoded: its facts, and all that is wrong with it.

    look(ClipJob("clips/a.mp4", None, False, None))      Facts(num_frames=250, width=320, ..., problems=())

It runs in a process that may be killed (`limited`), so nothing here waits for anything but the clip itself.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import stat
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import IO, Any, Final, Literal, TypeVar, get_args

from i3d.data.check.duplicates import Fingerprint, fingerprint
from i3d.data.check.file_headers import cut_short, misnamed
from i3d.data.frame_folders import FrameNaming, frames_in_a_row, open_frames
from i3d.data.shards import Shards
from i3d.errors import VideoError, first_line, printable
from i3d.video.base import TIME_TOLERANCE, DecodedFrame, FrameHWC, Limits, NoVideoStreamError, Video
from i3d.video.images import ImagesVideo, images_in
from i3d.video.reader import open_video

Status = Literal[
    "missing", "empty", "unreadable", "no video", "crashed", "timeout", "truncated", "damaged", "wrong count",
    "too short", "duplicate", "near-duplicate", "ok",
]  # fmt: skip
STATUSES: Final[tuple[Status, ...]] = get_args(Status)  # the most serious first
Problem = tuple[Status, str]  # and why

PATIENT: Final = Limits(max_seconds=float("inf"))  # the process has a limit of its own
NUM_DURATIONS: Final = 1000  # frames by which the frame rate is known
READ_BYTES: Final = 1 << 20

J = TypeVar("J")
A = TypeVar("A")


@dataclass(frozen=True)
class Allowance:
    """What looking at one clip may cost."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class ClipJob:
    """One file, or one folder of frames, to look at: once, however often it is listed."""

    file: str  # to open, or the name of it in messages
    name: str  # in the shards
    shards: Path | None  # the folder of shards that holds it
    is_frames: bool
    naming: FrameNaming | None  # of the frames of a folder; None: any images, in natural order


@dataclass(frozen=True)
class ClipInfo:
    """What was found. Frames and seconds are those of the whole file."""

    problems: tuple[Problem, ...] = ()
    remark: str = ""  # what is odd and does no harm
    num_frames: int | None = None  # that could be decoded
    num_there: int | None = None  # pictures of a folder that follow each other, decodable or not
    gap: str = ""  # what lacks between them and others
    width: int | None = None
    height: int | None = None
    frame_seconds: Fraction | None = None  # how long most frames are shown; None: they have no times
    starts: array[float] = field(default_factory=lambda: array("d"))  # when each frame is shown, and when the last ends
    num_bytes: int | None = None
    content: str = ""  # SHA-256 in hexadecimal digits
    fingerprint: Fingerprint | None = None

    @property
    def seconds(self) -> float | None:
        return self.starts[-1] if self.frame_seconds is not None and len(self.starts) else None

    @property
    def fps(self) -> float | None:
        return self.num_frames / self.seconds if self.num_frames and self.seconds else None

    def frames_between(self, start_seconds: float | None, end_seconds: float | None) -> int:
        """How many frames are on the screen in a part, as `Video.frames_between` counts them; 0: it begins too late."""
        tolerance = float(TIME_TOLERANCE)
        begin = (start_seconds or 0) + tolerance
        if len(self.starts) < 2 or begin >= self.starts[-1]:
            return 0
        first, stop = bisect_right(self.starts, begin) - 1, len(self.starts) - 1
        if end_seconds is not None:
            stop = min(bisect_left(self.starts, end_seconds - tolerance), stop)
        return max(stop - first, 1)


def limited(job: J, run: Callable[[J], A], *, allowed: Allowance) -> A:
    """`run(job)` in this process, which the system ends (SIGALRM) if that takes longer, whatever it hangs in.

    Allocations beyond the memory that is allowed fail.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = allowed.memory_bytes if hard == resource.RLIM_INFINITY else min(allowed.memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # not Python's: that would wait for the call that hangs
    signal.setitimer(signal.ITIMER_REAL, allowed.seconds)
    try:
        return run(job)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def inspect_clip(job: ClipJob) -> ClipInfo:
    """Decode every frame of a clip. Whatever is wrong with it is among its problems; nothing is raised."""
    found = _Findings(job)
    try:
        if job.shards is not None:
            shards = _opened(job.shards)
            if job.name not in shards:
                return found.facts(("missing", "no such file in the shards; pack again, or check the list"))
            if shards.has_folder(job.name):
                found.look_at_folder(shards.folder(job.name))
            else:
                content = shards.file(job.name).read_bytes()
                found.look_at_file(io.BytesIO(content), lambda: open_video(content, name=job.file, limits=PATIENT))
            return found.facts()
        kind, problem = _kind(job)
        if problem is not None:
            return found.facts(problem)
        if kind == "folder":
            found.look_at_folder(Path(job.file))
        else:
            with Path(job.file).open("rb") as file:
                found.look_at_file(file, lambda: open_video(job.file, limits=PATIENT))
    except VideoError as error:
        found.add("unreadable", reason_of(error, job.file))
    except OSError as error:
        found.add("unreadable", f"cannot be read ({error.strerror}); check its rights and the disk")
    except MemoryError:
        found.add("crashed", "decoding it takes more memory than one clip may; replace it, or raise the limit")
    except Exception as error:  # one clip must never stop the others
        found.add("crashed", f"decoding it failed ({type(error).__name__}: {first_line(error)}); replace it")
    return found.facts()


def reason_of(error: VideoError, file: str) -> str:
    """What an error says, without the name of the clip, which stands beside it."""
    name, why = os.path.basename(error.name), f"{error.why}; {error.todo}"  # noqa: PTH119
    return printable(why if name == os.path.basename(file) else f"{name}: {why}")  # noqa: PTH119


@lru_cache(maxsize=1)
def _opened(root: Path) -> Shards:
    return Shards(root)


def _kind(job: ClipJob) -> tuple[str, Problem | None]:
    """Whether it is a file or a folder, and what is wrong if it is neither or the wrong one."""
    try:
        found = os.stat(job.file)  # noqa: PTH116 (names that are not UTF-8)
    except (FileNotFoundError, NotADirectoryError):
        is_link = os.path.islink(job.file)  # noqa: PTH114
        return "", ("missing", f"{'its link leads nowhere' if is_link else 'no such file'}; restore it, or unlist it")
    except ValueError as error:
        return "", ("missing", f"not a path ({first_line(error)}); correct the list")
    if stat.S_ISDIR(found.st_mode):
        return "folder", None
    if not stat.S_ISREG(found.st_mode):
        return "", ("unreadable", "not a regular file; give a video file, or a folder of frames")
    if found.st_size == 0:
        return "", ("empty", "the file is empty (0 bytes); copy or download it again")
    if job.is_frames:
        return "", ("unreadable", "it is a file, not a folder of frames; correct the list")
    return "file", None


class _Findings:
    """Facts as they come in."""

    def __init__(self, job: ClipJob) -> None:
        self.job = job
        self.problems: list[Problem] = []
        self.known: dict[str, Any] = {}

    def add(self, status: Status, why: str) -> None:
        self.problems.append((status, printable(why)))

    def facts(self, *more: Problem) -> ClipInfo:
        return ClipInfo((*self.problems, *more), **self.known)

    def look_at_file(self, file: IO[bytes], opened: Callable[[], Video]) -> None:
        """A video file: hash it, decode it, and see from its own headers whether all of it is there."""
        digest = sha256()
        while block := file.read(READ_BYTES):
            digest.update(block)
        size = file.tell()
        if size == 0:
            return self.add("empty", "the file is empty (0 bytes); copy or download it again")
        self.known |= {"num_bytes": size, "content": digest.hexdigest(), "num_frames": 0}
        lacking, surely = cut_short(file, size)
        try:
            with opened() as video:
                notes = self._decode(video)
        except VideoError as error:
            why, num_frames = reason_of(error, self.job.file), self.known["num_frames"]
            if isinstance(error, NoVideoStreamError):
                self.add("no video", why)
            elif lacking:
                self.add("truncated", f"{lacking}: {why}")
            else:
                self.add("damaged" if num_frames else "unreadable", why)
            return None
        short = [note.removesuffix(": truncated?") for note in notes if "truncated" in note]
        if short or (lacking and surely):
            self.add("truncated", f"{', '.join([*filter(None, [lacking]), *short])}; copy or download it again")
        for note in notes:
            if "truncated" not in note:
                self.add("damaged", f"{note}; repair or replace the file")
        self.known["remark"] = misnamed(file, self.job.file)
        return None

    def look_at_folder(self, folder: Any) -> None:
        """A folder of frames: hash and decode each picture. Those that follow after a gap are not part of the clip."""
        naming, job = self.job.naming, self.job
        if naming is None:
            files = [path.name for path in images_in(folder)]
            num_frames = len(files)
        else:
            num_frames, later = frames_in_a_row(folder, naming)
            axes = ("x", "y") if naming.paired else ("x",)
            files = [naming.name(i, axis) for i in range(num_frames) for axis in axes]
            files = files[:1] if naming.in_one_file else files
            if later:
                gap = f"{printable(naming.name(num_frames))} is missing, and {len(later)} frames follow it"
                self.known["gap"] = f"{gap}; restore it, or number anew"
        if not files:
            what = "the folder holds no picture" if naming is None else f"the folder holds no {naming.name(0)}"
            return self.add("empty", f"{what}; check the folder and --template")
        digest, num_bytes = sha256(), 0
        for name in files:
            content = (folder / name).read_bytes()
            num_bytes += len(content)
            digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogatepass") + content)
        self.known |= {"num_bytes": num_bytes, "content": digest.hexdigest(), "num_there": num_frames}
        if naming is None:
            paths = [folder / name for name in files]
            video: Video = ImagesVideo(job.file, paths, frames_fps=None, limits=PATIENT)
        else:
            video = open_frames(folder, naming, num_frames=num_frames, limits=PATIENT)
        bad: list[VideoError] = []
        with video:
            self._decode(video, bad)
        if bad:
            of = f"{len(bad)} of {num_frames} frames cannot be read, the first: " if num_frames > 1 else ""
            self.add("damaged" if len(bad) < num_frames else "unreadable", of + reason_of(bad[0], job.file))
        return None

    def _decode(self, video: Video, bad: list[VideoError] | None = None) -> tuple[str, ...]:
        """Every frame in its order, and the notes of the video; `bad` (of stills): what cannot be read is put there."""
        timetable = video.timetable()
        num_expected = 0 if timetable is None else len(timetable) - 1
        marks = {num_expected * quarter // 4 for quarter in (1, 2, 3)}
        shown: list[FrameHWC] = []
        durations: list[Fraction] = []
        starts: array[float] = array("d")
        self.known |= {"num_frames": 0, "starts": starts}
        end = Fraction(0)
        try:
            for picture in video.decode_frames():
                frame_HWC = _converted(picture, bad, wanted=not starts or picture.index in marks)
                if frame_HWC is not None and "width" not in self.known:
                    self.known |= {"height": frame_HWC.shape[0], "width": frame_HWC.shape[1]}
                if frame_HWC is not None and picture.index in marks:
                    shown.append(frame_HWC)
                starts.append(float(picture.seconds))
                end = picture.until
                self.known["num_frames"] = len(starts) - len(bad or ())
                if len(durations) < NUM_DURATIONS:
                    durations.append(picture.until - picture.seconds)
        finally:
            if starts:
                starts.append(float(end))
                self.known["frame_seconds"] = _usual(durations) if video.timed else None
        notes = video.notes
        if not bad:
            if len(shown) < len(marks) or num_expected != len(starts) - 1:
                shown = _quarters(video, len(starts) - 1)
            self.known["fingerprint"] = fingerprint(shown)
        return notes


def _converted(picture: DecodedFrame, bad: list[VideoError] | None, *, wanted: bool) -> FrameHWC | None:
    """The pixels of a frame. Of stills all are wanted: making pixels of them is what decodes them."""
    if bad is None:
        return picture.rgb() if wanted else None
    try:
        return picture.rgb()
    except VideoError as error:
        bad.append(error)
        return None


def _quarters(video: Video, num_frames: int) -> list[FrameHWC]:
    """The frames at 1/4, 1/2 and 3/4, of a video whose packets did not tell which they are."""
    places = sorted({num_frames * quarter // 4 for quarter in (1, 2, 3)})
    with suppress(VideoError):
        return list(video.frames_at(places).frames_THWC)
    return []


def _usual(durations: list[Fraction]) -> Fraction:
    """How long a frame is shown, on average of those that are shown about as long as most: 1/30 of 33, 34, 33 ms."""
    middle = median(durations)
    usual = [d for d in durations if middle / 2 <= d <= middle * 3 / 2]
    return sum(usual, Fraction(0)) / len(usual)
