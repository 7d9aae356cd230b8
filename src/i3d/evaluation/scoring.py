"""From the logits of views to the scores of a video: pure functions.

Letters in names: V views of one video, K classes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from i3d.utils.arguments import checks_types

Average = Literal["score", "prob"]  # in the order of the flags: typing takes other orders for the same
Floats = npt.NDArray[np.float64]


def softmax(logits_VK: npt.ArrayLike) -> Floats:
    """Probabilities along the last axis."""
    logits = np.asarray(logits_VK, np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits_VK: npt.ArrayLike) -> Floats:
    """The probability of each class on its own, for classes that may go together."""
    probabilities: Floats = 0.5 * (1 + np.tanh(np.asarray(logits_VK, np.float64) / 2))
    return probabilities


@dataclass(frozen=True, repr=False)
class VideoScores:
    """One score a class for a video: mean probabilities ("prob") or mean logits ("score")."""

    scores_K: Floats
    average: Average
    num_views: int
    multi_label: bool = False  # classes may go together

    def __post_init__(self) -> None:
        if self.scores_K.ndim != 1 or len(self.scores_K) == 0 or not np.isfinite(self.scores_K).all():
            raise ValueError(f"scores must be finite, one a class, got shape {self.scores_K.shape}: {self.scores_K}")
        if self.average == "prob" and not self.multi_label and abs(self.scores_K.sum() - 1) > 1e-6:
            raise ValueError(f"probabilities must sum to 1, got {self.scores_K.sum()}")

    @property
    def probabilities_K(self) -> Floats:
        """The scores as probabilities: averaged logits go through the softmax (or sigmoid) last."""
        to_probabilities = sigmoid if self.multi_label else softmax
        return self.scores_K if self.average == "prob" else to_probabilities(self.scores_K)

    def __repr__(self) -> str:
        best = top_k(self.scores_K, k=3)
        return f"VideoScores({len(self.scores_K)} classes, {self.average!r} of {self.num_views} views, best {best})"


@checks_types
def average_views(
    logits_VK: npt.ArrayLike,
    *,
    average: Average,
    weights_V: npt.ArrayLike | None = None,
    multi_label: bool = False,
) -> VideoScores:
    """The scores of a video from the logits of its views (V, K).

    "prob" averages the softmax (for `multi_label` the sigmoid) of each view, "score" the logits themselves.
    `weights_V` (for instance the number of frames of each view) need not sum to 1. The order of the views does not
    matter. NaN is a ValueError.
    """
    logits = np.asarray(logits_VK, np.float64)
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"logits must be (views, classes), got shape {logits.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("the logits hold NaN or infinity")
    weights = np.ones(len(logits)) if weights_V is None else np.asarray(weights_V, np.float64)
    if weights.shape != (len(logits),) or (weights < 0).any() or not weights.sum() > 0:
        raise ValueError(f"weights must be {len(logits)} numbers of at least 0, not all 0, got {weights.tolist()}")
    if average not in ("prob", "score"):
        raise ValueError(f"average must be 'prob' or 'score', got {average!r}")
    scores = (sigmoid if multi_label else softmax)(logits) if average == "prob" else logits
    return VideoScores(weights @ scores / weights.sum(), average, len(logits), multi_label)


def top_k(scores_K: npt.ArrayLike, *, k: int) -> list[int]:
    """The classes with the `k` highest scores (all if there are fewer), best first, ties by class number."""
    scores = np.asarray(scores_K)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return [int(i) for i in np.argsort(-scores, kind="stable")[:k]]
