"""The commands of the READMEs of the MindSpore and the Ascend port, word for word, on tiny data in their layouts."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import i3d
from i3d.cli.mmaction2.arguments import read_config_arguments
from i3d.cli.ports import mindspore as ports
from i3d.cli.ports.mindspore_config import read_port_config
from i3d.errors import InputError
from i3d.evaluation import read_evaluations
from i3d.recipes.io import load_recipe, with_overrides
from i3d.weights.foreign.mindspore import read_mindspore
from support.commands import run, run_here
from support.foreign_files import mindspore_arrays, mindspore_bytes
from support.mmaction2_configs import CONFIGS_0
from support.mmaction2_runs import TINY_MODEL, VIDEO, config
from support.paths import ROOT
from support.processes import start
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
    for split, labels in [("train", ["zumba", "abseiling"]), ("val", ["abseiling"])]:
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
    assert (mine.classes, mine.labels_N) == (("zumba", "abseiling"), ((1,),))


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


PROJECT_FORMS = [
    ("run_standalone_train.sh", "output", ["--epochs", "1"]),
    ("run_distribute_train.sh", "train/ckpt", ["--epochs", "1"]),
]


@pytest.mark.parametrize(("script", "output", "words"), PROJECT_FORMS, ids=[form[0] for form in PROJECT_FORMS])
def test_a_project_and_its_data_are_the_other_spelling(mindspore, as_called, monkeypatch, script, output, words):
    ran = []
    monkeypatch.setattr(ports, "run_i3d", lambda command: ran.append(command) or 1)
    monkeypatch.setattr(ports, "_start_in_background", lambda _, command: ran.append(command) or 0)
    monkeypatch.chdir(mindspore / "scripts")
    result = as_called(f"bash {script} {mindspore} ../data_path")
    ((command,), here) = ran, Path.cwd()
    assert here == mindspore, result.stderr
    expected = {"--data": str(mindspore / "scripts" / ".." / "data_path"), "--init": "none", "--work-dir": output}
    assert {flag: command[command.index(flag) + 1] for flag in expected} == expected
    assert words[1] == command[command.index(words[0]) + 1]


def test_the_weights_of_a_project_are_those_of_its_config(mindspore, as_called):
    result = as_called("bash scripts/run_standalone_eval.sh . data_path")
    assert result.returncode == 2
    assert "./i3d_rgb_kinetics400.ckpt: no such checkpoint; download it from the link in" in result.stderr
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
    (TRAIN, "./config/i3d_rgb.yaml gone.ckpt", "gone.ckpt: no such checkpoint; download it from the link in the port's "
     "README, or give inception_rgb_kinetics400 (shipped), or none"),
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


def test_the_config_of_the_port_is_the_published_recipe():
    parsed = read_port_config(MINDSPORE / "config" / "i3d_rgb.yaml")
    assert (parsed.epochs, parsed.batch_size, parsed.train_settings, parsed.test_settings) == (30, 4, (), ())


CHANGES = [  # of the config, and the settings of the recipe that they change
    ("momentum: 0.9", "momentum: 0.8", ["training.optimizer.momentum=0.8"]),
    ("t_max: 30", "t_max: 60", ['training.schedule={"kind": "cosine", "end": 0.0, "length": 60.0}']),
    ("warmup_epochs: 0", "warmup_epochs: 4", ["training.warmup_epochs=4.0", "training.warmup_start=0.001"]),
    ('"cosine_annealing"', '"exponential"\n    lr_epochs: [2, 4]\n    lr_gamma: 0.2',
     ['training.schedule={"kind": "step", "epochs": [2, 4], "gamma": 0.2}']),
    ("prob: 0.5", "prob: 0.0", ["training.augmentation.flip=0.0"]),
    ("VideoResize\n                  size: [256, 256]", "VideoShortEdgeResize\n                  size: 240",
     ["training.augmentation.resize=240"]),
    ("shuffle: True", "shuffle: True\n            shuffle: True", []),  # twice, as in the port
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "settings"), CHANGES, ids=[change[1][:20] for change in CHANGES])
def test_what_a_config_changes_in_the_recipe(tmp_path, before, after, settings):
    text = (MINDSPORE / "config" / "i3d_rgb.yaml").read_text()
    assert before in text
    (tmp_path / "c.yaml").write_text(text.replace(before, after, 1))
    parsed = read_port_config(tmp_path / "c.yaml")
    assert list(parsed.train_settings) == settings
    with_overrides(load_recipe("i3d_rgb"), list(parsed.train_settings))


REFUSED = [
    ("momentum: 0.9", "momentun: 0.9", r"momentun = '0.9' is not supported; did you mean momentum\?"),
    ("momentum: 0.9", "momentum: fast", "optimizer.momentum = 'fast' must be a number"),
    ("type: 'SGD'", "type: 'Adam'", "optimizer.type = 'Adam' must be 'SGD' here"),
    ('"cosine_annealing"', '"dynamic_lr"', "lr_scheduler = 'dynamic_lr' is not supported; use cosine_annealing, or"),
    ("seq_mode: 'discrete'", "seq_mode: 'part'", "must be 'discrete' here: frames drawn from the whole video"),
    ("size: [224, 224]", "size: [224, 200]", "size must be a square here"),
    ("VideoResize", "VideoThreeCrop", "the step 'VideoThreeCrop' is not supported; supported: VideoResize,"),
    ("model_name: i3d_rgb", "model_name: ../i3d", "model_name = '../i3d' begins the names of files; write letters"),
    ('device_target: "GPU"', "device_target: TPU", "device_target = 'TPU' must be one of GPU, Ascend, CPU"),
    ("batch_size: 4", "batch_size: 4\n            batch_size: 5", "batch_size is there twice with other values"),
    (
        "epochs: 30",
        "epochs: !!python/object/apply:os.system ['touch harmed']",
        r"not YAML \(.*not plain data, in line 36",
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), REFUSED, ids=[change[1][:24] for change in REFUSED])
def test_a_config_that_means_something_else_is_refused(tmp_path, monkeypatch, before, after, expected):
    monkeypatch.chdir(tmp_path)
    text = (MINDSPORE / "config" / "i3d_rgb.yaml").read_text()
    assert before in text
    (tmp_path / "c.yaml").write_text(text.replace(before, after, 1))
    with pytest.raises(InputError, match=expected) as error:
        read_port_config(tmp_path / "c.yaml")
    assert str(error.value).startswith(str(tmp_path / "c.yaml"))
    assert not (tmp_path / "harmed").exists()


# Ascend

ONE = "bash ./test/train_full_1p.sh --data_path=/data/xxx/"
EIGHT = "bash ./test/train_full_8p.sh --data_path=/data/xxx/"
TINY = ["data.videos_per_gpu=1", "data.workers_per_gpu=0", *TINY_MODEL]
TINY += [f"data.{split}.pipeline.1.clip_len=8" for split in ("train", "val", "test")]
TINY += ["data.train.pipeline.5.scale=64,64", "data.val.pipeline.4.crop_size=64", "data.test.pipeline.3.scale=-1,64"]
TINY += ["data.test.pipeline.4.crop_size=64", "data.test.pipeline.1.num_clips=2"]


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
