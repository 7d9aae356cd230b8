"""What is told of one video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from i3d.evaluation.scoring import top_k


@dataclass(frozen=True)
class LabelScore:
    """A class by name and its score: a probability from 0 to 1."""

    label: str
    score: float

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ValueError(f"the score of {self.label!r} must be from 0 to 1, got {self.score}")


@dataclass(frozen=True)
class Prediction:
    """The most likely classes of one video, best first, or why it has none."""

    path: str
    status: Literal["ok", "error"]
    predictions: tuple[LabelScore, ...]
    protocol: str  # how the scores were made
    frames: int  # decoded from the video
    error: str = ""  # why there is no prediction; on a good one, "warning: ..." if something is to be known of the file

    def __post_init__(self) -> None:
        if (self.status == "ok") != bool(self.predictions):
            raise ValueError(f"status {self.status!r} with {len(self.predictions)} predictions")
        scores = [p.score for p in self.predictions]
        if scores != sorted(scores, reverse=True):
            raise ValueError(f"predictions must come best first, got {scores}")

    @property
    def top1(self) -> LabelScore:
        """The most likely class. A video that failed has none: that is a ValueError."""
        if not self.predictions:
            raise ValueError(f"no prediction: {self.error}")
        return self.predictions[0]


def best_labels(probabilities_K: npt.ArrayLike, labels: Sequence[str], *, k: int) -> tuple[LabelScore, ...]:
    """The `k` most likely classes by name."""
    values: list[float] = np.asarray(probabilities_K, np.float64).tolist()
    if len(values) != len(labels):
        raise ValueError(f"{len(values)} scores for {len(labels)} labels")
    return tuple(LabelScore(labels[i], min(values[i], 1.0)) for i in top_k(values, k=k))
