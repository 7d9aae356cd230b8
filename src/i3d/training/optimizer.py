"""What is trained, and how fast each part of it moves."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from i3d.errors import InputError
from i3d.models.network import VideoNetwork
from i3d.recipes.training import SGD, AdamW, Training


def freeze(model: VideoNetwork, training: Training) -> None:
    """Parameters that `training.freeze` names get no gradient; "*" is all but the classifier."""
    names = [name for name, _ in model.named_parameters()]
    for prefix in training.freeze:
        if prefix != "*" and not any(name.startswith(prefix) for name in names):
            raise InputError(f"freeze {prefix!r}: no entry of the network begins so; see `i3d models show`")
    for name, parameter in model.named_parameters():
        if any(name.startswith(p) or (p == "*" and not name.startswith(model.head_prefix)) for p in training.freeze):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("everything is frozen: there is nothing to train; leave the classifier free")


def set_mode(model: nn.Module, training: Training) -> None:
    """Training mode, with the batch norms that are to keep their statistics left in evaluation mode.

    Those are all with `freeze_norms`, and those whose own parameters are frozen.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            frozen = all(not parameter.requires_grad for parameter in module.parameters())
            if training.freeze_norms or frozen:
                module.eval()


def build_optimizer(model: VideoNetwork, training: Training, *, rate: float) -> torch.optim.Optimizer:
    """One group of parameters for each factor of the rate; `group["factor"]` holds it, for `set_rate`."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rate_of_entry(model, name, training), []).append(parameter)
    parameters: Any = [{"params": members, "factor": factor} for factor, members in groups.items()]
    # One kernel for all parameters, where PyTorch has one: not of parts of weights (FSDP).
    plain = [p for p in model.parameters() if not isinstance(p, DTensor) and p.device.type in ("cpu", "cuda")]
    fused = len(plain) == len(list(model.parameters()))
    match training.optimizer:
        case SGD(momentum=momentum, weight_decay=decay, nesterov=nesterov):
            return torch.optim.SGD(
                parameters, rate, momentum=momentum, weight_decay=decay, nesterov=nesterov, fused=fused
            )
        case AdamW(betas=betas, weight_decay=decay):
            return torch.optim.AdamW(parameters, rate, betas=betas, weight_decay=decay, fused=fused)


def rate_of_entry(model: VideoNetwork, name: str, training: Training) -> float:
    """The share of the rate that an entry of the network gets: less with every stage away from the classifier."""
    distance = len(model.stages) - model.stage_of(name)
    return float(training.layer_decay**distance) if distance else training.head_lr


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of this step, each group by its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
