"""The commands of the README of the MindSpore port, word for word, on tiny data in its layout."""

import os
import re
import shlex
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import i3d
from i3d.cli.ports import mindspore as ports
from i3d.cli.ports.background import check_log, start_in_background
from i3d.errors import InputError
from i3d.evaluation import read_evaluations
from i3d.training.run_folder import RunFolder
from i3d.weights.foreign.mindspore import read_mindspore
from support.commands import run_here
from support.paths import ROOT
from support.ports import caller, mindspore_project, published

STANDALONE = "bash scripts/run_standalone_train.sh ./config/i3d_rgb.yaml ./i3d_rgb_kinetics400.ckpt"
DISTRIBUTE = "bash scripts/run_distribute_train.sh 8 0,1,2,3,4,5,6,7 ./config/i3d_rgb.yaml ./i3d_rgb_kinetics400.ckpt"
EVALUATE = "bash scripts/run_standalone_eval.sh GPU ./config/i3d_rgb.yaml ./i3d_rgb_kinetics400.ckpt data_path"


@pytest.fixture
def as_called(tmp_path):
    return caller(tmp_path)


@pytest.fixture
def mindspore(tmp_path, monkeypatch):
    return mindspore_project(tmp_path, monkeypatch)


@pytest.mark.slow
def test_mindspores_standalone_training_and_evaluation(mindspore, as_called):
    published(mindspore)
    result = as_called(STANDALONE)
    assert result.returncode == 0, result.stderr
    assert "note: device 'cuda' cannot be used" in result.stderr
    assert "running on what is here: --device cpu" in result.stderr
    assert "$ i3d train --recipe i3d_rgb --data" in result.stderr
    files = {path.name for path in (mindspore / "output").iterdir()}
    assert {"i3d_rgb-1_2.ckpt", "i3d_rgb_best.ckpt", "last.safetensors", "best.safetensors", "log.jsonl"} <= files
    arrays = read_mindspore((mindspore / "output" / "i3d_rgb-1_2.ckpt").read_bytes())
    last = i3d.load_model(mindspore / "output" / "last.safetensors")
    assert last.labels == ("zumba", "abseiling")  # by first appearance
    assert np.array_equal(arrays["head.logits.features.0.weight"], last.state_dict()["logits.conv3d.weight"].numpy())
    again = as_called(STANDALONE)
    assert (again.returncode, "this run is complete" in again.stderr) == (0, True), again.stderr

    result = as_called(EVALUATE)
    assert result.returncode == 0, result.stderr
    assert "has 400 classes, the data set 2: class names are assumed (kinetics400, by the recipe)" in result.stderr
    log = (mindspore / "eval" / "eval.log").read_text()
    first, figure = log.splitlines()[:2]
    assert first.startswith("$ i3d test ./i3d_rgb_kinetics400.ckpt --data data_path --split val --protocols mindspore ")
    assert "'Top_1_Accuracy': " in figure
    assert "i3d_rgb: 1 clip of 9 frames drawn from the whole video, short side 193, centre crop 193" in log
    (mine,) = read_evaluations(mindspore / "eval" / "i3d_rgb_kinetics400.json")
    repeated = as_called(EVALUATE)
    assert repeated.returncode == 2
    assert "the file exists; choose another name, or replace it with --force" in repeated.stderr

    assert_typed(first, "a.json", mine)
    result = as_called(f"{EVALUATE.replace('./i3d_rgb_kinetics400.ckpt', 'output/i3d_rgb-1_2.ckpt')}")
    assert result.returncode == 0, result.stderr
    assert "class k of output/i3d_rgb-1_2.ckpt is class k of the data set, as in the port" in result.stderr
    (mine,) = read_evaluations(mindspore / "eval" / "i3d_rgb-1_2.json")
    assert (mine.classes, mine.labels_N) == (("zumba", "abseiling"), ((1,),))
    log = (mindspore / "eval" / "eval.log").read_text()
    assert "Top_5_Accuracy is not shown: with 2 classes" in log
    converted, tested, figure, *_ = log.splitlines()
    assert "Top_5" not in figure
    result = run_here(shlex.split(converted.removeprefix("$ ")))
    assert result.returncode == 0, result.stderr
    assert_typed(tested, "b.json", mine)


def assert_typed(line, out, mine):
    """The command that a log names gives the scores of the log."""
    result = run_here([*shlex.split(line.removeprefix("$ ")), "--out", out, "--workers", "0"])
    assert result.returncode == 0, result.stderr
    (other,) = read_evaluations(Path(out))
    assert (other.protocol, other.classes, other.accuracy) == (mine.protocol, mine.classes, mine.accuracy)
    assert np.allclose(mine.scores_NK, other.scores_NK, atol=1e-6)


@pytest.mark.slow
def test_mindspores_distributed_training_in_the_background(mindspore, as_called):
    published(mindspore)
    (mindspore / "data_path" / "kinetics-400_val.csv").unlink()  # no validation, which takes time
    result = as_called(DISTRIBUTE, env={"PYTHONPATH": str(ROOT / "src")})
    assert result.returncode == 0, result.stderr
    assert "8 devices are asked for, 1 of the kind cpu is here: 1 instead of 8 processes" in result.stderr
    process = int(result.stderr.split("training in the background, process ")[1].split(":")[0])
    os.waitpid(process, 0)
    log = (mindspore / "train" / "tran.log").read_text()
    assert log.startswith("$ i3d train --recipe i3d_rgb --data ")
    files = {path.name for path in (mindspore / "train" / "ckpt").iterdir()}
    assert {"i3d_rgb-1_2.ckpt", "last.safetensors"} <= files, log


@pytest.mark.parametrize("line", [STANDALONE, DISTRIBUTE])
def test_a_start_that_must_fail_is_refused_before_it(mindspore, as_called, monkeypatch, line):
    published(mindspore)
    monkeypatch.setattr(ports, "start_in_background", None)
    monkeypatch.setattr(ports, "run_i3d", None)
    (mindspore / "data_path" / "kinetics-400_train.csv").unlink()
    result = as_called(line)
    assert (result.returncode, "kinetics-400_train.csv" in result.stderr) == (2, True), result.stderr
    assert not (mindspore / "train" / "tran.log").exists()


def test_a_start_beside_a_running_one_is_refused(mindspore, as_called):
    published(mindspore)
    ready, ends = os.pipe()
    child = os.fork()
    if child == 0:
        folder = RunFolder(mindspore / "train" / "ckpt")
        folder.lock()
        os.write(ends, b"1")
        signal.pause()
    os.read(ready, 1)
    try:
        result = as_called(DISTRIBUTE)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(ends)
    assert (result.returncode, "train/ckpt: in use by another run" in result.stderr) == (2, True), result.stderr


BEGINS = [  # a process, and how its start is reported
    ("sys.exit('error: x.ckpt: is damaged\\nTraceback')", "has ended with code 1: x.ckpt: is damaged"),
    ("os.kill(os.getpid(), 9)", "has ended with code -9: it printed nothing"),
    ("print('this run is complete')", "the training has ended: this run is complete"),
    ("pathlib.Path('run/run.json').touch(), time.sleep(60)", "training in the background, process "),
]


@pytest.mark.parametrize(("code", "expected"), BEGINS, ids=[code[:12] for code, _ in BEGINS])
def test_a_process_that_ends_at_once_is_reported(tmp_path, monkeypatch, caplog, code, expected):
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    command = [sys.executable, "-c", f"import os, pathlib, sys, time; {code}"]
    caplog.set_level("INFO", "i3d")
    try:
        start_in_background(command, "$ i3d train", log_file=Path("train/tran.log"), folder=Path("run"))
        shown = caplog.text
    except InputError as error:
        shown = str(error)
        assert "code" in expected
    assert expected in shown
    assert Path("train/tran.log").read_text().startswith("$ i3d train\n")
    if (running := re.search(r"process (\d+):", shown)) is not None:
        os.kill(int(running[1]), signal.SIGKILL)
        os.waitpid(int(running[1]), 0)


def test_a_start_on_several_devices_is_printed_as_it_can_be_typed(mindspore, as_called, monkeypatch):
    published(mindspore)
    lines = []
    monkeypatch.setattr(ports, "start_in_background", lambda _, line, **__: lines.append(line) or 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("i3d.cli.ports.launch.pick_device", lambda name: torch.device(name))
    result = as_called(DISTRIBUTE.replace("8 0,1,2,3,4,5,6,7", "2 4,5"), env={"CUDA_VISIBLE_DEVICES": ""})
    assert result.returncode == 0, result.stderr
    start = "$ CUDA_VISIBLE_DEVICES=4,5 torchrun --standalone --nproc-per-node=2 -m i3d train --recipe i3d_rgb --data "
    assert lines[0].startswith(start)
    (mindspore / "train").mkdir()
    (mindspore / "train" / "tran.log").write_text(lines[0])
    check_log(mindspore / "train" / "tran.log")


PROJECT_FORMS = [
    ("run_standalone_train.sh", "output", ["--epochs", "1"]),
    ("run_distribute_train.sh", "train/ckpt", ["--epochs", "1"]),
]


@pytest.mark.parametrize(("script", "output", "words"), PROJECT_FORMS, ids=[form[0] for form in PROJECT_FORMS])
def test_a_project_and_its_data_are_the_other_spelling(mindspore, as_called, monkeypatch, script, output, words):
    ran = []
    monkeypatch.setattr(ports, "run_i3d", lambda command: ran.append(command) or 1)
    monkeypatch.setattr(ports, "start_in_background", lambda command, *_, **__: ran.append(command) or 0)
    monkeypatch.chdir(mindspore / "scripts")
    result = as_called(f"bash {script} {mindspore} ../data_path")
    ((command,), here) = ran, Path.cwd()
    assert here == mindspore, result.stderr
    expected = {"--data": str(mindspore / "scripts" / ".." / "data_path"), "--init": "none"}
    expected["--work-dir"] = str(mindspore / output)  # so that the printed command does the same in any folder
    assert {flag: command[command.index(flag) + 1] for flag in expected} == expected
    assert words[1] == command[command.index(words[0]) + 1]


PRE_TRAINED = [
    (
        "pre_trained: True",
        "train.pre_trained = True needs train.pretrained_model, which is empty; write its f",
    ),
    ("pre_trained: True\n    pretrained_model: gone.ckpt", "gone.ckpt: no such checkpoint; give the path of your copy"),
]


@pytest.mark.parametrize(("after", "expected"), PRE_TRAINED, ids=["no model", "gone"])
def test_pre_trained_needs_a_model(mindspore, as_called, after, expected):
    file = mindspore / "config" / "i3d_rgb.yaml"
    text = file.read_text().replace('pretrained_model: ""', "")
    file.write_text(text.replace("pre_trained: False", after))
    result = as_called("bash scripts/run_standalone_train.sh . data_path")
    assert (result.returncode, expected in result.stderr) == (2, True), result.stderr


def test_the_weights_of_a_project_are_those_of_its_config(mindspore, as_called):
    result = as_called("bash scripts/run_standalone_eval.sh . data_path")
    assert result.returncode == 2
    assert "./i3d_rgb_kinetics400.ckpt: no such checkpoint; give the path of your copy, or incept" in result.stderr
    assert not (mindspore / "eval").exists()


TRAIN, DIST, EVAL = (f"run_{name}.sh" for name in ("standalone_train", "distribute_train", "standalone_eval"))
WRONG = [
    (TRAIN, "", "run_standalone_train.sh: 0 arguments; usage: bash scripts/run_standalone_train.sh CONFIG_FILE PRE"),
    (TRAIN, "a b c", "3 arguments; usage: bash scripts/run_standalone_train.sh CONFIG_FILE PRETRAINED_MODEL | PROJECT"),
    (DIST, "8 ./config/i3d_rgb.yaml x", "3 arguments; usage: bash scripts/run_distribute_train.sh DEVICE_NUM VISIBLE"),
    (DIST, "x 0 ./config/i3d_rgb.yaml none", "DEVICE_NUM x: must be a whole number from 1; usage:"),
    (DIST, "8 0,1 ./config/i3d_rgb.yaml none", "VISIBLE_DEVICES 0,1: must be 8 different numbers with commas"),
    (EVAL, "TPU ./config/i3d_rgb.yaml x data_path", "device TPU: must be one of GPU, Ascend, CPU; usage: bash scripts"),
    (EVAL, "GPU ./config/i3d_rgb.yaml x gone", "gone: no such folder of the data set; give the folder that has train/"),
    (TRAIN, "./config/gone.yaml none", "config/gone.yaml: no such config; give config/i3d_rgb.yaml of the port"),
    (TRAIN, "./config/i3d_rgb.yaml gone.ckpt", "gone.ckpt: no such checkpoint; give the path of your copy, or "
     "inception_rgb_kinetics400, which is in this package, or none for random weights"),
    (EVAL, "GPU ./config/i3d_rgb.yaml none data_path", "none: random weights have no accuracy; name a checkpoint"),
    (DIST, "1 0 ./config/i3d_rgb.yaml data_path", "data_path: it is a folder; give the path of your copy"),
    (TRAIN, "./config/i3d_rgb.yaml none --device npu", "device 'npu': torch_npu is not installed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "words", "expected"), WRONG, ids=[f"{script} {words}" for script, words, _ in WRONG]
)
def test_bad_input_of_mindspore_is_one_line(mindspore, as_called, script, words, expected):
    result = as_called(f"bash scripts/{script} {words}")
    *notes, message = result.stderr.splitlines()
    assert result.returncode == 2
    assert message.startswith("error: ")
    assert expected in message
    assert all(note.startswith("note: ") for note in notes)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "data/data.json: no such file, and `path` of the config is no folder (it is empty); write "),
        ("{", "data/data.json: not JSON"),
        ("[1]", 'data/data.json: must have one key, the folder of the data set: {"root": "/data/kinetic-400"}'),
        ('{"root": "gone"}', "data/data.json: root 'gone': no such folder; write the one that has train/ and val/"),
    ],
)
def test_the_folder_of_the_data_is_that_of_data_json(mindspore, as_called, content, expected):
    file = mindspore / "data" / "data.json"
    file.unlink() if content is None else file.write_text(content)
    result = as_called("bash scripts/run_standalone_train.sh ./config/i3d_rgb.yaml none")
    assert (result.returncode, expected in result.stderr) == (2, True), result.stderr


def test_checkpoints_and_logs_of_others_are_not_replaced(mindspore, as_called):
    for name in ("output/mine.ckpt", "train/tran.log", "eval/eval.log"):
        (mindspore / name).parent.mkdir(exist_ok=True)
        (mindspore / name).write_text("mine")
    weights = "inception_rgb_kinetics400"
    for line, expected in [
        (STANDALONE, "output/mine.ckpt: is of another run; move it away"),
        (DISTRIBUTE, "train/tran.log: is of another program; move it away"),
        (EVALUATE, "eval/eval.log: is of another program; move it away"),
    ]:
        result = as_called(line.replace("./i3d_rgb_kinetics400.ckpt", weights))
        assert (result.returncode, expected in result.stderr) == (2, True), result.stderr
