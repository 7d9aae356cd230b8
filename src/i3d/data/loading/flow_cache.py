"""The optical flow of videos, computed once and then read from the cache.

Each cached file holds the flow of one part of one video, under a hash of all that it depends on: the content of the
video, the method, the size and rate of the frames. It is lossless: all epochs get the same flow.

Letters in names: D distinct frames, H rows, W columns.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from i3d.data.content import CHANGED, content_digest
from i3d.data.flow_files import flow_as_rgb, flow_from_rgb
from i3d.data.loading.preprocess import flow_at, resize_checked, stated_num_frames
from i3d.errors import InputError, VideoError
from i3d.recipes.settings import FlowMethod, FrameGeometry, NetworkSettings, Preprocessing, flow_method
from i3d.utils.atomic_files import writing_to
from i3d.utils.cache import Cache, cache_key
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.base import FrameHWC, Video
from i3d.video.flow import BOUND, consecutive_flows, flow_to_bytes
from i3d.video.reader import open_video
from i3d.video.writer import write_lossless

VERSION: Final = 2
SUFFIX: Final = ".flow.mkv"
REPORT_EVERY: Final = 10  # frames
FramesDHWC = npt.NDArray[np.uint8]

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class ClipFlow:
    """Clips as optical flow: of folders of frames it is stored there; of videos it is computed and cached."""

    method: FlowMethod = "dis"
    short_side: int = 256  # of the frames between which training computes it
    cache: Cache = field(default_factory=Cache.default)

    @classmethod
    def from_network(
        cls, network: NetworkSettings, preprocessing: Preprocessing, cache: Cache | None = None
    ) -> Self | None:
        """The flow that a network was trained on; None for a network of RGB."""
        method = flow_method(network, preprocessing)
        return None if method is None else cls(method, preprocessing.flow_short_side, cache or Cache.default())

    def open(
        self,
        video: Video,
        content: str,
        *,
        short_side: int,
        fps: float | None = None,
        between: tuple[int, int] | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Video:
        """The flow between the frames first..stop of a video (None: all) at a rate (None: its own) and a short side.

        Flow i, in red and green of frame i, leads to frame i from the one before it; flow 0 repeats flow 1.
        `flow_from_rgb` extracts it. It is computed if it is not cached, or damaged. `content`: a hash of the video
        (`content_digest`). `on_progress` is called with the number of computed frames.
        """
        key = cache_key(
            kind="flow",
            version=VERSION,
            content=content,
            method=self.method,
            bound=BOUND,
            short_side=short_side,
            fps=fps,
            part=between,
            opencv=cv2.__version__,
        )
        path = self.cache.path(key, SUFFIX)
        record = self.cache.load_json(key)
        try:  # the hash of when it was written, as a decoder would not notice a wrong bit
            is_intact = {"notes", "frames"} <= set(record) and record["sha256"] == content_digest(path)
        except (TypeError, KeyError, VideoError):  # no record, or no file
            is_intact = False
        if record is not None and path.exists() and not is_intact:
            log.warning("%s: damaged since it was cached; the flow is computed again", path)
        if not is_intact:
            flows = self._flow_bytes(video, short_side=short_side, fps=fps, between=between, on_progress=on_progress)
            self._write(path, flows)
            self._check_unchanged(video, content, path)
            record = {"sha256": content_digest(path), "notes": video.notes, "frames": video.frames_decoded}
            self.cache.save_json(key, record)
        video.restore_notes(record["notes"], frames_decoded=record["frames"])
        return open_video(path)

    def _check_unchanged(self, video: Video, content: str, cached: Path) -> None:
        """A VideoError, and nothing is cached, if a file changed since its hash was computed."""
        source = Path(video.name)
        if source.exists() and not content.startswith(content_digest(source)):
            cached.unlink()
            raise VideoError(video.name, *CHANGED)

    def stream(
        self, video: Video, content: str | None, *, fps: float, on_progress: ProgressCallback = ignore_progress
    ) -> Iterator[FrameHWC]:
        """The flow (H, W, 2) that leads to every frame of a video at a rate.

        It is cached if the video has a hash. If it cannot be written, a note of the video reports that.
        """
        if cached := self.open_or_note(video, content, fps, on_progress=on_progress):
            with cached as flow:
                yield from flow.stream(transform=flow_from_rgb)
            return
        yield from self._flow_bytes(video, short_side=self.short_side, fps=fps, on_progress=on_progress)

    def at(
        self,
        video: Video,
        content: str | None,
        wanted_D: npt.NDArray[np.int64],
        *,
        fps: float | None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> FramesDHWC:
        """The flow (D, H, W, 2) that leads to some frames of a video, at a rate or of its own.

        The flow of the whole video is cached if at least half of its frames are wanted; else only theirs is computed.
        """
        wants_half = 2 * len(wanted_D) >= int(wanted_D[-1]) + 1
        if cached := self.open_or_note(video, content if wants_half else None, fps, on_progress=on_progress):
            with cached as flow:
                return np.stack([flow_HW2 for _, flow_HW2, _ in flow.iter_frames_at(wanted_D, transform=flow_from_rgb)])
        resize = partial(resize_checked, video, geometry=FrameGeometry(short_side=self.short_side, crop=1))
        return np.stack(flow_at(video, wanted_D.tolist(), resize, method=self.method, fps=fps))

    def open_or_note(
        self,
        video: Video,
        content: str | None,
        fps: float | None,
        *,
        between: tuple[int, int] | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Video | None:
        """`open`; None if the video has no hash, or the flow cannot be written, which a note of the video reports."""
        if content is None:
            return None
        try:
            return self.open(
                video, content, short_side=self.short_side, fps=fps, between=between, on_progress=on_progress
            )
        except InputError as error:
            video.restore_notes([str(error)], frames_decoded=0)
            return None

    def _flow_bytes(
        self,
        video: Video,
        *,
        short_side: int,
        fps: float | None,
        between: tuple[int, int] | None = None,
        on_progress: ProgressCallback,
    ) -> Iterator[FrameHWC]:
        """Compute the flow that leads to each frame."""
        resize = partial(resize_checked, video, geometry=FrameGeometry(short_side=short_side, crop=1))
        frames = video.stream(fps=fps, transform=resize, between=between)
        stage, total = f"{self.method} flow", stated_num_frames(video, fps=fps, between=between)
        on_progress(Progress(stage, 0, total, "frame", name=video.name))
        for number, flow_HW2 in enumerate(consecutive_flows(frames, method=self.method, align="frames"), start=1):
            if number % REPORT_EVERY == 0 or self.method == "tvl1":
                total = None if total is None else max(total, number)
                on_progress(Progress(stage, number, total, "frame", name=video.name))
            yield flow_to_bytes(flow_HW2)

    def _write(self, path: Path, flows: Iterator[FrameHWC]) -> None:
        what = f"{self.cache.folder}: the computed flow"
        with writing_to(what, "free disk space, or choose another folder with --cache"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_lossless(path, map(flow_as_rgb, flows), fps=Fraction(25))
