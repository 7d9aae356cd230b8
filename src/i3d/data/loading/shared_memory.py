"""Tensors in memory that a worker shares with the main process, so that batches are not copied."""

import os
from typing import Any, Final

import numpy as np
import torch

from i3d.errors import InputError

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 (only its free space is read)


def allocate_uint8(shape: tuple[int, ...]) -> torch.Tensor:
    """An uninitialised uint8 tensor; in a worker, in shared memory."""
    if torch.utils.data.get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))  # type: ignore[no-untyped-call]
    tensor: torch.Tensor = torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
    return tensor


def to_shared(column: Any) -> Any:
    """A copy of an array in shared memory."""
    return torch.from_numpy(np.array(column)).share_memory_()  # type: ignore[no-untyped-call]


def check_free_shared_memory(needed_bytes: int) -> None:
    """An InputError if the shared memory has less than this free; containers often have 64 MiB in all."""
    try:
        stat = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return  # not Linux
    free = stat.f_bavail * stat.f_frsize
    if free < needed_bytes:
        what = f"{free / 2**20:,.0f} MiB are free, the workers' batches take {needed_bytes / 2**20:,.0f}"
        todo = "use fewer workers or smaller batches, or start the container with a larger --shm-size"
        raise InputError(f"{SHARED_MEMORY}: {what}; {todo}")
