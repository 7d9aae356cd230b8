"""Resizing, cropping and mirroring of frames: pure functions of arrays.

Letters in names: V views, T frames, H rows, W columns, C channels. Frames are uint8, RGB.
Resizing is OpenCV's bilinear without anti-aliasing, with which the published checkpoints were trained.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from i3d.errors import InputError
from i3d.recipes.settings import CropCenter, FrameStep, Fused
from i3d.utils.arguments import checks_types

FrameArray = npt.NDArray[np.uint8]


def short_side_size(height: int, width: int, *, short_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the shorter is `short_side`; halves round up, as in MMAction2.

    256 x 454 to short side 224 -> 224 x 397
    """
    scale = short_side / min(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def resize_frame(frame_HWC: FrameArray, *, height: int, width: int) -> FrameArray:
    """Resize one frame to `height` x `width`, without keeping the aspect ratio."""
    if frame_HWC.shape[:2] == (height, width):
        return frame_HWC
    return cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def shape_after(steps: Sequence[FrameStep], height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) after each step. A crop that does not fit is an InputError."""
    shapes: list[tuple[int, int]] = []
    for step in steps:
        if isinstance(step, Fused):
            height, width = shape_after(step.steps, height, width)[-1]
        elif isinstance(step, CropCenter):
            if step.size[0] > height or step.size[1] > width:
                raise InputError(f"{step} does not fit into frames of {width} x {height}; resize them first")
            height, width = step.size
        elif step.size is not None:
            height, width = step.size
        elif step.within is not None:
            scale = min(max(step.within) / max(height, width), min(step.within) / min(height, width))
            height, width = max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)
        else:
            assert step.short_side is not None
            height, width = short_side_size(height, width, short_side=step.short_side)
        shapes.append((height, width))
    return shapes


def apply_steps(frame_HWC: FrameArray, steps: Sequence[FrameStep]) -> FrameArray:
    """The frame after each of the steps."""
    for step, (height, width) in zip(steps, shape_after(steps, *frame_HWC.shape[:2]), strict=True):
        if isinstance(step, CropCenter):
            top, left = ((side - size) // 2 for side, size in zip(frame_HWC.shape[:2], step.size, strict=True))
            frame_HWC = frame_HWC[top : top + height, left : left + width]
        else:
            if isinstance(step, Fused):
                top, left, bottom, right = fused_box(step, *frame_HWC.shape[:2])
                frame_HWC = frame_HWC[top:bottom, left:right]
            frame_HWC = resize_frame(frame_HWC, height=height, width=width)
    return frame_HWC


def fused_box(step: Fused, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of what fused steps leave of a frame, in its own pixels.

    short side 41, then centre 32 x 32, of 70 x 50 -> 4, 15, 43, 54
    """
    box, shape = (0.0, 0.0, float(height), float(width)), (height, width)
    for one, after in zip(step.steps, shape_after(step.steps, height, width), strict=True):
        if isinstance(one, CropCenter):
            top, left = (shape[0] - after[0]) // 2, (shape[1] - after[1]) // 2
            box = unscaled_box((top, left, top + after[0], left + after[1]), shape, box)
        shape = after
    return whole_box(box, height, width)


Edges = tuple[float, float, float, float]  # top, left, bottom, right


def unscaled_box(inner: tuple[int, int, int, int], shape: tuple[int, int], outer: Edges) -> Edges:
    """The edges of a box in a frame of `shape` that stands for `outer` of another frame, in that one's pixels.

    They are float32, as in MMAction2, whose rounding to whole pixels follows from it.
    """
    sides = [float(np.float32(outer[i + 2] - outer[i])) for i in range(2)]
    top, left, bottom, right = (
        float(np.float32(outer[i % 2] + inner[i] * sides[i % 2] / shape[i % 2])) for i in range(4)
    )
    return top, left, bottom, right


def whole_box(box: Edges, height: int, width: int) -> tuple[int, int, int, int]:
    """A box rounded to whole pixels, halves to even: never empty, never outside of a frame of `height` x `width`."""
    top, left = min(round(box[0]), height - 1), min(round(box[1]), width - 1)
    return top, left, max(round(box[2]), top + 1), max(round(box[3]), left + 1)


@checks_types
def center_crop(frames_THWC: FrameArray, *, size: int) -> FrameArray:
    """The middle `size` x `size` of every frame: (T, size, size, C)."""
    top, left = (side - _fits(side, size) for side in frames_THWC.shape[1:3])
    return _crop(frames_THWC, top=top // 2, left=left // 2, size=size)


def three_crop(frames_THWC: FrameArray, *, size: int) -> FrameArray:
    """Three squares along the longer side, in MMAction2's order (start, end, middle): (3, T, size, size, C).

    Along the shorter side, if that is longer than `size`, they are centred (as in SlowFast).
    """
    height, width = frames_THWC.shape[1:3]
    _fits(min(height, width), size)
    across, along = sorted((height, width))
    middle, step = (across - size) // 2, (along - size) // 2
    corners = [(middle, at) if height <= width else (at, middle) for at in (0, 2 * step, step)]
    return np.stack([_crop(frames_THWC, top=top, left=left, size=size) for top, left in corners])


def ten_crop(frames_THWC: FrameArray, *, size: int) -> FrameArray:
    """Four corners and the middle, each followed by its mirror image: (10, T, size, size, C)."""
    step_y, step_x = ((side - _fits(side, size)) // 4 for side in frames_THWC.shape[1:3])
    corners = [(0, 0), (0, 4 * step_x), (4 * step_y, 0), (4 * step_y, 4 * step_x), (2 * step_y, 2 * step_x)]
    crops = (_crop(frames_THWC, top=top, left=left, size=size) for top, left in corners)
    return np.stack([view for crop in crops for view in (crop, flip(crop))])


def with_mirror_image(frames_THWC: FrameArray) -> FrameArray:
    """The frames, and their mirror image: (2, T, H, W, C)."""
    return np.stack([frames_THWC, flip(frames_THWC)])


def crop_views(frames_THWC: FrameArray, *, size: int, crops: Literal["center", "two", "three", "ten"]) -> FrameArray:
    """All crops of a protocol: (views, T, size, size, C)."""
    match crops:
        case "center":
            return center_crop(frames_THWC, size=size)[None]
        case "two":
            return with_mirror_image(center_crop(frames_THWC, size=size))
        case "three":
            return three_crop(frames_THWC, size=size)
        case "ten":
            return ten_crop(frames_THWC, size=size)


def flip(frames_THWC: FrameArray) -> FrameArray:
    """Mirror every frame left to right; of flow (2 channels), also negate the displacement along x."""
    flipped_THWC = frames_THWC[:, :, ::-1]
    if flipped_THWC.shape[-1] != 2:
        return flipped_THWC
    flipped_THWC = flipped_THWC.copy()
    mirror_flow(flipped_THWC)
    return flipped_THWC


def mirror_flow(frames_HWC: FrameArray) -> None:
    """Negate the displacement along x of flow as bytes (2 channels): 255 - x, in place; RGB stays unchanged."""
    if frames_HWC.shape[-1] == 2:
        np.subtract(255, frames_HWC[..., 0], out=frames_HWC[..., 0])


def crop_boxes(
    height: int, width: int, *, size: int, crops: Literal["center", "two", "three", "ten"]
) -> list[tuple[int, int, bool]]:
    """(top, left, mirrored) of each crop of a protocol, in the order of `crop_views`."""
    # The row and column of each pixel.
    places = np.stack([*np.indices((height, width)), np.zeros((height, width), int)], axis=-1)
    views = crop_views(places[None], size=size, crops=crops)
    return [
        (int(view[0, 0, :, 0].min()), int(view[0, 0, :, 1].min()), bool(view[0, 0, 0, 1] > view[0, 0, -1, 1]))
        for view in views
    ]


def _crop(frames_THWC: FrameArray, *, top: int, left: int, size: int) -> FrameArray:
    return frames_THWC[:, top : top + size, left : left + size]


def _fits(side: int, size: int) -> int:
    if side < size:
        raise ValueError(f"a crop of {size} does not fit into a side of {side}; resize first")
    return size
