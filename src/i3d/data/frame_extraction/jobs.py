"""Extract one video, or a part of one, to a folder of JPEG frames or optical flow, atomically.

    FrameJob(...).run(settings)      FrameFolder(num_frames=61, ...), or BadVideo(reason=...)

The folder is written under a temporary name and renamed when it is complete. A record in it (RECORD) stores the video,
the settings and the size of the frames in bytes, from which a later run decides whether to reuse it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from i3d.data.content import CHANGED, content_digest
from i3d.data.flow_files import FILES, FlowFormat, flow_from_rgb, write_flow_file
from i3d.data.frame_folders import RECORD, FrameNaming
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.preprocess import stated_num_frames
from i3d.data.resume import is_current, read_record
from i3d.data.shards import PackedPath, open_stored_video
from i3d.errors import InputError, VideoError, abridged, first_line
from i3d.recipes.settings import FlowMethod
from i3d.utils.atomic_files import unfinished_folder, write_atomically, writing_to
from i3d.utils.cache import Cache
from i3d.utils.process_pool import report_part
from i3d.utils.progress import Progress
from i3d.video.base import FrameHWC, Video
from i3d.video.flow import BOUND, Align, consecutive_flows, flow_to_bytes
from i3d.video.frame_names import is_image
from i3d.video.transforms import resize_frame, short_side_size

WRITE_TODO: Final = "free disk space, or choose another folder"


@dataclass(frozen=True)
class FlowSettings:
    """Which optical flow is written instead of frames. An invalid bound is an InputError."""

    method: FlowMethod = "tvl1"
    bound: float = BOUND  # pixels that 0 and 255 represent; larger displacements are clipped
    align: Align = "between"  # N frames give N - 1 flows; "frames": N, the first of them twice
    format: FlowFormat = "jpg"  # two images per flow; or one file per clip: "npz", "packed-video"

    def __post_init__(self) -> None:
        if not 0 < self.bound <= 1000:
            raise InputError(f"bound {self.bound:g}: must be above 0 and at most 1000 pixels; 20 is usual")


@dataclass(frozen=True)
class FrameSettings:
    """How frames are written. An invalid value is an InputError."""

    short_side: int | None = None  # pixels; None: unchanged
    jpeg_quality: int = 95  # 1 to 100
    template: str = ""  # file names of the frames; by default img_{:05d}.jpg, of flow flow_{axis}_{:05d}.jpg
    first: int = 1  # the number of the first frame
    fps: float | None = None  # None: every frame
    flow: FlowSettings | None = None  # between the frames; None: the frames themselves

    def __post_init__(self) -> None:
        default = "img_{:05d}.jpg" if self.flow is None else "flow_{axis}_{:05d}.jpg"
        object.__setattr__(self, "template", self.template or default)
        if self.fps is not None and not 0 < self.fps <= 1000:
            allowed = "must be above 0 and at most 1000, or None (--fps native) for every frame"
            raise InputError(f"fps {self.fps:g}: {allowed}")
        if "/" in self.template or "{folder}" in self.template:
            todo = "each video gets a folder; write img_{:05d}.jpg"
            raise InputError(f"template {self.template!r}: it names a folder; {todo}")
        if not self.naming.template.lower().endswith((".jpg", ".jpeg")):
            raise InputError(f"template {self.template!r}: the frames are JPEG; end it in .jpg")
        if self.flow is not None and not self.naming.paired:
            why = "flow has two images per frame; write flow_{axis}_{:05d}.jpg"
            raise InputError(f"template {self.template!r}: {why}")

    @property
    def naming(self) -> FrameNaming:
        return FrameNaming(self.template, self.first, "rgb" if self.flow is None else "flow")

    @property
    def caches_flow(self) -> bool:
        """Whether its flow is the one that other commands compute: of the usual bound, between smaller frames."""
        return self.flow is not None and self.flow.bound == BOUND and self.short_side is not None

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
    file: Path | PackedPath
    start_seconds: float | None
    end_seconds: float | None
    out: Path
    folder: str  # in `out`

    @property
    def target(self) -> Path:
        return self.out / self.folder

    def made_with(self, settings: FrameSettings) -> dict[str, Any]:
        """All that the frames depend on, except the content of the video."""
        return {"video": self.path, "start": self.start_seconds, "end": self.end_seconds, **asdict(settings)}

    @property
    def signature(self) -> str:
        """A hash of the content of the video."""
        return content_digest(self.file)

    @property
    def place(self) -> str:
        """The absolute path of the video; empty in shards."""
        return os.path.abspath(self.file) if isinstance(self.file, Path) else ""  # noqa: PTH100 (keeps links)

    def is_of(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is of this video, by its place or else its content; True if that cannot be read."""
        return record.get("file") == self.place or self.has_content(record.get("signature"), unreadable=True)

    def has_content(self, signature: object, *, unreadable: bool = False) -> bool:
        """Whether the video has this signature; `unreadable` if it cannot be read, which `run` reports."""
        try:
            return self.signature == signature
        except VideoError:
            return unreadable

    def run(self, settings: FrameSettings, cache: Cache | None = None) -> FrameFolder | BadVideo:
        """Write the folder, or reuse an existing one. An unwritable place is an InputError.

        `cache`: where flow is read from, and stored for other commands.
        """
        try:
            with writing_to(f"{self.out}:", WRITE_TODO):
                return _existing_folder(self, settings) or _write_folder(self, settings, cache)
        except VideoError as error:
            return BadVideo(self.path, str(error))
        except (MemoryError, cv2.error) as error:
            return self.bad(first_line(error))

    def bad(self, why: str) -> BadVideo:
        return BadVideo(self.path, str(VideoError(str(self.file), why, "check the file, or replace it")))


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


def _write_folder(job: FrameJob, settings: FrameSettings, cache: Cache | None) -> FrameFolder:
    """Write the folder under a temporary name, and rename it when it is complete."""
    with unfinished_folder(job.out) as temporary:
        part = temporary / "new"
        part.mkdir()
        signature = job.signature
        with open_stored_video(job.file) as video:
            if settings.flow is None:
                images = ([np.ascontiguousarray(frame_HWC[..., ::-1])] for frame_HWC in _frames(video, job, settings))
                num_frames, num_bytes = _write_images(images, part, job, settings)
            else:
                flows = _flows(video, job, settings, settings.flow, signature, cache)
                num_frames, num_bytes = _write_flow(flows, part, job, settings, settings.flow)
            notes = video.notes
        if not num_frames:
            todo = "remove it from the list, or use --flow-align frames"
            raise VideoError(str(job.file), "it has one frame, and flow needs two", todo)
        if job.signature != signature:
            raise VideoError(str(job.file), *CHANGED)
        record = {
            "made_with": job.made_with(settings),
            "file": job.place,
            "signature": signature,
            "num_frames": num_frames,
            "num_bytes": num_bytes,
            "notes": notes,
        }
        write_atomically(part / RECORD, json.dumps(record, indent=1).encode())
        job.target.parent.mkdir(parents=True, exist_ok=True)
        _check_replaceable(job)
        with suppress(FileNotFoundError):
            job.target.rename(temporary / "old")
        try:
            part.rename(job.target)
        except OSError:
            existing = _existing_folder(job, settings)  # another run was faster
            if existing is None:
                raise
            return existing
    return FrameFolder(num_frames, notes, False)


def _check_replaceable(job: FrameJob) -> None:
    """A VideoError if the folder of a clip holds files that i3d did not write: they would be lost with it."""
    names = {path.name for path in job.target.iterdir()} if job.target.exists() else set()
    others = sorted(name for name in names if name not in (RECORD, *FILES.values()) and not is_image(name))
    if others:
        what = f"its old folder {job.target} also holds {abridged(others, 3)}, which i3d did not write"
        raise VideoError(str(job.file), what, "move such files away")


def _flows(
    video: Video, job: FrameJob, settings: FrameSettings, flow: FlowSettings, content: str, cache: Cache | None
) -> Iterator[FrameHWC]:
    """The flow of the video or its part as bytes: from the cache, if it has the usual bound and short side."""
    cached = None
    if cache is not None and settings.short_side is not None and settings.caches_flow:
        clip_flow = ClipFlow(flow.method, settings.short_side, cache)
        cached = clip_flow.open_or_note(
            video, content, settings.fps, between=_part(video, job), on_progress=_report_flow
        )
    if cached is None:
        flows = consecutive_flows(_frames(video, job, settings), method=flow.method, align=flow.align)
        yield from (flow_to_bytes(flow_HW2, bound=flow.bound) for flow_HW2 in flows)
        return
    with cached:
        yield from islice(cached.stream(transform=flow_from_rgb), int(flow.align == "between"), None)
    _check_length(video, job)


def _write_flow(
    flows: Iterator[FrameHWC], part: Path, job: FrameJob, settings: FrameSettings, flow: FlowSettings
) -> tuple[int, int]:
    """Write flow as images, or as one file. Returns the number of flows and their size in bytes."""
    if flow.format == "jpg":
        return _write_images(([flow_HW2[..., 0], flow_HW2[..., 1]] for flow_HW2 in flows), part, job, settings)
    num_frames = write_flow_file(part, flows, kind=flow.format, bound=flow.bound)
    return num_frames, (part / FILES[flow.format]).stat().st_size if num_frames else 0


def _write_images(
    images: Iterator[list[npt.NDArray[np.uint8]]], part: Path, job: FrameJob, settings: FrameSettings
) -> tuple[int, int]:
    """Write the images of each frame. Returns the number of frames and their size in bytes."""
    num_frames = num_bytes = 0
    for planes in images:
        for name, plane in zip(settings.files(num_frames), planes, strict=True):
            with (part / name).open("wb") as file:
                num_bytes += file.write(_jpeg(plane, job, settings))
        num_frames += 1
    return num_frames, num_bytes


def _part(video: Video, job: FrameJob) -> tuple[int, int] | None:
    """The frames of the listed part; None: all."""
    if job.start_seconds is None and job.end_seconds is None:
        return None
    return video.frames_between(job.start_seconds, job.end_seconds)


def _check_length(video: Video, job: FrameJob) -> None:
    """A VideoError if the decoded frames end within the listed part."""
    between = _part(video, job)
    if between is not None and video.frames_decoded < between[1]:
        raise VideoError(str(job.file), f"there is no frame {video.frames_decoded}", "check the file")


def _frames(video: Video, job: FrameJob, settings: FrameSettings) -> Iterator[FrameHWC]:
    """Yield the frames of the video or its part, resampled and resized; time 0 of a part is its first frame."""
    between = _part(video, job)
    total = stated_num_frames(video, fps=settings.fps, between=between)

    def resized(frame_HWC: FrameHWC) -> FrameHWC:
        if settings.short_side is None:
            return frame_HWC
        height, width = short_side_size(*frame_HWC.shape[:2], short_side=settings.short_side)
        return resize_frame(frame_HWC, height=height, width=width)

    for number, frame_HWC in enumerate(video.stream(fps=settings.fps, transform=resized, between=between)):
        _report(number, total)
        yield frame_HWC
    _check_length(video, job)


def _report_flow(progress: Progress) -> None:
    _report(progress.completed, progress.total)


def _report(completed: float, total: float | None) -> None:
    """Report how many frames are done, if their number is known."""
    if total is not None:
        report_part(completed, max(total, completed))


def _jpeg(plane: npt.NDArray[np.uint8], job: FrameJob, settings: FrameSettings) -> bytes:
    is_encoded, content = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])
    if not is_encoded:
        what = f"its frames, {plane.shape[1]} x {plane.shape[0]}, cannot be written as JPEG"
        raise VideoError(str(job.file), what, "make them smaller (--short-side)")
    return bytes(content.data)
