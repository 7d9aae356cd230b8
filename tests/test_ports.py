"""The commands of the READMEs of the MindSpore and the Ascend port, word for word, on tiny data in their layouts."""

import json
import os
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest

import i3d
from i3d.evaluation import read_evaluations
from i3d.weights.foreign.mindspore import read_mindspore
from support.commands import run, run_here
from support.foreign_files import mindspore_arrays, mindspore_bytes
from support.paths import ROOT
from support.rendering import render

MINDSPORE, ASCEND = ROOT / "ports" / "mindspore", ROOT / "ports" / "ascend"
STANDALONE = "bash scripts/run_standalone_train.sh ./config/i3d_rgb.yaml ./i3d_rgb_kinetics400.ckpt"
DISTRIBUTE = "bash scripts/run_distribute_train.sh 8 0,1,2,3,4,5,6,7 ./config/i3d_rgb.yaml ./i3d_rgb_kinetics400.ckpt"
EVALUATE = "bash scripts/run_standalone_eval.sh GPU ./config/i3d_rgb.yaml ./i3d_rgb_kinetics400.ckpt data_path"


@pytest.fixture
def as_called(tmp_path, monkeypatch):
    """Runs a line of a README by bash up to the call of Python, and that in this process, which has loaded PyTorch."""
    recorder, called = tmp_path / "python", tmp_path / "called"
    recorder.write_text(f'#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done > {called}\n')
    recorder.chmod(recorder.stat().st_mode | stat.S_IXUSR)

    def call(line, **more):
        subprocess.run(shlex.split(line), check=True, env={**os.environ, "PYTHON": str(recorder)})
        return run_here(["python", *called.read_text().splitlines()], **more)

    return call


def place(tmp_path, monkeypatch, port):
    """A copy of the folder of a port, as current folder."""
    root = tmp_path / "port"
    shutil.copytree(port, root)
    monkeypatch.chdir(root)
    return root


# MindSpore


@pytest.fixture
def mindspore(tmp_path, monkeypatch):
    """The port's folder with its data set and tiny settings: 9 frames of 193 pixels, which Inception needs."""
    root, data = place(tmp_path, monkeypatch, MINDSPORE), tmp_path / "kinetic-400"
    for split, labels in [("train", ["zumba", "abseiling"]), ("val", ["abseiling", "zumba"])]:
        (data / split).mkdir(parents=True)
        lines = ["label,youtube_id,time_start,time_end,split"]
        for k, label in enumerate(labels):
            render(data / split / f"___qijXy2f{k}_000011_000021.mp4", num_frames=12)
            lines.append(f"{label},___qijXy2f{k},11,21,{split}")
        (data / f"kinetics-400_{split}.csv").write_text("\n".join(lines))
    (root / "data_path").symlink_to(data)
    (root / "data" / "data.json").write_text(json.dumps({"root": str(data)}))
    config = root / "config" / "i3d_rgb.yaml"
    changes = {"batch_size: 4": "batch_size: 1", "seq: 64": "seq: 9", "workers: 8": "workers: 0", "256": "193"}
    changes |= {"224": "193", "epochs: 30": "epochs: 1", "t_max: 30": "t_max: 1", "epoch: 30": "epoch: 1"}
    text = config.read_text()
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    config.write_text(text)
    return root


def published(root):
    content = mindspore_bytes(mindspore_arrays(i3d.load_model().state_dict()))
    (root / "i3d_rgb_kinetics400.ckpt").write_bytes(content)


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
    assert log.startswith("$ i3d test ./i3d_rgb_kinetics400.ckpt --data data_path --split val --protocols mindspore\n")
    assert "{'Top_1_Accuracy': " in log
    assert "i3d_rgb: 1 clip of 9 frames drawn from the whole video, short side 193, centre crop 193" in log
    (mine,) = read_evaluations(mindspore / "eval" / "i3d_rgb_kinetics400.json")
    repeated = as_called(EVALUATE)
    assert repeated.returncode == 2
    assert "the file exists; choose another name, or replace it with --force" in repeated.stderr

    words = ["i3d_rgb_kinetics400.ckpt", "--data", "data_path", "--split", "val", "--protocol", "mindspore"]
    small = ["protocol.clip_len=9", "preprocessing.short_side=193", "preprocessing.crop=193"]
    small = [word for setting in small for word in ("--set", setting)]
    result = run("test", *words, *small, "--out", "a.json", "--workers", "0")
    assert result.returncode == 0, result.stderr
    (other,) = read_evaluations(Path("a.json"))
    assert np.allclose(mine.scores_NK, other.scores_NK, atol=1e-6)
    result = as_called(f"{EVALUATE.replace('./i3d_rgb_kinetics400.ckpt', 'output/i3d_rgb-1_2.ckpt')}")
    assert result.returncode == 0, result.stderr
    assert "class k of output/i3d_rgb-1_2.ckpt is class k of the data set, as in the port" in result.stderr
    (mine,) = read_evaluations(mindspore / "eval" / "i3d_rgb-1_2.json")
    assert (mine.classes, mine.labels_N) == (("zumba", "abseiling"), ((1,), (0,)))


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
