"""The folder of a run wherever weights are named: its best weights, or one line about what to name instead."""

import shutil

import pytest

import i3d
from i3d.errors import InputError
from i3d.weights.names import check_weights_name
from support.commands import run_here
from support.evaluation_runs import save_model
from support.finetuning_runs import make_clip, save_tiny, write_csv
from support.training_runs import RECIPE


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    (root / "run").mkdir()
    save_tiny(root / "run/best.safetensors", labels=("x", "y"))
    save_tiny(root / "run/last.safetensors", labels=("other", "names"))
    (root / "run/run.json").write_text("{}")
    (root / "flow").mkdir()
    save_model(root / "flow/best.safetensors", labels=("x", "y"), channels=2, flow="dis")
    names = ("x0", "y1", "x2", "y3")
    for number, name in enumerate(names):
        make_clip(root / f"{name}.mp4", number % 2, number=number)
    write_csv(root / "clips.csv", [f"{name}.mp4,{name[0]},train" for name in names], "path,label,split")
    recipe = RECIPE.replace("epochs: 12", "epochs: 1").replace("depth: 18,", "depth: 18, num_classes: 2,")
    (root / "tiny.yaml").write_text(recipe)
    return root


COMMANDS = (
    "predict x0.mp4 --model MODEL --json",
    "predict x0.mp4 --flow-model MODEL --streams flow --json",
    "features x0.mp4 --model MODEL --out OUT --window 8 --stride 8",
    "test MODEL --data clips.csv --json --workers 0",
    "convert MODEL OUT.safetensors --json",
    "models show MODEL --json",
    "benchmark model MODEL --precision fp32 --rounds 3 --video x0.mp4",
    "train --recipe tiny.yaml --data clips.csv --init MODEL --work-dir OUT --workers 0 --device cpu",
    "train --data clips.csv --init MODEL --work-dir OUT --workers 0 --device cpu --yes --cv-folds 0 --views 1",
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words.split()[:2]))
def test_a_command_takes_the_folder_of_a_run(root, tmp_path, monkeypatch, words):
    monkeypatch.chdir(root)
    monkeypatch.setenv("I3D_CACHE", str(tmp_path / "cache"))
    model = "flow" if "--flow-model" in words else "run"
    result = run_here(["i3d", *words.replace("MODEL", model).replace("OUT", str(tmp_path / "out")).split()])
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "the weights of this run are its best.safetensors" in line]
    assert lines == [f"{model}: the weights of this run are its best.safetensors"]


def test_python_functions_take_the_folder_of_a_run(root):
    assert i3d.load_model(root / "run").labels == ("x", "y")
    assert i3d.Predictor(str(root / "run")).weights.card.labels == ("x", "y")


def test_without_best_weights_the_last_ones_are_named(root, tmp_path, caplog):
    shutil.copy(root / "run/last.safetensors", tmp_path)
    with caplog.at_level("INFO", "i3d"):
        assert i3d.load_model(tmp_path).labels == ("other", "names")
    assert "the weights of this run are its last.safetensors: the run validated nothing" in caplog.text


@pytest.mark.parametrize(
    ("files", "name", "expected"),
    [
        ((), "", "is no run, and holds no weights; give a weights file, or the --work-dir of a run"),
        (("run.json",), "", "this run has no weights yet; its first validation, or its end, writes best.safetensors"),
        (("finetune.json",), "", "resume it by the command that started it"),
        (("run.json", "checkpoints/step-00000001.safetensors"), "checkpoints", "is a part of the run in"),
        (("b/finetune.json", "a/run.json", "c/best.safetensors"), "", "is no run, but holds runs (a, b, c)"),
        (("epoch_100.pth", "20260101.log.json"), "", "is no run of i3d; name a file in it (epoch_100.pth)"),
        (("best.safetensors/x",), "", "is no run of i3d; name a file in it (best.safetensors)"),
    ],
)
def test_a_folder_without_weights_is_one_line(tmp_path, files, name, expected):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("{}")
    folder = tmp_path / name
    for attempt in (check_weights_name, i3d.load_model):
        with pytest.raises(InputError, match="^.*$") as caught:
            attempt(str(folder))
        assert str(caught.value).startswith(f"{folder}: ")
        assert expected in str(caught.value)
    result = run_here(["i3d", "predict", "x.mp4", "--model", folder])
    assert (result.returncode, expected in result.stderr) == (2, True)
