"""Losses, as pure functions of logits and targets.

Letters in names: N clips, K classes.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from i3d.recipes.training import Loss

Reduction = Literal["mean", "none"]


def cross_entropy(
    logits_NK: Tensor,
    targets: Tensor,
    loss: Loss,
    *,
    class_weights_K: Tensor | None = None,
    class_frequencies_K: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of clips, computed in float32 or better: its mean, or with "none" the loss (N) of each clip.

    `targets`: class numbers (N) int64, or soft targets (N, K) that add up to 1, as mixup makes them.
    `class_weights_K` weigh clips by their class; `class_frequencies_K` are for the logit adjustment.
    """
    logits_NK = logits_NK.float() if logits_NK.dtype in (torch.float16, torch.bfloat16) else logits_NK
    if loss.logit_adjustment and class_frequencies_K is not None:
        logits_NK = logits_NK + loss.logit_adjustment * class_frequencies_K.clamp_min(1e-9).log()
    if targets.dtype == torch.int64 and loss.focal_gamma:
        log_probability_N = F.log_softmax(logits_NK, dim=-1).gather(1, targets[:, None])[:, 0]
        weight_N = (1 - log_probability_N.exp()) ** loss.focal_gamma
        if class_weights_K is not None:
            weight_N = weight_N * class_weights_K[targets]
        losses_N = -weight_N * log_probability_N
        return losses_N.mean() if reduction == "mean" else losses_N
    smoothing = loss.label_smoothing
    return F.cross_entropy(logits_NK, targets, weight=class_weights_K, label_smoothing=smoothing, reduction=reduction)


def binary_cross_entropy(
    logits_NK: Tensor,
    targets_NK: Tensor,
    loss: Loss,
    *,
    class_weights_K: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross-entropy of multi-label clips: its mean over clips and classes, or with "none" that (N) of each clip.

    `targets_NK` are float rows of 0 and 1; `class_weights_K` weigh the positive targets of a class. Label smoothing
    spreads over the K classes as in the cross-entropy, and as in MMAction2: (1 - s) * target + s / K.
    """
    logits_NK = logits_NK.float() if logits_NK.dtype in (torch.float16, torch.bfloat16) else logits_NK
    smooth_NK = targets_NK * (1 - loss.label_smoothing) + loss.label_smoothing / targets_NK.shape[1]
    smooth_NK = smooth_NK.to(logits_NK.dtype)
    values_NK = F.binary_cross_entropy_with_logits(logits_NK, smooth_NK, pos_weight=class_weights_K, reduction="none")
    if loss.focal_gamma:
        right_NK = torch.where(targets_NK > 0.5, torch.sigmoid(logits_NK), torch.sigmoid(-logits_NK))
        values_NK = values_NK * (1 - right_NK) ** loss.focal_gamma
    return values_NK.mean() if reduction == "mean" else values_NK.mean(dim=1)


def balanced_weights(counts_K: npt.NDArray[np.int64]) -> Tensor:
    """Class weights inversely proportional to the class counts, with a mean of 1 over the clips. Absent classes: 0."""
    present_K = counts_K > 0
    weights_K = np.where(present_K, counts_K.sum() / (np.maximum(counts_K, 1) * max(present_K.sum(), 1)), 0.0)
    return torch.from_numpy(weights_K.astype(np.float32))
