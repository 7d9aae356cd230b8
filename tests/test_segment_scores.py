"""Metrics of action segmentation and of events: by hand, against frames and plain loops, and `i3d score --truth`."""

import json
from dataclasses import replace
from functools import cache
from itertools import permutations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from i3d.data.segments.write import write_segments
from i3d.errors import InputError
from i3d.evaluation.action_segmentation import edit_distance, maximum_matching
from i3d.evaluation.segment_scores import OVERLAPS, score_segments
from support import commands
from support.examples import examples
from support.segments import free_segments, sequences, video

MOMENTS = ("frame_accuracy", "frame_accuracy_of_labels", "edit_score")

# by hand
#
# a, 20 s      0    4 5      9 10    12   15  16    18   20
#  annotated   |- run -|- walk -|     |---- run ----|
#  predicted   |-run-|- walk -|- jump-|-run-|walk|run|
#
# right with a label: run 0-4, walk 5-9, run 12-15, run 16-18: 13 s of the 16 s that have one
# right without:      18-20; 10-12 is predicted as jump:          2 s more, 15 of 20 s
# labels: run walk run, and run walk jump run walk run: 3 insertions, edit score 1 - 3/6
# tIoU with the best of its label: run 4/5, walk 4/6, jump -, run 3/6, walk 0, run 2/6 (taken)
#
# b, 10 s: annotated run 0-10, predicted run 8-10: 2 of 10 s, the same labels (edit score 1), tIoU 0.2
#
# F1@10: 4 correct, 7 predicted, 4 annotated: 8/11; F1@25 and F1@50: 3 correct: 6/11

TRUTH = (
    video("a", (0, 5, "run"), (5, 10, "walk"), (12, 18, "run"), seconds=20),
    video("b", (0, 10, "run")),
)
PREDICTED = (
    video("a", (0, 4, "run", 0.9), (4, 9, "walk", 0.9), (9, 12, "jump", 0.8), (12, 15, "run", 0.4),
          (15, 16, "walk", 0.5), (16, 18, "run", 0.6), (18, 20, "unknown", 0.2)),
    video("b", (8, 9, "run", 0.3), (9, 10, "run", 0.8), (0, 8, "Background")),
)  # fmt: skip


def test_a_table_by_hand():
    scores = score_segments(PREDICTED, TRUTH)
    assert scores.value("frame_accuracy") == pytest.approx((15 + 2) / 30)
    assert scores.value("frame_accuracy_of_labels") == pytest.approx((13 + 2) / 26)
    assert scores.value("edit_score") == pytest.approx((0.5 + 1) / 2)
    assert [scores.value(f"f1@{k}") for k in OVERLAPS] == pytest.approx([8 / 11, 6 / 11, 6 / 11])
    assert "segments of no class count as background: 1 Background, 1 unknown" in scores.notes
    assert "1 video ('b') of unknown length: frame_accuracy counts no background" in scores.notes[-1]


def test_annotations_beyond_the_video_and_labels_that_are_alike_are_reported():
    truth = (video("a", (0, 5, "running"), (9, 10.4, "walk"), (9, 14, "walk")),)
    scores = score_segments((video("a", (0, 5, "runing"), (9, 10, "walk"), seconds=10),), truth)
    warnings = "\n".join(scores.warnings)
    assert "never predicted: average precision 0; did you mean 'running' by 'runing'?" in warnings
    assert "1 annotated segment beyond the end of the video that the predictions state ('a' has one until" in warnings


# events, collar 0.5 s: an annotated segment counts once
#
#  annotated   run 0-10      run 20-30    walk 0-10
#  predicted   run 0.5-9.5   run 20-29.4  run 0-10  run 0.5-10
#
# run: 0-10 is one of 0.5-9.5, 0-10, 0.5-10; 20-29.4 stops 0.6 s early: 1 correct of 4, 2 annotated: F1 2/6
# walk: 0 of 1; together 2 / (4 + 3)


def test_events_by_hand():
    truth = (video("a", (0, 10, "run"), (20, 30, "run"), (0, 10, "walk")),)
    predictions = (video("a", (0.5, 9.5, "run"), (20, 29.4, "run"), (0, 10, "run", 0.5), (0.5, 10, "run")),)
    scores = score_segments(predictions, truth, collar=0.5)
    assert scores.value("event_f1") == pytest.approx(2 / 7)
    assert {one.label: one.event_f1 for one in scores.labels} == pytest.approx({"run": 2 / 6, "walk": 0})
    assert score_segments(predictions, truth, collar=0.6).value("event_f1") == pytest.approx(4 / 7)
    assert score_segments(predictions, truth, collar=0).value("event_f1") == pytest.approx(2 / 7)


def test_as_many_events_match_as_can():
    assert maximum_matching([[0, 1], [0]]) == 2  # the first come would take 0, and leave nothing to the second
    assert maximum_matching([[], [0], [0]]) == 1
    assert maximum_matching([[k, k + 1] for k in range(5000)] + [[0]]) == 5001


@given(st.lists(st.lists(st.integers(0, 4), unique=True, max_size=4), max_size=5))
def test_matching_against_all_assignments(fitting):
    most = max(
        (sum(p in fit for p, fit in zip(order, fitting, strict=False)) for order in permutations(range(5))), default=0
    )
    assert maximum_matching(fitting) == most


# against frames, as MS-TCN counts them, at 10 frames a second


def frames(one):
    labels = [None] * 40
    for segment in one.segments:
        for k in range(round(segment.start * 10), round(segment.stop * 10)):
            labels[k] = segment.label
    return labels


def runs(labels):
    """(label, first frame, frame after the last) of frames in a row."""
    listed = []
    for k, label in enumerate(labels):
        if label is not None and k and labels[k - 1] == label:
            listed[-1][2] = k + 1
        elif label is not None:
            listed.append([label, k, k + 1])
    return listed


def levenshtein(first, second):
    @cache
    def distance(i, j):
        if not i or not j:
            return i + j
        if first[i - 1] == second[j - 1]:
            return distance(i - 1, j - 1)
        return 1 + min(distance(i - 1, j), distance(i, j - 1), distance(i - 1, j - 1))

    return distance(len(first), len(second))


def frame_reference(predictions, truth):
    correct = correct_labelled = labelled = 0
    edits, tp, fp, fn = [], [0] * 3, [0] * 3, [0] * 3
    for predicted, true in zip(predictions, truth, strict=True):
        for p, t in zip(frames(predicted), frames(true), strict=True):
            correct += p == t
            labelled += t is not None
            correct_labelled += t is not None and p == t
        p_runs, t_runs = runs(frames(predicted)), runs(frames(true))
        longest = max(len(p_runs), len(t_runs))
        edits.append(1 - levenshtein([r[0] for r in p_runs], [r[0] for r in t_runs]) / longest if longest else 1)
        for k, percent in enumerate(OVERLAPS):
            used = set()
            for label, start, stop in p_runs:
                ious = [
                    (
                        max(0, min(stop, r[2]) - max(start, r[1]))
                        * (label == r[0])
                        / (max(stop, r[2]) - min(start, r[1]))
                    )
                    for r in t_runs
                ]
                best = ious.index(max(ious)) if ious else None
                if best is not None and ious[best] >= percent / 100 and best not in used:
                    used.add(best)
                    tp[k] += 1
                else:
                    fp[k] += 1
            fn[k] += len(t_runs) - len(used)
    f1 = [2 * tp[k] / (2 * tp[k] + fp[k] + fn[k]) if tp[k] + fp[k] + fn[k] else None for k in range(3)]
    return correct / (40 * len(truth)), correct_labelled / labelled, sum(edits) / len(edits), *f1


@given(sequences(), sequences())
@examples(100)
def test_against_frames(predictions, truth):
    if not any(one.segments for one in truth):
        return
    scores = score_segments(predictions, truth)
    values = [scores.value(name) for name in (*MOMENTS, *(f"f1@{k}" for k in OVERLAPS))]
    assert values == pytest.approx(frame_reference(predictions, truth))


@given(st.text("abc", max_size=8), st.text("abcd", max_size=8))
def test_the_edit_distance_against_a_recursion(first, second):
    assert edit_distance(first, second) == levenshtein(first, second)


# properties


@given(sequences())
def test_a_perfect_prediction_is_1(truth):
    if any(one.segments for one in truth):
        scores = score_segments(truth, truth)
        assert {measure.value for measure in scores.measures} == {1.0}


@given(free_segments(), free_segments())
def test_all_values_are_from_0_to_1_and_within_their_interval_where_labels_overlap_too(predictions, truth):
    try:
        scores = score_segments(predictions, truth)
    except InputError:
        return
    assert all(measure.value is None or 0 <= measure.value <= 1 + 1e-9 for measure in scores.measures)


@given(st.sampled_from([0.1, 0.5, 2]), st.integers(1, 300), st.booleans())
def test_events_shifted_by_more_than_the_collar_are_all_wrong(collar, more, is_late):
    shift = collar + more / 1000
    truth = tuple(video(name, (400, 500, "run"), (430, 470, "walk")) for name in "ab")
    moved = shift if is_late else -shift
    shifted = tuple(video(name, (400 + moved, 500 + moved, "run"), (430 + moved, 470, "walk")) for name in "ab")
    assert score_segments(shifted, truth, collar=collar).value("event_f1") == 0
    assert score_segments(shifted, truth, collar=shift).value("event_f1") == 1


# several labels at once, and nothing


def test_frames_and_edit_are_undefined_where_two_labels_are_on_at_once():
    one, both = video("a", (0, 10, "run", 0.5)), video("a", (0, 10, "run", 0.5), (9.9, 12, "walk", 0.6))
    for predicted, true, what in ((both, one, "predicted"), (one, both, "annotated")):
        scores = score_segments([predicted], [true])
        assert [scores.value(name) for name in MOMENTS] == [None] * 3
        assert scores.warnings[-1].endswith(f"'a' has 'run' and 'walk' {what} at once, at 9.9 s")
        assert scores.value("f1@50") is not None
    touching = video("a", (0, 10, "run"), (10, 12, "walk"), (3, 5, "run"))
    assert score_segments([touching], [touching]).value("frame_accuracy") == 1  # one label may overlap itself


def test_what_is_undefined_and_what_is_1_without_segments():
    truth = (video("a", (0, 1, "run")), video("b", seconds=5))
    scores = score_segments((video("a", (0, 1, "run")), video("b")), truth)
    assert scores.value("edit_score") == scores.value("frame_accuracy") == 1  # b: nothing happens, as predicted
    scores = score_segments((video("a", (0, 1, "run")), video("b", (0, 5, "run", 0.5))), truth)
    assert (scores.value("edit_score"), scores.value("frame_accuracy")) == (0.5, pytest.approx(1 / 6))


@pytest.mark.parametrize("wrong", [{"tiou": ()}, {"tiou": (0.0,)}, {"tiou": (1.1,)}, {"collar": -1.0}, {"split": "x"}])
def test_settings_that_are_none_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        score_segments(PREDICTED, TRUTH, **wrong)


# the command


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(one.video, s.label, s.start, s.stop, s.score) for one in PREDICTED for s in one.segments]
    lines = ["video,label,start,stop,score", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "found.csv").write_text("\n".join(lines).replace("\na,", "\nclips/a.mp4,"))
    database = {
        one.video: {"subset": "validation", "duration": one.seconds, "annotations": [
            {"label": s.label, "segment": [s.start, s.stop]} for s in one.segments]}
        for one in TRUTH
    }  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps({"database": database}))
    return tmp_path


def run_here(*words):
    result = commands.run_here(["i3d", *words])
    return result.returncode, result.stdout, result.stderr


def test_the_command_prints_and_writes_each_number_with_its_protocol(files):
    code, out, err = run_here("score", "found.csv", "--truth", "truth.json", "--out", "scores.json")
    assert code == 0, err
    assert "1 video matched by name, not by path: clips/a.mp4 is a" in err
    assert "warning: 1 label ('jump') not annotated" in err
    scores = score_segments(PREDICTED, TRUTH)
    for measure in scores.measures:
        assert f" {measure.name} " in out
        assert f"{measure.value:.4f}" in out
    data = json.loads((files / "scores.json").read_text())
    assert {name: one["value"] for name, one in data["metrics"].items()} == {m.name: m.value for m in scores.measures}
    assert all(one["protocol"] for one in data["metrics"].values())
    assert (data["predictions"], data["truth"], data["collar"], data["num_true"]) == ("found.csv", "truth.json", 0.5, 4)
    words = ("--tiou", "0.5,0.25", "--collar", "1", "--split", "val", "--out", "scores.yaml", "--json")
    code, out, err = run_here("score", "found.csv", "--truth", "truth.json", *words)
    assert code == 0, err
    assert json.loads(out) == yaml.safe_load((files / "scores.yaml").read_text())
    assert json.loads(out)["tiou"] == [0.25, 0.5]
    code, out, err = run_here("score", "found.csv", "--truth", "truth.json", "--tiou", "activitynet", "--json")
    assert "(activitynet)" in json.loads(out)["metrics"]["mean_average_precision"]["protocol"]
    words = ("--metrics", "f1@50,mean_average_precision@0.5", "--out", "some.json")
    code, out, err = run_here("score", "found.csv", "--truth", "truth.json", *words)
    assert [line.split(":")[0] for line in out.splitlines() if ": " in line] == ["mean_average_precision@0.5", "f1@50"]
    assert list(json.loads((files / "some.json").read_text())["metrics"]) == ["mean_average_precision@0.5", "f1@50"]


def test_the_one_video_of_subtitles_is_compared_with_that_of_the_truth(files):
    """A file that names no video, as of a copy with chapters, may have another name than what was annotated."""
    write_segments("copy.srt", PREDICTED[:1])
    write_segments("truth.csv", [replace(TRUTH[0], video="match.mp4")])
    code, out, err = run_here("score", "copy.srt", "--truth", "truth.csv", "--json")
    assert code == 0, err
    assert "copy.srt: its one video, copy, is compared with the one of truth.csv, match.mp4: their names differ" in err
    assert json.loads(out)["only_predicted"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["found.csv"], "found.csv: holds segments; give the annotated ones too: --truth FILE"),
        (["truth.json"], "truth.json: holds segments; give the annotated ones too: --truth FILE"),
        (["found.csv", "--collar", "1"], "--collar is for segments; give the annotated ones with --truth"),
        (["found.csv", "--list-fps", "25"], "--list-fps is for segments; give the annotated ones with --truth"),
        (["found.csv", "--truth", "truth.json", "--top-k", "3"], "--top-k is for the result of a test"),
        (["found.csv", "--truth", "truth.json", "--out", "x.csv"], "are written to a .json or .yaml"),
        (["found.csv", "--truth", "truth.json", "--tiou", "half"], "write thumos or activitynet, or numbers"),
        (["found.csv", "--truth", "truth.json", "--tiou", "nan"], "--tiou nan: must be above 0 and at most 1"),
        (
            ["found.csv", "--truth", "truth.json", "--metrics", "f1,top1"],
            "'top1': is none of segments; choose from mean",
        ),
        (["found.csv", "--truth", "truth.json", "--list-fps", "25"], "is not used, as found.csv and truth.json can be"),
        (["found.csv", "--truth", "gone.json"], "--truth gone.json: no such file"),
        (["found.csv", "--truth", "truth.json", "--split", "test"], "the annotations have val"),
    ],
)
def test_what_the_command_refuses(files, words, message):
    code, out, err = run_here("score", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
