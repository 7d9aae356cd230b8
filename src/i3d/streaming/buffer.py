"""The frames of one source that wait for the network, with the same memory for any length of time.

Two policies. "newest": a window is made of the newest frames, and what became stale meanwhile is dropped, so that
labels never fall behind. "all": every window is scored in its turn, and the source waits. This module reads no clock
and starts no thread: the same code runs on a simulated clock in the tests.

Every captured frame is counted once: captured = used + dropped + left_out + waiting.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from i3d.streaming.names import Policy
from i3d.streaming.resampling import Seconds
from i3d.video.base import FrameHWC


@dataclass(eq=False, slots=True)
class Frame:
    """A captured frame, cropped for the network."""

    arrival: float  # by the monotonic clock
    pts: Seconds | None  # the time stamp of the source
    image_HWC: FrameHWC = field(repr=False)
    num_slots: int = 0  # that hold it now
    was_held: bool = False  # by a slot
    is_used: bool = False  # by a window that was scored


@dataclass(frozen=True)
class Window:
    """The frames of one forward pass."""

    frames: tuple[Frame, ...]
    is_padded: bool = False  # the source ended before it was full: its last frame is repeated

    @property
    def clip_THWC(self) -> npt.NDArray[np.uint8]:
        """The frames as one array."""
        return np.stack([frame.image_HWC for frame in self.frames])


@dataclass
class Counts:
    """Frames and windows of a source so far."""

    captured: int = 0
    left_out: int = 0  # by the frame rate of the network, or without a time of their own
    used: int = 0  # in a window that was scored
    dropped: int = 0  # stale: they left the buffer before a window used them
    windows: int = 0  # scored
    skipped: int = 0  # due, and not scored because newer frames had come

    @property
    def waiting(self) -> int:
        """Frames that may still be used."""
        return self.captured - self.left_out - self.used - self.dropped


class SourceBuffer:
    """Slots of one source, and the windows that are due."""

    def __init__(self, length: int, stride: int, *, policy: Policy, interval: int = 1) -> None:
        """`length` and `stride` of a window count slots that are held: every `interval`-th that a frame fills."""
        if not 1 <= stride <= length:
            raise ValueError(f"a stride of {stride} slots for windows of {length}")
        self.length, self.stride, self.policy = length, stride, policy
        self.counts = Counts()
        self.is_held_back = False  # a burst of late frames is arriving: the newest are about to come
        self._interval = interval
        self._slots: deque[Frame] = deque()
        self._count = 0  # slots so far
        self._is_finishing = False
        self._next_stop = length  # the number of slots at which the next window is due

    def held_slots(self, slots: range) -> int:
        """How many of the slots that a frame fills are held."""
        return len(range(-(-slots.start // self._interval), -(-slots.stop // self._interval)))

    @property
    def has_room(self) -> bool:
        """Whether a slot can be added; with the policy "newest" always."""
        return self.policy == "newest" or self._count < self._next_stop + self.stride

    def add(self, frame: Frame) -> None:
        """Add one slot that the frame fills, if there is room."""
        if not self.has_room:
            raise ValueError("the buffer is full")
        frame.num_slots, frame.was_held = frame.num_slots + 1, True
        self._slots.append(frame)
        self._count += 1
        if self.policy == "newest":
            self._evict(len(self._slots) - self.length)

    def restart(self) -> None:
        """Begin a new window: earlier frames and later ones do not belong together. Frames not used are dropped."""
        self._evict(len(self._slots))
        self._next_stop, self._is_finishing = self._count + self.length, False

    def finish(self) -> None:
        """No frame follows those that are held: a last window ends with the last of them, if it is not used yet."""
        self._is_finishing = True

    @property
    def is_drained(self) -> bool:
        """After `finish`, whether all frames have been used."""
        return self._is_finishing and not self.is_due()

    def is_due(self, *, early: bool = False) -> bool:
        """Whether a window can be taken. `early`: half a stride before its time, to fill a batch (newest frames)."""
        margin = self.stride // 2 if early and self.policy == "newest" else 0
        if self._is_finishing:
            return self._is_full(margin) or any(not frame.is_used for frame in self._slots)
        return self._is_full(margin) and not (self.is_held_back and self.policy == "newest")

    def take(self) -> Window:
        """The window that is due: the next one, or that of the newest frames, or the last."""
        length, margin = self.length, self.stride // 2 if self.policy == "newest" else 0
        if not self._is_full(margin):
            frames = tuple(self._slots)[-length:]
            self._next_stop = self._count + self.stride
            missing = length - len(frames)
            return self._used(Window((*frames, *[frames[-1]] * missing), is_padded=missing > 0))
        if self.policy == "newest":
            self.counts.skipped += max(0, (self._count - self._next_stop) // self.stride)
            self._next_stop = self._count + self.stride
            return self._used(Window(tuple(self._slots)))
        first = len(self._slots) - (self._count - self._next_stop) - length
        window = self._used(Window(tuple(islice(self._slots, first, first + length))))
        self._next_stop += self.stride
        self._evict(first + 1)  # a last window, at the end of the source, may begin one slot later
        return window

    def _is_full(self, margin: int) -> bool:
        return self._count >= self._next_stop - margin and len(self._slots) >= self.length

    def _used(self, window: Window) -> Window:
        self.counts.windows += 1
        for frame in window.frames:
            self.counts.used += not frame.is_used
            frame.is_used = True
        return window

    def _evict(self, number: int) -> None:
        for _ in range(number):
            frame = self._slots.popleft()
            frame.num_slots -= 1
            self.counts.dropped += frame.num_slots == 0 and not frame.is_used
