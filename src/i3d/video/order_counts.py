"""The order in which H.264 and HEVC display frames, by the headers of their slices (ISO 14496-10, 23008-2)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple

START_CODE: Final = re.compile(rb"\x00\x00\x01")
SEQUENCE: Final = 1 << 33  # more than the order counts of one coded sequence
HEADER_BYTES: Final = 64  # the fields of a slice that are read lie within its first bytes
MAX_ORDER_BITS: Final = 16
HIGH_PROFILES: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})  # of H.264


class _FrameStart(NamedTuple):
    """The first slice of a frame or field."""

    starts_sequence: bool
    is_reference: bool  # from which the order counts of the next are continued
    order_bits: tuple[int, int]  # the low bits of the order count, and how many they are
    field: int | None = None  # 0: top, 1: bottom; None: a whole frame


class _OrderCounts(ABC):
    """The order counts of frames of H.264 and HEVC (8.2.1 and 8.3.1 of their specifications)."""

    def __init__(self, extradata: bytes) -> None:
        self._num_sequences, self._previous = 0, 0
        self._sps: dict[int, tuple[int, ...]] = {}
        self._pps: dict[int, tuple[int, ...]] = {}
        self._length_size = 0  # of a NAL unit; 0: each begins with a start code (Annex B)
        try:
            for unit in self._sets(extradata) if extradata[:1] == b"\1" else _units(extradata, 0):
                self._frame_start(unit)
        except (ValueError, LookupError):  # damaged
            self._sps.clear()

    @abstractmethod
    def _sets(self, header: bytes) -> Iterator[bytes]:
        """The parameter sets of a configuration record (ISO 14496-15); sets `_length_size`."""

    @abstractmethod
    def _frame_start(self, unit: bytes) -> _FrameStart | None:
        """The frame or field that begins with this NAL unit, if one does. Parameter sets are stored."""

    def place(self, packet: bytes) -> int | None:
        try:
            units = _units(packet, self._length_size)
            starts = [start for unit in units if unit and (start := self._frame_start(unit))]
        except (ValueError, LookupError):
            return None
        if [start.field for start in starts] not in ([None], [0, 1], [1, 0]):
            return None
        start, (low, num_bits) = starts[0], starts[0].order_bits
        if num_bits > MAX_ORDER_BITS:
            return None
        if start.starts_sequence:
            self._num_sequences, self._previous = self._num_sequences + 1, 0
        step = (low - self._previous) % (1 << num_bits)
        count = self._previous + step - (1 << num_bits) * (step > 1 << num_bits >> 1)
        if start.is_reference:
            self._previous = count
        return self._num_sequences * SEQUENCE + count


class AvcOrder(_OrderCounts):
    """H.264. A packet with one field of two is not a frame."""

    def _sets(self, header: bytes) -> Iterator[bytes]:
        self._length_size = (header[4] & 3) + 1
        at = 5
        for mask in (31, 255):
            count, at = header[at] & mask, at + 1
            for _ in range(count):
                size = int.from_bytes(header[at : at + 2], "big")
                yield header[at + 2 : at + 2 + size]
                at += 2 + size

    def _frame_start(self, unit: bytes) -> _FrameStart | None:
        kind = unit[0] & 31
        if kind == 7:
            number, *values = _avc_sps(_Bits(unit[1:]))
            self._sps[number] = tuple(values)
        elif kind == 8:
            bits = _Bits(unit[1:HEADER_BYTES])
            number = bits.golomb()
            self._pps[number] = (bits.golomb(),)
        elif kind in (1, 2, 5) and unit[1] & 128:  # its first macroblock is 0
            return self._slice(_Bits(unit[1:HEADER_BYTES]), is_idr=kind == 5, is_reference=bool(unit[0] & 96))
        return None

    def _slice(self, bits: _Bits, *, is_idr: bool, is_reference: bool) -> _FrameStart:
        bits.golomb()  # first_mb_in_slice
        bits.golomb()  # slice_type
        has_planes, number_bits, order_type, order_bits, has_fields = self._sps[self._pps[bits.golomb()][0]]
        bits.read(2 * has_planes + number_bits)  # colour_plane_id, frame_num
        field = bits.read(1) if has_fields and bits.read(1) else None
        if is_idr:
            bits.golomb()  # idr_pic_id
        if order_type == 1:
            raise ValueError("the order is a formula that no encoder uses")
        if order_type == 2:  # the order of decoding
            return _FrameStart(starts_sequence=True, is_reference=False, order_bits=(0, 1), field=field)
        return _FrameStart(is_idr, is_reference, (bits.read(order_bits), order_bits), field)


def _avc_sps(bits: _Bits) -> tuple[int, ...]:
    """(number, separate colour planes, bits of frame_num, type and bits of the order count, may hold fields)."""
    profile = bits.read(24) >> 16
    number, has_planes = bits.golomb(), 0
    if profile in HIGH_PROFILES:
        chroma = bits.golomb()
        has_planes = bits.read(1) if chroma == 3 else 0
        bits.golomb()  # bit depths
        bits.golomb()
        bits.read(1)
        if bits.read(1):
            for place in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    bits.skip_scaling_list(16 if place < 6 else 64)
    number_bits, order_type = bits.golomb() + 4, bits.golomb()
    order_bits = bits.golomb() + 4 if order_type == 0 else 0
    if order_type == 1:
        return number, has_planes, number_bits, order_type, 0, 0  # not used
    bits.golomb()  # max_num_ref_frames
    bits.read(1)
    bits.golomb()  # width, height
    bits.golomb()
    return number, has_planes, number_bits, order_type, order_bits, 1 - bits.read(1)


class HevcOrder(_OrderCounts):
    """HEVC, of the base layer."""

    _num_frames = 0
    _has_ended = False  # by a NAL unit "end of sequence"

    def _sets(self, header: bytes) -> Iterator[bytes]:
        self._length_size = (header[21] & 3) + 1
        at = 23
        for _ in range(header[22]):
            count, at = int.from_bytes(header[at + 1 : at + 3], "big"), at + 3
            for _ in range(count):
                size = int.from_bytes(header[at : at + 2], "big")
                yield header[at + 2 : at + 2 + size]
                at += 2 + size

    def _frame_start(self, unit: bytes) -> _FrameStart | None:
        kind, layer = unit[0] >> 1 & 63, (unit[0] & 1) << 5 | unit[1] >> 3
        if layer:
            return None
        if kind == 33:
            number, *values = _hevc_sps(_Bits(unit[2:]))
            self._sps[number] = tuple(values)
        elif kind == 34:
            bits = _Bits(unit[2:HEADER_BYTES])
            number, sps = bits.golomb(), bits.golomb()
            bits.read(1)
            self._pps[number] = (sps, bits.read(1), bits.read(3))
        elif kind in (36, 37):
            self._has_ended = True
        elif kind < 32 and unit[2] & 128:  # the first slice of its frame
            return self._slice(_Bits(unit[2:HEADER_BYTES]), kind, unit[1] & 7)
        return None

    def _slice(self, bits: _Bits, kind: int, temporal_id_plus1: int) -> _FrameStart:
        is_idr, is_first, starts_again = kind in (19, 20), self._num_frames == 0, self._has_ended
        self._num_frames, self._has_ended = self._num_frames + 1, False
        bits.read(1 + (16 <= kind < 24))
        sps, has_output, num_extra = self._pps[bits.golomb()]
        bits.read(num_extra)
        bits.golomb()  # slice_type
        is_hidden = has_output and not bits.read(1)
        if is_hidden or 16 <= kind < 19 or (starts_again and not is_idr):
            raise ValueError("it is not displayed, or those that refer to frames before it are not")
        has_planes, order_bits = self._sps[sps]
        bits.read(2 * has_planes)
        low = 0 if is_idr else bits.read(order_bits)
        is_reference = temporal_id_plus1 == 1 and not (6 <= kind < 10 or (kind < 16 and kind % 2 == 0))
        return _FrameStart(is_idr or is_first, is_reference, (low, order_bits))


def _hevc_sps(bits: _Bits) -> tuple[int, ...]:
    """(number, separate colour planes, bits of the order count)."""
    num_layers = bits.read(7) & 7
    bits.read(1 + 96)  # general profile and level
    present = [(bits.read(1), bits.read(1)) for _ in range(num_layers)]
    bits.read(2 * (8 - num_layers) if num_layers else 0)
    bits.read(sum(88 * has_profile + 8 * has_level for has_profile, has_level in present))
    number, chroma = bits.golomb(), bits.golomb()
    has_planes = bits.read(1) if chroma == 3 else 0
    bits.golomb()  # width, height
    bits.golomb()
    for _ in range(4 * bits.read(1)):  # conformance window
        bits.golomb()
    bits.golomb()  # bit depths
    bits.golomb()
    return number, has_planes, bits.golomb() + 4


class _Bits:
    """The fields of a NAL unit, one after the other; a ValueError behind its end."""

    def __init__(self, content: bytes) -> None:
        content = content.replace(b"\0\0\3", b"\0\0")  # emulation prevention
        self._value, self._left = int.from_bytes(content, "big"), 8 * len(content)

    def read(self, num_bits: int) -> int:
        self._left -= num_bits
        if self._left < 0:
            raise ValueError("the header is incomplete")
        return self._value >> self._left & ((1 << num_bits) - 1)

    def golomb(self) -> int:
        """An unsigned Exp-Golomb code: as many zeros as bits follow the first 1."""
        num_zeros = self._left - (self._value & ((1 << self._left) - 1)).bit_length()
        return self.read(2 * num_zeros + 1) - 1

    def skip_scaling_list(self, size: int) -> None:
        scale = 8
        for _ in range(size):
            code = self.golomb()
            scale = (scale + (code + 1 >> 1) * (1 if code % 2 else -1)) & 255
            if not scale:
                return


def _units(packet: bytes, length_size: int) -> Iterator[bytes]:
    """The NAL units of a packet, each after its length (ISO 14496-15), which must fill it, or after a start code."""
    if not length_size:
        yield from START_CODE.split(packet)[1:]
        return
    at = 0
    while at + length_size < len(packet):
        start = at + length_size
        at = start + int.from_bytes(packet[at:start], "big")
        yield packet[start:at]
    if at != len(packet):
        raise ValueError("its units do not fill the packet")
