"""Metrics as pure functions of the scores of clips and their classes. Definitions: docs/metrics.md.

Letters in names: N clips, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.utils.arguments import checks_types

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
MIN_SCORES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def class_targets(labels_N: Sequence[Sequence[int]], num_classes: int) -> Scores:
    """(N, K): 1 for each class of each clip, else 0."""
    targets_NK = np.zeros((len(labels_N), num_classes))
    for row_K, labels in zip(targets_NK, labels_N, strict=True):
        row_K[list(labels)] = 1
    return targets_NK


@checks_types
def top_k_accuracy(scores_NK: npt.ArrayLike, labels_N: npt.ArrayLike, *, k: int = 1) -> float:
    """The fraction of clips whose class is among the `k` highest scores; of equal scores the lower class number wins.

    `scores_NK` must be finite and `labels_N` in 0 .. K - 1, else ValueError; so in all functions of this module.
    """
    scores, labels = _checked(scores_NK, labels_N)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    best_Nk = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best_Nk == labels[:, None]).any(axis=1).mean())


@checks_types
def mean_class_accuracy(scores_NK: npt.ArrayLike, labels_N: npt.ArrayLike) -> float:
    """The mean recall of the classes that have clips or are predicted, as in MMAction2.

    A class without clips that is predicted for some clip counts as 0; `ClassMetrics.mean_recall` leaves it out.
    """
    return class_metrics(scores_NK, labels_N).mean_class_accuracy


def mean_average_precision(scores_NK: npt.ArrayLike, targets_NK: npt.ArrayLike) -> float:
    """The mean of the average precisions of the classes with clips, for multi-label classes. `targets_NK`: 0 or 1."""
    precisions_K = average_precisions(scores_NK, targets_NK)
    if np.isnan(precisions_K).all():
        raise ValueError("no clip has a class: the average precision is undefined")
    return float(np.mean(precisions_K[~np.isnan(precisions_K)]))


def mmit_mean_average_precision(scores_NK: npt.ArrayLike, targets_NK: npt.ArrayLike) -> float:
    """The mean of the average precisions of the clips, in each of which its classes are to be found.

    It is that of Multi-Moments in Time, and of the same name in MMAction2.
    """
    return mean_average_precision(np.asarray(scores_NK).T, np.asarray(targets_NK).T)


def average_precisions(scores_NK: npt.ArrayLike, targets_NK: npt.ArrayLike) -> Scores:
    """The average precision of every class (K); NaN for a class without clips.

    It is the mean, over the clips of the class, of the precision among all clips with at least the same score.
    """
    scores = np.asarray(scores_NK, np.float64)
    targets = np.asarray(targets_NK) > 0.5
    if scores.ndim != 2 or scores.shape != targets.shape or not np.isfinite(scores).all():
        raise ValueError(f"scores and targets must be finite (N, K), got {scores.shape} and {targets.shape}")
    precisions_K = np.full(scores.shape[1], np.nan)
    for k in np.flatnonzero(targets.any(axis=0)):
        positive_N = targets[:, k]
        order = np.sort(scores[:, k])
        at_least_N = len(scores) - np.searchsorted(order, scores[positive_N, k], side="left")
        hits = np.sort(scores[positive_N, k])
        hits_N = len(hits) - np.searchsorted(hits, scores[positive_N, k], side="left")
        precisions_K[k] = (hits_N / at_least_N).mean()
    return precisions_K


@checks_types
def confusion_matrix(scores_NK: npt.ArrayLike, labels_N: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """(K, K): the number of clips of class i whose highest score is at class j; of equal scores the lower class."""
    scores, labels = _checked(scores_NK, labels_N)
    num_classes = scores.shape[1]
    cells_N = labels * num_classes + np.argmax(scores, axis=1)
    counts: npt.NDArray[np.int64] = np.bincount(cells_N, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall, F1 and number of clips of every class.

    NaN: the precision of a class that is never predicted, the recall of a class without clips.
    """

    precision_K: Scores
    recall_K: Scores
    f1_K: Scores
    num_clips_K: Labels

    @property
    def mean_recall(self) -> float:
        """Over the classes that have clips."""
        return float(self.recall_K[self.num_clips_K > 0].mean())

    @property
    def mean_class_accuracy(self) -> float:
        """As MMAction2 counts: a class without clips that is predicted for some clip counts as 0."""
        counted_K = (self.num_clips_K > 0) | ~np.isnan(self.precision_K)
        return float(np.nan_to_num(self.recall_K)[counted_K].mean())


def class_metrics(
    scores_NK: npt.ArrayLike, labels_N: npt.ArrayLike, *, bad_labels_N: npt.ArrayLike = ()
) -> ClassMetrics:
    """Precision, recall and F1 of every class. `bad_labels_N`: classes of clips without scores, counted as wrong."""
    confusion_KK = confusion_matrix(scores_NK, labels_N)
    correct_K, predicted_K, num_clips_K = np.diag(confusion_KK), confusion_KK.sum(axis=0), confusion_KK.sum(axis=1)
    num_clips_K = num_clips_K + np.bincount(np.asarray(bad_labels_N, np.int64), minlength=len(num_clips_K))
    with np.errstate(invalid="ignore"):
        precision_K, recall_K = correct_K / predicted_K, correct_K / num_clips_K
        f1_K = 2 * correct_K / (predicted_K + num_clips_K)
    return ClassMetrics(precision_K, recall_K, f1_K, num_clips_K)


@dataclass(frozen=True)
class CalibrationBins:
    """Clips in B equally wide bins of their confidence, the highest probability; means of empty bins are NaN."""

    num_clips_B: Labels
    probability_B: Scores  # mean of the highest probabilities
    accuracy_B: Scores


def calibration_bins(
    probabilities_NK: npt.ArrayLike, labels_N: npt.ArrayLike, *, num_bins: int = 15
) -> CalibrationBins:
    """The accuracy of clips by their confidence, the highest probability."""
    probabilities, labels = _checked(probabilities_NK, labels_N)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    if probabilities.min() < 0 or probabilities.max() > 1 + 1e-9:
        raise ValueError("calibration needs probabilities, from 0 to 1")
    highest_N, correct_N = probabilities.max(axis=1), np.argmax(probabilities, axis=1) == labels
    bins_N = np.clip(np.ceil(highest_N * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    num_clips_B, confidence_B, correct_B = (
        np.bincount(bins_N, weights=weights, minlength=num_bins) for weights in (None, highest_N, correct_N)
    )
    with np.errstate(invalid="ignore"):
        return CalibrationBins(num_clips_B, confidence_B / num_clips_B, correct_B / num_clips_B)


def calibration_error(probabilities_NK: npt.ArrayLike, labels_N: npt.ArrayLike, *, num_bins: int = 15) -> float:
    """The expected calibration error (Guo et al. 2017, arXiv:1706.04599).

    It is the mean gap between confidence and accuracy over equally wide bins of confidence, weighted by their clips.
    """
    bins = calibration_bins(probabilities_NK, labels_N, num_bins=num_bins)
    gaps_B = np.abs(np.nan_to_num(bins.probability_B - bins.accuracy_B))
    return float((gaps_B * bins.num_clips_B).sum() / bins.num_clips_B.sum())


@dataclass(frozen=True)
class ScoreThreshold:
    """What a minimum score of the predicted class leaves."""

    min_score: float
    num_clips: int  # that reach it
    num_correct: int  # of these


def accuracy_above(
    probabilities_NK: npt.ArrayLike, labels_N: npt.ArrayLike, *, min_scores: Sequence[float] = MIN_SCORES
) -> tuple[ScoreThreshold, ...]:
    """How many clips reach each minimum score, and how many of these are correct (`i3d predict --min-score`)."""
    probabilities, labels = _checked(probabilities_NK, labels_N)
    highest_N, correct_N = probabilities.max(axis=1), np.argmax(probabilities, axis=1) == labels
    return tuple(
        ScoreThreshold(value, int((highest_N >= value).sum()), int((correct_N & (highest_N >= value)).sum()))
        for value in min_scores
    )


def _checked(scores_NK: npt.ArrayLike, labels_N: npt.ArrayLike) -> tuple[Scores, Labels]:
    scores, labels = np.asarray(scores_NK, np.float64), np.asarray(labels_N, np.int64)
    if scores.ndim != 2 or 0 in scores.shape or labels.shape != scores.shape[:1]:
        raise ValueError(f"metrics need scores (N, K) and N labels, got {scores.shape} and {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"the scores of clip {int(np.argmin(np.isfinite(scores).all(axis=1)))} hold NaN or infinity")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"labels must be 0 to {scores.shape[1] - 1}, got {labels.min()} to {labels.max()}")
    return scores, labels
