"""Heads on the features of clips: which rows they are fitted on, what they score, and the model that holds them.

Letters in names: N clips, V views, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.annotations import Annotations
from i3d.data.split import assign_folds, find_groups
from i3d.errors import printable
from i3d.evaluation.result import Evaluation
from i3d.evaluation.scoring import average_views
from i3d.finetuning.classifier import Doubles, Head, Rows, choose_penalty, fit_linear, fit_prototypes
from i3d.finetuning.defaults import Plan
from i3d.finetuning.features import Features
from i3d.models.factory import build_meta_network
from i3d.recipes.protocols import protocol_name
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol
from i3d.training.losses import balanced_weights
from i3d.utils.device import Arithmetic
from i3d.weights.checkpoint import Card, save_checkpoint
from i3d.weights.load import Weights


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of all clips: as a test sees them, and of random views of those to train on."""

    test: Features
    drawn: Features | None  # of the clips that are learnt
    places: Mapping[int, int]  # of these among them, by their indices
    num_computed: int = 0  # views that were not in the cache


def rows_of(
    seeing: FeatureTable,
    annotations: Annotations,
    groups_N: npt.NDArray[np.int64],
    chosen: Sequence[int],
    plan: Plan,
) -> Rows:
    """The views of some clips as rows to fit on; every clip weighs the same, or every class."""
    places = [seeing.places.get(index, -1) for index in chosen]
    parts = [(seeing.test, chosen), *([(seeing.drawn, places)] if seeing.drawn is not None else [])]
    values_NVC = np.concatenate([part.values_NVC[rows] for part, rows in parts], axis=1).astype(np.float64)
    mirrored_NV = np.concatenate([part.mirrored_NV[rows] for part, rows in parts], axis=1)
    num_views, num_classes = values_NVC.shape[1], len(annotations.classes)
    twins = _twins(annotations.classes, plan)
    targets_NVK = np.zeros((len(chosen), num_views, num_classes))
    for n, index in enumerate(chosen):
        for v in range(num_views):
            for label in annotations.labels_of(index):
                targets_NVK[n, v, twins.get(label, label) if mirrored_NV[n, v] else label] = 1
    weights_N = np.ones(len(chosen))
    is_balanced = plan.training.loss.class_weights != "none" or plan.training.balance != "none"
    if is_balanced and not plan.multi_label:
        labels_N = np.array([annotations.labels_of(index)[0] for index in chosen])
        weights_N = balanced_weights(np.bincount(labels_N, minlength=num_classes)).numpy()[labels_N].astype(np.float64)
    return Rows(
        features_RC=values_NVC.reshape(len(chosen) * num_views, -1),
        targets_RK=targets_NVK.reshape(-1, num_classes),
        weights_R=np.repeat(weights_N / num_views, num_views),
        groups_R=np.repeat(groups_N[chosen], num_views),
    )


def fit_head(rows: Rows, plan: Plan, *, seed: int) -> tuple[Head, str]:
    """The head that the plan asks for, and how it was fitted, in words."""
    if plan.head == "prototype":
        return fit_prototypes(rows), "class means (prototypes)"
    loss = plan.training.loss.model_copy(update={"class_weights": "none"})  # the rows have their weights
    penalty, _ = choose_penalty(rows, loss, multi_label=plan.multi_label, seed=seed)
    return fit_linear(rows, loss, penalty=penalty, multi_label=plan.multi_label), f"linear, penalty {penalty:g}"


def scores_of(head: Head, test: Features, chosen: Sequence[int], recipe: Recipe) -> Doubles:
    """Scores (N, K) of some clips, averaged over their views as the protocol of the recipe says."""
    average = recipe.protocol.average
    scores = [
        average_views(head.logits(test.values_NVC[index]), average=average, multi_label=recipe.multi_label).scores_K
        for index in chosen
    ]
    return np.stack(scores)


def evaluation_of(
    scores_NK: Doubles,
    annotations: Annotations,
    chosen: Sequence[int],
    recipe: Recipe,
    *,
    precision: Arithmetic,
    model: str,
    sha256: str,
) -> Evaluation:
    """What a test of these clips gave."""
    protocol = recipe.protocol
    num_views = protocol.num_views if isinstance(protocol, ClipProtocol) else 1
    return Evaluation(
        name=protocol_name(recipe.protocol),
        model=model,
        weights_sha256=sha256,
        recipe=recipe.name,
        protocol=f"{recipe.protocol_line}; {precision}",
        data=printable(annotations.source),
        classes=annotations.classes,
        files_N=tuple(annotations.file(index) for index in chosen),
        names_N=tuple(annotations.name(index) for index in chosen),
        labels_N=tuple(annotations.labels_of(index) for index in chosen),
        scores_NK=scores_NK,
        average=recipe.protocol.average,
        num_views_N=(num_views,) * len(chosen),
        multi_label=recipe.multi_label,
        bad=(),
    )


def write_model(
    path: Path, weights: Weights, head: Head, recipe: Recipe, classes: tuple[str, ...], told: Mapping[str, str]
) -> None:
    """The whole network with this head, in one file with all that its use needs."""
    net = build_meta_network(recipe.network)
    shapes = {name: value.shape for name, value in net.state_dict().items()}
    state = {name: weights.state[name] for name in shapes if not name.startswith(net.head_prefix)}
    for name, shape in shapes.items():
        if name.startswith(net.head_prefix):
            values = head.weight_KC if name.endswith("weight") else head.bias_K
            state[name] = torch.from_numpy(values).float().reshape(shape).contiguous()
    card = Card(
        recipe=recipe,
        labels=classes,
        licence="that of the clips and of the weights that it started from",
        origin={"source": "trained by i3d train", "started_from": weights.card.recipe.name, "weights": weights.sha256},
        training={key: printable(value) for key, value in told.items()},
    )
    save_checkpoint(path, state, card)


def _twins(classes: tuple[str, ...], plan: Plan) -> dict[int, int]:
    """Class numbers that a mirror turns into each other."""
    number = {name: i for i, name in enumerate(classes)}
    pairs = plan.training.augmentation.mirrored
    return {number[a]: number[b] for one, other in pairs for a, b in ((one, other), (other, one))}


@dataclass(frozen=True, eq=False)
class Parts:
    """Which clips are learnt, and which are held out, by their indices; `folds_N` where every clip is held out once."""

    learnt: list[int]
    held_out: list[int]
    validation: list[int]  # clips by which the training of layers chooses its best weights
    tested_on: str  # what `held_out` is called; "" if there is nothing
    groups_N: npt.NDArray[np.int64]
    folds_N: npt.NDArray[np.int64] | None = None

    @property
    def has_folds(self) -> bool:
        return self.folds_N is not None

    def of_fold(self, fold: int) -> tuple[list[int], list[int]]:
        """(learnt, held out) of one fold."""
        assert self.folds_N is not None
        return np.flatnonzero(self.folds_N != fold).tolist(), np.flatnonzero(self.folds_N == fold).tolist()


def parts_of(annotations: Annotations, *, folds: int, seed: int, alike: Sequence[tuple[int, int]]) -> Parts:
    """The clips without a split, or of `train`, are learnt; those of `test`, or else of `val`, are held out.

    With folds all clips are learnt in the end, and each is held out once before; their splits do not matter.
    """
    groups_N, _ = find_groups(annotations, None, alike)
    if folds:
        every = list(range(len(annotations)))
        folds_N = assign_folds(annotations, folds, seed=seed, alike=alike)
        return Parts(every, [], [], f"{folds} folds", groups_N, folds_N)
    learnt, val, test = (
        np.flatnonzero(chosen).tolist()
        for chosen in (annotations.splits_N <= 0, annotations.splits_N == 1, annotations.splits_N == 2)
    )
    return Parts(learnt, test or val, val, "test" if test else "val" if val else "", groups_N)
