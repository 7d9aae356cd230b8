"""Ranks the labels of clips by how little a classifier that has not read the clip believes them.

This is the rule of confident learning (Northcutt et al. 2021, arXiv:1911.00068). The confidence in a class is the mean
out-of-fold probability of the class over the clips that are labelled with it. A label looks wrong if another class is
the most probable one, and at least as probable as the confidence in it. All else is only a rank. With several labels
a clip, a class counts only if its clips have higher probabilities of it than the others have, by a rank test.

Letters in names: N clips, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.evaluation.metrics import class_targets

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Labels = Sequence[tuple[int, ...]]  # the class numbers of each clip
LISTED: Final = 5  # at least one of so many clips is listed
DEVIATIONS: Final = 1.96  # of the rank test: 2.5 % of the classes that nothing predicts pass it
Answer = tuple[float, tuple[int, ...], float]  # the probability of the label, the other label, the one it needs


@dataclass(frozen=True)
class SuspiciousLabel:
    """The label of a clip, and the most probable other one.

    With several labels a clip, the least probable answer counts, of those that name a predictable class or leave it
    out: `other` is the label with this answer changed.
    """

    index: int  # of the clip
    path: str  # as listed, with the part
    label: str
    probability: float  # out of fold
    other: str
    other_probability: float
    looks_wrong: bool


def rank_labels(
    probabilities_NK: Doubles,
    labels: Labels,
    known_N: Mask,
    *,
    names: Sequence[str],
    classes: Sequence[str],
    multi_label: bool = False,
) -> tuple[SuspiciousLabel, ...]:
    """The clips whose label the classifier of their fold knows (`known_labels`), the most suspicious label first.

    If no class of a multi-label set is predictable, all count.
    """
    is_judged_K = np.ones(len(classes), bool)
    if multi_label and (predictable_K := predictable_classes(probabilities_NK, labels, known_N)).any():
        is_judged_K = predictable_K
    targets_NK = class_targets(labels, len(classes)) > 0
    confidence_K = _confidence(probabilities_NK, targets_NK & known_N[:, None])
    absence_K = _confidence(1 - probabilities_NK, ~targets_NK & known_N[:, None])
    ranked = []
    for index in np.flatnonzero(known_N).tolist():
        probability_K = probabilities_NK[index]
        if multi_label:
            own, other, needed = _least_probable_answer(
                labels[index], probability_K, confidence_K, absence_K, is_judged_K
            )
            rival = 1 - own
        else:
            own, other, needed = _best_other_class(labels[index][0], probability_K, confidence_K)
            rival = float(probability_K[other[0]])
        label, instead = ("|".join(classes[k] for k in numbers) for numbers in (labels[index], other))
        looks_wrong = rival > own and rival >= needed
        ranked.append(SuspiciousLabel(index, names[index], label, own, instead, rival, looks_wrong))
    return tuple(sorted(ranked, key=lambda row: (row.probability, row.index)))


def most_suspicious(ranked: Sequence[SuspiciousLabel]) -> tuple[SuspiciousLabel, ...]:
    """The first fifth of them, rounded up, and all others that look wrong, in this order."""
    number = ceil(len(ranked) / LISTED)
    return (*ranked[:number], *(row for row in ranked[number:] if row.looks_wrong))


def predictable_classes(probabilities_NK: Doubles, labels: Labels, known_N: Mask) -> Mask:
    """Whether the clips of a class (K) have higher probabilities of it than the other clips, by the Mann-Whitney test.

    It is right for rare classes too, where always leaving the class out is nearly always correct.
    """
    num_classes = probabilities_NK.shape[1]
    targets_NK = class_targets(labels, num_classes)[known_N] > 0
    predictable_K = np.zeros(num_classes, bool)
    for k in range(num_classes):
        is_of_class_N = targets_NK[:, k]
        num_with, num_without = int(is_of_class_N.sum()), int((~is_of_class_N).sum())
        if num_with and num_without:
            _, place_N, counts = np.unique(probabilities_NK[known_N, k], return_inverse=True, return_counts=True)
            rank_N = (np.cumsum(counts) - (counts - 1) / 2)[place_N]  # the mean rank of equal probabilities
            wins = rank_N[is_of_class_N].sum() - num_with * (num_with + 1) / 2
            deviation = np.sqrt(num_with * num_without * (num_with + num_without + 1) / 12)
            predictable_K[k] = wins - num_with * num_without / 2 > DEVIATIONS * deviation
    return predictable_K


def known_labels(labels: Labels, folds_N: npt.NDArray[np.int64]) -> Mask:
    """Whether each class of a clip (N) has clips in other folds too: else its classifier cannot predict it."""
    folds: dict[int, set[int]] = {}
    for numbers, fold in zip(labels, folds_N.tolist(), strict=True):
        for k in numbers:
            folds.setdefault(k, set()).add(fold)
    return np.array([all(len(folds[k]) > 1 for k in numbers) for numbers in labels], bool)


def _confidence(probabilities_NK: Doubles, chosen_NK: Mask) -> Doubles:
    """The mean probability (K) of each class over the clips that are chosen for it; infinite without any."""
    num_K = chosen_NK.sum(axis=0)
    sum_K = np.where(chosen_NK, probabilities_NK, 0.0).sum(axis=0)
    confidence_K: Doubles = np.where(num_K > 0, sum_K / np.maximum(num_K, 1), np.inf)
    return confidence_K


def _best_other_class(label: int, probability_K: Doubles, confidence_K: Doubles) -> Answer:
    others_K = probability_K.copy()
    others_K[label] = -np.inf
    other = int(others_K.argmax())
    return float(probability_K[label]), (other,), float(confidence_K[other])


def _least_probable_answer(
    labels: tuple[int, ...], probability_K: Doubles, confidence_K: Doubles, absence_K: Doubles, is_judged_K: Mask
) -> Answer:
    is_labelled_K = np.isin(np.arange(len(probability_K)), labels)
    own_K = np.where(is_labelled_K, probability_K, 1 - probability_K)
    k = int(np.where(is_judged_K, own_K, np.inf).argmin())
    needed_K = np.where(is_labelled_K, absence_K, confidence_K)
    return float(own_K[k]), tuple(sorted({*labels} ^ {k})), float(needed_K[k])
