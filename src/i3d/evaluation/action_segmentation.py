"""Metrics of action segmentation, where each moment has one label: those of MS-TCN, and F1 of events with a collar.

Each function counts in one video; `ratio` adds up the videos. docs/metrics.md has the formulas.

Letters in names: V videos, P predicted and G annotated segments of a video.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import nan

import numpy as np
import numpy.typing as npt

from i3d.evaluation.segment_pairs import Span, VideoPair, overlaps, temporal_iou

Values = npt.NDArray[np.float64]


def merge_runs(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The segments with those of one label that touch or overlap joined, by start: a label is on, or it is not."""
    runs: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans):
        of_label = runs[span.label]
        if of_label and span.start <= of_label[-1].stop:
            of_label[-1] = Span(of_label[-1].start, max(span.stop, of_label[-1].stop), span.label)
        else:
            of_label.append(Span(span.start, span.stop, span.label))
    return tuple(sorted(run for of_label in runs.values() for run in of_label))


def first_overlap(spans: Sequence[Span]) -> tuple[Span, Span] | None:
    """The first two segments of different labels that are on at once, if any are."""
    runs = merge_runs(spans)
    last = runs[0] if runs else None
    for before, run in pairwise(runs):
        last = max(last or before, before, key=lambda span: span.stop)
        if run.start < last.stop:
            return last, run
    return None


@dataclass(frozen=True)
class LabelledTime:
    """Milliseconds of a video: in all, with an annotated label, and those for which the predicted label is right."""

    total: int
    labelled: int
    correct: int  # also where neither has a label
    correct_labelled: int


def labelled_time(pair: VideoPair) -> LabelledTime:
    """How long the predicted label is right, exactly: no frames are counted. No labels may overlap."""
    predicted, true = merge_runs(pair.predicted), merge_runs(pair.true)
    overlaps_PG = overlaps(predicted, true)
    correct = int((overlaps_PG * _same_labels(predicted, true)).sum())
    on_predicted, on_true = (sum(span.stop - span.start for span in spans) for spans in (predicted, true))
    background = pair.length - (on_predicted + on_true - int(overlaps_PG.sum()))
    return LabelledTime(pair.length, on_true, correct + background, correct)


def edit_score(pair: VideoPair) -> float:
    """1 - the edit distance between the two sequences of labels / the length of the longer one; 1 if both are empty."""
    predicted, true = ([span.label for span in merge_runs(spans)] for spans in (pair.predicted, pair.true))
    longest = max(len(predicted), len(true))
    return 1 - edit_distance(predicted, true) / longest if longest else 1.0


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein (1966): how many labels have to be inserted, removed or replaced."""
    codes = {label: code for code, label in enumerate({*first, *second})}
    second_G = np.array([codes[label] for label in second], np.int64)
    places_G1 = np.arange(len(second) + 1)
    costs_G1 = places_G1
    for label in first:
        replaced_G = costs_G1[:-1] + (second_G != codes[label])
        new_G1 = np.concatenate([costs_G1[:1] + 1, np.minimum(replaced_G, costs_G1[1:] + 1)])
        costs_G1 = np.minimum.accumulate(new_G1 - places_G1) + places_G1  # insertions from the left
    return int(costs_G1[-1])


@dataclass(frozen=True)
class Counts:
    """Correct, predicted and annotated segments."""

    correct: int
    predicted: int
    true: int


def segment_counts(pair: VideoPair, thresholds: Sequence[float]) -> tuple[Counts, ...]:
    """For F1@k of MS-TCN: a predicted segment is correct if its best annotated one has this tIoU and is still free.

    Predicted segments are taken by start. One whose best annotated segment is taken is wrong, even if another fits.
    """
    predicted, true = merge_runs(pair.predicted), merge_runs(pair.true)
    if not predicted or not true:
        return (Counts(0, len(predicted), len(true)),) * len(thresholds)
    iou_PG = temporal_iou(predicted, true) * _same_labels(predicted, true)
    best_P, iou_P = iou_PG.argmax(axis=1), iou_PG.max(axis=1)
    # Of several with one best segment, the first that reaches the threshold is correct: so many are as segments differ.
    return tuple(Counts(len(set(best_P[iou_P >= t].tolist())), len(predicted), len(true)) for t in thresholds)


def event_counts(pair: VideoPair, collar: float) -> dict[str, Counts]:
    """For each label, how many predicted segments start and stop within `collar` seconds of an annotated one.

    Each annotated segment counts once, and as many are matched as can be, as sed_eval does.
    """
    reach = round(collar * 1000)
    counts = {}
    for label in sorted({span.label for span in (*pair.predicted, *pair.true)}):
        predicted, true = ([s for s in spans if s.label == label] for spans in (pair.predicted, pair.true))
        fitting = [
            [g for g, t in enumerate(true) if abs(p.start - t.start) <= reach and abs(p.stop - t.stop) <= reach]
            for p in predicted
        ]
        counts[label] = Counts(maximum_matching(fitting), len(predicted), len(true))
    return counts


def maximum_matching(fitting_P: Sequence[Sequence[int]]) -> int:
    """How many of the items can have a partner of their own. `fitting_P`: the possible partners of each.

    An item without a free partner takes that of another one which has a further choice (augmenting paths).
    """
    partner_of: dict[int, int] = {}  # partner -> item
    for item in range(len(fitting_P)):
        came_from: dict[int, tuple[int, int | None]] = {}  # partner -> the item that wants it, and that item's partner
        waiting: deque[tuple[int, int | None]] = deque([(item, None)])
        free: int | None = None
        while waiting and free is None:
            wanting, own = waiting.popleft()
            for partner in fitting_P[wanting]:
                if partner in came_from:
                    continue
                came_from[partner] = wanting, own
                if partner not in partner_of:
                    free = partner
                    break
                waiting.append((partner_of[partner], partner))
        while free is not None:  # each item on the path moves to the partner that it wants
            partner_of[free], free = came_from[free]
    return len(partner_of)


def _same_labels(predicted: Sequence[Span], true: Sequence[Span]) -> npt.NDArray[np.bool_]:
    codes = {label: code for code, label in enumerate({span.label for span in (*predicted, *true)})}
    codes_P, codes_G = (np.array([codes[s.label] for s in spans], np.int64) for spans in (predicted, true))
    return np.asarray(codes_P[:, None] == codes_G[None, :])


@dataclass(frozen=True)
class Ratio:
    """A metric that is a sum over videos divided by another one."""

    numerators_V: Values
    denominators_V: Values

    def value(self, weights_V: Values | None = None) -> float:
        """NaN where nothing is counted. `weights_V`: how often each video counts (default: once)."""
        weights_V = np.ones(len(self.numerators_V)) if weights_V is None else weights_V
        divisor = float(weights_V @ self.denominators_V)
        return float(weights_V @ self.numerators_V) / divisor if divisor else nan


def f1_ratio(counts_V: Sequence[Counts]) -> Ratio:
    """F1 over all videos: 2 correct / (predicted + annotated)."""
    correct_V = np.array([counts.correct for counts in counts_V], np.float64)
    return Ratio(2 * correct_V, np.array([counts.predicted + counts.true for counts in counts_V], np.float64))
