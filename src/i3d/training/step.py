"""One step: some batches in, gradients of all of them, one move of the weights.

What is random in a step (dropout, mixing) is drawn anew from (seed, step, rank): a run that goes on has no generator to
restore, and the networks of two ranks drop other features.

Letters in names: N clips, V views, T frames, H rows, W columns, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from i3d.data.loading.batch import Batch
from i3d.data.loading.mixup import mix_clips
from i3d.models.network import VideoNetwork
from i3d.models.normalize import normalize
from i3d.recipes.recipe import Recipe
from i3d.recipes.training import Training
from i3d.training.ema import Ema
from i3d.training.losses import binary_loss_of, loss_of
from i3d.training.optimizer import set_mode, set_rate

STEPS: Final = 0x57E9  # sets these numbers apart from those of the samples, which come from (seed, epoch, index)


@dataclass
class TrainState:
    """What a step moves, and what it needs."""

    recipe: Recipe
    training: Training
    accelerator: Accelerator
    model: nn.Module  # as it runs: wrapped for several processes, compiled
    net: VideoNetwork  # the network itself
    optimizer: Any  # accelerate's wrapper of the optimiser
    ema: Ema | None
    seed: int
    is_sharded: bool = False  # each rank holds a part of the weights (FSDP)
    class_weights_K: Tensor | None = None
    class_shares_K: Tensor | None = None

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device


class AsyncScalar:
    """A number on its way from the device: only who reads it waits, and for no more than its own computation."""

    def __init__(self, value: Tensor) -> None:
        self._value, self._there = value.detach(), None
        if value.device.type == "cuda":
            self._value = self._value.to("cpu", non_blocking=True)
            self._there = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._there.record()

    def __float__(self) -> float:
        if self._there is not None:
            self._there.synchronize()
        return float(self._value)

    def __int__(self) -> int:
        return int(float(self))


@dataclass(frozen=True)
class StepOutput:
    """What a step gave."""

    loss: AsyncScalar  # mean over this rank's clips
    num_right: AsyncScalar  # clips whose best class is right; of mixed clips and of several classes: its heaviest
    num_clips: int
    grad_norm: AsyncScalar | None  # before clipping
    indices: tuple[int, ...]  # of the clips, to be named if the loss is not a number


def train_step(parts: TrainState, batches: Sequence[Batch], *, step: int, rate: float) -> StepOutput:
    """Add up the gradients of the batches, each in proportion to its clips, and step with this learning rate."""
    training, accelerator = parts.training, parts.accelerator
    set_mode(parts.model, training)
    set_rate(parts.optimizer, rate)
    rng = seed_step(parts.seed, step, accelerator.process_index)
    total = sum(len(batch) for batch in batches)
    loss_sum = torch.zeros((), device=parts.device)
    right_sum = torch.zeros((), device=parts.device, dtype=torch.int64)
    num_views = 0
    for number, batch in enumerate(batches):
        clips_NCTHW, targets = to_device(parts, batch)
        if training.mixing.is_on:
            clips_NCTHW, targets = _mixed(parts, clips_NCTHW, targets, rng)
        with _without_sync(parts, is_last=number == len(batches) - 1):
            with accelerator.autocast():
                logits_NK = parts.model(clips_NCTHW)
            loss = _loss(parts, logits_NK, targets)
            accelerator.backward(loss * (len(batch) / total))
        loss_sum = loss_sum + loss.detach() * (len(batch) / total)
        heaviest_N = targets if targets.dim() == 1 else targets.argmax(dim=-1)
        right_sum = right_sum + (logits_NK.detach().argmax(dim=-1) == heaviest_N).sum()
        num_views += len(clips_NCTHW)
    norm = _clip(parts)
    parts.optimizer.step()
    parts.optimizer.zero_grad(set_to_none=True)
    share_buffers(parts)
    if parts.ema is not None and not accelerator.optimizer_step_was_skipped:
        parts.ema.update(parts.net)
    indices = tuple(index for batch in batches for index in batch.indices_N.tolist())
    return StepOutput(
        AsyncScalar(loss_sum), AsyncScalar(right_sum), num_views, None if norm is None else AsyncScalar(norm), indices
    )


def seed_step(seed: int, step: int, rank: int) -> np.random.Generator:
    """Set PyTorch's generators for this step; the generator for everything else."""
    key = (seed, step, rank, STEPS)
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1)
    return np.random.default_rng(key)


def to_device(parts: TrainState, batch: Batch) -> tuple[Tensor, Tensor]:
    """Normalised float clips (N * V, C, T, H, W) and their targets. Clips that are float already are left so."""
    clips_NVTHWC, pre = batch.clips_NVTHWC, parts.recipe.preprocessing
    num_views = clips_NVTHWC.shape[1]
    clips_NTHWC = clips_NVTHWC.flatten(0, 1).to(parts.device, non_blocking=True)
    targets = batch.labels_N.repeat_interleave(num_views, dim=0).to(parts.device, non_blocking=True)
    if clips_NTHWC.is_floating_point():
        return clips_NTHWC.permute(0, 4, 1, 2, 3), targets
    return normalize(clips_NTHWC, mean=pre.mean, std=pre.std), targets


def _loss(parts: TrainState, logits_NK: Tensor, targets: Tensor) -> Tensor:
    loss = parts.training.loss
    if parts.recipe.multi_label:
        return binary_loss_of(logits_NK, targets, loss, class_weights_K=parts.class_weights_K)
    return loss_of(logits_NK, targets, loss, class_weights_K=parts.class_weights_K, class_shares_K=parts.class_shares_K)


def _mixed(parts: TrainState, clips_NCTHW: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    num_classes = parts.recipe.network.num_classes
    rows_NK = nn.functional.one_hot(targets, num_classes).float() if targets.dim() == 1 else targets
    return mix_clips(clips_NCTHW, rows_NK, parts.training.mixing, rng=rng)


def _without_sync(parts: TrainState, *, is_last: bool) -> AbstractContextManager[None]:
    """Gradients of all but the last batch of a step stay on their rank."""
    if isinstance(parts.model, FSDPModule):
        parts.model.set_requires_gradient_sync(is_last)
        return nullcontext()
    context: AbstractContextManager[None] = nullcontext() if is_last else parts.accelerator.no_sync(parts.model)
    return context


def share_buffers(parts: TrainState) -> None:
    """The statistics of batch norms become those of the first rank everywhere, as what is saved and averaged."""
    buffers = [buffer for buffer in parts.net.buffers() if buffer.is_floating_point()]
    if parts.accelerator.num_processes == 1 or not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    torch.distributed.broadcast(flat, src=0)
    for buffer, shared in zip(buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(shared.view_as(buffer))


def _clip(parts: TrainState) -> Tensor | None:
    limit = parts.training.clip_grad_norm
    norm = parts.accelerator.clip_grad_norm_(parts.model.parameters(), limit or float("inf"))
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    return norm.detach() if isinstance(norm, Tensor) else None
