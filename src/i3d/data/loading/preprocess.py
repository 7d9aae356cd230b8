"""Frames as a protocol sees them: at its rate, resized, cropped. Prediction and testing take the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from i3d.errors import VideoError
from i3d.recipes.settings import FlowMethod, Preprocessing, WindowProtocol
from i3d.video.base import FrameHWC, Video
from i3d.video.flow import flow_between, flow_to_bytes
from i3d.video.transforms import center_crop, resize_frame, short_side_size

Transform = Callable[[FrameHWC], FrameHWC]


def window_frames(
    video: Video,
    protocol: WindowProtocol,
    pre: Preprocessing,
    *,
    between: tuple[int, int] | None = None,
    whole: bool = False,
) -> Iterator[FrameHWC]:
    """Every frame at the rate of the protocol, or of those first..stop; windows are cut of them.

    (crop, crop, C), or `whole` as it is before the crop.
    """

    def changed(frame_HWC: FrameHWC) -> FrameHWC:
        small_HWC = resized(video, frame_HWC, short_side=pre.short_side)
        if whole:
            return small_HWC.copy()
        square_HWC: FrameHWC = center_crop(small_HWC[None], size=pre.crop)[0]
        return square_HWC.copy()

    return video.stream(fps=protocol.fps, transform=changed, between=between)


def flow_at(
    video: Video, indices: Sequence[int], small: Transform, *, method: FlowMethod, fps: float | None = None
) -> list[FrameHWC]:
    """The flow (H, W, 2) that leads to each of these frames from the one before it; that of frame 0 is frame 1's.

    Frames are those at a rate, and flow is between these; None: the video's own. `small`: how they are resized.
    """
    if fps is not None:
        return _flow_at_rate(video, indices, small, method=method, fps=fps)
    num_frames = video.count_frames()
    pairs = {index: (max(index, 1) - 1, min(max(index, 1), num_frames - 1)) for index in indices}
    wanted = sorted({frame for pair in pairs.values() for frame in pair})
    found = video.frames_at(wanted, transform=small).frames_THWC
    frame_at = dict(zip(wanted, found, strict=True))
    flows = {pair: flow_between(*(frame_at[frame] for frame in pair), method=method) for pair in set(pairs.values())}
    return [flow_to_bytes(flows[pairs[index]]) for index in indices]


def _flow_at_rate(
    video: Video, indices: Sequence[int], small: Transform, *, method: FlowMethod, fps: float
) -> list[FrameHWC]:
    wanted, found, before_HWC = set(indices), {}, None
    for number, frame_HWC in enumerate(video.stream(fps=fps, transform=small)):
        if number in wanted or (number == 1 and 0 in wanted):
            before_HWC = frame_HWC if before_HWC is None else before_HWC
            found[number] = flow_to_bytes(flow_between(before_HWC, frame_HWC, method=method))
        before_HWC = frame_HWC
    return [found[1] if index == 0 and 1 in found else found[index] for index in indices]


def resized(video: Video, frame_HWC: FrameHWC, *, short_side: int) -> FrameHWC:
    """A frame of a video at a short side. One that would become monstrous is a VideoError."""
    height, width = short_side_size(*frame_HWC.shape[:2], short_side=short_side)
    check_size(video, (height, width), frame_HWC.shape)
    return resize_frame(frame_HWC, height=height, width=width)


def check_size(video: Video, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    """A sliver of a video would become monstrous at the short side of the others."""
    if size[0] * size[1] > video.limits.max_pixels:
        raise VideoError(video.name, f"its frames of {shape[1]} x {shape[0]} are too narrow", "crop them first")
