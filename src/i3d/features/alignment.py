"""Rows of two files of features side by side: their crops may come first, or in another order.

Letters in names: R rows, V crops, C channels.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BETTER: Final = 1e-6  # the gain in cosine by which one reading is better than another
EXPLAINED: Final = 0.25  # of what a cosine lacks to 1: so much another order of crops must gain to be reported
CROP_COUNTS: Final = (1, 2, 3, 5, 6, 10, 20)  # of tools, with mirror images


@dataclass(frozen=True, eq=False)
class Alignment:
    """Two arrays of rows with the same crops and channels."""

    a_RVC: Floats
    b_RVC: Floats
    crops_first: tuple[bool, bool]  # which of the files has its crops before its rows
    order: tuple[int, ...]  # which crop of the second matches each crop of the first
    cosine: float  # on average, in that order

    @property
    def is_reordered(self) -> bool:
        return self.order != tuple(range(len(self.order)))


def align(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Alignment | None:
    """The reading of two arrays, (R, C), (R, V, C) or (V, R, C), whose rows are most alike; None if none fits.

    Maps, (R, T, H, W, C) or (R, V, T, H, W, C), count as rows of one crop.
    """
    best: Alignment | None = None
    for (a_RVC, is_a_swapped), (b_RVC, is_b_swapped) in product(_readings(a), _readings(b)):
        if a_RVC.shape[1:] == b_RVC.shape[1:]:
            order, cosine = _match_crops(a_RVC, b_RVC)
            if best is None or cosine > best.cosine + BETTER:
                best = Alignment(a_RVC, b_RVC, (is_a_swapped, is_b_swapped), order, cosine)
    return best


def cosines(a_RVC: Floats, b_RVC: Floats) -> Floats:
    """The cosines of the rows that both have; of rows of norm 0: 1 if they are equal, else 0."""
    rows = min(len(a_RVC), len(b_RVC))
    a_RC, b_RC = a_RVC[:rows].reshape(rows, -1), b_RVC[:rows].reshape(rows, -1)
    lengths_R = np.linalg.norm(a_RC, axis=1) * np.linalg.norm(b_RC, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines_R: Floats = (a_RC * b_RC).sum(axis=1) / lengths_R
    equal_R = (a_RC == b_RC).all(axis=1).astype(np.float64)
    return np.where(lengths_R > 0, cosines_R, equal_R)


def _readings(values: npt.NDArray[Any]) -> list[tuple[Floats, bool]]:
    """(R, V, C) of an array, and whether its crops come first."""
    rows = np.asarray(values, np.float64)
    flat = (rows.reshape(len(rows), 1, -1), False)
    if rows.ndim != 3:
        return [flat]
    return [(rows, False), *([(rows.swapaxes(0, 1), True)] * (len(rows) in CROP_COUNTS)), flat]


def _match_crops(a_RVC: Floats, b_RVC: Floats) -> tuple[tuple[int, ...], float]:
    """(the crop of the second for each crop of the first, the mean cosine): the most similar pairs first."""
    same = float(cosines(a_RVC, b_RVC).mean())
    num_crops = a_RVC.shape[1]
    stay = tuple(range(num_crops))
    if num_crops == 1:
        return stay, same
    similar_VV = np.array([[cosines(a_RVC[:, i], b_RVC[:, j]).mean() for j in stay] for i in stay])
    order: dict[int, int] = {}
    for place in np.argsort(-similar_VV, axis=None, kind="stable"):
        i, j = divmod(int(place), num_crops)
        if i not in order and j not in order.values():
            order[i] = j
    matched = tuple(order[i] for i in stay)
    cosine = float(cosines(a_RVC, b_RVC[:, list(matched)]).mean())
    return (matched, cosine) if cosine > same + max(BETTER, EXPLAINED * (1 - same)) else (stay, same)
