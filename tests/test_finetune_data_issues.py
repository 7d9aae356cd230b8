"""Issues of a dataset before training, the overfit check, and the diagnosis after training."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.errors import InputError, counted
from i3d.evaluation.result import compute_metrics
from i3d.finetuning.data_issues import DataIssue, class_predictability, duplicate_pairs
from i3d.finetuning.diagnosis import diagnose
from i3d.finetuning.overfit_check import draw_clips, overfit_head
from support.checked_lists import CheckedList
from support.evaluations import make_evaluation
from support.examples import examples


def alternate(number, *, change=lambda _: {}, split=lambda _: ""):
    return [("ab"[i % 2], split(i), change(i)) for i in range(number)]


def test_nothing_is_wrong_with_sound_clips(tmp_path):
    assert CheckedList(tmp_path, alternate(40)).kinds == []
    assert CheckedList(tmp_path, alternate(40, split=lambda i: ("train", "val")[i // 2 % 2])).kinds == []


def test_one_class_stops(tmp_path):
    (issue,) = CheckedList(tmp_path, [("a", "", {})] * 6).issues
    assert issue.kind == "one class"
    assert issue.is_fatal
    assert "'a'" in issue.message
    only_val = CheckedList(tmp_path, [("a", "train", {})] * 6 + [("b", "val", {})] * 6)
    assert only_val.issues[0].is_fatal


def test_a_class_that_a_file_names_and_no_clip_has(tmp_path):
    checked = CheckedList(tmp_path, alternate(20), classes=("a", "b", "juggling", "fencing"))
    assert checked.kinds == ["empty class"]
    assert "'juggling', 'fencing'" in checked.message("empty class")
    assert "2 of 4 classes" in checked.message("empty class")


def test_fewer_clips_than_classes_stops(tmp_path):
    checked = CheckedList(tmp_path, alternate(4), classes=tuple("abcdef"))
    assert checked.issues[0].kind == "few clips"
    assert checked.issues[0].is_fatal
    assert "4 clips for 6 classes" in checked.issues[0].message


def test_classes_of_few_clips_are_named(tmp_path):
    rows = [(name, "", {}) for name, count in (("a", 5), ("b", 1), ("c", 4)) for _ in range(count)]
    checked = CheckedList(tmp_path, rows)
    assert "2 of 3 classes have fewer than 5 training clips: 'b' (1), 'c' (4)" in checked.message("few clips")
    assert not any(issue.is_fatal for issue in checked.issues)


def test_a_clip_in_two_classes(tmp_path):
    checked = CheckedList(
        tmp_path, alternate(10, change=lambda i: {"status": "duplicate", "duplicate_of": "2.mp4"} if i == 5 else {})
    )
    assert "5.mp4 and 2.mp4 (b and a)" in checked.message("two classes")
    assert duplicate_pairs(checked.report) == [(5, 2)]
    same = CheckedList(
        tmp_path, alternate(10, change=lambda i: {"status": "duplicate", "duplicate_of": "2.mp4"} if i == 4 else {})
    )
    assert same.kinds == ["twice"]
    assert "4.mp4 and 2.mp4" in same.message("twice")


def test_duplicates_on_both_sides_of_the_given_split(tmp_path):
    def change(i):
        return {"status": "near-duplicate", "duplicate_of": "0.mp4"} if i in (2, 12) else {}

    checked = CheckedList(tmp_path, alternate(20, change=change, split=lambda i: "train" if i < 10 else "test"))
    assert checked.kinds == ["duplicates", "twice"]
    assert "1 clip is a duplicate of a clip in another split" in checked.message("duplicates")
    assert "12.mp4 and 0.mp4 (test and train)" in checked.message("duplicates")


def test_unreadable_and_damaged_clips_are_named(tmp_path):
    states = {1: "missing", 3: "no video", 4: "truncated", 6: "wrong count"}
    checked = CheckedList(
        tmp_path,
        alternate(
            14,
            change=lambda i: {
                "status": states.get(i, "ok"),
                "reason": "why" if i in states else "",
                "num_frames": None if i in (1, 3) else 50,
            },
        ),
    )
    assert checked.kinds == ["unreadable", "damaged"]
    assert "2 of 14 clips cannot be read and are left out: 1.mp4 (why), 3.mp4 (why)" in checked.message("unreadable")
    assert "4.mp4 (why)" in checked.message("damaged")


def test_no_clip_that_can_be_read_stops(tmp_path):
    checked = CheckedList(
        tmp_path, alternate(6, change=lambda _: {"status": "empty", "reason": "0 bytes", "num_frames": None})
    )
    assert [issue.kind for issue in checked.issues if issue.is_fatal] == ["unreadable", "one class"]


def test_imbalance(tmp_path):
    checked = CheckedList(tmp_path, [("a", "", {})] * 25 + [("b", "", {})] * 5)
    assert "'a' has 25 training clips, 'b' has 5" in checked.message("imbalance")
    assert CheckedList(tmp_path, [("a", "", {})] * 24 + [("b", "", {})] * 5).kinds == []


# facts that predict the class


LEAKS = {
    "length": (lambda i: {"seconds": 2.0 + 3 * (i % 2) + i / 100}, "the length of a clip"),
    "size": (lambda i: {"width": 64 + 32 * (i % 2), "height": 48 + 24 * (i % 2)}, "the size of the frames"),
    "rate": (lambda i: {"fps": (25.0, 30.0)[i % 2]}, "the frame rate"),
    "bytes": (lambda i: {"bytes": 50_000 + 40_000 * (i % 2) + 100 * i}, "the bytes per frame"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_classes_that_differ_by_a_fact_of_their_files_only(tmp_path, name):
    change, words = LEAKS[name]
    checked = CheckedList(tmp_path, alternate(24, change=change))
    assert checked.kinds == ["leak"]
    assert checked.message("leak").startswith(f"{words} alone predicts the class with a mean recall of 100%")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("number", [6, 20, 60])
def test_random_facts_are_no_alarm(tmp_path, seed, num_classes, number):
    random = np.random.default_rng(seed)

    def change(_):
        width, rate = random.choice([64, 96, 128]), random.choice([24.0, 25.0, 30.0])
        return {
            "seconds": random.uniform(1, 10),
            "width": int(width),
            "fps": float(rate),
            "bytes": int(random.uniform(2e4, 9e4)),
        }

    clips = [("abcde"[i % num_classes], "", change(i)) for i in range(number)]
    assert "leak" not in CheckedList(tmp_path, clips).kinds


def test_uneven_classes_of_the_same_mix_of_sizes_are_no_alarm(tmp_path):
    clips = [("aaaab"[i % 5], "", {"width": (64, 96)[i // 5 % 2]}) for i in range(40)]
    assert "leak" not in CheckedList(tmp_path, clips).kinds


@examples(40)
@given(st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.5, float("nan")]), st.integers(0, 3)), min_size=2, max_size=30))
def test_class_predictability_is_a_fraction(rows):
    values_N, labels_N = np.array([v for v, _ in rows]), np.array([k for _, k in rows])
    for groups_N in (np.arange(len(rows)), np.zeros(len(rows), int)):
        assert 0 <= class_predictability(values_N, labels_N, groups_N) <= 1
    assert class_predictability(values_N, labels_N, np.zeros(len(rows), int)) == 0  # nothing to compare with


# diagnosis


def evaluation(labels, predicted, *, classes=("a", "b"), sure=5.0):
    scores_NK = np.eye(len(classes))[list(predicted)] * sure
    scores_NK = np.exp(scores_NK) / np.exp(scores_NK).sum(axis=1, keepdims=True)
    return make_evaluation(scores_NK, labels, classes=classes)


def diagnosis(labels, predicted, *, train_top1=None, issues=()):
    evaluated = evaluation(labels, predicted)
    return " ".join(diagnose(evaluated, compute_metrics(evaluated), train_top1=train_top1, issues=issues))


def test_a_model_no_better_than_the_largest_class_is_useless():
    words = diagnosis([0] * 60 + [1] * 40, [i % 2 for i in range(100)])
    assert "The model is no better than a constant prediction" in words
    assert "always predicting 'a' would give 60%" in words
    assert "The model may be no better than a constant prediction" in diagnosis([0, 1] * 20, [0, 1] * 11 + [1, 0] * 9)


def test_a_good_model_on_many_clips_is_called_sound_and_on_few_it_is_not():
    assert diagnosis([0, 1] * 100, [0, 1] * 100) == "No problem was found."
    assert "The test has only 2 clips" in diagnosis([0, 1], [0, 1])
    assert "34 to 100 %" in diagnosis([0, 1], [0, 1])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("number", [1, 2, 10, 50, 98, 99, 100, 120])
def test_fewer_than_100_test_clips_are_never_free_of_problems(number, multi_label):
    labels = [n % 2 for n in range(number)]
    evaluated = evaluation(labels, labels)
    if multi_label:
        evaluated = replace(evaluated, multi_label=True)
    sentences = diagnose(evaluated, compute_metrics(evaluated), train_top1=1.0, issues=())
    is_few = any(f"The test has only {counted(number, 'clip')}: the 95 % interval" in s for s in sentences)
    assert is_few == (number < 100)
    assert is_few != ("No problem was found." in sentences) or multi_label


def test_a_cross_validation_is_not_called_a_test():
    evaluated = evaluation([0, 1], [0, 1])
    metrics = compute_metrics(evaluated)
    sentences = diagnose(evaluated, metrics, train_top1=1.0, issues=(), is_cross_validated=True)
    assert any("The cross-validation has only 2 clips" in sentence for sentence in sentences)


def test_other_problems_are_reported():
    assert "It predicts 'a' for 40 of 40 clips" in diagnosis([0, 1] * 20, [0] * 40)
    assert "It overfits" in diagnosis([0, 1] * 50, [0, 1] * 40 + [1, 0] * 10, train_top1=1.0)
    assert "It underfits" in diagnosis([0, 1] * 50, [0, 1] * 35 + [1, 0] * 15, train_top1=0.71)
    for train_top1 in (0.7, 0.67):  # test clips are recognised as well, or better
        assert "fits" not in diagnosis([0, 1] * 50, [0, 1] * 35 + [1, 0] * 15, train_top1=train_top1)
    assert "Rare classes are recognised worse" in diagnosis([0] * 90 + [1] * 10, [0] * 98 + [1] * 2)
    assert "'b' (2 of 10 correct, most often predicted as 'a')" in diagnosis([0] * 90 + [1] * 10, [0] * 98 + [1] * 2)
    leak = [DataIssue("leak", "the size")]
    assert "too high" in diagnosis([0, 1] * 100, [0, 1] * 100, issues=leak)


# the overfit check on features


def labelled(folder, labels):
    return CheckedList(folder, [(label, "", {}) for label in labels]).annotations


@pytest.mark.parametrize("labels", ["abababab", "aabbaabb", "abcdefgh", "aaaaaaab", "ab"])
def test_any_labels_of_different_clips_are_overfitted(tmp_path, labels):
    features_NVC = np.random.default_rng(0).normal(size=(len(labels), 3, 32)).astype(np.float32)
    annotations = labelled(tmp_path, labels)
    assert overfit_head(features_NVC, annotations, draw_clips(annotations, seed=0)).endswith("100 % correct")


def test_the_same_clip_in_two_classes_is_named_with_its_duplicate(tmp_path):
    features_NVC = np.random.default_rng(0).normal(size=(8, 1, 32)).astype(np.float32)
    features_NVC[5] = features_NVC[2]
    annotations = labelled(tmp_path, "abababab")
    with pytest.raises(InputError, match="overfit check failed") as error:
        overfit_head(features_NVC, annotations, range(8))
    for named in ("2.mp4 (a)", "5.mp4 (b)"):
        assert named in str(error.value)


def test_blank_clips_are_not_overfitted(tmp_path):
    annotations = labelled(tmp_path, "abababab")
    with pytest.raises(InputError, match="they are duplicates, or blank"):
        overfit_head(np.ones((8, 2, 32), np.float32), annotations, range(8))


@given(st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=40), st.integers(0, 100))
@examples(30)
def test_the_few_are_of_as_many_classes_as_there_are(tmp_path_factory, labels, seed):
    annotations = labelled(tmp_path_factory.mktemp("few"), labels)
    few = draw_clips(annotations, seed=seed)
    assert len(set(few)) == len(few) == min(8, len(labels))
    assert len({labels[i] for i in few}) == min(8, len(set(labels)))
    assert draw_clips(annotations, seed=seed) == few
