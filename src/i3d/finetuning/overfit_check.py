"""Checks that the model can overfit eight clips, before it is trained on all of them.

Letters in names: N clips, V views, C channels.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.batch import Batch
from i3d.errors import InputError, counted
from i3d.evaluation.metrics import class_targets
from i3d.finetuning.classifier import DesignMatrix, Doubles, fit_linear
from i3d.finetuning.estimates import StepTimes
from i3d.finetuning.features import Floats
from i3d.recipes.augmentation import CenterCrop, Mixup
from i3d.recipes.recipe import Recipe
from i3d.recipes.training import Loss
from i3d.training.setup import build_accelerator, build_loaders, build_train_state
from i3d.training.step import TrainState, train_step
from i3d.utils.device import ComputeConfig

NUM_CLIPS: Final = 8
NO_PENALTY: Final = 1e-8  # penalty
MAX_STEPS: Final = 30
MIN_STEPS: Final = 3  # a learning rate that is too high diverges within them


def draw_clips(annotations: Annotations, *, seed: int) -> list[int]:
    """Eight clips at most, of as many classes as possible, drawn by the seed."""
    order = np.random.default_rng((seed, 0x5E1F)).permutation(len(annotations)).tolist()
    drawn: Counter[tuple[int, ...]] = Counter()  # by class
    ranked = []
    for index in order:
        ranked.append((drawn[annotations.labels_of(index)], index))
        drawn[annotations.labels_of(index)] += 1
    return [index for _, index in sorted(ranked, key=lambda pair: pair[0])[:NUM_CLIPS]]


def overfit_head(features_NVC: Floats, annotations: Annotations, few: Sequence[int]) -> str:
    """Overfit a linear classifier to the features of a few clips; a line for the log. A failure is an InputError."""
    targets_NK = class_targets([annotations.labels_of(index) for index in few], len(annotations.classes))
    features_NC = features_NVC[list(few)].mean(axis=1).astype(np.float64)
    rows = DesignMatrix(features_NC, targets_NK, np.ones(len(few)), np.arange(len(few)), np.arange(len(few)))
    is_multi = bool((targets_NK.sum(axis=1) != 1).any())
    logits_NK = fit_linear(rows, Loss(), penalty=NO_PENALTY, multi_label=is_multi).logits(features_NC)
    if is_multi:
        right_N = ((logits_NK > 0) == (targets_NK > 0)).all(axis=1)
    else:
        right_N = logits_NK.argmax(axis=1) == targets_NK.argmax(axis=1)
    if right_N.all():
        return f"overfit check passed: the classifier fits {counted(len(few), 'clip')}, 100 % correct"
    wrong = np.flatnonzero(~right_N).tolist()
    raise InputError(
        f"overfit check failed: the classifier fits only {right_N.mean():.0%} of {len(few)} clips: "
        f"{_explain(features_NC, annotations, few, wrong)}"
    )


def _explain(features_NC: Doubles, annotations: Annotations, few: Sequence[int], wrong: Sequence[int]) -> str:
    """The likeliest cause: clips of different classes with the same features."""
    scale = float(np.abs(features_NC).max()) or 1.0
    for n in wrong:
        distances_N = np.abs(features_NC - features_NC[n]).max(axis=1)
        for other in np.flatnonzero(distances_N < 1e-4 * scale).tolist():
            if annotations.labels_of(few[other]) != annotations.labels_of(few[n]):
                first, second = (
                    f"{annotations.path(i)} ({' + '.join(annotations.classes[k] for k in annotations.labels_of(i))})"
                    for i in (few[n], few[other])
                )
                return (
                    f"{first} and {second} have the same features: they are duplicates, or blank; correct the labels "
                    "or the files (`i3d data check`)"
                )
    named = ", ".join(annotations.path(few[n]) for n in wrong[:3])
    return f"inspect {named}; `i3d data preview` shows the clips as training reads them"


def overfit_network(
    recipe: Recipe,
    annotations: Annotations,
    few: Sequence[int],
    *,
    compute: ComputeConfig,
    deterministic: bool,
    seed: int,
    naming: FrameNaming | None,
) -> tuple[str, StepTimes]:
    """Train the network on a few clips with the learning rate of the recipe; a line for the log, and the times.

    It is an InputError if the loss is not finite, or a clip is still wrong after 30 steps.
    """
    trainer = _FewClips.create(
        recipe, annotations, few, compute=compute, deterministic=deterministic, seed=seed, naming=naming
    )
    for step in range(MAX_STEPS):
        loss, right = trainer.run_step()
        if not np.isfinite(loss):
            break
        if right == len(few) and step + 1 >= MIN_STEPS:
            fits = f"the network fits {counted(len(few), 'clip')} in {counted(step + 1, 'step')}"
            return f"overfit check passed: {fits}, loss {loss:.3f}", trainer.times
    raise InputError(
        f"overfit check failed: after {step + 1} steps the network fits {right} of {len(few)} clips, with a loss of "
        f"{loss:.3f}; change the learning rate {trainer.lr:g} (--lr), or correct the labels (`i3d data preview`)"
    )


def time_steps(
    recipe: Recipe,
    annotations: Annotations,
    few: Sequence[int],
    *,
    compute: ComputeConfig,
    deterministic: bool,
    seed: int,
    naming: FrameNaming | None,
) -> StepTimes:
    """The times of training on a few clips, from one step after a warm-up step."""
    trainer = _FewClips.create(
        recipe, annotations, few, compute=compute, deterministic=deterministic, seed=seed, naming=naming
    )
    for _ in range(2):
        trainer.run_step()
    return trainer.times


@dataclass
class _FewClips:
    """The network in training on a few clips, which stay in memory."""

    state: TrainState
    batches: list[Batch]
    lr: float
    load_seconds: float  # of all clips
    step_seconds: list[float] = field(default_factory=list)
    num_workers: int = 0

    @classmethod
    def create(
        cls,
        recipe: Recipe,
        annotations: Annotations,
        few: Sequence[int],
        *,
        compute: ComputeConfig,
        deterministic: bool,
        seed: int,
        naming: FrameNaming | None,
    ) -> Self:
        """The clips without augmentation, and the network without dropout."""
        assert recipe.training is not None
        plain = recipe.training.augmentation.model_copy(
            update={"crop": CenterCrop(), "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "mirrored": (),
                    "no_flip": ()}
        )  # fmt: skip
        changes = {"augmentation": plain, "mixup": Mixup(), "balance": "none", "ema_decay": 0.0}
        training = recipe.training.model_copy(update=changes)
        network = recipe.network.model_copy(update={"dropout": 0.0})
        recipe = recipe.model_copy(update={"training": training, "network": network})
        accelerator, clips = build_accelerator(training, compute), annotations.select(list(few))
        loader, _ = build_loaders(
            recipe, clips, None, accelerator=accelerator, compute=compute, seed=seed, naming=naming, max_bad=0.0
        )
        state, lr, _ = build_train_state(
            recipe, clips, accelerator=accelerator, compute=compute, deterministic=deterministic, seed=seed, lr=None
        )
        started = time.monotonic()
        batches = list(loader.batches())
        return cls(state, batches, lr, time.monotonic() - started, num_workers=compute.num_workers)

    def run_step(self) -> tuple[float, int]:
        """One step on all clips: the loss, and how many clips are correct."""
        started = time.monotonic()
        output = train_step(self.state, self.batches, step=len(self.step_seconds), lr=self.lr)
        loss, right = float(output.loss), int(output.num_right)  # they wait for the device
        self.step_seconds.append(time.monotonic() - started)
        return loss, right

    @property
    def times(self) -> StepTimes:
        """Of a clip; the first step warms up and does not count."""
        num_clips = sum(len(batch) for batch in self.batches)
        is_parallel = self.num_workers > 0 and self.state.device.type != "cpu"
        return StepTimes(min(self.step_seconds[1:]) / num_clips, self.load_seconds / num_clips, is_parallel)
