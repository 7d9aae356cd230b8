"""Which parameters are trained, and with which learning rate."""

from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from i3d.errors import InputError
from i3d.models.network import VideoNetwork
from i3d.recipes.training import SGD, Training


def freeze(model: VideoNetwork, training: Training) -> None:
    """Freeze the parameters whose names start with a prefix in `training.freeze`; "*" is all but the classifier."""
    names = [name for name, _ in model.named_parameters()]
    for prefix in training.freeze:
        if prefix != "*" and not any(name.startswith(prefix) for name in names):
            raise InputError(f"freeze {prefix!r}: no parameter of the network starts with it; see `i3d models show`")
    for name, parameter in model.named_parameters():
        if any(name.startswith(p) or (p == "*" and not name.startswith(model.head_prefix)) for p in training.freeze):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("all parameters are frozen; leave at least the classifier out of `freeze`")


def set_mode(model: nn.Module, training: Training) -> None:
    """Training mode, but evaluation mode for batch norms whose statistics are frozen.

    Those are all of them with `freeze_norms`, else those whose parameters are frozen.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            frozen = all(not parameter.requires_grad for parameter in module.parameters())
            if training.freeze_norms or frozen:
                module.eval()


def build_optimizer(model: VideoNetwork, training: Training, *, lr: float) -> torch.optim.Optimizer:
    """An optimiser with one parameter group per learning-rate factor; `set_lr` reads `group["factor"]`."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(lr_scale(model, name, training), []).append(parameter)
    parameters: Any = [{"params": members, "factor": factor} for factor, members in groups.items()]
    # One kernel updates all parameters; PyTorch has none for sharded parameters (FSDP) and other devices.
    plain = [p for p in model.parameters() if not isinstance(p, DTensor) and p.device.type in ("cpu", "cuda")]
    fused = len(plain) == len(list(model.parameters()))
    optimizer: Any = torch.optim.SGD if isinstance(training.optimizer, SGD) else torch.optim.AdamW
    settings = training.optimizer.model_dump(exclude={"kind", "lr"})
    built: torch.optim.Optimizer = optimizer(parameters, lr, fused=fused, **settings)
    return built


def lr_scale(model: VideoNetwork, name: str, training: Training) -> float:
    """The learning-rate factor of a parameter: `layer_decay` to the power of its distance from the classifier."""
    distance = len(model.stages) - model.stage_of(name)
    return float(training.layer_decay**distance) if distance else training.head_lr


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of a step, multiplied by the factor of each group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("factor", 1.0)
