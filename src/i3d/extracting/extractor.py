"""From a video to rows of features: decode and resize once, slide, crop, network, one layer.

Letters in names: R rows, V views of a row, T frames, H rows of pixels, W columns, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.views import resized
from i3d.errors import InputError, VideoError
from i3d.extracting.rows import Row, windows_of_stream
from i3d.models.build import I3D
from i3d.models.forward import autocast
from i3d.recipes.features import POOLED, FeatureSettings
from i3d.recipes.settings import FlowMethod, Preprocessing
from i3d.video.flow import BOUND, flow_to_bytes, flows_of
from i3d.video.reader import FrameHWC, Video
from i3d.video.sampling import loop
from i3d.video.transforms import crop_boxes, flip, normalize

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Stream:
    """A network and what it is shown: RGB frames, or the flow between them."""

    net: I3D
    preprocessing: Preprocessing
    flow: FlowMethod | None  # None: RGB


@dataclass(frozen=True, eq=False)
class Extracted:
    """The rows of a video: (R, C), with several crops (R, V, C), with the grid kept (R, V, T, H, W, C)."""

    values: Floats
    rows: tuple[Row, ...]
    seconds: tuple[tuple[float, float], ...]  # from when to when each is
    num_frames: int  # of the stream that rows count in
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Extractor:
    """Networks on a device, and what is asked of them. Several streams are concatenated along the channels."""

    streams: tuple[Stream, ...]
    settings: FeatureSettings
    device: torch.device
    precision: str
    bound: float = BOUND  # pixels that flow is clipped to
    change: Callable[[Iterator[FrameHWC]], Iterator[FrameHWC]] | None = None  # of the resized frames, to compare

    def __post_init__(self) -> None:
        for stream in self.streams:
            known = endpoints(stream.net)
            if self.settings.layer not in known:
                raise InputError(f"layer {self.settings.layer!r}: this network has {', '.join(known)}")
        if self.settings.grid and self.settings.layer == POOLED:
            raise InputError(
                f"grid: {POOLED!r} is averaged; name an endpoint, such as {endpoints(self.streams[0].net)[-1]}"
            )

    def __call__(
        self, video: Video, *, max_rows: int | None = None, on_row: Callable[[int], None] = lambda _: None
    ) -> Extracted:
        """The rows of one video, or its first ones. One that has none, or cannot be read, is a VideoError."""
        if len({stream.preprocessing.short_side for stream in self.streams}) > 1:
            raise InputError("the networks want frames of different sizes; extract each stream alone")
        rows: list[Row] = []
        values: list[Floats] = []
        times = _Times(video, self.settings.fps)
        for row, window in windows_of_stream(self._frames(video, times), self.settings):
            rows.append(row)
            values.append(self._row(window))
            on_row(len(rows))
            if len(rows) == max_rows:
                break
        if not rows:
            have = f"it has {times.count} frames{f' at {self.settings.fps:g} fps' if self.settings.fps else ''}"
            raise VideoError(video.name, f"{have}, a row takes {self.settings.window}", "use padding repeat, or less")
        seconds = tuple(times.of(row) for row in rows)
        return Extracted(np.stack(values), tuple(rows), seconds, times.count, video.notes)

    def _frames(self, video: Video, times: _Times) -> Iterator[FrameHWC]:
        """Frames as the streams see them, side by side along the channels: RGB, x and y of flow, or both."""
        short_side = self.streams[0].preprocessing.short_side
        frames = times.noting(partial(resized, video, short_side=short_side))
        frames = frames if self.change is None else self.change(frames)
        methods = [stream.flow for stream in self.streams]
        if not any(methods):
            yield from frames
            return
        held: list[FrameHWC] = []

        def kept() -> Iterator[FrameHWC]:
            for frame_HWC in frames:
                held.append(frame_HWC)
                yield frame_HWC

        method = next(method for method in methods if method)
        for flow_HW2 in flows_of(kept(), method=method, align="frames"):
            parts = {None: held.pop(0), method: flow_to_bytes(flow_HW2, bound=self.bound)}
            yield np.concatenate([parts[one] for one in methods], axis=-1)

    def _row(self, window: list[FrameHWC]) -> Floats:
        """The features (C), (V, C) or (V, T, H, W, C) of one window."""
        of_streams, first = [], 0
        for stream in self.streams:
            channels = 2 if stream.flow else 3
            clips_VTHWC = _views(window, slice(first, first + channels), stream, self.settings)
            of_streams.append(self._features(stream, clips_VTHWC))
            first += channels
        joined_VC: Floats = np.concatenate(of_streams, axis=-1)
        return joined_VC[0] if len(joined_VC) == 1 and not self.settings.grid else joined_VC

    def _features(self, stream: Stream, clips_VTHWC: npt.NDArray[np.uint8]) -> Floats:
        """(V, C) or (V, T, H, W, C) float32 of uint8 clips, one at a time: no number depends on its neighbours."""
        s, pre, net = self.settings, stream.preprocessing, stream.net
        if clips_VTHWC.shape[1] < net.min_frames:
            clips_VTHWC = clips_VTHWC[:, loop(clips_VTHWC.shape[1], length=net.min_frames)]
        found = []
        with torch.inference_mode(), autocast(self.device, self.precision):
            for clip_THWC in clips_VTHWC:
                x_VCTHW = normalize(torch.from_numpy(clip_THWC).to(self.device)[None], mean=pre.mean, std=pre.std)
                if s.layer == POOLED:
                    found.append(net.pooled(x_VCTHW).float())
                    continue
                map_VTHWC = net.features(x_VCTHW, endpoint=s.layer).float().permute(0, 2, 3, 4, 1)
                found.append(map_VTHWC if s.grid else map_VTHWC.mean(dim=(1, 2, 3)))
        values: Floats = torch.cat(found).cpu().numpy()
        if not np.isfinite(values).all():
            raise InputError(f"the network gave NaN or infinity in {self.precision}; use --precision fp32")
        return values


def endpoints(net: I3D) -> tuple[str, ...]:
    """The layers of a network that features can be of."""
    from i3d.models import inception, resnet

    named = inception.ENDPOINTS if isinstance(net, inception.InceptionI3D) else resnet.ENDPOINTS
    return POOLED, *named


def _views(
    window: Sequence[FrameHWC], channels: slice, stream: Stream, settings: FeatureSettings
) -> npt.NDArray[np.uint8]:
    """The crops (V, T, size, size, C) of a window, as one stream sees them."""
    size, views = stream.preprocessing.crop, []
    height, width = window[0].shape[:2]
    kind: Any = "ten" if settings.crops == "five" else settings.crops
    for number, (top, left, mirrored) in enumerate(crop_boxes(height, width, size=size, crops=kind)):
        if settings.crops == "five" and number % 2:  # the mirror images of the ten
            continue
        clip_THWC = np.stack([frame[top : top + size, left : left + size, channels] for frame in window])
        views.append(flip(clip_THWC) if mirrored else clip_THWC)
        if settings.flip and settings.crops != "ten":
            views.append(flip(clip_THWC))
    return np.stack(views)


class _Times:
    """The frames of a video at a rate, and when they are on the screen."""

    def __init__(self, video: Video, fps: float | None) -> None:
        self._video, self._fps = video, fps
        self._ends: list[float] = []  # of the frames of a video without a rate
        self.count = 0

    def noting(self, transform: Callable[[FrameHWC], FrameHWC]) -> Iterator[FrameHWC]:
        if self._fps is not None:
            for frame_HWC in self._video.stream(fps=self._fps, transform=transform):
                self.count += 1
                yield frame_HWC
            return
        for frame_HWC, until in self._video.shown(transform=transform):
            self.count += 1
            self._ends.append(until)
            yield frame_HWC

    def of(self, row: Row) -> tuple[float, float]:
        """From when to when the frames of a row are shown; what is repeated at the ends is not there."""
        first, stop = max(row.first, 0), min(row.stop, self.count)
        if self._fps is not None:
            return first / self._fps, stop / self._fps
        return (self._ends[first - 1] if first else 0.0), self._ends[stop - 1]
