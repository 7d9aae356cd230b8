"""From the scores of sliding windows to segments: pure functions of numbers.

Scores are smoothed in seconds, so that another stride gives the same segments. Of a single-label network one class is
on at a time, of a multi-label network any number. A class begins above one threshold and ends below a lower one
(hysteresis, Schmitt 1938), so that a score near one threshold does not cut an action into pieces. Beside parts where
nothing is on, a segment begins and ends where its score crosses half of the highest, which is where the action does: a
window that is half within it has half of its score.

Letters in names: W windows, K classes.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.data.segments.segment import PRECISION, UNKNOWN, Segment
from i3d.recipes.segments import SegmentSettings as SegmentSettings
from i3d.utils.arguments import checks_types

OFF: Final = -1
TINY: Final = 1e-9  # of a step
Scores = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


@checks_types
def find_segments(
    probabilities_WK: Scores,
    labels: Sequence[str],
    settings: SegmentSettings,
    *,
    step: float,
    seconds: float,
    multi_label: bool = False,
) -> tuple[Segment, ...]:
    """The segments of a video of this length, by start.

    Window w is centred at `w * step` seconds and stands for the time that is nearest to its centre. Of a single-label
    network, the segments and `UNKNOWN` between them cover the whole video. The score of a segment is the mean of its
    smoothed scores; that of an unknown one, of the best class of each window.
    """
    edges_W1 = np.clip((np.arange(len(probabilities_WK) + 1) - 0.5) * step, 0, seconds)
    edges_W1[-1] = seconds
    smoothed_WK = smooth(probabilities_WK, step=step, seconds=settings.smooth)
    if multi_label:
        segments = [
            segment
            for k, label in enumerate(labels)
            for segment in _segments(_states(probabilities_WK[:, [k]], smoothed_WK[:, [k]], edges_W1, settings),
                                     smoothed_WK[:, [k]], [label], edges_W1, has_unknown=False)
        ]  # fmt: skip
    else:
        states_W = _states(probabilities_WK, smoothed_WK, edges_W1, settings)
        segments = _segments(states_W, smoothed_WK, labels, edges_W1)
    return tuple(sorted(segments))


def smooth(probabilities_WK: Scores, *, step: float, seconds: float) -> Scores:
    """The mean over `seconds` around the centre of each window, of scores that are linear between two centres.

    So it is over the same time with any step. At the ends, it is over the time between the outer centres.
    """
    reach, last = seconds / 2 / step, len(probabilities_WK) - 1
    if reach < TINY or last == 0:
        return probabilities_WK.copy()
    centres_W = np.arange(last + 1.0)
    from_W, to_W = np.maximum(centres_W - reach, 0), np.minimum(centres_W + reach, last)
    means_WK = np.empty_like(probabilities_WK)
    for k, scores_W in enumerate(probabilities_WK.T):
        area_W = np.concatenate([[0.0], np.cumsum((scores_W[1:] + scores_W[:-1]) / 2)])
        means_WK[:, k] = (_area(area_W, scores_W, to_W) - _area(area_W, scores_W, from_W)) / (to_W - from_W)
    return np.clip(means_WK, 0, 1, out=means_WK)


def _area(area_W: Scores, scores_W: Scores, places_W: Scores) -> Scores:
    """The area below linear scores from the first centre to some places, by that up to each centre."""
    before_W = np.minimum(places_W.astype(np.int64), len(scores_W) - 2)
    part_W = places_W - before_W
    slope_W = scores_W[before_W + 1] - scores_W[before_W]
    total_W: Scores = area_W[before_W] + part_W * (scores_W[before_W] + part_W * slope_W / 2)
    return total_W


def _states(probabilities_WK: Scores, smoothed_WK: Scores, edges_W1: Scores, settings: SegmentSettings) -> Classes:
    """The class that is on at each window, or `OFF`; of one class (W, 1), what is above `leave` around `enter`."""
    states_W = _best_class(smoothed_WK, settings)
    _fill_gaps(states_W, edges_W1, shorter_than=settings.min_gap)
    _trim(states_W, probabilities_WK, smoothed_WK, settings)
    for first, stop, state in _runs(states_W):
        is_whole_video = stop - first == len(states_W)  # its length is that of the video, not of what it shows
        if state != OFF and not is_whole_video and edges_W1[stop] - edges_W1[first] < settings.min_length:
            states_W[first:stop] = OFF
    _fill_gaps(states_W, edges_W1, shorter_than=settings.min_gap)  # where what was dropped leaves one
    return states_W


def _best_class(smoothed_WK: Scores, settings: SegmentSettings) -> Classes:
    """The class that is on at each window: it stays until it falls below `leave`, or a higher one enters.

    A class that reaches `enter` begins where it became the highest class above `leave`.
    """
    best_W, states_W = smoothed_WK.argmax(axis=1), np.full(len(smoothed_WK), OFF)
    state = OFF
    for w, scores_K in enumerate(smoothed_WK):
        best = int(best_W[w])
        if scores_K[best] >= settings.enter and (state == OFF or scores_K[best] > scores_K[state]):
            state = best
            _reach_back(states_W, w, best, (best_W == best) & (smoothed_WK[:, best] >= settings.leave))
        elif state != OFF and scores_K[state] < settings.leave:
            state = OFF
        states_W[w] = state
    return states_W


def _reach_back(states_W: Classes, w: int, state: int, is_candidate_W: npt.NDArray[np.bool_]) -> None:
    """Begin a class that enters at window w where it could have begun, also if another one was still on there."""
    w -= 1
    while w >= 0 and states_W[w] != state and is_candidate_W[w]:
        states_W[w] = state
        w -= 1


def _fill_gaps(states_W: Classes, edges_W1: Scores, *, shorter_than: float) -> None:
    """Turn a class on in short gaps between two of its runs."""
    runs = _runs(states_W)
    for before, (first, stop, state), after in zip(runs, runs[1:], runs[2:], strict=False):
        is_gap = state == OFF and before[2] == after[2] != OFF
        if is_gap and edges_W1[stop] - edges_W1[first] < shorter_than:
            states_W[first:stop] = before[2]


def _trim(states_W: Classes, probabilities_WK: Scores, smoothed_WK: Scores, settings: SegmentSettings) -> None:
    """Turn classes off, beside `OFF` and at the ends, where they are below half of the highest score of their run.

    That half is taken to be at least `leave` and at most `enter`. A neighbour of another class is not moved.
    """
    is_off_W2 = np.concatenate([[True], states_W == OFF, [True]])
    for first, stop, state in _runs(states_W):
        if state == OFF:
            continue
        half = float(probabilities_WK[first:stop, state].max()) / 2
        (above,) = np.nonzero(smoothed_WK[first:stop, state] >= min(max(half, settings.leave), settings.enter))
        if is_off_W2[first]:
            states_W[first : first + above[0]] = OFF
        if is_off_W2[stop + 1]:
            states_W[first + above[-1] + 1 : stop] = OFF


def _runs(states_W: Classes) -> list[tuple[int, int, int]]:
    """(first, stop, state) of windows in a row that have one state."""
    cuts = [0, *(np.flatnonzero(np.diff(states_W)) + 1).tolist(), len(states_W)]
    return [(first, stop, int(states_W[first])) for first, stop in pairwise(cuts) if stop > first]


def _segments(
    states_W: Classes, smoothed_WK: Scores, labels: Sequence[str], edges_W1: Scores, *, has_unknown: bool = True
) -> list[Segment]:
    """A segment of each run of windows. One that is shorter than a millisecond is left out.

    `has_unknown`: also of those in which nothing is on.
    """
    segments = []
    for first, stop, state in _runs(states_W):
        if state == OFF and not has_unknown:
            continue
        start_seconds, stop_seconds = round(float(edges_W1[first]), PRECISION), round(float(edges_W1[stop]), PRECISION)
        scores_W = smoothed_WK[first:stop].max(axis=1) if state == OFF else smoothed_WK[first:stop, state]
        if stop_seconds > start_seconds:
            label = UNKNOWN if state == OFF else labels[state]
            segments.append(Segment(start_seconds, stop_seconds, label, round(float(scores_W.mean()), 4)))
    return segments
