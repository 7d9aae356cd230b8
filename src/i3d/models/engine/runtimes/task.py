"""What a runtime is to run: one function of a network, for one clip of one shape.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final

import torch
from torch import Tensor, nn

from i3d.errors import InputError
from i3d.models.factory import I3D
from i3d.utils.cache import Cache, cache_key
from i3d.utils.device import Arithmetic, instructions, processor

LOGITS: Final = "logits"
POOLED: Final = "pooled"

Run = Callable[[Tensor], Tensor]  # of float clips (N, C, T, H, W)


class Function(nn.Module):
    """The logits of a network, what its classifier sees, or the map of an endpoint."""

    def __init__(self, net: I3D, what: str) -> None:
        super().__init__()
        self.net, self.what = net, what

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        if self.what == LOGITS:
            logits_NK: Tensor = self.net(clips_NCTHW)
            return logits_NK
        if self.what == POOLED:
            return self.net.pooled(clips_NCTHW)
        return self.net.features(clips_NCTHW, endpoint=self.what)


@dataclass(eq=False)
class Task:
    """A function of a network for clips of one shape."""

    net: I3D = field(repr=False)  # in evaluation mode, folded, float32, on the CPU
    what: str
    clip_CTHW: tuple[int, ...]
    arithmetic: Arithmetic
    threads: int
    cache: Cache
    tell: Callable[[str], None] = field(repr=False)
    onnx: bytes | None = field(default=None, repr=False)  # once it is made

    @cached_property
    def weights(self) -> str:
        """A hash of all numbers of the network and of how it is built."""
        found = hashlib.sha256(f"{type(self.net).__name__} {self.net.settings!r}".encode())
        for name, tensor in self.net.state_dict().items():
            found.update(name.encode())
            found.update(tensor.contiguous().numpy().data)
        return found.hexdigest()

    def example(self) -> Tensor:
        return torch.zeros(1, *self.clip_CTHW)

    def key(self, *packages: str, **more: object) -> str:
        """Of what is made for this task with some packages on this machine."""
        versions = {name: importlib.metadata.version(name) for name in ("i3d", "torch", *packages)}
        return cache_key(
            what=self.what, clip=self.clip_CTHW, machine=[processor(), instructions()], versions=versions, **more
        )

    def kept(self, key: str, make: Callable[[], bytes]) -> bytes:
        """What the cache has under a key, else what is made now and kept there if the cache can be written."""
        found = self.cache.blob(key)
        if found is None:
            self.tell(f"compiling the network for clips of {'x'.join(map(str, self.clip_CTHW))}; it is kept for later")
            found = make()
            self._keep(partial(self.cache.keep_blob, key, found))
        return found

    def keep_record(self, key: str, record: object) -> None:
        """Into the cache, if it can be written."""
        self._keep(partial(self.cache.keep_record, key, record))

    def _keep(self, write: Callable[[], None]) -> None:
        try:
            write()
        except InputError as error:
            self.tell(f"warning: {error}")


def one_by_one(run: Run) -> Run:
    """For what takes one clip at a time."""

    def of_all(clips_NCTHW: Tensor) -> Tensor:
        return torch.cat([run(clip_1CTHW) for clip_1CTHW in torch.split(clips_NCTHW, 1)])

    return of_all
