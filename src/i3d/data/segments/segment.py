"""The type that every format of segments is read into and written from. Times are seconds, to the millisecond."""

from dataclasses import dataclass
from math import isfinite
from typing import Final

from i3d.errors import InputError, printable

PRECISION: Final = 3  # digits after the point: the coarsest of the formats count milliseconds


@dataclass(frozen=True, order=True)
class Segment:
    """What happens in a video from `start` to `stop`."""

    start: float  # seconds
    stop: float
    label: str
    score: float = 1.0  # from 0 to 1; 1: an annotation

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", round(self.start, PRECISION))
        object.__setattr__(self, "stop", round(self.stop, PRECISION))
        if not (isfinite(self.start) and isfinite(self.stop) and 0 <= self.start < self.stop):
            raise InputError(f"{printable(self.label)}: from {self.start:g} to {self.stop:g} s is no segment")
        if not self.label:
            raise InputError(f"the segment from {self.start:g} to {self.stop:g} s has no label")
        if not 0 <= self.score <= 1:
            raise InputError(f"{printable(self.label)}: the score {self.score:g} is not from 0 to 1")


@dataclass(frozen=True)
class VideoSegments:
    """The segments of one video, by start, stop and label. Segments of different labels may overlap."""

    video: str  # its path, as given or listed
    segments: tuple[Segment, ...]
    seconds: float | None = None  # length of the video; None: unknown
    fps: float | None = None  # frames per second; None: unknown, or variable
    is_variable: bool = False  # the frame rate

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(sorted(self.segments)))
