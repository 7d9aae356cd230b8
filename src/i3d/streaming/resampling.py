"""Frames that arrive one by one, resampled by time: which slots of a constant rate each of them fills.

Times are those of the source (time stamps), where it has them: frames that a network held back and then delivers in a
burst stay as far apart as they were filmed. A source without time stamps has the times of arrival. This module reads no
clock: every time is an argument.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from i3d.video.sampling import slot_at

MAX_HOLD: Final = 2.0  # seconds that a live frame stays: after a longer gap, what was between is unknown
DRIFT: Final = 0.01  # of the time: two clocks drift less, and what a slow source is late is forgotten
Seconds = float | Fraction


@dataclass(frozen=True)
class Step:
    """What the arrival of a frame decides."""

    before: range  # slots that the frame before it fills
    own: range = range(0)  # slots that it fills itself
    restart: str = ""  # why no window may hold frames of both; "": it may
    is_repeat: bool = False  # the frame has no time of its own and is left out
    is_held_back: bool = False  # it comes late, in a burst: newer ones follow at once


class Resampler:
    """Slots of a constant rate, filled as `Video.stream` fills them: a frame lasts until the next one."""

    def __init__(self, fps: float, *, is_live: bool = True, stride_seconds: float = 0.0) -> None:
        """`is_live`: a frame fills its own slot when it arrives; else when the next one comes, which may replace it.

        A live source also begins again after a gap or a jump of its time stamps, and frames that come more than
        `stride_seconds` late in a burst are marked.
        """
        self._fps = Fraction(fps).limit_denominator(1_000_000)
        self._is_live, self._stride_seconds = is_live, stride_seconds
        self._last: tuple[Seconds, Seconds | None] | None = None  # arrival and time stamp of the last frame
        self._seconds: Seconds = 0  # of the last frame, since the last restart
        self._period: Seconds = 1 / self._fps  # between the last two frames
        self._count = 0  # slots that are filled
        self._late: Seconds = 0  # seconds that the last frame came later than the most punctual one

    def push(self, arrival: Seconds, pts: Seconds | None) -> Step:
        """The next frame: `arrival` by a monotonic clock, `pts` its time stamp, both in seconds."""
        if self._last is None:
            return Step(range(0), self._begin(arrival, pts))
        waited = max(arrival - self._last[0], 0)
        has_stamps = pts is not None and self._last[1] is not None
        moved = pts - self._last[1] if has_stamps else waited  # type: ignore[operator]
        if restart := self._why_restart(moved, waited):
            return Step(self.flush(), self._begin(arrival, pts), restart)
        if moved <= 0:
            return Step(range(0), is_repeat=True)
        self._last = arrival, pts
        self._seconds, self._period = self._seconds + moved, moved
        self._late = max(0, self._late + waited - moved - DRIFT * waited)
        is_held_back = self._is_live and moved > 2 * waited and self._late > self._stride_seconds
        return Step(self._fill(self._seconds), self._own(), is_held_back=is_held_back)

    def flush(self) -> range:
        """The slots of the last frame, which lasts as long as the one before it. The next frame is a first one."""
        slots = range(0) if self._last is None else self._fill(self._seconds + self._period)
        if self._count == 0 and self._last is not None:
            slots = range(0, 1)  # all frames together are shorter than half a slot
        self._last = None
        return slots

    def _begin(self, arrival: Seconds, pts: Seconds | None) -> range:
        self._last, self._seconds, self._count, self._late = (arrival, pts), 0, 0, 0
        return self._own()

    def _own(self) -> range:
        """The slot in which the last frame begins, if it is free."""
        return self._fill_to(slot_at(Fraction(self._seconds), fps=self._fps) + 1) if self._is_live else range(0)

    def _fill(self, until: Seconds) -> range:
        return self._fill_to(slot_at(Fraction(until), fps=self._fps))

    def _fill_to(self, stop: int) -> range:
        slots = range(self._count, max(self._count, stop))
        self._count = slots.stop
        return slots

    def _why_restart(self, moved: Seconds, waited: Seconds) -> str:
        """Time stamps that go back, stand still or leap are those of another recording, or of a clock that was set."""
        if not self._is_live:
            return ""
        if moved > MAX_HOLD:
            return f"no frames for {float(moved):.1f} s"
        if moved < -MAX_HOLD:
            return f"time stamps jump back by {-float(moved):.1f} s"
        if moved <= 0 and waited > MAX_HOLD:
            return "time stamps stand still"
        return ""
