"""Linear classifiers on features, fitted to their optimum in float64.

`selection` chooses between them.

Letters in names: R rows (views of clips), N clips, C channels, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from i3d.recipes.training import Loss
from i3d.training.losses import binary_cross_entropy, cross_entropy
from i3d.utils.device import one_thread

Doubles = npt.NDArray[np.float64]
TOLERANCE: Final = 1e-8  # of the gradient
ROUGH: Final = 1e-4  # the same, while penalties are compared
ABSENT: Final = -100.0  # the bias of a class without clips: it is never predicted
MAX_ITERATIONS: Final = 2000
SHRINKAGE: Final = 0.5  # of the covariance of discriminant analysis, towards the same variance of all features


@dataclass(frozen=True, eq=False)
class DesignMatrix:
    """Views of clips as rows of a design matrix. Clips of a group are held out together."""

    features_RC: Doubles
    targets_RK: Doubles  # rows of 0 and 1
    weights_R: Doubles
    clips_R: npt.NDArray[np.int64]  # the clip that a row is a view of
    groups_R: npt.NDArray[np.int64]  # all views of a clip have one group

    def select(self, chosen_R: npt.NDArray[np.bool_]) -> Self:
        return type(self)(*(getattr(self, field.name)[chosen_R] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classifier: logits = features @ weight_KC.T + bias_K."""

    weight_KC: Doubles
    bias_K: Doubles

    def logits(self, features_RC: npt.ArrayLike) -> Doubles:
        """Logits (R, K)."""
        logits_RK: Doubles = np.asarray(features_RC, np.float64) @ self.weight_KC.T + self.bias_K
        return logits_RK

    def divided(self, temperature: float) -> Self:
        """The classifier whose logits are divided by a temperature."""
        return type(self)(self.weight_KC / temperature, self.bias_K / temperature)


def fit_linear(rows: DesignMatrix, loss: Loss, *, penalty: float, multi_label: bool = False) -> Head:
    """Minimise the weighted mean loss plus `penalty / 2` times the squared norm of the weights, by L-BFGS.

    Features are standardised first; the bias is not penalised. The minimum is unique, except with a focal loss.
    """
    return fit_penalties(rows, loss, [penalty], multi_label=multi_label, tolerance=TOLERANCE)[0]


def fit_penalties(
    rows: DesignMatrix, loss: Loss, penalties: Sequence[float], *, multi_label: bool, tolerance: float = ROUGH
) -> list[Head]:
    """`fit_linear` with each penalty, each started from the one before; quickly, to compare them.

    The optimal weights are linear combinations of the rows: the search is in the subspace that the rows span.
    """
    mean_C, std_C = feature_scale(rows)
    left_RD, singular_D, basis_DC = np.linalg.svd((rows.features_RC - mean_C) / std_C, full_matrices=False)
    features_RD = torch.from_numpy(left_RD * singular_D)
    targets_RK = torch.from_numpy(rows.targets_RK)
    normalised_R = torch.from_numpy(rows.weights_R / rows.weights_R.sum())
    frequencies_K = (normalised_R @ targets_RK).clamp_min(1e-9)
    weight_KD = torch.zeros(targets_RK.shape[1], len(singular_D), dtype=torch.float64, requires_grad=True)
    bias_K = torch.zeros(targets_RK.shape[1], dtype=torch.float64, requires_grad=True)
    heads = []
    for penalty in penalties:
        optimizer = torch.optim.LBFGS(
            [weight_KD, bias_K], max_iter=MAX_ITERATIONS, tolerance_grad=tolerance, tolerance_change=1e-12,
            history_size=20, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def step(penalty: float = penalty, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            logits_RK = features_RD @ weight_KD.T + bias_K
            losses_R = _losses(logits_RK, targets_RK, loss, frequencies_K, multi_label=multi_label)
            value: Tensor = normalised_R @ losses_R + 0.5 * penalty * weight_KD.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        with one_thread():  # thousands of small products: threads would wait for each other
            optimizer.step(step)  # type: ignore[no-untyped-call]
        scaled_KC = weight_KD.detach().numpy() @ basis_DC / std_C
        heads.append(Head(scaled_KC, bias_K.detach().numpy() - scaled_KC @ mean_C))
    return heads


def feature_scale(rows: DesignMatrix) -> tuple[Doubles, Doubles]:
    """Weighted mean and standard deviation of each feature; a constant feature has deviation 1."""
    normalised_R = rows.weights_R / rows.weights_R.sum()
    mean_C: Doubles = normalised_R @ rows.features_RC
    std_C: Doubles = np.sqrt(normalised_R @ np.square(rows.features_RC - mean_C))
    return mean_C, np.where(std_C > 1e-6 * max(float(std_C.max()), 1e-12), std_C, 1.0)


def fit_prototypes(rows: DesignMatrix) -> Head:
    """The nearest class mean of standardised features, as a linear classifier: for very few clips.

    Class means shrink towards the mean of all clips, the more the fewer clips the class has. The scale of the logits
    maximises the likelihood of the clips. A class without clips is never predicted.
    """
    mean_C, std_C = feature_scale(rows)
    scaled_RC = (rows.features_RC - mean_C) / std_C
    weights_RK = rows.weights_R[:, None] * rows.targets_RK
    counts_K = weights_RK.sum(axis=0)
    means_KC = (weights_RK.T @ scaled_RC) / np.maximum(counts_K, 1e-12)[:, None]
    means_KC *= (counts_K / (counts_K + 1))[:, None]
    plain_RK = scaled_RC @ means_KC.T - 0.5 * np.square(means_KC).sum(axis=1)
    scales = np.geomspace(1e-4, 1, 33)
    normalised_R = rows.weights_R / rows.weights_R.sum()
    targets_RK = torch.from_numpy(rows.targets_RK)
    losses = [F.cross_entropy(torch.from_numpy(s * plain_RK), targets_RK, reduction="none").numpy() for s in scales]
    values = [float(normalised_R @ losses_R) for losses_R in losses]
    scale = float(scales[int(np.argmin(values))])
    weight_KC = scale * means_KC / std_C
    bias_K = -0.5 * scale * np.square(means_KC).sum(axis=1) - weight_KC @ mean_C
    return Head(weight_KC, np.where(counts_K > 0, bias_K, ABSENT))


def fit_discriminant(rows: DesignMatrix) -> Head:
    """Linear discriminant analysis with a shrunk covariance: class means, and how features vary together in a class.

    The covariance of standardised features within classes is averaged with the same variance for all (Friedman 1989
    with a factor of 1/2). A direction in which clips of one class differ counts less, as the colour of a background
    does. A class without clips is never predicted. The logits are not calibrated.
    """
    mean_C, std_C = feature_scale(rows)
    scaled_RC = (rows.features_RC - mean_C) / std_C
    normalised_R = rows.weights_R / rows.weights_R.sum()
    weights_RK = normalised_R[:, None] * rows.targets_RK
    counts_K = weights_RK.sum(axis=0)
    means_KC = (weights_RK.T @ scaled_RC) / np.maximum(counts_K, 1e-12)[:, None]
    _, singular_D, basis_DC = np.linalg.svd(scaled_RC, full_matrices=False)
    basis_DC = basis_DC[singular_D > 1e-8 * max(float(singular_D.max()), 1e-12)]  # means and clips lie in this subspace
    residuals_RD, means_KD = (scaled_RC - rows.targets_RK @ means_KC) @ basis_DC.T, means_KC @ basis_DC.T
    covariance_DD = (residuals_RD * normalised_R[:, None]).T @ residuals_RD
    variance = max(float(np.trace(covariance_DD)) / scaled_RC.shape[1], 1e-12)
    shrunk_DD = (1 - SHRINKAGE) * covariance_DD + SHRINKAGE * variance * np.eye(len(covariance_DD))
    weight_KD = np.linalg.solve(shrunk_DD, means_KD.T).T
    weight_KC = weight_KD @ basis_DC / std_C
    bias_K = -0.5 * (weight_KD * means_KD).sum(axis=1) - weight_KC @ mean_C
    return Head(weight_KC, np.where(counts_K > 0, bias_K, ABSENT))


def _losses(logits_RK: Tensor, targets_RK: Tensor, loss: Loss, frequencies_K: Tensor, *, multi_label: bool) -> Tensor:
    """The loss (R) of each row."""
    if multi_label:
        return binary_cross_entropy(logits_RK, targets_RK, loss, reduction="none")
    targets = targets_RK.argmax(dim=1) if loss.focal_gamma else targets_RK
    return cross_entropy(logits_RK, targets, loss, class_frequencies_K=frequencies_K, reduction="none")
