"""Fits classifiers on the features of clips, scores clips with them, and writes them as whole models.

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
from i3d.errors import printable
from i3d.evaluation.result import Evaluation
from i3d.evaluation.scoring import average_views
from i3d.finetuning.classifier import Doubles, Head, Rows, choose_penalty, fit_linear, fit_prototypes
from i3d.finetuning.defaults import FinetuneConfig
from i3d.finetuning.features import ClipFeatures
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
    """Features of all clips for testing, and of random views of the training clips."""

    test: ClipFeatures
    random: ClipFeatures | None  # of the training clips, in their order
    positions: Mapping[int, int]  # of the training clips in `random`, by their indices
    num_computed: int = 0  # views that were not in the cache


def design_rows(
    features: FeatureTable,
    annotations: Annotations,
    groups_N: npt.NDArray[np.int64],
    indices: Sequence[int],
    config: FinetuneConfig,
) -> Rows:
    """The views of some clips as rows to fit on. All clips weigh the same, or all classes if they are balanced."""
    positions = [features.positions.get(index, -1) for index in indices]
    parts = [(features.test, indices), *([(features.random, positions)] if features.random is not None else [])]
    values_NVC = np.concatenate([part.values_NVC[rows] for part, rows in parts], axis=1).astype(np.float64)
    mirrored_NV = np.concatenate([part.mirrored_NV[rows] for part, rows in parts], axis=1)
    num_views, num_classes = values_NVC.shape[1], len(annotations.classes)
    partners = _mirror_partners(annotations.classes, config)
    targets_NVK = np.zeros((len(indices), num_views, num_classes))
    for n, index in enumerate(indices):
        for v in range(num_views):
            for label in annotations.labels_of(index):
                targets_NVK[n, v, partners.get(label, label) if mirrored_NV[n, v] else label] = 1
    weights_N = np.ones(len(indices))
    is_balanced = config.training.loss.class_weights != "none" or config.training.balance != "none"
    if is_balanced and not config.recipe.multi_label:
        labels_N = np.array([annotations.labels_of(index)[0] for index in indices])
        weights_N = balanced_weights(np.bincount(labels_N, minlength=num_classes)).numpy()[labels_N].astype(np.float64)
    return Rows(
        features_RC=values_NVC.reshape(len(indices) * num_views, -1),
        targets_RK=targets_NVK.reshape(-1, num_classes),
        weights_R=np.repeat(weights_N / num_views, num_views),
        groups_R=np.repeat(groups_N[indices], num_views),
    )


def fit_head(rows: Rows, config: FinetuneConfig, *, seed: int) -> tuple[Head, str]:
    """Fit the classifier of the configuration; it and its description."""
    if config.head == "prototype":
        return fit_prototypes(rows), "class means (prototypes)"
    loss = config.training.loss.model_copy(update={"class_weights": "none"})  # the rows are weighted already
    multi_label = config.recipe.multi_label
    penalty, _ = choose_penalty(rows, loss, multi_label=multi_label, seed=seed)
    return fit_linear(rows, loss, penalty=penalty, multi_label=multi_label), f"linear, L2 penalty {penalty:g}"


def score_clips(head: Head, test: ClipFeatures, indices: Sequence[int], recipe: Recipe) -> Doubles:
    """Scores (N, K) of some clips, averaged over their views by the protocol of the recipe."""
    average = recipe.protocol.average
    scores = [
        average_views(head.logits(test.values_NVC[index]), average=average, multi_label=recipe.multi_label).scores_K
        for index in indices
    ]
    return np.stack(scores)


def make_evaluation(
    scores_NK: Doubles,
    annotations: Annotations,
    indices: Sequence[int],
    recipe: Recipe,
    *,
    precision: Arithmetic,
    model: str,
    sha256: str,
) -> Evaluation:
    """The scores of these clips, as `i3d test` gives them."""
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
        files_N=tuple(annotations.file(index) for index in indices),
        names_N=tuple(annotations.name(index) for index in indices),
        labels_N=tuple(annotations.labels_of(index) for index in indices),
        scores_NK=scores_NK,
        average=recipe.protocol.average,
        num_views_N=(num_views,) * len(indices),
        multi_label=recipe.multi_label,
        bad=(),
    )


def write_model(
    path: Path, weights: Weights, head: Head, recipe: Recipe, classes: tuple[str, ...], notes: Mapping[str, str]
) -> None:
    """Write the whole network with this head as a checkpoint that `load_model` reads."""
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
        training={key: printable(value) for key, value in notes.items()},
    )
    save_checkpoint(path, state, card)


def _mirror_partners(classes: tuple[str, ...], config: FinetuneConfig) -> dict[int, int]:
    """Class numbers that mirroring turns into each other."""
    number = {name: i for i, name in enumerate(classes)}
    pairs = config.training.augmentation.mirrored
    return {number[a]: number[b] for one, other in pairs for a, b in ((one, other), (other, one))}
