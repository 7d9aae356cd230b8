"""The wire format of protocol buffers, as far as checkpoints need it."""

from collections.abc import Iterator

from i3d.errors import WeightsError

Value = int | bytes


def fields(message: bytes | memoryview) -> Iterator[tuple[int, Value]]:
    """(field number, value) of a message, in its order. A value is an int, or bytes for texts and inner messages."""
    at, view = 0, memoryview(message)
    while at < len(view):
        tag, at = varint(view, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = varint(view, at)
            yield number, value
            continue
        if kind == 2:
            size, at = varint(view, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise WeightsError(f"a damaged message (wire type {kind})")
        if size > len(view) - at:
            raise WeightsError(f"a message that ends {size - len(view) + at} bytes too early")
        content = bytes(view[at : at + size])
        yield number, content if kind == 2 else int.from_bytes(content, "little")
        at += size


def varint(content: bytes | memoryview, at: int) -> tuple[int, int]:
    """An unsigned number of 7 bits a byte, lowest first, and the position after it.

    b"\\x96\\x01" -> 150
    """
    value = 0
    for i in range(10):
        if at + i >= len(content):
            break
        byte = content[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise WeightsError("a damaged message (a number without an end)")


def encode_field(number: int, value: Value) -> bytes:
    """One field of a message: an int as a varint, bytes with their length before them.

    1, 150 -> b"\\x08\\x96\\x01"
    """
    if isinstance(value, int):
        return _encode_varint(number << 3) + _encode_varint(value)
    return _encode_varint(number << 3 | 2) + _encode_varint(len(value)) + value


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
