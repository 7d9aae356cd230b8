"""Clips that are arrays: their layout, their number type, and the range of their values.

Letters in names: T frames, H rows, W columns, C channels.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError

CHANNELS: Final = 3
TOLERANCE: Final = 1e-3  # beyond [-1, 1], as in the reference code
LOWEST: Final = -0.5  # values of [-1, 1] go below this, unless all frames are bright
TODO: Final = "pass uint8 from 0 to 255, or floats scaled to [-1, 1] (2 x - 1 of [0, 1])"


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip (T, H, W, 3): uint8, or float from -1 to 1."""

    frames_THWC: npt.NDArray[Any]
    name: str

    @cached_property
    def digest(self) -> str:
        """A hash of its content."""
        frames = np.ascontiguousarray(self.frames_THWC)
        return hashlib.sha256(f"{frames.dtype} {frames.shape} ".encode() + frames.tobytes()).hexdigest()

    def select(self, first: int, frames: int, stride: int) -> npt.NDArray[Any]:
        """These frames with values from 0 to 255: uint8, or float32 of a float clip."""
        chosen = self.frames_THWC[first : first + (frames - 1) * stride + 1 : stride]
        if chosen.dtype == np.uint8:
            return np.ascontiguousarray(chosen)
        return (np.asarray(chosen, np.float32) + 1) * np.float32(127.5)


def as_clip(array: npt.NDArray[Any], name: str) -> Clip:
    """An array (T, H, W, 3), (T, 3, H, W) or (3, T, H, W) as a clip. Other shapes and types are an InputError."""
    shape = array.shape
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise InputError(f"{name}: its values are {array.dtype}; {TODO}")
    if array.ndim == 2:
        raise InputError(f"{name}: its shape is {shape}, as of features; give them in one file, or with their .json")
    if array.ndim != 4 or 0 in shape:
        raise InputError(f"{name}: its shape is {shape}; a clip is (T, H, W, 3), (T, 3, H, W) or (3, T, H, W)")
    if shape[3] == CHANNELS:
        return Clip(array, name)
    if shape[1] == CHANNELS and shape[0] != CHANNELS:
        return Clip(array.transpose(0, 2, 3, 1), name)
    if shape[0] == CHANNELS and shape[1] != CHANNELS:
        return Clip(array.transpose(1, 2, 3, 0), name)
    what = "which axis has the channels is not clear" if shape[0] == CHANNELS else "no axis has 3 channels"
    raise InputError(f"{name}: its shape is {shape}: {what}; pass RGB as (T, H, W, 3), grey repeated 3 times")


class ValueRange:
    """The values of the float clips of a set, which must be able to be [-1, 1]."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.low, self.high = np.inf, -np.inf

    def add(self, clip: Clip) -> None:
        """Count a clip. A float outside [-1, 1] is an InputError with the range."""
        if clip.frames_THWC.dtype == np.uint8:
            return
        low, high = float(clip.frames_THWC.min()), float(clip.frames_THWC.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(f"{clip.name}: has NaN or infinity; {TODO}")
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.low < -1 - TOLERANCE or self.high > 1 + TOLERANCE:
            raise self._error(clip.name)

    def check(self) -> None:
        """At the end of the set: an InputError if it has floats and none of them is below 0."""
        if self.low >= 0 and np.isfinite(self.low):
            raise self._error(self.name)

    @property
    def warning(self) -> str:
        """Why floats that pass may be [0, 1] all the same, as after a cubic resize; "": they are not."""
        if not LOWEST < self.low < 0:
            return ""
        return f"its floats are from {self.low:g} to {self.high:g}, none below {LOWEST:g}, as of [0, 1]; {TODO}"

    def _error(self, name: str) -> InputError:
        return InputError(f"{name}: its floats are from {self.low:g} to {self.high:g}, which is not [-1, 1]; {TODO}")
