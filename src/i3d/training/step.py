"""One training step: forward and backward passes of its batches, then one update of the weights.

Randomness in a step (dropout, mixup) is seeded by (seed, step, rank). A resumed run therefore has no generator state to
restore, and two ranks drop different features.

Letters in names: N clips, V views, T frames, H rows, W columns, C channels, K classes.
"""

from collections.abc import Callable, Sequence
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
from i3d.models.engine.forward import normalize
from i3d.models.network import VideoNetwork
from i3d.recipes.recipe import Recipe
from i3d.recipes.training import Training
from i3d.training.losses import binary_cross_entropy, cross_entropy
from i3d.training.optimizer import Ema, set_lr, set_mode

STEP_STREAM: Final = 0x57E9  # separates these generators from those of the samples, seeded by (seed, epoch, index)


@dataclass
class TrainState:
    """What a training step updates and reads."""

    recipe: Recipe
    training: Training
    accelerator: Accelerator
    model: nn.Module  # what runs: `net` wrapped for several processes, or compiled
    net: VideoNetwork  # the unwrapped network
    optimizer: Any  # accelerate's wrapper of the optimiser
    ema: Ema | None
    seed: int
    is_sharded: bool = False  # FSDP: each rank holds a part of the weights
    init_sha256: str = ""  # of the file of the initial weights; "": random ones
    class_weights_K: Tensor | None = None
    class_frequencies_K: Tensor | None = None

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device


class AsyncScalar:
    """A number that is copied from the device in the background. Reading it waits for its own computation only."""

    def __init__(self, value: Tensor) -> None:
        self._value, self._copied = value.detach(), None
        if value.device.type == "cuda":
            self._value = self._value.to("cpu", non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def __float__(self) -> float:
        if self._copied is not None:
            self._copied.synchronize()
        return float(self._value)

    def __int__(self) -> int:
        return int(float(self))


@dataclass(frozen=True)
class StepOutput:
    """The results of one step."""

    loss: AsyncScalar  # mean over this rank's clips
    num_right: AsyncScalar  # clips whose top class is correct: of several, the target of largest weight
    num_clips: int
    grad_norm: AsyncScalar | None  # before clipping
    indices: tuple[int, ...]  # of the clips, named in the error if the loss is not finite


def train_step(
    state: TrainState,
    batches: Sequence[Batch],
    *,
    step: int,
    lr: float,
    fixed_lr: float = 0.0,
    on_part: Callable[[float], None] = lambda _: None,
) -> StepOutput:
    """Accumulate the gradients of the batches, weighted by their numbers of clips, and update with this learning rate.

    `fixed_lr`: the part of it that is the same for all parameters. Nothing here waits for the device: all results are
    `AsyncScalar`. `on_part` gets the fraction of the step that is done, after each of several batches.
    """
    training, accelerator = state.training, state.accelerator
    set_mode(state.model, training)
    set_lr(state.optimizer, lr, fixed=fixed_lr)
    rng = seed_step(state.seed, step, accelerator.process_index)
    total = sum(len(batch) for batch in batches)
    loss_sum = torch.zeros((), device=state.device)
    right_sum = torch.zeros((), device=state.device, dtype=torch.int64)
    num_views = 0
    for number, batch in enumerate(batches):
        clips_NCTHW, targets = to_device(state, batch)
        if training.mixup.is_on:
            num_classes = state.recipe.network.num_classes
            rows_NK = nn.functional.one_hot(targets, num_classes).float() if targets.dim() == 1 else targets
            clips_NCTHW, targets = mix_clips(clips_NCTHW, rows_NK, training.mixup, rng=rng)
        with _without_sync(state, is_last=number == len(batches) - 1):
            with accelerator.autocast():
                logits_NK = state.model(clips_NCTHW)
            loss = _loss(state, logits_NK, targets)
            accelerator.backward(loss * (len(batch) / total))
        loss_sum = loss_sum + loss.detach() * (len(batch) / total)
        top_N = targets if targets.dim() == 1 else targets.argmax(dim=-1)
        right_sum = right_sum + (logits_NK.detach().argmax(dim=-1) == top_N).sum()
        num_views += len(clips_NCTHW)
        if number < len(batches) - 1:
            on_part((number + 1) / len(batches))
    norm = accelerator.clip_grad_norm_(state.model.parameters(), training.clip_grad_norm or float("inf"))
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    grad_norm = AsyncScalar(norm.detach()) if isinstance(norm, Tensor) else None
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    sync_buffers(state)
    if state.ema is not None and not accelerator.optimizer_step_was_skipped:
        state.ema.update(state.net)
    indices = tuple(index for batch in batches for index in batch.indices_N.tolist())
    return StepOutput(AsyncScalar(loss_sum), AsyncScalar(right_sum), num_views, grad_norm, indices)


def seed_step(seed: int, step: int, rank: int) -> np.random.Generator:
    """Seed PyTorch for this step, and return a NumPy generator seeded alike."""
    key = (seed, step, rank, STEP_STREAM)
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1)
    return np.random.default_rng(key)


def to_device(state: TrainState, batch: Batch) -> tuple[Tensor, Tensor]:
    """Normalised float clips (N * V, C, T, H, W) and their targets. Float clips are normalised already."""
    clips_NVTHWC, pre = batch.clips_NVTHWC, state.recipe.preprocessing
    num_views = clips_NVTHWC.shape[1]
    clips_NTHWC = clips_NVTHWC.flatten(0, 1).to(state.device, non_blocking=True)
    targets = batch.labels_N.repeat_interleave(num_views, dim=0).to(state.device, non_blocking=True)
    if clips_NTHWC.is_floating_point():
        return clips_NTHWC.permute(0, 4, 1, 2, 3), targets
    return normalize(clips_NTHWC, mean=pre.mean, std=pre.std), targets


def _loss(state: TrainState, logits_NK: Tensor, targets: Tensor) -> Tensor:
    loss = state.training.loss
    if state.recipe.multi_label:
        return binary_cross_entropy(logits_NK, targets, loss, class_weights_K=state.class_weights_K)
    return cross_entropy(
        logits_NK, targets, loss, class_weights_K=state.class_weights_K, class_frequencies_K=state.class_frequencies_K
    )


def _without_sync(state: TrainState, *, is_last: bool) -> AbstractContextManager[None]:
    """Gradients are exchanged between ranks after the last batch of a step only."""
    if isinstance(state.model, FSDPModule):
        state.model.set_requires_gradient_sync(is_last)
        return nullcontext()
    context: AbstractContextManager[None] = nullcontext() if is_last else state.accelerator.no_sync(state.model)
    return context


def sync_buffers(state: TrainState) -> None:
    """Broadcast the batch-norm statistics of the first rank. They are what is saved and averaged."""
    buffers = [buffer for buffer in state.net.buffers() if buffer.is_floating_point()]
    if state.accelerator.num_processes == 1 or not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    torch.distributed.broadcast(flat, src=0)
    for buffer, shared in zip(buffers, torch.split(flat, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(shared.view_as(buffer))
