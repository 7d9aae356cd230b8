"""From frames of any size to the 224 x 224 that the network takes, as each protocol does it.

Letters in names: T frames, H rows, W columns, C channels.
"""

import math
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from i3d.video_distance.protocols import SIZE, Resize

Floats = npt.NDArray[np.float32]
HALF: Final = np.float32(0.5)


def resize_clip(clip_THWC: npt.NDArray[Any], resize: Resize, *, resolution: int | None = None) -> Floats:
    """A clip, uint8 or float32 from 0 to 255, as float32 (T, 224, 224, C) from 0 to 255.

    `resolution`: of the first resize of "twice"; None: it is left out, as for arrays.
    """
    if resize == "twice" and resolution is not None:
        clip_THWC = shrink_antialiased(clip_THWC, resolution)
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


def shrink_antialiased(clip_THWC: npt.NDArray[np.uint8], resolution: int) -> npt.NDArray[np.uint8]:
    """The short side to `resolution`, antialiased; the centre; values cut to 8 bits: the first resize of cd-fvd.

    A new pixel is the mean of old ones by a triangle as wide as two new pixels. It is computed in whole numbers, so
    that the cut is that of the exact value. PyTorch, which cd-fvd uses, rounds float32 by the instructions of the
    processor: where the exact value is a whole number, as in white areas, its cut gives this number or the one below.
    """
    rows, columns = short_side_shape(*clip_THWC.shape[1:3], side=resolution)
    weights_H = triangle_weights(clip_THWC.shape[1], rows, first=(rows - resolution) // 2, number=resolution)
    weights_W = triangle_weights(clip_THWC.shape[2], columns, first=(columns - resolution) // 2, number=resolution)
    totals = weights_H.totals[:, None, None] * weights_W.totals[None, :, None]
    frames = np.empty((len(clip_THWC), resolution, resolution, clip_THWC.shape[3]), np.uint8)
    for frame_HWC, out_HWC in zip(clip_THWC, frames, strict=True):  # a frame at a time: frames may be large
        lines_WHC = weights_H.sums(frame_HWC).swapaxes(0, 1)
        out_HWC[:] = weights_W.sums(lines_WHC).swapaxes(0, 1) // totals
    return frames


class TriangleWeights(NamedTuple):
    """Whole numbers by which old pixels count in each new one: N new pixels, K old ones for each."""

    places_NK: npt.NDArray[np.int64]
    weights_NK: npt.NDArray[np.int64]

    @property
    def totals(self) -> npt.NDArray[np.int64]:
        """The sum of the weights of each new pixel."""
        totals: npt.NDArray[np.int64] = self.weights_NK.sum(axis=1)
        return totals

    def sums(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Weighted sums along the first axis. Below 2^63 also for 8-bit frames of 8K in both directions."""
        sums = np.zeros((len(self.places_NK), *values.shape[1:]), np.int64)
        for places_N, weights_N in zip(self.places_NK.T, self.weights_NK.T, strict=True):
            sums += values[places_N] * weights_N.reshape(-1, *[1] * (values.ndim - 1))
        return sums


def triangle_weights(size: int, new_size: int, *, first: int, number: int) -> TriangleWeights:
    """The weights of `number` of `new_size` pixels from `first` on, among `size` pixels.

    Distances of centres, |(j + 1/2) - (i + 1/2) size / new_size|, are counted in units of 1 / (2 new_size).
    """
    factor = math.gcd(size, new_size)
    old, new = size // factor, new_size // factor
    reach = 2 * max(old, new)
    targets_N1 = np.arange(first, first + number, dtype=np.int64)[:, None]
    num_places = min(size, reach // new + 1)
    starts_N1 = ((2 * targets_N1 + 1) * old - reach + new) // (2 * new)
    places_NK = np.maximum(starts_N1, 0) + np.arange(num_places)
    distances_NK = np.abs((2 * places_NK + 1) * new - (2 * targets_N1 + 1) * old)
    weights_NK = np.where(places_NK < size, np.maximum(reach - distances_NK, 0), 0)
    return TriangleWeights(np.minimum(places_NK, size - 1), weights_NK)
