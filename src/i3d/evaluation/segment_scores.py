"""How good predicted segments are: all metrics of segments in time, with intervals and protocols.

Letters in names: V videos, D draws of videos, K labels, U thresholds.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from typing import Any, Final

import numpy as np

from i3d.data.labels import names_alike
from i3d.data.segments.segment import VideoSegments
from i3d.errors import InputError, abridged, counted, quoted
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
from i3d.evaluation.detection import PRESETS, RankedLabel, mean_average_precisions, rank_labels
from i3d.evaluation.intervals import MIN_RESAMPLED, NO_WIDTH, Interval
from i3d.evaluation.segment_pairs import SegmentPairs, Span, Split, VideoPair, pair_segments
from i3d.utils.arguments import checks_types

COLLAR: Final = 0.5  # seconds
OVERLAPS: Final = (10, 25, 50)  # percent, of F1@k
MOST: Final = 5  # names in a note
NUM_DRAWS: Final = 200


@dataclass(frozen=True)
class Measure:
    """A metric with how it is computed."""

    name: str
    value: float | None  # None: undefined
    interval: Interval | None  # of 95 %, over videos; None: unknown
    protocol: str


@dataclass(frozen=True)
class LabelScores:
    """The metrics of a label."""

    label: str
    num_true: int  # annotated segments
    num_predicted: int
    average_precisions: tuple[float, ...] | None  # at each tIoU; None: not annotated
    event_f1: float | None  # None: predicted in videos only that are not annotated


@dataclass(frozen=True)
class SegmentScores:
    """The metrics of predicted segments, and what of the two lists did not match."""

    measures: tuple[Measure, ...]
    labels: tuple[LabelScores, ...]
    tiou: tuple[float, ...]
    collar: float  # seconds
    num_videos: int  # annotated
    num_true: int  # segments
    num_predicted: int
    only_predicted: tuple[str, ...] = ()  # videos
    only_annotated: tuple[str, ...] = ()
    predicted_labels_without_truth: tuple[str, ...] = ()
    labels_never_predicted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what was assumed
    warnings: tuple[str, ...] = ()  # what may be a mistake in the lists

    def value(self, name: str) -> float | None:
        """The value of the measure of this name."""
        return next(measure.value for measure in self.measures if measure.name == name)

    def select(self, names: Sequence[str]) -> "SegmentScores":
        """Only the measures of these names; `f1` stands for `f1@10`, `f1@25` and `f1@50`. Others are an InputError."""
        own = [measure.name for measure in self.measures]
        if unknown := set(names) - {*own, *(name.partition("@")[0] for name in own)}:
            raise InputError(f"metric {quoted(min(unknown))}: is none of segments; choose from {', '.join(own)}")
        chosen = [one for one in self.measures if {one.name, one.name.partition("@")[0]} & set(names)]
        return replace(self, measures=tuple(chosen))

    def as_dict(self) -> dict[str, Any]:
        """JSON values. Each metric has its protocol."""
        data = asdict(self)
        measures = {one.pop("name"): one for one in data.pop("measures")}
        return {"metrics": measures, "by_label": data.pop("labels"), **data}


@checks_types
def score_segments(
    predictions: Sequence[VideoSegments],
    truth: Sequence[VideoSegments],
    *,
    tiou: Sequence[float] = PRESETS["thumos"],
    collar: float = COLLAR,
    split: Split | None = None,
) -> SegmentScores:
    """Compare predicted segments with annotated ones. docs/metrics.md has the definitions.

    `tiou`: thresholds of the mean average precision. `collar`: seconds of the F1 of events. `split`: the annotated
    videos that count. Annotations without segments, and lists that have no video in common, are an InputError.
    """
    if not tiou or any(not 0 < threshold <= 1 for threshold in tiou):
        raise InputError("tiou: give thresholds above 0 and at most 1, such as 0.3,0.5")
    if not 0 <= collar < 1e6:
        raise InputError(f"collar {collar:g}: must be seconds, 0 or more")
    paired = pair_segments(predictions, truth, split=split)
    _check_pairs(paired)
    ranked = rank_labels(paired.pairs, paired.labels, tiou)
    annotated = [pair for pair in paired.pairs if pair.is_annotated]
    events_V = [event_counts(pair, collar) for pair in annotated]
    overlap = _overlap(annotated)
    measures = [
        *_precision_measures(ranked, tiou, len(paired.pairs)),
        *_moment_measures(annotated, overlap),
        *_f1_measures(annotated, events_V, collar),
    ]
    return SegmentScores(
        measures=tuple(measures),
        labels=_label_scores(paired, ranked, events_V),
        tiou=tuple(tiou),
        collar=collar,
        num_videos=len(annotated),
        num_true=sum(len(pair.true) for pair in paired.pairs),
        num_predicted=sum(len(pair.predicted) for pair in paired.pairs),
        only_predicted=paired.only_predicted,
        only_annotated=paired.only_annotated,
        predicted_labels_without_truth=_minus(paired.predicted_labels, paired.labels),
        labels_never_predicted=_minus(paired.labels, paired.predicted_labels),
        notes=tuple(_notes(paired)),
        warnings=tuple(_warnings(paired, overlap, truth if split is None else ())),
    )


def _check_pairs(paired: SegmentPairs) -> None:
    if not paired.labels:
        raise InputError("the annotations have no segments of a class: there is nothing to compare with; add them")
    num_predicted = sum(pair.is_annotated for pair in paired.pairs) - len(paired.only_annotated)
    if paired.only_predicted and not num_predicted:
        names = f"{abridged(paired.only_predicted, 2)}; {abridged(paired.only_annotated, 2)}"
        raise InputError(f"no predicted video is an annotated one ({names}): write the same paths or names in both")


def _precision_measures(ranked: Sequence[RankedLabel], tiou: Sequence[float], num_videos: int) -> list[Measure]:
    draws_DU = np.array([mean_average_precisions(ranked, weights_V) for weights_V in _draws(num_videos)])
    values_U = mean_average_precisions(ranked)
    how = f"ActivityNet's eval_detection.py, mean of {counted(len(ranked), 'label')}"
    listed = ", ".join(f"{threshold:g}" for threshold in tiou)
    preset = next((f" ({name})" for name, thresholds in PRESETS.items() if thresholds == tuple(tiou)), "")
    measures = [
        Measure(f"mean_average_precision@{t:g}", float(value), _interval(float(value), draws_D), f"{how}, tIoU {t:g}")
        for t, value, draws_D in zip(tiou, values_U, draws_DU.T, strict=True)
    ]
    if len(tiou) > 1:
        mean, how = float(values_U.mean()), f"{how}, mean of tIoU {listed}{preset}"
        measures.insert(0, Measure("mean_average_precision", mean, _interval(mean, draws_DU.mean(axis=1)), how))
    return measures


def _moment_measures(annotated: Sequence[VideoPair], overlap: str) -> list[Measure]:
    names = ("frame_accuracy", "frame_accuracy_of_labels", "edit_score")
    if overlap:
        return [Measure(name, None, None, f"undefined: {overlap}") for name in names]
    times = [labelled_time(pair) for pair in annotated]
    ratios = (
        Ratio(_values(t.correct for t in times), _values(t.total for t in times)),
        Ratio(_values(t.correct_labelled for t in times), _values(t.labelled for t in times)),
        Ratio(_values(map(edit_score, annotated)), np.ones(len(annotated))),
    )
    protocols = (
        "fraction of all time whose label is right, background as a label; exact times, no frames",
        "the same, of the time that has an annotated label",
        "MS-TCN's edit score, background left out, mean of the videos",
    )
    return [_measure(name, ratio, how) for name, ratio, how in zip(names, ratios, protocols, strict=True)]


def _f1_measures(annotated: Sequence[VideoPair], events_V: Sequence[dict[str, Counts]], collar: float) -> list[Measure]:
    counts_V = [segment_counts(pair, [k / 100 for k in OVERLAPS]) for pair in annotated]
    measures = [
        _measure(
            f"f1@{k}",
            f1_ratio([counts[place] for counts in counts_V]),
            f"MS-TCN's F1 of segments at tIoU {k / 100:g}, background left out, sum over videos",
        )
        for place, k in enumerate(OVERLAPS)
    ]
    how = f"events whose start and stop are within {collar:g} s, optimal matching as in sed_eval, sum over all labels"
    return [*measures, _measure("event_f1", f1_ratio([_sum(counts.values()) for counts in events_V]), how)]


def _label_scores(
    paired: SegmentPairs, ranked: Sequence[RankedLabel], events_V: Sequence[dict[str, Counts]]
) -> tuple[LabelScores, ...]:
    precisions = {one.label: tuple(map(float, one.average_precisions())) for one in ranked}
    true, predicted = (
        Counter(span.label for pair in paired.pairs for span in spans(pair)) for spans in (_true, _predicted)
    )
    events: dict[str, list[Counts]] = defaultdict(list)
    for counts in events_V:
        for label, one in counts.items():
            events[label].append(one)
    return tuple(
        LabelScores(label, true[label], predicted[label], precisions.get(label), _f1(_sum(events[label])))
        for label in sorted({*true, *predicted})
    )


def _f1(counts: Counts) -> float | None:
    divisor = counts.predicted + counts.true
    return 2 * counts.correct / divisor if divisor else None


def _notes(paired: SegmentPairs) -> list[str]:
    notes = []
    if paired.by_name:
        names = abridged([f"{predicted} is {true}" for predicted, true in paired.by_name], 2)
        notes.append(f"{counted(len(paired.by_name), 'video')} matched by name, not by path: {names}")
    if paired.no_class:
        counts = ", ".join(f"{count:,} {label}" for label, count in paired.no_class.items())
        notes.append(f"segments of no class count as background: {counts}")
    if paired.without_length:
        names = _listed(paired.without_length, "video")
        notes.append(f"{names} of unknown length: frame_accuracy counts no background after the last segment")
    return notes


def _warnings(paired: SegmentPairs, overlap: str, truth: Sequence[VideoSegments]) -> list[str]:
    warnings = []
    if len(splits := sorted({video.split for video in truth} - {""})) > 1:
        warnings.append(f"the annotations have splits ({', '.join(splits)}), which all count; --split takes one")
    if paired.only_predicted:
        which = _listed(paired.only_predicted, "video")
        warnings.append(f"{which} not annotated: false positives of mean_average_precision, left out of all else")
    if paired.only_annotated:
        warnings.append(f"{_listed(paired.only_annotated, 'video')} without predictions: all segments count as missed")
    if extra := _minus(paired.predicted_labels, paired.labels):
        warnings.append(f"{_listed(extra, 'label')} not annotated: wrong in all but mean_average_precision")
    if never := _minus(paired.labels, paired.predicted_labels):
        warnings.append(f"{_listed(never, 'label')} never predicted: average precision 0{_alike(never, extra)}")
    if beyond := paired.beyond:
        first, number = beyond[0], counted(len(beyond), "annotated segment")
        where = f"{quoted(first.video)} has one until {first.stop:g} s, and lasts {first.seconds:g} s there"
        what = f"{number} beyond the end of the video that the predictions state ({where})"
        warnings.append(f"{what}: counted in all metrics, and frame_accuracy takes the video to be as long")
    for what, spans in (("predicted", _predicted), ("annotated", _true)):
        if repeated := _repeated(paired.pairs, spans):
            warnings.append(f"{what} twice, with the same times and label: {repeated}; each counts")
    scores = {span.score for pair in paired.pairs for span in pair.predicted}
    if len(scores) == 1 and sum(len(pair.predicted) for pair in paired.pairs) > 1:
        warnings.append(f"all scores are {scores.pop():g}: mean_average_precision ranks by video and time instead")
    if overlap:
        warnings.append(f"no frame_accuracy and edit_score: {overlap}")
    return warnings


def _alike(never: Sequence[str], extra: Sequence[str]) -> str:
    """Which predicted labels that are not annotated may stand for annotated ones: "; did you mean 'run' by 'runs'?"."""
    pairs = [(label, near) for label in never for near in names_alike(label, extra)[:1]]
    meant = [f"{quoted(label)} by {quoted(near)}" for label, near in pairs]
    return f"; did you mean {abridged(meant, MOST)}?" if meant else ""


def _overlap(annotated: Sequence[VideoPair]) -> str:
    """Where two labels are on at once, so that a moment has not one label; or ""."""
    for pair in annotated:
        for what, spans in (("predicted", pair.predicted), ("annotated", pair.true)):
            if both := first_overlap(spans):
                first, second = both
                labels = f"{quoted(first.label)} and {quoted(second.label)}"
                return f"{quoted(pair.video)} has {labels} {what} at once, at {second.start / 1000:g} s"
    return ""


def _repeated(pairs: Sequence[VideoPair], spans: Callable[[VideoPair], Sequence[Span]]) -> str:
    """How many segments are there already, and the first one; or ""."""
    number, first = 0, ""
    for pair in pairs:
        listed = sorted((span.start, span.stop, span.label) for span in spans(pair))
        repeated = [span for place, span in enumerate(listed[1:]) if span == listed[place]]
        number += len(repeated)
        if repeated and not first:
            first = f"{quoted(repeated[0][2])} at {repeated[0][0] / 1000:g} s of {quoted(pair.video)}"
    return f"{counted(number, 'segment')} ({first})" if number else ""


def _predicted(pair: VideoPair) -> Sequence[Span]:
    return pair.predicted


def _true(pair: VideoPair) -> Sequence[Span]:
    return pair.true


def _listed(names: Sequence[str], what: str) -> str:
    return f"{counted(len(names), what)} ({abridged([quoted(name) for name in names], MOST)})"


def _minus(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in others)


def _sum(counts: Iterable[Counts]) -> Counts:
    listed = [*counts]
    return Counts(*(sum(getattr(one, name) for one in listed) for name in ("correct", "predicted", "true")))


def _values(numbers: Iterable[float]) -> Values:
    return np.array([*numbers], np.float64)


def _measure(name: str, ratio: Ratio, protocol: str) -> Measure:
    value = ratio.value()
    if isnan(value):
        return Measure(name, None, None, f"undefined, nothing to count: {protocol}")
    draws = [ratio.value(weights_V) for weights_V in _draws(len(ratio.numerators_V))]
    return Measure(name, value, _interval(value, np.array(draws)), protocol)


def _draws(num_videos: int) -> Values:
    """(D, V): how often each video is drawn, with replacement, in each draw of as many videos; of few videos, none."""
    if num_videos < MIN_RESAMPLED:
        return np.ones((1, num_videos))
    rng = np.random.default_rng(0)
    return rng.multinomial(num_videos, np.full(num_videos, 1 / num_videos), size=NUM_DRAWS).astype(np.float64)


def _interval(value: float, values_D: Values) -> Interval | None:
    """The 2.5 and 97.5 % quantiles of the draws, moved so that their mean is the value; None without a width.

    A video that is drawn twice ranks its correct segments side by side, which raises the mean average precision. The
    move takes this back.
    """
    drawn = values_D[~np.isnan(values_D)]
    if not len(drawn):
        return None
    below, above = np.quantile(drawn, [0.025, 0.975]) - drawn.mean()
    low, high = max(value + min(below, 0.0), 0.0), min(value + max(above, 0.0), 1.0)
    return (float(low), float(high)) if high - low > NO_WIDTH else None
