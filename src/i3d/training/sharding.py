"""Weights that are sharded over the ranks (FSDP).

PyTorch's modules for it take a second to import. They are imported where weights are sharded: before that, none are.
"""

import sys
from typing import Any

from torch import Tensor

from i3d.models.network import VideoNetwork


def shard(net: VideoNetwork) -> None:
    """Shard the weights over all ranks: those of each block together, then the rest."""
    from torch.distributed.fsdp import fully_shard

    for block in [module for module in net.modules() if isinstance(module, net.fsdp_blocks)]:
        fully_shard(block)
    fully_shard(net, reshard_after_forward=True)


def is_sharded(value: Any) -> bool:
    """Whether a tensor, or the weights of a module, are sharded."""
    kinds = (("torch.distributed.tensor", "DTensor"), ("torch.distributed.fsdp", "FSDPModule"))
    return any(isinstance(value, getattr(sys.modules[name], kind)) for name, kind in kinds if name in sys.modules)


def whole_tensor(value: Any) -> Tensor:
    """The tensor, gathered from all ranks if it is sharded."""
    whole: Tensor = value.full_tensor() if is_sharded(value) else value
    return whole


def own_shard(value: Any) -> Tensor:
    """The part of a tensor that this rank holds; all of it if it is not sharded."""
    part: Tensor = value.to_local() if is_sharded(value) else value
    return part


def shard_like(value: Tensor, target: Any) -> Tensor:
    """The tensor on the device of the sharded `target`, and sharded like it."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
