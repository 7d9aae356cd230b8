"""Videos that a model should not name: a low score, or far from the clips that it was fitted on."""

import csv
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import i3d
from i3d.errors import InputError, WeightsError
from i3d.inference.prediction import LabelScore, Prediction, Thresholds
from i3d.weights.checkpoint import load_checkpoint
from i3d.weights.convert import convert
from i3d.weights.familiarity import DISTANCES, FEATURES, MAX_CLIPS, Familiarity
from i3d.weights.file_checksum import write_checksum
from i3d.weights.load import load_weights
from support.commands import run_here
from support.finetuning_runs import make_folder, save_tiny, train
from support.rendering import encode

RANDOM = np.random.default_rng(0)


def make_familiarity(features_NC, groups_N, is_training_N=None):
    groups_N = np.array(groups_N)
    is_training_N = np.ones(len(groups_N), bool) if is_training_N is None else np.array(is_training_N)
    return Familiarity.from_clips(np.array(features_NC, np.float32)[:, None], groups_N, is_training_N)


def test_each_clip_is_compared_with_training_clips_of_other_groups():
    angles = np.radians([0, 10, 40, 45])
    features_NC = 7 * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # the length does not matter
    familiarity = make_familiarity(features_NC, [0, 0, 1, 2], [True, True, True, False])
    nearest = np.radians([40, 30, 30, 5])  # 0-40, 10-40, 40-10, 45-40
    np.testing.assert_allclose(familiarity.distances_M, np.sort(1 - np.cos(nearest)), atol=1e-3)
    assert len(familiarity.features_NC) == 3


@pytest.mark.parametrize(("degrees", "fraction"), [(0, 1), (-20, 0.75), (-35, 0.25), (-60, 0)])
def test_the_fraction_counts_held_out_clips_that_are_as_far(degrees, fraction):
    angles = np.radians([0, 10, 40, 45])
    features_NC = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    familiarity = make_familiarity(features_NC, [0, 0, 1, 2], [True, True, True, False])
    views_VC = np.array([[np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]] * 2, np.float32)
    assert familiarity.fraction_as_far(views_VC) == fraction


def test_one_group_is_compared_clip_by_clip_and_one_clip_with_none():
    features_NC = RANDOM.random((3, 5))
    assert len(make_familiarity(features_NC, [0, 0, 0]).distances_M) == 3
    assert make_familiarity(features_NC[:1], [0]) is None
    assert make_familiarity(features_NC[:2], [0, 1], [False, False]) is None  # nothing was trained on


def test_of_many_clips_a_part_is_stored():
    features_NC = RANDOM.random((MAX_CLIPS + 50, 4))
    familiarity = make_familiarity(features_NC, range(MAX_CLIPS + 50))
    assert familiarity.features_NC.shape == (MAX_CLIPS, 4)
    assert len(familiarity.distances_M) == MAX_CLIPS + 50


def test_the_reasons_of_an_unsure_prediction():
    row = Prediction("a.mp4", "ok", (LabelScore("x", 0.55), LabelScore("y", 0.45)), "p", 9, familiarity=0.02)
    assert row.judged(Thresholds(min_familiarity=0.02)).unsure == ""
    far = "far from the training clips: only 2 % of the held-out clips are as far"
    assert row.judged(Thresholds()).unsure == far
    assert row.judged(Thresholds(0.6)).unsure == f"below the minimum score, 60 %; {far}"
    assert str(row.judged(Thresholds())) == "unsure: x 55.0 %, y 45.0 %"
    assert Prediction.from_dict(row.judged(Thresholds()).to_dict()).unsure == far
    assert row.judged(Thresholds()).drawn_labels[0].label == "x (unsure)"
    failed = Prediction("b.mp4", "error", (), "p", 0, "damaged")
    assert failed.judged(Thresholds(1.0)) == failed
    with pytest.raises(InputError, match="min_score 1.2: must be from 0 to 1"):
        Thresholds(1.2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of two classes, its clips, and a video of noise."""
    folder = tmp_path_factory.mktemp("unsure")
    data = make_folder(folder / "data", ["red", "green"], per_class=8)
    train(data, folder / "run", save_tiny(folder / "tiny.safetensors"))
    noise = RANDOM.integers(0, 255, (12, 36, 48, 3), np.uint8)
    encode(folder / "noise.mp4", list(noise), options={"g": "6", "crf": "10"})
    return folder


def test_a_clip_of_another_kind_is_unsure(model, tmp_path):
    out = tmp_path / "rows.csv"
    videos = [model / "noise.mp4", model / "data" / "red"]
    result = run_here(["i3d", "predict", *videos, "--model", model / "run", "--out", out, "--device", "cpu"])
    assert result.returncode == 0, result.stderr
    noise, *others = csv.DictReader(out.read_text().splitlines())
    assert noise["unsure"] == "far from the training clips: none of the held-out clips are as far"
    assert float(noise["familiarity"]) == 0
    assert sum(not row["unsure"] for row in others) >= 7  # of 8
    assert "unsure" in result.stdout.splitlines()[0]
    assert "of 9 videos unsure: " in result.stderr
    one = run_here(["i3d", "predict", videos[0], "--model", model / "run", "--device", "cpu"])
    assert "unsure: far from the training clips" in one.stdout


def test_thresholds_are_applied_to_results_of_a_resumed_run(model, tmp_path):
    command = ["i3d", "predict", model / "noise.mp4", model / "absent.mp4", "--model", model / "run"]
    command += ["--out", tmp_path / "rows.json", "--device", "cpu"]
    reasons = []
    for more in ([], ["--min-familiarity", 0]):
        assert run_here([*command, *more]).returncode == 3
        reasons.append(json.loads((tmp_path / "rows.json").read_text())[0]["unsure"])
    assert reasons == ["far from the training clips: none of the held-out clips are as far", ""]


def test_from_python(model):
    row = i3d.predict(str(model / "noise.mp4"), model=model / "run", device="cpu")
    assert (row.familiarity, row.unsure != "") == (0, True)
    assert not i3d.predict(str(model / "noise.mp4"), model=model / "run", device="cpu", min_familiarity=0).unsure
    (listed,) = i3d.predict_many([str(model / "noise.mp4")], model=model / "run", device="cpu")
    assert listed == row
    with pytest.raises(InputError, match="the network has no features of its training clips"):
        i3d.predict(str(model / "noise.mp4"), model=model / "tiny.safetensors", device="cpu", min_familiarity=0.1)


def test_scores_are_those_of_a_test(model, tmp_path):
    """`predict` runs the classifier by itself, `test` with the network."""
    clips, out = model / "data", tmp_path / "test.json"
    assert run_here(["i3d", "test", model / "run", "--data", clips, "--out", out, "--device", "cpu"]).returncode == 0
    rows = {row["file"]: next(iter(row["scores"].values())) for row in json.loads(out.read_text())["clips"]}
    for file, scores in list(rows.items())[:4]:
        row = i3d.predict(file, model=model / "run", device="cpu")
        assert max(scores) == pytest.approx(row.top1.score, abs=1e-5)


def test_a_converted_checkpoint_keeps_its_training_clips(model, tmp_path, caplog):
    best = model / "run" / "best.safetensors"
    convert(best, tmp_path / "copy.safetensors")
    one, other = (load_weights(path).familiarity for path in (best, tmp_path / "copy.safetensors"))
    np.testing.assert_array_equal(one.features_NC, other.features_NC)
    np.testing.assert_array_equal(one.distances_M, other.distances_M)


@pytest.mark.parametrize("change", ["channels", "type", "one", "nan"])
def test_damaged_features_are_refused(model, tmp_path, change):
    best, path = model / "run" / "best.safetensors", tmp_path / "changed.safetensors"
    tensors, meta = dict(load_checkpoint(best)[0]), _metadata(best)
    if change == "channels":
        tensors[FEATURES] = tensors[FEATURES][:, :-1].copy()
    elif change == "type":
        tensors[DISTANCES] = tensors[DISTANCES].astype(np.float64)
    elif change == "one":
        del tensors[DISTANCES]
    else:
        tensors[DISTANCES][0] = np.nan
    save_file(tensors, path, metadata=meta)
    write_checksum(path)
    with pytest.raises(WeightsError, match=r"changed.safetensors: .*familiarity"):
        load_weights(path)


def _metadata(path):
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        return file.metadata()


def test_trained_layers_have_features_of_the_trained_network(model, tmp_path):
    train(model / "data", tmp_path / "run", model / "tiny.safetensors", "--train-layers", "last", "--epochs", 1)
    start, best = (load_file(tmp_path / "run" / f"{name}.safetensors") for name in ("start", "best"))
    assert start[FEATURES].shape == best[FEATURES].shape
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    train(model / "data", tmp_path / "run", model / "tiny.safetensors", "--train-layers", "last", "--epochs", 1)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before
