"""Video files through PyAV (FFmpeg). The only place that calls `av.open` to read.

FFmpeg reads the bytes through a Python file, without any protocol, and only the container formats below. A playlist,
a concat script, an SDP text or a device named "clip.mp4" can therefore not make it open anything else.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import IO, Final, cast

import av
import av.error
import av.logging
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from i3d.errors import VideoError
from i3d.video.base import DecodedFrame, FrameHWC, Limits, NoVideoStreamError, StampedFrame, Video, assign_times

FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,gif,asf,ogg,mxf,nut,ivf,obu,"
    "h264,hevc,m4v,mjpeg,dv,rm,wtv,swf,yuv4mpegpipe"
)
NO_PROTOCOL: Final = "none"  # not the name of any protocol; an empty list would allow all
BUFFER_BYTES: Final = 1 << 18
DEFAULT_PERIOD: Final = Fraction(1, 25)
MIN_PERIOD: Final = Fraction(1, 1000)
MAX_PERIOD: Final = Fraction(60)
SKIPPING_CODECS: Final = ("h264", "hevc")
SHORT_BY_SECONDS: Final = 0.25  # a file that ends this much earlier than its header states is reported as truncated
DECODE_ERRORS: Final = (av.error.FFmpegError, OSError, ValueError, MemoryError, RuntimeError)

av.logging.set_level(None)  # FFmpeg's log; errors and notes report what a user needs


@dataclass(frozen=True)
class Scan:
    """Time stamps of all frames in display order, and those of keyframes, from which decoding can start."""

    pts: npt.NDArray[np.int64]
    key_pts: npt.NDArray[np.int64]  # some may precede the first displayed frame (an edit list removes them)


class _SeekFailedError(Exception):
    """Decoding after a seek gave other frames than the scan predicted."""


class ContainerVideo(Video):
    """A video file, or the bytes of one."""

    def __init__(self, source: Path | bytes, *, limits: Limits, name: str | None = None) -> None:
        super().__init__(name or ("(bytes)" if isinstance(source, bytes) else str(source)), limits)
        self._file = io.BytesIO(source) if isinstance(source, bytes) else _open_file(source, self.name)
        self._container: InputContainer | None = None
        self._fresh, self._decoder_used = False, False
        self._size: tuple[int, int] | None = None  # width, height of the first frame; later ones are resized to it
        self._orient: Callable[[FrameHWC], FrameHWC] | None = None
        self._reformatter = VideoReformatter()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    @property
    def notes(self) -> tuple[str, ...]:
        return (*super().notes, *([f"{self.num_damaged} frames are damaged"] if self.num_damaged else []))

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None
        self._file.close()

    def _open(self) -> None:
        """Open the container at its start with a new decoder."""
        if self._fresh:
            return
        if self._container is not None:
            self._container.close()
        self._file.seek(0)
        max_pixels = str(self.limits.max_pixels)
        try:
            self._container = av.open(
                self._file,
                mode="r",
                options={"format_whitelist": FORMATS, "protocol_whitelist": NO_PROTOCOL, "max_pixels": max_pixels},
                buffer_size=BUFFER_BYTES,
                metadata_errors="replace",
            )
        except DECODE_ERRORS as error:
            self._file.seek(0)
            raise VideoError(self.name, *_why_not_opened(self._file, error)) from error
        self._stream = _video_stream(self._container, self.name)
        self._time_base = self._stream.time_base or DEFAULT_PERIOD
        codec, kind = self._stream.codec_context, self._container.format.name
        self._has_edit_lists = "mov" in kind
        # Whether each packet is a frame with a reliable time stamp, and skipping some saves time.
        self._may_skip = (self._has_edit_lists or "matroska" in kind) and codec.name in SKIPPING_CODECS
        codec.options = {"max_pixels": max_pixels}  # the container's own option does not reach the decoder
        codec.thread_count = 1
        self._fresh, self._decoder_used = True, False

    def decode_frames(self) -> Iterator[DecodedFrame]:
        self._open()  # from the start, with a new decoder
        stream, time_base = self._stream, self._time_base

        first_stamp: Fraction | None = None
        end = Fraction(0)

        def stamped() -> Iterator[StampedFrame]:
            nonlocal first_stamp
            for frame in self.decode_packets(self._packets()):
                pts = None if frame.pts is None else frame.pts * time_base
                first_stamp = pts if first_stamp is None else first_stamp
                yield pts, frame.duration * time_base if frame.duration else None, partial(self.to_rgb, frame)

        try:
            for frame in assign_times(stamped(), period=_period(stream), name=self.name):
                yield frame
                end = frame.until
        except DECODE_ERRORS as error:
            failure = f"decoding failed after {self.num_decoded} frames ({_reason(error)})"
            if self.num_decoded == 0:
                failure += f": it is damaged, or its frames have over {self.limits.max_pixels:,} pixels"
            raise VideoError(self.name, failure, "repair or replace the file") from error
        if end == 0:
            raise VideoError(self.name, "it holds no frame that can be decoded", "check that the file is complete")
        self._note_short((first_stamp or Fraction(0)) + end)

    def decode_frames_at(self, wanted: Sequence[int]) -> Iterator[DecodedFrame]:
        if not wanted:
            return
        last_index = -1  # of the frames yielded so far
        if wanted[-1] > 0 and self._scan is not None and self._table is not None:
            try:
                for frame in self._seeking(wanted, self._scan, self._table):
                    yield frame
                    last_index = frame.index
                return
            except (_SeekFailedError, *DECODE_ERRORS):
                pass  # the container's index is wrong: decode from the start, which is always right
        missing = {i for i in wanted if i > last_index}
        for frame in islice(self.decode_frames(), wanted[-1] + 1):
            if frame.index in missing:
                yield frame

    def timetable(self) -> list[Fraction] | None:
        return self._table

    @cached_property
    def _table(self) -> list[Fraction] | None:
        if self._scan is None:
            return None
        pts = self._scan.pts.tolist()
        starts = [(stamp - pts[0]) * self._time_base for stamp in pts]
        return [*starts, starts[-1] + _period(self._stream)]

    def _seeking(self, wanted: Sequence[int], scan: Scan, table: list[Fraction]) -> Iterator[DecodedFrame]:
        """Seek only where a keyframe lies between one wanted frame and the next; otherwise decoding on is cheaper."""
        if wanted[-1] >= len(scan.pts):
            raise _SeekFailedError
        wanted_pts = frozenset(scan.pts[list(wanted)].tolist())
        frames: Iterator[VideoFrame] = iter(())
        position = -1  # the earliest frame that `frames` can yield next; -1: none
        for index in wanted:
            key = int(scan.key_pts[np.searchsorted(scan.key_pts, scan.pts[index], side="right") - 1])
            start = int(np.searchsorted(scan.pts, key))
            if position < 0 or start > position:
                frames, position = self._from_keyframe(key, scan, wanted_pts), start
            frame = None
            while position <= index:
                frame = next(frames, None)
                if frame is None or frame.pts is None:
                    raise _SeekFailedError
                if frame.pts != scan.pts[position] and not self._may_skip:
                    raise _SeekFailedError
                position += int(np.searchsorted(scan.pts[position:], frame.pts)) + 1  # the decoder may skip frames
            if frame is None or frame.pts != scan.pts[index]:
                raise _SeekFailedError
            yield DecodedFrame(index, table[index], table[index + 1], partial(self.to_rgb, frame))

    def _from_keyframe(self, pts: int, scan: Scan, wanted_pts: frozenset[int]) -> Iterator[VideoFrame]:
        """Decode from the keyframe with the time stamp `pts`; frames displayed before it are dropped.

        The decoder may skip frames that are neither wanted nor referenced by others.
        """
        if self._decoder_used or not self._may_skip:
            self._open()
        assert self._container is not None
        codec = self._stream.codec_context
        if pts > scan.key_pts[0] or not self._fresh:
            self._container.seek(pts, stream=self._stream)

        def packets() -> Iterator[Packet[VideoStream]]:
            started = False
            for packet in self._packets():
                if not started and packet.size:
                    if not packet.is_keyframe:
                        continue
                    if packet.pts != pts:
                        raise _SeekFailedError
                    started = True
                if self._may_skip:
                    codec.skip_frame = "DEFAULT" if packet.pts in wanted_pts else "NONREF"
                yield packet

        return (frame for frame in self.decode_packets(packets()) if frame.pts is None or frame.pts >= pts)

    @cached_property
    def _scan(self) -> Scan | None:
        """Read all packets without decoding. None where packets and frames may not correspond one to one."""
        self._open()
        pts, keys, is_displayed = [], [], []
        try:
            for packet in self._packets():
                if not packet.size:
                    continue
                if packet.pts is None or packet.is_corrupt or (packet.is_discard and not self._has_edit_lists):
                    return None
                pts.append(packet.pts)
                is_displayed.append(not packet.is_discard)  # an edit list removes frames after decoding
                if packet.is_keyframe:
                    keys.append(packet.pts)
        except DECODE_ERRORS:
            return None
        hidden_frames = self._stream.codec_context.name in ("vp8", "libvpx")  # has packets that are never displayed
        if hidden_frames or not keys or len(set(pts)) < len(pts) or keys[0] != pts[0] or pts[0] != min(pts):
            return None
        codec = self._stream.codec_context
        if codec.name == "h264" and (codec.pix_fmt or "").startswith(("yuv444", "yuvj444", "gbr")):
            # 4:4:4 of older x264 deviates from the standard; FFmpeg corrects that only after reading the first packet.
            keys = keys[:1]
        displayed_pts = np.sort(np.array(pts, np.int64)[is_displayed])
        return Scan(displayed_pts, np.sort(np.array(keys, np.int64))) if len(displayed_pts) else None

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        assert self._container is not None
        self._fresh = False
        return self._container.demux(self._stream)

    def decode_packets(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[VideoFrame]:
        self.num_decoded = 0
        self._decoder_used = True
        for packet in packets:
            self._check_time()
            for frame in packet.decode():
                self.num_decoded += 1
                if frame.width * frame.height > self.limits.max_pixels:
                    raise ValueError(f"a frame has {frame.width} x {frame.height} pixels")
                self.num_damaged += frame.is_corrupt
                yield frame

    def to_rgb(self, frame: VideoFrame) -> FrameHWC:
        """RGB in display orientation, at the size of the first frame."""
        if self._size is None or self._orient is None:
            self._size, self._orient = (frame.width, frame.height), _orientation(frame, self.name)
        width, height = self._size
        alpha = any(component.is_alpha for component in frame.format.components)
        pixels = self._reformatter.reformat(
            frame, width=width, height=height, format="rgba" if alpha else "rgb24", threads=1
        ).to_ndarray()
        frame_HWC = cast(FrameHWC, pixels)
        return self._orient(blend_onto_black(frame_HWC) if alpha else frame_HWC)

    def _note_short(self, end: Fraction) -> None:
        """Note a video that ends earlier than its header states, as interrupted downloads and recordings do."""
        missing = (_stated_end(self._container, self._stream) or end) - end
        if missing > max(Fraction(SHORT_BY_SECONDS), 5 * _period(self._stream)):
            self._notes[f"the last {float(missing):.2f} s that its header states are missing: truncated?"] = None


def _orientation(frame: VideoFrame, name: str) -> Callable[[FrameHWC], FrameHWC]:
    """A function that applies the display matrix to decoded pixels (ISO 14496-12: x' = a x + c y, y' = b x + d y)."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return lambda pixels: pixels
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(cast(bytes, side_data))[:36])
    scale = max(abs(a), abs(b), 1)
    match round(a / scale, 2), round(b / scale, 2), round(c / scale, 2), round(d / scale, 2):
        case (1 | -1, 0, 0, 1 | -1):
            columns, rows = (1 if a > 0 else -1), (1 if d > 0 else -1)
            return lambda pixels: np.ascontiguousarray(pixels[::rows, ::columns])
        case (0, 1 | -1, 1 | -1, 0):
            columns, rows = (1 if c > 0 else -1), (1 if b > 0 else -1)
            return lambda pixels: np.ascontiguousarray(pixels.transpose(1, 0, 2)[::rows, ::columns])
        case other:
            what = f"its display matrix {other} is no rotation by a multiple of 90 degrees"
            raise VideoError(name, what, "convert it again")


def blend_onto_black(frame_HWC4: FrameHWC) -> FrameHWC:
    """RGBA -> RGB, blended onto black."""
    alpha = frame_HWC4[..., 3:].astype(np.uint16)
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(frame_HWC4[..., :3])
    return ((frame_HWC4[..., :3] * alpha + 127) // 255).astype(np.uint8)


def _open_file(path: Path, name: str) -> IO[bytes]:
    """The file for reading, or a VideoError. Pipes and devices are refused before they can block."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise VideoError(name, "no such file", "check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(name, f"cannot be opened ({_reason(error)})", "check the path and its permissions") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise VideoError(name, "not a regular file", "give a video file, or a folder of frames")
    raw = io.FileIO(handle)
    raw.name = "video"  # FFmpeg does not get the real name
    return io.BufferedReader(raw, BUFFER_BYTES)


def _why_not_opened(file: IO[bytes], error: Exception) -> tuple[str, str]:
    """(cause, next step) for a file that FFmpeg does not open, from how it begins."""
    head = file.read(1 << 12)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    again = "copy or download it again"
    if not head:
        return "the file is empty (0 bytes)", again
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "it is a web page, not a video", "the download failed: download it again"
    if start.startswith((b"#extm3u", b"ffconcat", b"v=0", b"[playlist]", b"<mpd")):
        return "it is a playlist or a script that refers to other files, which are not opened", "give the video itself"
    if start.startswith((b"\xff\xd8\xff", b"\x89png", b"bm", b"ii*\0", b"mm\0*")) or head[8:12] == b"WEBP":
        return "it is an image, not a video", "give a video, a .gif, or a folder of frames"
    if all(c in b"\t\r\n\x1b" or c >= 32 for c in head):
        return "it is text, not a video", "give the video itself (a list of videos ends in .txt or .csv)"
    if head[4:8] in (b"ftyp", b"mdat", b"moov", b"free", b"wide"):
        return "the mp4 is truncated (its index, the moov atom, is missing or damaged)", again
    return f"not a video in a supported format ({_reason(error)})", "convert it to mp4, or replace it"


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    """The first video stream that is not a cover image."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        types = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise NoVideoStreamError(name, f"no video stream (found: {types})", "give a file with a video stream")
    if streams[0].codec_context is None:
        raise VideoError(name, "its codec is not available in this FFmpeg build", "convert it to H.264")
    return streams[0]


def _period(stream: VideoStream) -> Fraction:
    """The nominal time between two frames; implausible values of headers are ignored."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and MIN_PERIOD <= 1 / rate <= MAX_PERIOD:
            return 1 / rate
    return DEFAULT_PERIOD


def _stated_end(container: InputContainer | None, stream: VideoStream) -> Fraction | None:
    """The end of the video by its header, as a time stamp; None where the header states none for the video stream."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    if tag := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", "")):  # Matroska
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])
    if container is not None and container.duration and len(container.streams) == 1:
        return Fraction((container.start_time or 0) + container.duration, av.time_base)
    return None


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]
