"""95 % confidence intervals of accuracies, of their differences, and of mean average precision.

Letters in names: N clips, K classes.
"""

from math import ceil, floor, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.evaluation.metrics import mean_average_precision

Interval = tuple[float, float]
Z: Final = NormalDist().inv_cdf(0.975)  # 1.96
MIN_RESAMPLED: Final = 10  # clips or videos whose mean has an interval by bootstrap
NO_WIDTH: Final = 1e-9  # rounding errors alone are less


def proportion_interval(num_correct: int, number: int) -> Interval:
    """The score interval of Wilson (1927) of `num_correct` of `number`: wide for few clips, even if all are correct.

    proportion_interval(2, 2)       (0.34, 1.0)
    """
    if not 0 <= num_correct <= number or number < 1:
        raise ValueError(f"an interval needs 0 to `number` of at least 1, got {num_correct} of {number}")
    fraction, scale = num_correct / number, 1 + Z * Z / number
    middle = fraction + Z * Z / (2 * number)
    reach = Z * sqrt((fraction * (1 - fraction) + Z * Z / (4 * number)) / number)
    low = (middle - reach) / scale if num_correct else 0.0
    return low, (middle + reach) / scale if num_correct < number else 1.0


def paired_interval(correct_N: npt.NDArray[np.bool_], others_N: npt.NDArray[np.bool_]) -> Interval:
    """The interval of the first accuracy minus the second, of the same clips (Newcombe 1998, method 10).

    It combines the Wilson intervals of both by the correlation of the clips, so that it always has a width.
    """
    number = len(correct_N)
    first, second = float(correct_N.mean()), float(others_N.mean())
    (low, high), (other_low, other_high) = (proportion_interval(int(a.sum()), number) for a in (correct_N, others_N))
    covariance = number * (number * float((correct_N & others_N).mean()) - number * first * second)
    if covariance > 0:
        covariance = max(covariance - number / 2, 0.0)
    deviation = number**2 * sqrt(first * (1 - first) * second * (1 - second))
    correlation = covariance / deviation if deviation else 0.0

    def reach(one: float, other: float) -> float:
        return sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0.0))

    difference = first - second
    return (
        difference - reach(first - low, other_high - second),
        difference + reach(high - first, second - other_low),
    )


def precision_interval(
    scores_NK: npt.ArrayLike, targets_NK: npt.ArrayLike, *, num_draws: int = 200, seed: int = 0
) -> Interval | None:
    """The percentile bootstrap interval of the mean average precision over clips.

    None if all draws give the same value, as with a perfect ranking: no width is no certainty.
    """
    scores, targets = np.asarray(scores_NK, np.float64), np.asarray(targets_NK)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(num_draws):
        drawn = rng.integers(len(scores), size=len(scores))
        if (targets[drawn] > 0.5).any():
            values.append(mean_average_precision(scores[drawn], targets[drawn]))
    low, high = np.quantile(values, [0.025, 0.975])
    return (float(low), float(high)) if high - low > NO_WIDTH else None


def mean_intervals(values_NP: npt.ArrayLike, *, num_draws: int = 1000, seed: int = 0) -> tuple[Interval | None, ...]:
    """The percentile bootstrap interval, over clips, of the mean of each column (N clips, P columns).

    None with fewer than 10 clips, and for a column whose draws all have the same mean.
    """
    values = np.asarray(values_NP, np.float64)
    if len(values) < MIN_RESAMPLED:
        return (None,) * int(values.shape[1])
    rng = np.random.default_rng(seed)
    means = np.stack([values[rng.integers(len(values), size=len(values))].mean(axis=0) for _ in range(num_draws)])
    ends: list[list[float]] = np.quantile(means, [0.025, 0.975], axis=0).T.tolist()
    return tuple((low, high) if high - low > NO_WIDTH else None for low, high in ends)


def format_interval(interval: Interval | None, *, factor: int = 1, digits: int = 3) -> str:
    """Its ends, rounded outwards: an interval is never shown without width.

    format_interval((0.83888, 1.0))             0.838 to 1.000
    format_interval((0.9996, 1.0), factor=100, digits=1)     99.9 to 100.0
    """
    if interval is None:
        return "unknown"
    unit = 10**digits
    low, high = floor(round(interval[0] * factor * unit, 9)), ceil(round(interval[1] * factor * unit, 9))
    return f"{low / unit:.{digits}f} to {high / unit:.{digits}f}"
