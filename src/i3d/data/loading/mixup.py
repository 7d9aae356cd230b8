"""Mixup and CutMix: blend pairs of clips of a batch, and their targets in the same proportion.

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

import numpy as np
import torch

from i3d.recipes.augmentation import Mixup


def mix_clips(
    clips_NCTHW: torch.Tensor, targets_NK: torch.Tensor, mixup: Mixup, *, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each clip with another of its batch, on any device and of any number type.

    Mixup (Zhang et al. 2018) interpolates the two with a weight from a beta distribution. CutMix (Yun et al. 2019)
    replaces a box, the same in all frames, by that of the other clip; the weight is the fraction of pixels that remain.
    If both are on, each batch draws one of them. `targets_NK` are float rows such as one-hot vectors. With both off,
    clips and targets are returned unchanged.
    """
    if clips_NCTHW.ndim != 5 or targets_NK.ndim != 2 or len(clips_NCTHW) != len(targets_NK):
        raise ValueError(f"mix_clips needs (N, C, T, H, W) and (N, K), got {clips_NCTHW.shape} and {targets_NK.shape}")
    alphas = {"mixup": mixup.mixup_alpha, "cutmix": mixup.cutmix_alpha}
    kinds = [kind for kind, alpha in alphas.items() if alpha > 0]
    if not kinds:
        return clips_NCTHW, targets_NK
    kind = kinds[int(rng.integers(len(kinds)))]
    weight = float(rng.beta(alphas[kind], alphas[kind]))
    partner_N = torch.from_numpy(rng.permutation(len(clips_NCTHW))).to(clips_NCTHW.device)
    if kind == "mixup":
        mixed_NCTHW = torch.lerp(clips_NCTHW[partner_N], clips_NCTHW, weight)
    else:
        top, left, bottom, right = _box(*clips_NCTHW.shape[-2:], fraction=1 - weight, rng=rng)
        mixed_NCTHW = clips_NCTHW.clone()
        mixed_NCTHW[..., top:bottom, left:right] = clips_NCTHW[partner_N][..., top:bottom, left:right]
        weight = 1 - (bottom - top) * (right - left) / (clips_NCTHW.shape[-2] * clips_NCTHW.shape[-1])
    return mixed_NCTHW, torch.lerp(targets_NK[partner_N], targets_NK, weight)


def _box(height: int, width: int, *, fraction: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """top, left, bottom, right of a box at a random place, clipped at the borders of the frame.

    Before it is clipped it has the aspect ratio of the frame and this fraction of its pixels.
    """
    half_y, half_x = height * fraction**0.5 / 2, width * fraction**0.5 / 2
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    top, left = max(round(y - half_y), 0), max(round(x - half_x), 0)
    return top, left, min(round(y + half_y), height), min(round(x + half_x), width)
