"""A metric of segments as a function of how often each video counts, for a choice that leaves out videos in turn.

The values are those of `score_segments`. Letters in names: V videos.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from i3d.errors import InputError, quoted
from i3d.evaluation.action_segmentation import (
    Counts,
    Ratio,
    Values,
    edit_score,
    event_counts,
    f1_ratio,
    first_overlap,
    labelled_time,
    segment_counts,
)
from i3d.evaluation.detection import PRESETS, mean_average_precisions, rank_labels
from i3d.evaluation.segment_pairs import VideoPair
from i3d.evaluation.segment_scores import COLLAR
from i3d.recipes.names import SegmentMetric

ONE_LABEL: Final = ("edit_score", "frame_accuracy")  # of metrics for which a moment has one label
WeightedMetric = Callable[[Values], float]  # of weights (V)


def weighted_metric(name: SegmentMetric, pairs: Sequence[VideoPair]) -> WeightedMetric:
    """The metric of annotated videos. It is NaN where nothing is counted."""
    if name == "mean_average_precision":
        labels = sorted({span.label for pair in pairs for span in pair.true})
        ranked = rank_labels(pairs, labels, PRESETS["thumos"])
        return lambda weights_V: float(mean_average_precisions(ranked, weights_V).mean())
    if name == "frame_accuracy":
        times = [labelled_time(pair) for pair in pairs]
        correct_V, total_V = np.array([(float(time.correct), float(time.total)) for time in times]).T
        return Ratio(correct_V, total_V).value
    if name == "edit_score":
        return Ratio(np.array([edit_score(pair) for pair in pairs]), np.ones(len(pairs))).value
    if name == "event_f1":
        return f1_ratio([_sum([*event_counts(pair, COLLAR).values()]) for pair in pairs]).value
    threshold = int(name.removeprefix("f1@")) / 100
    return f1_ratio([segment_counts(pair, [threshold])[0] for pair in pairs]).value


def check_metric(name: SegmentMetric, pairs: Sequence[VideoPair], *, multi_label: bool) -> None:
    """An InputError for a metric of one label a moment, where two may be on at once."""
    if name not in ONE_LABEL:
        return
    todo = "choose by f1@50 or event_f1"
    if multi_label:
        raise InputError(f"{name}: is for one label at a time, and the network has several; {todo}")
    for pair in pairs:
        if both := first_overlap(pair.true):
            labels = f"{quoted(both[0].label)} and {quoted(both[1].label)} at once, at {both[1].start / 1000:g} s"
            raise InputError(f"{name}: is for one label at a time, and {quoted(pair.video)} has {labels}; {todo}")


def _sum(counts: Sequence[Counts]) -> Counts:
    return Counts(*(sum(getattr(one, part) for one in counts) for part in ("correct", "predicted", "true")))
