"""How far probabilities can be trusted: the reliability diagram of a report and what it says. Letters: B bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from i3d.evaluation.metrics import calibration_bins
from i3d.evaluation.result import Evaluation, Metrics


@dataclass(frozen=True)
class Bin:
    """A bin of the reliability diagram; `low`, `width` and `height` are shares of the plot."""

    low: float
    width: float
    height: float
    radius: float
    num_clips: int
    probability: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The reliability diagram and what it says."""

    bins: tuple[Bin, ...]
    words: tuple[str, ...]


def calibration_of(evaluation: Evaluation, figures: Metrics) -> Calibration:
    """The reliability diagram: only bins with clips. The area of a dot goes with its clips."""
    probabilities_NK = evaluation.probabilities_NK
    found = calibration_bins(probabilities_NK, evaluation.class_N)
    num_bins, most = len(found.num_clips_B), int(found.num_clips_B.max())
    bins = tuple(
        Bin(
            low=b / num_bins,
            width=1 / num_bins,
            height=int(found.num_clips_B[b]) / most,
            radius=3 + 6 * math.sqrt(int(found.num_clips_B[b]) / most),
            num_clips=int(found.num_clips_B[b]),
            probability=float(found.probability_B[b]),
            accuracy=float(found.accuracy_B[b]),
        )
        for b in np.flatnonzero(found.num_clips_B)
    )
    right_N = np.argmax(probabilities_NK, axis=1) == evaluation.class_N  # of clips that have probabilities
    sure, top1 = float(probabilities_NK.max(axis=1).mean()), float(right_N.mean())
    gap = 100 * (sure - top1)
    verdict = "neither too sure nor too careful" if abs(gap) < 0.05 else f"{abs(gap):.1f} points too "
    if abs(gap) >= 0.05:
        verdict += "sure" if gap > 0 else "careful"
    return Calibration(
        bins=bins,
        words=(
            f"The highest probability is {percent(sure)} on average, and right for {percent(top1)} of the clips: "
            f"on the whole the network is {verdict}.",
            f"The calibration error is {percent(figures.calibration)}: the mean gap between probability and "
            f"accuracy, in {num_bins} equally wide bins weighed by their clips.",
            "Each dot is a bin. On the dashed line, probabilities are right as often as they say; "
            "below it they promise too much. Small dots are few clips and may lie anywhere.",
        ),
    )


def percent(share: float | None) -> str:
    """0.8333 -> 83.3 %; what there is not -> –."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f} %"
