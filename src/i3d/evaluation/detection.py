"""Temporal action detection: mean average precision at temporal intersection over union (tIoU), as ActivityNet has it.

It does what `eval_detection.py` of ActivityNet does, which most work on THUMOS uses too. docs/metrics.md has the
formulas, and what that script leaves open.

Letters in names: V videos, P predicted and G annotated segments of a label, K labels, U thresholds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.evaluation.segment_pairs import Span, VideoPair, temporal_iou

PRESETS: Final = {
    "thumos": (0.3, 0.4, 0.5, 0.6, 0.7),
    "activitynet": (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
}
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankedLabel:
    """The predicted segments of a label by falling score, and which of them are correct at each threshold."""

    label: str
    videos_P: npt.NDArray[np.int64]  # number of the video of each
    is_hit_UP: npt.NDArray[np.bool_]
    num_true_V: npt.NDArray[np.int64]  # annotated segments

    def average_precisions(self, weights_V: Values | None = None) -> Values:
        """(U): the interpolated average precision at each threshold; NaN without annotated segments.

        `weights_V`: how often each video counts (default: once).
        """
        weights_V = np.ones(len(self.num_true_V)) if weights_V is None else weights_V
        num_true = float(weights_V @ self.num_true_V)
        if not num_true:
            return np.full(len(self.is_hit_UP), np.nan)
        weights_P = weights_V[self.videos_P]
        num_ranked_P = np.maximum(np.cumsum(weights_P), 1e-12)
        values = []
        for is_hit_P in self.is_hit_UP:
            weights_H = weights_P[is_hit_P]
            precisions_H = np.cumsum(weights_H) / num_ranked_P[is_hit_P]
            # The highest precision at this recall or a higher one; it is always at a hit.
            highest_H = np.maximum.accumulate(precisions_H[::-1])[::-1]
            values.append(float(weights_H @ highest_H) / num_true)
        return np.array(values)


def rank_labels(
    pairs: Sequence[VideoPair], labels: Sequence[str], thresholds: Sequence[float]
) -> tuple[RankedLabel, ...]:
    """The predicted segments of each of these labels, ranked over all videos and matched to the annotated ones.

    Of equal scores, the video that comes first by name ranks higher, then the earlier segment.
    """
    by_label: dict[str, dict[int, tuple[list[Span], list[Span]]]] = {label: {} for label in labels}
    for v, pair in enumerate(pairs):
        for is_true, spans in enumerate((pair.predicted, pair.true)):
            for span in spans:
                if span.label in by_label:
                    by_label[span.label].setdefault(v, ([], []))[is_true].append(span)
    names_V = np.argsort(np.argsort([pair.video for pair in pairs], kind="stable"), kind="stable").tolist()
    return tuple(_rank_label(label, by_label[label], names_V, thresholds) for label in labels)


def _rank_label(
    label: str, videos: Mapping[int, tuple[list[Span], list[Span]]], names_V: list[int], thresholds: Sequence[float]
) -> RankedLabel:
    """`videos`: the predicted and annotated segments of this label by the number of their video."""
    keys, hits, num_true_V = [], [np.zeros((len(thresholds), 0), bool)], np.zeros(len(names_V), np.int64)
    for v, (predicted, true) in videos.items():
        ranked = sorted(predicted, key=lambda span: (-span.score, span.start, span.stop))
        keys += [(-span.score, names_V[v], place, v) for place, span in enumerate(ranked)]
        hits.append(match_segments(ranked, sorted(true), thresholds))
        num_true_V[v] = len(true)
    order_P = sorted(range(len(keys)), key=keys.__getitem__)
    videos_P = np.array([keys[p][-1] for p in order_P], np.int64)
    return RankedLabel(label, videos_P, np.concatenate(hits, axis=1)[:, order_P], num_true_V)


def match_segments(
    predicted: Sequence[Span], true: Sequence[Span], thresholds: Sequence[float]
) -> npt.NDArray[np.bool_]:
    """(U, P): which predicted segments of a label and video, by falling score, are correct at each threshold.

    Each in turn takes, of the annotated segments with at least this tIoU that are still free, the one with the highest;
    of equal ones the later.
    """
    is_hit_UP = np.zeros((len(thresholds), len(predicted)), bool)
    if not len(predicted) or not len(true):
        return is_hit_UP
    is_taken_UG = np.zeros((len(thresholds), len(true)), bool)
    iou_PG = temporal_iou(predicted, true)
    for p in np.flatnonzero(iou_PG.max(axis=1) >= min(thresholds)):
        by_iou = np.argsort(iou_PG[p], kind="stable")[::-1][: np.count_nonzero(iou_PG[p] >= min(thresholds))].tolist()
        for u, threshold in enumerate(thresholds):
            free = [g for g in by_iou if iou_PG[p, g] >= threshold and not is_taken_UG[u, g]]
            if free:
                is_hit_UP[u, p] = is_taken_UG[u, free[0]] = True
    return is_hit_UP


def mean_average_precisions(ranked: Sequence[RankedLabel], weights_V: Values | None = None) -> Values:
    """(U): the mean over the labels that are annotated, at each threshold; NaN if none is."""
    values_KU = np.array([label.average_precisions(weights_V) for label in ranked])
    is_true_K = ~np.isnan(values_KU).any(axis=1)
    return values_KU[is_true_K].mean(axis=0) if is_true_K.any() else np.full(values_KU.shape[1], np.nan)
