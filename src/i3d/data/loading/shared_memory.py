"""Memory that a worker shares with the process that asked for its batches, so that nobody copies them."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
import torch

from i3d.errors import InputError

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 (its size is asked for, nothing is written)


def allocate_uint8(shape: tuple[int, ...]) -> torch.Tensor:
    """An uint8 tensor; in a worker, of shared memory."""
    if torch.utils.data.get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))  # type: ignore[no-untyped-call]
    tensor: torch.Tensor = torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
    return tensor


def to_shared(column: Any) -> Any:
    """A column of numbers, or several of them, where other processes see it too."""
    return torch.from_numpy(np.array(column)).share_memory_()  # type: ignore[no-untyped-call]


def check_room(needed: int) -> None:
    """Containers often have little of it: too few bytes are an InputError."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return  # another system, which keeps it elsewhere
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise InputError(
            f"{SHARED_MEMORY}: {free / 2**20:,.0f} MiB are free, the workers' batches take {needed / 2**20:,.0f}; "
            "use fewer workers or smaller batches, or start the container with a larger --shm-size"
        )
