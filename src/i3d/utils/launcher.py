"""Rank and number of processes, as torchrun or a launcher with the same variables has set them. Without PyTorch."""

import os

from i3d.errors import InputError


def launched_as() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) without a launcher. Values that are no such numbers are an InputError."""
    size, rank = launch_number("WORLD_SIZE", 1), launch_number("RANK", 0)
    if size < 2 or "RANK" not in os.environ:
        return 0, 1
    if rank >= size:
        raise InputError(f"RANK={rank}: must be below WORLD_SIZE={size}; unset both, or start with torchrun")
    if not os.environ.get("MASTER_ADDR"):
        what = f"the processes of WORLD_SIZE={size} cannot be joined without MASTER_ADDR"
        raise InputError(f"{what}; unset RANK and WORLD_SIZE, or start with torchrun")
    return rank, size


def launch_number(name: str, default: int) -> int:
    """A variable of the launcher. A value that is no whole number is an InputError."""
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise InputError(f"{name}={text}: is not a whole number; unset it, or start with torchrun")
    return int(text)
