"""What a test gave: every clip with its scores, and how they were made. Tables, pictures and reports are made of it.

Letters in names: N clips that could be read, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from i3d.data.frame_folders import FrameNaming
from i3d.evaluation.metrics import (
    ClassMetrics,
    Labels,
    Scores,
    bootstrap_interval,
    calibration_error,
    class_metrics,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
    precision_interval,
    top_k_accuracy,
)
from i3d.evaluation.scoring import Average, sigmoid, softmax


@dataclass(frozen=True)
class BadClip:
    """A clip that has no scores, because its file could not be read."""

    file: str
    name: str  # as it is listed
    labels: tuple[int, ...]
    reason: str
    place: int  # in the list, from 0


@dataclass(frozen=True)
class Part:
    """Which part of its file or folder a clip is."""

    start_seconds: float | None = None
    end_seconds: float | None = None
    first_frame: int = 0  # of a folder of frames
    num_frames: int | None = None  # of it, if the list says


@dataclass(frozen=True, eq=False)
class ViewLogits:
    """What the network says of each view of one clip."""

    logits_VK: Scores
    num_frames_V: tuple[int, ...]  # by which views are weighed


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of every clip of a dataset by one model. The protocol stands beside every number made of them."""

    name: str  # of the protocol: 10x3 is 10 clips x 3 crops
    model: str  # the weights, as they were given
    weights_sha256: str
    recipe: str
    protocol: str  # in words
    data: str  # the list or folder
    classes: tuple[str, ...]
    files_N: tuple[str, ...]
    names_N: tuple[str, ...]  # as they are listed, with the part
    labels_N: tuple[tuple[int, ...], ...]  # class numbers: one, or several if classes go together
    scores_NK: Scores  # of each clip, averaged over its views
    average: Average  # what of the views was averaged: probabilities, or logits ("score")
    num_views_N: tuple[int, ...]
    multi_label: bool
    bad: tuple[BadClip, ...]
    gflops: float | None = None  # of the network on one clip, on average; a multiply-add counts as two
    views_N: tuple[ViewLogits, ...] = ()  # only if they were asked for
    parts_N: tuple[Part, ...] = ()  # none: all are whole files
    pictures: FrameNaming | None = None  # None: the clips are videos

    def __post_init__(self) -> None:
        shape = (len(self.files_N), len(self.classes))
        lengths = {len(self.names_N), len(self.labels_N), len(self.num_views_N)}
        if self.scores_NK.shape != shape or lengths != {shape[0]}:
            raise ValueError(f"scores {self.scores_NK.shape} and {lengths} names, labels of {shape} clips, classes")
        for file, scores_K in zip(self.files_N, self.scores_NK, strict=True):
            if not np.isfinite(scores_K).all():
                raise ValueError(f"the scores of {file} hold NaN or infinity")
        if self.average == "prob" and self.scores_NK.size:
            low, high = self.scores_NK.min(), self.scores_NK.max()
            if low < -1e-9 or high > 1 + 1e-9:
                raise ValueError(f"probabilities lie between 0 and 1, not from {low:g} to {high:g}")

    @property
    def probabilities_NK(self) -> Scores:
        """Between 0 and 1; of classes that exclude each other, rows add up to 1."""
        if self.average == "prob":
            return self.scores_NK
        return sigmoid(self.scores_NK) if self.multi_label else softmax(self.scores_NK)

    def select(self, chosen: Sequence[int]) -> Self:
        """Only the clips of these numbers; those that could not be read are left out."""
        names = ("files_N", "names_N", "labels_N", "num_views_N", "views_N", "parts_N")
        picked: dict[str, Any] = {
            name: tuple(values[n] for n in chosen) for name in names if (values := getattr(self, name))
        }
        return replace(self, **picked, scores_NK=self.scores_NK[list(chosen)], bad=())

    @property
    def class_N(self) -> Labels:
        """The class of each clip. Only where each has one."""
        return np.array([labels[0] for labels in self.labels_N], np.int64)


@dataclass(frozen=True, eq=False)
class Metrics:
    """The numbers of an evaluation; what its kind of classes does not have is None. Definitions: docs/metrics.md."""

    num_clips: int  # that the figures are of
    num_bad: int
    bad_as_wrong: bool  # clips without scores count as wrong; else they are left out
    top1: float | None = None
    top1_interval: tuple[float, float] | None = None  # 95 %, by bootstrap over the clips
    top5: float | None = None  # None with fewer than 6 classes
    mean_class: float | None = None
    largest_class: float | None = None  # the share of the largest class: what always saying it would give
    calibration: float | None = None
    mean_average_precision: float | None = None  # of classes that go together
    precision_interval: tuple[float, float] | None = None  # 95 % of that, by bootstrap over the clips
    by_class: ClassMetrics | None = None
    confusion_KK: Labels | None = None


def cheapest(tested: Sequence[tuple[Evaluation, Metrics]], *, within: float = 0.005) -> Evaluation | None:
    """The protocol that costs least, of those whose accuracy is at most `within` below the best; None without costs."""
    of = [(e, f.top1 if f.top1 is not None else f.mean_average_precision or 0.0) for e, f in tested]
    best = max(accuracy for _, accuracy in of)
    near = [e for e, accuracy in of if accuracy >= best - within - 1e-12 and e.gflops is not None]
    return min(near, key=lambda e: e.gflops or 0.0, default=None)


def compute_metrics(evaluation: Evaluation, *, bad_as_wrong: bool = False) -> Metrics:
    """The numbers of an evaluation. Without a single clip with scores, that is a ValueError."""
    num_bad = len(evaluation.bad)
    if not evaluation.files_N:
        raise ValueError("no clip has scores: there is nothing to count")
    if evaluation.multi_label:
        targets_NK = np.zeros(evaluation.scores_NK.shape)
        for row_K, labels in zip(targets_NK, evaluation.labels_N, strict=True):
            row_K[list(labels)] = 1
        value = mean_average_precision(evaluation.scores_NK, targets_NK)
        interval = precision_interval(evaluation.scores_NK, targets_NK)
        return Metrics(
            len(evaluation.files_N), num_bad, False, mean_average_precision=value, precision_interval=interval
        )
    scores_NK, labels_N = evaluation.scores_NK, evaluation.class_N
    right_N = np.argmax(scores_NK, axis=1) == labels_N
    counted_N = np.concatenate([right_N, np.zeros(num_bad * bad_as_wrong, bool)])
    share = len(right_N) / len(counted_N)
    return Metrics(
        num_clips=len(counted_N),
        num_bad=num_bad,
        bad_as_wrong=bad_as_wrong,
        top1=float(counted_N.mean()),
        top1_interval=bootstrap_interval(counted_N),
        top5=top_k_accuracy(scores_NK, labels_N, k=5) * share if len(evaluation.classes) > 5 else None,
        mean_class=_mean_class(evaluation, bad_as_wrong=bad_as_wrong),
        largest_class=float(np.bincount(labels_N).max() / len(labels_N)),
        calibration=calibration_error(evaluation.probabilities_NK, labels_N),
        by_class=class_metrics(scores_NK, labels_N, lost_N=_lost(evaluation) if bad_as_wrong else None),
        confusion_KK=confusion_matrix(scores_NK, labels_N),
    )


def _lost(evaluation: Evaluation) -> Labels:
    """The classes of the clips that could not be read."""
    return np.array([bad.labels[0] for bad in evaluation.bad if bad.labels], np.int64)


def _mean_class(evaluation: Evaluation, *, bad_as_wrong: bool) -> float:
    if not (bad_as_wrong and evaluation.bad):
        return mean_class_accuracy(evaluation.scores_NK, evaluation.class_N)
    num_classes = len(evaluation.classes)
    right_N = np.argmax(evaluation.scores_NK, axis=1) == evaluation.class_N
    lost_N = _lost(evaluation)
    right_K = np.bincount(evaluation.class_N, weights=right_N, minlength=num_classes)
    counts_K = np.bincount(np.concatenate([evaluation.class_N, lost_N]), minlength=num_classes)
    present_K = counts_K > 0
    return float((right_K[present_K] / counts_K[present_K]).mean())
