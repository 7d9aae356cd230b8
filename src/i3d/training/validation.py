"""Validation during training. The metrics are the same to the bit for any number of processes.

Letters in names: N clips, V views, K classes.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from i3d.data.loading.batch import Views
from i3d.data.loading.loader import ClipLoader
from i3d.errors import InputError
from i3d.evaluation.metrics import Scores, class_targets, mean_average_precision, mean_class_accuracy, top_k_accuracy
from i3d.evaluation.scoring import average_views
from i3d.models.engine.forward import forward_views
from i3d.training.step import TrainState
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress

MAX_VIEWS = 8  # views in one forward pass
STOP_CHECK_EVERY = 4  # clips between two exchanges of the stop signal


@torch.no_grad()
def validate(
    state: TrainState,
    loader: ClipLoader,
    *,
    should_stop: Callable[[], bool],
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[dict[str, float], int] | None:
    """Score each clip of a loader once, with the current weights; the metrics and the number of readable clips.

    All ranks get those of all clips. It returns None once `should_stop` is true on any rank.
    """
    state.net.eval()
    num_clips, num_classes = len(loader.dataset), state.recipe.network.num_classes
    scores_NK = torch.zeros(num_clips, num_classes, dtype=torch.float64)
    scored_N = torch.zeros(num_clips, dtype=torch.int64)
    num_scored, views = 0, None
    batches, num_processes = loader.batches(), state.accelerator.num_processes
    num_rounds = -(-num_clips // num_processes)

    def report(rounds: float) -> None:
        on_progress(Progress("validate", min(rounds * num_processes, num_clips), num_clips, "clip"))

    for number in range(num_rounds):  # the same number on every rank
        if number % STOP_CHECK_EVERY == 0 and should_stop():
            return None
        report(number)
        batch = next(batches, None)
        for index, views in zip(*(batch.indices_N.tolist(), batch.views_N) if batch else ((), ()), strict=True):
            scores_NK[index] = scores_K = score(state, views, lambda part, number=number: report(number + part))  # type: ignore[misc]
            if not scores_K.isfinite().all():
                raise InputError(
                    f"validation: the scores of {loader.dataset.annotations.file(index)} are not finite: "
                    "training has diverged; lower the learning rate (--lr)"
                )
            scored_N[index] = 1
            num_scored += 1
    report(num_rounds)
    if state.is_sharded and views is not None:  # FSDP: every rank runs the network equally often
        for _ in range(num_scored, num_rounds):
            score(state, views)
    if num_processes > 1:  # each clip is scored on one rank, 0 on the others: the sums are exact
        scores_NK, scored_N = (state.accelerator.reduce(t.to(state.device)).cpu() for t in (scores_NK, scored_N))
    is_scored = scored_N.numpy() > 0
    if not is_scored.any():
        return {}, 0
    labels = [loader.dataset.annotations.labels_of(int(i)) for i in np.flatnonzero(is_scored)]
    return _metrics(scores_NK.numpy()[is_scored], labels, state), len(labels)


def score(state: TrainState, views: Views, on_part: Callable[[float], None] = lambda _: None) -> Tensor:
    """The scores (K) float64 of one video, averaged over its views as in the validation protocol."""
    with state.accelerator.autocast():
        logits_VK = forward_views(
            state.net, views, state.recipe.preprocessing, device=state.device, max_views=MAX_VIEWS, on_part=on_part
        )
    if not logits_VK.isfinite().all():
        return torch.full(logits_VK.shape[1:], torch.nan, dtype=torch.float64)
    view_indices = list(views.groups[0])  # a view that the protocol repeats counts twice
    averaged = average_views(
        logits_VK.numpy()[view_indices], average=state.training.validation.average, multi_label=state.recipe.multi_label
    )
    return torch.from_numpy(averaged.scores_K)


def _metrics(scores_NK: Scores, labels: list[tuple[int, ...]], state: TrainState) -> dict[str, float]:
    if state.recipe.multi_label:
        targets_NK = class_targets(labels, scores_NK.shape[1])
        return {"mean_average_precision": mean_average_precision(scores_NK, targets_NK)}
    labels_N = [classes[0] for classes in labels]
    # Of five classes or fewer, every clip is among the best five.
    top5 = {"top5": top_k_accuracy(scores_NK, labels_N, k=5)} if scores_NK.shape[1] > 5 else {}
    top1, mean_class = top_k_accuracy(scores_NK, labels_N), mean_class_accuracy(scores_NK, labels_N)
    return {"top1": top1, **top5, "mean_class": mean_class}
