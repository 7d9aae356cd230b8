"""The CRC-32C in the safetensors files that i3d writes: of the whole file, with zeros in place of the checksum.

It is a field of the JSON record in the metadata. One flipped bit in a tensor, the header or the record shows.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import google_crc32c
from pydantic import BaseModel, Field
from safetensors.torch import save
from torch import Tensor

UNSET: Final = "0" * 8
FileChecksum = Annotated[str, Field(pattern=f"^[0-9a-f]{{{len(UNSET)}}}$")]  # the field `file_crc32c` of a record
_IN_HEADER: Final = re.compile(rb'\\"file_crc32c\\":\\"([0-9a-f]{%d})\\"' % len(UNSET))  # JSON in a text of JSON
_CHUNK: Final = 1 << 20


def save_with_checksum(path: Path, tensors: Mapping[str, Tensor], *, key: str, record: BaseModel) -> None:
    """Write tensors and, under a key of the metadata, a record whose field `file_crc32c` gets the checksum.

    All of it is written to `path` itself: `safetensors.torch.save_file` would replace it by a file of mode 0600.
    """
    unset = record.model_copy(update={"file_crc32c": UNSET})
    with path.open("wb") as file:
        file.write(save(dict(tensors), metadata={key: unset.model_dump_json()}))
    write_checksum(path)


def write_checksum(path: Path) -> None:
    """Correct the checksum of a file that has one."""
    with path.open("r+b") as file:
        position, _, actual = _checksums(file)
        file.seek(position)
        file.write(actual)


def has_wrong_checksum(file: BinaryIO) -> bool:
    """Whether a file has another content than its checksum states; False for a file without a checksum."""
    _, stated, actual = _checksums(file)
    return stated not in (b"", actual)


def _checksums(file: BinaryIO) -> tuple[int, bytes, bytes]:
    """(position of the checksum, what it states, what it should state); empty without a checksum in the header."""
    size = file.seek(0, 2)
    file.seek(0)
    header_bytes = int.from_bytes(file.read(8), "little")
    file.seek(0)
    header = file.read(min(8 + header_bytes, size))
    field = _IN_HEADER.search(header)
    if field is None:
        return 0, b"", b""
    crc = google_crc32c.value(header[: field.start(1)] + UNSET.encode() + header[field.end(1) :])
    while chunk := file.read(_CHUNK):
        crc = google_crc32c.extend(crc, chunk)
    return field.start(1), field[1], b"%08x" % crc
