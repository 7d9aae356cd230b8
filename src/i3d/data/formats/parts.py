"""Which part of a video a row of a table is: between two times, from a time on for a while, or between two frames."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from i3d.data.formats.columns import Columns
from i3d.errors import InputError
from i3d.utils.text import is_number, line_error

_CLOCK: Final = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d(?:\.\d+)?)")
MAX_SECONDS: Final = 1e7
MAX_FPS: Final = 1000
FramePart = tuple[str, int, int]  # a video, and the first and the last frame of the part, as listed


@dataclass(frozen=True)
class FrameCount:
    """How a list counts frames."""

    first: int  # the number of the first frame of a video: 0 or 1
    has_last: bool  # the last frame belongs to the part

    def seconds(self, part: FramePart, fps: float) -> tuple[float, float]:
        """When the first frame of a part begins, and when the last one ends."""
        return (part[1] - self.first) / fps, (part[2] - self.first + self.has_last) / fps

    def note(self, part: FramePart) -> str:
        """What is assumed, by an example."""
        why = "as the list has a frame 0" if not self.first else "as the list has no frame 0"
        what = f"frame numbers count from {self.first}, {why}; of frames {part[1]} to {part[2]}, {self.how}"
        return f"{what}; times in seconds leave no doubt"

    @property
    def how(self) -> str:
        """How parts end."""
        return "the last one belongs to the part" if self.has_last else "the last one is the first of the next part"


def seconds_of_row(path: Path, line: int, record: dict[str, Any], columns: Columns) -> tuple[float, float]:
    """Start and end, of which an empty one is NaN."""
    start = _seconds(path, line, record, columns.start)
    key = columns.duration or columns.end
    end = _seconds(path, line, record, key)
    if columns.duration:
        end += 0.0 if math.isnan(start) else start
    if start >= end:
        why = f"the end is not after the start, {record.get(columns.start)}; correct it"
        raise line_error(path, line, record.get(key), why)
    return start, end


def frames_of_row(path: Path, line: int, video: str, record: dict[str, Any], columns: Columns) -> FramePart:
    """The frames of a row, as they are listed."""
    numbers = [str(record.get(key, "")).strip() for key in (columns.start_frame, columns.end_frame)]
    for number in numbers:
        if not is_number(number):
            raise line_error(path, line, number, "not the number of a frame; write a whole number")
    first, last = map(int, numbers)
    if first > last:
        raise line_error(path, line, last, f"the last frame is before the first one, {first}; correct it")
    return video, first, last


def rate_of_row(path: Path, line: int, record: dict[str, Any], columns: Columns) -> float | None:
    """The frame rate that a row states; None: it states none."""
    value = record.get(columns.fps, "") if columns.fps else ""
    if value is None or str(value).strip() == "":
        return None
    try:
        rate = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 < rate <= MAX_FPS:
        raise line_error(path, line, value, f"not a frame rate, above 0 and at most {MAX_FPS}; correct it")
    return rate


def score_of_row(path: Path, line: int, record: dict[str, Any], columns: Columns) -> float:
    """The score of a predicted part, 1 if it is empty; NaN in a table without scores."""
    if not columns.score:
        return math.nan
    value = record.get(columns.score)
    if value is None or value == "":
        return 1.0
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= 1:
        raise line_error(path, line, value, "not a score from 0 to 1; correct it, or remove the column")
    return score


def frame_count(parts: Sequence[FramePart]) -> FrameCount:
    """How the list of these parts counts frames: from 0 if it has a frame 0. Where parts share a frame, it ends one."""
    begins = {(video, first) for video, first, _ in parts}
    shares = any((video, last) in begins and first != last for video, first, last in parts)
    return FrameCount(0 if any(first == 0 for _, first, _ in parts) else 1, not shares)


def seconds_of_frames(
    parts: Sequence[FramePart],
    rates: Sequence[float | None],
    times_of: Callable[[str, int], Sequence[float]],
    wrong: Callable[[int, str], InputError],
) -> tuple[list[tuple[float, float]], str]:
    """Start and end of each part, and a note on how frames are counted.

    `times_of`: when each frame of a video begins, and the last ends, for the row of this number.
    `wrong`: the error of the row of this number.
    """
    count = frame_count(parts)
    times = []
    for number, (part, rate) in enumerate(zip(parts, rates, strict=True)):
        if part[1] + (not count.has_last) > part[2]:
            raise wrong(number, f"frames {part[1]} to {part[2]} are no part, as {count.how}; correct it")
        if rate:
            times.append(count.seconds(part, rate))
            continue
        of_video = times_of(part[0], number)
        first, stop = part[1] - count.first, part[2] - count.first + count.has_last
        if stop >= len(of_video):
            raise wrong(number, f"frames {part[1]} to {part[2]}, of {len(of_video) - 1} in the video; correct it")
        times.append((of_video[first], of_video[stop]))
    return times, count.note(parts[0])


def _seconds(path: Path, line: int, record: dict[str, Any], key: str) -> float:
    """Seconds, or a time as 01:02:03.4."""
    value = record.get(key)
    if not key or value is None or value == "":
        return math.nan
    try:
        clock = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
        parts = (60 * (60 * float(clock[1]) + float(clock[2])), clock[3]) if clock else (0.0, value)
        seconds = math.nan if isinstance(value, bool) else parts[0] + float(parts[1])
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < MAX_SECONDS:
        raise line_error(path, line, value, f"{key} is not a time in seconds; write it as 12.5")
    return seconds
