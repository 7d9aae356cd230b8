"""Pickles read as data: tensors, numbers, texts and containers come out, nothing is imported and nothing is called.

A pickle is a program for a small machine whose instructions may import any name and call it. Here every name stands
for a builder of this module, or for an inert object if it belongs to a package whose classes are known to lie in
checkpoints; any other name is refused, so os.system, eval and their kin are never even looked up.
"""

import math
import pickle
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NoReturn

import numpy as np

from i3d.errors import WeightsError, first_line, printable
from i3d.weights.foreign.numbers import MAX_SIZE, Array, checked_sizes, flat_numbers, itemsize, shaped_numbers
from i3d.weights.foreign.pickle_scan import check_pickle

PersistentLoad = Callable[[Any], Any]

# Packages whose objects lie in checkpoints beside the weights (logs, configs, optimisers' enums). They are not needed.
INERT_PACKAGES: Final = ("mmengine", "mmcv", "mmaction", "argparse", "pathlib", "datetime", "addict", "yacs")
_NUMPY: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
_STORAGES: Final[Mapping[str, str]] = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
MAX_PAIRS: Final = 10_000
MAX_ENCODED_BYTES: Final = 64 << 20  # what old pickles keep as text instead of bytes
_UNPICKLING_ERRORS: Final = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    zlib.error,
)


class Inert:
    """Stands for an object of an unknown class: it takes everything that a pickle does to it, and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """Take one more item."""

    def extend(self, _: Any) -> None:
        """Take more items."""


class _Fixed:
    """What a pickle may use and not change."""

    __slots__ = ()

    def __setstate__(self, _: Any) -> NoReturn:
        raise WeightsError("a pickle that changes what is not its own")


@dataclass(frozen=True)
class StorageType(_Fixed):
    """The name of a PyTorch storage class, which tells the type of its numbers."""

    dtype: str


class Storage(_Fixed):
    """The numbers that tensors share. A zip file has them at hand; in older files they follow the pickle."""

    def __init__(self, dtype: str, num_items: int, read: Callable[[int], bytes] | None = None) -> None:
        if not isinstance(num_items, int) or not 0 <= num_items < MAX_SIZE:
            raise WeightsError("a storage of an impossible size")
        self.dtype, self.num_items, self._read = dtype, num_items, read
        self._array: Array | None = None

    @property
    def num_bytes(self) -> int:
        return self.num_items * itemsize(self.dtype)

    def fill(self, content: bytes) -> None:
        self._array = flat_numbers(content, dtype=self.dtype)

    def array(self) -> Array:
        if self._array is None:
            if self._read is None:
                raise WeightsError("the file ends before the numbers of its tensors")
            self.fill(self._read(self.num_bytes))
        assert self._array is not None
        return self._array


class StorageView(Storage):
    """A stretch of another storage (PyTorch before 0.4)."""

    def __init__(self, root: Storage, offset: int, num_items: int) -> None:
        super().__init__(root.dtype, num_items)
        self.root, self.offset = root, offset
        if not isinstance(offset, int) or offset < 0 or offset + num_items > root.num_items:
            raise WeightsError("a storage that reaches over the end of another")

    def array(self) -> Array:
        return self.root.array()[self.offset : self.offset + self.num_items]


@dataclass(frozen=True)
class Tensor(_Fixed):
    """A tensor that is not read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * itemsize(self.storage.dtype)

    def array(self) -> Array:
        """Its numbers, as a view. A tensor that points outside its storage is a WeightsError."""
        count = math.prod(self.shape)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if count and (last >= self.storage.num_items or count > self.storage.num_items):
            raise WeightsError(f"a tensor of shape {self.shape} in a storage of {self.storage.num_items} numbers")
        flat = self.storage.array()
        if not count:
            return np.empty(0, flat.dtype).reshape(tuple(min(size, 1) for size in self.shape))
        strides = tuple(s * flat.itemsize for s in self.strides)
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides, writeable=False)


class _NumpyType:
    """`numpy.dtype(...)`, as a text until its byte order is known."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code if isinstance(code, str) and code[:1] in "fiub" and len(code) < 4 else ""
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


class NumpyArray:
    """A numpy array in a pickle: its state is shape, type, order and bytes."""

    def __init__(self, *_: Any) -> None:
        self._array: Array | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self.fill(content, kind, shape, fortran=bool(fortran))

    def fill(self, content: Any, kind: Any, shape: Any, *, fortran: bool) -> None:
        """Take the numbers, if they are of a type that weights have."""
        if isinstance(kind, _NumpyType) and kind.code and isinstance(content, (bytes, bytearray)):
            sizes = checked_sizes(shape)
            array = shaped_numbers(
                bytes(content), dtype=kind.order + kind.code, shape=sizes[::-1] if fortran else sizes, name="an array"
            )
            self._array = array.T if fortran else array

    def array(self) -> Array | None:
        """The numbers, or None if they are of a type that weights never have."""
        return self._array


class _Builder(_Fixed):
    """What an allowed name stands for: it can be called."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *args: Any) -> Any:
        return self._build(*args)


class _Dict(dict[Any, Any]):
    """An OrderedDict. Python 2 gave its pairs at once; its attributes (`_metadata`) are not needed."""

    def __init__(self, pairs: Any = ()) -> None:
        super().__init__()
        for pair in pairs if isinstance(pairs, (list, tuple)) and len(pairs) <= MAX_PAIRS else []:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
                raise WeightsError("a dict of what are no pairs")
            self[pair[0]] = pair[1]

    def __setstate__(self, _: Any) -> None:
        pass


def _numpy_array(content: Any = b"", kind: Any = None, shape: Any = (), order: Any = "C", *_: Any) -> NumpyArray:
    """A numpy array as pickle protocol 5 has it."""
    array = NumpyArray()
    array.fill(content, kind, shape, fortran=order == "F")
    return array


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise WeightsError("a tensor without a storage")
    sizes, steps, (first,) = checked_sizes(shape), checked_sizes(strides), checked_sizes([offset])
    if len(sizes) != len(steps):
        raise WeightsError("a tensor of impossible shape")
    return Tensor(storage, first, sizes, steps)


def _parameter(data: Any, *_: Any) -> Any:
    return data


class _Encoder:
    """`_codecs.encode`, by which old pickles make bytes of text; not without measure."""

    def __init__(self) -> None:
        self._left = MAX_ENCODED_BYTES

    def __call__(self, text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
        if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
            raise WeightsError("bytes in an unusual encoding")
        self._left -= len(text)
        if self._left < 0:
            raise WeightsError(f"over {MAX_ENCODED_BYTES >> 20} MB of bytes kept as text")
        return text.encode("latin1")


def _getattr(of: Any, *_: Any) -> Inert:
    """mmengine's logs hold `getattr(HistoryBuffer, "mean")`: an attribute of an inert class is inert."""
    if not (isinstance(of, Inert) or (isinstance(of, type) and issubclass(of, Inert))):
        raise WeightsError("refused to load an attribute of what is not a logged object")
    return Inert()


def _inert(*_: Any) -> Inert:
    return Inert()


def _builders() -> dict[tuple[str, str], Any]:
    """A fresh table for every file, so that none can leave anything behind for the next."""
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): type("OrderedDict", (_Dict,), {}),
        ("collections", "defaultdict"): type("defaultdict", (Inert,), {}),
        ("collections", "Counter"): type("Counter", (Inert,), {}),
        ("collections", "deque"): type("deque", (Inert,), {}),
        ("torch._utils", "_rebuild_tensor_v2"): _Builder(_tensor),
        ("torch._utils", "_rebuild_tensor"): _Builder(_tensor),
        ("torch._utils", "_rebuild_parameter"): _Builder(_parameter),
        ("torch.nn.parameter", "Parameter"): _Builder(_parameter),
        ("torch", "Size"): _Builder(lambda sizes=(), *_: checked_sizes(sizes)),
        ("torch", "device"): _Builder(_inert),
        ("_codecs", "encode"): _Builder(_Encoder()),
        ("numpy", "ndarray"): Inert,
        ("numpy", "dtype"): _Builder(_NumpyType),
    }
    for module in _NUMPY:
        table[module, "_reconstruct"] = _Builder(NumpyArray)
        table[module, "scalar"] = _Builder(_inert)
        table[module.replace("multiarray", "numeric"), "_frombuffer"] = _Builder(_numpy_array)
    for module in ("builtins", "__builtin__"):
        table[module, "getattr"] = _Builder(_getattr)
        for name in ("set", "frozenset", "complex", "slice", "list", "dict", "tuple", "int", "float", "str", "bool"):
            table[module, name] = _Builder(_inert)
    for name, dtype in _STORAGES.items():
        table["torch", name] = table["torch.cuda", name] = StorageType(dtype)
    return table


class _DataOnly(pickle.Unpickler):
    def __init__(self, file: BinaryIO, persistent_load: PersistentLoad | None) -> None:
        super().__init__(file, encoding="utf-8")
        self._builders = _builders()
        self._unknown = type("Unknown", (Inert,), {})
        self._persistent_load = persistent_load

    def find_class(self, module: str, name: str) -> Any:
        found = self._builders.get((module, name))
        if found is None and module.split(".")[0] in INERT_PACKAGES:
            found = self._unknown
        if found is None and module == "torch" and name.isidentifier() and name[:1].islower() and len(name) < 16:
            if name.rstrip("0123456789_") not in ("float", "bfloat", "int", "uint", "bool", "half", "double", "long"):
                raise WeightsError(f"refused to load torch.{printable(name)}")
            found = Inert()  # a type of numbers, such as torch.float32
        if found is None:
            raise WeightsError(f"refused to load {printable(f'{module}.{name}'[:100])}: only tensors are read")
        return found

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent_load is None:
            raise WeightsError("a pickle that refers to another file")
        return self._persistent_load(pid)


def unpickle(file: BinaryIO, *, persistent_load: PersistentLoad | None = None) -> Any:
    """The next pickle of `file` as data: containers, numbers, texts, `Tensor`, `NumpyArray` and `Inert`.

    Raises WeightsError for a name that is not known to be harmless, and for anything that is not a pickle.
    """
    start = file.tell()
    try:
        check_pickle(file)
        file.seek(start)
        return _DataOnly(file, persistent_load).load()
    except WeightsError:
        raise
    except _UNPICKLING_ERRORS as error:
        raise WeightsError(f"a damaged pickle ({first_line(error)})") from error
