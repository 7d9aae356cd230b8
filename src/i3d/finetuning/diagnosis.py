"""Diagnoses a fine-tuned model in sentences: whether it is useful, and what is wrong with it.

What would help is in `next_steps`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from i3d.errors import counted
from i3d.evaluation.intervals import format_interval
from i3d.evaluation.result import Evaluation, Metrics
from i3d.finetuning.data_issues import DataIssue
from i3d.finetuning.inspect_data import FEW_CLIPS

OVERFITTING: Final = 0.15  # training accuracy above test accuracy
UNDERFITTING: Final = 0.8  # training accuracy
WEAK: Final = 0.5  # recall of a class
UNEVEN: Final = 0.1  # top-1 above mean recall
ONE_CLASS: Final = 0.9  # fraction of the predictions


@dataclass(frozen=True)
class LayerGain:
    """What training layers changed: accuracies of the same held-out clips before and after."""

    metric: str  # in words
    start: float  # of the fitted classifier on the pretrained network
    trained: float | None  # the best after an epoch or, of folds, the last; None: no epoch could be better
    is_selected: bool  # the model is the better of both; else the trained one
    is_fitted_again: bool = False  # the model is the start, fitted on the validation clips too

    @property
    def is_in_vain(self) -> bool:
        """Whether the start is as good."""
        return self.trained is None or self.trained <= self.start


def diagnose(
    evaluation: Evaluation,
    metrics: Metrics,
    *,
    train_top1: float | None,
    issues: Sequence[DataIssue],
    is_cross_validated: bool = False,
    gain: LayerGain | None = None,
    source_risk: str = "",
    labels: str = "",
    has_wrong_labels: bool = False,
) -> list[str]:
    """Sentences about an evaluation.

    `train_top1`: of the same model on the training clips, by the views of a test, if it is known.
    `labels`: what the check of labels found.
    """
    tested = counted(metrics.num_clips, "clip")
    if evaluation.multi_label:
        sentences = [f"The mean average precision on {tested} is {metrics.mean_average_precision:.2f}."]
    else:
        sentences = [*_usefulness(evaluation, metrics), *_fit(metrics, train_top1), *_weak_classes(evaluation, metrics)]
    sentences += _layers(gain)
    if metrics.num_clips < FEW_CLIPS:
        name = "mean average precision" if evaluation.multi_label else "accuracy"
        test = "cross-validation" if is_cross_validated else "test"
        percents = format_interval(metrics.interval, factor=100, digits=0) + " %" * bool(metrics.interval)
        sentences.append(f"The {test} has only {tested}: the 95 % interval of the {name} is {percents}.")
    sentences += doubts(issues)
    sentences += [labels] * has_wrong_labels
    notes = [source_risk, "" if has_wrong_labels else labels]
    return [*(sentences or ["No problem was found."]), *filter(None, notes)]


def doubts(issues: Sequence[DataIssue]) -> list[str]:
    """A sentence, if issues of the data make scores too high."""
    kinds = ("duplicates", "near-duplicates", "divided near-duplicates", "leak", "sources")
    warning = "The scores may be too high: see the warnings about duplicates, sources and leaks."
    return [warning] * any(issue.kind in kinds for issue in issues)


def describe_folds(metrics: Metrics, num_folds: int, *, trains_layers: bool) -> str:
    """The result of the classifier in folds, as a sentence."""
    name = "mean average precision" if metrics.top1 is None else "top-1"
    interval = format_interval(metrics.interval)
    without = " on the pretrained network, without training layers," * trains_layers
    return (
        f"Cross-validation of the classifier{without} on all {counted(metrics.num_clips, 'clip')} in {num_folds} "
        f"folds: {name} {metrics.accuracy:.4f} (95 % interval {interval})."
    )


def _usefulness(evaluation: Evaluation, metrics: Metrics) -> Iterator[str]:
    assert metrics.largest_class is not None
    name = evaluation.classes[int(np.bincount(evaluation.class_N).argmax())]
    constant = f"always predicting {name!r} would give {metrics.largest_class:.0%}"
    comparison = f"a constant prediction: its accuracy is {metrics.accuracy:.0%}; {constant}"
    if metrics.largest_class == 1:
        yield f"All test clips are of one class, {name!r}: the test means little."
    elif metrics.accuracy <= metrics.largest_class:
        yield f"The model is no better than {comparison}."
    elif metrics.interval is not None and metrics.interval[0] <= metrics.largest_class:
        yield f"The model may be no better than {comparison}."
    predicted_K = np.bincount(evaluation.predicted_N)
    most, total = int(predicted_K.argmax()), len(evaluation.files_N)
    frequency = float((evaluation.class_N == most).mean())
    if total >= 4 and predicted_K[most] >= ONE_CLASS * total and frequency < ONE_CLASS * predicted_K[most] / total:
        name = evaluation.classes[most]
        yield f"It predicts {name!r} for {predicted_K[most]} of {total} clips: it does not distinguish the others."


def is_overfit(metrics: Metrics, train_top1: float | None) -> bool:
    """Whether training clips are recognised much better than test clips."""
    return train_top1 is not None and train_top1 - metrics.accuracy >= OVERFITTING


def is_underfit(metrics: Metrics, train_top1: float | None) -> bool:
    """Whether not even training clips are recognised, and test clips no better."""
    if train_top1 is None or metrics.accuracy >= train_top1:
        return False
    return train_top1 < UNDERFITTING and not is_overfit(metrics, train_top1)


def is_uneven(metrics: Metrics) -> bool:
    """Whether rare classes are recognised worse."""
    return metrics.mean_recall is not None and metrics.accuracy - metrics.mean_recall >= UNEVEN


def _fit(metrics: Metrics, train_top1: float | None) -> Iterator[str]:
    if is_overfit(metrics, train_top1):
        yield (
            f"It overfits: the accuracy is {train_top1:.0%} on training clips and {metrics.accuracy:.0%} on test clips."
        )
    if is_underfit(metrics, train_top1):
        yield f"It underfits: the accuracy on training clips is only {train_top1:.0%}."


def _layers(gain: LayerGain | None) -> Iterator[str]:
    if gain is None or not gain.is_in_vain:
        return
    fitted = ", with its classifier fitted on the validation clips too" * gain.is_fitted_again
    consequence = f"The model is the start{fitted}."
    if gain.trained is None:
        yield (
            f"Layers were not trained: the {gain.metric} is {gain.start:.0%} at the start, with the fitted classifier "
            f"on the pretrained network, and no epoch could be better. {consequence}"
        )
        return
    if not gain.is_selected:
        consequence = "The model has trained layers all the same."
    yield (
        f"Training layers did not help: the {gain.metric} is {gain.start:.1%} at the start, with the fitted "
        f"classifier on the pretrained network, and {gain.trained:.1%} after. {consequence}"
    )


def _weak_classes(evaluation: Evaluation, metrics: Metrics) -> Iterator[str]:
    assert metrics.by_class is not None
    assert metrics.confusion_KK is not None
    if is_uneven(metrics):
        yield (
            f"Rare classes are recognised worse: mean recall is {metrics.mean_recall:.0%}, top-1 "
            f"{metrics.accuracy:.0%}."
        )
    descriptions = []
    for k in [k for k in np.argsort(metrics.by_class.recall_K) if metrics.by_class.recall_K[k] < WEAK][:3]:
        wrong_K = metrics.confusion_KK[k].copy()
        wrong_K[k] = 0
        mistake = f", most often predicted as {evaluation.classes[int(wrong_K.argmax())]!r}" if wrong_K.any() else ""
        right, total = int(metrics.confusion_KK[k, k]), int(metrics.by_class.num_clips_K[k])
        descriptions.append(f"{evaluation.classes[k]!r} ({right} of {total} correct{mistake})")
    if descriptions:
        yield f"Weakest classes: {'; '.join(descriptions)}."
