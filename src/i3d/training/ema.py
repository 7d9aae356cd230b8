"""An exponential moving average of the weights (Polyak & Juditsky 1992), on the device of the network."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from i3d.training.sharding import own_shard


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
                averages.append(own_shard(self.state[name]))
                values.append(own_shard(value))
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
