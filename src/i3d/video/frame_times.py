"""When the frames of a video file begin, as exact fractions of a second that are computed when they are read."""

from collections.abc import Sequence
from fractions import Fraction
from typing import overload

import numpy as np
import numpy.typing as npt


class FrameTimes(Sequence[Fraction]):
    """The start of each frame, from 0, and the end of the last, in seconds.

    Time stamps are 8 bytes each; a fraction of each would be 20 MB for an hour of 30 frames a second.
    """

    def __init__(self, pts_T: npt.NDArray[np.int64], time_base: Fraction, last: Fraction) -> None:
        """`pts_T`: time stamps of frames in display order, at least one. `last`: seconds of the last frame."""
        self._pts_T, self._time_base, self._last = pts_T, time_base, last

    def __len__(self) -> int:
        return len(self._pts_T) + 1

    @overload
    def __getitem__(self, place: int) -> Fraction: ...
    @overload
    def __getitem__(self, place: slice) -> list[Fraction]: ...
    def __getitem__(self, place: int | slice) -> Fraction | list[Fraction]:
        if isinstance(place, slice):
            return [self[k] for k in range(*place.indices(len(self)))]
        number = range(len(self))[place]  # an IndexError beyond the end, from which iteration stops
        if number == len(self._pts_T):
            return self[number - 1] + self._last
        return int(self._pts_T[number] - self._pts_T[0]) * self._time_base
