"""Open a video file for FFmpeg, find its video stream, and explain what cannot be opened.

The only place that calls `av.open` to read. FFmpeg reads the bytes through a Python file, without any protocol, and
only the container formats below. A playlist, a concat script, an SDP text or a device named "clip.mp4" can therefore
not make it open anything else. Only `open_address` lets FFmpeg use the network, with the protocols of one scheme.
"""

import io
import os
import re
import stat
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO, Final

import av
import av.error
import av.stream
from av.container import InputContainer
from av.video.stream import VideoStream

from i3d.errors import VideoError
from i3d.video.base import NoVideoStreamError

FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,gif,asf,ogg,mxf,nut,ivf,obu,"
    "h264,hevc,m4v,mjpeg,dv,rm,wtv,swf,yuv4mpegpipe"
)
NO_PROTOCOL: Final = "none"  # not the name of any protocol; an empty list would allow all
DECODE_ERRORS: Final = (av.error.FFmpegError, OSError, ValueError, MemoryError, RuntimeError)
BUFFER_BYTES: Final = 1 << 18
PIPE_BYTES: Final = 1 << 15
LIVE_FORMATS: Final = "mpjpeg,rtsp,rtp,sdp"
DEFAULT_PERIOD: Final = Fraction(1, 25)
MIN_PERIOD: Final = Fraction(1, 1000)
MAX_PERIOD: Final = Fraction(60)


class CheckedFile(io.BufferedReader):
    """A file, or the bytes of one, that calls `check` before each read: an exception stops FFmpeg's search through it.

    A file that cannot be opened is a VideoError.
    """

    def __init__(self, source: Path | bytes, check: Callable[[], None], *, name: str) -> None:
        super().__init__(io.BytesIO(source) if isinstance(source, bytes) else _open(source, name), BUFFER_BYTES)
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes."""
        self._check()
        return super().read(size)

    def close(self) -> None:
        """Close the file, and let go of `check`, which may hold what holds this file with its large buffer."""
        super().close()
        self._check = _nothing


def _nothing() -> None:
    pass


def open_container(file: IO[bytes], *, max_pixels: str) -> InputContainer:
    """The container in a file; one of the `DECODE_ERRORS` if it is none of the formats."""
    return av.open(
        file,
        mode="r",
        options={"format_whitelist": FORMATS, "protocol_whitelist": NO_PROTOCOL, "max_pixels": max_pixels},
        buffer_size=BUFFER_BYTES,
        metadata_errors="replace",
    )


def open_live_file(file: object, *, max_pixels: str) -> InputContainer:
    """The container in what a pipe delivers: `file` has `read`, and no `seek`. One of the `DECODE_ERRORS` if none."""
    return av.open(
        file,
        mode="r",
        options={**_live_options(max_pixels), "protocol_whitelist": NO_PROTOCOL},
        buffer_size=PIPE_BYTES,
        metadata_errors="replace",
    )


def open_address(
    address: str, *, protocols: str, max_pixels: str, seconds: float, open_seconds: float
) -> InputContainer:
    """The container at an address of the network, by these protocols only; one of the `DECODE_ERRORS` if there is none.

    Without an answer for `open_seconds`, and later without data for `seconds`, the connection is given up.
    """
    return av.open(
        address,
        mode="r",
        options={  # "nobuffer" forgets what was read to find the streams: it is older than what follows
            **_live_options(max_pixels),
            "protocol_whitelist": protocols,
            "rtsp_transport": "tcp",
            "fflags": "nobuffer",
        },
        timeout=(open_seconds, seconds),
        metadata_errors="replace",
    )


def _live_options(max_pixels: str) -> dict[str, str]:
    """Of live sources, little is read before the first frame: a second, by their time stamps."""
    return {"format_whitelist": f"{FORMATS},{LIVE_FORMATS}", "max_pixels": max_pixels, "analyzeduration": "1000000"}


def _open(path: Path, name: str) -> io.FileIO:
    """The file for reading, or a VideoError. Pipes and devices are refused before they can block."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise VideoError(name, "no such file", "check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(name, f"cannot be opened ({reason(error)})", "check the path and its permissions") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise VideoError(name, "not a regular file", "give a video file, or a folder of frames")
    raw = io.FileIO(handle)
    raw.name = "video"  # FFmpeg does not get the real name
    return raw


def why_not_opened(file: IO[bytes], error: Exception) -> tuple[str, str]:
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
    return f"not a video in a supported format ({reason(error)})", "convert it to mp4, or replace it"


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The first video stream that is not a cover image."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        types = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise NoVideoStreamError(name, f"no video stream (found: {types})", "give a file with a video stream")
    if streams[0].codec_context is None:
        raise VideoError(name, "its codec is not available in this FFmpeg build", "convert it to H.264")
    return streams[0]


def frame_period(stream: VideoStream) -> Fraction:
    """The nominal time between two frames; implausible values of headers are ignored."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and MIN_PERIOD <= 1 / rate <= MAX_PERIOD:
            return 1 / rate
    return DEFAULT_PERIOD


def stated_end(container: InputContainer | None, stream: VideoStream) -> Fraction | None:
    """The end of the video by its header, as a time stamp; None where the header states none for the video stream."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    if tag := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", "")):  # Matroska
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])
    if container is not None and container.duration and len(container.streams) == 1:
        return Fraction((container.start_time or 0) + container.duration, av.time_base)
    return None


def lead_of(container: InputContainer, stream: VideoStream) -> float:
    """Seconds from the first sound or frame of a file, where players begin to count, to the first frame."""
    streams = (stream, *container.streams.audio)
    starts = [one.start_time * one.time_base for one in streams if one.start_time is not None and one.time_base]
    if stream.start_time is None or not stream.time_base:
        return 0.0
    return float(stream.start_time * stream.time_base - min(starts))


def reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]
