"""Runs of every kind, listed, drawn, tested and resumed where they were written and after a move to another place."""

import json
import shutil
from unittest import mock

import pytest

from i3d.errors import InputError
from i3d.training.runs import list_runs
from support.commands import run_here
from support.finetuning_runs import make_folder, save_tiny, train_command, without_drawing
from support.training_runs import RECIPE, make_unfinished

FAST = ("--views", 1, "--precision", "fp32", "--yes", "--no-overfit-check")
KINDS = {
    "head": ("--cv-folds", 0),
    "folds": ("--train-layers", "last", "--epochs", 2, "--cv-folds", 2),
    "last": ("--train-layers", "last", "--epochs", 2, "--cv-folds", 0),
    "recipe": ("--recipe", "tiny.yaml", "--epochs", 2),
}


def start(place, name):
    """The command of a run, from the folder of clips, weights and runs."""
    work_dir, tiny = place / "runs" / name, "weights/tiny.safetensors"
    words = train_command("clips", work_dir, tiny, *KINDS[name], cache=place / "cache")
    return words if name == "recipe" else [*words, *FAST]


def run(place, monkeypatch, words):
    monkeypatch.chdir(place)
    half = mock.patch("i3d.training.run.validate", return_value=({"top1": 0.5}, 2))  # a perfect start ends a run
    with without_drawing(), mock.patch("i3d.training.run.draw_curves"), half:
        return run_here(words)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    (place / "weights").mkdir()
    save_tiny(place / "weights/tiny.safetensors", labels=("a", "b"))
    make_folder(place / "clips", ("a", "b"), 3)
    (place / "tiny.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in KINDS:
            result = run(place, monkeypatch, start(place, name))
            assert result.returncode == 0, (name, result.stderr)
    return place


@pytest.fixture
def moved(place, tmp_path):
    """All of it in another place, where the first one cannot be read."""
    new = tmp_path / "new"
    shutil.copytree(place, new)
    hidden = place.with_name("hidden")
    place.rename(hidden)
    yield new
    hidden.rename(place)


def test_runs_of_every_kind_are_listed(place):
    rows = {row.folder: row for row in list_runs(place / "runs")}
    assert {name: (row.kind, row.state, row.recipe) for name, row in rows.items()} == {
        "folds": ("finetune", "done", "finetune_last"),
        "folds/fold_1": ("fold", "done", "finetune_last"),
        "folds/fold_2": ("fold", "done", "finetune_last"),
        "head": ("finetune", "done", "finetune_head"),
        "last": ("finetune", "done", "finetune_last"),
        "recipe": ("recipe", "done", "tiny"),
    }
    assert (rows["head"].steps, rows["head"].tested_on, rows["folds"].tested_on) == (0, "val", "2 folds")
    assert 0 <= rows["last"].tested <= 1
    assert all(row.started for row in rows.values())


def test_odd_folders_among_runs(place, tmp_path, monkeypatch):
    """An empty one and a foreign one are no runs; a damaged one is named, and the others are listed."""
    shutil.copytree(place / "runs", tmp_path / "runs")
    runs = tmp_path / "runs"
    (runs / "empty").mkdir()
    (runs / "foreign").mkdir()
    (runs / "foreign/20260101_000000.log.json").write_text('{"mode": "train", "epoch": 1, "iter": 1, "loss": 1.0}\n')
    (runs / "foreign/epoch_1.pth").write_bytes(b"x")
    (runs / "head/finetune.json").write_text('{"config": ')
    make_unfinished(runs / "recipe")
    result = run(tmp_path, monkeypatch, ["i3d", "runs", "runs", "--json"])
    assert result.returncode == 3
    states = {row["folder"]: row["state"] for row in json.loads(result.stdout)}
    assert states["head"] == "damaged"
    assert states["recipe"] == "unfinished"
    assert not {"empty", "foreign"} & states.keys()
    assert "head/finetune.json: not the record of a run; restore it or move it away" in result.stderr
    table = run(tmp_path, monkeypatch, ["i3d", "runs", "runs"])
    assert (table.returncode, "damaged" in table.stdout) == (3, True)
    for name, expected in {
        "empty": "has no log.jsonl, and no other log; give the --work-dir of a run",
        "foreign": "name a log in it (20260101_000000.log.json)",
        ".": "is no run, but holds runs (folds, last, recipe); name them",
    }.items():
        result = run(tmp_path, monkeypatch, ["i3d", "plot", runs / name, "--out", tmp_path / "x.png"])
        assert (result.returncode, expected in result.stderr) == (2, True), result.stderr
    for name in ("empty", "foreign"):
        with pytest.raises(InputError, match="holds no run; give the --work-dir of `i3d train`"):
            list_runs(runs / name)


def test_a_run_that_fits_a_classifier_has_nothing_to_draw(place, monkeypatch, tmp_path):
    result = run(place, monkeypatch, ["i3d", "plot", "runs/head", "--out", tmp_path / "x.png"])
    assert (result.returncode, "a run that only fits a classifier writes none" in result.stderr) == (2, True)
    (tmp_path / "begun/fold_1").mkdir(parents=True)
    shutil.copy(place / "runs/folds/finetune.json", tmp_path / "begun")
    for expected in ("the run writes it when it trains layers", "but its folds have (fold_1); name them"):
        result = run(place, monkeypatch, ["i3d", "plot", tmp_path / "begun", "--out", tmp_path / "x.png"])
        assert (result.returncode, expected in result.stderr) == (2, True), result.stderr
        shutil.copy(place / "runs/folds/fold_1/log.jsonl", tmp_path / "begun/fold_1")
    result = run(place, monkeypatch, ["i3d", "plot", "runs/last", "runs/folds/fold_1", "--out", tmp_path / "x.png"])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", KINDS)
def test_a_moved_run_resumes(moved, monkeypatch, name):
    """With the same settings, and clips and weights at other paths."""
    if name != "head":
        make_unfinished(moved / "runs" / name)
    result = run(moved, monkeypatch, [*start(moved, name)])
    assert result.returncode == 0, result.stderr
    if name != "head":
        assert "resuming from step" in result.stderr
    assert list_runs(moved / "runs" / name)[0].state == "done"


@pytest.mark.parametrize("name", KINDS)
def test_initial_weights_at_another_path_are_the_same(place, tmp_path, monkeypatch, name):
    shutil.copytree(place, tmp_path / "new")
    (tmp_path / "new/weights/tiny.safetensors").rename(tmp_path / "new/other.safetensors")
    words = ["other.safetensors" if "tiny.s" in str(word) else word for word in start(tmp_path / "new", name)]
    result = run(tmp_path / "new", monkeypatch, words)
    assert result.returncode == 0, result.stderr
    save_tiny(tmp_path / "new/other.safetensors", labels=("a", "c"))
    result = run(tmp_path / "new", monkeypatch, words)
    assert (result.returncode, "differ" in result.stderr) == (2, True), result.stderr


def test_a_moved_fine_tuning_is_tested_on_its_clips(moved, monkeypatch, tmp_path):
    """Beside it, or below --root; the metrics are those of its own test."""
    own = list_runs(moved / "runs/head")[0].tested
    result = run(moved, monkeypatch, ["i3d", "test", "runs/head", "--json", "--workers", 0])
    assert result.returncode == 0, result.stderr
    assert "testing on the clips of this run, runs/head/split.csv" in result.stderr
    assert json.loads(result.stdout)["top1"] == own
    (moved / "clips").rename(tmp_path / "elsewhere")
    result = run(moved, monkeypatch, ["i3d", "test", "runs/head", "--json", "--workers", 0])
    assert (result.returncode, "give it as --root" in result.stderr) == (2, True)
    words = ["i3d", "test", "runs/head", "--json", "--workers", 0, "--root", tmp_path / "elsewhere"]
    result = run(moved, monkeypatch, words)
    assert json.loads(result.stdout)["top1"] == own


@pytest.mark.parametrize("split", [(), ("--split", "val")])
def test_a_model_that_was_trained_on_all_clips_is_not_tested_on_them(moved, monkeypatch, split):
    """After --cv-folds, and where nothing was held out; a list that names them is tested with a warning."""
    result = run(moved, monkeypatch, ["i3d", "test", "runs/folds", "--workers", 0, *split])
    why = "runs/folds: the model was trained on all clips of this run (the 2 folds were tested with other models; "
    where = "the result of the 2 folds is in finetune.json and report.html); name other clips with --data"
    assert (result.returncode, why + where in result.stderr) == (2, True), result.stderr
    path = moved / "runs/head/finetune.json"
    record = json.loads(path.read_text())
    record["config"]["tested_on"] = ""
    path.write_text(json.dumps(record))
    result = run(moved, monkeypatch, ["i3d", "test", "runs/head", "--workers", 0, *split])
    assert (result.returncode, "this run (none was held out" in result.stderr) == (2, True), result.stderr


def test_training_clips_that_are_named_are_tested_with_a_warning(moved, monkeypatch):
    root = ("--root", "clips", "--workers", 0)
    warned = "the model was trained on "
    for words, expected in (
        (["runs/folds", "--data", "runs/folds/split.csv", *root], True),
        (["runs/folds/best.safetensors", "--data", "runs/folds/split.csv", *root], True),
        (["runs/head", "--data", "runs/head/split.csv", *root], False),
        (["runs/head", "--data", "runs/folds/split.csv", *root], False),
        (["runs/head", "--split", "train", "--workers", 0], True),
    ):
        result = run(moved, monkeypatch, ["i3d", "test", *words])
        assert (result.returncode, warned in result.stderr) == (0, expected), (words, result.stderr)


def test_only_a_fine_tuning_has_clips(place, monkeypatch):
    for model in ("runs/recipe", "weights/tiny.safetensors"):
        result = run(place, monkeypatch, ["i3d", "test", model])
        assert (result.returncode, "--data: is missing" in result.stderr) == (2, True)
