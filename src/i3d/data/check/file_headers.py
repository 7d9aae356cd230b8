"""Format and size of video files from their outermost headers, read without FFmpeg."""

import os
from typing import IO, Final

BOXES: Final = frozenset(b"ftyp styp moov moof mdat mfra free skip wide udta uuid meta sidx pnot pdin".split())
MATROSKA: Final = b"\x1a\x45\xdf\xa3"
SEGMENT: Final = b"\x18\x53\x80\x67"  # of Matroska
ASF: Final = bytes.fromhex("3026b2758e66cf11")
SUFFIXES: Final = {  # by format; files of other formats are not judged
    "mp4": (".mp4", ".m4v", ".mov", ".f4v", ".3gp", ".3g2", ".mj2"),
    "Matroska or WebM": (".mkv", ".webm"),
    "avi": (".avi",),
    "gif": (".gif",),
    "flv": (".flv", ".f4v"),
    "ogg": (".ogv",),
    "wmv": (".wmv", ".asf", ".wtv"),
}


def find_truncation(file: IO[bytes], size: int) -> tuple[str, bool]:
    """What is missing from a file by its headers ("" if nothing), and whether that alone proves truncation.

    Read are ISO 14496-12 boxes, RIFF chunks, and the Segment of Matroska (RFC 9559). Sizes in playable AVI and mp4
    files are not always right; those files also store the length of the video, which the reader compares.
    """
    match _kind(file):
        case "mp4":
            return _boxes(file, size), False
        case "avi":
            at = 0
            while at + 8 <= size and (head := _at(file, at, 8))[:4] == b"RIFF":
                at += 8 + int.from_bytes(head[4:], "little")
            return _missing(at, size), False
        case "Matroska or WebM":
            length, start = _vint(_at(file, 4, 8))
            head = _at(file, 4 + start + length, 12)
            if not head.startswith(SEGMENT):
                return "", False
            content_size, width = _vint(head[4:])
            unknown = width == 0 or content_size == (1 << 7 * width) - 1
            return ("" if unknown else _missing(4 + start + length + 4 + width + content_size, size)), True
    return "", False


def suffix_mismatch(file: IO[bytes], name: str) -> str:
    """A message if the suffix of a name belongs to another format than the content, else ""."""
    kind, suffix = _kind(file), os.path.splitext(name)[1].lower()  # noqa: PTH122
    is_known = any(suffix in suffixes for suffixes in SUFFIXES.values())
    fits = not kind or not is_known or suffix in SUFFIXES[kind]
    return "" if fits else f"it is {kind}, though its name ends in {suffix}"


def _kind(file: IO[bytes]) -> str:
    head = _at(file, 0, 12)
    if head[4:8] in BOXES:
        return "mp4"
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        return "avi"
    starts = {MATROSKA: "Matroska or WebM", b"GIF8": "gif", b"FLV": "flv", b"OggS": "ogg", ASF: "wmv"}
    return next((kind for start, kind in starts.items() if head.startswith(start)), "")


def _boxes(file: IO[bytes], size: int) -> str:
    at, kinds = 0, set()
    while at + 8 <= size:
        head = _at(file, at, 16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind not in BOXES:
            return ""
        kinds.add(kind)
        length = int.from_bytes(head[8:], "big") if length == 1 else length or size - at
        if length < 8:
            return ""
        at += length
    return _missing(at, size) or ("" if b"moov" in kinds else "its index (the moov atom) is missing")


def _missing(stated_size: int, size: int) -> str:
    return f"at least {stated_size - size:,} of {stated_size:,} bytes are missing" if stated_size > size else ""


def _vint(content: bytes) -> tuple[int, int]:
    """(value, number of bytes) of a variable-size integer (RFC 8794); (0, 0) if it is invalid."""
    width = 9 - content[0].bit_length() if content and content[0] else 0
    return (int.from_bytes(content[:width], "big") & ((1 << 7 * width) - 1), width) if width else (0, 0)


def _at(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
