"""The views of a video for prediction: consecutive windows, or clips spread over it, as uint8.

Letters in names: T frames, H rows, W columns, C channels, V views.
"""

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from i3d.data.content import content_digest
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.preprocess import resize_checked, stated_num_frames, window_frames
from i3d.recipes.settings import ClipProtocol, Preprocessing, Protocol, WindowProtocol
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import FrameHWC, Limits, Source, Video
from i3d.video.reader import open_video
from i3d.video.sampling import protocol_clips, windows
from i3d.video.transforms import center_crop, crop_views

LONG_VIDEO: Final = 1 << 30  # frames, more than any clip spans


class View(NamedTuple):
    """One view of a video."""

    clip_THWC: npt.NDArray[np.uint8]
    num_views: int | None  # of the whole video, as its header states it, for progress; None: unknown
    numbers_T: npt.NDArray[np.int64]  # of its frames: in the video, or at the rate of `frame_rate`


class EndOfVideo(NamedTuple):
    """Follows the last view of a video."""

    frames_decoded: int
    timed: bool  # False: the frames have no times
    notes: tuple[str, ...]
    coverage: float  # the fraction of the video's length that the views span
    looped: bool  # the video is shorter than a clip, whose frames are repeated


@dataclass(frozen=True)
class ViewSampler:
    """Cuts the views of a protocol from videos, or from the optical flow between their frames."""

    protocol: Protocol
    preprocessing: Preprocessing
    flow: ClipFlow | None

    @property
    def frame_rate(self) -> float | None:
        """The rate at which frames are numbered; None: they are those of the video."""
        if isinstance(self.protocol, WindowProtocol):
            return self.protocol.fps
        return self.protocol.target_fps if self.flow is not None else None  # flow is between frames at this rate

    def views(
        self,
        source: Source,
        *,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Iterator[View | EndOfVideo]:
        """All views of a video in order, then `EndOfVideo`. Raises VideoError if the video cannot be read.

        Each frame is decoded once. Windows need the same memory for any length of the video. Of clips, only frames that
        are part of one are converted to RGB. `on_progress` is called with the number of frames whose flow is computed.
        """
        content = None if self.flow is None else hash_of_source(source, frames_fps)
        with open_video(source, frames_fps=frames_fps, limits=limits or Limits()) as video:
            coverage, looped = 1.0, False
            if isinstance(self.protocol, WindowProtocol):
                yield from self._windows(video, self.protocol, content, on_progress)
            else:
                name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
                coverage, looped = yield from self._clips(video, self.protocol, content, on_progress, name=name)
            yield EndOfVideo(video.frames_decoded, video.timed, video.notes, coverage, looped)

    def _windows(
        self, video: Video, protocol: WindowProtocol, content: str | None, on_progress: ProgressCallback
    ) -> Iterator[View]:
        pre = self.preprocessing
        frames = window_frames(video, protocol, pre)
        if self.flow is not None:
            flows = self.flow.stream(video, content, fps=protocol.fps, on_progress=on_progress)
            frames = (center_crop(flow_HW2[None], size=pre.crop)[0].copy() for flow_HW2 in flows)
        first = 0
        for clip_THWC in windows_of(frames, protocol):
            yield View(clip_THWC, _num_windows(video, protocol), np.arange(first, first + len(clip_THWC)))
            first += len(clip_THWC)

    def _clips(
        self, video: Video, protocol: ClipProtocol, content: str | None, on_progress: ProgressCallback, *, name: str
    ) -> Generator[View, None, tuple[float, bool]]:
        """Yield the views of all clips; return the fraction of the video's length that they span, and if one loops."""
        pre = self.preprocessing
        rate = self.frame_rate
        fps = (rate or video.fps) if protocol.target_fps else None
        sample = partial(protocol_clips, protocol=protocol, fps=fps, name=str(name))
        if self.flow is not None:
            num_frames = video.count_frames() if rate is None else sum(1 for _ in video.stream(fps=rate))
            indices_VT = sample(num_frames)
            wanted = np.unique(indices_VT)
            frames_THWC = self.flow.at(video, content, wanted, fps=rate, on_progress=on_progress)
        else:
            resize = partial(resize_checked, video, geometry=pre)
            expected, num_frames = 0, video.num_frames
            while expected != num_frames:  # again, if fewer frames could be decoded than the packets announce
                expected, indices_VT = num_frames, sample(num_frames)
                wanted = np.unique(indices_VT)
                sampled, num_frames = video.frames_at_and_count(wanted, transform=resize)
            frames_THWC = sampled.frames_THWC
        video.frames_decoded = num_frames
        for indices_T in indices_VT:
            clip_THWC = frames_THWC[np.searchsorted(wanted, indices_T)]
            crops = crop_views(clip_THWC, size=pre.crop, crops=protocol.crops)
            yield from (View(crop_THWC, len(indices_VT) * len(crops), indices_T) for crop_THWC in crops)
        needed = protocol.clip_len if protocol.placement == "scattered" else _frames_of_clip(sample)
        return coverage_of(indices_VT, num_frames=num_frames), num_frames < needed


def _num_windows(video: Video, protocol: WindowProtocol) -> int | None:
    num_frames = stated_num_frames(video, fps=protocol.fps)
    return None if num_frames is None else len(windows(num_frames, max_frames=protocol.max_window_frames))


def _frames_of_clip(sample: Callable[[int], npt.NDArray[np.int64]]) -> int:
    """How many frames of a video a clip spans, where the video is long enough."""
    return int(np.ptp(sample(LONG_VIDEO)[0])) + 1


def coverage_of(indices_VT: npt.NDArray[np.int64], *, num_frames: int) -> float:
    """The fraction of a video's frames that lie between the first and the last frame of some clip."""
    is_covered = np.zeros(num_frames, np.bool_)
    for indices_T in indices_VT:
        is_covered[indices_T.min() : indices_T.max() + 1] = True
    return float(is_covered.mean())


def windows_of(frames: Iterator[FrameHWC], protocol: WindowProtocol) -> Iterator[npt.NDArray[np.uint8]]:
    """Cut a stream of frames into clips (T, H, W, C), as `sampling.windows` cuts a number of frames.

    At most two windows of frames are in memory: the division of the last ones depends on how many frames are left.
    """
    size = protocol.max_window_frames
    buffer: list[FrameHWC] = []
    for frame_HWC in frames:
        buffer.append(frame_HWC)
        if len(buffer) == 2 * size:
            yield np.stack(buffer[:size])
            del buffer[:size]
    if buffer:
        for start, stop in windows(len(buffer), max_frames=size):
            yield np.stack(buffer[start:stop])


def hash_of_source(source: Source, frames_fps: float | None = None) -> str | None:
    """A hash of a file, or of a folder of frames at a rate; None for other sources."""
    if not isinstance(source, (str, os.PathLike)) or not Path(source).exists():
        return None
    digest = content_digest(Path(source))
    return digest if frames_fps is None else f"{digest} at {frames_fps:g}"
