"""Chooses a classifier by clips that it was not fitted on, and calibrates it.

Cross-validation by group compares linear classifiers of several penalties, discriminant analysis with a shrunk
covariance, and class means, each with the temperature that suits it (Guo et al. 2017, arXiv:1706.04599): the highest
likelihood of the held-out clips wins. Of N clips each label is taken as right with the probability (N + 1) / (N + 2),
as by Platt (1999): twenty clips that are all right do not prove that the next one is. The temperature is part of the
weights of the chosen classifier, so its probabilities are calibrated without further code.

Letters in names: M candidates, A temperatures, R rows (views of clips), N clips, K classes.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.evaluation.scoring import sigmoid, softmax
from i3d.finetuning.classifier import (
    DesignMatrix,
    Doubles,
    Head,
    fit_discriminant,
    fit_linear,
    fit_penalties,
    fit_prototypes,
)
from i3d.finetuning.options import HeadKind
from i3d.recipes.training import Loss

PENALTIES: Final = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)  # from strong to weak
TEMPERATURES: Final = tuple(np.geomspace(0.5, 256.0, 37).tolist())  # below 1: the classifier is too cautious
MAX_LINEAR: Final = 4.0  # temperature of a linear classifier; more of it is a stronger penalty
NUM_FOLDS: Final = 5
LEAST: Final = 1e-12  # a probability of 0 would be infinitely unlikely


@dataclass(frozen=True)
class Candidate:
    """A classifier before it is fitted: linear with a penalty, or class means (`penalty` is None)."""

    penalty: float | None
    temperature: float = 1.0
    log_likelihood: float = float("nan")  # mean of the held-out clips; NaN: none could be held out
    has_covariance: bool = False  # class means and how features vary within classes: discriminant analysis

    def __str__(self) -> str:
        name = "class means (prototypes)" if self.penalty is None else f"linear, L2 penalty {self.penalty:g}"
        name = "discriminant analysis, shrunk covariance" if self.has_covariance else name
        return f"{name}, temperature {self.temperature:.2g}"


def candidates(kind: HeadKind) -> list[Candidate]:
    """The classifiers of a kind."""
    linear = [Candidate(penalty) for penalty in PENALTIES]
    means = [Candidate(None, has_covariance=True), Candidate(None)]
    return {"linear": linear, "prototype": means[1:], "auto": [*linear, *means]}[kind]


def fit_candidate(rows: DesignMatrix, loss: Loss, candidate: Candidate, *, multi_label: bool = False) -> Head:
    """The classifier, fitted to rows, with its temperature."""
    if candidate.penalty is None:
        head = fit_discriminant(rows) if candidate.has_covariance else fit_prototypes(rows)
    else:
        head = fit_linear(rows, loss, penalty=candidate.penalty, multi_label=multi_label)
    return head.divided(candidate.temperature)


def select_classifier(
    rows: DesignMatrix, loss: Loss, kind: HeadKind, *, multi_label: bool = False, seed: int = 0
) -> Candidate:
    """The candidate and temperature of the highest likelihood in cross-validation by group.

    Groups are divided into folds at random, by the seed. Clips of a class that a fold does not train on do not count.
    Where nothing can be held out, it is the last candidate (class means, if there is a choice), or the middle penalty.
    """
    compared = candidates(kind)
    folds_R = _folds(rows, seed)
    doubt = 1 / (len(np.unique(rows.clips_R)) + 2)
    likelihood_MA, total = np.zeros((len(compared), len(TEMPERATURES))), 0.0
    for fold in np.unique(folds_R):
        held, rest = rows.select(folds_R == fold), rows.select(folds_R != fold)
        is_known_K: npt.NDArray[np.bool_] = np.asarray(rest.targets_RK.any(axis=0))
        is_known_R: npt.NDArray[np.bool_] = np.all((held.targets_RK > 0) <= is_known_K, axis=1)
        held = held.select(is_known_R)
        if len(held.weights_R) and len(rest.weights_R):
            for m, head in enumerate(_fit_all(rest, loss, compared, multi_label=multi_label)):
                logits_RK = head.logits(held.features_RC)
                for a, temperature in enumerate(TEMPERATURES):
                    likelihood_MA[m, a] += _log_likelihood(
                        logits_RK / temperature, held, is_known_K, doubt=doubt, multi_label=multi_label
                    )
            total += float(held.weights_R.sum())
    if not total:
        return compared[-1] if kind != "linear" else compared[len(compared) // 2]
    is_allowed_MA = [[one.penalty is None or t <= MAX_LINEAR for t in TEMPERATURES] for one in compared]
    likelihood_MA = np.where(is_allowed_MA, likelihood_MA, -np.inf)
    m, a = divmod(int(np.argmax(likelihood_MA)), len(TEMPERATURES))
    return replace(compared[m], temperature=TEMPERATURES[a], log_likelihood=float(likelihood_MA[m, a]) / total)


def _folds(rows: DesignMatrix, seed: int) -> npt.NDArray[np.int64]:
    """The fold (R) of each row; with a single group, one."""
    groups, group_R = np.unique(rows.groups_R, return_inverse=True)
    folds_G = np.random.default_rng((seed, 0xF01D)).permutation(len(groups)) % min(NUM_FOLDS, len(groups))
    folds_R: npt.NDArray[np.int64] = folds_G[group_R]
    return folds_R


def _fit_all(rows: DesignMatrix, loss: Loss, compared: list[Candidate], *, multi_label: bool) -> list[Head]:
    penalties = [candidate.penalty for candidate in compared if candidate.penalty is not None]
    heads = fit_penalties(rows, loss, penalties, multi_label=multi_label) if penalties else []
    others = [candidate for candidate in compared if candidate.penalty is None]
    return heads + [fit_candidate(rows, loss, candidate) for candidate in others]


def _log_likelihood(
    logits_RK: Doubles, rows: DesignMatrix, is_known_K: npt.NDArray[np.bool_], *, doubt: float, multi_label: bool
) -> float:
    """The sum of the log-likelihoods of the clips, by their weights; of several labels, the mean over the classes.

    `doubt` is the probability that a label is wrong; all other classes that were trained on share it.
    """
    _, first_N, clip_R, num_views_N = np.unique(
        rows.clips_R, return_index=True, return_inverse=True, return_counts=True
    )
    probabilities_NK = np.zeros((len(first_N), logits_RK.shape[1]))
    np.add.at(probabilities_NK, clip_R, sigmoid(logits_RK) if multi_label else softmax(logits_RK))
    probabilities_NK /= num_views_N[:, None]  # as a test averages its views
    targets_NK, weights_N = rows.targets_RK[first_N], np.bincount(clip_R, weights=rows.weights_R)
    if multi_label:
        right_NK = np.where(targets_NK > 0, probabilities_NK, 1 - probabilities_NK)
        logs_NK = (1 - doubt) * np.log(np.maximum(right_NK, LEAST)) + doubt * np.log(np.maximum(1 - right_NK, LEAST))
        return float(weights_N @ logs_NK.mean(axis=1))
    doubted_NK = np.where(targets_NK > 0, 1 - doubt, is_known_K * doubt / max(int(is_known_K.sum()) - 1, 1))
    return float(weights_N @ (doubted_NK * np.log(np.maximum(probabilities_NK, LEAST))).sum(axis=1))
