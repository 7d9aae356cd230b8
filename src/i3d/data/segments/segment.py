"""The type that every format of segments is read into and written from. Times are seconds, to the millisecond."""

from dataclasses import dataclass
from math import isfinite
from typing import Final

from i3d.errors import InputError, printable, quoted

PRECISION: Final = 3  # digits after the point: the coarsest of the formats count milliseconds
MIN_LEAD: Final = 0.05  # seconds by which the first frame may come after the first sound: encoders of sound add some
SCORE_DIGITS: Final = 6
UNKNOWN: Final = "unknown"  # the label of what a network is unsure about


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
    split: str = ""  # "train", "val" or "test", as a list of annotations may state it
    lead: float = 0.0  # seconds from where players begin to count to the first frame, at which times here are 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(sorted(self.segments)))


@dataclass(frozen=True)
class SegmentFile:
    """What a file of segments holds, and what a reader has to know about it."""

    videos: tuple[VideoSegments, ...]
    notes: tuple[str, ...] = ()  # what was left out, or assumed
    are_annotations: bool = False  # made by persons: True only if the file states it
    of_players: bool = False  # of a format that players and their kin write, whose time 0 may be the first sound


def lead_text(video: str, lead: float) -> str:
    """A video whose first frame comes after its first sound, and how long."""
    return f"{printable(video)} ({lead:.2f} s)"


def segment_in(where: str, start: object, stop: object, label: object, score: object = 1.0) -> Segment:
    """A segment of values that a file holds. Those that are none are an InputError that begins with `where`."""
    if not isinstance(label, str):
        raise InputError(f"{where}: label {quoted(label)}: not a name; write it as text")
    times = [_number(where, name, value) for name, value in (("start", start), ("stop", stop), ("score", score))]
    try:
        return Segment(times[0], times[1], label, times[2])
    except InputError as error:
        raise InputError(f"{where}: {error}; correct it") from None


def _number(where: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{where}: {name} {quoted(value)}: not a number; correct it")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: {name} {quoted(value)}: not a number; correct it") from None


def time_text(seconds: float) -> str:
    """A time as tables have it, to the millisecond."""
    return f"{seconds:.{PRECISION}f}"


def score_in_file(score: float) -> float:
    """A score with as many digits as files have."""
    return round(score, SCORE_DIGITS)
