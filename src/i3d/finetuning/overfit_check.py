"""Whether anything can be learnt at all: eight clips by heart, before hours are spent on all.

Letters in names: N clips, V views, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming
from i3d.errors import InputError, printable
from i3d.finetuning.classifier import Doubles, Rows, fit_linear
from i3d.finetuning.features import Floats
from i3d.recipes.augmentation import CenterCrop, Mixing
from i3d.recipes.recipe import Recipe
from i3d.recipes.training import Loss
from i3d.training.setup import build_accelerator, build_loaders, build_train_state
from i3d.training.step import train_step
from i3d.utils.device import ComputeConfig

NUM_CLIPS: Final = 8
NEARLY_NONE: Final = 1e-8  # the penalty: by heart
MOST_STEPS: Final = 30
LEAST_STEPS: Final = 3  # a rate that is too high shows after some


def choose_few(annotations: Annotations, *, seed: int) -> list[int]:
    """At most eight clips, of as many classes as there are, drawn by the seed."""
    order = np.random.default_rng((seed, 0x5E1F)).permutation(len(annotations)).tolist()
    rounds: dict[tuple[int, ...], int] = {}
    ranked = []
    for index in order:
        labels = annotations.labels_of(index)
        rounds[labels] = rounds.get(labels, -1) + 1
        ranked.append((rounds[labels], index))
    return [index for _, index in sorted(ranked, key=lambda pair: pair[0])[:NUM_CLIPS]]


def check_features(features_NVC: Floats, annotations: Annotations, few: Sequence[int]) -> str:
    """Learn a few clips by heart from their features; what was found, in words. If that fails, an InputError."""
    targets_NK = np.zeros((len(few), len(annotations.classes)))
    for row_K, index in zip(targets_NK, few, strict=True):
        row_K[list(annotations.labels_of(index))] = 1
    features_NC = features_NVC[list(few)].mean(axis=1).astype(np.float64)
    rows = Rows(features_NC, targets_NK, np.ones(len(few)), np.arange(len(few)))
    is_multi = bool((targets_NK.sum(axis=1) != 1).any())
    logits_NK = fit_linear(rows, Loss(), penalty=NEARLY_NONE, multi_label=is_multi).logits(features_NC)
    right_N = (
        ((logits_NK > 0) == (targets_NK > 0)).all(axis=1)
        if is_multi
        else logits_NK.argmax(axis=1) == targets_NK.argmax(axis=1)
    )
    if right_N.all():
        return f"self-test: {len(few)} clips learnt by heart, 100 %"
    wrong = [few[n] for n in np.flatnonzero(~right_N).tolist()]
    raise InputError(
        f"self-test: {len(few)} clips cannot be learnt by heart, only {right_N.mean():.0%} of them: "
        f"{_why(features_NC, annotations, few, wrong)}"
    )


def _why(features_NC: Doubles, annotations: Annotations, few: Sequence[int], wrong: Sequence[int]) -> str:
    """The likeliest cause: clips of several classes in which the network sees the same."""
    scale = float(np.abs(features_NC).max()) or 1.0
    for index in wrong:
        place = list(few).index(index)
        gaps_N = np.abs(features_NC - features_NC[place]).max(axis=1)
        for other in np.flatnonzero(gaps_N < 1e-4 * scale).tolist():
            if annotations.labels_of(few[other]) != annotations.labels_of(index):
                names = [printable(annotations.path(i)) for i in (index, few[other])]
                classes = [
                    " + ".join(annotations.classes[k] for k in annotations.labels_of(i)) for i in (index, few[other])
                ]
                return (
                    f"the network sees the same in {names[0]} ({classes[0]}) and {names[1]} ({classes[1]}): are they "
                    "the same clip, or blank? Correct the labels or the files (`i3d data check`)"
                )
    named = ", ".join(printable(annotations.path(index)) for index in wrong[:3])
    return f"look at {named}; `i3d data preview` shows what training sees"


def check_training(
    recipe: Recipe,
    annotations: Annotations,
    few: Sequence[int],
    *,
    compute: ComputeConfig,
    seed: int,
    naming: FrameNaming | None,
) -> str:
    """Train the network on a few clips with the recipe's own rate until all are right; what was found, in words.

    A loss that is not a number, or clips that are not learnt in 30 steps, are an InputError.
    """

    assert recipe.training is not None
    plain = recipe.training.augmentation.model_copy(
        update={"crop": CenterCrop(), "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "mirrored": (), "no_flip": ()}
    )
    changes = {"augmentation": plain, "mixing": Mixing(), "balance": "none", "ema_decay": 0.0}
    training = recipe.training.model_copy(update=changes)
    network = recipe.network.model_copy(update={"dropout": 0.0})
    tested = recipe.model_copy(update={"training": training, "network": network})
    accelerator, chosen = build_accelerator(training, compute), annotations.select(list(few))
    loader, _ = build_loaders(
        tested, chosen, None, accelerator=accelerator, compute=compute, seed=seed, naming=naming, max_bad=0.0
    )
    state, base_lr, _ = build_train_state(tested, chosen, accelerator=accelerator, compute=compute, seed=seed, lr=None)
    batches = list(loader.batches())
    for step in range(MOST_STEPS):
        stepped = train_step(state, batches, step=step, lr=base_lr)
        loss, right = float(stepped.loss), int(stepped.num_right)
        if not np.isfinite(loss):
            break
        if right == len(few) and step + 1 >= LEAST_STEPS:
            return f"self-test: {len(few)} clips learnt by heart in {step + 1} steps, 100 %, loss {loss:.3f}"
    raise InputError(
        f"self-test: {len(few)} clips are not learnt by heart in {step + 1} steps: {right} are right, the loss is "
        f"{loss:.3f}; the rate {base_lr:g} may be wrong (--lr), or the labels (`i3d data preview`)"
    )
