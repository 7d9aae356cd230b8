"""What a network is shown of a video: windows that follow each other, or clips spread over it, as uint8.

Letters in names: T frames, H rows, W columns, C channels, V views.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from i3d.data.loading.flow_cache import ClipFlow, content_digest
from i3d.data.loading.preprocess import resized, window_frames
from i3d.recipes.settings import ClipProtocol, Preprocessing, Protocol, WindowProtocol
from i3d.video.base import FrameHWC, Limits, Source, Video
from i3d.video.reader import open_video
from i3d.video.sampling import protocol_clips, windows
from i3d.video.transforms import center_crop, crop_views


class View(NamedTuple):
    """One view of a video."""

    clip_THWC: npt.NDArray[np.uint8]
    seconds: float  # of the video that it adds


class EndOfVideo(NamedTuple):
    """There are no more views of a video; what was seen of it."""

    frames_decoded: int
    timed: bool  # False: the frames carried no times
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ViewSampler:
    """How a network sees videos; one of optical flow sees the flow between their frames."""

    protocol: Protocol
    preprocessing: Preprocessing
    flow: ClipFlow | None

    def views(
        self, source: Source, *, frames_fps: float | None = None, limits: Limits | None = None
    ) -> Iterator[View | EndOfVideo]:
        """All views of a video, in their order, and how it ended. Raises VideoError if it cannot be read.

        The memory of windows does not grow with its length. Each frame is decoded once; of clips, those that they hold
        are converted.
        """
        content = None if self.flow is None else _content_of(source, frames_fps)
        with open_video(source, frames_fps=frames_fps, limits=limits or Limits()) as video:
            if isinstance(self.protocol, WindowProtocol):
                yield from self._windows(video, self.protocol, content)
            else:
                yield from self._clips(video, self.protocol, content)
            yield EndOfVideo(video.frames_decoded, video.timed, video.notes)

    def _windows(self, video: Video, protocol: WindowProtocol, content: str | None) -> Iterator[View]:
        """Windows that follow each other, of frames at a rate."""
        pre = self.preprocessing
        frames = window_frames(video, protocol, pre)
        if self.flow is not None:
            flows = self.flow.stream(video, content, fps=protocol.fps)
            frames = (center_crop(flow_HW2[None], size=pre.crop)[0].copy() for flow_HW2 in flows)
        for clip_THWC in windows_of(frames, protocol):
            yield View(clip_THWC, len(clip_THWC) / protocol.fps)

    def _clips(self, video: Video, protocol: ClipProtocol, content: str | None) -> Iterator[View]:
        """Clips spread over the video, each in all its crops."""
        pre = self.preprocessing
        rate = protocol.target_fps if self.flow is not None else None  # flow is between frames at this rate
        of = partial(protocol_clips, protocol=protocol, fps=(rate or video.fps) if protocol.target_fps else None)
        if self.flow is not None:
            num_frames = video.count_frames() if rate is None else sum(1 for _ in video.stream(fps=rate))
            indices_VT = of(num_frames)
            wanted = np.unique(indices_VT)
            frames_THWC = self.flow.at(video, content, wanted, fps=rate)
            shown = rate or video.fps or 0.0
            seconds_T = wanted / shown if shown else np.zeros(len(wanted))
        else:
            small = partial(resized, video, short_side=pre.short_side)
            promised, num_frames = 0, video.num_frames
            while promised != num_frames:  # packets promise other frames than can be decoded: once more
                promised, indices_VT = num_frames, of(num_frames)
                wanted = np.unique(indices_VT)
                found, num_frames = video.frames_at_and_count(wanted, transform=small)
            frames_THWC, seconds_T = found.frames_THWC, found.seconds_T
        video.frames_decoded = num_frames
        for indices_T in indices_VT:
            clip_THWC = frames_THWC[np.searchsorted(wanted, indices_T)]
            lasts = float(np.ptp(seconds_T[np.searchsorted(wanted, indices_T)]))
            crops = crop_views(clip_THWC, size=pre.crop, crops=protocol.crops)
            yield from (View(crop_THWC, lasts / len(crops)) for crop_THWC in crops)


def windows_of(frames: Iterator[FrameHWC], protocol: WindowProtocol) -> Iterator[npt.NDArray[np.uint8]]:
    """Cut a stream of frames into clips (T, H, W, C) exactly as `sampling.windows` cuts their number.

    At most two windows of frames are held at a time.
    """
    size = protocol.max_window_frames
    held: list[FrameHWC] = []
    for frame_HWC in frames:
        held.append(frame_HWC)
        if len(held) == 2 * size:
            yield np.stack(held[:size])
            del held[:size]
    if held:
        for start, stop in windows(len(held), max_frames=size):
            yield np.stack(held[start:stop])


def _content_of(source: Source, frames_fps: float | None) -> str | None:
    """A hash of a file, or of a folder of frames at a rate; None: of anything else."""
    if not isinstance(source, (str, os.PathLike)) or not Path(source).exists():
        return None
    digest = content_digest(Path(source))
    return digest if frames_fps is None else f"{digest} at {frames_fps:g}"
