"""An exponential moving average of the weights (Polyak & Juditsky 1992), on the device of the network."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Ema:
    """Each update moves every tensor by `1 - decay` towards that of the network. Integer counters are copied."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        averages, values = [], []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averages.append(_local(self.state[name]))
                values.append(_local(value))
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(averages, values, 1 - self.decay)

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Inside the block, the network has the averaged weights."""
        original = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.state)
        try:
            yield
        finally:
            model.load_state_dict(original)


def _local(value: Tensor) -> Tensor:
    """The shard of a tensor on this rank."""
    return value.to_local() if isinstance(value, DTensor) else value
