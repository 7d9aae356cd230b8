"""Diagnoses a fine-tuned model in sentences: whether it is useful, what is wrong with it, what would help."""

from collections.abc import Iterator, Sequence

import numpy as np

from i3d.evaluation.result import Evaluation, Metrics
from i3d.finetuning.data_issues import DataIssue

OVERFITTING = 0.15  # training accuracy above test accuracy
UNDERFITTING = 0.8  # training accuracy
WEAK = 0.5  # recall of a class
WIDE = 0.2  # 95 % interval
UNEVEN = 0.1  # top-1 above mean class accuracy
ONE_CLASS = 0.9  # fraction of the predictions


def diagnose(
    evaluation: Evaluation,
    metrics: Metrics,
    *,
    train_top1: float | None,
    issues: Sequence[DataIssue],
    is_cross_validated: bool = False,
) -> list[str]:
    """Sentences about an evaluation. `train_top1`: the accuracy on the training clips, if it is known."""
    if evaluation.multi_label:
        return [f"The mean average precision on {metrics.num_clips} clips is {metrics.mean_average_precision:.2f}."]
    sentences = [*_usefulness(evaluation, metrics), *_fit(metrics, train_top1), *_weak_classes(evaluation, metrics)]
    low, high = wilson(metrics.accuracy, metrics.num_clips)
    if high - low >= WIDE:
        sentences.append(
            f"The test has only {metrics.num_clips} clips: the 95 % interval of the accuracy is {low:.0%} to {high:.0%}"
            f"{'.' if is_cross_validated else '; --cv-folds 5 tests on all clips.'}"
        )
    if any(issue.kind in ("duplicates", "leak") for issue in issues):
        sentences.append("The scores may be too high: see the warnings about duplicates and leaks at the start.")
    return sentences or ["No problem was found."]


def _usefulness(evaluation: Evaluation, metrics: Metrics) -> Iterator[str]:
    assert metrics.largest_class is not None
    name = evaluation.classes[int(np.bincount(evaluation.class_N).argmax())]
    constant = f"always predicting {name!r} would give {metrics.largest_class:.0%}"
    comparison = f"a constant prediction: its accuracy is {metrics.accuracy:.0%}; {constant}"
    if metrics.largest_class == 1:
        yield f"All test clips are of one class, {name!r}: the test means little."
    elif metrics.accuracy <= metrics.largest_class:
        yield f"The model is no better than {comparison}."
    elif metrics.interval[0] <= metrics.largest_class:
        yield f"The model may be no better than {comparison}."
    predicted_K = np.bincount(evaluation.predicted_N)
    most, total = int(predicted_K.argmax()), len(evaluation.files_N)
    frequency = float((evaluation.class_N == most).mean())
    if total >= 4 and predicted_K[most] >= ONE_CLASS * total and frequency < ONE_CLASS * predicted_K[most] / total:
        name = evaluation.classes[most]
        yield f"It predicts {name!r} for {predicted_K[most]} of {total} clips: it does not distinguish the others."


def _fit(metrics: Metrics, train_top1: float | None) -> Iterator[str]:
    if train_top1 is not None and train_top1 - metrics.accuracy >= OVERFITTING:
        yield (
            f"It overfits: the accuracy is {train_top1:.0%} on training clips and {metrics.accuracy:.0%} on test "
            "clips. More and more varied training clips help most."
        )
    elif train_top1 is not None and train_top1 < UNDERFITTING:
        yield (
            f"It underfits: the accuracy on training clips is only {train_top1:.0%}. Check the labels; --train-layers "
            "last or all has more capacity."
        )


def _weak_classes(evaluation: Evaluation, metrics: Metrics) -> Iterator[str]:
    assert metrics.mean_class is not None
    assert metrics.by_class is not None
    assert metrics.confusion_KK is not None
    if metrics.accuracy - metrics.mean_class >= UNEVEN:
        yield (
            f"Rare classes are recognised worse: mean class accuracy is {metrics.mean_class:.0%}, top-1 "
            f"{metrics.accuracy:.0%}. Try --balance loss or sampler, or add clips of them."
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


def wilson(fraction: float, number: int) -> tuple[float, float]:
    """The 95 % score interval of Wilson (1927) for a fraction of `number`: wide for few clips, even if all are correct.

    wilson(1.0, 2)       (0.34, 1.0)
    """
    z = 1.96
    middle = fraction + z * z / (2 * number)
    reach = z * ((fraction * (1 - fraction) + z * z / (4 * number)) / number) ** 0.5
    scale = 1 + z * z / number
    return (middle - reach) / scale, min((middle + reach) / scale, 1.0)
