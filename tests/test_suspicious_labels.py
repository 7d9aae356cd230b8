"""Labels that look wrong to a classifier that has not read the clip."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from i3d.data.annotations import build_annotations
from i3d.data.rows import Rows
from i3d.finetuning.label_check import LABELS, LabelCheck, check_labels, judge_labels
from i3d.finetuning.options import FinetuneOptions
from i3d.finetuning.selection import Candidate
from i3d.finetuning.suspicious_labels import (
    SuspiciousLabel,
    known_labels,
    most_suspicious,
    predictable_classes,
    rank_labels,
)
from support.evaluations import make_evaluation
from support.finetuning_runs import make_clip, make_folder, save_tiny, train, write_csv

FAST = ("--head", "prototype", "--precision", "fp32", "--views", 1, "--no-overfit-check")


def rank(probabilities_NK, labels, *, known_N=None, **more):
    number, classes = len(labels), "abcd"[: np.shape(probabilities_NK)[1]]
    known_N = np.ones(number, bool) if known_N is None else np.array(known_N)
    names = [f"{n}.mp4" for n in range(number)]
    return rank_labels(np.array(probabilities_NK), labels, known_N, names=names, classes=classes, **more)


# the rule


def test_a_label_looks_wrong_if_another_class_is_as_sure_as_it_usually_is():
    """The confidence in `b` is 0.7: 0.8 is enough, 0.6 is only the higher probability."""
    rows = rank([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6]], [(0,), (1,), (0,), (0,)])
    assert [(row.index, row.label, row.other, row.looks_wrong) for row in rows] == [
        (2, "a", "b", True), (3, "a", "b", False), (1, "b", "a", False), (0, "a", "b", False),
    ]  # fmt: skip
    assert [row.probability for row in rows] == [0.2, 0.4, 0.7, 0.9]
    assert (rows[0].path, rows[0].other_probability) == ("2.mp4", 0.8)


def test_the_other_class_must_be_the_most_probable():
    (first, *_) = rank([[0.5, 0.45, 0.05], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7]], [(0,), (1,), (2,)])
    assert (first.index, first.looks_wrong) == (1, True)
    rows = rank([[0.5, 0.5], [0.5, 0.5]], [(0,), (1,)])
    assert not any(row.looks_wrong for row in rows)


def test_classes_of_one_fold_are_left_out_and_no_class_without_clips_is_suspected():
    labels = [(0,), (0,), (1,), (1,), (2,)]
    folds_N = np.array([0, 1, 0, 0, 1])
    assert known_labels(labels, folds_N).tolist() == [True, True, False, False, False]
    rows = rank(np.full((5, 4), [0.1, 0.1, 0.1, 0.7]), labels, known_N=known_labels(labels, folds_N))
    assert [row.index for row in rows] == [0, 1]
    assert {(row.other, row.looks_wrong) for row in rows} == {("d", False)}
    assert rank(np.ones((2, 2)) / 2, [(0,), (1,)], known_N=[False, False]) == ()


def test_of_several_labels_the_least_probable_answer_counts():
    probabilities_NK = [[0.9, 0.1], [0.9, 0.8], [0.2, 0.9], [0.1, 0.2]]
    rows = rank(probabilities_NK, [(0,), (0,), (0, 1), ()], multi_label=True)
    assert [(row.index, row.label, row.other) for row in rows] == [
        (1, "a", "a|b"), (2, "a|b", "b"), (3, "", "b"), (0, "a", ""),
    ]  # fmt: skip
    assert rows[0].probability == pytest.approx(0.2)
    assert [row.looks_wrong for row in rows] == [False, False, False, False]  # 0.8 is below the 0.9 of labelled clips
    rows = rank([[0.9, 0.95], *probabilities_NK[1:]], [(0,), (0,), (0, 1), ()], multi_label=True)
    assert (rows[0].index, rows[0].looks_wrong) == (0, True)


@pytest.mark.parametrize(("number", "listed"), [(1, 1), (5, 1), (6, 2), (72, 15)])
def test_a_fifth_is_listed(number, listed):
    rows = rank(np.tile([0.6, 0.4], (number, 1)), [(0,)] * number)
    assert most_suspicious(rows) == rows[:listed]


def test_all_labels_that_look_wrong_are_listed():
    rows = [SuspiciousLabel(n, f"{n}.mp4", "a", n / 10, "b", 1 - n / 10, n in (0, 4, 7)) for n in range(10)]
    assert [row.index for row in most_suspicious(rows)] == [0, 1, 4, 7]
    result = check(2, 9)
    assert result.num_wrong == sum(row.looks_wrong for row in result.suspicious) > 3
    assert len([*csv.DictReader(result.as_csv().splitlines())]) == len(result.suspicious)


def several(*, predictable, number=24, wrong=2):
    """A multi-label set of such classes, `wrong` labels of each changed; the probabilities of other classes vary."""
    random = np.random.default_rng(0)
    is_of_class_NK = random.permuted(np.tile(np.arange(number) % 2, (len(predictable), 1)).T, axis=0) > 0
    sure_N1 = np.where(np.arange(number) < wrong, 0.95, 0.9)[:, None]
    ideal_NK = np.where(is_of_class_NK, sure_N1, 1 - sure_N1)
    probabilities_NK = np.where(predictable, ideal_NK, random.random(ideal_NK.shape))
    is_of_class_NK[:wrong] ^= True
    labels = [tuple(np.flatnonzero(row_K).tolist()) for row_K in is_of_class_NK]
    return judge_labels(make_evaluation(probabilities_NK, labels, multi_label=True), np.ones(number, bool))


def test_labels_that_nothing_predicts_do_not_look_wrong():
    """Of several labels a clip: a class that is predicted no better than chance is left out of the rank."""
    both = several(predictable=(True, False))
    assert (both.num_wrong, both.unpredictable, both.is_weak) == (2, ("class 1",), False)
    assert both.sentence().endswith("Not judged, because nothing predicts them better than chance: 'class 1'.")
    none = several(predictable=(False, False))
    assert none.is_weak
    assert "hardly better than a constant prediction" in none.sentence()
    assert not several(predictable=(True, True)).unpredictable


def test_rare_classes_and_equal_probabilities_are_tested_too():
    labels = [(0, 1)] * 3 + [(1,)] * 57
    ranked_NK = np.array([[0.3, 0.5]] * 3 + [[0.1, 0.5]] * 57)
    assert predictable_classes(ranked_NK, labels, np.ones(60, bool)).tolist() == [True, False]
    assert predictable_classes(np.full((60, 2), 0.5), [(0,), (1,)] * 30, np.ones(60, bool)).tolist() == [False, False]
    random = np.random.default_rng(1)
    by_chance_NK = random.random((60, 400))
    by_chance = predictable_classes(by_chance_NK, [tuple(range(400))] * 20 + [()] * 40, np.ones(60, bool))
    assert 0 < by_chance.mean() < 0.06


# what is printed and written


def check(correct=8, wrong=2):
    labels = [n % 2 for n in range(correct + wrong)]
    scores_NK = np.eye(2)[labels] * 0.8 + 0.1
    scores_NK[:wrong] = 1 - scores_NK[:wrong]
    evaluation = make_evaluation(scores_NK, labels, names_N=tuple(f"{n},x.mp4" for n in range(len(labels))))
    return judge_labels(evaluation, np.arange(len(labels)) != len(labels) - 1)


def test_the_sentence_counts_names_and_limits():
    words = check().sentence()
    assert words.startswith("2 of 9 labels look wrong to a classifier that has not read the clip: 0,x.mp4 ('class 0', ")
    assert "labels.csv lists 2 labels, the least probable first; some may be right." in words
    assert "1 clip is left out, whose class is in one fold only." in words
    assert "constant prediction" not in check(correct=40).sentence()
    assert "hardly better than a constant prediction: the rank means little" in check(5, 5).sentence()
    assert check(40, 0).sentence() == (
        "0 of 39 labels look wrong to a classifier that has not read the clip. labels.csv lists 8 labels, the "
        "least probable first; all may be right. 1 clip is left out, whose class is in one fold only."
    )
    assert check(400, 5).sentence().count(".mp4") == 3
    assert " and 2 more. " in check(400, 5).sentence()


def test_the_table_has_a_row_for_each_listed_label():
    rows = [*csv.DictReader(check().as_csv().splitlines())]
    assert rows[0] == {
        "path": "0,x.mp4", "label": "class 0", "probability": "0.1000", "other": "class 1",
        "other_probability": "0.9000", "looks_wrong": "yes",
    }  # fmt: skip
    json.dumps(check().as_dict(), allow_nan=False)


# which classifiers


class Tuner(SimpleNamespace):
    def cross_validate_head(self, _, folds_N, chosen):
        self.calls.append((folds_N.tolist(), chosen))
        return make_evaluation(np.full((len(folds_N), 2), 0.5), [n % 2 for n in range(len(folds_N))])


def checked(tmp_path, groups, *, norms="frozen", cv_folds=None):
    rows = Rows()
    for i, group in enumerate(groups):
        rows.add(f"{i}.mp4", ("ab"[i % 2],), group=group)
    annotations = build_annotations(rows, source=tmp_path / "list.csv", root=tmp_path)
    numbers_N = np.array([groups.index(group) for group in groups])
    split = SimpleNamespace(folds_N=None, head_folds_N=None, groups_N=numbers_N)
    config = SimpleNamespace(norms=norms)
    tuner = Tuner(annotations=annotations, split=split, config=config, seed=0, calls=[])
    return check_labels(tuner, None, Candidate(0.1), None, FinetuneOptions(cv_folds=cv_folds)), tuner.calls


def test_without_folds_the_chosen_classifier_is_fitted_to_folds_of_groups(tmp_path):
    result, ((folds, chosen),) = checked(tmp_path, [f"g{i // 2}" for i in range(20)])
    assert chosen == Candidate(0.1)
    assert max(folds) == 4
    assert folds[::2] == folds[1::2]
    assert result.num_checked == 20


@pytest.mark.parametrize(
    ("groups", "options", "why"),
    [
        (["g"] * 4, {}, "all clips are of one group"),
        (["g", "h"] * 4, {"norms": "re-estimated"}, "re-estimated batch norms"),
        (["g", "h"] * 4, {"cv_folds": 0}, "--cv-folds 0"),
        (["g", "h"] * 4, {}, "the clips of each class are all in one fold"),
    ],
)
def test_where_nothing_can_be_held_out_the_reason_is_printed(tmp_path, groups, options, why):
    result, _ = checked(tmp_path, groups, **options)
    assert result.suspicious == ()
    assert result.sentence().startswith(f"Labels were not checked: {why}")


# a run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("labels")
    make_folder(root / "clips", ("a", "b"), 6)
    make_clip(root / "clips/a/odd.mp4", 1)
    save_tiny(root / "tiny.safetensors")
    return root


def listed(work_dir):
    return [*csv.DictReader((work_dir / LABELS).read_text().splitlines())]


def test_a_run_lists_a_wrong_label_first(root):
    output = train(root / "clips", root / "W", root / "tiny.safetensors", *FAST)
    record = json.loads((root / "W/finetune.json").read_text())
    rows = listed(root / "W")
    assert len(rows) == 3
    assert (rows[0]["path"], rows[0]["label"], rows[0]["other"]) == ("a/odd.mp4", "a", "b")
    assert rows[0]["looks_wrong"] == "yes"
    assert record["labels"]["suspicious"][0]["path"] == "a/odd.mp4"
    line = next(line for line in output.splitlines() if "wrong to a classifier" in line)
    assert "a/odd.mp4 ('a', rather 'b')" in line
    assert line in record["diagnosis"]


def test_folds_of_layers_and_several_labels_are_checked_too(root):
    rows = [f"{name}/{i}.mp4,{name}" for name in "ab" for i in range(6)]
    write_csv(root / "clips/many.csv", [*rows, "a/odd.mp4,a|b"])
    more = ("--multi-label", "--head", "linear", "--cv-folds", 2)
    train(root / "clips/many.csv", root / "many", root / "tiny.safetensors", *FAST, *more)
    assert len(listed(root / "many")) == 3
    train(root / "clips", root / "none", root / "tiny.safetensors", *FAST)
    output = train(root / "clips", root / "none", root / "tiny.safetensors", *FAST, "--cv-folds", 0)
    assert "Labels were not checked: --cv-folds 0" in output
    assert not (root / "none" / LABELS).exists()


def test_a_check_without_result_is_empty():
    assert LabelCheck(why_not="x").as_dict() == {
        "num_checked": 0, "num_wrong": 0, "num_unknown": 0, "unpredictable": (), "is_weak": False, "why_not": "x",
        "suspicious": [],
    }  # fmt: skip
