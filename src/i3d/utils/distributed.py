"""The processes that a launcher such as torchrun started. One process is the same without a launcher."""

from __future__ import annotations

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

BACKENDS: Final = {"cuda": "nccl", "npu": "hccl"}  # else gloo
EVALUATION_TIMEOUT: Final = timedelta(hours=6)  # until the slowest rank has scored its part of the list
TRAINING_TIMEOUT: Final = timedelta(minutes=30)  # until a rank that validates or waits for storage arrives


@dataclass(frozen=True)
class World:
    """This process among all."""

    rank: int
    num_ranks: int
    device: torch.device  # over which they speak

    def wait(self) -> None:
        """Return once all have come here."""
        if self.num_ranks > 1:
            self.gather([])

    def gather(self, lines: Sequence[str]) -> list[str]:
        """The lines of all ranks, on every rank, in the order of the ranks. No line may hold a line end."""
        if self.num_ranks == 1:
            return list(lines)
        content = "".join(f"{line}\n" for line in lines).encode()
        size = torch.tensor([len(content)], device=self.device)
        sizes = [torch.zeros_like(size) for _ in range(self.num_ranks)]
        dist.all_gather(sizes, size)
        most = max(int(size) for size in sizes)
        mine = torch.zeros(most, dtype=torch.uint8)
        if content:
            mine[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        parts = [torch.zeros(most, dtype=torch.uint8, device=self.device) for _ in range(self.num_ranks)]
        dist.all_gather(parts, mine.to(self.device))
        texts = [part[: int(size)].cpu().numpy().tobytes().decode() for part, size in zip(parts, sizes, strict=True)]
        return [line for text in texts for line in text.split("\n")[:-1]]


def is_distributed_launch() -> bool:
    """Whether torchrun, or one that speaks as it does, has started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def local_device(device: str) -> str:
    """The device of this process: under a launcher each has its own GPU."""
    kind = "cuda" if device == "auto" and torch.cuda.is_available() else device
    return f"{kind}:{os.environ.get('LOCAL_RANK', '0')}" if is_distributed_launch() and kind in BACKENDS else device


def init_world(device: torch.device) -> World:
    """The ranks that a launcher started, connected; else this process alone."""
    if not is_distributed_launch():
        return World(0, 1, device)
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(BACKENDS.get(device.type, "gloo"), timeout=EVALUATION_TIMEOUT)
        destroy_group_at_exit()
    speaks = torch.device("cpu") if dist.get_backend() == "gloo" else device
    return World(dist.get_rank(), dist.get_world_size(), speaks)


def gloo_group() -> dist.ProcessGroup | None:
    """A group in which the ranks speak through their CPUs; None: the usual one does. All ranks have to call it.

    Through a card a number comes only after all work that waits there. Do not keep it: its threads, if they still run
    when the process ends, at times abort it.
    """
    if not dist.is_initialized() or dist.get_backend() == "gloo":
        return None
    return _hosts_beside(dist.group.WORLD)


@lru_cache(maxsize=1)  # one for all runs of a process
def _hosts_beside(world: dist.ProcessGroup) -> dist.ProcessGroup:  # noqa: ARG001
    try:
        group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=TRAINING_TIMEOUT)
    except RuntimeError as error:
        raise InputError(
            f"the processes cannot reach each other over the network ({first_line(error)}); name the interface between "
            "the hosts, as in GLOO_SOCKET_IFNAME=eth0"
        ) from error
    atexit.register(_leave_hosts)
    return group


def _leave_hosts() -> None:
    """Its threads end with the last that holds the group."""
    if dist.is_initialized():
        dist.destroy_process_group(gloo_group())
    _hosts_beside.cache_clear()


def destroy_group_at_exit() -> None:
    """Leave the others before the process ends: gloo's threads, if they still run then, at times abort it."""
    if dist.is_initialized() and dist.get_backend() == "gloo":
        atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
