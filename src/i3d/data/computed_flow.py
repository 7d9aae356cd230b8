"""The flow of clips that come as RGB: computed when it is first asked for, kept, and read from there ever after.

Each file holds the flow of one part of one video, by a hash of all that it depends on: the content of the video, the
method, the size and rate of the frames. It is lossless, so that the first epoch sees what the others see.

Letters in names: H rows, W columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from i3d.cache import Cache, key_of
from i3d.data.flow_files import coloured
from i3d.data.views import resized
from i3d.errors import InputError, VideoError, printable
from i3d.recipes.settings import FlowMethod, Network, Preprocessing, flow_method
from i3d.video.flow import BOUND, flow_to_bytes, flows_of
from i3d.video.reader import FrameHWC, Video, open_video
from i3d.video.stills import images_in
from i3d.video.writer import write_lossless

VERSION: Final = 1
SUFFIX: Final = ".flow.mkv"


@dataclass(frozen=True)
class FlowOfClips:
    """A dataset's clips are seen as flow: stored flow is read; of videos it is computed so, and kept in the cache."""

    method: FlowMethod = "tvl1"
    short_side: int = 256  # of the frames that training computes it between
    cache: Cache = field(default_factory=Cache.usual)

    @classmethod
    def of(cls, network: Network, preprocessing: Preprocessing, cache: Cache | None = None) -> FlowOfClips | None:
        """As a network takes it; None: it takes RGB."""
        method = flow_method(network, preprocessing)
        return None if method is None else cls(method, preprocessing.short_side, cache or Cache.usual())

    def frames(
        self,
        video: Video,
        content: str,
        *,
        short_side: int,
        fps: float | None = None,
        between: tuple[int, int] | None = None,
        wanted: Sequence[int] | None = None,
    ) -> Iterator[FrameHWC]:
        """The flow (H, W, 2) uint8 that leads to each frame of a part of a video at a rate, or to the `wanted` ones.

        The first frame has that of the second. `content`: a hash of the video (`digest_of`). `wanted` counts, upwards,
        from the first frame of the part.
        """
        key = key_of(
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
        small, num_given = partial(resized, video, short_side=short_side), 0
        for is_last_try in (False, True):
            if not self._is_whole(key):
                self._keep(key, video.stream(fps=fps, transform=small, between=between))
            try:
                for flow_HW2 in _read(self.cache.path(key, SUFFIX), wanted, skip=num_given):
                    num_given += 1
                    yield flow_HW2
                return
            except VideoError:  # the disk has damaged it
                if is_last_try:
                    raise
                self.cache.path(key, SUFFIX).unlink(missing_ok=True)

    def _is_whole(self, key: str) -> bool:
        try:
            return bool(self.cache.record(key) == {"bytes": self.cache.path(key, SUFFIX).stat().st_size})
        except OSError:
            return False

    def _keep(self, key: str, frames: Iterator[FrameHWC]) -> None:
        path = self.cache.path(key, SUFFIX)
        flows = (flow_to_bytes(flow_HW2) for flow_HW2 in flows_of(frames, method=self.method, align="frames"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_lossless(path, coloured(flows), fps=Fraction(25))
            self.cache.keep_record(key, {"bytes": path.stat().st_size})
        except OSError as error:
            raise InputError(
                f"{printable(str(self.cache.folder))}: flow cannot be kept there ({error.strerror or error}); make "
                "room, or say where with --cache"
            ) from error


def digest_of(path: Path) -> str:
    """The hash of a video file, or of a folder of frames."""
    try:
        files = images_in(path) if path.is_dir() else [path]
        return _digest(tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files))
    except OSError as error:
        raise VideoError(str(path), f"cannot be read ({error.strerror})", "check the path and its rights") from error


@lru_cache(maxsize=1 << 16)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    """Of files as they are now: a worker, which stays, reads each only once for it."""
    digest = hashlib.sha256()
    for name, size, _ in files:
        digest.update(f"{size} ".encode())
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _read(path: Path, wanted: Sequence[int] | None, *, skip: int) -> Iterator[FrameHWC]:
    with open_video(path) as video:
        if wanted is None:
            frames = (frame_HWC for number, frame_HWC in enumerate(video.stream()) if number >= skip)
        else:
            frames = (frame_HWC for _, frame_HWC, _ in video.each(np.array(wanted[skip:], np.int64)))
        for frame_HWC in frames:
            yield frame_HWC[..., :2].copy()
