"""Whether the last frame of an MPEG transport stream is complete, which neither the container nor decoders report.

A frame of H.264 or HEVC is decoded again with more bytes behind it. Decoders end a complete frame before these, and
give the same pixels; of an incomplete one they take them for the rest. In MPEG-2 each row of blocks has a slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import av
import av.error
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from i3d.video.base import FrameHWC
from i3d.video.display_order import SLICE, STRUCTURE

CODECS: Final = ("h264", "hevc", "mpeg2video")
MAX_BYTES: Final = 1 << 26  # of the packets from the last keyframe on; beyond, nothing is known
MAX_HEIGHT: Final = 2800  # rows of higher frames are numbered in another way
ENDINGS: Final = tuple(64 * bits for bits in (b"\x55", b"\xff", b"\x80\x35", b"\x2d\xb3"))  # one may fit by chance


class LastFrame:
    """The packets of a stream from its last keyframe on."""

    def __init__(self, stream: VideoStream, kind: str) -> None:
        self.is_needed = kind == "mpegts" and stream.codec_context.codec.canonical_name in CODECS
        self._stream, self._packets, self._num_bytes = stream, list[bytes](), 0

    def add(self, packet: Packet[VideoStream]) -> None:
        """Record the next packet."""
        if not self.is_needed or not packet.size:
            return
        if packet.is_keyframe:
            self._packets, self._num_bytes = [], 0
        self._num_bytes += packet.size
        if self._num_bytes <= MAX_BYTES:
            self._packets.append(bytes(packet))

    def is_incomplete(self, to_rgb: Callable[[VideoFrame], FrameHWC]) -> bool:
        """Decode the packets as they are, and with each of `ENDINGS`; whether pixels of any frame differ."""
        if not self._packets or self._num_bytes > MAX_BYTES:
            return False
        *before, last = self._packets
        if self._stream.codec_context.codec.canonical_name == "mpeg2video":
            return _lacks_last_row(last, self._stream.height)
        plain = self._decode([*before, last], to_rgb)
        others = (self._decode([*before, last + ending], to_rgb) for ending in ENDINGS)
        return any(len(plain) != len(other) or not all(map(np.array_equal, plain, other)) for other in others)

    def _decode(self, packets: list[bytes], to_rgb: Callable[[VideoFrame], FrameHWC]) -> list[FrameHWC]:
        """The frames that the last packet completes, or that wait for it."""
        decoder = av.CodecContext.create(self._stream.codec_context.name, "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.extradata, decoder.thread_count = self._stream.codec_context.extradata, 1
        frames: list[VideoFrame] = []
        for content in [*packets, None]:
            try:
                decoded = decoder.decode(None if content is None else Packet(content))
            except av.error.FFmpegError:
                continue
            frames = [*frames, *decoded] if content is None else decoded
        return [to_rgb(frame) for frame in frames]


def _lacks_last_row(packet: bytes, height: int) -> bool:
    """Whether a frame of MPEG-2 has no slice in its last row (ISO 13818-2 6.1.2); fields are not judged."""
    is_frame = [content[0] & 3 for content in STRUCTURE.findall(packet)] == [3]
    rows = [start[3] for start in SLICE.findall(packet)]
    return is_frame and height <= MAX_HEIGHT and max(rows, default=0) < -(-height // 16)
