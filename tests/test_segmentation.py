"""Segments in the scores of windows: hand-made scores, and properties that hold for any."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from i3d.timelines.segmentation import UNKNOWN, SegmentSettings, find_segments, smooth
from support.examples import examples

PLAIN = SegmentSettings(smooth=0, enter=0.5, leave=0.3, min_length=0, min_gap=0)


def scores_of(text, *, high=0.9):
    """Scores of the classes a, b, c: of the text "aa.b" two windows of a, one of none, one of b."""
    rows = []
    for letter in text:
        row = np.full(3, 0.05)
        if letter in "abc":
            row["abc".index(letter)] = high
        rows.append(row)
    return np.array(rows)


def spans(text, settings=PLAIN, *, step=1.0, seconds=None, multi_label=False):
    scores_WK = scores_of(text) if isinstance(text, str) else np.array(text, float)
    seconds = (len(scores_WK) - 0.5) * step if seconds is None else seconds
    segments = find_segments(scores_WK, ["a", "b", "c"], settings, step=step, seconds=seconds, multi_label=multi_label)
    return [(segment.label, segment.start, segment.stop) for segment in segments]


def test_edges_are_in_the_middle_between_windows_and_the_ends_those_of_the_video():
    assert spans("aabb", seconds=3.2) == [("a", 0, 1.5), ("b", 1.5, 3.2)]
    assert spans("aabb", step=0.64) == [("a", 0, 0.96), ("b", 0.96, 2.24)]


def test_a_label_may_come_again_and_nothing_is_unknown():
    assert spans("a.a") == [("a", 0, 0.5), (UNKNOWN, 0.5, 1.5), ("a", 1.5, 2.5)]
    assert spans("...") == [(UNKNOWN, 0, 2.5)]


def test_short_gaps_are_filled_and_then_short_segments_dropped():
    assert spans("aa.aa", SegmentSettings(**{**dict(PLAIN), "min_gap": 1.5})) == [("a", 0, 4.5)]
    assert spans("a.a.a", SegmentSettings(**{**dict(PLAIN), "min_gap": 1.5, "min_length": 4})) == [("a", 0, 4.5)]
    assert spans("aab", SegmentSettings(**{**dict(PLAIN), "min_length": 1.2}), seconds=2.6) == [
        ("a", 0, 1.5), (UNKNOWN, 1.5, 2.6),
    ]  # fmt: skip


def test_a_label_of_the_whole_video_is_never_too_short():
    settings = SegmentSettings(**{**dict(PLAIN), "min_length": 4})
    assert spans("aa", settings) == [("a", 0, 1.5)]
    assert spans("ab", settings) == [(UNKNOWN, 0, 1.5)]


def test_a_gap_that_a_dropped_segment_leaves_is_filled():
    settings = SegmentSettings(**{**dict(PLAIN), "min_gap": 1.5, "min_length": 1.5})
    assert spans("aabaa", settings) == [("a", 0, 4.5)]


def test_a_score_near_the_threshold_does_not_cut_a_segment():
    scores_W = [0.1, 0.6, 0.4, 0.55, 0.35, 0.6, 0.2, 0.35, 0.1]
    one_class = [[score, 0, 0] for score in scores_W]
    assert spans(one_class) == [(UNKNOWN, 0, 0.5), ("a", 0.5, 5.5), (UNKNOWN, 5.5, 8.5)]  # 0.35 never reaches 0.5


def test_one_label_follows_another_where_it_becomes_the_higher_one():
    scores = [[0.9, 0.1, 0], [0.5, 0.3, 0.2], [0.4, 0.45, 0.15], [0.1, 0.9, 0]]
    assert spans(scores) == [("a", 0, 1.5), ("b", 1.5, 3.5)]  # 0.45 is below `enter`


def test_several_labels_at_once():
    scores = [[0.9, 0.1, 0], [0.9, 0.8, 0], [0.1, 0.8, 0], [0.1, 0.1, 0.1]]
    assert spans(scores, multi_label=True) == [("a", 0, 1.5), ("b", 0.5, 2.5)]


def test_a_class_named_unknown_is_found_beside_others():
    scores_WK = np.array([[0.9, 0.1], [0.9, 0.9], [0.1, 0.9]])
    segments = find_segments(scores_WK, [UNKNOWN, "b"], PLAIN, step=1.0, seconds=2.5, multi_label=True)
    assert [(one.label, one.start, one.stop) for one in segments] == [(UNKNOWN, 0, 1.5), ("b", 0.5, 2.5)]


def test_an_hour_of_400_classes_takes_ten_times_the_memory_of_its_scores():
    """docs/timeline.md has these numbers: 9 MB of scores, 90 MB for a moment."""
    scores_WK = np.random.default_rng(0).random((5625, 400), np.float32) / 400
    tracemalloc.start()
    find_segments(scores_WK.astype(float), [str(k) for k in range(400)], SegmentSettings(), step=0.64, seconds=3600.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores_WK.nbytes == 9_000_000
    assert peak + 2 * scores_WK.nbytes < 95_000_000  # the blocks, and all of them together


@pytest.mark.parametrize("seconds", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("step", [0.64, 1.6])
def test_smoothing_is_over_the_same_seconds_at_any_stride(step, seconds):
    """Scores between the centres of windows are on a line: 16 times as many windows there change nothing."""
    scores_WK = np.random.default_rng(0).random((40, 2))
    places = np.arange(39 * 16 + 1) / 16
    fine_WK = np.stack([np.interp(places, np.arange(40), scores_W) for scores_W in scores_WK.T], axis=1)
    smoothed_WK = smooth(scores_WK, step=step, seconds=seconds)
    np.testing.assert_allclose(smooth(fine_WK, step=step / 16, seconds=seconds)[::16], smoothed_WK, atol=1e-12)
    assert np.abs(smoothed_WK - scores_WK).max() > 0.02
    np.testing.assert_array_equal(smooth(scores_WK, step=step, seconds=0), scores_WK)


def test_the_default_smoothing_works_at_the_default_stride():
    """A second is less than two strides of 0.64 s: by hand, 0.61 of the window itself and 0.195 of each neighbour."""
    scores_WK = np.array([[0.0], [0.0], [1.0], [0.0], [0.0]])
    reach = 0.5 / 0.64
    expected = [0, reach / 4, 1 - reach / 2, reach / 4, 0]
    np.testing.assert_allclose(smooth(scores_WK, step=0.64, seconds=1.0)[:, 0], expected, atol=1e-12)


def test_the_score_of_a_segment_is_the_mean_of_its_windows():
    scores_WK = np.array([[0.9, 0.1], [0.7, 0.2], [0.25, 0.15], [0.1, 0.05], [0.1, 0.8]])
    segments = find_segments(scores_WK, ["a", "b"], PLAIN, step=1.0, seconds=5.0)
    assert [(one.label, one.score) for one in segments] == [("a", 0.8), (UNKNOWN, 0.175), ("b", 0.8)]
    smoothed = find_segments(scores_WK, ["a", "b"], PLAIN.model_copy(update={"smooth": 2.0}), step=1.0, seconds=5.0)
    means_W = [0.8, (0.45 + 0.7 + 0.125), (0.35 + 0.25 + 0.05)]  # over 1 s at the end, else over 2 s
    assert smoothed[0].score == pytest.approx((means_W[0] + means_W[1] / 2) / 2, abs=1e-4)


@examples(80)
@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=40), st.floats(0, 4))
def test_no_gap_between_two_segments_of_a_label_is_shorter_than_the_shortest(scores, min_gap):
    settings = SegmentSettings(smooth=0, enter=0.6, min_gap=min_gap, min_length=1.5)
    segments = find_segments(np.array(scores), ["a", "b", "c"], settings, step=1.0, seconds=float(len(scores)))
    for before, gap, after in zip(segments, segments[1:], segments[2:], strict=False):
        if gap.label == UNKNOWN and before.label == after.label:
            assert gap.stop - gap.start >= min_gap


@examples(60)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=40),
    st.floats(0.01, 3),
    st.floats(0, 4),
    st.booleans(),
)
def test_segments_cover_the_video_once(scores, step, smoothing, multi_label):
    scores_WK = np.array(scores)
    seconds = len(scores) * step
    segments = find_segments(
        scores_WK, ["a", "b", "c"], SegmentSettings(smooth=smoothing), step=step, seconds=seconds,
        multi_label=multi_label,
    )  # fmt: skip
    for label in ("a", "b", "c") if multi_label else (None,):
        own = [segment for segment in segments if label in (None, segment.label)]
        assert all(one.stop <= other.start for one, other in zip(own, own[1:], strict=False))
    if not multi_label:
        assert segments[0].start == 0
        assert segments[-1].stop == round(seconds, 3)
        assert all(one.stop == other.start for one, other in zip(segments, segments[1:], strict=False))


def test_thresholds_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match=r"leave \(0.6\) must be at most enter \(0.5\)"):
        SegmentSettings(leave=0.6)


@pytest.mark.parametrize(("span", "length"), [(0.04, 5), (1.0, 5), (2.56, 5), (0.04, 0.6)])
@pytest.mark.parametrize("leave", [0.3, 0.5])
def test_a_label_between_unknown_parts_begins_and_ends_with_the_action(span, leave, length):
    """Of windows that see the action from 5 s on, also if it is shorter than the smoothing."""
    step, smoothing, number = 0.04, 1.0, 500
    centres_W = np.arange(number) * step
    share_W = np.clip((np.minimum(centres_W + span / 2, 5 + length) - np.maximum(centres_W - span / 2, 5)) / span, 0, 1)
    scores_WK = np.full((number, 20), (1 - share_W[:, None]) / 20)
    scores_WK[:, 0] += share_W
    settings = SegmentSettings(smooth=smoothing, leave=leave)
    segments = find_segments(scores_WK, [f"{k}" for k in range(20)], settings, step=step, seconds=20.0)
    (segment,) = (one for one in segments if one.label != UNKNOWN)
    assert abs(segment.start - 5) <= 2 * step
    assert abs(segment.stop - (5 + length)) <= 2 * step
