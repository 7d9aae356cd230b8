"""`i3d train --data clips/ --work-dir W`: from clips to a self-describing model."""

import json
import re
import shutil
from statistics import fmean, stdev

import numpy as np
import pytest

from support.commands import run_here
from support.finetuning_runs import (
    make_clip,
    make_folder,
    save_tiny,
    scores_in,
    splits_in,
    state_of,
    train,
    without_drawing,
    write_csv,
)  # fmt: skip

CLASSES = ("ein Hund läuft", "日本 b")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Clips of two classes with odd names, a copy among them, and a tiny network."""
    root = tmp_path_factory.mktemp("finetune")
    make_folder(root / "clips", CLASSES, 7)
    shutil.copy(root / "clips" / CLASSES[0] / "1.mp4", root / "clips" / CLASSES[0] / "copy of 1.mp4")
    save_tiny(root / "tiny.safetensors")
    return root


@pytest.fixture(scope="module")
def head(root):
    """A run that chooses everything but the precision; what it printed."""
    return train(root / "clips", root / "head", root / "tiny.safetensors", "--precision", "fp32", draw=True)


def start(root, work_dir, *more, data="clips", **options):
    common = ("--precision", "fp32", "--views", 1)
    return train(root / data, root / work_dir, root / "tiny.safetensors", *common, *more, **options)


def moved(root, before, work_dir, name="best.safetensors"):
    """The state-dict keys whose tensors differ between two models."""
    one, other = state_of(root / before), state_of(root / work_dir / name)
    one = {key: value for key, value in one.items() if not key.startswith("familiarity.")}  # beside the state
    return {key for key in one if one[key].shape != other[key].shape or not np.array_equal(one[key], other[key])}


def has_moved(root, work_dir):
    return moved(root, f"{work_dir}/start.safetensors", work_dir, "last.safetensors")


# what a run writes and prints


@pytest.mark.slow
def test_all_outputs_are_written_and_reported(root, head):
    folder = root / "head"
    for name in ("best.safetensors", "split.csv", "test.json", "confusion.png", "report.html", "preview/clips.png"):
        assert (folder / name).stat().st_size > 0, name
    rows = splits_in(folder)
    assert {row["split"] for row in rows} == {"train", "val"}
    assert {row["label"] for row in rows} == set(CLASSES)
    sides = {row["path"].rsplit("/", 1)[1]: row["split"] for row in rows if row["label"] == CLASSES[0]}
    assert sides["1.mp4"] == sides["copy of 1.mp4"]
    for text in ("overfit check passed: the classifier fits 8 clips", "settings, each with its reason"):
        assert text in head, text
    for text in ("--train-layers", "tested on val"):
        assert text in head, text
    for text in ("mean recall", "always", " has only ", "protocol: finetune_head", "; fp32"):
        assert text in head, text
    assert f"next: i3d predict clip.mp4 --model {folder}/best.safetensors" in head
    record = json.loads((folder / "finetune.json").read_text())
    assert all(choice["reason"] and choice["flag"].startswith("--") for choice in record["decisions"])
    assert record["metrics"]["num_clips"] == len(scores_in(folder / "test.json"))


def test_test_and_predict_reproduce_the_validation_scores(root, head, tmp_path):
    """Only the weights file is copied: `i3d test` gives the same scores and `i3d predict` the same classes."""
    model = shutil.copy(root / "head" / "best.safetensors", tmp_path / "m.safetensors")
    held = {row["path"]: row["label"] for row in splits_in(root / "head") if row["split"] == "val"}
    other = write_csv(tmp_path / "other.csv", [f"{path},{label}" for path, label in held.items()])
    out = tmp_path / "again.json"
    words = ["i3d", "test", model, "--data", other, "--root", root / "clips", "--out", out, "--device", "cpu"]
    result = run_here([*words, "--workers", 0])
    assert result.returncode == 0, result.stderr
    before, again = scores_in(root / "head" / "test.json"), scores_in(out)
    assert before.keys() == again.keys()
    assert max(np.abs(np.subtract(before[file], again[file])).max() for file in before) < 1e-5
    clip, label = next(iter(held.items()))
    result = run_here(["i3d", "predict", root / "clips" / clip, "--model", model, "--device", "cpu", "--json"])
    assert result.returncode == 0, result.stderr
    scores = {p["label"]: p["score"] for p in json.loads(result.stdout)[0]["predictions"]}
    assert scores.keys() == set(CLASSES)
    assert scores[label] == pytest.approx(before[str(root / "clips" / clip)][CLASSES.index(label)], abs=1e-4)


def test_only_the_classifier_is_another(root, head):
    assert moved(root, "tiny.safetensors", "head") == {"fc.weight", "fc.bias"}
    assert state_of(root / "head/best.safetensors")["fc.weight"].shape[0] == 2


@pytest.mark.slow
def test_bf16_is_reported_and_gives_nearly_the_same(root, head, tmp_path):
    output = train(root / "clips", root / "bf16", root / "tiny.safetensors", "--precision", "bf16", "--views", 1)
    assert "; bf16" in output
    out = tmp_path / "again.json"
    data = ["--data", root / "bf16" / "split.csv", "--root", root / "clips", "--split", "val"]
    result = run_here(
        ["i3d", "test", root / "bf16/best.safetensors", *data, "--precision", "auto", "--out", out, "--workers", 0]
    )
    assert result.returncode == 0, result.stderr
    before, again = scores_in(root / "bf16" / "test.json"), scores_in(out)
    assert max(np.abs(np.subtract(before[file], again[file])).max() for file in before) < 1e-2


# layers


@pytest.mark.slow
def test_last_trains_the_last_stage_and_the_classifier(root):
    output = start(root, "last", "--train-layers", "last", "--epochs", 1, "--head", "prototype", "--val-fraction", 0)
    changed = has_moved(root, "last")
    assert changed
    assert {name.split(".")[0] for name in changed} == {"layer4", "fc"}
    assert not any("running" in name for name in changed)
    assert "overfit check passed: the network fits" in output


@pytest.mark.slow
def test_all_trains_everything_but_the_norm_statistics_and_starts_from_a_model(root, head):
    output = train(
        root / "clips", root / "all", root / "head/best.safetensors", "--train-layers", "all",
        "--epochs", 1, "--views", 1, "--head", "prototype", "--val-fraction", 0,
    )  # fmt: skip
    assert "weights: " in output
    changed, every = has_moved(root, "all"), state_of(root / "all/last.safetensors")
    fixed = {name for name in every if "running" in name or "num_batches" in name}
    assert fixed.isdisjoint(changed)
    assert {name.split(".")[0] for name in changed} == {name.split(".")[0] for name in every}
    weights = {name for name in every if name not in fixed and "bn" not in name and "norm" not in name}
    assert {name for name in weights if name.endswith("conv.weight") or "fc" in name} <= changed
    assert (root / "all/curves.png").exists()


@pytest.mark.slow
def test_norms_that_are_re_estimated_change_statistics_only(root):
    output = start(root, "norms", "--norms", "re-estimated")
    changed = moved(root, "tiny.safetensors", "norms")
    assert {name.rsplit(".", 1)[1] for name in changed - {"fc.weight", "fc.bias"}} <= {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert any("running_mean" in name for name in changed)
    assert "batch norms: statistics re-estimated on" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "balance"), [("all", "sampler"), ("head", "loss"), ("all", "focal"), ("head", "logit-adjust")]
)
def test_every_balance(root, mode, balance):
    more = ["--epochs", 1, "--no-overfit-check", "--head", "prototype"] if mode == "all" else []
    start(root, f"{mode}-{balance}", "--train-layers", mode, "--balance", balance, *more)
    record = json.loads((root / f"{mode}-{balance}" / "finetune.json").read_text())
    training = record["config"]["recipe"]["training"]
    applied = (training["balance"], training["loss"]["class_weights"], training["loss"]["focal_gamma"])
    adjusted = training["loss"]["logit_adjustment"]
    assert (*applied, adjusted) == {
        "sampler": ("classes", "none", 0, 0),
        "loss": ("none", "balanced", 0, 0),
        "focal": ("none", "none", 2, 0),
        "logit-adjust": ("none", "none", 0, 1),
    }[balance]


# several clips of a video, mirrors, several labels, folds


@pytest.mark.slow
def test_several_clips_of_a_video_and_mirrored_classes(root, tmp_path):
    for i in range(3):
        for colour, name in enumerate(("turn left", "turn right")):
            make_clip(root / "turns" / name / f"{i}.mp4", colour, num_frames=24)
    for flip in ("swap", "on", "off"):
        work_dir = root / f"flip-{flip}"
        output = train(
            root / "turns", work_dir, root / "tiny.safetensors", "--views", 3, "--test-clips", 3, "--flip", flip,
            "--head", "prototype", "--precision", "fp32",
        )  # fmt: skip
        augmentation = json.loads((work_dir / "finetune.json").read_text())["config"]["recipe"]["training"][
            "augmentation"
        ]
        assert augmentation["flip"] == (0 if flip == "off" else 0.5)
        assert augmentation["mirrored"] == ([["turn left", "turn right"]] if flip == "swap" else [])
        assert re.search(r"--test-clips +3 +set by you", output)
    assert "in a mirror" not in output
    data = ["--data", root / "flip-off" / "split.csv", "--root", root / "turns", "--split", "val", "--workers", 0]
    result = run_here(["i3d", "test", root / "flip-off/best.safetensors", *data, "--out", tmp_path / "t.json"])
    assert result.returncode == 0, result.stderr
    before, again = scores_in(root / "flip-off/test.json"), scores_in(tmp_path / "t.json")
    assert max(np.abs(np.subtract(before[file], again[file])).max() for file in before) < 1e-5


@pytest.mark.slow
def test_several_labels_of_a_clip(root):
    rows = [
        f"{CLASSES[i % 2]}/{i // 2}.mp4,{('a', 'b', 'a|b')[i % 3]},{'val' if i > 9 else 'train'}" for i in range(14)
    ]
    write_csv(root / "clips" / "many.csv", rows, header="path,label,split")
    output = start(root, "many", "--multi-label", data="clips/many.csv", draw=True)
    assert "mean average precision" in output
    record = json.loads((root / "many/test.json").read_text())
    assert record["multi_label"]
    assert (root / "many/report.html").exists()


@pytest.mark.slow
def test_folds_hold_every_clip_out_once_by_groups(root):
    rows = [f"{name}/{i}.mp4,{name},g{i // 2}{name}" for name in CLASSES for i in range(7)]
    write_csv(root / "clips" / "grouped.csv", rows, header="path,label,group")
    output = start(root, "folds", "--cv-folds", 3, data="clips/grouped.csv")
    scores = scores_in(root / "folds/test.json")
    assert len(scores) == 14
    record = json.loads((root / "folds/finetune.json").read_text())
    accuracies = record["fold_accuracies"]
    assert len(accuracies) == 3
    assert f"mean {fmean(accuracies):.4f}, standard deviation {stdev(accuracies):.4f}" in output
    counted = [int(number) for number in re.findall(r"fold \d of 3: top-1 [\d.]+ on (\d+) clips", output)]
    assert sum(counted) == 14
    assert record["metrics"]["num_clips"] == 14
    assert record["metrics"]["top1"] == pytest.approx(np.dot(accuracies, counted) / 14)


@pytest.mark.slow
def test_folds_group_by_a_part_of_the_path(root):
    """Clip 0 of both classes together, and so on: with seven groups there are no more than seven folds."""
    error = start(root, "by-path", "--cv-folds", 8, "--group-by", r"/(?:copy of )?(\d)\.mp4", expected=2)
    assert "at most 7" in error


@pytest.mark.slow
def test_random_labels_are_reported_as_useless(root):
    rows = [f"{CLASSES[i % 2]}/{i // 2}.mp4,{'ab'[int(c)]}" for i, c in enumerate("01101001100101")]
    write_csv(root / "clips" / "random.csv", rows)
    output = start(root, "random", "--cv-folds", 2, data="clips/random.csv")
    assert "overfit check passed: the classifier fits 8 clips, 100 % correct" in output
    assert "no better than a constant prediction" in output


@pytest.mark.slow
def test_python_gives_the_same(root, head):
    import i3d
    from i3d.data.formats.read import read_annotations
    from i3d.training.setup import ComputeConfig
    from i3d.utils.cache import Cache

    with without_drawing():
        result = i3d.finetune(
            read_annotations(root / "clips"),
            work_dir=root / "python",
            init=str(root / "tiny.safetensors"),
            compute=ComputeConfig("cpu", "fp32", num_workers=0, cache=Cache(root / "cache")),
        )
    assert (result.train_layers, result.num_computed, result.tested_on) == ("head", 0, "val")
    assert result.model.read_bytes() == (root / "head/best.safetensors").read_bytes()
    assert result.evaluation.scores_NK.shape == (len(scores_in(root / "head/test.json")), 2)
