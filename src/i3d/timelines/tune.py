"""Choose how segments are found, on videos with known segments.

Windows are scored once; then settings of a grid are compared by a metric, in two steps that are repeated until neither
changes anything: smoothing with both thresholds, and shortest segment with shortest gap. Of settings that are equally
good, those nearest to the defaults are chosen.

The metric on these videos is too good as an estimate for others, since the settings fit them. Where at least three
videos have segments, each gets segments by the settings that the others choose: the metric of these is "held out".

Letters in names: V videos, W windows, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from i3d.data.segments.segment import VideoSegments
from i3d.errors import InputError
from i3d.evaluation.segment_pairs import VideoPair, pair_segments
from i3d.evaluation.weighted_metrics import WeightedMetric, check_metric, weighted_metric
from i3d.recipes.names import SegmentMetric
from i3d.recipes.segments import SegmentSettings
from i3d.timelines.find import ScoredVideo
from i3d.timelines.segmentation import find_segments
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress

GRID: Final = (  # each holds the default
    ("smooth", (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)),
    ("enter", (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)),
    ("leave", (0.2, 0.4, 0.6, 0.8, 1.0)),  # as a fraction of enter
    ("min_length", (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)),
    ("min_gap", (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)),
)
STEPS: Final = ((0, 1, 2), (3, 4))  # numbers of settings that are chosen together
ROUNDS: Final = 4
MIN_HELD_OUT: Final = 3  # videos with segments
DIGITS: Final = 9  # to which values are compared
Place = tuple[int, ...]  # in the grid


@dataclass(frozen=True)
class Tuning:
    """The chosen settings, and how good they are."""

    settings: SegmentSettings
    metric: SegmentMetric
    default: float  # the metric with the default settings
    value: float  # with the chosen ones, on the same videos
    held_out: float | None  # each video with the settings that the others choose; None: too few videos
    num_videos: int
    num_segments: int  # annotated
    num_settings: int  # that were compared
    protocol: str = ""  # how the windows were scored


def tune_settings(
    videos: Sequence[ScoredVideo],
    truth: Sequence[VideoSegments],
    labels: Sequence[str],
    *,
    by: SegmentMetric = "f1@50",
    multi_label: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> Tuning:
    """The best settings for scored videos with their annotated segments, one for each, in the same order."""
    comparison = _Comparison(videos, truth, labels, by, multi_label, on_progress)
    weights_V = np.ones(len(videos))
    best = search(lambda place: comparison.value(place, weights_V))
    return Tuning(
        settings=settings_at(best),
        metric=by,
        default=comparison.value(DEFAULT, weights_V),
        value=comparison.value(best, weights_V),
        held_out=comparison.held_out(),
        num_videos=len(videos),
        num_segments=sum(len(pair.true) for pair in comparison.pairs(DEFAULT)),
        num_settings=comparison.num_settings,
    )


def check_by(by: SegmentMetric, truth: Sequence[VideoSegments], *, multi_label: bool) -> None:
    """An InputError for a metric that is undefined for these annotations."""
    check_metric(by, pair_segments([], truth).pairs, multi_label=multi_label)


def settings_at(place: Place) -> SegmentSettings:
    """The settings at a place of the grid."""
    values = {name: values[at] for (name, values), at in zip(GRID, place, strict=True)}
    return SegmentSettings(**{**values, "leave": round(values["enter"] * values["leave"], 4)})


def _default_place() -> Place:
    default = SegmentSettings()
    wanted = {**dict(default), "leave": default.leave / default.enter}
    return tuple(values.index(wanted[name]) for name, values in GRID)


DEFAULT: Final = _default_place()


def search(value_of: Callable[[Place], float]) -> Place:
    """The place with the highest value, from the defaults on."""
    best = DEFAULT
    for _ in range(ROUNDS):
        before = best
        for step in STEPS:
            best = max(_places(best, step), key=lambda place: (round(value_of(place), DIGITS), -_distance(place)))
        if best == before:
            break
    return best


def _places(start: Place, step: tuple[int, ...]) -> list[Place]:
    """All places that differ in the settings of a step at most."""
    ranges = [range(len(values)) if n in step else (start[n],) for n, (_, values) in enumerate(GRID)]
    return list(product(*ranges))


def _distance(place: Place) -> int:
    """Steps of the grid to the defaults."""
    return sum(abs(at - default) for at, default in zip(place, DEFAULT, strict=True))


class _Comparison:
    """The metric of settings on videos. What was computed of settings is stored."""

    def __init__(
        self,
        videos: Sequence[ScoredVideo],
        truth: Sequence[VideoSegments],
        labels: Sequence[str],
        by: SegmentMetric,
        multi_label: bool,
        on_progress: ProgressCallback,
    ) -> None:
        if not videos or len(videos) != len(truth):
            raise InputError(f"{len(videos)} videos, {len(truth)} of them annotated; give annotations of each video")
        # Pairs come in the order of their names: with numbers as names, that of the videos.
        self._truth = [VideoSegments(f"{v:09}", one.segments, one.seconds) for v, one in enumerate(truth)]
        self._videos, self._labels, self._by, self._multi_label = videos, labels, by, multi_label
        self._scores = [video.scores_WK.astype(np.float64) for video in videos]
        self._metrics: dict[Place, WeightedMetric] = {}
        self._on_progress = on_progress

    @property
    def num_settings(self) -> int:
        return len(self._metrics)

    def value(self, place: Place, weights_V: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        """The metric with the settings at a place. `weights_V`: how often each video counts."""
        if place not in self._metrics:
            self._metrics[place] = weighted_metric(self._by, self.pairs(place))
            self._on_progress(Progress("tune", len(self._metrics), None, "setting"))
        return self._metrics[place](weights_V)

    def pairs(self, place: Place) -> tuple[VideoPair, ...]:
        """The videos with their segments by the settings at a place."""
        return self._pairs([place] * len(self._videos))

    def held_out(self) -> float | None:
        """The metric where each video has the settings that the others choose; None: too few have segments."""
        annotated = [len(pair.true) > 0 for pair in self.pairs(DEFAULT)]
        if sum(annotated) < MIN_HELD_OUT:
            return None
        places = []
        for v in range(len(self._videos)):
            weights_V = np.ones(len(self._videos))
            weights_V[v] = 0
            places.append(search(lambda place, weights_V=weights_V: self.value(place, weights_V)))  # type: ignore[misc]
        return weighted_metric(self._by, self._pairs(places))(np.ones(len(self._videos)))

    def _pairs(self, places: Sequence[Place]) -> tuple[VideoPair, ...]:
        predicted = [
            VideoSegments(
                true.video,
                find_segments(
                    scores_WK, self._labels, settings_at(place),
                    step=video.windows.step, seconds=video.seconds, multi_label=self._multi_label,
                ),
                video.seconds,
            )
            for place, video, scores_WK, true in zip(places, self._videos, self._scores, self._truth, strict=True)
        ]  # fmt: skip
        return pair_segments(predicted, self._truth).pairs
