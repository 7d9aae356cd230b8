"""A running average of the weights (Polyak & Juditsky 1992), on the device of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Ema:
    """After each step, every entry moves by 1 - decay towards the network's. Counters are copied."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        mine, theirs = [], []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                mine.append(_here(self.state[name]))
                theirs.append(_here(value))
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, 1 - self.decay)

    def load(self, state: Mapping[str, Tensor]) -> None:
        for name, value in self.state.items():
            value.copy_(state[name])

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """The network with the averaged weights, for as long as the block runs."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.state)
        try:
            yield
        finally:
            model.load_state_dict(own)


def _here(value: Tensor) -> Tensor:
    """The part of a tensor that lies on this rank."""
    return value.to_local() if isinstance(value, DTensor) else value
