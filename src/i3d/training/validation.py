"""Validation while training: every clip once, whatever the number of processes, the same figures to the bit.

Letters in names: N clips, V views, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from i3d.data.loading.batch import Views
from i3d.data.loading.loader import ClipLoader
from i3d.errors import InputError, printable
from i3d.evaluation.metrics import Scores, mean_average_precision, mean_class_accuracy, top_k_accuracy
from i3d.evaluation.scoring import average_views
from i3d.models.engine.forward import logits_of
from i3d.training.step import TrainState

MAX_VIEWS = 8  # views that run at once
AGREE_EVERY = 4  # clips, after which the ranks agree on whether to stop


@dataclass(frozen=True)
class ValidationResult:
    """The figures of one validation, over the clips that could be read."""

    figures: dict[str, float]  # top1, top5, mean_class; or of classes that go together, mean_average_precision
    num_clips: int
    num_bad: int


@torch.no_grad()
def validate(parts: TrainState, loader: ClipLoader, *, is_over: Callable[[], bool]) -> ValidationResult | None:
    """Score the clips of a loader with the network as it is. All ranks get the figures of all clips.

    None if it was interrupted, as `is_over` tells.
    """
    parts.net.eval()
    num_clips, num_classes = len(loader.dataset), parts.recipe.network.num_classes
    scores_NK = torch.zeros(num_clips, num_classes, dtype=torch.float64)
    seen_N = torch.zeros(num_clips, dtype=torch.int64)
    num_scored, views = 0, None
    batches = loader.batches()
    for number in range(-(-num_clips // parts.accelerator.num_processes)):  # as many rounds on every rank
        if number % AGREE_EVERY == 0 and is_over():
            return None
        batch = next(batches, None)
        for index, views in zip(*(batch.indices_N.tolist(), batch.views_N) if batch else ((), ()), strict=True):
            scores_NK[index] = _checked(score(parts, views), loader, index)
            seen_N[index] = 1
            num_scored += 1
    if parts.is_sharded and views is not None:  # the ranks compute together: each as often as the others
        for _ in range(num_scored, -(-num_clips // parts.accelerator.num_processes)):
            score(parts, views)
    if parts.accelerator.num_processes > 1:  # each clip is on one rank, zero on the others: the sums are exact
        scores_NK, seen_N = (_sum_over_ranks(parts, tensor) for tensor in (scores_NK, seen_N))
    chosen = seen_N.numpy() > 0
    if not chosen.any():
        return ValidationResult({}, 0, num_clips)
    labels = [loader.dataset.annotations.labels_of(int(i)) for i in np.flatnonzero(chosen)]
    return ValidationResult(_figures(scores_NK.numpy()[chosen], labels, parts), int(chosen.sum()), int((~chosen).sum()))


def score(parts: TrainState, views: Views) -> Tensor:
    """The scores (K) float64 of one video, averaged over its views as the validation protocol says."""
    with parts.accelerator.autocast():
        logits_VK = logits_of(parts.net, views, parts.recipe.preprocessing, device=parts.device, max_views=MAX_VIEWS)
    if not logits_VK.isfinite().all():
        return torch.full(logits_VK.shape[1:], torch.nan, dtype=torch.float64)
    every = list(views.groups[0])  # a view that the protocol has twice counts twice
    averaged = average_views(
        logits_VK.numpy()[every], average=parts.training.validation.average, multi_label=parts.recipe.multi_label
    )
    return torch.from_numpy(averaged.scores_K)


def _checked(scores_K: Tensor, loader: ClipLoader, index: int) -> Tensor:
    if not scores_K.isfinite().all():
        file = printable(loader.dataset.annotations.file(index))
        raise InputError(
            f"validation: the scores of {file} are not finite; training has diverged: lower the rate (--lr)"
        )
    return scores_K


def _figures(scores_NK: Scores, labels: list[tuple[int, ...]], parts: TrainState) -> dict[str, float]:
    if parts.recipe.multi_label:
        targets_NK = np.zeros(scores_NK.shape)
        for row, classes in zip(targets_NK, labels, strict=True):
            row[list(classes)] = 1
        return {"mean_average_precision": mean_average_precision(scores_NK, targets_NK)}
    labels_N = [classes[0] for classes in labels]
    return {
        "top1": top_k_accuracy(scores_NK, labels_N),
        "top5": top_k_accuracy(scores_NK, labels_N, k=5),
        "mean_class": mean_class_accuracy(scores_NK, labels_N),
    }


def _sum_over_ranks(parts: TrainState, tensor: Tensor) -> Tensor:
    on_device = tensor.to(parts.device)
    torch.distributed.all_reduce(on_device)
    return on_device.cpu()
