"""Sources of frames that arrive while they are filmed: addresses, pipes and cameras; and files played at their pace.

Each gives its frames with the time at which they arrived, by the monotonic clock, and their time stamp, if it has any
that is true. Decoding begins with a keyframe. A frame may have another size than the one before it.
"""

import os
import select
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import BinaryIO, Final, Self, cast

import av.logging
import cv2
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from i3d.errors import VideoError, printable
from i3d.video.base import DEFAULT_LIMITS, FrameHWC, Limits
from i3d.video.opening import (
    DECODE_ERRORS,
    DEFAULT_PERIOD,
    MAX_PERIOD,
    MIN_PERIOD,
    open_address,
    open_live_file,
    reason,
    video_stream,
)
from i3d.video.pixels import orientation
from i3d.video.reader import open_video

UNTIMED: Final = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "m4v", "mpegvideo", "obu", "dv"})  # stamps are invented
PROTOCOLS: Final = {  # those that FFmpeg may use for a scheme
    "http": "http,https,tcp,tls", "https": "http,https,tcp,tls", "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,tcp,tls", "rtmp": "rtmp,tcp", "rtmps": "rtmps,tcp,tls", "udp": "udp", "rtp": "rtp,udp",
    "srt": "srt", "tcp": "tcp",
}  # fmt: skip
MAX_DAMAGED: Final = 100  # packets in a row that cannot be decoded
MAX_KEY_WAIT: Final = 10.0  # seconds for a keyframe: some encoders send none, but refresh frames bit by bit
POLL_SECONDS: Final = 0.1  # between checks whether to stop
Clock = Callable[[], float]


@dataclass(frozen=True)
class LiveFrame:
    """A frame when it arrives."""

    arrival: float  # seconds by the monotonic clock
    pts: Fraction | None  # seconds, by the source
    size: tuple[int, int]  # width, height
    rgb: Callable[[], FrameHWC]  # converts it: (H, W, 3) uint8 RGB, as displayed


class LiveVideo(ABC):
    """An open source. Its frames are read once, in one thread, which may be another than that which opened it."""

    num_damaged = 0  # packets or frames that could not be decoded
    num_concealed = 0  # packets with errors that the decoder conceals: their frames are used
    num_awaited = 0  # packets before the first keyframe

    def __init__(self, name: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self.name, self.limits = printable(name), limits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    @abstractmethod
    def fps(self) -> float | None:
        """Frames a second by the source; None: unknown."""

    @abstractmethod
    def frames(self) -> Iterator[LiveFrame]:
        """Yield each frame when it arrives. The source ends, or breaks off with a VideoError."""

    @abstractmethod
    def close(self) -> None:
        """Close the source."""


class PipeReader:
    """The bytes that a pipe delivers, as they come, without `seek`. It ends when `stop` is set."""

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        self.name = "pipe"
        self.is_empty = True
        self._file, self._stop = file, stop
        self._handle: int | None = None
        with suppress(OSError, ValueError):  # bytes in memory have none
            self._handle = file.fileno()

    def read(self, size: int) -> bytes:
        """At most `size` bytes, as soon as there are any; b"": the end."""
        content = self._read(size)
        self.is_empty = self.is_empty and not content
        return content

    def _read(self, size: int) -> bytes:
        if self._handle is None:
            return self._file.read(size)
        while not self._stop.is_set():
            if select.select([self._handle], [], [], POLL_SECONDS)[0]:
                return os.read(self._handle, size)
        return b""


PIPE_TODO: Final = (  # an mp4 has its index at its end, or needs to be searched
    "check the program that writes to the pipe; it cannot be an mp4: ffmpeg -i INPUT -c copy -f mpegts - | i3d stream -"
)


class ContainerStream(LiveVideo):
    """Frames of a container that arrives bit by bit."""

    def __init__(
        self, container: InputContainer, name: str, *, clock: Clock = time.monotonic, todo: str = "check the source"
    ) -> None:
        super().__init__(name)
        self._container, self._clock, self._todo = container, clock, todo
        try:
            self._stream = video_stream(container, self.name)
        except BaseException:
            container.close()
            raise
        self.is_timed = not UNTIMED & {*container.format.name.split(",")}
        self._time_base = self._stream.time_base or DEFAULT_PERIOD
        rates = (self._stream.average_rate, self._stream.guessed_rate) if self.is_timed else ()
        self._fps = next((float(rate) for rate in rates if rate and MIN_PERIOD <= 1 / rate <= MAX_PERIOD), None)
        codec = self._stream.codec_context
        codec.options = {"max_pixels": str(self.limits.max_pixels)}
        codec.thread_count = 1  # threads for frames would hold frames back
        self._reformatter = VideoReformatter()

    @property
    def fps(self) -> float | None:
        return self._fps

    def close(self) -> None:
        self._container.close()

    def frames(self) -> Iterator[LiveFrame]:
        arrivals: dict[int, float] = {}  # of packets whose frames the decoder holds back, to reorder them
        num_failed = 0
        for packet, arrival in self._packets_from_keyframe():
            if packet.pts is not None:
                arrivals[packet.pts] = arrival
            try:
                with av.logging.Capture() as errors:
                    frames = packet.decode()
                self.num_concealed += bool(errors)
            except DECODE_ERRORS as error:
                self.num_damaged += 1
                num_failed += 1
                if num_failed > MAX_DAMAGED:
                    raise VideoError(
                        self.name, f"it cannot be decoded ({reason(error)})", "check the source"
                    ) from error
                continue
            num_failed = 0
            for frame in frames:
                if frame.is_corrupt:
                    self.num_damaged += 1
                    continue
                came = arrivals.pop(frame.pts, arrival) if frame.pts is not None else arrival
                yield self._live_frame(frame, came)
            for pts in [*arrivals][:-64]:  # of packets that gave no frame
                del arrivals[pts]

    def _live_frame(self, frame: VideoFrame, arrival: float) -> LiveFrame:
        if frame.width * frame.height > self.limits.max_pixels:
            what = f"a frame has {frame.width} x {frame.height} pixels, over {self.limits.max_pixels:,}"
            raise VideoError(self.name, what, "send smaller frames")
        pts = frame.pts * self._time_base if frame.pts is not None and self.is_timed else None
        return LiveFrame(arrival, pts, (frame.width, frame.height), partial(self._to_rgb, frame))

    def _to_rgb(self, frame: VideoFrame) -> FrameHWC:
        pixels = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return orientation(frame, self.name)(cast(FrameHWC, pixels))

    def _packets_from_keyframe(self) -> Iterator[tuple["Packet[VideoStream]", float]]:
        """Packets and when they arrived. A receiver that joins a stream waits for a keyframe."""
        packets = self._container.demux(self._stream)
        since, has_begun = self._clock(), False
        while True:
            try:
                with av.logging.Capture():
                    packet = next(packets, None)
            except DECODE_ERRORS as error:
                raise VideoError(self.name, f"it broke off ({reason(error)})", self._todo) from error
            if packet is None:
                return
            arrival = self._clock()
            has_begun = has_begun or packet.is_keyframe or arrival - since > MAX_KEY_WAIT
            if has_begun:
                yield packet, arrival
            else:
                self.num_awaited += packet.size > 0


def open_pipe(file: BinaryIO, name: str, stop: threading.Event) -> LiveVideo:
    """What a pipe delivers: a container that can be read from its start. Anything else is a VideoError."""
    reader = PipeReader(file, stop)
    try:
        with av.logging.Capture():
            container = open_live_file(reader, max_pixels=str(DEFAULT_LIMITS.max_pixels))
    except DECODE_ERRORS as error:
        if reader.is_empty:
            raise VideoError(name, "nothing came through the pipe", "check the program that writes to it") from error
        raise VideoError(name, f"no video that can be read as it comes ({reason(error)})", PIPE_TODO) from error
    return ContainerStream(container, name, todo=PIPE_TODO)


def open_network(address: str, name: str, *, seconds: float, open_seconds: float) -> LiveVideo:
    """A live stream at an address, which is not logged: it may hold a password. A VideoError if there is none.

    A video that has an end is a VideoError too: it would be played as fast as it is downloaded.
    """
    scheme = address.partition(":")[0].lower()
    try:
        with av.logging.Capture():
            container = open_address(
                address,
                protocols=PROTOCOLS[scheme],
                max_pixels=str(DEFAULT_LIMITS.max_pixels),
                seconds=seconds,
                open_seconds=open_seconds,
            )
    except DECODE_ERRORS as error:
        what = f"cannot be opened ({printable(reason(error)).replace(address, name)})"
        raise VideoError(name, what, "check the address, and that the source is on") from error
    if container.duration and scheme.startswith("http"):
        length = container.duration / av.time_base
        container.close()
        raise VideoError(
            name, f"is a file of {length:.1f} s, not a live stream", f"download it first: curl -LO '{name}'"
        )
    return ContainerStream(container, name)


class Camera(LiveVideo):
    """A camera of this machine, through OpenCV. Its frames have the times of their arrival."""

    def __init__(self, device: int, name: str, *, clock: Clock = time.monotonic) -> None:
        super().__init__(name)
        self._clock = clock
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise VideoError(
                self.name, f"there is no camera {device} that can be opened", "check its number and rights"
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._fps = rate if 1 <= rate <= 1000 else None

    @property
    def fps(self) -> float | None:
        return self._fps

    def close(self) -> None:
        self._capture.release()

    def frames(self) -> Iterator[LiveFrame]:
        while self._capture.grab():
            arrival = self._clock()
            is_good, frame_HWC = self._capture.retrieve()
            if not is_good:
                self.num_damaged += 1
                continue
            height, width = frame_HWC.shape[:2]
            yield LiveFrame(
                arrival, None, (width, height), partial(_bgr_to_rgb, frame_HWC.astype(np.uint8, copy=False))
            )
        raise VideoError(self.name, "the camera gives no more frames", "check that it is connected")


def _bgr_to_rgb(frame_HWC: FrameHWC) -> FrameHWC:
    return np.ascontiguousarray(frame_HWC[..., ::-1])


class PlayedFile(LiveVideo):
    """A video file, each frame of which comes when it is played: `speed` times as fast as it was filmed."""

    def __init__(self, path: str, *, speed: float, stop: threading.Event, clock: Clock = time.monotonic) -> None:
        super().__init__(path)
        self._video = open_video(path)
        self._speed, self._stop, self._clock = speed, stop, clock
        if not self._video.timed:
            self.close()
            raise VideoError(self.name, "its images have no times", "use i3d timeline --frames-fps")

    @property
    def fps(self) -> float | None:
        return self._video.fps

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the frames read so far."""
        return self._video.notes

    def close(self) -> None:
        self._video.close()

    def frames(self) -> Iterator[LiveFrame]:
        start = self._clock()
        for frame in self._video.within_time_limit(self._video.decode_frames()):
            now, due = self._clock(), start + float(frame.seconds) / self._speed
            if now < due and self._stop.wait(due - now):
                return
            start += max(0.0, now - due)  # after a wait for the network, playing continues from there
            yield LiveFrame(self._clock(), frame.seconds, (0, 0), frame.rgb)
