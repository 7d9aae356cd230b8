"""MindSpore's `.ckpt`: a protocol buffer of named tensors, read and written without MindSpore.

`Checkpoint` has repeated values (field 1), each a name (1) and a tensor (2) of dimensions (1), type (2), bytes (3).
"""

import zlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from i3d.errors import WeightsError, printable
from i3d.weights.foreign.numbers import Array, itemsize, shaped_numbers
from i3d.weights.foreign.protobuf import encode_field, fields, varint

# In lower case they are numpy's names.
DTYPES: Final = {"Float64", "Float32", "Float16", "BFloat16", "Int64", "Int32", "Int16", "Int8", "UInt8", "Bool"}
MAX_VALUES: Final = 20_000
CHECKSUM_MARK: Final = b"crc_num"  # with `crc_check` the file ends with this and its CRC-32 in 10 bytes


def looks_like_mindspore(start: bytes) -> bool:
    """A value (field 1) that starts with a name (field 1) of printable letters."""
    try:
        if start[:1] != b"\x0a":
            return False
        _, at = varint(start, 1)
        if start[at : at + 1] != b"\x0a":
            return False
        size, at = varint(start, at + 1)
    except WeightsError:
        return False
    name = start[at : at + size]
    return 0 < size < 300 and len(name) == size and name.decode("ascii", "replace").isprintable()


def read_mindspore(content: bytes) -> dict[str, Array]:
    """Every tensor of a checkpoint, by its name. Raises WeightsError for damage."""
    if content[-17:-10] == CHECKSUM_MARK:
        content, stated = content[:-17], int.from_bytes(content[-10:], "big")
        if zlib.crc32(content) != stated:
            raise WeightsError("a damaged MindSpore checkpoint (its checksum is wrong)")
    pieces: dict[str, list[bytes]] = {}
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for count, (number, value) in enumerate(fields(content)):
        if number != 1 or not isinstance(value, bytes) or count > MAX_VALUES:
            raise WeightsError("not a MindSpore checkpoint")
        name, kind, shape, data = _value(value)
        if kind in DTYPES:  # a checkpoint may also hold strings
            pieces.setdefault(name, []).append(data)  # a large tensor has several pieces of one name
            kinds[name] = kind, shape
    return {name: _tensor(name, *kinds[name], b"".join(data)) for name, data in pieces.items()}


def mindspore_bytes(arrays: Mapping[str, Array]) -> bytes:
    """A checkpoint of float32 tensors, as `mindspore.save_checkpoint` writes it: one value for each."""
    out = bytearray()
    for name, array in arrays.items():
        dimensions = b"".join(encode_field(1, size) for size in array.shape or (0,))
        content = np.ascontiguousarray(array, "<f4").tobytes()
        tensor = dimensions + encode_field(2, b"Float32") + encode_field(3, content)
        out += encode_field(1, encode_field(1, name.encode()) + encode_field(2, tensor))
    return bytes(out)


def _value(message: bytes) -> tuple[str, str, tuple[int, ...], bytes]:
    name, kind, data = "", "", b""
    shape: list[int] = []
    for number, value in fields(message):
        if number == 1 and isinstance(value, bytes):
            name = value.decode("utf-8", "replace")
        elif number == 2 and isinstance(value, bytes):
            for inner, part in fields(value):
                match inner, part:
                    case 1, int():
                        shape.append(part)
                    case 1, bytes():
                        shape.extend(_packed(part))
                    case 2, bytes():
                        kind = part.decode("utf-8", "replace")
                    case 3, bytes():
                        data = part
    return name, kind, tuple(shape), data


def _packed(content: bytes) -> list[int]:
    values, at = [], 0
    while at < len(content):
        value, at = varint(content, at)
        values.append(value)
    return values


def _tensor(name: str, kind: str, shape: tuple[int, ...], data: bytes) -> Array:
    dtype = kind.lower()
    shape = () if shape == (0,) and len(data) == itemsize(dtype) else shape  # a scalar is saved with dimension 0
    return shaped_numbers(data, dtype=dtype, shape=shape, name=printable(name[:100]))
