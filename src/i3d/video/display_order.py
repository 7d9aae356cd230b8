"""Which packets are one frame, and the order in which the decoder displays them, by the headers of the frames.

Time stamps give the same order again. Where the two differ, the time stamps are damaged, and do not show which frame
is the i-th. Read without decoding (ISO 13818-2, 14496-2; H.264 and HEVC in `order_counts`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from i3d.video.order_counts import AvcOrder, HevcOrder

Place = Callable[[bytes], int | None]

# Start of a frame or field of MPEG-1 and 2, of type I, P or B.
MPEG_FRAME: Final = re.compile(rb"\x00\x00\x01\x00.([\x08-\x1f\x48-\x5f\x88-\x9f\xc8-\xdf])", re.DOTALL)
STRUCTURE: Final = re.compile(rb"\x00\x00\x01\xb5[\x80-\x8f].(.)", re.DOTALL)  # of MPEG-2: frame, or which field
SLICE: Final = re.compile(rb"\x00\x00\x01[\x01-\xaf]")
VOP: Final = b"\0\0\1\xb6"  # of MPEG-4
FRAME_OBUS: Final = frozenset({3, 6})  # AV1: a frame header, a frame
RESERVED_OBUS: Final = frozenset({0, *range(9, 15)})
STEP: Final = 1 << 33  # more than the B-frames between two others


def display_order(codec: str, extradata: bytes | None) -> Place:
    """A function of the packets in order of decoding: a number that increases in order of display.

    It is None for a packet that certainly is not one frame, and where the order is not known.
    """
    match codec:
        case "h264":
            return AvcOrder(extradata or b"").place
        case "hevc":
            return HevcOrder(extradata or b"").place
        case "mpeg1video" | "mpeg2video":
            return _BidirectionalOrder(_is_mpeg_b).place
        case "mpeg4":
            return _BidirectionalOrder(_is_mpeg4_b).place
        case "av1":
            return _DecodingOrder(_holds_obus).place
        case "mjpeg":
            return _DecodingOrder(_holds_jpeg).place
    return _DecodingOrder(bool).place


class _DecodingOrder:
    """Codecs without reordering: the order of decoding."""

    def __init__(self, holds_frame: Callable[[bytes], bool]) -> None:
        self._holds_frame, self._num_frames = holds_frame, 0

    def place(self, packet: bytes) -> int | None:
        self._num_frames += 1
        return self._num_frames if self._holds_frame(packet) else None


class _BidirectionalOrder:
    """MPEG-1, 2, 4: B-frames are displayed at once, any other frame after the B-frames behind the next such frame."""

    def __init__(self, is_b: Callable[[bytes], bool | None]) -> None:
        self._is_b, self._num_references, self._num_b = is_b, 0, 0

    def place(self, packet: bytes) -> int | None:
        is_b = self._is_b(packet)
        self._num_b = self._num_b + 1 if is_b else 0
        self._num_references += not is_b
        return None if is_b is None else (self._num_references - is_b) * STEP + self._num_b


def _is_mpeg_b(packet: bytes) -> bool | None:
    """Whether one frame, or its two fields, with slices is of type B."""
    structures = sorted(content[0] & 3 for content in STRUCTURE.findall(packet))
    num_parts = 1 if structures in ([], [3]) else 2 if structures == [1, 2] else 0
    types = [content[0] >> 3 & 7 for content in MPEG_FRAME.findall(packet)]
    return types[0] == 3 if types and len(types) == num_parts and SLICE.search(packet) else None


def _is_mpeg4_b(packet: bytes) -> bool | None:
    after = packet[packet.find(VOP) + len(VOP) :]
    return after[0] >> 6 == 2 if after and packet.count(VOP) == 1 else None


def _holds_jpeg(packet: bytes) -> bool:
    return packet.startswith(b"\xff\xd8") and b"\xff\xdb" in packet[: packet.find(b"\xff\xda")]


def _holds_obus(packet: bytes) -> bool:
    """The units of AV1 are of known types, fill the packet, and one is a frame."""
    at, kinds = 0, set()
    while at < len(packet):
        header, at = packet[at], at + 1 + (packet[at] >> 2 & 1)
        kinds.add(header >> 3)
        if not header & 2:  # without a size: up to the end
            at = len(packet)
            break
        size = shift = 0
        while at < len(packet) and shift < 56:
            size, at, shift = size | (packet[at] & 127) << shift, at + 1, shift + 7
            if packet[at - 1] < 128:
                break
        at += size
    return at == len(packet) and not kinds & RESERVED_OBUS and not kinds.isdisjoint(FRAME_OBUS)
