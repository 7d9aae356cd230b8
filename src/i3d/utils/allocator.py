"""The memory allocator of this process."""

import ctypes
import sys
from typing import Final

MMAP_MAX: Final = -4, 0  # M_MMAP_MAX of mallopt(3): no block gets a mapping of its own
TRIM_THRESHOLD: Final = -1, -1  # M_TRIM_THRESHOLD: free memory at the top of the heap is never returned


def disable_malloc_trim() -> None:
    """Make glibc reuse freed memory for the next tensors instead of returning it to the system.

    Otherwise each layer of a network starts with fresh pages, which the kernel has to find and clear: up to a third of
    the time of large feature maps. Memory use stays at its peak, plus fragmentation: up to a quarter more for clips of
    many shapes (measured). Threads other than the first reuse only their smaller blocks. Does nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and mallopt(*MMAP_MAX):
        mallopt(*TRIM_THRESHOLD)
