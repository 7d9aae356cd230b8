"""An open video: frames by index, by time, or all of them at a rate. `reader.open_video` opens one.

Frame i is always the i-th frame that decoding from the start gives; frame counts in headers are never used. Time 0 is
the first frame. Pixels are taken as stored: a sample aspect ratio other than 1 is not applied, alpha lies on black,
interlaced lines stay.

Letters in names: T frames, H rows, W columns, C = 3 channels (RGB).
"""

from __future__ import annotations

import heapq
import os
import time
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from i3d.errors import VideoError, printable
from i3d.video.sampling import slot_at

FrameHWC = npt.NDArray[np.uint8]
Transform = Callable[[FrameHWC], FrameHWC]
Source = str | os.PathLike[str] | bytes | Sequence[str | os.PathLike[str]] | npt.NDArray[np.uint8]

MAX_GAP_SECONDS: Final = 600  # a jump in the time stamps beyond this is damage, not a still scene
TIME_TOLERANCE: Final = Fraction(1, 1_000_000)  # a time given as a float may lie this little before its frame
LOOKAHEAD_FRAMES: Final = 4  # how far AVI files are seen to shuffle the time stamps of their frames


class NoPicturesError(VideoError):
    """The file is whole and holds no video: sound alone, for instance."""


class NoSuchFrameError(VideoError):
    """A frame was asked for that decoding did not give."""


@dataclass(frozen=True)
class Limits:
    """What one video may cost. Damaged and hostile files claim anything, so what counts is what is decoded."""

    max_pixels: int = 7680 * 4320  # per frame: 8K
    max_seconds: float = 60.0  # by which decoding may lag behind the playing time of what it has decoded


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True)
class DecodedFrame:
    """One decoded frame, not yet converted to RGB."""

    index: int
    seconds: Fraction  # since the first frame
    until: Fraction  # when the next frame takes its place
    rgb: Callable[[], FrameHWC]


@dataclass(frozen=True, repr=False)
class Frames:
    """Frames with their place in the video."""

    frames_THWC: npt.NDArray[np.uint8]
    indices_T: npt.NDArray[np.int64]
    seconds_T: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = self.frames_THWC.shape
        if self.frames_THWC.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
            raise ValueError(f"frames must be uint8 (T, H, W, 3), got {self.frames_THWC.dtype} {shape}")
        if not len(self.indices_T) == len(self.seconds_T) == shape[0]:
            raise ValueError(f"{shape[0]} frames, {len(self.indices_T)} indices, {len(self.seconds_T)} times")

    def __len__(self) -> int:
        return len(self.frames_THWC)

    def __repr__(self) -> str:
        first, last = (f"{t:.3f}" for t in (self.seconds_T[0], self.seconds_T[-1])) if len(self) else ("-", "-")
        return f"Frames({'x'.join(map(str, self.frames_THWC.shape))} uint8, {first} to {last} s)"


class Video(ABC):
    """An open video. Use it in a `with` statement, in one thread, and not across a fork."""

    timed = True  # False: frames without times, each stands for one slot of whatever rate is asked for
    frames_decoded = 0  # by `stream`, so far
    num_damaged = 0  # frames of those read so far that the decoder had to patch
    missing_seconds = 0.0  # that the header promises and the file, read to its end, has not

    def __init__(self, name: str, limits: Limits) -> None:
        self.name, self.limits = printable(name), limits
        self._spent_seconds = 0.0
        self._since: float | None = None  # when the stopwatch was started, while it runs
        self._played = 0.0  # seconds of video that were decoded
        self._notes: dict[str, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 (arrays have nothing to close)
        """Let go of the file. Closing twice is fine."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the frames read so far: cut short, damaged, no time stamps."""
        return tuple(self._notes)

    @abstractmethod
    def pictures(self) -> Iterator[DecodedFrame]:
        """Every frame in display order, decoded one at a time, from the first."""

    @abstractmethod
    def pictures_at(self, wanted: Sequence[int]) -> Iterator[DecodedFrame]:
        """The frames of these increasing indices, decoding (and seeking) no more than it takes."""

    @abstractmethod
    def timetable(self) -> list[Fraction] | None:
        """When each frame is shown and when the last one ends, if that can be known without decoding."""

    @cached_property
    def num_frames(self) -> int:
        """How many frames there are: from the packets where they tell, else by decoding all of them."""
        timetable = self.timetable()
        return self.count_frames() if timetable is None else len(timetable) - 1

    @cached_property
    def fps(self) -> float | None:
        """Frames per second on average; None where frames have no times."""
        if not self.timed:
            return None
        timetable = self.timetable() or self._timetable_by_decoding()
        return float((len(timetable) - 1) / timetable[-1])

    def frames_between(self, start_seconds: float | None, end_seconds: float | None) -> tuple[int, int]:
        """(first, stop) of the frames that are on the screen in a part of the video; None: its own start or end.

        The part that is asked for may end after the video (by any time), but must not begin there.
        """
        if start_seconds is None and end_seconds is None:
            return 0, self.num_frames
        if not self.timed:
            raise VideoError(self.name, "its frames have no times", "say how fast they were taken (frames_fps)")
        timetable = self.timetable() or self._timetable_by_decoding()
        start = Fraction(start_seconds or 0) + TIME_TOLERANCE
        if start >= timetable[-1]:
            what = f"the part begins at {start_seconds:.3f} s, the video ends at {float(timetable[-1]):.3f} s"
            raise VideoError(self.name, what, "correct its start")
        first = bisect_right(timetable, start) - 1
        stop = len(timetable) - 1
        if end_seconds is not None:
            stop = min(bisect_left(timetable, Fraction(end_seconds) - TIME_TOLERANCE), stop)
        return first, max(stop, first + 1)

    def stream(
        self,
        *,
        fps: float | None = None,
        transform: Transform | None = None,
        between: tuple[int, int] | None = None,
    ) -> Iterator[FrameHWC]:
        """Every frame at `fps` (None: as they come), each passed through `transform` as soon as it is decoded.

        Slots are filled by time stamps (`sampling.slot_at`), so a variable frame rate comes out right; a frame that
        fills several is the same array again. `between`: only the frames first..stop, time 0 is then the first of them.
        """
        rate = None if fps is None or not self.timed else Fraction(fps).limit_denominator(1_000_000)
        count, first = 0, None
        pictures = self.pictures() if between is None else self.pictures_at(range(*between))
        for picture in self.on_time(pictures):
            self.frames_decoded = picture.index + 1
            first = first or picture
            stop = count + 1 if rate is None else slot_at(picture.until - first.seconds, fps=rate)
            if stop > count:
                frame_HWC = self._convert(picture, transform)
                while count < stop:
                    count += 1
                    yield frame_HWC
        if count == 0 and first is not None:  # all of it is shorter than half a slot
            yield self._convert(first, transform)

    def shown(self, *, transform: Transform | None = None) -> Iterator[tuple[FrameHWC, float]]:
        """Every frame as it comes, and the seconds since the first frame until which it is on the screen."""
        first = None
        for picture in self.on_time(self.pictures()):
            self.frames_decoded = picture.index + 1
            first = first or picture
            yield self._convert(picture, transform), float(picture.until - first.seconds)

    def frames_at(self, indices: Iterable[int], *, transform: Transform | None = None) -> Frames:
        """The frames at `indices`, in that order, repeats allowed. An index out of range is a VideoError."""
        asked = np.asarray(list(indices), np.int64)
        found = {index: (frame, seconds) for index, frame, seconds in self.each(np.unique(asked), transform=transform)}
        frames = [found[int(i)][0] for i in asked]
        return Frames(
            np.stack(frames) if frames else np.empty((0, 0, 0, 3), np.uint8),
            asked,
            np.array([float(found[int(i)][1]) for i in asked]),
        )

    def each(
        self, indices: npt.NDArray[np.int64], *, transform: Transform | None = None
    ) -> Iterator[tuple[int, FrameHWC, Fraction]]:
        """(index, frame, seconds) at these increasing indices, one at a time. An index out of range is a VideoError."""
        wanted = indices.tolist()
        if wanted and wanted[0] < 0:
            raise ValueError(f"frame indices count from 0, got {wanted[0]}")
        num_found = 0
        for picture in self.on_time(self.pictures_at(wanted)):
            yield picture.index, self._convert(picture, transform), picture.seconds
            num_found += 1
        if num_found < len(wanted):
            what = f"there is no frame {wanted[num_found]}"
            raise NoSuchFrameError(self.name, what, "ask for fewer, or check the file")

    def frames_at_seconds(self, seconds: Iterable[float], *, transform: Transform | None = None) -> Frames:
        """The frames that are on the screen at these times since the first frame. A time outside is a VideoError."""
        if not self.timed:
            raise VideoError(self.name, "its frames have no times", "say how fast they were taken (frames_fps)")
        asked = [Fraction(t) + TIME_TOLERANCE for t in seconds]
        if asked and min(asked) < 0:
            raise ValueError(f"times count from 0, got {float(min(asked)):.6f} s")
        timetable = self.timetable()
        if timetable is not None:
            frames = self._shown_at(asked, timetable, transform)
            if frames.seconds_T.tolist() == [float(timetable[i]) for i in frames.indices_T]:
                return frames  # else packets promised other times than decoding gave, which counts
        return self._shown_at(asked, self._timetable_by_decoding(), transform)

    def _shown_at(
        self, asked: Sequence[Fraction], timetable: Sequence[Fraction], transform: Transform | None
    ) -> Frames:
        late = next((t for t in asked if t >= timetable[-1]), None)
        if late is not None:
            what = f"there is no frame at {float(late):.3f} s, it ends at {float(timetable[-1]):.3f} s"
            raise VideoError(self.name, what, "ask for an earlier one")
        return self.frames_at([bisect_right(timetable, t) - 1 for t in asked], transform=transform)

    def _timetable_by_decoding(self) -> list[Fraction]:
        shown = [(picture.seconds, picture.until) for picture in self.on_time(self.pictures())]
        return [*(start for start, _ in shown), shown[-1][1]]

    def count_frames(self) -> int:
        """How many frames the video really has, found by decoding all of them without converting any."""
        return sum(1 for _ in self.on_time(self.pictures()))

    def among_all(self, indices: npt.NDArray[np.int64], *, transform: Transform | None = None) -> tuple[Frames, int]:
        """The frames at these increasing indices that there are, and how many there are in all: each decoded once."""
        left, found, num_frames = set(indices.tolist()), [], 0
        for picture in self.on_time(self.pictures()):
            num_frames += 1
            if picture.index in left:
                found.append((picture.index, self._convert(picture, transform), float(picture.seconds)))
        frames_THWC = np.stack([frame for _, frame, _ in found]) if found else np.empty((0, 0, 0, 3), np.uint8)
        asked, seconds_T = np.array([index for index, _, _ in found], np.int64), np.array([s for _, _, s in found])
        return Frames(frames_THWC, asked, seconds_T), num_frames

    def recall(self, notes: Sequence[str], *, frames_decoded: int) -> None:
        """What an earlier reading of the same video found."""
        self._notes |= dict.fromkeys(notes)
        self.frames_decoded = frames_decoded

    def _note(self, note: str) -> None:
        self._notes[note] = None

    def _convert(self, picture: DecodedFrame, transform: Transform | None) -> FrameHWC:
        self._start_watch()
        frame_HWC = picture.rgb()
        self._stop_watch()
        return frame_HWC if transform is None else transform(frame_HWC)

    def on_time(self, pictures: Iterator[DecodedFrame]) -> Iterator[DecodedFrame]:
        """The same pictures, as long as making them keeps within the time limit; only the reader's time counts."""
        self._spent_seconds, self._played = 0.0, 0.0
        while True:
            self._start_watch()
            picture = next(pictures, None)
            self._stop_watch()
            if picture is None:
                return
            self._played = max(self._played, float(picture.seconds))
            self._check_time()
            yield picture

    def _start_watch(self) -> None:
        self._since = time.monotonic()

    def _stop_watch(self) -> None:
        if self._since is not None:
            self._spent_seconds += time.monotonic() - self._since
        self._since = None

    def _check_time(self) -> None:
        spent = self._spent_seconds + (0 if self._since is None else time.monotonic() - self._since)
        if spent > self.limits.max_seconds + self._played:
            raise VideoError(
                self.name,
                f"decoding took {spent:.1f} s for {self._played:.1f} s of video, "
                f"over {self.limits.max_seconds:g} s more than it plays",
                "check the file, or raise the time limit",
            )


def in_time(
    stamped: Iterator[tuple[Fraction | None, Fraction | None, Callable[[], FrameHWC]]], *, period: Fraction, name: str
) -> Iterator[DecodedFrame]:
    """Pictures with usable times from (time stamp, duration, rgb) in display order.

    The first frame is at 0. Stamps that are shuffled within a few frames (AVI) are put in order; one that is missing
    or does not move forward is replaced by the last plus `period`. A frame lasts until the next one.
    """
    waiting: list[tuple[Fraction | None, Callable[[], FrameHWC]]] = []
    stamps: list[Fraction] = []
    first: Fraction | None = None
    previous: tuple[int, Fraction, Callable[[], FrameHWC]] | None = None
    last_duration: Fraction | None = None
    stamped = iter(stamped)
    index = 0
    while True:
        item = next(stamped, None)
        if item is not None:
            stamp, last_duration, rgb = item
            waiting.append((stamp, rgb))
            if stamp is not None:
                heapq.heappush(stamps, stamp)
            if len(waiting) <= LOOKAHEAD_FRAMES:
                continue
        if not waiting:
            break
        stamp, rgb = waiting.pop(0)
        if stamp is not None:
            stamp = heapq.heappop(stamps)
        if first is None:
            first = stamp or Fraction(0)
        seconds = None if stamp is None else stamp - first
        if previous is not None:
            before = previous[1]
            if seconds is None or seconds <= before:
                seconds = before + period
            elif seconds - before > MAX_GAP_SECONDS:
                raise VideoError(
                    name,
                    f"its time stamps jump from {float(before):.3f} to {float(seconds):.3f} s at frame {index}",
                    "convert it to a plain mp4 again",
                )
            yield DecodedFrame(previous[0], before, seconds, previous[2])
        previous = index, Fraction(0) if seconds is None else seconds, rgb
        index += 1
    if previous is not None:
        length = last_duration if last_duration and 0 < last_duration <= MAX_GAP_SECONDS else period
        yield DecodedFrame(previous[0], previous[1], previous[1] + length, previous[2])
