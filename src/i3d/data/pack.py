"""Pack the files of a dataset into indexed tar shards, which `data.shards` reads."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.flow_files import flow_file_in
from i3d.data.formats.write import write_annotations, write_classes
from i3d.data.shards import BLOCK, CLASSES, INDEX, LIST, SHARD, SUMS, Integers, spans
from i3d.errors import InputError
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import naming_file, read_bytes, unfinished_folder, write_atomically
from i3d.utils.outputs import check_outside, output_folder
from i3d.video.frame_names import is_half_of_flow
from i3d.video.images import images_in

PackedEntry = tuple[bytes, int, int, int]  # name, shard, offset, size


@checks_types
def pack_dataset(
    annotations: Annotations,
    out: Path,
    *,
    shard_bytes: int = 1 << 30,
    on_clip: Callable[[int], None] | None = None,
) -> int:
    """Copy all files of the clips to shards of about `shard_bytes` in the new folder `out`; return their number.

    The folder appears complete or not at all. Its list contains the times, splits and groups of the clips. `on_clip` is
    called with the number of finished clips. An existing `out`, and missing files, are an InputError.
    """
    out = output_folder("out", out)
    if out.exists():
        raise InputError(f"{out}: exists; choose a new folder, or remove this one")
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; create it first")
    if annotations.shards is not None:
        raise InputError(f"{annotations.root}: is already packed; give the original files")
    check_outside(out, annotations.source)
    annotations.check_present()
    annotations.check_utf8(LIST)  # before hours of copying
    with naming_file(out), unfinished_folder(out.parent) as unfinished:
        folder = unfinished / out.name
        folder.mkdir()
        files, shard_sizes = _write_shards(annotations, folder, shard_bytes, on_clip)
        _write_index(files, shard_sizes, folder)
        write_annotations(replace(annotations, root=str(folder)), folder / LIST)
        write_classes(annotations.classes, folder / CLASSES)
        digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (INDEX, LIST, CLASSES)}
        write_atomically(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode())
        try:
            folder.rename(out)
        except OSError as error:
            why = f"was created by another process ({error.strerror}); choose a new folder"
            raise InputError(f"{out}: {why}") from error
    return len(files)


def _write_index(files: list[PackedEntry], shard_sizes: list[int], folder: Path) -> None:
    names, *columns = zip(*files, strict=True) if files else ((), (), (), ())
    shards_N, offsets_N, sizes_N = (np.array(column, np.int64) for column in columns)
    starts_N, stops_N = spans(shards_N, offsets_N, sizes_N, np.array(shard_sizes, np.int64))
    np.savez(
        folder / INDEX,
        names_utf8=np.frombuffer(b"".join(names), np.uint8),
        name_ends=np.cumsum([len(name) for name in names], dtype=np.int64),
        shards=shards_N.astype(np.int32),
        offsets=offsets_N,
        sizes=sizes_N,
        crc32c=_checksums(folder, shards_N, starts_N, stops_N),
        shard_sizes=np.array(shard_sizes, np.int64),
    )


def _checksums(folder: Path, shards_N: Integers, starts_N: Integers, stops_N: Integers) -> Integers:
    """The CRC-32C of the bytes of each file, as they are on the disk."""
    checksums_N = np.zeros(len(shards_N), np.int64)
    for shard in np.unique(shards_N):
        with (folder / SHARD.format(shard)).open("rb") as file:
            for number in np.flatnonzero(shards_N == shard):
                checksums_N[number] = google_crc32c.value(file.read(int(stops_N[number] - starts_N[number])))
    return checksums_N


def _write_shards(
    annotations: Annotations, folder: Path, shard_bytes: int, on_clip: Callable[[int], None] | None
) -> tuple[list[PackedEntry], list[int]]:
    """The files in the shards, and the size of each shard."""
    entries: list[PackedEntry] = []
    shard_sizes: list[int] = []
    files = _files(annotations, on_clip)
    file = next(files, None)
    while file is not None:
        shard = folder / SHARD.format(len(shard_sizes))
        with tarfile.open(shard, "w", format=tarfile.PAX_FORMAT) as tar:
            while file is not None and tar.offset < shard_bytes:
                name, content = file[0], read_bytes(file[1])
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
                offset = tar.offset - (len(content) + BLOCK - 1) // BLOCK * BLOCK
                entries.append((name.encode("utf-8", "surrogatepass"), len(shard_sizes), offset, len(content)))
                file = next(files, None)
        with shard.open("rb+") as written:
            os.fsync(written.fileno())
        shard_sizes.append(shard.stat().st_size)
    return entries, shard_sizes


def _files(annotations: Annotations, on_clip: Callable[[int], None] | None) -> Iterator[tuple[str, Path]]:
    """Yield (name in the shards, file) of every file once, grouped by clip."""
    packed: set[str] = set()
    for number in range(len(annotations)):
        path, place = annotations.path(number).rstrip("/"), Path(annotations.file(number))
        if path.startswith("/") or ".." in path.split("/"):
            raise annotations.error(number, "is outside the root; pack from a folder above it")
        if path not in packed and annotations.is_frames:
            flow = flow_file_in(place) if place.is_dir() else None  # of all frames
            images = [place / flow] if flow else images_in(place)
            if is_half_of_flow(place):
                raise annotations.error(number, "has one direction of its flow only; put both into one folder")
            listed = 0 if flow else int(annotations.num_frames_N[number])
            if len(images) < max(listed, 1):
                why = f"contains {len(images)} images" + (f", its list states {listed}" if listed > 0 else "")
                raise annotations.error(number, f"{why}; extract its frames again")
            yield from ((f"{path}/{image.name}", image) for image in images)
        elif path not in packed:
            yield path, place
        packed.add(path)
        if on_clip is not None:
            on_clip(number + 1)
