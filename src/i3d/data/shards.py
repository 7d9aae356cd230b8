"""A dataset of many small files in a few tar files with an index, so that reading a file takes one seek.

    packed/shard-00000.tar ...     plain tar: any tool can unpack them
    packed/index.npz               shard, offset, size and CRC-32C of each file; arrays only, no pickle
    packed/clips.csv               the list: path, label, ...
    packed/classes.txt             the class names in the order of their numbers
    packed/SHA256SUMS              of the index, the list and the class names; `sha256sum -c` reads it

Files are read by offset and size; the headers of the tar files are not parsed. The checksum of a file is over its
header, content and padding too, so that each byte of a shard is verified when a file of its place is read.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import google_crc32c
import numpy as np
import numpy.typing as npt

from i3d.errors import InputError, VideoError, first_line
from i3d.utils.atomic_files import read_bytes
from i3d.utils.outputs import file_sha256
from i3d.video.base import DEFAULT_LIMITS, Limits, Video
from i3d.video.reader import open_video

INDEX: Final = "index.npz"
LIST: Final = "clips.csv"
CLASSES: Final = "classes.txt"
SUMS: Final = "SHA256SUMS"
SHARD: Final = "shard-{:05d}.tar"
BLOCK: Final = 512  # bytes of a tar block

Integers = npt.NDArray[np.int64]


def is_packed(root: Path) -> bool:
    """Whether a folder contains shards and their index."""
    return (root / INDEX).is_file() and any(path.match("shard-*.tar") for path in root.iterdir())


@dataclass(frozen=True)
class PackedPath:
    """A file or folder in shards, with the methods of a `Path` that readers use. It is cheap to send to a worker."""

    shards: Shards
    name: str

    def __truediv__(self, file: str) -> PackedPath:
        return PackedPath(self.shards, f"{self.name}/{file}")

    def iterdir(self) -> Iterator[Path]:
        """The names of the files of a folder, as paths."""
        return (Path(name) for name in self.shards.names_in(self.name))

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1]  # noqa: PTH122

    def is_dir(self) -> bool:
        return self.shards.has_folder(self.name)

    def exists(self) -> bool:
        return self.name in self.shards

    def read_bytes(self) -> bytes:
        return self.shards.read(self.name)

    def __str__(self) -> str:
        return str(self.shards.root / self.name)


class Shards:
    """The index of a packed dataset. Each process opens a shard when it first reads from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            content = (root / INDEX).read_bytes()
            if stated_digest(root, INDEX) != hashlib.sha256(content).hexdigest():
                raise ValueError(f"its SHA-256 is not that in {SUMS}")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                if any(member.compress_type != zipfile.ZIP_STORED for member in arrays.zip.infolist()):
                    raise ValueError("its columns are compressed; i3d writes them uncompressed")
                self._names_utf8: npt.NDArray[np.uint8] = arrays["names_utf8"]
                self._name_ends: npt.NDArray[np.int64] = arrays["name_ends"]
                self._shards: npt.NDArray[np.int32] = arrays["shards"]
                self._offsets: npt.NDArray[np.int64] = arrays["offsets"]
                self._sizes: npt.NDArray[np.int64] = arrays["sizes"]
                self._crc32c: npt.NDArray[np.int64] = arrays["crc32c"]
                self._shard_sizes: npt.NDArray[np.int64] = arrays["shard_sizes"]
        except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            why = f"not the index of shards ({first_line(error)}); pack the dataset again"
            raise InputError(f"{root / INDEX}: {why}") from error
        self._check()
        self._files: dict[int, int] = {}
        self._pid = os.getpid()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._numbers or self.has_folder(name))

    def has_folder(self, name: str) -> bool:
        return name.rstrip("/") in self._folders

    def path(self, name: str) -> PackedPath:
        """A file or folder, which need not exist."""
        return PackedPath(self, name.rstrip("/"))

    def names_in(self, folder: str) -> list[str]:
        first, stop = self._folders.get(folder, (0, 0))
        return [self._name(number).rpartition("/")[2] for number in range(first, stop)]

    def read(self, name: str) -> bytes:
        """The bytes of a file. A file that is missing or cannot be read is a VideoError."""
        where, number = str(self.root / name), self._numbers.get(name)
        if number is None:
            raise VideoError(where, "no such file in the shards", "pack the dataset again, or correct the list")
        if self._pid != os.getpid():  # after a fork
            self._files, self._pid = {}, os.getpid()
        shard, (start, stop) = int(self._shards[number]), (int(bounds[number]) for bounds in self._spans)
        try:
            if shard not in self._files:
                self._files[shard] = os.open(self.root / SHARD.format(shard), os.O_RDONLY)
            content = os.pread(self._files[shard], stop - start, start)
        except OSError as error:
            raise VideoError(where, f"cannot be read ({error.strerror})", "pack the dataset again") from error
        file = self.root / SHARD.format(shard)
        if len(content) < stop - start:
            raise VideoError(where, f"{file.name} is truncated", "copy it again, or pack the dataset again")
        if google_crc32c.value(content) != self._crc32c[number]:
            why = f"{file.name} is damaged at bytes {start:,} to {stop:,} (the checksum is wrong)"
            raise VideoError(where, why, "copy it again, or pack the dataset again")
        begin = int(self._offsets[number]) - start
        return content[begin : begin + int(self._sizes[number])]

    def __del__(self) -> None:
        if getattr(self, "_pid", None) == os.getpid():
            for handle in self._files.values():
                os.close(handle)

    def __reduce__(self) -> tuple[Callable[[Path], Shards], tuple[Path]]:
        return _open_once, (self.root,)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {self._name(number): number for number in range(len(self._name_ends))}

    @cached_property
    def _spans(self) -> tuple[Integers, Integers]:
        return spans(self._shards, self._offsets, self._sizes, self._shard_sizes)

    @cached_property
    def _folders(self) -> dict[str, tuple[int, int]]:
        """The range of file numbers of each folder; its files are consecutive."""
        folders: dict[str, tuple[int, int]] = {}
        for name, number in self._numbers.items():
            folder = name.rpartition("/")[0]
            folders[folder] = folders.get(folder, (number, 0))[0], number + 1
        return folders

    def _name(self, number: int) -> str:
        begin = self._name_ends[number - 1] if number else 0
        return self._names_utf8[begin : self._name_ends[number]].tobytes().decode("utf-8", "surrogatepass")

    def _check(self) -> None:
        """An InputError if the index does not fit its shards."""
        if fault := self._fault():
            raise InputError(f"{self.root / INDEX}: {fault}; pack the dataset again")
        for shard, size in enumerate(self._shard_sizes):
            file = self.root / SHARD.format(shard)
            actual = file.stat().st_size if file.is_file() else -1
            if actual != size:
                state = "is missing" if actual < 0 else f"has {actual:,} bytes, not {size:,}"
                raise InputError(f"{file}: {state}; copy it again, or pack the dataset again")

    def _fault(self) -> str:
        """What is wrong with the columns of the index: names and files must lie inside the names and the shards."""
        columns_N = (self._name_ends, self._shards, self._offsets, self._sizes, self._crc32c)
        if any(a.ndim != 1 or a.dtype.kind not in "iu" for a in (*columns_N, self._names_utf8, self._shard_sizes)):
            return "its columns are not 1D arrays of integers"
        if len({len(column) for column in columns_N}) != 1 or (self._offsets < 0).any() or (self._sizes < 0).any():
            return "its columns have different lengths"
        starts_N, num_bytes = np.concatenate([[0], self._name_ends[:-1]]), len(self._names_utf8)
        if (self._name_ends <= starts_N).any() or self._name_ends[-1:].sum() not in (0, num_bytes):
            return "its names are inconsistent"
        is_inside = (self._shards >= 0) & (self._shards < len(self._shard_sizes))
        if not is_inside.all() or (self._shard_sizes[self._shards] - self._offsets < self._sizes).any():
            return "points outside its shards"
        try:
            self._names_utf8.tobytes().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return "its names are not UTF-8"
        return ""


def spans(
    shards_N: npt.NDArray[np.integer], offsets_N: Integers, sizes_N: Integers, shard_sizes: Integers
) -> tuple[Integers, Integers]:
    """The bytes of its shard that belong to each file, from start to stop: header, content and padding.

    Those of the last file include the end of the shard.
    """
    ends_N = offsets_N + -(-sizes_N // BLOCK) * BLOCK
    is_last_N = np.append(shards_N[1:] != shards_N[:-1], True)[: len(shards_N)]
    stops_N = np.where(is_last_N, shard_sizes[shards_N], ends_N)
    starts_N = np.where(np.roll(is_last_N, 1), 0, np.roll(ends_N, 1))
    return starts_N, stops_N


def stated_digest(root: Path, name: str) -> str:
    """The SHA-256 of a file of a packed dataset when it was packed; "" if none is stated."""
    try:
        lines = read_bytes(root / SUMS).decode().splitlines()
    except FileNotFoundError as error:
        raise ValueError(f"no {SUMS} is beside it, as an older version of i3d packed it") from error
    return next((line.split("  ")[0] for line in lines if line.endswith(f"  {name}")), "")


def is_as_packed(root: Path, name: str) -> bool:
    """Whether the list or the class names of a packed dataset are as they were packed."""
    return file_sha256(root / name) == stated_digest(root, name)


def open_stored_video(path: Path | PackedPath, *, limits: Limits = DEFAULT_LIMITS) -> Video:
    """A video on disk or in shards."""
    if isinstance(path, PackedPath):
        return open_video(path.read_bytes(), name=str(path), limits=limits)
    return open_video(path, limits=limits)


@lru_cache(maxsize=1)
def _open_once(root: Path) -> Shards:
    """The shards of a folder in a worker process, which gets them with every job."""
    return Shards(root)
