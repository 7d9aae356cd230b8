"""How good segments are, on stdout."""

from math import inf
from statistics import fmean
from typing import Final

from i3d.cli.output.tables import print_table
from i3d.errors import counted, printable
from i3d.evaluation.intervals import format_interval
from i3d.evaluation.segment_scores import LabelScores, SegmentScores

MOST: Final = 20  # labels that are all shown
WORST: Final = 10  # of more labels, those with the lowest average precision


def print_segment_scores(scores: SegmentScores) -> None:
    """A table of labels, then the metrics with their intervals, and how each was computed."""
    shown = scores.labels
    if len(shown) > MOST:
        weakest = sorted(shown, key=lambda one: (fmean(one.average_precisions or (inf,)), one.label))[:WORST]
        shown = tuple(sorted(weakest, key=lambda one: one.label))
        print(f"the {WORST} labels with the lowest average precision, of {len(scores.labels)} (--json: all)")
    rows = [
        (printable(one.label), one.num_true, one.num_predicted, _number(_mean(one)), _number(one.event_f1))
        for one in shown
    ]
    print_table(("label", "segments annotated", "segments predicted", "mean AP", "F1 of events"), rows, one_line=True)
    values = [
        (one.name, _number(one.value), "-" if one.value is None else format_interval(one.interval))
        for one in scores.measures
    ]
    print_table(("metric", "value", "95 % interval"), values)
    videos, true = counted(scores.num_videos, "annotated video"), counted(scores.num_true, "annotated segment")
    print(f"of {videos} with {true}; {counted(scores.num_predicted, 'predicted segment')}")
    mean = "mean_average_precision"
    has_mean = any(one.name == mean for one in scores.measures) and len(scores.tiou) > 1
    for one in scores.measures:
        if not (has_mean and one.name.startswith(f"{mean}@")):
            print(printable(f"{one.name}: {one.protocol}"))


def _mean(one: LabelScores) -> float | None:
    return None if one.average_precisions is None else fmean(one.average_precisions)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
