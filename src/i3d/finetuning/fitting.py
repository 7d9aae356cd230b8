"""Fits classifiers on the features of clips, scores clips with them, and writes them as whole models.

Letters in names: N clips, V views, C channels, K classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.annotations import Annotations
from i3d.errors import printable
from i3d.evaluation.scoring import average_views
from i3d.finetuning.classifier import DesignMatrix, Doubles, Head
from i3d.finetuning.defaults import FinetuneConfig
from i3d.finetuning.features import ClipFeatures
from i3d.finetuning.selection import Candidate, fit_candidate, select_classifier
from i3d.models.factory import build_meta_network
from i3d.recipes.recipe import Recipe
from i3d.training.losses import balanced_weights
from i3d.weights.checkpoint import Card, save_checkpoint
from i3d.weights.familiarity import Familiarity, mean_of_crops
from i3d.weights.load import Weights


def design_rows(
    features: ClipFeatures,
    annotations: Annotations,
    groups_N: npt.NDArray[np.int64],
    indices: Sequence[int],
    config: FinetuneConfig,
) -> DesignMatrix:
    """The views of some clips as rows to fit on. All clips weigh the same, or all classes if they are balanced."""
    values_NVC, mirrored_NV = features.values_NVC[indices].astype(np.float64), features.mirrored_NV[indices]
    num_views, num_classes = values_NVC.shape[1], len(annotations.classes)
    number = {name: k for k, name in enumerate(annotations.classes)}
    pairs = [(number[a], number[b]) for a, b in config.training.augmentation.mirrored]
    partners = {a: b for pair in pairs for a, b in (pair, pair[::-1])}  # that mirroring turns into each other
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
    return DesignMatrix(
        features_RC=values_NVC.reshape(len(indices) * num_views, -1),
        targets_RK=targets_NVK.reshape(-1, num_classes),
        weights_R=np.repeat(weights_N / num_views, num_views),
        clips_R=(2 * np.arange(len(indices))[:, None] + mirrored_NV).reshape(-1),  # mirrored into another class
        groups_R=np.repeat(groups_N[indices], num_views),
    )


def fit_head(
    rows: DesignMatrix, config: FinetuneConfig, *, seed: int, chosen: Candidate | None = None
) -> tuple[Head, Candidate]:
    """Fit the classifier of the configuration, choosing it unless it is chosen already."""
    loss = config.training.loss.model_copy(update={"class_weights": "none"})  # the rows are weighted already
    multi_label = config.recipe.multi_label
    if chosen is None:
        chosen = select_classifier(rows, loss, config.head, multi_label=multi_label, seed=seed)
    return fit_candidate(rows, loss, chosen, multi_label=multi_label), chosen


def score_clips(head: Head, features: ClipFeatures, indices: Sequence[int], config: FinetuneConfig) -> Doubles:
    """Scores (N, K) of some clips, averaged over the views of a test by the protocol of the recipe."""
    average, multi_label = config.protocol.average, config.recipe.multi_label
    logits_NVK = head.logits(features.values_NVC[indices, : config.protocol.num_views])
    scores = [average_views(logits_VK, average=average, multi_label=multi_label).scores_K for logits_VK in logits_NVK]
    return np.stack(scores)


def familiarity_of(
    features: ClipFeatures,
    groups_N: npt.NDArray[np.int64],
    indices: Sequence[int],
    config: FinetuneConfig,
    *,
    seed: int,
) -> Familiarity | None:
    """The features of some clips as training clips, and the distances of all clips, by the views of a test."""
    tested_NVC, num_crops = features.values_NVC[:, : config.protocol.num_views], config.protocol.num_crops
    is_training_N = np.zeros(len(tested_NVC), bool)
    is_training_N[list(indices)] = True
    features_NPC = np.stack([mean_of_crops(views_VC, num_crops) for views_VC in tested_NVC])
    return Familiarity.from_clips(features_NPC, groups_N, is_training_N, seed=seed)


def write_model(
    path: Path,
    weights: Weights,
    head: Head,
    recipe: Recipe,
    classes: tuple[str, ...],
    notes: Mapping[str, str],
    familiarity: Familiarity | None = None,
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
    save_checkpoint(path, state, card, familiarity=familiarity, force=True)
