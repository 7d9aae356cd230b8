"""PyTorch files (`torch.save`), of today (a zip) and of before version 1.6, read without PyTorch."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final

from i3d.errors import WeightsError, first_line, printable
from i3d.weights.foreign.numbers import MAX_SIZE
from i3d.weights.foreign.pickles import Storage, StorageType, StorageView, unpickle

LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
LEGACY_START: Final = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
TAR_AT: Final = 257
ZIP_ERRORS: Final = (zipfile.BadZipFile, struct.error, OSError, ValueError, EOFError, NotImplementedError, RuntimeError)
MAX_TREE_BYTES: Final = 64 << 20  # the pickle itself holds names and shapes, no numbers


def read_torch_zip(file: BinaryIO) -> Any:
    """What was saved, with `Tensor`s whose numbers are read when they are asked for, as long as `file` is open."""
    try:
        archive = zipfile.ZipFile(file)
        trees = [info for info in archive.infolist() if PurePosixPath(info.filename).name == "data.pkl"]
    except ZIP_ERRORS as error:
        raise WeightsError(f"a damaged zip file ({first_line(error)})") from error
    if len(trees) != 1:
        raise WeightsError("a zip file, but not of PyTorch: it holds no data.pkl")
    root = str(PurePosixPath(trees[0].filename).parent)
    if f"{root}/constants.pkl" in archive.namelist():
        raise WeightsError("a TorchScript program, not a checkpoint; save its state_dict() instead")
    _check_byte_order(archive, root)
    tree = _member(archive, trees[0].filename, max_bytes=MAX_TREE_BYTES)
    storages: dict[str, Storage] = {}

    def load(pid: Any) -> Storage:
        kind, key, num_items = _storage_id(pid, length=5)
        if key not in storages:
            storages[key] = Storage(kind.dtype, num_items, _reader(archive, f"{root}/data/{key}"))
        return storages[key]

    return unpickle(io.BytesIO(tree), persistent_load=load)


def read_torch_legacy(file: BinaryIO) -> Any:
    """What was saved. Five pickles: magic number, version, system, the tree, the keys of the storages that follow."""
    storages: dict[str, Storage] = {}

    def load(pid: Any) -> Storage:
        kind, key, num_items = _storage_id(pid, length=6)
        root = storages.setdefault(key, Storage(kind.dtype, num_items))
        match pid[5]:
            case None:
                return root
            case (_, int() as offset, int() as size):
                return StorageView(root, offset, size)
        raise WeightsError("a tensor of an unknown kind")

    if unpickle(file) != LEGACY_MAGIC:
        raise WeightsError("not a PyTorch file")
    unpickle(file)
    system = unpickle(file)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise WeightsError("it was written on a big-endian machine")
    tree = unpickle(file, persistent_load=load)
    keys = unpickle(file)
    for key in keys if isinstance(keys, list) else []:
        storage = storages.get(key)
        if storage is None or int.from_bytes(file.read(8), "little") != storage.num_items:
            raise WeightsError("the sizes of its tensors contradict each other")
        storage.fill(_exactly(file, storage.num_bytes))
    return tree


def _storage_id(pid: Any, *, length: int) -> tuple[StorageType, str, int]:
    """("storage", type, key, device, number of items[, view])."""
    match pid:
        case ("storage", StorageType() as kind, str() as key, str(), int() as num_items, *rest) if (
            len(rest) == length - 5 and 0 <= num_items < MAX_SIZE and len(key) < 40 and key.isprintable()
        ):
            return kind, key, num_items
    raise WeightsError("a tensor of an unknown kind")


def _check_byte_order(archive: zipfile.ZipFile, root: str) -> None:
    name = f"{root}/byteorder"
    if name in archive.namelist() and _member(archive, name, max_bytes=16) != b"little":
        raise WeightsError("it was written on a big-endian machine")


def _reader(archive: zipfile.ZipFile, name: str) -> Callable[[int], bytes]:
    def read(num_bytes: int) -> bytes:
        content = _member(archive, name, max_bytes=num_bytes)
        if len(content) != num_bytes:
            raise WeightsError(f"{printable(name[:100])} holds {len(content)} bytes, its tensors need {num_bytes}")
        return content

    return read


def _member(archive: zipfile.ZipFile, path: str, *, max_bytes: int) -> bytes:
    """A file of the archive, its checksum verified. PyTorch never compresses, so sizes can be believed or refuted."""
    name = printable(path[:100])
    try:
        info = archive.getinfo(path)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise WeightsError(f"{name} is compressed, which PyTorch never does")
        if info.file_size > max_bytes or info.header_offset + info.file_size > _size(archive):
            raise WeightsError(f"{name} claims {info.file_size} bytes")
        return archive.read(info)
    except KeyError as error:
        raise WeightsError(f"{name} is missing") from error
    except ZIP_ERRORS as error:
        raise WeightsError(f"{name} is damaged ({first_line(error)})") from error


def _size(archive: zipfile.ZipFile) -> int:
    assert archive.fp is not None
    here = archive.fp.tell()
    size = archive.fp.seek(0, io.SEEK_END)
    archive.fp.seek(here)
    return size


def _exactly(file: BinaryIO, num_bytes: int) -> bytes:
    here = file.tell()
    left = file.seek(0, io.SEEK_END) - here
    file.seek(here)
    if num_bytes > left:
        raise WeightsError(f"the file ends {num_bytes - left} bytes before the end of its tensors")
    return file.read(num_bytes)
