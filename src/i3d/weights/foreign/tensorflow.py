"""TensorFlow V2 checkpoints (`model.ckpt.index` + `model.ckpt.data-00000-of-00001`), read without TensorFlow.

The index is a sorted table in LevelDB's format: blocks of key-value pairs, whose keys share prefixes with the key
before, each block followed by its compression and a masked CRC-32C. A footer of 48 bytes has the position of the index
of the blocks. A value is a protocol buffer (`BundleEntryProto`) with type, shape and position in a data file.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import google_crc32c

from i3d.errors import WeightsError, printable
from i3d.weights.foreign.numbers import Array, shaped_numbers
from i3d.weights.foreign.protobuf import Value, fields, varint
from i3d.weights.names import index_of

MAX_NAME_BYTES: Final = 500
MAGIC: Final = bytes.fromhex("57fb808b247547db")
FOOTER_BYTES: Final = 48
TRAILER_BYTES: Final = 5  # of a block: 1 of compression, 4 of checksum
DTYPES: Final = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "|u1",
    5: "<i2",
    6: "|i1",
    9: "<i8",
    10: "|b1",
    14: "bfloat16",
    19: "<f2",
}


class Entry(NamedTuple):
    """The type, shape and position of a variable."""

    dtype: str
    shape: tuple[Value, ...]  # as claimed
    shard: int
    offset: int
    num_bytes: int
    crc32c: int


def read_tensorflow(prefix: Path) -> dict[str, Array]:
    """Every variable of a checkpoint, by its name. Raises WeightsError for damage, which the checksums find."""
    num_shards, entries = read_index(index_of(prefix).read_bytes())
    arrays = {}
    for shard in range(num_shards):
        path = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{num_shards:05d}")
        if not path.is_file():
            raise WeightsError(f"its data file {path.name} is missing; put it beside the index")
        inside = {name: entry for name, entry in entries.items() if entry.shard == shard}
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if sum(entry.num_bytes for entry in inside.values()) > size:
                raise WeightsError(f"{path.name} is smaller than its index claims")
            for name, entry in inside.items():
                if entry.offset + entry.num_bytes > size:
                    raise WeightsError(f"{path.name} ends before {name}")
                file.seek(entry.offset)
                content = file.read(entry.num_bytes)
                if masked_crc32c(content) != entry.crc32c:
                    raise WeightsError(f"the numbers of {name} are damaged (their checksum is wrong)")
                arrays[name] = shaped_numbers(content, dtype=entry.dtype, shape=entry.shape, name=printable(name))
    return arrays


def read_index(content: bytes) -> tuple[int, dict[str, Entry]]:
    """(number of data files, where each variable lies) of the bytes of an index file."""
    if len(content) < FOOTER_BYTES or content[-8:] != MAGIC:
        raise WeightsError("not an index of a TensorFlow checkpoint, or cut short")
    footer = content[-FOOTER_BYTES:]
    at = 0
    for _ in range(2):  # the handle of the meta index, which is empty
        _, at = varint(footer, at)
    blocks = _block(content, *_handle(footer, at))
    handles = [_handle(handle, 0) for _, handle in blocks]
    if any(after[0] < before[0] + before[1] for before, after in itertools.pairwise(handles)):
        raise WeightsError("an index whose blocks overlap")
    pairs = [pair for handle in handles for pair in _block(content, *handle)]
    if not pairs or pairs[0][0] != b"":
        raise WeightsError("an index without a header")
    header = dict(fields(pairs[0][1]))
    num_shards = header.get(1, 1)
    if header.get(2, 0) != 0 or not isinstance(num_shards, int) or not 1 <= num_shards <= 1000:
        raise WeightsError("a checkpoint of a big-endian machine, or of too many data files")
    return num_shards, {key.decode("utf-8", "replace"): _entry(key, value) for key, value in pairs[1:]}


def _handle(content: bytes, at: int) -> tuple[int, int]:
    """(offset, size) of a block."""
    offset, at = varint(content, at)
    size, _ = varint(content, at)
    return offset, size


def _block(content: bytes, offset: int, size: int) -> list[tuple[bytes, bytes]]:
    end = offset + size
    if end + TRAILER_BYTES > len(content):
        raise WeightsError("an index that is cut short")
    if content[end] != 0:
        raise WeightsError("a compressed index, which TensorFlow does not write")
    if masked_crc32c(content[offset : end + 1]) != int.from_bytes(content[end + 1 : end + TRAILER_BYTES], "little"):
        raise WeightsError("a damaged index (a checksum is wrong)")
    return list(_pairs(content[offset:end]))


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values. After them come the offsets of the keys that share no prefix, and their number."""
    num_restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (num_restarts + 1)
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or at + own + size > end or shared + own > MAX_NAME_BYTES:
            raise WeightsError("a damaged index")
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + size]
        at += own + size


def _entry(key: bytes, value: bytes) -> Entry:
    """`BundleEntryProto`: 1 type, 2 shape, 3 data file, 4 offset, 5 size, 6 checksum, 7 slices."""
    name, values = printable(key.decode(errors="replace")), dict[int, int]()
    shape: tuple[Value, ...] = ()
    for number, content in fields(value):
        if number == 2 and isinstance(content, bytes):  # `TensorShapeProto`: 2 dimensions, each with 1 size, 2 name
            dimensions = (inner for n, inner in fields(content) if n == 2 and isinstance(inner, bytes))
            shape = tuple(dict(fields(inner)).get(1, 0) for inner in dimensions)
        elif isinstance(content, int):
            values[number] = content
        elif number == 7:
            raise WeightsError(f"{name} is saved in slices; save it in one piece")
    code = values.get(1, 0)
    if code not in DTYPES:
        raise WeightsError(f"{name} is of TensorFlow's type {code}, not of numbers")
    return Entry(DTYPES[code], shape, *(values.get(number, 0) for number in (3, 4, 5, 6)))


def masked_crc32c(content: bytes) -> int:
    """CRC-32C, rotated and shifted as in LevelDB, so that checksums of checksums are well distributed."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
