"""Bytes of files -> arrays. Sizes are checked before they are used."""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from i3d.errors import WeightsError

Array = npt.NDArray[Any]
MAX_DIMENSIONS: Final = 8
MAX_SIZE: Final = 1 << 40


def itemsize(dtype: str) -> int:
    """Bytes of one number."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def shaped_numbers(content: bytes, *, dtype: str, shape: Any, name: str) -> Array:
    """Little-endian numbers in a shape that they fill exactly; bfloat16, which numpy lacks, becomes float32.

    The shape is what a file claims: anything but a few integers from 0 to 2^40 is a WeightsError.
    """
    is_shape = isinstance(shape, (tuple, list)) and len(shape) <= MAX_DIMENSIONS
    if not is_shape or not all(isinstance(size, int) and 0 <= size < MAX_SIZE for size in shape):
        raise WeightsError("a tensor of impossible shape")
    sizes = tuple(shape)
    if math.prod(sizes) * itemsize(dtype) != len(content):
        raise WeightsError(f"{name}: {len(content)} bytes for shape {sizes}")
    if dtype == "bfloat16":
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4").reshape(sizes)
    return np.frombuffer(content, np.dtype(dtype)).reshape(sizes)
