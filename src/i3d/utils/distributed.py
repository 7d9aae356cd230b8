"""The processes that a launcher such as torchrun has started. Without a launcher this process is rank 0 of 1."""

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final

import torch
import torch.distributed as dist

from i3d.errors import InputError, first_line
from i3d.utils.launcher import launch_number, launched_as

BACKENDS: Final = {"cuda": "nccl", "npu": "hccl"}  # of other devices: gloo
EVALUATION_TIMEOUT: Final = timedelta(hours=6)  # until the slowest rank has scored its part of the list
TRAINING_TIMEOUT: Final = timedelta(minutes=30)  # until a rank that validates or waits for storage arrives


@dataclass(frozen=True)
class World:
    """This process among all: torch's default process group, or this process alone."""

    rank: int
    size: int

    def all_gather(self, lines: Sequence[str]) -> list[str]:
        """The lines of all ranks in the order of the ranks, on every rank."""
        if self.size == 1:
            return list(lines)
        gathered: list[list[str]] = [[] for _ in range(self.size)]
        dist.all_gather_object(gathered, list(lines))
        return [line for part in gathered for line in part]


def is_distributed_launch() -> bool:
    """Whether a launcher has started several processes."""
    return launched_as()[1] > 1


def local_device(device: str) -> str:
    """The device of this process: under a launcher, each process has the GPU of its local rank."""
    kind = "cuda" if device == "auto" and torch.cuda.is_available() else device
    return f"{kind}:{launch_number('LOCAL_RANK', 0)}" if is_distributed_launch() and kind in BACKENDS else device


def init_world(device: torch.device) -> World:
    """Connect the processes of a launcher; without one, this process alone."""
    if not is_distributed_launch():
        return World(0, 1)
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        try:
            dist.init_process_group(BACKENDS.get(device.type, "gloo"), timeout=EVALUATION_TIMEOUT)
        except (ValueError, RuntimeError) as error:
            what = f"the processes of WORLD_SIZE={os.environ['WORLD_SIZE']} cannot be joined ({first_line(error)})"
            raise InputError(f"{what}; unset RANK and WORLD_SIZE, or start with torchrun") from error
        destroy_group_at_exit()
    return World(dist.get_rank(), dist.get_world_size())


def gloo_group() -> dist.ProcessGroup | None:
    """A process group that exchanges CPU tensors; None if the default group does. Every rank has to call this.

    NCCL exchanges a number only after all work that is queued on the GPU, which would synchronise each step. Do not
    store the group: it has threads, and threads that still run when the process ends can abort it.
    """
    if not dist.is_initialized() or dist.get_backend() == "gloo":
        return None
    return _gloo_group_beside(dist.group.WORLD)


@lru_cache(maxsize=1)  # one for all runs of a process
def _gloo_group_beside(default_group: dist.ProcessGroup) -> dist.ProcessGroup:  # noqa: ARG001
    try:
        group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=TRAINING_TIMEOUT)
    except RuntimeError as error:
        what = f"the processes cannot reach each other over the network ({first_line(error)})"
        todo = "name the interface between the hosts, as in GLOO_SOCKET_IFNAME=eth0"
        raise InputError(f"{what}; {todo}") from error
    atexit.register(_destroy_gloo_group)
    return group


def _destroy_gloo_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group(gloo_group())
    _gloo_group_beside.cache_clear()  # the last reference: only now do the threads of the group end


def destroy_group_at_exit() -> None:
    """Destroy gloo's default group before the process ends: threads of gloo that still run then can abort it."""
    if dist.is_initialized() and dist.get_backend() == "gloo":
        atexit.register(_destroy_group)


def _destroy_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
