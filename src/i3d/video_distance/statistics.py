"""The mathematics of distances between sets of features, in float64.

Letters in names: N, M clips, D numbers of a feature.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError
from i3d.utils.arguments import checks_types

Doubles = npt.NDArray[np.float64]
Divisor = Literal["n-1", "n"]
DEGREE, OFFSET = 3, 1.0  # of the kernel of KID
NUM_SUBSETS: Final = 100
MAX_SUBSET: Final = 1000  # clips; as KID is reported
NUM_SPLITS: Final = 5
ROWS_OF_BLOCK: Final = 1024  # of a sample, stored together
MIN_FOR_BIAS: Final = 8  # clips: quarters of a set have a covariance


@dataclass
class Moments:
    """Number, mean and sum of products of features that arrive in batches (Chan, Golub & LeVeque 1979).

    Memory does not grow with their number.
    """

    number: int = 0
    mean_D: Doubles = field(default_factory=lambda: np.zeros(0))
    products_DD: Doubles = field(default_factory=lambda: np.zeros((0, 0)))  # of the differences from the mean

    @classmethod
    def of(cls, features_ND: npt.ArrayLike) -> Self:
        """The moments of one array (N, D)."""
        moments = cls()
        moments.add(features_ND)
        return moments

    def add(self, features_ND: npt.ArrayLike) -> None:
        """Add a batch (N, D)."""
        batch_ND = np.asarray(features_ND, np.float64)
        number = len(batch_ND)
        if number == 0:
            return
        mean_D = batch_ND.mean(axis=0)
        centred_ND = batch_ND - mean_D
        products_DD = centred_ND.T @ centred_ND
        if self.number == 0:
            self.number, self.mean_D, self.products_DD = number, mean_D, products_DD
            return
        total, shift_D = self.number + number, mean_D - self.mean_D
        self.products_DD += products_DD + np.outer(shift_D, shift_D) * (self.number * number / total)
        self.mean_D = self.mean_D + shift_D * (number / total)
        self.number = total

    def covariance(self, divisor: Divisor = "n-1") -> Doubles:
        """The covariance (D, D), over N - 1 or over N. Fewer than 2 features are an InputError."""
        if self.number < 2:
            raise InputError(f"a covariance needs at least 2 clips, there is {self.number}")
        return self.products_DD / (self.number - 1 if divisor == "n-1" else self.number)


@checks_types
def frechet_distance(one: Moments, other: Moments, *, divisor: Divisor = "n-1") -> float:
    """The squared Frechet distance of two Gaussians with these moments (Dowson & Landau 1982).

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^1/2 S2 S1^1/2)^1/2. The last trace is the sum of the singular values of
    S1^1/2 S2^1/2: both roots are of symmetric matrices, so that nothing complex arises, also for fewer clips than
    numbers of a feature.
    """
    if one.mean_D.shape != other.mean_D.shape:
        raise InputError(
            f"the features have {len(one.mean_D)} and {len(other.mean_D)} numbers; they must be of one layer"
        )
    first_DD, second_DD = one.covariance(divisor), other.covariance(divisor)
    shift_D = one.mean_D - other.mean_D
    overlap = np.linalg.svd(symmetric_root(first_DD) @ symmetric_root(second_DD), compute_uv=False).sum()
    return float(shift_D @ shift_D + np.trace(first_DD) + np.trace(second_DD) - 2 * overlap)


def distance_of_features(one_ND: Doubles, other_MD: Doubles, *, divisor: Divisor = "n-1") -> float:
    """`frechet_distance` of two arrays; of fewer clips than numbers of a feature in a fraction of the time.

    With centred arrays A and B, the singular values of S1^1/2 S2^1/2 are those of A B^T over the roots of the divisors.
    """
    if max(len(one_ND), len(other_MD)) >= one_ND.shape[1]:
        return frechet_distance(Moments.of(one_ND), Moments.of(other_MD), divisor=divisor)
    means_2D = one_ND.mean(axis=0), other_MD.mean(axis=0)
    scaled = [
        (features - mean_D) / np.sqrt(len(features) - (divisor == "n-1"))
        for features, mean_D in zip((one_ND, other_MD), means_2D, strict=True)
    ]
    overlap = np.linalg.svd(scaled[0] @ scaled[1].T, compute_uv=False).sum()
    shift_D = means_2D[0] - means_2D[1]
    return float(shift_D @ shift_D + sum((features**2).sum() for features in scaled) - 2 * overlap)


def symmetric_root(covariance_DD: Doubles) -> Doubles:
    """The symmetric root of a covariance by its eigenvalues; those below 0 are rounding errors of 0."""
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    root_DD: Doubles = (vectors_DD * np.sqrt(np.maximum(values_D, 0))) @ vectors_DD.T
    return root_DD


class KernelDistance(NamedTuple):
    """KVD: the squared maximum mean discrepancy, unbiased, over random subsets of both sets."""

    mean: float
    spread: float  # standard deviation of the subsets
    num_subsets: int
    subset: int  # clips of each set in a subset


def kernel_distance(
    one_ND: npt.ArrayLike, other_MD: npt.ArrayLike, *, seed: int = 0, num_subsets: int = NUM_SUBSETS
) -> KernelDistance:
    """The polynomial kernel ((x y) / D + 1)^3 of KID (Binkowski et al. 2018), on subsets of at most 1,000 clips.

    A subset has half of the clips of the smaller set, so that subsets differ.
    """
    one, other = np.asarray(one_ND, np.float64), np.asarray(other_MD, np.float64)
    size = min(MAX_SUBSET, max(min(len(one), len(other)) // 2, 2))
    if min(len(one), len(other)) < 2:
        raise InputError(f"a kernel distance needs at least 2 clips of each set, there are {len(one)} and {len(other)}")
    rng = np.random.default_rng(seed)
    values = [_discrepancy(_drawn(one, size, rng), _drawn(other, size, rng)) for _ in range(num_subsets)]
    return KernelDistance(float(np.mean(values)), float(np.std(values)), num_subsets, size)


def _drawn(features_ND: Doubles, size: int, rng: np.random.Generator) -> Doubles:
    return features_ND[rng.permutation(len(features_ND))[:size]]


def _discrepancy(one_ND: Doubles, other_ND: Doubles) -> float:
    """The unbiased estimate for two sets of the same number N."""
    number, scale = len(one_ND), one_ND.shape[1]

    def kernel(a: Doubles, b: Doubles) -> Doubles:
        values: Doubles = (a @ b.T / scale + OFFSET) ** DEGREE
        return values

    within = 0.0
    for features in (one_ND, other_ND):
        values_NN = kernel(features, features)
        within += (values_NN.sum() - np.trace(values_NN)) / (number * (number - 1))
    return float(within - 2 * kernel(one_ND, other_ND).mean())


class Bias(NamedTuple):
    """The distance of a set from itself: random halves of it, which differ by chance alone."""

    halves: float  # mean distance of two disjoint halves
    half: int  # clips of a half
    expected: float  # of two sets as large as the whole set, by the trend from quarters to halves


def chance_distance(features_ND: npt.ArrayLike, *, divisor: Divisor = "n-1", seed: int = 0) -> Bias | None:
    """How far two sets of the same kind are apart by chance, measured on disjoint parts of one set.

    The distance of halves, b(N / 2), and of quarters, b(N / 4), give b(N) = b(N / 2)^2 / b(N / 4). None: under 8 clips.
    """
    features = np.asarray(features_ND, np.float64)
    half, quarter = len(features) // 2, len(features) // 4
    if len(features) < MIN_FOR_BIAS:
        return None
    rng = np.random.default_rng(seed)
    at: dict[int, float] = {}
    for size in (half, quarter):
        orders = [rng.permutation(len(features)) for _ in range(NUM_SPLITS)]
        pairs = [(features[order[:size]], features[order[size : 2 * size]]) for order in orders]
        at[size] = float(np.mean([distance_of_features(a, b, divisor=divisor) for a, b in pairs]))
    expected = at[half] ** 2 / at[quarter] if at[quarter] > 0 else at[half]
    return Bias(max(at[half], 0.0), half, max(min(expected, at[half]), 0.0))


def bootstrap_values(
    one_ND: npt.ArrayLike, other_MD: npt.ArrayLike, number: int, *, divisor: Divisor = "n-1", seed: int = 0
) -> Iterator[float]:
    """Yield the distance of `number` pairs of sets that are drawn from the clips of these, with replacement."""
    one, other = np.asarray(one_ND, np.float64), np.asarray(other_MD, np.float64)
    rng = np.random.default_rng(seed)
    for _ in range(number):
        a, b = (features[rng.integers(len(features), size=len(features))] for features in (one, other))
        yield distance_of_features(a, b, divisor=divisor)


def interval_around(value: float, draws: list[float]) -> tuple[float, float]:
    """The 95 % interval of draws, shifted so that their mean is the value; no distance is below 0.

    Drawn sets repeat clips, so that their distances are too large by about the bias of the value itself.
    """
    low, high = np.quantile(np.asarray(draws) - np.mean(draws), [0.025, 0.975])
    return max(value + float(low), 0.0), value + float(high)


class Sample:
    """At most `limit` rows of features that arrive one by one: each is as likely to be in it (Vitter 1985, R).

    Rows are copied into large arrays. One small block of memory for each would lie between the large ones of the
    network, which could then not be joined and used again: the process would grow with the number of clips.
    """

    def __init__(self, limit: int, *, seed: int = 0) -> None:
        self._limit, self._rng = limit, np.random.default_rng(seed)
        self._blocks: list[npt.NDArray[np.float32]] = []
        self._number = 0
        self.num_seen = 0

    def add(self, features_ND: npt.NDArray[np.float32]) -> None:
        """Add a batch (N, D)."""
        for row_D in features_ND:
            self.num_seen += 1
            if self._number < self._limit:
                if self._number % ROWS_OF_BLOCK == 0:
                    self._blocks.append(np.empty((ROWS_OF_BLOCK, len(row_D)), np.float32))
                self._number += 1
                self._store(self._number - 1, row_D)
            elif (place := int(self._rng.integers(self.num_seen))) < self._limit:
                self._store(place, row_D)

    def _store(self, place: int, row_D: npt.NDArray[np.float32]) -> None:
        block, row = divmod(place, ROWS_OF_BLOCK)
        self._blocks[block][row] = row_D

    @property
    def is_whole(self) -> bool:
        """Whether all rows are in it, in their order."""
        return self.num_seen == self._number

    @property
    def rows_ND(self) -> npt.NDArray[np.float32]:
        """The rows, as one array."""
        return np.concatenate(self._blocks)[: self._number]
