"""Small sets are judged by cross-validation of the classifier; trained layers are compared with their start."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import i3d.finetuning.steps
import i3d.training.run
from i3d.data.annotations import build_annotations
from i3d.data.rows import Rows
from i3d.errors import InputError
from i3d.evaluation.result import compute_metrics
from i3d.finetuning.data_issues import DataIssue
from i3d.finetuning.defaults import PATIENCE, Decision, FinetuneConfig, with_folds
from i3d.finetuning.diagnosis import LayerGain, diagnose
from i3d.finetuning.finetune import _diagnose
from i3d.finetuning.fitting import fit_head
from i3d.finetuning.inspect_data import DatasetStats, divide, inspect_clips
from i3d.finetuning.label_check import LabelCheck
from i3d.finetuning.options import FinetuneOptions
from i3d.finetuning.outcome import Outcome
from i3d.finetuning.steps import CrossValidation
from i3d.recipes.io import load_recipe
from i3d.training.train import train as train_recipe
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig
from support.evaluations import make_evaluation
from support.finetuning_runs import make_folder, save_tiny, splits_in, state_of, train, write_csv
from support.training_runs import make_clips

FAST = ("--head", "prototype", "--precision", "fp32", "--no-overfit-check")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("folds")
    make_folder(root / "clips", ("a", "b"), 5)
    save_tiny(root / "tiny.safetensors")
    return root


def start(root, work_dir, *more):
    output = train(root / "clips", root / work_dir, root / "tiny.safetensors", *FAST, *more)
    return output, json.loads((root / work_dir / "finetune.json").read_text())


def decision_in(record):
    (decision,) = (decision for decision in record["decisions"] if decision["flag"] == "--cv-folds")
    return decision["value"], decision["reason"]


# which sets are small


def divided(tmp_path, num_train, num_held, *, group="", **options):
    rows = Rows()
    for i in range(num_train + num_held):
        rows.add(f"{i}.mp4", ("ab"[i % 2],), split="train" if i < num_train else "val", group=group)
    annotations = build_annotations(rows, source=tmp_path / "list.csv", root=tmp_path)
    stats = DatasetStats(("a", "b"), (num_train // 2, num_train - num_train // 2), 1.0, 25)
    return divide(annotations, stats, FinetuneOptions(**options), seed=0)


@pytest.mark.parametrize(
    ("num_train", "num_held", "options", "num_folds", "why"),
    [
        (20, 4, {}, 5, "only 4 clips are held out: 5 folds of the features judge the classifier on all 24"),
        (300, 99, {}, 5, "only 99 clips are held out"),
        (300, 1, {}, 5, "only 1 clip is held out"),
        (20, 0, {}, 5, "only 0 clips are held out"),
        (300, 100, {}, 0, "100 held-out clips are enough"),
        (2000, 50, {}, 0, "fits to 2,050 clips take long"),
        (20, 4, {"cv_folds": 0}, 0, "set by you"),
        (20, 4, {"cv_folds": 3}, 3, "set by you"),
        (20, 4, {"norms": "re-estimated"}, 0, "re-estimated batch norms"),
        (20, 4, {"group": "g"}, 0, "make no folds"),
        (2, 1, {}, 3, "3 folds"),
    ],
)
def test_which_sets_are_judged_by_folds_and_why(tmp_path, num_train, num_held, options, num_folds, why):
    split = divided(tmp_path, num_train, num_held, **options)
    assert split.num_folds == num_folds
    assert why in split.folds_reason
    assert (split.head_folds_N is not None) == (num_folds > 0 and "cv_folds" not in options)


def test_without_validation_clips_the_plan_has_no_patience(tmp_path):
    config = FinetuneConfig("last", "auto", 1, "frozen", None, (Decision(PATIENCE, "5", "it stops early"),))
    for num_held, flags in ((4, [PATIENCE, "--cv-folds"]), (0, ["--cv-folds"])):
        planned = with_folds(config, divided(tmp_path, 20, num_held))
        assert [decision.flag for decision in planned.decisions] == flags


# clips without a split, beside a split `test`


@pytest.fixture(scope="module")
def partly(root):
    """A list of ten clips: two for testing, and eight without a split, of which one is of a group of these."""
    rows = [
        f"clips/{name}/{n}.mp4,{name},{'test' if n == 0 else ''},{name if n < 2 and name == 'a' else f'{name}{n}'}"
        for name in "ab"
        for n in range(5)
    ]
    return write_csv(root / "partly.csv", rows, "path,label,split,group")


def inspected(path, caplog, *, trains_layers, **options):
    caplog.clear()
    with caplog.at_level("INFO", "i3d"):
        clips, stats = inspect_clips(
            i3d.data.read_annotations(path), FinetuneOptions(**options), naming=None,
            compute=ComputeConfig("cpu", num_workers=0, cache=Cache(path.parent / "cache")), seed=0, max_bad=None,
            trains_layers=trains_layers,
        )  # fmt: skip
    counts = np.bincount(clips.annotations.splits_N + 1, minlength=4)
    return dict(zip(("", "train", "val", "test"), counts.tolist(), strict=True)), stats, caplog.text


def test_no_clip_is_for_validation_where_the_split_test_and_the_classifier_need_none(partly, caplog):
    counts, stats, text = inspected(partly, caplog, trains_layers=False)
    assert counts == {"": 0, "train": 7, "val": 0, "test": 3}  # a group is on one side
    assert (sum(stats.counts_K), stats.val_fraction) == (7, 0)
    assert "split into 7 for training, 3 for testing; none is for validation, as the split test is tested on" in text
    counts, _, text = inspected(partly, caplog, trains_layers=True)
    assert counts["val"] > 0
    assert "those for validation select the best weights of the layers" in text
    counts, _, _ = inspected(partly, caplog, trains_layers=True, val_fraction=0.0)
    assert counts == {"": 0, "train": 7, "val": 0, "test": 3}
    counts, _, _ = inspected(partly, caplog, trains_layers=False, cv_folds=2)
    assert counts == {"": 8, "train": 0, "val": 0, "test": 2}
    with pytest.raises(InputError, match=r"--val-fraction 0.3: has no effect: the split test is tested on"):
        inspected(partly, caplog, trains_layers=False, val_fraction=0.3)


def test_layers_are_validated_by_training_clips_where_the_list_divides_all_clips(root, caplog):
    """Without validation clips, layers that make the model worse would be the model."""
    rows = [
        f"clips/{name}/{n}.mp4,{name},{'test' if n < 1 else 'train'},{name}{n % 4}" for name in "ab" for n in range(5)
    ]
    divided_list = write_csv(root / "divided.csv", rows, "path,label,split,group")
    counts, _, text = inspected(divided_list, caplog, trains_layers=True)
    assert (counts["val"] > 0, counts["test"], sum(counts.values())) == (True, 2, 10)
    assert f"no clip has the split val: {counts['val']} of 8 training clips validate" in text
    for options in ({"trains_layers": True, "val_fraction": 0.0}, {"trains_layers": False}):
        assert inspected(divided_list, caplog, **options)[0] == {"": 0, "train": 8, "val": 0, "test": 2}
    with pytest.raises(InputError, match="has a split already"):
        inspected(divided_list, caplog, trains_layers=False, val_fraction=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("top1", [1.0, 0.5])
def test_a_start_that_wins_is_fitted_on_the_clips_that_were_drawn_for_validation(partly, root, monkeypatch, top1):
    """As without layers: the classifier needs no validation clips."""
    monkeypatch.setattr(i3d.training.run, "validate", lambda *_, **__: (dict.fromkeys(("top1", "mean_class"), top1), 2))
    common, name = ("--views", 1, "--cv-folds", 0), f"again{top1}"
    more = (*common, "--train-layers", "last", "--epochs", 1, "--lr", 1e-8)
    output = train(partly, root / name, root / "tiny.safetensors", *FAST, *more)
    assert "The model is the start, with its classifier fitted on the validation clips too." in output
    train(partly, root / f"{name}-head", root / "tiny.safetensors", *FAST, *common)
    one, other = (state_of(root / folder / "best.safetensors") for folder in (name, f"{name}-head"))
    assert one.keys() == other.keys()
    assert all(np.array_equal(values, other[key]) for key, values in one.items())


@pytest.mark.slow
def test_without_validation_layers_are_compared_with_their_start_on_the_test(partly, root):
    more = ("--views", 1, "--cv-folds", 0, "--train-layers", "last", "--epochs", 1, "--lr", 1e-8, "--val-fraction", 0)
    output = train(partly, root / "compared", root / "tiny.safetensors", *FAST, *more)
    assert "Training layers did not help: the top-1 accuracy on test clips is" in output
    assert "The model has trained layers all the same." in output


def test_the_classifier_is_fitted_on_all_clips_that_are_not_tested(root, partly):
    output = train(partly, root / "partly", root / "tiny.safetensors", *FAST, "--views", 1, "--cv-folds", 0)
    assert "fitted on 7 clips" in output
    assert "tested on test" in output
    assert sorted(row["split"] for row in splits_in(root / "partly")) == ["test"] * 3 + ["train"] * 7


def test_clips_for_validation_that_nothing_uses_are_reported(root):
    rows = [f"clips/{name}/{n}.mp4,{name},{('test', 'val', 'train')[min(n, 2)]}" for name in "ab" for n in range(5)]
    data = write_csv(root / "three.csv", rows, "path,label,split")
    output = train(data, root / "three", root / "tiny.safetensors", *FAST, "--views", 1, "--cv-folds", 0)
    assert "the model and its test leave out 2 clips of the split val: the classifier alone is not validated" in output


# a run


def test_a_small_set_is_judged_by_folds_of_its_features(root, monkeypatch):
    """Each clip is tested once, without its group; the random views of all clips are computed."""
    fitted = []

    def spy(rows, *arguments, **options):
        fitted.append(rows)
        return fit_head(rows, *arguments, **options)

    monkeypatch.setattr(i3d.finetuning.steps, "fit_head", spy)
    output, record = start(root, "small", "--views", 3)
    value, reason = decision_in(record)
    assert value == "5 (classifier)"
    assert reason == "only 2 clips are held out: 5 folds of the features judge the classifier on all 10"
    top1 = record["cross_validation"]["top1"]
    assert record["cross_validation"]["num_clips"] == 10
    assert record["diagnosis"][0].startswith(
        f"Cross-validation of the classifier on all 10 clips in 5 folds: top-1 {top1:.4f} (95 % interval "
    )
    assert record["diagnosis"][0] in output
    assert "The cross-validation has only 10 clips" in output
    assert "tested on val" in output
    assert len(fitted) == 1 + 5
    assert all(np.abs(rows.features_RC).sum(axis=1).min() > 0 for rows in fitted)
    assert [len(np.unique(rows.groups_R)) for rows in fitted[1:]] == [8] * 5


def test_no_folds_if_the_user_sets_none(root):
    output, record = start(root, "none", "--views", 1, "--cv-folds", 0)
    assert decision_in(record) == ("0", "set by you")
    assert "cross_validation" not in record
    assert "Cross-validation" not in output


@pytest.mark.slow
def test_layers_that_do_not_help_leave_the_start(root, monkeypatch):
    """The start is the best by validation; the diagnosis has both numbers, and what the folds are of."""
    monkeypatch.setattr(i3d.training.run, "validate", lambda *_, **__: ({"top1": 0.5}, 2))
    output, record = start(root, "layers", "--views", 1, "--train-layers", "last", "--epochs", 2, "--lr", 0.0001)
    first, best = (state_of(root / "layers" / f"{name}.safetensors") for name in ("start", "best"))
    assert all(np.array_equal(first[key], best[key]) for key in first)
    log = [json.loads(line) for line in (root / "layers/log.jsonl").read_text().splitlines()]
    values = {line["step"]: line["validation"]["top1"] for line in log if "validation" in line}
    assert min(values) == 0
    assert values[0] >= max(values[step] for step in values if step)
    (sentence,) = (line for line in record["diagnosis"] if "Training layers did not help" in line)
    assert f"is {values[0]:.1%} at the start" in sentence
    assert "The model is the start." in sentence
    assert not any("fits" in line for line in record["diagnosis"])  # the log has the accuracy of augmented clips
    assert "Cross-validation of the classifier on the pretrained network, without training layers, on all 10" in output


@pytest.mark.slow
def test_no_layer_is_trained_from_a_start_that_is_right_for_all_validation_clips(root, monkeypatch):
    monkeypatch.setattr(i3d.training.run, "validate", lambda *_, **__: ({"top1": 1.0}, 2))
    output, record = start(root, "right", "--views", 1, "--train-layers", "last", "--epochs", 2)
    assert "the start is right for all validation clips: no epoch can be better, so none is trained" in output
    first, best, last = (state_of(root / "right" / f"{name}.safetensors") for name in ("start", "best", "last"))
    assert all(np.array_equal(values, best[key]) and np.array_equal(values, last[key]) for key, values in last.items())
    assert len(first) == len(best) > len(last) > 0  # the last has no features of training clips
    (line,) = map(json.loads, (root / "right/log.jsonl").read_text().splitlines())
    assert (line["step"], line["validation"]) == (0, {"top1": 1.0})
    assert any(sentence.startswith("Layers were not trained: the top-1 accuracy") for sentence in record["diagnosis"])
    assert start(root, "right", "--views", 1, "--train-layers", "last", "--epochs", 2)[1]["done"]


@pytest.mark.slow
def test_layers_trained_in_folds_are_compared_with_their_start(root):
    output, record = start(
        root, "both", "--views", 1, "--train-layers", "last", "--epochs", 1, "--cv-folds", 2, "--lr", 1e-8
    )
    assert decision_in(record) == ("2", "set by you")
    assert "Training layers did not help: the top-1 accuracy of all folds is" in output
    assert "next: Train the classifier alone, which is as good and faster: --train-layers head" in output


@pytest.mark.parametrize("is_selected", [True, False])
@pytest.mark.parametrize(("before", "after"), [(0.8, 0.7), (0.8, 0.8), (0.7, 0.8)])
def test_layers_did_not_help_if_the_start_is_as_good(before, after, is_selected):
    labels = [n % 2 for n in range(200)]
    evaluated = make_evaluation(np.eye(2)[labels], labels)
    gain = LayerGain("top-1 accuracy on validation clips", before, after, is_selected=is_selected)
    text = " ".join(diagnose(evaluated, compute_metrics(evaluated), train_top1=1.0, issues=(), gain=gain))
    if after > before:
        assert text == "No problem was found."
    else:
        assert "Training layers did not help" in text
        assert f"{before:.1%} at the start" in text
        assert f"{after:.1%} after" in text
        assert ("The model is the start." in text) == is_selected


def test_the_risk_of_unknown_sources_is_printed_beside_folds_without_a_test_too():
    """Layers are trained on all clips: the only accuracy is that of the classifier in folds."""
    labels = [n % 2 for n in range(20)]
    of_folds = make_evaluation(np.eye(2)[labels], labels)
    issues = (DataIssue("divided near-duplicates", "x"),)
    stats = DatasetStats(("a", "b"), (10, 10), 2.0, 50, issues=issues, source_risk="The risk.")
    outcome = Outcome(True, "linear", 0, None, CrossValidation(), of_folds, LabelCheck(why_not="x"))
    sentences = _diagnose(SimpleNamespace(split=SimpleNamespace(num_folds=5)), stats, outcome)
    assert sentences[0].startswith("Cross-validation of the classifier on the pretrained network")
    assert sentences[1].startswith("The scores may be too high")
    assert sentences[2:] == ["The risk.", "Labels were not checked: x."]


@pytest.mark.slow
def test_an_interrupted_validation_of_the_start_is_repeated(tmp_path, monkeypatch):
    """It ends as an uninterrupted run does, and the log has the start once."""
    clips = make_clips(tmp_path, num_train=4, num_val=2)
    recipe = load_recipe(str(clips / "tiny.yaml"))
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 2})})
    annotations = i3d.data.read_annotations(clips / "clips.csv")
    parts = annotations.select_split("train"), annotations.select_split("val")
    monkeypatch.setattr(i3d.training.run, "draw_curves", lambda *_, **__: None)

    def run(name):
        compute = ComputeConfig("cpu", num_workers=0)
        return train_recipe(
            recipe, *parts, work_dir=tmp_path / name, compute=compute, deterministic=True, validate_start=True
        )

    whole = run("whole")
    with monkeypatch.context() as patch:
        patch.setattr(i3d.training.run, "validate", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("cut")
    again = run("cut")
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    steps = [json.loads(line)["step"] for line in logs[0].splitlines() if b"validation" in line]
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert (again.best, again.best_step) == (whole.best, whole.best_step)
