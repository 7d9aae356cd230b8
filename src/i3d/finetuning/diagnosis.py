"""What came out, in plain words: is the model any good, what is wrong with it, what would help."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from i3d.evaluation.result import Evaluation, Metrics
from i3d.finetuning.data_issues import DataIssue

OVER_FIT = 0.15  # what clips of training are recognised better than others
WEAK = 0.5  # recall of a class
WIDE = 0.2  # of the 95 % interval
UNEVEN = 0.1  # top-1 above the mean over classes
ONE_CLASS = 0.9  # of what is said


def diagnose(
    evaluation: Evaluation,
    figures: Metrics,
    *,
    trained: float | None,
    troubles: Sequence[DataIssue],
    is_of_all: bool = False,
) -> list[str]:
    """Sentences on an evaluation. `trained`: the accuracy on the clips of training, if it is known.

    `is_of_all`: every clip was held out once, so that there are no more to test on.
    """
    if evaluation.multi_label:
        return [f"The mean average precision is {figures.mean_average_precision:.2f} on {figures.num_clips} clips."]
    assert figures.top1 is not None
    assert figures.top1_interval is not None
    assert figures.largest_class is not None
    found = [
        *_worth(evaluation, figures),
        *_one_class(evaluation),
        *_fit(figures.top1, trained),
        *_uneven(figures),
        *_weak(evaluation, figures),
        *_small(figures, is_of_all=is_of_all),
    ]
    if any(trouble.kind in ("duplicates", "leak") for trouble in troubles):
        found.append("These scores may be too good: see what was said of the clips at the start.")
    return found or ["Nothing is wrong that could be seen."]


def _worth(evaluation: Evaluation, figures: Metrics) -> list[str]:
    assert figures.top1 is not None
    assert figures.top1_interval is not None
    assert figures.largest_class is not None
    counts_K = np.bincount(evaluation.class_N, minlength=len(evaluation.classes))
    always = (
        f"always saying {evaluation.classes[int(counts_K.argmax())]!r} would be right for {figures.largest_class:.0%}"
    )
    if figures.largest_class == 1:
        name = evaluation.classes[int(counts_K.argmax())]
        return [f"All clips that were held out are of one class, {name!r}: they tell little."]
    if figures.top1 <= figures.largest_class:
        return [f"The model is useless as it is: it is right for {figures.top1:.0%}, and {always}."]
    if figures.top1_interval[0] <= figures.largest_class:
        return [f"It is not sure that the model is of any use: it is right for {figures.top1:.0%}, and {always}."]
    return []


def _one_class(evaluation: Evaluation) -> list[str]:
    said_K = np.bincount(evaluation.scores_NK.argmax(axis=1), minlength=len(evaluation.classes))
    most, total = int(said_K.argmax()), len(evaluation.files_N)
    there = float((evaluation.class_N == most).mean())
    if total >= 4 and said_K[most] >= ONE_CLASS * total and there < ONE_CLASS * said_K[most] / total:
        name = evaluation.classes[most]
        return [f"It says {name!r} to {said_K[most]} of {total} clips: it has not learnt to tell the others apart."]
    return []


def _fit(top1: float, trained: float | None) -> list[str]:
    if trained is None:
        return []
    if trained - top1 >= OVER_FIT:
        return [
            f"It over-fits: its own clips are right for {trained:.0%}, new ones for {top1:.0%}. More clips, and more "
            "different ones, help most."
        ]
    if trained < 0.8:
        return [
            f"It under-fits: even of the clips that it learnt, it knows {trained:.0%}. Are the labels right? "
            "--finetune last or all learns more."
        ]
    return []


def _uneven(figures: Metrics) -> list[str]:
    assert figures.top1 is not None
    assert figures.mean_class is not None
    if figures.top1 - figures.mean_class < UNEVEN:
        return []
    return [
        f"Rare classes are recognised worse: the mean over classes is {figures.mean_class:.0%}, over clips "
        f"{figures.top1:.0%}. Try --balance loss or sampler, or more clips of them."
    ]


def _weak(evaluation: Evaluation, figures: Metrics) -> list[str]:
    assert figures.by_class is not None
    assert figures.confusion_KK is not None
    weak = [k for k in np.argsort(figures.by_class.recall_K) if figures.by_class.recall_K[k] < WEAK][:3]
    told = []
    for k in weak:
        wrong_K = figures.confusion_KK[k].copy()
        wrong_K[k] = 0
        said = f", most often taken for {evaluation.classes[int(wrong_K.argmax())]!r}" if wrong_K.any() else ""
        right, there = int(figures.confusion_KK[k, k]), int(figures.by_class.num_clips_K[k])
        told.append(f"{evaluation.classes[k]!r} ({right} of {there} right{said})")
    return [f"Weakest: {'; '.join(told)}."] if told else []


def _small(figures: Metrics, *, is_of_all: bool) -> list[str]:
    assert figures.top1 is not None
    low, high = wilson(figures.top1, figures.num_clips)
    if high - low < WIDE:
        return []
    return [
        f"{figures.num_clips} clips are few to test on: the accuracy on others like them may be anything from "
        f"{low:.0%} to {high:.0%}{'.' if is_of_all else '; --folds 5 tests on all.'}"
    ]


def wilson(share: float, number: int) -> tuple[float, float]:
    """The 95 % interval of Wilson (1927) for a share of so many: wide for few clips, even if all are right.

    wilson(1.0, 2)       (0.34, 1.0)
    """
    z = 1.96
    middle, reach = share + z * z / (2 * number), z * ((share * (1 - share) + z * z / (4 * number)) / number) ** 0.5
    scale = 1 + z * z / number
    return (middle - reach) / scale, min((middle + reach) / scale, 1.0)
