"""The rows of MMAction2's localizers: 100 of each video, whatever its length.

Row k stands for the times from k / 100 to (k + 1) / 100 of the frames that whole units of 16 cover, as the anchors of
BSN and BMN have it. Letters in names: R rows, E ends of rows, P pieces, K places in time, C channels.
"""

from dataclasses import replace
from itertools import pairwise
from math import ceil, floor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from i3d.errors import VideoError
from i3d.features.extractor import Row, VideoFeatures

NUM_ROWS: Final = 100  # temporal_dim
UNIT: Final = 16  # frames: feature_extraction_interval, by which the localizers turn rows into seconds


def covered_frames(num_frames: int) -> int:
    """The frames of a video that the rows cover: whole units."""
    return num_frames // UNIT * UNIT


def rescale(features: VideoFeatures, name: str, *, fps: float) -> VideoFeatures:
    """The features (R, C) of a video as 100 rows: in each the mean, between neighbouring rows interpolated linearly.

    Before the middle of the first row and after that of the last one, its features are repeated.
    """
    num_frames = covered_frames(features.num_frames)
    if not num_frames:
        why = f"it has {features.num_frames} frames, and MMAction2's localizers count in units of {UNIT}"
        raise VideoError(name, why, "leave it out, or choose a higher --fps")
    centres_R = np.array([(row.first + row.stop) / 2 for row in features.rows])
    ends_E = np.linspace(0, num_frames, NUM_ROWS + 1)
    bounds = [(float(first), float(stop)) for first, stop in pairwise(ends_E)]
    return replace(
        features,
        values=mean_between(centres_R, features.values, ends_E).astype(np.float32),
        rows=tuple(Row(floor(first), ceil(stop)) for first, stop in bounds),
        seconds=tuple((first / fps, stop / fps) for first, stop in bounds),
    )


def mean_between(
    places_R: npt.NDArray[np.float64], values_RC: npt.NDArray[Any], ends_E: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The mean (E - 1, C) of the line through values at ascending places, from each end to the next one."""
    inside = places_R[(places_R > ends_E[0]) & (places_R < ends_E[-1])]
    places_K = np.unique(np.concatenate([ends_E, inside]))
    before = np.clip(np.searchsorted(places_R, places_K, "right") - 1, 0, len(places_R) - 1)
    after = np.minimum(before + 1, len(places_R) - 1)
    gap_K = np.where(after > before, places_R[after] - places_R[before], 1.0)
    weight_K1 = np.clip((places_K - places_R[before]) / gap_K, 0, 1)[:, None]
    values_KC = (1 - weight_K1) * values_RC[before] + weight_K1 * values_RC[after]
    areas_PC = (values_KC[1:] + values_KC[:-1]) / 2 * np.diff(places_K)[:, None]
    sums = np.add.reduceat(areas_PC, np.searchsorted(places_K, ends_E[:-1]), axis=0)
    means: npt.NDArray[np.float64] = sums / np.diff(ends_E)[:, None]
    return means
