"""Frames as a protocol sees them: at its rate, resized, cropped. Prediction and testing take the same ones."""

from __future__ import annotations

from collections.abc import Iterator

from i3d.errors import VideoError
from i3d.recipes.settings import Preprocessing, WindowProtocol
from i3d.video.reader import FrameHWC, Video
from i3d.video.transforms import center_crop, resize_frame, short_side_size


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


def resized(video: Video, frame_HWC: FrameHWC, *, short_side: int) -> FrameHWC:
    """A frame of a video at a short side. One that would become monstrous is a VideoError."""
    height, width = short_side_size(*frame_HWC.shape[:2], short_side=short_side)
    check_size(video, (height, width), frame_HWC.shape)
    return resize_frame(frame_HWC, height=height, width=width)


def check_size(video: Video, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    """A sliver of a video would become monstrous at the short side of the others."""
    if size[0] * size[1] > video.limits.max_pixels:
        raise VideoError(video.name, f"its frames of {shape[1]} x {shape[0]} are too narrow", "crop them first")
