"""The thread that reads one source: frames are resampled by time, resized, and put into the buffer of the source."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Final

from i3d.data.loading.preprocess import resize_checked
from i3d.errors import VideoError, counted, first_line
from i3d.recipes.settings import Preprocessing
from i3d.streaming.buffer import Frame, SourceBuffer
from i3d.streaming.names import LiveSource
from i3d.streaming.resampling import Resampler
from i3d.streaming.results import State, StreamEvent
from i3d.streaming.sources import NETWORK_SECONDS, backoff, open_source
from i3d.utils.prefetch import counts_as_producer
from i3d.video.base import FrameHWC
from i3d.video.live import LiveFrame, LiveVideo, PlayedFile
from i3d.video.opening import DECODE_ERRORS
from i3d.video.transforms import center_crop

LEAST_SECONDS: Final = 2.0  # for an answer at the last attempt to connect
MAX_EVENTS: Final = 1000  # that wait to be reported


@dataclass
class Shared:
    """What all threads of a stream share."""

    stop: threading.Event = field(default_factory=threading.Event)
    condition: threading.Condition = field(default_factory=threading.Condition)  # guards all buffers and states
    events: deque[StreamEvent] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))


class Capture:
    """One source that is read in a thread of its own."""

    def __init__(
        self,
        source: LiveSource,
        video: LiveVideo,
        buffer: SourceBuffer,
        pre: Preprocessing,
        shared: Shared,
        *,
        fps: float,
        stride_seconds: float,
        speed: float = 1.0,
        give_up_seconds: float | None = None,
        on_frame: Callable[[FrameHWC], None] | None = None,
    ) -> None:
        """`fps`: of the network; `give_up_seconds`: after which a lost source is given up, None: never."""
        self.source, self.buffer = source, buffer
        self.state: State = "connected"
        self.error: VideoError | None = None
        self.reconnects = 0
        self._video, self._pre, self._shared = video, pre, shared
        self._speed, self._give_up_seconds, self._on_frame = speed, give_up_seconds, on_frame
        is_live = source.kind != "file" or source.policy == "newest"
        self._resampler = Resampler(fps, is_live=is_live, stride_seconds=stride_seconds)
        self._newest: LiveFrame | None = None  # it lasts until the next one
        self._frame: Frame | None = None  # the same, at the size of the network, if it fills a slot
        self._size = (0, 0)
        self.thread = threading.Thread(target=self._run, name=f"capture {source.name}", daemon=True)

    def _run(self) -> None:
        with counts_as_producer():
            try:
                self._read_connections()
                self._end("ended")
            except VideoError as error:
                self.error = error
                self._end("failed")
            except BaseException as error:
                self.error = VideoError(self.source.name, f"reading failed ({first_line(error)})", "report this")  # type: ignore[arg-type]
                self._end("failed")

    def _end(self, state: State) -> None:
        with self._shared.condition:
            self.buffer.finish()
            self.state = state
            self._shared.condition.notify_all()

    def _read_connections(self) -> None:
        """Read until the source ends; after a loss, connect again."""
        waits, video, lost_at = backoff(), self._video, inf
        while True:
            num_before = self.buffer.counts.captured
            try:
                with video, self._damage_reported(video):
                    self._read(video)
                error = VideoError(self.source.name, "the source ended", "check that it is on")
                if not self.source.reconnects:
                    return
            except VideoError as lost:
                error = lost
            except DECODE_ERRORS as lost:
                error = VideoError(self.source.name, f"it broke off ({first_line(lost)})", "check the source")
            if self._shared.stop.is_set():
                return
            if not self.source.reconnects:
                self._flush()
                raise error
            self._restart()
            with self._shared.condition:
                self.state = "lost"
            self._report(f"lost: {error.why}; connecting again")
            if self.buffer.counts.captured > num_before or lost_at == inf:  # a connection that delivered frames
                waits, lost_at = backoff(), time.monotonic()
            again = self._connect_again(waits, lost_at, error)
            if again is None:
                return
            video = again

    def _connect_again(self, waits: Iterator[float], lost_at: float, error: VideoError) -> LiveVideo | None:
        """The source, open again, after waits that grow; None when the stream stops.

        The last attempt begins when the source is given up, and takes `LEAST_SECONDS` at most.
        """
        give_up, last_error = inf if self._give_up_seconds is None else self._give_up_seconds, error
        while (left := lost_at + give_up - time.monotonic()) > 0:
            if self._shared.stop.wait(min(next(waits), left)):
                return None
            seconds = min(max(LEAST_SECONDS, lost_at + give_up - time.monotonic()), NETWORK_SECONDS)
            try:
                video = open_source(self.source, self._shared.stop, speed=self._speed, seconds=seconds)
            except VideoError as still:
                last_error = still
                continue
            with self._shared.condition:
                self.state, self.reconnects = "connected", self.reconnects + 1
            self._report(f"connected again after {time.monotonic() - lost_at:.1f} s")
            return video
        what = f"it did not come back within {give_up:g} s ({last_error.why})"
        raise VideoError(self.source.name, what, error.todo) from last_error

    def _read(self, video: LiveVideo) -> None:
        for frame in video.frames():
            if self._shared.stop.is_set():
                return
            with self._shared.condition:
                self.buffer.counts.captured += 1
            self._note_size(frame)
            step = self._resampler.push(frame.arrival, frame.pts)
            if step.is_repeat:
                self._leave_out()
                continue
            self._fill(step.before)
            self._finish_frame()
            if step.restart:
                self._report(f"{step.restart}; a new window begins")
                self._begin_again()
            self.buffer.is_held_back = step.is_held_back
            self._newest = frame
            self._fill(step.own)
        if isinstance(video, PlayedFile):
            for note in video.notes:
                self._report(note)
        self._flush()

    @contextmanager
    def _damage_reported(self, video: LiveVideo) -> Iterator[None]:
        """Report at the end what could not be decoded: it is in no other count."""
        try:
            yield
        finally:
            if video.num_damaged:
                self._report(f"{counted(video.num_damaged, 'damaged frame')} left out")
            if video.num_concealed:
                frames = counted(video.num_concealed, "frame")
                self._report(f"{frames} with errors that the decoder conceals, used as they are")
            if video.num_awaited:
                self._report(f"{counted(video.num_awaited, 'packet')} before the first keyframe left out")

    def _flush(self) -> None:
        self._fill(self._resampler.flush())
        self._finish_frame()

    def _restart(self) -> None:
        self._flush()
        self._begin_again()

    def _begin_again(self) -> None:
        """A new window; with the policy "all", after the frames before it have been used."""
        shared = self._shared
        with shared.condition:
            if self.buffer.policy == "all":
                self.buffer.finish()
                shared.condition.notify_all()
                shared.condition.wait_for(lambda: self.buffer.is_drained or shared.stop.is_set())
            self.buffer.restart()

    def _finish_frame(self) -> None:
        """The newest frame fills no more slots."""
        if self._newest is not None and self._frame is None:
            self._leave_out()
        self._newest = self._frame = None

    def _fill(self, slots: range) -> None:
        """Put the newest frame into slots."""
        newest, shared, number = self._newest, self._shared, self.buffer.held_slots(slots)
        if newest is None or number == 0:
            return
        if self._frame is None:
            try:
                image_HWC = self._prepared(newest.rgb())
            except BaseException:
                self._finish_frame()
                raise
            self._frame = Frame(newest.arrival, newest.pts, image_HWC)
        for _ in range(number):
            with shared.condition:
                shared.condition.wait_for(lambda: self.buffer.has_room or shared.stop.is_set())
                if shared.stop.is_set():
                    return
                self.buffer.add(self._frame)
                shared.condition.notify_all()

    def _prepared(self, frame_HWC: FrameHWC) -> FrameHWC:
        """The frame at the size of the network."""
        if self._on_frame is not None:
            self._on_frame(frame_HWC)
        small_HWC = resize_checked(self._video, frame_HWC, geometry=self._pre)
        cropped_HWC: FrameHWC = center_crop(small_HWC[None], size=self._pre.crop)[0].copy()
        return cropped_HWC

    def _leave_out(self) -> None:
        with self._shared.condition:
            self.buffer.counts.left_out += 1

    def _note_size(self, frame: LiveFrame) -> None:
        if self._size not in ((0, 0), frame.size):
            before, now = (f"{width} x {height}" for width, height in (self._size, frame.size))
            self._report(f"the size changed from {before} to {now}")
        self._size = frame.size

    def _report(self, what: str) -> None:
        with self._shared.condition:
            self._shared.events.append(StreamEvent(self.source.name, what))
            self._shared.condition.notify_all()
