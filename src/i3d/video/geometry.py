"""Random resize, crop and flip: drawn once per clip, applied to every frame of it.

Letters in names: H rows, W columns, C channels. Resampling is OpenCV's bilinear, as in `transforms`.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from i3d.errors import InputError
from i3d.recipes.augmentation import Augmentation, CenterCrop, Crop, MultiScaleCrop, RandomCrop, RandomResizedCrop
from i3d.recipes.settings import FrameStep
from i3d.video.transforms import (
    FrameArray,
    apply_steps,
    mirror_flow,
    resize_frame,
    shape_after,
    short_side_size,
    unscaled_box,
    whole_box,
)


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Geometry:
    """The operations on each frame: `steps`, resize to `resized`, crop `box`, resize to `size` x `size`, mirror.

    `fused`: resize and crop are one resampling, from the box in the frame after `steps`; if it is not "crop", the
    resize to `size` is the same one.
    """

    source: tuple[int, int]  # height, width
    resized: tuple[int, int]
    box: Box  # in the resized frame
    size: int
    flip: bool = False
    fused: bool | Literal["crop"] = False
    steps: tuple[FrameStep, ...] = ()

    def resize(self, frame_HWC: FrameArray) -> FrameArray:
        """First step: the whole frame after `steps`, resized unless resampling is fused."""
        if frame_HWC.shape[:2] != self.source:
            raise ValueError(f"geometry drawn for frames of {self.source}, got {frame_HWC.shape[:2]}")
        frame_HWC = apply_steps(frame_HWC, self.steps)
        return frame_HWC if self.fused else resize_frame(frame_HWC, height=self.resized[0], width=self.resized[1])

    def crop(self, frame_HWC: FrameArray, out_HWC: FrameArray) -> None:
        """Second step: the box at the input size of the network, mirrored if `flip`, is written to `out_HWC`."""
        box = self.source_box() if self.fused else self.box
        region_HWC = frame_HWC[box.top : box.top + box.height, box.left : box.left + box.width]
        if self.fused == "crop":
            region_HWC = resize_frame(region_HWC, height=self.box.height, width=self.box.width)
        if region_HWC.shape[:2] != (self.size, self.size):
            if not self.flip:
                cv2.resize(region_HWC, (self.size, self.size), dst=out_HWC, interpolation=cv2.INTER_LINEAR)
                return
            region_HWC = resize_frame(region_HWC, height=self.size, width=self.size)
        if self.flip:
            cv2.flip(region_HWC, 1, dst=out_HWC)
            mirror_flow(out_HWC)
        else:
            out_HWC[...] = region_HWC

    def source_box(self) -> Box:
        """The box in pixels of the frame after `steps`, rounded to integers: never empty, never outside."""
        height, width = shape_after(self.steps, *self.source)[-1] if self.steps else self.source
        box = (self.box.top, self.box.left, self.box.top + self.box.height, self.box.left + self.box.width)
        edges = unscaled_box(box, self.resized, (0.0, 0.0, float(height), float(width)))
        top, left, bottom, right = whole_box(edges, height, width)
        return Box(top, left, bottom - top, right - left)


def draw_geometry(
    augmentation: Augmentation, *, height: int, width: int, rng: np.random.Generator, may_flip: bool = True
) -> Geometry:
    """Draw the geometry of a clip with frames of `height` x `width`."""
    steps = augmentation.steps
    before = shape_after(steps, height, width)[-1] if steps else (height, width)
    resized = resized_size(augmentation.resize, height=before[0], width=before[1])
    box = draw_box(augmentation.crop, height=resized[0], width=resized[1], size=augmentation.size, rng=rng)
    flip = bool(rng.random() < augmentation.flip) and may_flip
    return Geometry((height, width), resized, box, augmentation.size, flip, augmentation.fused, steps)


def resized_size(resize: int | tuple[int, int] | None, *, height: int, width: int) -> tuple[int, int]:
    """(height, width) after resizing to a short side, to an exact size, or not at all."""
    if resize is None:
        return height, width
    return short_side_size(height, width, short_side=resize) if isinstance(resize, int) else resize


def draw_box(crop: Crop, *, height: int, width: int, size: int, rng: np.random.Generator) -> Box:
    """Draw the crop box in a frame of `height` x `width`. A crop that does not fit is an InputError."""
    if isinstance(crop, RandomCrop | CenterCrop):
        size = crop.side or size
    match crop:
        case RandomCrop() | CenterCrop() if size > min(height, width):
            raise InputError(f"a crop of {size} does not fit into frames of {width} x {height}; resize them first")
        case RandomResizedCrop():
            return _random_resized(crop, height, width, rng)
        case MultiScaleCrop():
            return _multi_scale(crop, height, width, size, rng)
        case RandomCrop():
            return Box(_upto(height - size, rng), _upto(width - size, rng), size, size)
        case CenterCrop():
            return Box((height - size) // 2, (width - size) // 2, size, size)


def _random_resized(crop: RandomResizedCrop, height: int, width: int, rng: np.random.Generator) -> Box:
    """Ten attempts at a box that fits, else the largest centred square (Inception; MMAction2 `RandomResizedCrop`)."""
    aspects = np.exp(rng.uniform(np.log(crop.aspect[0]), np.log(crop.aspect[1]), size=10))
    areas = rng.uniform(*crop.area, size=10) * (height * width)
    widths = np.round(np.sqrt(areas * aspects)).astype(int)
    heights = np.round(np.sqrt(areas / aspects)).astype(int)
    for box_height, box_width in zip(heights.tolist(), widths.tolist(), strict=True):
        if 0 < box_height <= height and 0 < box_width <= width:
            return Box(_upto(height - box_height, rng), _upto(width - box_width, rng), box_height, box_width)
    side = min(height, width)
    return Box((height - side) // 2, (width - side) // 2, side, side)


def _multi_scale(crop: MultiScaleCrop, height: int, width: int, size: int, rng: np.random.Generator) -> Box:
    """TSN's multi-scale crop. Sides within 3 pixels of the input size become that size, which avoids resampling."""
    size = crop.input_size or size
    sides = [int(min(height, width) * scale) for scale in crop.scales]
    sides = [size if abs(side - size) < 3 and size <= min(height, width) else max(side, 1) for side in sides]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= crop.max_gap]
    box_height, box_width = pairs[int(rng.integers(len(pairs)))]
    if crop.places == "random":
        return Box(_upto(height - box_height, rng), _upto(width - box_width, rng), box_height, box_width)
    step_y, step_x = (height - box_height) // 4, (width - box_width) // 4
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    if crop.places == "13":
        places += [(2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)]
    y, x = places[int(rng.integers(len(places)))]
    return Box(y * step_y, x * step_x, box_height, box_width)


def _upto(most: int, rng: np.random.Generator) -> int:
    return int(rng.integers(most + 1))
