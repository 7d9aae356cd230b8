"""The commands of the README of the Ascend port, word for word, on tiny data in its layout."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from i3d.cli.mmaction2.arguments import read_config_arguments
from i3d.errors import InputError
from i3d.recipes.io import load_recipe
from support.commands import run, run_here
from support.mmaction2_configs import CONFIGS_0
from support.mmaction2_runs import TINY_MODEL, VIDEO, config
from support.paths import ROOT
from support.ports import ASCEND, caller, place
from support.processes import start
from support.rendering import render

ONE = "bash ./test/train_full_1p.sh --data_path=/data/xxx/"
EIGHT = "bash ./test/train_full_8p.sh --data_path=/data/xxx/"
TINY = ["data.videos_per_gpu=1", "data.workers_per_gpu=0", *TINY_MODEL]
TINY += [f"data.{split}.pipeline.1.clip_len=8" for split in ("train", "val", "test")]
TINY += ["data.train.pipeline.5.scale=64,64", "data.val.pipeline.4.crop_size=64", "data.test.pipeline.3.scale=-1,64"]
TINY += ["data.test.pipeline.4.crop_size=64", "data.test.pipeline.1.num_clips=2"]


@pytest.fixture
def as_called(tmp_path):
    return caller(tmp_path)


@pytest.fixture
def ascend(tmp_path, monkeypatch):
    """The port's folder and /data/xxx/ with its data set: the folder above kinetics400."""
    place(tmp_path, monkeypatch, ASCEND)
    data = tmp_path / "data" / "xxx" / "kinetics400"
    for split in ("train", "val"):
        for k, label in enumerate(["abseiling", "zumba"]):
            (data / split / label).mkdir(parents=True)
            render(data / split / label / f"{k}.mp4", num_frames=12)
        (data / f"{split}_label").write_text("abseiling/0.mp4 0\nzumba/1.mp4 1\n")
    return data.parent


def with_data(line, data, *more):
    return f"{line.replace('/data/xxx/', f'{data}/')} --cfg-options {' '.join(TINY)} {' '.join(more)}"


def row_of(result, folder):
    """The row that a script printed, which is also in its folder."""
    assert result.returncode == 0, result.stderr
    head, _, line = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert head == "| NAME | Top1 acc | FPS | Epochs | AMP_Type |"
    row = json.loads((folder / "performance.json").read_text())
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["-" if value is None else str(value) for value in list(row.values())[:5]]
    assert (folder.parent / row["weights"]).is_file()
    return row


@pytest.mark.slow
def test_the_commands_of_ascend(ascend, as_called):
    here = Path.cwd()
    result = as_called(with_data(ONE, ascend))
    row = row_of(result, here / "result_full_1p")
    (typed,) = re.findall(r"^\$ (python \S*tools/train.py .*)$", result.stderr, re.MULTILINE)
    words = shlex.split(typed)
    assert (here / words[1]).resolve().relative_to(ROOT) == Path("tools/train.py")
    again = run_here([words[0], "tools/train.py", *words[2:]])
    assert (again.returncode, "this run is complete" in again.stderr) == (0, True), again.stderr
    assert "note: device 'npu': torch_npu is not installed; running on what is here: --device cpu" in result.stderr
    assert "note: AMP O1 is float16, which a CPU has not: fp32, AMP_Type O0" in result.stderr
    assert (row["NAME"], row["Epochs"], row["AMP_Type"]) == ("1p-CPU", 1, "O0")
    assert row["Top1 acc"] in (0, 50, 100)
    assert row["FPS"] > 0
    result = as_called(with_data(EIGHT, ascend, "total_epochs=1", "--seed", "3", "--device", "cpu"))
    assert row_of(result, here / "result_full_8p")["NAME"] == "1p-CPU"
    assert "note: 8 devices are asked for, 1 of the kind cpu is here: 1 instead of 8 processes" in result.stderr
    assert "seed 3" in result.stderr
    for devices in ("1p", "8p"):
        line = ONE.replace("full_1p", f"performance_{devices}")
        row = row_of(as_called(with_data(line, ascend)), here / f"result_performance_{devices}")
        assert (row["Top1 acc"], row["Epochs"], row["FPS"] > 0) == (None, 1, True)
    result = as_called(with_data("bash ./test/train_eval_8p.sh --data_path=/data/xxx/", ascend))
    row = row_of(result, here / "result_eval_8p")
    assert "top1_acc" in result.stdout
    assert (row["weights"], row["Epochs"]) == ("result_full_8p/best.safetensors", None)
    assert len(json.loads((here / "result_eval_8p" / "result.json").read_text())) == 2
    assert (here / "result_full_8p" / "best.safetensors").is_file()


@pytest.mark.slow
def test_two_processes_of_ascend(ascend, tmp_path):
    log, script = tmp_path / "log", ROOT / "src" / "i3d" / "cli" / "ports" / "ascend.py"
    words = [script, "train_full_8p.sh", f"--data_path={ascend}", "--device", "cpu"]
    process = start(["python", *words, "--cfg-options", *TINY, "total_epochs=1"], log, ranks=2)
    assert process.wait(60) == 0, log.read_text()
    shown, folder = log.read_text(), Path("result_full_8p")
    assert shown.count("| 2p-CPU |") == 1
    assert "\n$ torchrun --standalone --nproc-per-node=2 " in shown
    assert json.loads((folder / "performance.json").read_text())["NAME"] == "2p-CPU"
    (trained, *_) = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    assert trained["step"] == 1  # each process has one of the two clips
    assert (folder / "best.safetensors").is_file()


def test_addresses_of_weights_are_looked_up_in_the_folder_of_ascends_option(ascend, as_called):
    Path("weights").mkdir()
    line = f"{ONE.replace('/data/xxx/', str(ascend))} --device cpu --cfg-options load_from=https://example.org/gone.pth"
    result = as_called(f"{line} --checkpoints weights", env={"HOME": str(ascend)})
    assert result.returncode == 2
    assert "no file gone.pth in weights, or the caches" in result.stderr
    assert "name its folder with --checkpoints DIR or $I3D_CHECKPOINTS" in result.stderr


def test_the_ranks_that_are_asked_for_are_started(ascend, as_called, monkeypatch):
    started = []
    monkeypatch.setattr(os, "execv", lambda _, command: started.append(command) or sys.exit(0))
    line = f"{EIGHT.replace('/data/xxx/', str(ascend))} --device cpu --ranks 2"
    result = as_called(line)
    (command,) = started
    assert command[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    assert command[5:] == ["-m", "i3d.cli.ports.ascend", "train_full_8p.sh", *shlex.split(line)[2:]]
    assert "instead of" not in result.stderr
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("i3d.cli.ports.launch.pick_device", lambda name: torch.device(name))
    result = as_called(f"{EIGHT.replace('/data/xxx/', str(ascend))} --device cuda")
    assert "--nproc-per-node=4" in started[-1]
    assert "8 devices are asked for, 4 of the kind cuda are here: 4 instead of 8 processes" in result.stderr


def test_configs_of_the_ascend_port_have_its_mixed_precision(ascend, tmp_path):
    variables = "DEVICE_ID = 0\nAMP = True\nOPT_LEVEL = 'O1'\nLOSS_SCALE = 128.0\ndist_params = dict(backend='hccl')\n"
    text = CONFIGS_0[VIDEO].replace("type='SGD'", "type='NpuFusedSGD'") + variables
    training = load_recipe(config(tmp_path, text)).training
    assert (training.precision, training.loss_scale, training.optimizer.kind) == ("fp16", 128, "sgd")
    parsed = read_config_arguments(str(tmp_path / "my_config.py"), ["fp16=None"])  # as the scripts set on a CPU
    assert parsed.config.recipe.training.precision == "fp32"
    with pytest.raises(InputError, match=r"my_config.py:\d+: OPT_LEVEL = 'O2' must be 'O1' here"):
        load_recipe(config(tmp_path, text.replace("'O1'", "'O2'")))


WRONG_ASCEND = [
    ("", "train_full_1p.sh: --data_path is missing; usage: bash ./test/train_full_1p.sh --data_path=FOLDER [--config"),
    ("--data_path=", "--data_path: the value is empty"),
    ("--data_path=nowhere", "--data_path nowhere: there is no nowhere/kinetics400/train; it needs kinetics400/{train,"),
    ("--data_path=DATA/kinetics400", "is the data set itself; give the folder above it, DATA"),
    ("--data_path=DATA --data_root=x", "--data_path and --data_root are the same: give one of them; usage:"),
    ("--data_path=DATA --sed 1", "unrecognized arguments: --sed 1; usage: bash ./test/train_full_1p.sh"),
    ("--data_path=DATA --device npu", "device 'npu': torch_npu is not installed; install the torch_npu for your CANN"),
    ("--data_path=DATA --ranks 0", "--ranks 0: must be from 1 to 1024"),
    ("--data_path=DATA --config gone.py", "there is no recipe 'gone'"),
    ("--data_path=DATA --cfg-options total_epoch=3", "there is no key 'total_epoch'; did you mean total_epochs"),
]


@pytest.mark.parametrize(("words", "expected"), WRONG_ASCEND, ids=[words for words, _ in WRONG_ASCEND])
def test_bad_input_of_ascend_is_one_line(ascend, as_called, words, expected):
    result = as_called(f"bash ./test/train_full_1p.sh {words.replace('DATA', str(ascend))}")
    *notes, message = result.stderr.splitlines()
    assert result.returncode == 2
    assert message.startswith("error: ")
    assert expected.replace("DATA", str(ascend)) in message
    assert all(note.startswith("note: ") for note in notes)


def test_what_ascend_has_not_written_is_not_replaced(ascend, as_called):
    Path("result_full_1p").mkdir()
    Path("result_full_1p/performance.json").write_text('{"mine": 1}')
    result = as_called(f"bash ./test/train_full_1p.sh --data_path={ascend} --device cpu")
    assert (result.returncode, "performance.json: the file exists" in result.stderr) == (2, True)
    result = as_called(f"bash ./test/train_eval_8p.sh --data_path={ascend} --device cpu")
    assert result.returncode == 2
    assert "result_full_8p/best.safetensors: no such checkpoint; train it with bash ./test/train_full" in result.stderr


# --device npu


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--recipe", "i3d_r50_video_32x2x1_100e_kinetics400_rgb_o1", "--work-dir", "w"],
        ["train", "--recipe", "i3d_rgb", "--work-dir", "w", "--init", "none"],
        ["test", "inception_rgb_kinetics400"],
    ],
)
def test_without_torch_npu_that_is_the_message(ascend, words):
    result = run(*words, "--data", str(ascend / "kinetics400"), "--device", "npu")
    assert result.returncode == 2
    assert "error: device 'npu': torch_npu is not installed; install the torch_npu for" in result.stderr
    assert "is a CPU" not in result.stderr
