"""The frames of a protocol: at its rate, resized, cropped. Prediction and testing share these functions."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from i3d.errors import InputError, VideoError
from i3d.recipes.augmentation import Augmentation
from i3d.recipes.settings import FlowMethod, FrameGeometry, Preprocessing, WindowProtocol
from i3d.video.base import FrameHWC, Limits, Transform, Video
from i3d.video.flow import flow_to_bytes, flows_of_pairs
from i3d.video.geometry import Geometry
from i3d.video.photometric import rand_augment
from i3d.video.transforms import apply_steps, center_crop, shape_after

ResizedFrame = tuple[int, FrameHWC, Geometry]  # its index first


class FrameSource(Protocol):
    """What frames come from: a video, or a live source."""

    name: str
    limits: Limits


def window_frames(
    video: Video,
    protocol: WindowProtocol,
    pre: Preprocessing,
    *,
    between: tuple[int, int] | None = None,
    uncropped: bool = False,
) -> Iterator[FrameHWC]:
    """The frames of a video at the rate of a protocol, of which windows are made; `between`: only of first..stop.

    Each is (crop, crop, C), or before the crop if `uncropped`.
    """

    def transform(frame_HWC: FrameHWC) -> FrameHWC:
        small_HWC = resize_checked(video, frame_HWC, geometry=pre)
        return (small_HWC if uncropped else center_crop(small_HWC[None], size=pre.crop)[0]).copy()

    return video.stream(fps=protocol.fps, transform=transform, between=between)


def stated_num_frames(video: Video, *, fps: float | None, between: tuple[int, int] | None = None) -> int | None:
    """How many frames `stream` will yield at a rate, if the video is as long as its header states; None: unknown."""
    total = video.stated_frames
    if fps is not None and video.timed and video.stated_seconds is not None:
        total = max(round(video.stated_seconds * fps), 1)
    if between is None or total is None:
        return total
    return round(total * (between[1] - between[0]) / max(video.num_frames, 1))


def flow_at(
    video: Video, indices: Sequence[int], resize: Transform, *, method: FlowMethod, fps: float | None = None
) -> list[FrameHWC]:
    """The flow (H, W, 2) to each of these frames from the one before it; frame 0 gets the flow of frame 1.

    `fps`: the frames are those at this rate; None: the video's own.
    """
    wanted, flow_to = set(indices), dict[int, FrameHWC]()
    frames: Iterable[tuple[int, FrameHWC]] = enumerate(video.stream(fps=fps, transform=resize))
    if fps is None:  # only these frames and their predecessors are decoded, from the nearest key frames
        needed = np.unique([*indices, *(abs(index - 1) for index in indices if index or video.num_frames > 1)])
        frames = ((number, frame_HWC) for number, frame_HWC, _ in video.iter_frames_at(needed, transform=resize))
    numbers: list[int] = []

    def pairs() -> Iterator[tuple[FrameHWC, FrameHWC]]:
        previous_HWC = None
        for number, frame_HWC in frames:
            if number in wanted or (number == 1 and 0 in wanted):
                numbers.append(number)
                yield frame_HWC if previous_HWC is None else previous_HWC, frame_HWC
            previous_HWC = frame_HWC

    for place, flow_HW2 in enumerate(flows_of_pairs(pairs(), method=method)):
        flow_to[numbers[place]] = flow_to_bytes(flow_HW2)
    return [flow_to[1] if index == 0 and 1 in flow_to else flow_to[index] for index in indices]


def resize_checked(video: FrameSource, frame_HWC: FrameHWC, *, geometry: FrameGeometry) -> FrameHWC:
    """A frame before its crops. One that would become too large, or is too small for them, is a VideoError."""
    checked_shape(video, frame_HWC.shape, geometry)
    return apply_steps(frame_HWC, geometry.resizes)


def checked_shape(video: FrameSource, shape: tuple[int, ...], geometry: FrameGeometry) -> tuple[int, int]:
    """(height, width) before the crops. Frames that become too large, or are too small for them, are a VideoError."""
    height, width = shape[:2]
    try:
        shapes = shape_after(geometry.resizes, height, width)
    except InputError as error:
        why, todo = str(error).split("; ")
        raise VideoError(video.name, why, todo) from error
    for height, width in shapes:
        check_size(video, (height, width), shape)
    if min(height, width) < geometry.crop:
        what = f"a crop of {geometry.crop} does not fit into frames of {width} x {height}"
        raise VideoError(video.name, what, "resize them first")
    return height, width


def check_size(video: FrameSource, size: tuple[int, int], shape: tuple[int, ...]) -> None:
    """A VideoError if a frame would become too large: very narrow frames do when their short side is enlarged."""
    if size[0] * size[1] > video.limits.max_pixels:
        raise VideoError(video.name, f"its frames of {shape[1]} x {shape[0]} are too narrow", "crop them first")


def change_frames(
    resized: Iterator[ResizedFrame], augmentation: Augmentation, rng: np.random.Generator
) -> Iterator[ResizedFrame]:
    """Resized frames of a training clip, changed if RandAugment comes before the crop: all are then in memory."""
    settings = augmentation.rand_augment
    if settings is None or not settings.before_crop:
        yield from resized
        return
    frames, resized_D, geometries = zip(*resized, strict=True)
    resized_DHWC = np.stack(resized_D)
    rand_augment(resized_DHWC, settings, rng=rng)
    yield from zip(frames, resized_DHWC, geometries, strict=True)
