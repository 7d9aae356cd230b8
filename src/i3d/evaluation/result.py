"""The result of a test: the scores of every clip with the protocol, and the metrics of them.

Letters in names: N clips that could be read, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from i3d.data.annotations import Clip
from i3d.data.frame_folders import FrameNaming
from i3d.errors import InputError, quoted
from i3d.evaluation import metrics as measures
from i3d.evaluation.intervals import Interval, precision_interval, proportion_interval
from i3d.evaluation.metrics import ClassMetrics, Labels, Scores
from i3d.evaluation.occlusion import OcclusionCurve
from i3d.evaluation.scoring import Average, average_views, sigmoid, softmax
from i3d.utils.arguments import checks_types

TOP_K: Final = "top_k_accuracy"
MMIT: Final = "mmit_mean_average_precision"
TABLES: Final = ("per_class", "confusion")  # metrics that are not one number
METRICS: Final = (
    TOP_K, "mean_class_accuracy", "mean_recall", "calibration_error", "mean_average_precision",
    MMIT, *TABLES,
)  # fmt: skip


@dataclass(frozen=True)
class BadClip:
    """A clip without scores, because its file is unreadable."""

    file: str
    name: str  # as listed
    labels: tuple[int, ...]
    reason: str
    place: int  # its index in the list


@dataclass(frozen=True)
class ClipRange:
    """The range of a file or frame folder that a clip covers."""

    start_seconds: float | None = None
    end_seconds: float | None = None
    first_frame: int = 0  # of a folder of frames
    num_frames: int | None = None  # None: not listed

    @classmethod
    def from_clip(cls, clip: Clip) -> Self:
        return cls(clip.start_seconds, clip.end_seconds, clip.first_frame, clip.num_frames)


@dataclass(frozen=True, eq=False)
class ViewLogits:
    """The logits of each view of one clip."""

    logits_VK: Scores
    num_frames_V: tuple[int, ...]  # the weights of the views in the average

    def average(self, average: Average, *, multi_label: bool) -> Scores:
        """The scores (K) of the clip."""
        return average_views(
            self.logits_VK, average=average, weights_V=self.num_frames_V, multi_label=multi_label
        ).scores_K


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of every clip of a dataset by one model and protocol (N clips, K classes)."""

    name: str  # of the protocol: 10x3 is 10 clips x 3 crops
    model: str  # the weights, as named by the user
    weights_sha256: str
    recipe: str
    protocol: str  # in words
    data: str  # the list or folder
    classes: tuple[str, ...]
    files_N: tuple[str, ...]
    names_N: tuple[str, ...]  # as listed, with the range
    labels_N: tuple[tuple[int, ...], ...]  # class numbers: one, or several for multi-label classes
    scores_NK: Scores  # averaged over the views of each clip
    average: Average  # of the views: "prob" averages probabilities, "score" logits
    num_views_N: tuple[int, ...]
    multi_label: bool
    bad: tuple[BadClip, ...]
    gflops: float | None = None  # of the network per clip, the mean; a multiply-add counts as two operations
    views_N: tuple[ViewLogits, ...] = ()  # only with `save_views`
    ranges_N: tuple[ClipRange, ...] = ()  # empty: all clips are whole files
    frame_naming: FrameNaming | None = None  # None: the clips are videos
    notes_N: tuple[str, ...] = ()  # of damaged or truncated files; "": none; empty: not known
    curves_N: tuple[OcclusionCurve, ...] = ()  # of the true labels and the middle view; only with `occlude`
    bad_as_wrong: bool = False  # its metrics count bad clips as wrong; else they leave them out

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
        """Probabilities (N, K); rows sum to 1 unless classes are multi-label."""
        if self.average == "prob":
            return self.scores_NK
        return sigmoid(self.scores_NK) if self.multi_label else softmax(self.scores_NK)

    @property
    def clip_notes(self) -> tuple[str, ...]:
        """The name and the note of each damaged clip."""
        return tuple(f"{name}: {note}" for name, note in zip(self.names_N, self.notes_N, strict=False) if note)

    def select(self, chosen: Sequence[int]) -> Self:
        """The evaluation of only the clips at these indices, without bad clips."""
        names = ("files_N", "names_N", "labels_N", "num_views_N", "views_N", "ranges_N", "notes_N", "curves_N")
        picked: dict[str, Any] = {
            name: tuple(values[n] for n in chosen) for name in names if (values := getattr(self, name))
        }
        return replace(self, **picked, scores_NK=self.scores_NK[list(chosen)], bad=())

    @property
    def class_N(self) -> Labels:
        """The class of each clip (N), for single-label classes."""
        return np.array([labels[0] for labels in self.labels_N], np.int64)

    @property
    def predicted_N(self) -> Labels:
        """The class with the highest score of each clip (N); of equal scores the lower class."""
        predicted_N: Labels = np.argmax(self.scores_NK, axis=1)
        return predicted_N

    @property
    def is_correct_N(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class is a class of the clip (N)."""
        return np.array([k in labels for k, labels in zip(self.predicted_N, self.labels_N, strict=True)], bool)

    @property
    def targets_NK(self) -> Scores:
        """1 for each class of each clip, else 0 (N, K)."""
        return measures.class_targets(self.labels_N, len(self.classes))

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy of the clips with scores, or the mean average precision of multi-label classes."""
        if self.multi_label:
            return measures.mean_average_precision(self.scores_NK, self.targets_NK)
        return float(self.is_correct_N.mean())


@dataclass(frozen=True, eq=False)
class Metrics:
    """The metrics of an evaluation; None: not defined for its kind of classes. Definitions: docs/metrics.md."""

    num_clips: int  # that are counted
    num_bad: int
    bad_as_wrong: bool  # bad clips count as wrong; else they are left out
    top1: float | None = None
    top1_interval: Interval | None = None  # 95 %, by Wilson
    top5: float | None = None  # None with fewer than 6 classes
    mean_recall: float | None = None  # over the classes that have clips
    mean_class_accuracy: float | None = None  # MMAction2's: the same, if every predicted class has clips
    largest_class: float | None = None  # the accuracy of predicting the largest class for every clip
    calibration: float | None = None  # expected calibration error
    mean_average_precision: float | None = None  # of multi-label classes
    precision_interval: Interval | None = None  # its 95 % interval, by bootstrap; None also if that has no width
    by_class: ClassMetrics | None = None
    confusion_KK: Labels | None = None

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy, or the mean average precision of multi-label classes."""
        value = self.top1 if self.top1 is not None else self.mean_average_precision
        assert value is not None
        return value

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of `accuracy`; None: that of a mean average precision is unknown."""
        return self.top1_interval or self.precision_interval


def cheapest_protocol(tested: Sequence[tuple[Evaluation, Metrics]], *, within: float = 0.005) -> Evaluation | None:
    """The cheapest protocol whose accuracy is at most `within` below the best; None: the costs are unknown."""
    best = max(metrics.accuracy for _, metrics in tested)
    near = [e for e, metrics in tested if metrics.accuracy >= best - within - 1e-12 and e.gflops is not None]
    return min(near, key=lambda e: e.gflops or 0.0, default=None)


@checks_types
def compute_metrics(evaluation: Evaluation) -> Metrics:
    """The metrics of an evaluation. No clip with scores is a ValueError."""
    num_bad, bad_as_wrong = len(evaluation.bad), evaluation.bad_as_wrong
    if not evaluation.files_N:
        raise ValueError("no clip has scores: the metrics are undefined")
    if evaluation.multi_label:
        interval = precision_interval(evaluation.scores_NK, evaluation.targets_NK)
        num_clips, value = len(evaluation.files_N), evaluation.accuracy
        return Metrics(num_clips, num_bad, False, mean_average_precision=value, precision_interval=interval)
    scores_NK, labels_N = evaluation.scores_NK, evaluation.class_N
    counted_N = np.concatenate([evaluation.is_correct_N, np.zeros(num_bad * bad_as_wrong, bool)])
    fraction = len(labels_N) / len(counted_N)  # bad clips have no top-5
    bad_labels_N = [bad.labels[0] for bad in evaluation.bad if bad.labels] if bad_as_wrong else []
    by_class = measures.class_metrics(scores_NK, labels_N, bad_labels_N=bad_labels_N)
    return Metrics(
        num_clips=len(counted_N),
        num_bad=num_bad,
        bad_as_wrong=bad_as_wrong,
        top1=float(counted_N.mean()),
        top1_interval=proportion_interval(int(counted_N.sum()), len(counted_N)),
        top5=measures.top_k_accuracy(scores_NK, labels_N, k=5) * fraction if len(evaluation.classes) > 5 else None,
        mean_recall=by_class.mean_recall,
        mean_class_accuracy=by_class.mean_class_accuracy,
        largest_class=float(by_class.num_clips_K.max() / len(counted_N)),
        calibration=measures.calibration_error(evaluation.probabilities_NK, labels_N),
        by_class=by_class,
        confusion_KK=measures.confusion_matrix(scores_NK, labels_N),
    )


def check_metrics(names: Sequence[str], top_k: Sequence[int], *, multi_label: bool | None = None) -> None:
    """Raise InputError for an unknown metric, or one that is not defined for the classes. None: classes unknown."""
    for name in names:
        if name not in METRICS:
            raise InputError(f"metric {quoted(name)}: choose from {', '.join(METRICS)}")
        if multi_label is not None and multi_label != (name in ("mean_average_precision", MMIT)):
            defined, given = ("single-label", "multi-label") if multi_label else ("multi-label", "single-label")
            others = [one for one in METRICS if (one in ("mean_average_precision", MMIT)) == multi_label]
            raise InputError(
                f"metric {quoted(name)}: is defined for {defined} classes; these are {given}: "
                f"choose from {', '.join(others)}"
            )
    if any(k < 1 for k in top_k):
        raise InputError(f"top k {min(top_k)}: must be at least 1")


def named_metrics(
    evaluation: Evaluation, metrics: Metrics, names: Sequence[str], *, top_k: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """The metrics by name; `top_k_accuracy` is one number for each k (top1, top5). `TABLES` are not numbers."""
    check_metrics(names, top_k, multi_label=evaluation.multi_label)
    numbers = {
        "mean_class_accuracy": metrics.mean_class_accuracy,
        "mean_recall": metrics.mean_recall,
        "calibration_error": metrics.calibration,
        "mean_average_precision": metrics.mean_average_precision,
    }
    values: dict[str, float] = {}
    for name in names:
        if name == TOP_K:
            fraction = len(evaluation.files_N) / metrics.num_clips  # bad clips are wrong, or do not count
            for k in top_k:
                values[f"top{k}"] = measures.top_k_accuracy(evaluation.scores_NK, evaluation.class_N, k=k) * fraction
        elif name == MMIT:
            values[name] = measures.mmit_mean_average_precision(evaluation.scores_NK, evaluation.targets_NK)
        elif (value := numbers.get(name)) is not None:
            values[name] = value
    return values
