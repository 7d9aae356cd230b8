"""Format of a video file, and whether its end is missing, by what its container stores, read without FFmpeg."""

import os
import re
import struct
from collections.abc import Callable
from typing import IO, Final

BOXES: Final = frozenset(b"ftyp styp moov moof mdat mfra free skip wide udta uuid meta sidx pnot pdin".split())
SEGMENT_BOXES: Final = frozenset(b"ssix prft emsg pssh idat imda".split())  # of segments, besides
MATROSKA: Final = b"\x1a\x45\xdf\xa3"
SEGMENT: Final = b"\x18\x53\x80\x67"  # of Matroska
ASF: Final = bytes.fromhex("3026b2758e66cf11")
ASF_FILE_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
PACK: Final = b"\0\0\1\xba"  # of an MPEG program stream
STARTS: Final = {
    MATROSKA: "Matroska or WebM", b"GIF8": "gif", b"FLV": "flv", b"OggS": "ogg", ASF: "wmv", PACK: "mpg",
    b"DKIF": "ivf", b"FWS": "swf",
}  # fmt: skip
SUFFIXES: Final = {  # by format; files of other formats are not judged
    "mp4": (".mp4", ".m4v", ".mov", ".f4v", ".3gp", ".3g2", ".mj2"),
    "Matroska or WebM": (".mkv", ".webm"),
    "avi": (".avi",),
    "gif": (".gif",),
    "flv": (".flv", ".f4v"),
    "ogg": (".ogv",),
    "wmv": (".wmv", ".asf", ".wtv"),
}
TS_PACKETS: Final = {188: 0, 192: 4, 204: 0}  # size of a transport stream's packet: where its sync byte is
SYNC: Final = b"\x47"
TS_PACKET_BYTES: Final = 188  # without a time stamp before it, or a checksum behind it
PADDING: Final = b"\xff"  # fills the header of the last packet of a frame
FLV_SIZE: Final = re.compile(rb"\x00\x08filesize\x00(.{8})", re.DOTALL)
MAX_SIZE: Final = 1 << 50  # a larger stated size is damage
BOX_OF_FRAGMENT: Final = re.compile(rb"traf|tfhd|trun")
TAIL_BYTES: Final = 1 << 17  # an Ogg page has up to 64 KiB


def find_truncation(file: IO[bytes], size: int) -> tuple[str, bool]:
    """What is missing at the end of a file ("" if nothing is known), and whether that alone proves truncation.

    The size of an mp4 that is not fragmented proves nothing: its index has the length of the video, which the reader
    compares. Neither does the size of an AVI whose frames are complete.
    """
    kind = file_kind(file)
    if kind in ("mp4", "avi"):
        return _boxes(file, size) if kind == "mp4" else _avi(file, size)
    return (CHECKS[kind](file, size) if kind in CHECKS else ""), True


def suffix_mismatch(file: IO[bytes], name: str) -> str:
    """A message if the suffix of a name belongs to another format than the content, else ""."""
    kind, suffix = file_kind(file), os.path.splitext(name)[1].lower()  # noqa: PTH122
    is_known = any(suffix in suffixes for suffixes in SUFFIXES.values())
    fits = kind not in SUFFIXES or not is_known or suffix in SUFFIXES[kind]
    return "" if fits else f"it is {kind}, though its name ends in {suffix}"


def file_kind(file: IO[bytes]) -> str:
    """The format by the first bytes; "" for another one."""
    head = _at(file, 0, 1024)
    if head[4:8] in BOXES:
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if _packet_size(head):
        return "ts"
    return next((kind for start, kind in STARTS.items() if head.startswith(start)), "")


def _boxes(file: IO[bytes], size: int) -> tuple[str, bool]:
    """Boxes of ISO 14496-12. In a fragmented file the last box is complete, and `sidx` lists all fragments."""
    at, kind, kinds, stated_end = 0, b"", set(), 0
    while at + 8 <= size:
        length, kind = _box(file, at, size)
        if kind not in BOXES or length < 8:
            return "", False
        if kind == b"sidx" and b"sidx" not in kinds:
            stated_end = _end_of_fragments(_at(file, at, min(length, TAIL_BYTES)), at + length)
        kinds.add(kind)
        at += length
    missing = _missing(max(at, stated_end), size)
    if not missing and kind == b"moof":
        missing = "the data of the last fragment is missing"
    if not missing and size > at and kinds:
        missing = "its last box is incomplete"
    if b"moof" in kinds and b"moov" in kinds:
        return missing, True
    return missing or ("" if b"moov" in kinds else "its index (the moov atom) is missing"), False


def _box(file: IO[bytes], at: int, size: int) -> tuple[int, bytes]:
    """(length, type) of the box at an offset of a file."""
    head = _at(file, at, 16)
    length = int.from_bytes(head[:4], "big")
    return int.from_bytes(head[8:], "big") if length == 1 else length or size - at, head[4:8]


def find_lost_fragment(file: IO[bytes], size: int) -> str:
    """What is wrong with the first fragment of a fragmented MP4 that readers leave out; "" if there is none."""
    at, before, num_fragments = 0, b"", 0
    while file_kind(file) == "mp4" and at + 8 <= size:
        length, kind = _box(file, at, size)
        is_known = kind in BOXES | SEGMENT_BOXES
        if length < 8 or (kind == b"mdat" and before not in BOXES | SEGMENT_BOXES) or not (is_known or kind.isalnum()):
            return f"the boxes at byte {at:,} are no fragment" if num_fragments else ""
        if kind == b"moof":
            num_fragments += 1
            if not {b"traf", b"tfhd", b"trun"} <= set(BOX_OF_FRAGMENT.findall(_at(file, at, min(length, TAIL_BYTES)))):
                return f"the fragment at byte {at:,} lists no frames"
        at, before = at + length, kind
    return ""


def _end_of_fragments(sidx: bytes, end: int) -> int:
    """The end of the fragments that a segment index lists (ISO 14496-12 8.16.3); `end`: of the index itself."""
    wide = sidx[8:9] != b"\0"
    first = int.from_bytes(sidx[28:36] if wide else sidx[24:28], "big")
    entries = sidx[40 if wide else 32 :]
    sizes = [int.from_bytes(entries[i : i + 4], "big") & 0x7FFFFFFF for i in range(0, len(entries) - 11, 12)]
    return end + first + sum(sizes)


def _avi(file: IO[bytes], size: int) -> tuple[str, bool]:
    """The list of frames (`movi`) ends within the file. The size of the whole file is not always right."""
    at = end = 0
    while at + 12 <= size:
        head = _at(file, at, 12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] == b"RIFF":
            end = at + 8 + length
            at += 12
            continue
        if head[:4] == b"LIST" and head[8:] == b"movi":
            if at + 8 + length > size:
                return _missing(at + 8 + length, size), True
            if not length:  # the recorder was interrupted, and did not set it
                break
        at += 8 + length + length % 2
    return _missing(end, size), False


def _matroska(file: IO[bytes], size: int) -> str:
    """The Segment has a size (RFC 9559), unless it was recorded live."""
    length, start = _vint(_at(file, 4, 8))
    head = _at(file, 4 + start + length, 12)
    if not head.startswith(SEGMENT):
        return ""
    content_size, width = _vint(head[4:])
    is_unknown = width == 0 or content_size == (1 << 7 * width) - 1
    return "" if is_unknown else _missing(4 + start + length + 4 + width + content_size, size)


def _gif(file: IO[bytes], size: int) -> str:
    tail = _tail(file, size)[1].rstrip(b"\0\r\n ")
    return "" if tail.endswith(b"\0;") or tail == b";" else "its trailer (the last byte, 0x3B) is missing"


def _transport_stream(file: IO[bytes], size: int) -> str:
    incomplete = size % _packet_size(_at(file, 0, 1024))
    return f"its last packet has {incomplete} bytes only" if incomplete else ""


def ends_in_full_packet(file: IO[bytes], size: int, stream: int) -> bool:
    """Whether the last packet of a stream (its PID) in a transport stream has no padding.

    Frames end with padding, unless their size is a multiple of a packet's by chance: it is probably cut within one.
    """
    step = _packet_size(_at(file, 0, 1024))
    start, tail = _tail(file, size)
    offset = TS_PACKETS.get(step, 0)
    if not step:  # damaged
        return False
    for at in range(len(tail) - (start + len(tail)) % step - step + offset, offset - 1, -step):
        packet = tail[at : at + TS_PACKET_BYTES]
        if packet[:1] == SYNC and int.from_bytes(packet[1:3], "big") & 0x1FFF == stream and packet[3] & 0x10:
            length = packet[4]
            return not packet[3] & 0x20 or (length > 1 and packet[4 + length : 5 + length] != PADDING)
    return False


def _packet_size(head: bytes) -> int:
    """The size of the packets of a transport stream; 0 if it is none."""
    for size, offset in TS_PACKETS.items():
        if len(head) > offset + 4 * size and all(head[offset + k * size] == SYNC[0] for k in range(5)):
            return size
    return 0


def _program_stream(file: IO[bytes], size: int) -> str:
    """From the last pack on, each packet has its length; the end code may follow."""
    start, tail = _tail(file, size)
    at = tail.rfind(PACK)
    while 0 <= at < len(tail):
        code = tail[at : at + 4]
        if code == b"\0\0\1\xb9":
            return ""
        if code == PACK:
            is_mpeg2 = tail[at + 4 : at + 5] >= b"\x40"
            at += 14 + (tail[at + 13] & 7) if is_mpeg2 and at + 14 <= len(tail) else 14 if is_mpeg2 else 12
        elif code.startswith(b"\0\0\1") and at + 6 <= len(tail):
            at += 6 + int.from_bytes(tail[at + 4 : at + 6], "big")
        elif code.startswith(b"\0\0\1") or len(code) < 4:
            return "its last packet is incomplete"
        else:
            return ""  # not a program stream of packets
    return _missing(start + at, size) if at >= 0 else ""


def _flv(file: IO[bytes], size: int) -> str:
    """The metadata may state the size of the file; each tag is followed by its size."""
    stated = FLV_SIZE.search(_at(file, 0, 1 << 13))
    if stated and size < (stated_size := struct.unpack(">d", stated[1])[0]) < MAX_SIZE:
        return _missing(int(stated_size), size)
    length = int.from_bytes(_at(file, max(size - 4, 0), 4), "big")
    head = _at(file, size - 4 - length, 4) if 11 <= length <= size - 4 else b""
    return "" if int.from_bytes(head[1:], "big") == length - 11 and head else "its last tag is incomplete"


def _asf(file: IO[bytes], size: int) -> str:
    """The file properties store the size of the file, unless it was broadcast."""
    head = _at(file, 0, 1 << 16)
    at = head.find(ASF_FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return ""
    is_broadcast = head[at + 88] & 1
    return "" if is_broadcast else _missing(int.from_bytes(head[at + 40 : at + 48], "little"), size)


def _ogg(file: IO[bytes], size: int) -> str:
    """The last page is complete and marked as the end of its stream (RFC 3533)."""
    start, tail = _tail(file, size)
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return "its last page is incomplete"
    segments = tail[at + 27 : at + 27 + tail[at + 26]]
    missing = _missing(start + at + 27 + tail[at + 26] + sum(segments), size)
    return missing or ("" if tail[at + 5] & 4 else "the page that ends its stream is missing")


def _ivf(file: IO[bytes], size: int) -> str:
    """The header has the number of frames; each frame has its size."""
    at, num_frames, stated = int.from_bytes(_at(file, 6, 2), "little"), 0, int.from_bytes(_at(file, 24, 4), "little")
    while at + 12 <= size:
        at += 12 + int.from_bytes(_at(file, at, 4), "little")
        num_frames += 1
    missing = _missing(at, size) or ("its last frame is incomplete" if at < size else "")
    return missing or (f"{num_frames} of {stated} frames are in it" if 0 < num_frames < stated else "")


def _swf(file: IO[bytes], size: int) -> str:
    return _missing(int.from_bytes(_at(file, 4, 4), "little"), size)


CHECKS: Final[dict[str, Callable[[IO[bytes], int], str]]] = {
    "Matroska or WebM": _matroska,
    "gif": _gif,
    "ts": _transport_stream,
    "mpg": _program_stream,
    "flv": _flv,
    "wmv": _asf,
    "ogg": _ogg,
    "ivf": _ivf,
    "swf": _swf,
}


def _missing(stated_size: int, size: int) -> str:
    return f"at least {stated_size - size:,} of {stated_size:,} bytes are missing" if stated_size > size else ""


def _vint(content: bytes) -> tuple[int, int]:
    """(value, number of bytes) of a variable-size integer (RFC 8794); (0, 0) if it is invalid."""
    width = 9 - content[0].bit_length() if content and content[0] else 0
    return (int.from_bytes(content[:width], "big") & ((1 << 7 * width) - 1), width) if width else (0, 0)


def _tail(file: IO[bytes], size: int) -> tuple[int, bytes]:
    """The last bytes of a file, and where they begin."""
    start = max(size - TAIL_BYTES, 0)
    return start, _at(file, start, TAIL_BYTES)


def _at(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
