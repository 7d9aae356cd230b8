"""How good scores are: pure functions of the scores of clips and their classes. Definitions: docs/metrics.md.

Letters in names: N clips, K classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def top_k_accuracy(scores_NK: npt.ArrayLike, labels_N: npt.ArrayLike, *, k: int = 1) -> float:
    """The share of clips whose class is among the `k` highest scores; of equal scores the lower class number wins."""
    scores, labels = _checked(scores_NK, labels_N)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    best_Nk = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best_Nk == labels[:, None]).any(axis=1).mean())


def mean_class_accuracy(scores_NK: npt.ArrayLike, labels_N: npt.ArrayLike) -> float:
    """The mean over classes of the share of their clips that are recognised; classes without clips do not count."""
    scores, labels = _checked(scores_NK, labels_N)
    right_N = np.argmax(scores, axis=1) == labels
    counts_K = np.bincount(labels, minlength=scores.shape[1])
    right_K = np.bincount(labels, weights=right_N, minlength=scores.shape[1])
    present_K = counts_K > 0
    return float((right_K[present_K] / counts_K[present_K]).mean())


def mean_average_precision(scores_NK: npt.ArrayLike, targets_NK: npt.ArrayLike) -> float:
    """For classes that go together: the mean over classes that occur of their average precision.

    The average precision of a class is the mean, over the clips that show it, of the precision among all clips of at
    least that score.
    """
    scores = np.asarray(scores_NK, np.float64)
    targets = np.asarray(targets_NK) > 0.5
    if scores.ndim != 2 or scores.shape != targets.shape or not np.isfinite(scores).all():
        raise ValueError(f"scores and targets must be finite (N, K), got {scores.shape} and {targets.shape}")
    precisions = []
    for k in np.flatnonzero(targets.any(axis=0)):
        shown_N = targets[:, k]
        order = np.sort(scores[:, k])
        at_least_N = len(scores) - np.searchsorted(order, scores[shown_N, k], side="left")
        hits = np.sort(scores[shown_N, k])
        hits_N = len(hits) - np.searchsorted(hits, scores[shown_N, k], side="left")
        precisions.append(float((hits_N / at_least_N).mean()))
    if not precisions:
        raise ValueError("no clip has a class: there is no average precision")
    return float(np.mean(precisions))


def _checked(scores_NK: npt.ArrayLike, labels_N: npt.ArrayLike) -> tuple[Scores, Labels]:
    scores, labels = np.asarray(scores_NK, np.float64), np.asarray(labels_N, np.int64)
    if scores.ndim != 2 or 0 in scores.shape or labels.shape != scores.shape[:1]:
        raise ValueError(f"metrics need scores (N, K) and N labels, got {scores.shape} and {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"the scores of clip {int(np.argmin(np.isfinite(scores).all(axis=1)))} hold NaN or infinity")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"labels must be 0 to {scores.shape[1] - 1}, got {labels.min()} to {labels.max()}")
    return scores, labels
