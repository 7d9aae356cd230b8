"""PyTorch files (`torch.save`), today's zip archives and those of before version 1.6, read by `torch.load`.

`torch.load(weights_only=True)` runs no code of a file. Objects of other packages beside the weights (logs, configs,
optimiser hooks) are replaced by stand-ins that do nothing. Checked before: the archive, its checksums, the pickle.
"""

import io
import re
import struct
import sys
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final

import torch
from torch.serialization import safe_globals

from i3d.errors import WeightsError, first_line, printable
from i3d.weights.foreign.numbers import Array
from i3d.weights.foreign.pickle_scan import scan_pickle

LEGACY_START: Final = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of a magic number
ZIP_ERRORS: Final = (zipfile.BadZipFile, struct.error, OSError, ValueError, EOFError, NotImplementedError, RuntimeError)
MAX_TREE_BYTES: Final = 64 << 20  # the pickle itself holds names and shapes, no numbers
# What torch.load builds itself and weights need. It builds more (tensors of any size, other layouts): refused.
BUILT: Final = re.compile(
    r"torch\.(cuda\.)?[A-Z][A-Za-z0-9]*Storage|torch\.storage\.UntypedStorage|torch\.(Size|device)"
    r"|torch\.(bfloat16|bool|double|half|long|u?int\d*|c?float\d*\w*|complex\d+|short)"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter)|torch\.nn\.parameter\.Parameter"
    r"|collections\.(OrderedDict|Counter)|builtins\.(set|complex)|_codecs\.encode"
)
# Modules of the standard library that hold data, and builtins that checkpoints name; any other is code.
DATA_MODULES: Final = {"argparse", "collections", "copyreg", "datetime", "enum", "functools", "pathlib", "types"}
DATA_BUILTINS: Final = {
    f"builtins.{name}"
    for name in ("bool", "bytes", "dict", "float", "frozenset", "getattr", "int", "list", "object", "range", "slice",
                 "str", "tuple")
}  # fmt: skip
TORCH_OWN: Final = re.compile(r"torch\.(_.*|(cuda|sparse|cuda\.sparse|storage|serialization|nn\.parameter)\.\w+|\w+)")
_ARCHIVE_END: Final = struct.Struct("<4s4H2LH")
_ARCHIVE_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_LOCK: Final = threading.Lock()  # safe_globals changes the state of the process


class Inert:
    """A stand-in for an object of another package, which takes arguments and state and does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class InertDict:
    """A stand-in for a subclass of dict."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


class InertList:
    """A stand-in for a subclass of list, or a deque."""

    def __new__(cls, *_: Any) -> Any:
        return []


def read_torch_zip(file: BinaryIO, size: int) -> Any:
    """The saved object, with tensors on the CPU."""
    try:
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
        trees = [info.filename for info in members if PurePosixPath(info.filename).name == "data.pkl"]
        if len(trees) != 1:
            raise WeightsError("a zip file, but not of PyTorch: it holds no data.pkl")
        if f"{PurePosixPath(trees[0]).parent}/constants.pkl" in archive.namelist():
            raise WeightsError("a TorchScript program, not a checkpoint; save its state_dict() instead")
        _check_members(members, size)
        _check_end(file, size)
        if (damaged := archive.testzip()) is not None:
            raise WeightsError(f"{damaged[:100]} is damaged (its checksum is wrong)")
        names = scan_pickle(io.BytesIO(archive.read(trees[0])))
    except ZIP_ERRORS as error:
        raise WeightsError(f"a damaged zip file ({first_line(error)})") from error
    return _load(file, names, size)


def read_torch_legacy(file: BinaryIO, size: int) -> Any:
    """The saved object. Pickles: magic number, version, system, the object, the keys of the storages that follow."""
    names: dict[str, str] = {}
    for number in range(5):
        start = file.tell()
        names |= scan_pickle(file)
        if number == 2:
            end = file.tell()
            file.seek(start)
            if b"little_endian" in (system := file.read(end - start)) and b"\x89" in system:  # its only bool is False
                raise WeightsError("it was written on a big-endian machine")
    return _load(file, names, size)


def numbers_of(name: str, tensor: torch.Tensor) -> Array:
    """The numbers of a tensor; types that numpy lacks (bfloat16, 8 bit floats) become float32 without loss."""
    try:
        if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
            tensor = tensor.float()
        return tensor.numpy(force=True)
    except (TypeError, RuntimeError) as error:
        raise WeightsError(f"{name[:100]} has the type {tensor.dtype}, which no network here has") from error


def _load(file: BinaryIO, names: Mapping[str, str], size: int) -> Any:
    stand_ins = make_stand_ins(names)
    num_bytes = 0

    def place(storage: Any, _location: str) -> Any:
        nonlocal num_bytes
        num_bytes += storage.nbytes()
        if num_bytes > size:  # memory that is allocated, and not touched yet
            raise WeightsError("its tensors are larger than the file")
        return storage[:]  # a view cannot be resized, so no tensor can reach beyond its storage

    file.seek(0)
    with _LOCK, safe_globals(stand_ins), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickle protocols; what cannot be read is an error
        try:
            return torch.load(file, map_location=place, weights_only=True)
        except WeightsError:
            raise
        except Exception as error:  # a corrupt file can raise almost any error in torch.load
            raise WeightsError(f"corrupt PyTorch file ({_in_plain_words(error)})") from error


def make_stand_ins(names: Mapping[str, str]) -> list[Any]:
    """(class, name) of every global that is no tensor or number. Raises WeightsError for a name that is code."""
    stand_ins: list[Any] = []
    for name, filled_as in names.items():
        if BUILT.fullmatch(name):
            continue
        package = name.split(".")[0]
        is_data = package in DATA_MODULES or name in DATA_BUILTINS
        if (package in sys.stdlib_module_names and not is_data) or TORCH_OWN.fullmatch(name):
            raise WeightsError(f"refused to load {name[:100]}: only tensors are read")
        stand_ins.append(({"dict": InertDict, "list": InertList}.get(filled_as, Inert), name))
    return stand_ins


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """PyTorch never compresses, so sizes can be believed or refuted."""
    if len({info.filename for info in members}) < len(members):
        raise WeightsError("a damaged zip file (two members have one name)")
    for info in members:
        name = printable(info.filename[:100])
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise WeightsError(f"{name} is compressed, which PyTorch never does")
        limit = MAX_TREE_BYTES if name.endswith("data.pkl") else size
        if info.file_size > limit or info.header_offset + info.file_size > size:
            raise WeightsError(f"{name} claims {info.file_size} bytes")
    if sum(info.file_size for info in members) > size:
        raise WeightsError("a damaged zip file (its members are larger than the file)")


def _check_end(file: BinaryIO, size: int) -> None:
    """Python and PyTorch must find the same directory: it lies right before the end records, which end the file."""
    records = _ARCHIVE_END_64.size + _LOCATOR_64.size + _ARCHIVE_END.size
    file.seek(max(0, size - records))
    tail = file.read()
    magic, *_, length, offset, comment = _ARCHIVE_END.unpack(tail[-_ARCHIVE_END.size :])
    start = size - _ARCHIVE_END.size
    if len(tail) == records:
        locator = _LOCATOR_64.unpack(tail[_ARCHIVE_END_64.size : -_ARCHIVE_END.size])
        if locator[0] == b"PK\6\7":
            start = locator[2] if locator[2] == size - records else -1
            *_, length, offset = _ARCHIVE_END_64.unpack(tail[: _ARCHIVE_END_64.size])
    if magic != b"PK\5\6" or comment or offset + length != start:
        raise WeightsError("a damaged zip file (its directory does not end the file)")


def _in_plain_words(error: Exception) -> str:
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    if "not resizable" in text:
        return "a tensor reaches beyond its storage"
    if match := re.search(r"Unsupported operand (\d+)", text):
        return f"pickle opcode {match[1]} is not supported; save it again with torch.save(state_dict, file)"
    text = re.split(r"\.? +(?:This is an internal|\(Could this error|Exception raised)", text)[0]
    return first_line(ValueError(text)) if text else type(error).__name__
