"""The memory of this process."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

MMAP_MAX: Final = -4, 0  # glibc's parameters: blocks that are mapped by themselves: none
TRIM_THRESHOLD: Final = -1, -1  # free memory at the end of the heap that is given back: never


def disable_malloc_trim() -> None:
    """Let this process keep memory that it has freed, for its next tensors, instead of giving it back: with glibc.

    Otherwise each layer of a network begins with fresh pages, which the kernel has to find and clear; of large maps
    that takes up to a third of all time. What is held is what was needed at once, and gaps between: of clips of many
    shapes a quarter more was seen. Other threads than the first keep only their smaller blocks.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and mallopt(*MMAP_MAX):  # refused, or no glibc: all goes on as it was
        mallopt(*TRIM_THRESHOLD)
