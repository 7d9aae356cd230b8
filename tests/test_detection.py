"""Mean average precision at temporal IoU: by hand, against a second implementation, and its properties."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from i3d.errors import InputError
from i3d.evaluation.detection import PRESETS, match_segments, mean_average_precisions, rank_labels
from i3d.evaluation.segment_pairs import Span, pair_segments
from i3d.evaluation.segment_scores import score_segments
from support.examples import examples
from support.segments import LABELS, free_segments, video

TIOU = (0.2, 0.3, 0.5, 0.7, 0.95)


def mean_precisions(predictions, truth, tiou=TIOU):
    paired = pair_segments(predictions, truth)
    return mean_average_precisions(rank_labels(paired.pairs, paired.labels, tiou)).tolist()


def average(predictions, truth):
    return sum(mean_precisions(predictions, truth)) / len(TIOU)


# by hand
#
# annotated: run in a: 0-10 and 20-30, in b: 0-10; walk in b: 50-60
#
#   rank  score  video  segment  best annotated      at 0.5   precision   at 0.6   precision
#   1     0.9    a      0-10     0-10: 1             hit      1/1         hit      1/1
#   2     0.8    a      0-8      0-10: 0.8, taken    -                    -
#   3     0.7    c      0-10     none in c           -                    -
#   4     0.6    b      0-5      0-10: 0.5           hit      2/4         -
#   5     0.5    a      21-30    20-30: 0.9          hit      3/5         hit      2/5
#
# highest precision from each recall on:   1, 3/5, 3/5            1, 2/5
# average precision of run (3 annotated):  (1 + 3/5 + 3/5) / 3    (1 + 2/5) / 3
# of walk, never predicted: 0. jump is not annotated: in no mean.

TRUTH = (video("a", (0, 10, "run"), (20, 30, "run")), video("b", (0, 10, "run"), (50, 60, "walk")))
PREDICTED = (
    video("a", (0, 10, "run", 0.9), (0, 8, "run", 0.8), (21, 30, "run", 0.5), (0, 10, "jump", 1.0)),
    video("b", (0, 5, "run", 0.6)),
    video("c", (0, 10, "run", 0.7)),
)


def test_a_table_by_hand():
    scores = score_segments(PREDICTED, TRUTH, tiou=(0.5, 0.6))
    run = {0.5: 2.2 / 3, 0.6: 1.4 / 3}
    by_label = {one.label: one for one in scores.labels}
    assert by_label["run"].average_precisions == pytest.approx(tuple(run.values()))
    assert by_label["walk"].average_precisions == (0, 0)
    assert by_label["jump"].average_precisions is None
    assert scores.value("mean_average_precision@0.5") == pytest.approx(run[0.5] / 2)
    assert scores.value("mean_average_precision@0.6") == pytest.approx(run[0.6] / 2)
    assert scores.value("mean_average_precision") == pytest.approx((run[0.5] + run[0.6]) / 4)


def test_the_presets():
    assert PRESETS["thumos"] == (0.3, 0.4, 0.5, 0.6, 0.7)
    assert PRESETS["activitynet"] == tuple(k / 100 for k in range(50, 100, 5))


# against a second implementation: exact fractions, plain loops, and the mean over recalls


def reference(predictions, truth, tiou):
    """For each threshold, the mean over labels of the mean, over r, of the best precision of lists with r hits."""
    means = []
    for threshold in tiou:
        limit = Fraction(str(threshold))
        values = []
        for label in {s.label for v in truth for s in v.segments}:
            annotated = [[v.video, s.start, s.stop, False] for v in truth for s in v.segments if s.label == label]
            ranked = [(-s.score, v.video, s.start, s.stop) for v in predictions for s in v.segments if s.label == label]
            precisions = []  # (number of hits, precision) of the first 1, 2, ... segments
            hits = 0
            for number, (_, name, start, stop) in enumerate(sorted(ranked), start=1):
                best = None
                for other in annotated:
                    iou = exact_iou(start, stop, other[1], other[2])
                    if other[0] != name or other[3] or iou < limit:
                        continue
                    if best is None or (iou, other[1], other[2]) >= best[0]:
                        best = (iou, other[1], other[2]), other
                if best is not None:
                    best[1][3] = True
                    hits += 1
                precisions.append((hits, Fraction(hits, number)))
            at_recalls = [
                max((p for h, p in precisions if h >= r), default=Fraction(0)) for r in range(1, len(annotated) + 1)
            ]
            values.append(sum(at_recalls) / len(annotated))
        means.append(float(sum(values) / len(values)))
    return means


def exact_iou(start, stop, other_start, other_stop):
    edges = [Fraction(str(value)) for value in (start, stop, other_start, other_stop)]
    common = max(Fraction(0), min(edges[1], edges[3]) - max(edges[0], edges[2]))
    return common / (edges[1] - edges[0] + edges[3] - edges[2] - common)


@given(free_segments(), free_segments("abcd"))
@examples(150)
def test_against_a_second_implementation(truth, predictions):
    assume(any(one.segments for one in truth))
    assert mean_precisions(predictions, truth) == pytest.approx(reference(predictions, truth, TIOU), abs=1e-12)


def test_an_iou_that_equals_the_threshold_is_a_hit():
    for threshold in (0.1, 0.3, 0.6, 0.7, 0.9):  # 0.7 - 0.4 is below 0.3 in binary
        spans = [Span(400, 1400, "run")]
        assert match_segments([Span(400, 400 + round(1000 * threshold), "run")], spans, [threshold]).all()
        assert not match_segments([Span(400, 399 + round(1000 * threshold), "run")], spans, [threshold]).any()


# properties


@given(free_segments())
def test_a_perfect_prediction_is_1(truth):
    assume(any(one.segments for one in truth))
    assert mean_precisions(truth, truth) == pytest.approx([1] * len(TIOU))


@given(free_segments(), free_segments("abcd"), st.randoms())
@examples(50)
def test_neither_the_order_of_videos_nor_the_scale_of_scores_matters(truth, predictions, random):
    assume(any(one.segments for one in truth))
    assume(not predictions or {one.video for one in predictions} & {one.video for one in truth})
    scores = score_segments(predictions, truth)
    shuffled, true = random.sample(predictions, len(predictions)), random.sample(truth, len(truth))
    again = score_segments(shuffled, true)
    assert replace(again, warnings=(), notes=(), only_predicted=(), only_annotated=()) == replace(
        scores, warnings=(), notes=(), only_predicted=(), only_annotated=()
    )
    scaled = [replace(one, segments=tuple(replace(s, score=s.score / 3) for s in one.segments)) for one in predictions]
    assert mean_precisions(scaled, truth) == mean_precisions(predictions, truth)


@given(free_segments(), free_segments("abcd"), st.data())
@examples(100)
def test_a_duplicate_never_raises_it_where_one_segment_fits_one_annotated_segment_only(truth, predictions, data):
    """Above a tIoU of 0.5, if the annotated segments of a label do not overlap."""
    truth = tuple(replace(one, segments=without_overlaps(one.segments)) for one in truth)
    assume(any(one.segments for one in truth) and any(one.segments for one in predictions))
    place = data.draw(st.sampled_from([v for v, one in enumerate(predictions) if one.segments]))
    chosen = predictions[place]
    copy = replace(data.draw(st.sampled_from(chosen.segments)), score=data.draw(st.integers(0, 4)) / 4)
    more = replace(chosen, segments=(*chosen.segments, copy))
    duplicated = (*predictions[:place], more, *predictions[place + 1 :])
    tiou = (0.51, 0.7, 0.95)
    if copy.score <= max(s.score for s in chosen.segments if replace(s, score=0) == replace(copy, score=0)):
        before, after = mean_precisions(predictions, truth, tiou), mean_precisions(duplicated, truth, tiou)
        assert all(new <= old + 1e-12 for new, old in zip(after, before, strict=True))


def without_overlaps(segments):
    last = dict.fromkeys(LABELS, 0.0)
    chosen = []
    for segment in segments:
        if segment.start >= last[segment.label]:
            chosen.append(segment)
            last[segment.label] = segment.stop
    return tuple(chosen)


def test_a_duplicate_may_be_a_hit_where_it_fits_a_second_annotated_segment():
    """As in ActivityNet: below 0.5 one segment can fit two, and its copy takes the second."""
    truth = (video("a", (0, 4, "run"), (6, 10, "run")),)
    once, twice = ((video("a", *[(0, 10, "run", 0.5)] * number),) for number in (1, 2))
    assert mean_precisions(once, truth, (0.3, 0.6)) == [0.5, 0]
    assert mean_precisions(twice, truth, (0.3, 0.6)) == [1, 0]
    assert any("predicted twice" in warning for warning in score_segments(twice, truth).warnings)


# what is not in both lists


def test_predictions_in_videos_without_annotated_segments_are_false_positives():
    truth = (video("a", (0, 10, "run")), video("empty", seconds=20))
    hit = (0, 10, "run", 0.5)
    assert mean_precisions((video("a", hit),), truth, (0.5,)) == [1]
    for name in ("empty", "absent"):
        assert mean_precisions((video("a", hit), video(name, (0, 10, "run", 0.9))), truth, (0.5,)) == [0.5]


def test_no_predictions_are_0_and_no_annotations_an_error():
    truth = (video("a", (0, 10, "run")),)
    for predictions in ((), (video("a"),)):
        scores = score_segments(predictions, truth)
        assert scores.value("mean_average_precision") == scores.value("event_f1") == scores.value("edit_score") == 0
        assert scores.value("f1@10") == scores.value("frame_accuracy") == 0
    for nothing in ((), (video("a"),), (video("a", (0, 1, "unknown")),)):
        with pytest.raises(InputError, match="no segments of a class"):
            score_segments(truth, nothing)


def test_equal_scores_rank_by_video_and_time_and_are_reported():
    truth = (video("a", (0, 10, "run")),)
    predictions = (video("b", (0, 10, "run")), video("a", (20, 30, "run"), (0, 10, "run")))
    assert mean_precisions(predictions, truth, (0.5,)) == [1]
    assert mean_precisions((replace(predictions[0], video="B"), predictions[1]), truth, (0.5,)) == [0.5]
    assert any(warning.startswith("all scores are 1") for warning in score_segments(predictions, truth).warnings)


def test_of_an_average_over_few_videos_there_is_no_interval():
    truth = tuple(video(f"v{k}", (0, 10, "run")) for k in range(12))
    predictions = tuple(video(f"v{k}", (k % 3 * 4, 10, "run", 0.5)) for k in range(12))
    for number, has_interval in ((9, False), (12, True)):
        scores = score_segments(predictions[:number], truth[:number])
        measure = next(one for one in scores.measures if one.name == "mean_average_precision@0.5")
        assert (measure.interval is not None) is has_interval
        if measure.interval:
            assert 0 < measure.interval[0] < measure.value < measure.interval[1] < 1


def test_the_interval_holds_the_value_where_labels_are_many_and_videos_of_each_few():
    """Of the plain bootstrap it did not: copies of a video have their correct segments side by side in the ranking."""
    random = np.random.default_rng(0)
    truth, predictions = [], []
    for v in range(120):
        label = f"label {v % 40}"
        truth.append(video(f"v{v}", (0, 10, label)))
        segments = [(shift, shift + 10, label, random.random()) for shift in random.uniform(0, 30, size=4)]
        predictions.append(video(f"v{v}", *segments, (0.5, 10, label, random.random())))
    for measure in score_segments(predictions, truth).measures:
        assert measure.interval is None or measure.interval[0] <= measure.value <= measure.interval[1]


def test_weights_are_as_videos_listed_so_often():
    paired = pair_segments(PREDICTED, TRUTH)
    (ranked,) = rank_labels(paired.pairs, ("run",), TIOU)
    twice = (*(replace(one, video=f"{one.video}2") for one in PREDICTED[:1]), *PREDICTED)
    true = (*(replace(one, video=f"{one.video}2") for one in TRUTH[:1]), *TRUTH)
    (expected,) = rank_labels(pair_segments(twice, true).pairs, ("run",), TIOU)
    weights_V = [2.0 if pair.video == "a" else 1.0 for pair in paired.pairs]
    assert ranked.average_precisions(np.array(weights_V)) == pytest.approx(expected.average_precisions())


# which videos are the same


@pytest.mark.parametrize(
    ("predicted", "annotated", "matched"),
    [
        ("v/a.mp4", "v/a.mp4", True),
        ("v/a.mp4", "a", True),
        ("/x/v/a.mp4", r"C:\v\a.avi", True),
        ("v_abc-1.mp4", "abc-1", True),
        ("a.v2.mp4", "a.v2", True),
        ("a.v2", "a.v3", False),
        ("a.mp4", "A.mp4", False),
    ],
)
def test_videos_match_by_path_or_name(predicted, annotated, matched):
    paired = pair_segments([video(predicted)], [video(annotated)])
    assert len(paired.pairs) == 2 - matched
    assert (paired.only_predicted, paired.only_annotated) == (((), ()) if matched else ((predicted,), (annotated,)))


def test_videos_of_one_name_match_by_their_folders_or_are_refused():
    predictions = [video("/x/b/1.mp4"), video("/x/a/1.mp4")]
    paired = pair_segments(predictions, [video("a/1"), video("b/1")])
    assert dict(paired.by_name) == {"/x/b/1.mp4": "b/1", "/x/a/1.mp4": "a/1"}
    assert len(pair_segments([video("a/1"), video("b/1")], [video("a/1")]).pairs) == 2
    with pytest.raises(InputError, match=r"'1': which is which of the predicted /x/b/1.mp4, /x/a/1.mp4 .*same paths"):
        pair_segments(predictions, [video("1.avi")])
    with pytest.raises(InputError, match="list this video twice"):
        pair_segments([video("a"), video("a")], [video("a")])


def test_labels_match_in_one_normal_form_and_others_are_named():
    truth = (video("a", (0, 10, "caf\u00e9"), (10, 20, "run")),)
    predictions = (video("a", (0, 10, "cafe\u0301", 0.9), (10, 20, "Run", 0.9)),)
    scores = score_segments(predictions, truth)
    assert scores.value("mean_average_precision") == 0.5
    assert scores.predicted_labels_without_truth == ("Run",)
    assert scores.labels_never_predicted == ("run",)


def test_lists_without_a_common_video_are_an_error_and_others_are_named():
    truth = (video("a", (0, 10, "run")), video("b", (0, 10, "run")))
    with pytest.raises(InputError, match=r"no predicted video is an annotated one \(c; a, b\)"):
        score_segments((video("c", (0, 10, "run")),), truth)
    scores = score_segments((video("a", (0, 10, "run")), video("c", (0, 10, "run"))), truth)
    assert (scores.only_predicted, scores.only_annotated) == (("c",), ("b",))
    assert scores.warnings[0].startswith("1 video ('c') not annotated: false positives")
    assert scores.value("event_f1") == pytest.approx(2 / 3)  # of a and b


def test_a_split_counts_its_videos_only():
    truth = (video("a", (0, 10, "run"), split="val"), video("b", (0, 10, "run"), split="train"))
    predictions = (video("a", (0, 10, "run", 0.5)), video("b", (20, 30, "run", 0.9)))
    assert score_segments(predictions, truth, split="val").value("mean_average_precision") == 1
    assert "--split takes one" in score_segments(predictions, truth).warnings[0]
    with pytest.raises(InputError, match="of the split test; the annotations have train, val"):
        score_segments(predictions, truth, split="test")
