"""Bytes of files -> arrays. Sizes are checked before they are used."""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from i3d.errors import WeightsError

Array = npt.NDArray[Any]
MAX_DIMENSIONS: Final = 8
MAX_SIZE: Final = 1 << 40


def checked_sizes(sizes: Any) -> tuple[int, ...]:
    """The shape that a file claims: at most 8 integers from 0 to 2^40."""
    is_shape = isinstance(sizes, (tuple, list)) and len(sizes) <= MAX_DIMENSIONS
    if not is_shape or not all(isinstance(size, int) and 0 <= size < MAX_SIZE for size in sizes):
        raise WeightsError("a tensor of impossible shape")
    return tuple(sizes)


def itemsize(dtype: str) -> int:
    """Bytes of one number."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def shaped_numbers(content: bytes, *, dtype: str, shape: Any, name: str) -> Array:
    """Little-endian numbers in a shape that they fill exactly; bfloat16, which numpy lacks, becomes float32."""
    sizes = checked_sizes(shape)
    if math.prod(sizes) * itemsize(dtype) != len(content):
        raise WeightsError(f"{name}: {len(content)} bytes for shape {sizes}")
    if dtype == "bfloat16":
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4").reshape(sizes)
    return np.frombuffer(content, np.dtype(dtype)).reshape(sizes)
