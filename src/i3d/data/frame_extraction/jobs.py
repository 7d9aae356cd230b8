"""Extract one video, or a part of one, to a folder of JPEG frames or optical flow, atomically.

    FrameJob(...).run(settings)      FrameFolder(num_frames=61, ...), or BadVideo(reason=...)

The folder is written under a temporary name and renamed when it is complete. A record in it (RECORD) stores the video,
the settings and the size of the frames in bytes, from which a later run decides whether to reuse it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from i3d.data.flow_files import FILES, FLOW_FORMATS, FlowFormat, write_flow_file
from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.flow_cache import content_digest
from i3d.data.resume import is_current, read_record
from i3d.data.shards import Shards
from i3d.errors import InputError, VideoError, first_line, printable
from i3d.recipes.settings import FlowMethod
from i3d.utils.atomic_files import try_lock, unlocked_files, write_atomically
from i3d.video.base import DEFAULT_LIMITS, FrameHWC, Limits, Video
from i3d.video.flow import ALIGNS, BOUND, METHODS, Align, consecutive_flows, flow_to_bytes
from i3d.video.reader import open_video
from i3d.video.sampling import indices_at_rate
from i3d.video.transforms import resize_frame, short_side_size

RECORD: Final = ".i3d-frames.json"
ENDS: Final = 1 << 16  # bytes at the beginning and at the end of a video that identify it
PARTS: Final = ".i3d-frames-unfinished"  # contains folders while they are written
LOCK, OLD, TRIES = ".lock", ".old", 5


@dataclass(frozen=True)
class FlowSettings:
    """Which optical flow is written instead of frames. An invalid value is an InputError."""

    method: FlowMethod = "tvl1"
    bound: float = BOUND  # pixels that 0 and 255 represent; larger displacements are clipped
    align: Align = "between"  # N frames give N - 1 flows; "frames": N, the first of them twice
    format: FlowFormat = "jpg"  # two images per flow; or one file per clip: "npz", "packed-video"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"flow {self.method!r}: is not one of {', '.join(METHODS)}")
        if not 0 < self.bound <= 1000:
            raise InputError(f"bound {self.bound:g}: must be above 0 and at most 1000 pixels; 20 is usual")
        if self.align not in ALIGNS:
            raise InputError(f"align {self.align!r}: is neither {' nor '.join(ALIGNS)}")
        if self.format not in FLOW_FORMATS:
            raise InputError(f"format {self.format!r}: is not one of {', '.join(FLOW_FORMATS)}")


@dataclass(frozen=True)
class FrameSettings:
    """How frames are written. An invalid value is an InputError."""

    short_side: int | None = None  # pixels; None: unchanged
    jpeg_quality: int = 95
    template: str = "img_{:05d}.jpg"
    first: int = 1  # the number of the first frame
    fps: float | None = None  # None: every frame
    flow: FlowSettings | None = None  # between the frames; None: the frames themselves

    def __post_init__(self) -> None:
        if self.short_side is not None and self.short_side < 1:
            raise InputError(f"short_side {self.short_side}: must be at least 1, or None for the original size")
        if not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"jpeg_quality {self.jpeg_quality}: must be from 1 to 100; 95 is usual")
        if self.first < 0:
            raise InputError(f"first {self.first}: must be at least 0; 1 is usual")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(
                f"fps {self.fps:g}: must be above 0 and at most 1000, or None (--fps native) for every frame"
            )
        if not self.naming.template.lower().endswith((".jpg", ".jpeg")):
            raise InputError(f"template {self.template!r}: the frames are JPEG; end it in .jpg")

        if self.flow is not None and not self.naming.paired:
            raise InputError(
                f"template {self.template!r}: flow has two images per frame; write flow_{{axis}}_{{:05d}}.jpg"
            )

    @property
    def naming(self) -> FrameNaming:
        return FrameNaming(self.template, self.first, "rgb" if self.flow is None else "flow")

    def files(self, index: int) -> list[str]:
        """The file names of frame `index`; the file of a whole clip belongs to its first frame."""
        if self.flow is not None and self.flow.format != "jpg":
            return [FILES[self.flow.format]] if index == 0 else []
        return [self.naming.name(index, axis) for axis in ("xy" if self.flow is not None else "x")]


@dataclass(frozen=True)
class BadVideo:
    """A video of which no frames were written."""

    path: str  # as listed
    reason: str


@dataclass(frozen=True)
class FrameFolder:
    """A complete folder of frames."""

    num_frames: int
    notes: tuple[str, ...]  # remarks on the video: truncated, damaged
    is_reused: bool  # an earlier run has written it


@dataclass(frozen=True)
class FrameJob:
    """One folder of frames to write."""

    path: str  # of the video, as listed
    file: str
    shards: Path | None  # the folder of shards that contains the video
    start_seconds: float | None
    end_seconds: float | None
    out: Path
    folder: str  # in `out`
    limits: Limits = DEFAULT_LIMITS

    @property
    def target(self) -> Path:
        return self.out / self.folder

    @property
    def _mark(self) -> str:
        """The prefix of all unfinished folders of this job."""
        return sha256(self.folder.encode()).hexdigest()[:16]

    @contextmanager
    def part(self) -> Iterator[Path]:
        """A temporary folder, locked by this process until the block ends."""
        for _ in range(TRIES):
            (self.out / PARTS).mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # a run that ends has removed the empty folder
                handle, name = tempfile.mkstemp(dir=self.out / PARTS, prefix=f"{self._mark}-", suffix=LOCK)
                break
        else:
            raise InputError(
                f"{printable(str(self.out / PARTS))}: is removed repeatedly by other runs; wait for their end"
            )
        try_lock(handle)
        lock_file = Path(name)
        part = lock_file.with_suffix("")
        try:
            part.mkdir()
            yield part
        finally:
            _remove(lock_file)
            os.close(handle)

    def made_with(self, settings: FrameSettings) -> dict[str, Any]:
        """All that the frames depend on, except the content of the video."""
        return {"video": self.path, "start": self.start_seconds, "end": self.end_seconds, **asdict(settings)}

    @property
    def signature(self) -> str:
        """A hash of the video's size, beginning and end, which differs from that of another video of the same name."""
        if self.shards is not None:
            data = _open_shards(self.shards).file(self.path).read_bytes()
            size, ends = len(data), data[:ENDS] + data[-ENDS:]
        elif Path(self.file).is_dir():  # of images
            return content_digest(Path(self.file))[:16]
        else:
            with Path(self.file).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                ends = file.read(ENDS)
                file.seek(max(size - ENDS, 0))
                ends += file.read()
        return sha256(f"{size} ".encode() + ends).hexdigest()[:16]

    def clean(self) -> None:
        """Remove what interrupted runs left unfinished of this folder."""
        remove_abandoned_parts(self.out, self._mark)

    def run(self, settings: FrameSettings) -> FrameFolder | BadVideo:
        """Write the folder, or reuse an existing one. An unwritable place is an InputError."""
        try:
            return _existing_folder(self, settings) or _write_folder(self, settings)
        except VideoError as error:
            return BadVideo(self.path, str(error))
        except (MemoryError, cv2.error) as error:
            return BadVideo(self.path, f"{printable(self.file)}: {first_line(error)}; check the file, or replace it")
        except OSError as error:
            raise write_error(self.out, error) from error


def write_error(out: Path, error: OSError) -> InputError:
    where = printable(str(out))
    return InputError(f"{where}: cannot be written ({error.strerror}); free disk space, or choose another folder")


def _existing_folder(job: FrameJob, settings: FrameSettings) -> FrameFolder | None:
    """The folder of an earlier run, if it is complete. Sizes are compared: a power failure may leave empty files."""
    record = read_record(job.target / RECORD)
    if record is None or not is_current(record, job.made_with(settings), job.signature):
        return None
    with os.scandir(job.target) as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries}
    num_frames = record.get("num_frames", 0)
    num_bytes = sum(sizes.get(file, 0) for i in range(num_frames) for file in settings.files(i))
    return FrameFolder(num_frames, tuple(record["notes"]), True) if num_bytes == record.get("num_bytes") else None


def _write_folder(job: FrameJob, settings: FrameSettings) -> FrameFolder:
    """Write the folder under a temporary name, and rename it when it is complete."""
    job.clean()
    with job.part() as part:
        with _open(job) as video:
            resized = (_resized(frame_HWC, settings) for frame_HWC in _frames(video, job, settings.fps))
            num_frames, num_bytes = _write_frames(resized, part, job, settings)
            notes = video.notes
        if not num_frames:
            raise VideoError(
                job.file, "it has one frame, and flow needs two", "remove it from the list, or use --flow-align frames"
            )
        record = {
            "made_with": job.made_with(settings),
            "signature": job.signature,
            "num_frames": num_frames,
            "num_bytes": num_bytes,
            "notes": notes,
        }
        write_atomically(part / RECORD, json.dumps(record, indent=1).encode())
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            job.target.rename(part.with_suffix(OLD))
        try:
            part.rename(job.target)
        except OSError:
            existing = _existing_folder(job, settings)  # another run was faster
            if existing is None:
                raise
            return existing
    return FrameFolder(num_frames, notes, False)


def remove_abandoned_parts(out: Path, mark: str = "") -> None:
    """Remove what interrupted runs left unfinished below `out`; active runs lock theirs."""
    for lock_file in unlocked_files((out / PARTS).glob(f"{mark}*{LOCK}")):
        _remove(lock_file)


def _remove(lock_file: Path) -> None:
    """Remove an unfinished folder, the folder that it replaced, and its lock file."""
    for suffix in ("", OLD):
        shutil.rmtree(lock_file.with_suffix(suffix), ignore_errors=True)
    lock_file.unlink(missing_ok=True)


def _write_frames(frames: Iterator[FrameHWC], part: Path, job: FrameJob, settings: FrameSettings) -> tuple[int, int]:
    """Write the frames, or their flow. Returns their number and their size in bytes."""
    flow, num_frames, num_bytes = settings.flow, 0, 0
    if flow is not None and flow.format != "jpg":
        flows = (
            flow_to_bytes(f, bound=flow.bound) for f in consecutive_flows(frames, method=flow.method, align=flow.align)
        )
        num_frames = write_flow_file(part, flows, kind=flow.format, bound=flow.bound)
        return num_frames, (part / FILES[flow.format]).stat().st_size if num_frames else 0
    for planes in _planes(frames, settings):
        for name, plane in zip(settings.files(num_frames), planes, strict=True):
            with (part / name).open("wb") as file:
                num_bytes += file.write(_jpeg(plane, job, settings))
        num_frames += 1
    return num_frames, num_bytes


def _open(job: FrameJob) -> Video:
    if job.shards is None:
        return open_video(job.file, limits=job.limits)
    return open_video(_open_shards(job.shards).file(job.path).read_bytes(), name=job.file, limits=job.limits)


@lru_cache(maxsize=1)
def _open_shards(root: Path) -> Shards:
    return Shards(root)


def _frames(video: Video, job: FrameJob, fps: float | None) -> Iterator[FrameHWC]:
    """Yield the frames of the video or its part, resampled to `fps`; time 0 of a part is its first frame."""
    if job.start_seconds is None and job.end_seconds is None:
        yield from video.stream(fps=fps)
        return
    first, stop = video.frames_between(job.start_seconds, job.end_seconds)
    indices = np.arange(first, stop)
    if fps is not None:
        table = video.timetable() or [Fraction(0), *(frame.until for frame in video.decode_frames())]
        seconds_T, end = [t - table[first] for t in table[first:stop]], table[stop] - table[first]
        rate = Fraction(fps).limit_denominator(1_000_000)
        indices = first + indices_at_rate(seconds_T, end_seconds=end, fps=rate)
    wanted, repeats = np.unique(indices, return_counts=True)
    for (_, frame_HWC, _), times in zip(video.iter_frames_at(wanted), repeats.tolist(), strict=True):
        for _ in range(times):
            yield frame_HWC


def _resized(frame_HWC: FrameHWC, settings: FrameSettings) -> FrameHWC:
    if settings.short_side is None:
        return frame_HWC
    height, width = short_side_size(*frame_HWC.shape[:2], short_side=settings.short_side)
    return resize_frame(frame_HWC, height=height, width=width)


def _planes(frames: Iterator[FrameHWC], settings: FrameSettings) -> Iterator[tuple[npt.NDArray[np.uint8], ...]]:
    """Yield the images of each frame: one in colour (BGR), or two in grey, for x and y of the flow."""
    if settings.flow is None:
        for frame_HWC in frames:
            yield (np.ascontiguousarray(frame_HWC[..., ::-1]),)
        return
    flow = settings.flow
    for flow_HW2 in consecutive_flows(frames, method=flow.method, align=flow.align):
        bytes_HW2 = flow_to_bytes(flow_HW2, bound=flow.bound)
        yield bytes_HW2[..., 0], bytes_HW2[..., 1]


def _jpeg(plane: npt.NDArray[np.uint8], job: FrameJob, settings: FrameSettings) -> bytes:
    is_encoded, content = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])
    if not is_encoded:
        size = f"{plane.shape[1]} x {plane.shape[0]}"
        raise VideoError(job.file, f"its frames, {size}, cannot be written as JPEG", "make them smaller (--short-side)")
    return bytes(content.data)
