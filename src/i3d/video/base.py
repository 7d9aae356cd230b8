"""An open video: frames by index, by time, or all of them at a frame rate. `reader.open_video` opens one.

Frame i is always the i-th frame when decoding from the start; frame counts in headers are never used. Time 0 is the
first frame. Pixels are those stored: a sample aspect ratio other than 1 is not applied, alpha is blended onto black,
interlaced lines stay.

Letters in names: T frames, H rows, W columns, C = 3 channels (RGB).
"""

import heapq
import os
import time
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain, pairwise
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from i3d.errors import ASKS_UNIT, VideoError, printable
from i3d.video.sampling import slot_at

FrameHWC = npt.NDArray[np.uint8]
Transform = Callable[[FrameHWC], FrameHWC]
StampedFrame = tuple[Fraction | None, Fraction | None, Callable[[], FrameHWC]]  # time stamp, duration, rgb
Source = str | os.PathLike[str] | bytes | Sequence[str | os.PathLike[str]] | npt.NDArray[np.uint8]

MAX_GAP_SECONDS: Final = 600  # a jump in the time stamps beyond this is damage, not a still scene
TIME_TOLERANCE: Final = Fraction(1, 1_000_000)  # a time given as a float may lie this little before its frame
FAR_SECONDS: Final = 1.0  # a listed end this much behind that of the video is a mistake, less is rounding
LOOKAHEAD_FRAMES: Final = 4  # over so many frames AVI files may reorder their time stamps


class NoVideoStreamError(VideoError):
    """The file is complete and has no video stream: only sound, for example."""


@dataclass(frozen=True)
class Limits:
    """Limits on decoding one video. They apply to decoded frames: headers of hostile files are not trusted."""

    max_pixels: int = 7680 * 4320  # per frame: 8K
    max_seconds: float = 60.0  # decoding may take this much longer than the decoded part plays


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True)
class DecodedFrame:
    """One decoded frame, not yet converted to RGB."""

    index: int
    seconds: Fraction  # since the first frame
    until: Fraction  # when the next frame replaces it
    rgb: Callable[[], FrameHWC]  # converts it; may raise a VideoError


@dataclass(frozen=True, repr=False)
class Frames:
    """Frames (T, H, W, 3) uint8 RGB with their indices and times in the video."""

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

    timed = True  # False: frames have no times; each fills one slot at any requested rate
    frames_decoded = 0  # by `stream`, so far
    stated_seconds: float | None = None  # its length by the header, which may be wrong: for progress alone
    stated_frames: int | None = None
    lead_seconds = 0.0  # from where players begin to count, the first sound or frame, to the first frame
    num_damaged = 0  # frames read so far in which the decoder concealed errors
    encoding = "array"  # container and codec, or the suffix of image files

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
        """Close the file. Closing twice is allowed."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the frames read so far: truncated, damaged, no time stamps."""
        return tuple(self._notes)

    @abstractmethod
    def decode_frames(self) -> Iterator[DecodedFrame]:
        """Yield every frame in display order, decoded one at a time."""

    @abstractmethod
    def decode_frames_at(self, wanted: Sequence[int]) -> Iterator[DecodedFrame]:
        """Yield the frames at these increasing indices; seeks where that saves decoding."""

    @abstractmethod
    def timetable(self) -> Sequence[Fraction] | None:
        """The start of each frame and the end of the last, in seconds; None if that needs decoding."""

    @cached_property
    def num_frames(self) -> int:
        """Number of frames: from the packets where they are reliable, else by decoding all frames."""
        timetable = self.timetable()
        return self.count_frames() if timetable is None else len(timetable) - 1

    @cached_property
    def fps(self) -> float | None:
        """Frames per second on average; None where frames have no times."""
        return float((len(self._times) - 1) / self._times[-1]) if self.timed else None

    @cached_property
    def _times(self) -> Sequence[Fraction]:
        """The timetable, by decoding all frames if necessary. Frames without times are a VideoError."""
        if not self.timed:
            raise VideoError(self.name, "its frames have no times", "give their frame rate (frames_fps)")
        return self.timetable() or self._timetable_by_decoding()

    def frames_between(self, start_seconds: float | None, end_seconds: float | None) -> tuple[int, int]:
        """(first, stop) of the frames that are displayed between two times; None: start or end of the video.

        A part that `why_late` refuses is a VideoError.
        """
        if start_seconds is None and end_seconds is None:
            return 0, self.num_frames
        if late := why_late(self._times, start_seconds, end_seconds):
            raise VideoError(self.name, *late)
        return displayed_between(self._times, start_seconds, end_seconds)

    def stream(
        self,
        *,
        fps: float | None = None,
        transform: Transform | None = None,
        between: tuple[int, int] | None = None,
    ) -> Iterator[FrameHWC]:
        """Yield the frames (H, W, 3) resampled to `fps` (None: every frame once), passed through `transform`.

        Slots are filled by time stamps (`sampling.slot_at`), which handles variable frame rates; a frame that fills
        several slots is the same array each time. `between`: only frames first..stop, and time 0 is the first of them.
        """
        rate = None if fps is None or not self.timed else Fraction(fps).limit_denominator(1_000_000)
        count, first = 0, None
        frames = self.decode_frames() if between is None else self.decode_frames_at(range(*between))
        for frame in self.within_time_limit(frames):
            self.frames_decoded = frame.index + 1
            first = first or frame
            stop = count + 1 if rate is None else slot_at(frame.until - first.seconds, fps=rate)
            if stop > count:
                frame_HWC = self._convert(frame, transform)
                while count < stop:
                    count += 1
                    yield frame_HWC
        if count == 0 and first is not None:  # the whole video is shorter than half a slot
            yield self._convert(first, transform)

    def stream_with_times(self, *, transform: Transform | None = None) -> Iterator[tuple[FrameHWC, Fraction, Fraction]]:
        """Yield every frame and when its display starts and ends, in seconds since the first frame."""
        first = None
        for frame in self.within_time_limit(self.decode_frames()):
            self.frames_decoded = frame.index + 1
            first = first or frame
            yield self._convert(frame, transform), frame.seconds - first.seconds, frame.until - first.seconds

    def frames_at(self, indices: Iterable[int], *, transform: Transform | None = None) -> Frames:
        """The frames at `indices`, in that order; indices may repeat. An index out of range is a VideoError."""
        requested = np.asarray(list(indices), np.int64)
        decoded = {number: frame for number, *frame in self.iter_frames_at(np.unique(requested), transform=transform)}
        return _stack([(number, *decoded[number]) for number in requested.tolist()])

    def iter_frames_at(
        self, indices: npt.NDArray[np.int64], *, transform: Transform | None = None
    ) -> Iterator[tuple[int, FrameHWC, Fraction]]:
        """Yield (index, frame, seconds) at these increasing indices. An index out of range is a VideoError."""
        wanted = indices.tolist()
        if wanted and wanted[0] < 0:
            raise ValueError(f"frame indices count from 0, got {wanted[0]}")
        num_yielded = 0
        for frame in self.within_time_limit(self.decode_frames_at(wanted)):
            yield frame.index, self._convert(frame, transform), frame.seconds
            num_yielded += 1
        if num_yielded < len(wanted):
            what = f"there is no frame {wanted[num_yielded]}"
            raise VideoError(self.name, what, "ask for fewer, or check the file")

    def frames_at_seconds(self, seconds: Iterable[float], *, transform: Transform | None = None) -> Frames:
        """The frames displayed at these times since the first frame. A time outside the video is a VideoError."""
        times = self._times
        requested = [Fraction(t) + TIME_TOLERANCE for t in seconds]
        if requested and min(requested) < 0:
            raise ValueError(f"times count from 0, got {float(min(requested)):.6f} s")
        frames = self._frames_at_times(requested, times, transform)
        if frames.seconds_T.tolist() == [float(times[i]) for i in frames.indices_T]:
            return frames  # else the packets had other times than the decoded frames, which are right
        return self._frames_at_times(requested, self._timetable_by_decoding(), transform)

    def _frames_at_times(
        self, requested: Sequence[Fraction], timetable: Sequence[Fraction], transform: Transform | None
    ) -> Frames:
        late = next((t for t in requested if t >= timetable[-1]), None)
        if late is not None:
            what = f"there is no frame at {float(late):.3f} s, it ends at {float(timetable[-1]):.3f} s"
            raise VideoError(self.name, what, "ask for an earlier one")
        return self.frames_at([bisect_right(timetable, t) - 1 for t in requested], transform=transform)

    def _timetable_by_decoding(self) -> list[Fraction]:
        spans = [(frame.seconds, frame.until) for frame in self.within_time_limit(self.decode_frames())]
        return [*(start for start, _ in spans), spans[-1][1]]

    def count_frames(self) -> int:
        """Number of frames, counted by decoding all of them without conversion to RGB."""
        return sum(1 for _ in self.within_time_limit(self.decode_frames()))

    def frames_at_and_count(
        self, indices: npt.NDArray[np.int64], *, transform: Transform | None = None
    ) -> tuple[Frames, int]:
        """The frames at those of these increasing indices that exist, and the number of frames of the whole video."""
        wanted, frames, num_frames = set(indices.tolist()), [], 0
        for frame in self.within_time_limit(self.decode_frames()):
            num_frames += 1
            if frame.index in wanted:
                frames.append((frame.index, self._convert(frame, transform), frame.seconds))
        return _stack(frames), num_frames

    def restore_notes(self, notes: Sequence[str], *, frames_decoded: int) -> None:
        """Set the notes and the count of an earlier reading of the same video."""
        self._notes |= dict.fromkeys(notes)
        self.frames_decoded = frames_decoded

    def _convert(self, frame: DecodedFrame, transform: Transform | None) -> FrameHWC:
        with self._stopwatch():
            frame_HWC = frame.rgb()
        return frame_HWC if transform is None else transform(frame_HWC)

    def within_time_limit(self, frames: Iterator[DecodedFrame]) -> Iterator[DecodedFrame]:
        """Yield the same frames while decoding stays within the time limit; the consumer's time does not count."""
        self._spent_seconds, self._played = 0.0, 0.0
        while True:
            with self._stopwatch():
                frame = next(frames, None)
            if frame is None:
                return
            self._played = max(self._played, float(frame.seconds))
            self._check_time()
            yield frame

    @contextmanager
    def _stopwatch(self) -> Iterator[None]:
        """Count the time inside as spent on decoding."""
        if self._since is not None:  # it is running
            yield
            return
        self._since = since = time.monotonic()
        try:
            yield
        finally:
            self._spent_seconds += time.monotonic() - since
            self._since = None

    def _check_time(self) -> None:
        spent = self._spent_seconds + (0 if self._since is None else time.monotonic() - self._since)
        if spent > self.limits.max_seconds + self._played:
            what = f"decoding took {spent:.1f} s for {self._played:.1f} s of video"
            what += f", over {self.limits.max_seconds:g} s more than it plays"
            raise VideoError(self.name, what, "check the file, or raise the time limit")


def displayed_between(
    times: Sequence[Fraction | float], start_seconds: float | None, end_seconds: float | None
) -> tuple[int, int]:
    """(first, stop) of the frames displayed between two times, at least one; equal if the first time is too late.

    `times`: the start of each frame and the end of the last.
    """
    start = Fraction(start_seconds or 0) + TIME_TOLERANCE
    if start >= times[-1]:
        return 0, 0
    first, stop = bisect_right(times, start) - 1, len(times) - 1
    if end_seconds is not None:
        stop = min(bisect_left(times, Fraction(end_seconds) - TIME_TOLERANCE), stop)
    return first, max(stop, first + 1)


def why_late(
    times: Sequence[Fraction | float], start_seconds: float | None, end_seconds: float | None
) -> tuple[str, str] | None:
    """Why a part that begins behind the end of its video, or ends `FAR_SECONDS` behind it, is refused; the next step.

    Its times are probably in another unit, which is asked for where that fits. `times`: as of `displayed_between`.
    """
    start, video_end = start_seconds or 0.0, float(times[-1])
    last = start if end_seconds is None else end_seconds
    is_late, is_far = Fraction(start) + TIME_TOLERANCE >= times[-1], last > video_end + FAR_SECONDS
    if not is_late and not is_far:
        return None
    fits = {
        "milliseconds": is_far and last / 1000 <= video_end + FAR_SECONDS,
        "frame numbers": is_far and last <= len(times) - 1,
    }
    units = " or ".join(unit for unit, is_possible in fits.items() if is_possible)
    place = f"begins at {start:,.3f}" if is_late else f"ends at {end_seconds:,.3f}"
    question = f"{ASKS_UNIT} {units}? " if units else ""
    why = f"the part {place} s, the video ends at {video_end:,.3f} s"
    return why, f"{question}give times in seconds, or correct the list"


def _stack(frames: Sequence[tuple[int, FrameHWC, Fraction]]) -> Frames:
    frames_THWC = np.stack([frame_HWC for _, frame_HWC, _ in frames]) if frames else np.empty((0, 0, 0, 3), np.uint8)
    indices_T = np.array([number for number, _, _ in frames], np.int64)
    return Frames(frames_THWC, indices_T, np.array([float(seconds) for _, _, seconds in frames]))


def assign_times(stamped: Iterator[StampedFrame], *, period: Fraction, name: str) -> Iterator[DecodedFrame]:
    """Assign increasing times to frames (time stamp, duration, rgb) in display order.

    The first frame is at 0. Time stamps that are reordered within a few frames (AVI) are sorted; one that is missing
    or does not increase is replaced by the previous one plus `period`. A frame lasts until the next one.
    """
    failures: list[Exception] = []
    starts = _increasing_times(_sorted_stamps(_until_failure(stamped, failures)), period, name)
    for index, ((seconds, rgb), (until, _)) in enumerate(pairwise(starts)):
        yield DecodedFrame(index, seconds, until, rgb)
    if failures:
        raise failures[0]


def _until_failure(stamped: Iterator[StampedFrame], failures: list[Exception]) -> Iterator[StampedFrame]:
    """The frames before an exception, which is stored: those that wait for their order are decoded and not lost."""
    try:
        yield from stamped
    except Exception as error:  # raised again behind the last frame
        failures.append(error)


def _sorted_stamps(stamped: Iterator[StampedFrame]) -> Iterator[StampedFrame]:
    """The same frames, with the time stamps of a few consecutive ones in order."""
    waiting: list[StampedFrame] = []
    stamps: list[Fraction] = []
    for item in chain(stamped, [None] * LOOKAHEAD_FRAMES):
        if item is not None:
            waiting.append(item)
            if item[0] is not None:
                heapq.heappush(stamps, item[0])
        if waiting and (item is None or len(waiting) > LOOKAHEAD_FRAMES):
            stamp, duration, rgb = waiting.pop(0)
            yield None if stamp is None else heapq.heappop(stamps), duration, rgb


def _increasing_times(
    frames: Iterator[StampedFrame], period: Fraction, name: str
) -> Iterator[tuple[Fraction, Callable[[], FrameHWC]]]:
    """(time, rgb) of each frame, and then the end of the last."""
    first = before = last = None
    for index, last in enumerate(frames):
        stamp, _, rgb = last
        first = (stamp or Fraction(0)) if first is None else first
        seconds = None if stamp is None else stamp - first
        if before is None:
            seconds = seconds or Fraction(0)
        elif seconds is None or seconds <= before:
            seconds = before + period
        elif seconds - before > MAX_GAP_SECONDS:
            what = f"its time stamps jump from {float(before):.3f} to {float(seconds):.3f} s at frame {index}"
            raise VideoError(name, what, "convert it to a plain mp4 again")
        before = seconds
        yield seconds, rgb
    if before is not None and last is not None:
        _, duration, rgb = last
        yield before + (duration if duration and 0 < duration <= MAX_GAP_SECONDS else period), rgb
