"""How far a map can be trusted: deletion and insertion (Petsiuk et al. 2018, arXiv:1806.07421) beside random maps.

Deletion: the places of the view are replaced, those with the highest numbers of the map first; the score should fall at
once. Insertion: the same places return first to a view that lacks all; the score should rise at once. Both are areas
under the curve of the score over the fraction of places. A random map is the map itself, moved by random numbers of
cells along time, rows and columns, and wrapped around: the same spots at other places. A place is what one number of
the map stands for; it is replaced by the mean of all frames, blurred, which has neither motion nor detail (of flow: by
"no motion").

Letters in names: T frames, H rows, W columns, C channels, R random maps, P points of a curve.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from i3d.evaluation.occlusion import FLOW_CHANNELS, Clip, Scorer, no_motion
from i3d.explanations.grad_cam import ActivationMap, Floats

FRACTIONS: Final = (0.1, 0.3, 0.6)  # of the places; with 0 and 1, whose views are the same for every map
BLUR_SIDE: Final = 6  # pixels that are left of a side
NUM_RANDOM: Final = 4


@dataclass(frozen=True, eq=False)
class PerturbationScores:
    """Deletion (lower is better) and insertion (higher is better) of a map and of random maps, from 0 to 1."""

    deletion: float
    insertion: float
    random_deletion_R: npt.NDArray[np.float64]
    random_insertion_R: npt.NDArray[np.float64]
    seed: int

    @property
    def is_better(self) -> bool:
        """Whether the map is better than the mean of the random maps in both."""
        return not self.worse_in

    @property
    def worse_in(self) -> tuple[str, ...]:
        """In which of both the map is not better than the mean of the random maps."""
        failed = {
            "deletion": self.deletion >= self.random_deletion_R.mean(),
            "insertion": self.insertion <= self.random_insertion_R.mean(),
        }
        return tuple(name for name, is_worse in failed.items() if is_worse)

    @property
    def lines(self) -> tuple[str, ...]:
        """The scores, and what they mean, in words."""
        number = len(self.random_deletion_R)
        rows = (
            ("deletion", self.deletion, self.random_deletion_R, "lower"),
            ("insertion", self.insertion, self.random_insertion_R, "higher"),
        )
        what = f"{number} random maps" if number > 1 else "a random map"
        lines = [
            f"{name} {own:.3f}; of {what} {random_R.mean():.3f} on average, "
            f"{random_R.min():.3f} to {random_R.max():.3f} ({better} is better)"
            for name, own, random_R, better in rows
        ]
        return (*lines, self.verdict)

    @property
    def verdict(self) -> str:
        """What the scores mean for the map."""
        if self.is_better:
            return "better than random maps; even so, it shows what the layer used, not where the action is"
        where = " and ".join(self.worse_in)
        return f"this map is not better than random maps ({where}): do not take it for the place of the action"


def perturbation_scores(
    activation: ActivationMap, view_THWC: Clip, score_of: Scorer, *, score: float, num_random: int, seed: int
) -> PerturbationScores:
    """The scores of a map of a view whose own score is `score`."""
    rng = np.random.default_rng(seed)
    maps = [activation.values_THW, *(moved(activation.values_THW, rng) for _ in range(num_random))]
    ranks = [ranks_of(each, rng) for each in maps]
    empty_THWC = without_content(view_THWC)

    def clips() -> Iterator[Clip]:
        yield empty_THWC
        for ranks_THW in ranks:
            large_THW = at_pixels(ranks_THW, view_THWC.shape[:3])
            for fraction in FRACTIONS:
                is_first = (large_THW < fraction * ranks_THW.size)[..., None]
                yield np.where(is_first, empty_THWC, view_THWC)
                yield np.where(is_first, view_THWC, empty_THWC)

    scores = score_of(clips(), 1 + 2 * len(maps) * len(FRACTIONS))
    both_MP2 = scores[1:].reshape(len(maps), len(FRACTIONS), 2)
    deletion_M = [_area(score, points_P2[:, 0], scores[0]) for points_P2 in both_MP2]
    insertion_M = [_area(scores[0], points_P2[:, 1], score) for points_P2 in both_MP2]
    return PerturbationScores(
        deletion_M[0], insertion_M[0], np.array(deletion_M[1:]), np.array(insertion_M[1:]), seed=seed
    )


def moved(values_THW: Floats, rng: np.random.Generator) -> Floats:
    """A map moved by a random number of cells along each side, not by none along all, and wrapped around."""
    shift = (0, 0, 0)
    while not any(shift) and values_THW.size > 1:
        time, row, column = (int(rng.integers(cells)) for cells in values_THW.shape)
        shift = (time, row, column)
    return np.roll(values_THW, shift, axis=(0, 1, 2))


def ranks_of(values_THW: Floats, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """The rank of each place, 0 for the highest number; equal numbers are in a random order."""
    order = np.lexsort((rng.random(values_THW.size), -values_THW.ravel()))
    ranks = np.empty(values_THW.size, np.int64)
    ranks[order] = np.arange(values_THW.size)
    return ranks.reshape(values_THW.shape)


def at_pixels(cells_THW: npt.NDArray[np.int64], shape_THW: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Each number of a map at all frames and pixels for which it stands."""
    sides = zip(cells_THW.shape, shape_THW, strict=True)
    return cells_THW[np.ix_(*(np.arange(size) * cells // size for cells, size in sides))]


def without_content(view_THWC: Clip) -> Clip:
    """A view without motion and detail: the blurred mean of its frames, or flow without motion."""
    if view_THWC.shape[-1] == FLOW_CHANNELS:
        return np.broadcast_to(no_motion(view_THWC.shape[1:]), view_THWC.shape)
    height, width = view_THWC.shape[1:3]
    mean_HWC = view_THWC.mean(axis=0, dtype=np.float64).astype(np.float32)
    small = cv2.resize(mean_HWC, (min(BLUR_SIDE, width), min(BLUR_SIDE, height)), interpolation=cv2.INTER_AREA)
    blurred_HWC = np.rint(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
    return np.broadcast_to(blurred_HWC, view_THWC.shape)


def _area(first: float, points_P: npt.NDArray[np.float64], last: float) -> float:
    """The area under the scores at 0, `FRACTIONS` and 1."""
    return float(np.trapezoid([first, *points_P, last], [0.0, *FRACTIONS, 1.0]))
