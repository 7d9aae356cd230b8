"""What fine-tuning advises: a pure function, which never advises what is set already."""

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from i3d.evaluation.result import compute_metrics
from i3d.finetuning.data_issues import DataIssue
from i3d.finetuning.defaults import choose
from i3d.finetuning.diagnosis import LayerGain
from i3d.finetuning.inspect_data import DatasetStats, Split
from i3d.finetuning.label_check import LabelCheck
from i3d.finetuning.next_steps import NextStep, RunFacts, next_steps
from i3d.finetuning.options import FinetuneOptions
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, Preprocessing, ResNetSettings
from support.commands import run_here
from support.evaluations import make_evaluation

RISK = "The sources of the clips are unknown."


def facts(*, correct=70, total=80, folds="", groups=40, issues=(), risk="", wrong=0, classes=2, **more):
    """Of a run with so many correct of all held-out clips."""
    options = FinetuneOptions(**{key: more.pop(key) for key in [*more] if key in FinetuneOptions.__dataclass_fields__})
    group_by = more.pop("group_by_of_issue", "")
    kinds = tuple(DataIssue(kind, "x", group_by=group_by if kind == "sources" else "") for kind in issues)
    stats = DatasetStats(("a", "b")[:classes], (40, 40), 2.0, 50, issues=kinds, source_risk=risk)
    pre = Preprocessing(short_side=32, crop=32, mean=(127.5,) * 3, std=(60.0,) * 3)
    protocol = ClipProtocol(clip_len=8, frame_interval=1, num_clips=1)
    network = ResNetSettings(depth=18, base_channels=2)
    recipe = Recipe(name="start", network=network, preprocessing=pre, protocol=protocol, dataset="")
    config = choose(options, stats, recipe=recipe, device="cpu", has_fast_bf16=False)
    folds_N = np.arange(80) % 5
    split = Split([0], [1], [], "val", np.arange(80) % groups, **({folds: folds_N} if folds else {}))
    labels_N = [n % 2 for n in range(total)]
    predicted = [label if n < correct else 1 - label for n, label in enumerate(labels_N)]
    metrics = compute_metrics(make_evaluation(np.eye(2)[predicted], labels_N)) if total else None
    return RunFacts(config, options, stats, split, metrics, LabelCheck(num_wrong=wrong), **more)


def commands(one):
    return [step.command for step in next_steps(one) if step.command]


def texts(one):
    return " ".join(step.text for step in next_steps(one))


def test_nothing_to_do_is_no_step():
    assert next_steps(facts(correct=200, total=200, folds="head_folds_N")) == ()


def test_an_interrupted_run_is_resumed_first():
    assert texts(facts(is_stopped=True, wrong=3)) == "The run is not complete. The same command resumes it."


def test_labels_come_first_unless_the_rank_means_little():
    one = facts(wrong=3, issues=("two classes",))
    assert next_steps(one)[0].text.startswith("Check the 3 labels that look wrong (labels.csv).")
    assert "the label that looks wrong" in texts(facts(wrong=1))
    assert "look wrong" not in texts(replace(one, labels=replace(one.labels, is_weak=True)))


@pytest.mark.parametrize(
    ("more", "command"),
    [
        ({"total": 0}, "--cv-folds 5"),
        ({}, "--cv-folds 5"),
        ({"groups": 3}, "--cv-folds 3"),
        ({"risk": RISK}, "--group-by REGEX"),
        ({"correct": 60}, "--train-layers last"),
        ({"correct": 60, "train_layers": "last"}, "--train-layers all"),
        ({"correct": 60, "train_layers": "all", "epochs": 7}, "--epochs 14"),
        ({"gain": LayerGain("top-1", 0.8, 0.7, is_selected=True), "train_layers": "last"}, "--train-layers head"),
        ({"gain": LayerGain("top-1", 1.0, None, is_selected=True), "train_layers": "last"}, "--train-layers head"),
        ({"issues": ("sources",)}, "i3d data split LIST --out split.csv --ignore-splits"),
        (
            {"issues": ("sources",), "group_by_of_issue": "(p1)_"},
            "i3d data split LIST --out split.csv --ignore-splits --group-by '(p1)_'",
        ),
        ({"issues": ("sources", "duplicates"), "group_by_of_issue": "(p1)_", "risk": RISK}, "--group-by '(p1)_'"),
        (
            {"issues": ("sources",), "list_and_split": ("'my clips'", "'my clips/split.csv'")},
            "i3d data split 'my clips' --out 'my clips/split.csv' --ignore-splits",
        ),
        ({"folds": "folds_N", "folder": "my run"}, "i3d test 'my run' --data LIST"),
    ],
)
def test_commands(more, command):
    assert command in commands(facts(**more))


def test_copies_are_divided_by_the_split_that_is_drawn():
    """`i3d data split` does not read the clips; without a split of the list, there is none to leave out."""
    one = facts(issues=("duplicates", "near-duplicates", "sources"), group_by_of_issue="(p1)_")
    assert "without the split of your list: the one that is drawn has sources and duplicates and near-d" in texts(one)
    assert not any("i3d data split" in command or "REGEX" in command for command in commands(one))
    divided = texts(facts(issues=("divided near-duplicates",)))
    assert "Give near-duplicates that are of one source one name in the column `group`." in divided
    assert "split" not in divided


def test_labels_of_near_duplicates_are_checked_and_those_of_copies_corrected():
    assert "Correct" not in texts(facts(issues=("doubtful labels",)))
    assert "Check the near-duplicates of two classes" in texts(facts(issues=("doubtful labels",)))
    assert "Correct the labels of the clips" in texts(facts(issues=("two classes",)))


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize(("before", "after"), [(0.6, 0.5), (0.6, 0.6), (0.5, 0.6)])
def test_more_layers_or_epochs_are_advised_only_if_trained_layers_helped(layers, before, after):
    gain = LayerGain("top-1", before, after, is_selected=True)
    advised = commands(facts(correct=60, train_layers=layers, gain=gain))
    more = [command for command in advised if command.startswith(("--train-layers all", "--epochs"))]
    assert bool(more) == (after > before)
    assert ("--train-layers head" in advised) == (after <= before)


def test_no_folds_of_one_group_of_many_clips_or_of_norms_of_all_clips():
    for more in ({"groups": 1}, {"total": 200, "correct": 190}, {"norms": "re-estimated"}):
        assert not any("--cv-folds" in command for command in commands(facts(**more)))
    assert "split `test`" in texts(facts(total=0, groups=1))
    assert "without --val-fraction" in texts(facts(val_fraction=0.0, total=0))


def uneven(**more):
    """The rare class is never recognised."""
    scores_NK = np.eye(2)[[0] * 200]
    metrics = compute_metrics(make_evaluation(scores_NK, [0] * 160 + [1] * 40))
    return replace(facts(**more), metrics=metrics)


def test_rare_classes_are_weighted_only_if_they_are_not():
    assert "--balance loss" in commands(uneven())
    assert "--balance loss" not in commands(uneven(balance="loss"))
    assert "Add clips of the rare classes" in texts(uneven(balance="sampler", train_layers="last"))


def test_nothing_is_advised_that_is_set_already():
    """For all combinations of settings; each flag that is advised exists."""
    flags = set(re.findall(r"--[a-z][a-z-]*", run_here(["i3d", "train", "--help"]).stdout))
    kinds = (
        ("head", "last", "all"),
        ("", "folds_N", "head_folds_N"),
        ("", RISK),
        (0, 40, 75),
        ("none", "loss"),
        (0.6, 1),
    )
    for layers, folds, risk, correct, balance, train_top1 in product(*kinds):
        total = 80 if correct else 0
        one = facts(
            train_layers=layers, folds=folds, risk=risk, correct=correct, total=total, balance=balance,
            train_top1=train_top1, gain=LayerGain("top-1", 0.5, 0.4, is_selected=True) if layers != "head" else None,
        )  # fmt: skip
        advised = [command for command in commands(one) if command.startswith("--")]
        assert not (folds and any("--cv-folds" in command for command in advised))
        assert f"--train-layers {layers}" not in advised
        assert bool(risk) == ("--group-by REGEX" in advised)
        assert not (balance == "loss" and any("--balance" in command for command in advised))
        assert {command.split()[0] for command in advised} <= flags
        assert len({*advised}) == len(advised)


def test_a_step_is_one_line():
    assert str(NextStep("Do it.", "--now")) == "Do it: --now"
    assert str(NextStep("Do it.")) == "Do it."
