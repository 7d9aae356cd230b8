"""Which parameters are trained, with which learning rate, and the average of the weights over the steps."""

import math
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from i3d.errors import InputError
from i3d.models.network import VideoNetwork
from i3d.recipes.training import (
    SGD,
    Adam,
    AdamW,
    CosineSchedule,
    ParameterFactors,
    PiecewiseSchedule,
    StepSchedule,
    Training,
)


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


OPTIMIZERS: Final[dict[type, Any]] = {SGD: torch.optim.SGD, Adam: torch.optim.Adam, AdamW: torch.optim.AdamW}


def build_optimizer(model: VideoNetwork, training: Training, *, lr: float) -> torch.optim.Optimizer:
    """An optimiser with one parameter group for each pair of factors; `set_lr` reads `group["factor"]`."""
    norms = _norm_names(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            of_lr, of_decay = _factors(model, name, training.factors, is_norm=name in norms)
            factors = lr_scale(model, name, training) * of_lr, of_decay
            groups.setdefault(factors, []).append(parameter)
    settings = training.optimizer.model_dump(exclude={"kind", "lr"})
    parameters: Any = [
        {"params": members, "factor": factor, "weight_decay": settings["weight_decay"] * decay}
        for (factor, decay), members in groups.items()
    ]
    # One kernel updates all parameters; PyTorch has none for sharded parameters (FSDP) and other devices.
    plain = [p for p in model.parameters() if not isinstance(p, DTensor) and p.device.type in ("cpu", "cuda")]
    fused = len(plain) == len(list(model.parameters()))
    built: torch.optim.Optimizer = OPTIMIZERS[type(training.optimizer)](parameters, lr, fused=fused, **settings)
    return built


def _norm_names(model: nn.Module) -> set[str]:
    """The names of the parameters of batch norms."""
    return {
        f"{place}.{name}"
        for place, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for name, _ in module.named_parameters(recurse=False)
    }


def _factors(model: VideoNetwork, name: str, factors: ParameterFactors, *, is_norm: bool) -> tuple[float, float]:
    """The factors of the learning rate and of the weight decay of a parameter."""
    is_head = name.startswith(model.head_prefix)
    fitting = [one for one in factors.layers if (one.prefix == "*" and not is_head) or name.startswith(one.prefix)]
    if fitting:
        return fitting[0].lr, fitting[0].weight_decay
    if is_norm:
        return 1.0, factors.norm_decay
    return (factors.bias_lr, factors.bias_decay) if name.endswith(".bias") else (1.0, 1.0)


def lr_scale(model: VideoNetwork, name: str, training: Training) -> float:
    """The learning-rate factor of a parameter: `layer_decay` to the power of its distance from the classifier."""
    distance = len(model.stages) - model.stage_of(name)
    return float(training.layer_decay**distance) if distance else training.head_lr


def set_lr(optimizer: torch.optim.Optimizer, lr: float, *, fixed: float = 0.0) -> None:
    """Set the learning rate of a step, multiplied by the factor of each group but for its part `fixed`."""
    for group in optimizer.param_groups:
        group["lr"] = (lr - fixed) * group.get("factor", 1.0) + fixed


def lr_factor(step: int, training: Training, *, steps_per_epoch: int, total_steps: int) -> float:
    """The factor of the base learning rate at a step. Steps count from 0.

    Step schedule of (40, 80), 100 steps an epoch: 1 up to step 3999, 0.1 from 4000 on, 0.01 from 8000 on.
    """
    match training.schedule:
        case StepSchedule(epochs=epochs, gamma=gamma):
            factor = gamma ** bisect_right(epochs, step // steps_per_epoch)
        case CosineSchedule(end=end) as schedule:
            factor = end + (1 - end) * _cosine(step, schedule, steps_per_epoch, total_steps)
        case PiecewiseSchedule(until=until, factors=factors):
            factor = factors[bisect_right(until, step)]
    return factor * _warm_up(step, training, steps_per_epoch)


def _cosine(step: int, schedule: CosineSchedule, steps_per_epoch: int, total_steps: int) -> float:
    """The fraction of the descent that a cosine has left at a step, from 1 to 0."""
    first = schedule.begin * steps_per_epoch
    num_steps = total_steps - first if schedule.length is None else schedule.length * steps_per_epoch
    at = step - step % steps_per_epoch if schedule.by_epoch else step
    progress = min(max(at - first, 0) / max(num_steps, 1), 1.0)
    return 0.5 * (1 + math.cos(math.pi * progress))


def _warm_up(step: int, training: Training, steps_per_epoch: int) -> float:
    """The factor of the warm-up at a step, from `warmup_start` to 1."""
    warmup_steps = training.warmup_steps or round(training.warmup_epochs * steps_per_epoch)
    if step >= warmup_steps:
        return 1.0
    unit = steps_per_epoch if training.warmup_by_epoch else 1
    fraction = min(step // unit / max(warmup_steps / unit - training.warmup_within, 1), 1)
    return training.warmup_start + (1 - training.warmup_start) * fraction


def step_lr(
    step: int, training: Training, base_lr: float, steps_per_epoch: int, total_steps: int
) -> tuple[float, float]:
    """(the learning rate of a step, the part of it that is the same for all parameters, whatever their factors)."""
    factor = lr_factor(step, training, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    schedule, fixed = training.schedule, 0.0
    if isinstance(schedule, CosineSchedule) and schedule.end_lr is not None:
        descended = 1 - _cosine(step, schedule, steps_per_epoch, total_steps)
        fixed = schedule.end_lr * descended * _warm_up(step, training, steps_per_epoch)
    return base_lr * factor + fixed, fixed


def scaled_lr(training: Training, *, clips_per_step: int) -> float:
    """The base learning rate, scaled linearly to the batch size (Goyal et al. 2017, arXiv:1706.02677)."""
    if not training.base_batch:
        return training.optimizer.lr
    return training.optimizer.lr * clips_per_step / training.base_batch


class Ema:
    """An exponential moving average of the weights (Polyak & Juditsky 1992), on the device of the network.

    Each update moves every tensor by `1 - decay` towards that of the network. Integer counters are copied.
    """

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
