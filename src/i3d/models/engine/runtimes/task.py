"""The unit that a runtime compiles: one output of a network for clips of one shape.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final

import torch
from torch import Tensor, nn

from i3d.errors import InputError
from i3d.models.network import VideoNetwork
from i3d.utils.cache import Cache, cache_key
from i3d.utils.device import Arithmetic, instructions, processor

LOGITS: Final = "logits"
POOLED: Final = "pooled"

RunClips = Callable[[Tensor], Tensor]  # float clips (N, C, T, H, W) -> one output of a network

log = logging.getLogger("i3d")


class NetworkOutput(nn.Module):
    """A network as a function of one output: `LOGITS`, `POOLED` or the name of an endpoint."""

    def __init__(self, net: VideoNetwork, output: str) -> None:
        super().__init__()
        self.net, self.output = net, output

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        if self.output == LOGITS:
            logits_NK: Tensor = self.net(clips_NCTHW)
            return logits_NK
        if self.output == POOLED:
            return self.net.pooled(clips_NCTHW)
        return self.net.features(clips_NCTHW, endpoint=self.output)


@dataclass(eq=False)
class CompileTask:
    """One output of a network for clips of one shape."""

    net: VideoNetwork = field(repr=False)  # in evaluation mode, folded, float32, on the CPU
    output: str
    clip_CTHW: tuple[int, ...]
    arithmetic: Arithmetic
    threads: int
    cache: Cache

    @cached_property
    def weights(self) -> str:
        """A hash of all weights of the network and of its settings."""
        digest = hashlib.sha256(f"{type(self.net).__name__} {self.net.settings!r}".encode())
        for name, tensor in self.net.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def example(self) -> Tensor:
        return torch.zeros(1, *self.clip_CTHW)

    def key(self, *packages: str, **more: object) -> str:
        """The cache key of this task as compiled by these packages on this machine."""
        versions = {name: importlib.metadata.version(name) for name in ("i3d", "torch", *packages)}
        return cache_key(
            what=self.output, clip=self.clip_CTHW, machine=[processor(), instructions()], versions=versions, **more
        )

    def cached(self, key: str, compile_: Callable[[], bytes]) -> bytes:
        """The cached bytes under a key. Missing ones are compiled, and cached if the cache is writable."""
        blob = self.cache.load_bytes(key)
        if blob is None:
            log.info("compiling the network for clips of %s; it is cached", "x".join(map(str, self.clip_CTHW)))
            blob = compile_()
            self._write(partial(self.cache.save_bytes, key, blob))
        return blob

    def cache_record(self, key: str, record: object) -> None:
        """Write a record into the cache, if it is writable."""
        self._write(partial(self.cache.save_json, key, record))

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except InputError as error:
            log.warning("%s", error)


def run_one_by_one(run: RunClips) -> RunClips:
    """Run a batch clip by clip, with a function for one clip."""

    def run_all(clips_NCTHW: Tensor) -> Tensor:
        return torch.cat([run(clip_1CTHW) for clip_1CTHW in torch.split(clips_NCTHW, 1)])

    return run_all
