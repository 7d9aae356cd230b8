"""From frames of any size to the 224 x 224 that the network takes, as each protocol does it.

Letters in names: T frames, H rows, W columns, C channels.
"""

import math
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from i3d.video_distance.protocols import SIZE, Resize

Floats = npt.NDArray[np.float32]
HALF: Final = np.float32(0.5)


def resize_clip(clip_THWC: npt.NDArray[Any], resize: Resize, *, resolution: int | None = None) -> Floats:
    """A clip, uint8 or float32 from 0 to 255, as float32 (T, 224, 224, C) from 0 to 255.

    `resolution`: of the first resize of "twice"; None: it is left out, as for arrays.
    """
    if resize == "twice" and resolution is not None:
        clip_THWC = _shrink_antialiased(clip_THWC, resolution)
    height, width = clip_THWC.shape[1:3]
    if resize == "short-side":
        rows, columns = short_side_shape(height, width, side=SIZE)
        top, left = (rows - SIZE) // 2, (columns - SIZE) // 2
    else:
        (rows, columns), top, left = (SIZE, SIZE), 0, 0
    half_pixel = resize != "stretch-tf1"
    places_H = sample_places(height, rows, half_pixel=half_pixel)[top : top + SIZE]
    places_W = sample_places(width, columns, half_pixel=half_pixel)[left : left + SIZE]
    return _bilinear(clip_THWC, places_H, places_W)


def short_side_shape(height: int, width: int, *, side: int) -> tuple[int, int]:
    """(rows, columns) with this short side; the other is rounded up, as VideoGPT does in double precision."""
    scale = side / min(height, width)
    return (side, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), side)


def sample_places(size: int, new_size: int, *, half_pixel: bool) -> Floats:
    """Where each of `new_size` samples lies among `size` pixels.

    TensorFlow 1: target x size / new_size. With half-pixel centres: (target + 0.5) x size / new_size - 0.5, from 0.
    """
    scale, targets = np.float32(size) / np.float32(new_size), np.arange(new_size, dtype=np.float32)
    places: Floats = scale * (targets + HALF) - HALF if half_pixel else targets * scale
    return np.maximum(places, np.float32(0))


def _bilinear(clip_THWC: npt.NDArray[Any], places_H: Floats, places_W: Floats) -> Floats:
    """a + (b - a) x weight in float32, along each row and then between the rows, as TensorFlow's kernel does it."""
    top, bottom, weight_H = _neighbours(places_H, clip_THWC.shape[1])
    left, right, weight_W = _neighbours(places_W, clip_THWC.shape[2])
    maps = [[np.ascontiguousarray(np.stack(np.meshgrid(x, y), axis=-1)) for x in (left, right)] for y in (top, bottom)]
    channels, rows = clip_THWC.shape[3], len(places_H)
    along = np.repeat(weight_W, channels)  # of whole rows: numpy is slow along the 3 channels
    resized = np.empty((len(clip_THWC), rows, len(places_W), channels), np.float32)
    for frame_HWC, out_HWC in zip(clip_THWC, resized, strict=True):
        lines = []
        for at_left, at_right in maps:
            a, b = (_pixels(frame_HWC, at).reshape(rows, -1) for at in (at_left, at_right))
            b -= a
            b *= along
            b += a
            lines.append(b)
        upper, lower = lines
        lower -= upper
        lower *= weight_H[:, None]
        np.add(lower, upper, out=out_HWC.reshape(rows, -1))
    return resized


def _pixels(frame_HWC: npt.NDArray[Any], places_HW2: npt.NDArray[np.int16]) -> Floats:
    """The pixels of a frame at these columns and rows, as floats."""
    nothing = np.empty(0, np.int16)  # of the weights of the map, which whole places do not have
    return np.array(cv2.remap(frame_HWC, places_HW2, nothing, cv2.INTER_NEAREST), np.float32)


def _neighbours(places: Floats, size: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16], Floats]:
    """(pixel before, pixel after, weight of the second) of each place."""
    before = np.minimum(np.floor(places), size - 1).astype(np.int16)
    after = np.minimum(before + 1, size - 1).astype(np.int16)
    return before, after, places - before.astype(np.float32)


def _shrink_antialiased(clip_THWC: npt.NDArray[Any], resolution: int) -> npt.NDArray[np.uint8]:
    """The short side to `resolution`, antialiased; the centre; values cut to 8 bits: the first resize of cd-fvd."""
    rows, columns = short_side_shape(*clip_THWC.shape[1:3], side=resolution)
    top, left = (rows - resolution) // 2, (columns - resolution) // 2
    frames = np.empty((len(clip_THWC), resolution, resolution, clip_THWC.shape[3]), np.uint8)
    for frame_HWC, out_HWC in zip(clip_THWC, frames, strict=True):  # a frame at a time: frames may be large
        pixels_1CHW = torch.from_numpy(np.ascontiguousarray(frame_HWC)).permute(2, 0, 1)[None].float() / 255
        small = F.interpolate(pixels_1CHW, size=(rows, columns), mode="bilinear", align_corners=False, antialias=True)
        square = small[0, :, top : top + resolution, left : left + resolution].permute(1, 2, 0)
        out_HWC[:] = (square * 255).to(torch.uint8).numpy()
    return frames
