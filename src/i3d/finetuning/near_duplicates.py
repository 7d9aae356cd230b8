"""Pairs of clips that may be of one source (a video, a scene, a camera), by the features of their views.

    near_duplicates(features.values_NVC, labels, groups_N)      # {(3, 17): 0.95, (4, 5): 0.6}, the most alike first

The similarity of two clips is the cosine of their standardised features without the mean of their class, of the most
similar pair of views. A pair of clips of different groups is near-duplicate if both of this holds:

- Its similarity is more than half-way from that of unrelated clips to that of a clip with its own other view, such as
  its mirror image. A clip with one view is as similar to itself as possible.
- It stands out from the similarities that each of both clips has to all clips, so far that only one such pair is
  expected in twenty sets of unrelated clips, if similarities are normally distributed. Without this, all clips of one
  camera would be near-duplicates, and so would chance pairs of many clips.

Both scales come from the clips. What unrelated clips have is the median, its deviation the median absolute deviation.
Letters in names: N clips, V views, C channels, B clips of a block, R views of all clips.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pair = tuple[int, int]

HALF_WAY: Final = 0.5  # from unrelated clips (0) to another view of the same clip (1)
EXPECTED_BY_CHANCE: Final = 0.05  # pairs of a whole set
SHRINKAGE: Final = 1.0  # clips; the mean of a class of one clip is taken as half of it
NORMAL_DEVIATION: Final = 1.4826  # of a normal distribution, by its median absolute deviation
BLOCK: Final = 256  # clips that are compared with all others at once
MAX_CLIPS: Final = 20_000  # one minute on two cores; above, the time grows with the square
LEAST: Final = 1e-6


def near_duplicates(
    values_NVC: Floats, labels: Sequence[tuple[int, ...]], groups_N: npt.NDArray[np.int64]
) -> dict[Pair, float]:
    """Pairs (first, second) of clips of different groups, the most alike first.

    The value is the place between unrelated clips (0) and another view of the same clip (1).
    """
    if not 1 < len(values_NVC) <= MAX_CLIPS:
        return {}
    directions_NVC = _directions(values_NVC, labels)
    num_clips = len(directions_NVC)
    threshold = NormalDist().inv_cdf(1 - min(EXPECTED_BY_CHANCE / (num_clips * (num_clips - 1) / 2), 0.5))
    middle_N, deviation_N = np.zeros(num_clips), np.zeros(num_clips)
    similarity: dict[Pair, float] = {}
    for first in range(0, num_clips, BLOCK):
        similarity_BN = _similarities(directions_NVC[first : first + BLOCK], directions_NVC)
        block = np.arange(first, first + len(similarity_BN))
        middle_N[block], deviation_N[block] = _background(similarity_BN, block)
        # The mean of both scores reaches the threshold only if one of them does.
        is_far_BN = similarity_BN - middle_N[block, None] >= threshold * deviation_N[block, None]
        is_far_BN &= groups_N[block, None] != groups_N[None]
        for b, other in np.argwhere(is_far_BN).tolist():
            index = first + b
            similarity[min(index, other), max(index, other)] = float(similarity_BN[b, other])
    own_N = _own_similarity(directions_NVC)
    degree = {}
    for (one, other), value in similarity.items():
        both = [one, other]
        above = value - middle_N[both].mean()
        score = float(np.mean((value - middle_N[both]) / deviation_N[both]))
        degree[one, other] = float(above / max(own_N[both].mean() - middle_N[both].mean(), LEAST))
        if score < threshold or degree[one, other] < HALF_WAY:
            del degree[one, other]
    return dict(sorted(degree.items(), key=lambda item: (-item[1], item[0])))


def _directions(values_NVC: Floats, labels: Sequence[tuple[int, ...]]) -> Floats:
    """Standardised features without the mean of their class, of length 1; a constant view is 0."""
    centred_NVC: Floats = values_NVC - values_NVC.mean(axis=(0, 1))
    classes: dict[tuple[int, ...], list[int]] = {}
    for index, clip_labels in enumerate(labels):
        classes.setdefault(tuple(sorted(clip_labels)), []).append(index)
    for indices in classes.values():
        fraction = len(indices) / (len(indices) + SHRINKAGE)
        centred_NVC[indices] -= fraction * centred_NVC[indices].mean(axis=(0, 1))
    scale_C = centred_NVC.std(axis=(0, 1))
    centred_NVC /= np.where(scale_C > LEAST * max(float(scale_C.max()), LEAST), scale_C, np.inf)
    length_NV1 = np.linalg.norm(centred_NVC, axis=2, keepdims=True)
    centred_NVC /= np.where(length_NV1 > LEAST, length_NV1, np.inf)
    return centred_NVC


def _similarities(directions_BVC: Floats, directions_NVC: Floats) -> Floats:
    """The similarity (B, N) of the most similar views of two clips."""
    (block, views, _), num_clips = directions_BVC.shape, len(directions_NVC)
    channels = directions_NVC.shape[2]
    cosines_RR = directions_BVC.reshape(-1, channels) @ directions_NVC.reshape(-1, channels).T
    similarity_BN: Floats = cosines_RR.reshape(block, views, num_clips, -1).max(axis=(1, 3))
    return similarity_BN


def _background(similarity_BN: Floats, block: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The median of each clip's similarity to the other clips, and the deviation."""
    others_BN = similarity_BN.copy()
    others_BN[np.arange(len(block)), block] = np.nan  # with itself
    middle_B = np.nanmedian(others_BN, axis=1)
    deviation_B = NORMAL_DEVIATION * np.nanmedian(np.abs(others_BN - middle_B[:, None]), axis=1)
    return middle_B, np.maximum(deviation_B, LEAST)


def _own_similarity(directions_NVC: Floats) -> Floats:
    """The highest similarity of two different views of a clip; 1 of a single one."""
    num_views = directions_NVC.shape[1]
    if num_views == 1:
        return np.ones(len(directions_NVC), np.float32)
    cosines_NVV = directions_NVC @ directions_NVC.transpose(0, 2, 1)
    cosines_NVV[:, np.arange(num_views), np.arange(num_views)] = -np.inf
    own_N: Floats = cosines_NVV.max(axis=(1, 2))
    return own_N
