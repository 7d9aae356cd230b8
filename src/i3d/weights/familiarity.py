"""How far a clip is from the clips that a model was fitted on: their features, stored in its checkpoint.

A softmax over the classes of a model gives every clip a class, also one of something else. The distance to the nearest
training clip in feature space is judged by clips that were held out (Sun et al. 2022, arXiv:2204.06507).

A video of several clips is as far as they are on average. Letters in names: N training videos, M held-out videos, P
clips of a video (the mean of their crops), C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import torch

from i3d.errors import WeightsError
from i3d.weights.foreign.numbers import Array

FEATURES, DISTANCES = "familiarity.features", "familiarity.distances"  # state-dict keys, which no network has
MAX_CLIPS: Final = 2000  # training clips that are stored: 7 MB of 1,856 channels
BLOCK: Final = 1000  # clips whose distances are computed at once
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Features of training clips, and how far held-out clips are from them."""

    features_NC: npt.NDArray[np.float16] = field(repr=False)  # of unit length
    distances_M: Floats = field(repr=False)  # of each held-out video to the nearest training video, ascending

    @classmethod
    def from_clips(
        cls,
        features_NPC: Floats,
        groups_N: npt.NDArray[np.int64],
        is_training_N: npt.NDArray[np.bool_],
        *,
        seed: int = 0,
    ) -> Self | None:
        """Of all clips of a set; None: there is no second clip to compare with.

        Each clip is held out once: its distance is that to the nearest training clip of another group, or of another
        clip if all are one group. Of more than 2,000 training clips, so many are drawn.
        """
        training = np.flatnonzero(is_training_N)
        if len(training) > MAX_CLIPS:
            training = np.sort(np.random.default_rng((seed, 0xFA71)).choice(training, MAX_CLIPS, replace=False))
        if len(np.unique(groups_N)) < 2:
            groups_N = np.arange(len(features_NPC))
        stored_NC = unit_length(features_NPC[training].mean(axis=1)).astype(np.float16)
        distances = []
        for first in range(0, len(features_NPC), BLOCK):
            block = slice(first, first + BLOCK)
            distances_MPN = 1 - unit_length(features_NPC[block]) @ stored_NC.astype(np.float32).T
            is_same_MN = groups_N[block, None] == groups_N[None, training]
            distances_MPN[np.broadcast_to(is_same_MN[:, None], distances_MPN.shape)] = np.inf
            distances.append(distances_MPN.min(axis=2, initial=np.inf).mean(axis=1))
        distances_M = np.sort(np.concatenate(distances)).astype(np.float32)
        distances_M = distances_M[np.isfinite(distances_M)]
        return cls(stored_NC, distances_M) if len(distances_M) else None

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], *, num_channels: int, name: str) -> Self | None:
        """That of a checkpoint, if it has one. Tensors of another form are a WeightsError."""
        if FEATURES not in arrays and DISTANCES not in arrays:
            return None
        features_NC, distances_M = (arrays.get(key, np.zeros(0)) for key in (FEATURES, DISTANCES))
        is_valid = features_NC.ndim == 2 and features_NC.shape[1] == num_channels and distances_M.ndim == 1
        is_valid = is_valid and features_NC.dtype == np.float16 and distances_M.dtype == np.float32
        if not is_valid or not features_NC.size or not distances_M.size:
            raise WeightsError(f"{name}: {FEATURES} and {DISTANCES} have another form than i3d writes; copy it again")
        if not (np.isfinite(features_NC).all() and np.isfinite(distances_M).all()):
            raise WeightsError(f"{name}: {FEATURES} or {DISTANCES} holds NaN or infinity; copy it again")
        return cls(features_NC, np.sort(distances_M))

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """As a checkpoint has them."""
        return {FEATURES: torch.from_numpy(self.features_NC), DISTANCES: torch.from_numpy(self.distances_M)}

    def fraction_as_far(self, features_PC: Floats) -> float:
        """The fraction of the held-out videos that are at least as far as a video, from the features of its clips."""
        distances_P = 1 - (unit_length(features_PC) @ self.features_NC.astype(np.float32).T).max(axis=1)
        return float((self.distances_M >= distances_P.mean()).mean())


def mean_of_crops(features_VC: Floats, num_crops: int) -> Floats:
    """The features (P, C) of clips, of views that are clip by clip, each with so many crops."""
    means_PC: Floats = features_VC.reshape(-1, num_crops, features_VC.shape[1]).mean(axis=1)
    return means_PC


def unit_length(features_NC: Floats) -> Floats:
    """Rows, or one row, divided by their Euclidean norm."""
    norms_N1 = np.linalg.norm(features_NC, axis=-1, keepdims=True)
    scaled_NC: Floats = (features_NC / np.maximum(norms_N1, 1e-12)).astype(np.float32)
    return scaled_NC
