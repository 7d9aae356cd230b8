"""Training runs: the references' numbers, what a run shows, how it stops, several processes."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import i3d
from i3d.data.loading.batch import Batch
from i3d.errors import InputError
from i3d.models.factory import build_network
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import ResNetSettings
from i3d.recipes.training import Training
from i3d.training import step as step_module
from i3d.training.optimizer import build_optimizer
from i3d.training.run import TrainingRun
from i3d.training.run_folder import RunFolder
from i3d.training.setup import ComputeConfig, build_accelerator
from i3d.training.step import TrainState
from i3d.training.stopping import Stopping
from i3d.training.train import run_steps
from support import golden_weights
from support.golden_weights import golden_state
from support.paths import GOLDEN
from support.processes import TORCHRUN, kill_running, start
from support.rendering import render_tinted
from support.training_runs import RECIPE, command, digests, finish, make_clips, make_unfinished
from support.training_states import make_parts


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def run(clips, tmp_path_factory):
    """A run that went to its end: (folder, what it printed)."""
    work_dir = tmp_path_factory.mktemp("runs") / "run"
    return work_dir, finish(command(clips, work_dir, "--workers", "1", "--epochs", "3"), draws=True)


def lines(path):
    return [json.loads(text) for text in path.read_text().splitlines()]


# the references' numbers


class Given:
    """What the loop asks of a loader, with clips that are normalised already."""

    def __init__(self, batches):
        self._batches, self.bad, self.notes, self.dataset = batches, {}, {}, SimpleNamespace()

    def batches(self, *, epoch, first):  # noqa: ARG002
        return iter(self._batches[first:])


@pytest.mark.slow
def test_four_steps_of_the_loop_are_those_of_mmaction2(tmp_path, monkeypatch):
    golden = np.load(GOLDEN / "train_i3d_r50.npz")
    training = Training(init="", freeze_norms=False)
    recipe = named_recipe("i3d_r50_32x2x1_100e_kinetics400_rgb").model_copy(update={"training": training})
    net = build_network(ResNetSettings(dropout=0.0))
    net.load_state_dict(golden_state("i3d_r50"))
    net.double()
    parts = TrainState(
        recipe, training, build_accelerator(training, ComputeConfig(device="cpu")), net, net,
        build_optimizer(net, training, lr=0.01), None, 0,
    )  # fmt: skip
    labels = torch.from_numpy(golden["labels"]).long()
    batches = []
    for seed in golden["seeds"]:
        clips_NCTHW = torch.from_numpy(golden_weights.clips_NCTHW(int(seed), golden["shape"], "imagenet")).double()
        clips_NVTHWC = clips_NCTHW.permute(0, 2, 3, 4, 1)[:, None]
        batches.append(Batch(clips_NVTHWC, (), labels, torch.arange(2), ()))
    stepped = []
    plain = step_module.train_step
    monkeypatch.setattr("i3d.training.train.train_step", lambda *a, **k: stepped.append(plain(*a, **k)) or stepped[-1])
    run = TrainingRun(parts, Given(batches), None, RunFolder(tmp_path), 0.01, 4, 4)
    assert run_steps(run, Stopping(), 4, measures_speed=True).steps == 4
    assert np.allclose([float(s.loss) for s in stepped], golden["loss64"], rtol=1e-6, atol=0)
    assert np.allclose([float(s.grad_norm) for s in stepped], golden["grad_norm64"], rtol=1e-6, atol=0)
    state = net.state_dict()
    for probe in (key for key in golden.files if key.endswith("@64")):
        name = probe.removesuffix("@64").removeprefix("backbone.").replace("cls_head.fc_cls", "fc")
        assert np.allclose(state[name].flatten()[:32], golden[probe], rtol=1e-6, atol=1e-12), probe


# what a run prints and writes


@pytest.mark.slow
def test_what_a_run_writes_and_prints(run):
    work_dir, output = run
    assert "learning rate 0.02 for 4 clips per step, not scaled" in output
    assert re.search(r"epoch 3, step 9 of 9: loss \d\.\d+, top-1 \d\.\d+, lr .* clips/s, .* % waiting for data", output)
    assert f"i3d predict clip.mp4 --model {work_dir}/best.safetensors" in output
    log = lines(work_dir / "log.jsonl")
    assert [line["step"] for line in log] == [3, 3, 6, 6, 9, 9]
    assert all(line["validation"].keys() == {"top1", "mean_class"} for line in log[1::2])
    assert [line["step"] for line in lines(work_dir / "timing.jsonl")] == [3, 6, 9]
    record = json.loads((work_dir / "run.json").read_text())
    assert record["done"] is True
    assert record["starts"][0]["command"][1:2] == ["train"]
    assert record["starts"][0]["packages"]["torch"] == torch.__version__
    assert json.loads((work_dir / "recipe.json").read_text())["training"]["epochs"] == 3
    assert (work_dir / "curves.png").stat().st_size > 10_000
    assert sorted(p.name for p in (work_dir / "checkpoints").iterdir()) == [
        "step-00000008.safetensors", "step-00000009.safetensors",
    ]  # fmt: skip


@pytest.mark.slow
def test_tensorboard_gets_the_metrics_of_the_log(clips, tmp_path):
    """The extra [track]; the run itself is the same."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    finish(command(clips, tmp_path / "W", "--epochs", 2, "--tensorboard"))
    board = EventAccumulator(str(tmp_path / "W" / "tensorboard")).Reload()
    logged = lines(tmp_path / "W" / "log.jsonl")
    losses = {line["step"]: line["loss"] for line in logged if "loss" in line}
    shown = {event.step: event.value for event in board.Scalars("train/loss")}
    assert len(shown) >= 2
    assert shown == pytest.approx(losses)
    validations = {line["step"]: line["validation"]["top1"] for line in logged if "validation" in line}
    assert {e.step: e.value for e in board.Scalars("validation/top1")} == pytest.approx(validations)


def test_missing_tensorboard_is_an_error(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    output = finish(command(clips, tmp_path / "W", "--epochs", 2, "--tensorboard"), expected=2)
    assert "tensorboard is not installed; pip install 'i3d[track]'" in output


@pytest.mark.slow
def test_the_weights_predict_with_their_own_names(run, clips):
    import i3d

    prediction = i3d.predict(clips / "3.mp4", model=str(run[0] / "best.safetensors"))
    assert {score.label for score in prediction.predictions} == {"a", "b", "c"}


def test_a_finished_run_reports_that_it_is_finished(run, clips):
    before = {path: path.stat().st_mtime_ns for path in run[0].rglob("*.safetensors")}
    output = finish(command(clips, run[0], "--workers", "0", "--epochs", "3"))
    assert "this run is complete" in output
    assert "9 steps done" in output
    assert before == {path: path.stat().st_mtime_ns for path in run[0].rglob("*.safetensors")}


@pytest.mark.slow
def test_another_run_in_the_folder_is_refused(run, clips):
    output = finish(command(clips, run[0], "--epochs", "4"), expected=2)
    assert "started with other settings (training.epochs was 3, now 4)" in output
    output = finish(command(clips, run[0], "--epochs", "3", "--seed", "1"), expected=2)
    assert "seed was 0, now 1" in output


@pytest.mark.slow
def test_a_performance_run_saves_nothing(clips, tmp_path):
    output = finish(command(clips, tmp_path / "p", "--benchmark-steps", "5"))
    assert re.search(r"\d\.\d+ s per step, .* clips/s in all, .* on each of 1 device, .* GiB at the", output)
    assert "nothing is saved" in output
    assert not list((tmp_path / "p").rglob("*.safetensors"))


@pytest.mark.slow
def test_damaged_clips_are_in_the_log(tmp_path):
    for number, cut in enumerate((None, -100, -200)):
        path = render_tinted(tmp_path / f"{number}.mkv", first=10 * number, num_frames=12, channel=number % 2)
        path.write_bytes(path.read_bytes()[:cut])
    (tmp_path / "clips.csv").write_text("path,label\n0.mkv,a\n1.mkv,b\n2.mkv,a\n")
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    for workers in ("0", "1"):
        more = ["--workers", workers, "--batch-size", "3", "--accumulate", "1", "--benchmark-steps", "5"]
        output = finish(command(tmp_path, tmp_path / workers, *more))
        assert re.search(r"2 clips are damaged; the first: \S*/1\.mkv: at least .* bytes are missing", output)
        assert "`i3d data check` lists all" in output


@pytest.mark.slow
def test_training_starts_from_own_weights(run, clips, tmp_path):
    output = finish(command(clips, tmp_path / "n", "--init", run[0] / "last.safetensors", "--benchmark-steps", "1"))
    assert "weights: " in output
    assert "122 tensors" in output


# how a run stops


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_end(clips, tmp_path, number, code):
    log = tmp_path / "log"
    options = ["--workers", "1", "--epochs", "8", "--set", "training.save_every=1000"]
    process = start(command(clips, tmp_path / "run", *options), log)
    wait_for(tmp_path / "run" / "log.jsonl")
    process.send_signal(number)
    assert process.wait(30) == code
    assert f"saved; the same command resumes from there: i3d train --recipe {clips}/tiny.yaml" in log.read_text()
    [newest] = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1:]
    output = finish(command(clips, tmp_path / "run", *options))
    assert f"resuming from step {int(newest.stem.split('-')[1])} of 24" in output


@pytest.mark.slow
def test_a_signal_to_the_whole_group_saves_too(clips, tmp_path):
    process = start(command(clips, tmp_path / "run", "--workers", "2", "--set", "training.save_every=1000"))
    wait_for(tmp_path / "run" / "log.jsonl")
    os.killpg(process.pid, signal.SIGTERM)  # as `timeout`, systemd and schedulers do
    assert process.wait(30) == 143
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.slow
def test_the_same_command_at_once_after_a_kill(clips, tmp_path):
    """Workers outlive the process for seconds; the folder must not be held by them."""
    arguments = command(clips, tmp_path / "run", "--workers", "2", "--epochs", "4")
    process = start(arguments)
    wait_for(tmp_path / "run" / "log.jsonl")
    kill_running(process, alone=True)
    assert "resuming from step" in finish(arguments)


@pytest.mark.slow
def test_a_finished_run_may_lose_its_states(clips, tmp_path):
    arguments = command(clips, tmp_path / "run", "--workers", "0", "--epochs", "1")
    finish(arguments)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    output = finish(arguments)
    assert "this run is complete" in output
    assert "3 steps done, best validation" in output


@pytest.mark.slow
def test_states_of_another_run_are_refused(clips, tmp_path):
    finish(command(clips, tmp_path / "run", "--workers", "0", "--epochs", "1"))
    record = tmp_path / "run" / "run.json"
    finish(command(clips, tmp_path / "other", "--workers", "0", "--epochs", "1", "--seed", "3"))
    other = json.loads((tmp_path / "other" / "run.json").read_text())
    record.write_text(json.dumps({**other, "done": False}))
    output = finish(command(clips, tmp_path / "run", "--workers", "0", "--epochs", "1", "--seed", "3"), expected=2)
    assert "its states belong to a run with other settings or clips" in output


@pytest.mark.slow
def test_two_processes_stopped_between_two_lines_of_the_log(clips, tmp_path):
    """Each rank has its own sums: the rest of the log is bit-identical."""
    options = ["--workers", "0", "--epochs", "3", "--set", "training.accumulate=1", "--set", "training.save_every=1"]
    finish(command(clips, tmp_path / "whole", *options), ranks=2)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    make_unfinished(tmp_path / "cut")  # the newest state is then of step 8: 2 steps after the last line
    assert "resuming from step 8 of 9" in finish(command(clips, tmp_path / "cut", *options), ranks=2)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


@pytest.mark.slow
def test_changed_compute_settings_are_reported(run, clips, tmp_path):
    work_dir = tmp_path / "run"
    arguments = command(clips, work_dir, "--workers", "0", "--epochs", "2")
    finish(arguments)
    make_unfinished(work_dir)
    arguments.remove("--deterministic")
    assert "warning: deterministic was True, now False: from this step on, the run differs in rounding" in finish(
        arguments
    )


def wait_for(path, *, seconds=60):
    end = time.monotonic() + seconds
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < end, path
        time.sleep(0.02)


@pytest.mark.slow
def test_two_runs_cannot_use_one_folder(clips, tmp_path):
    """A refused start leaves the run alone that has the folder: the next one is refused too."""
    arguments = command(clips, tmp_path / "run", "--workers", "0", "--epochs", "8")
    process = start(arguments)
    wait_for(tmp_path / "run" / "log.jsonl")
    process.send_signal(signal.SIGSTOP)
    files = {path.name for path in (tmp_path / "run").rglob("*")}
    for _ in range(2):
        output = finish(arguments, expected=2)
        assert f"in use by another run (process {process.pid} on {socket.gethostname()})" in output
        assert {path.name for path in (tmp_path / "run").rglob("*")} == files
    process.send_signal(signal.SIGCONT)
    kill_running(process)
    finish(arguments)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_before_anything_is_saved(clips, tmp_path):
    settings = ("accumulate=1", "clip_grad_norm=0", "save_every=1000")
    options = ["--lr", "1e6", *(word for setting in settings for word in ("--set", f"training.{setting}"))]
    output = finish(command(clips, tmp_path / "run", *options), expected=2)
    assert re.search(
        r"error: step \d+: the (loss|gradient norm) is (nan|-?inf); its clips: .*\d\.mp4; the saved states", output
    )
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    parts = make_parts()
    with torch.no_grad():
        parts.net.fc.bias[1] = torch.inf
    run = TrainingRun(parts, Given([]), None, RunFolder(tmp_path), 0.01, 4, 4)
    with pytest.raises(InputError, match="step 0: the weights are not finite"):
        run.save()


@pytest.mark.slow
def test_a_disk_that_is_full_costs_saves_and_not_the_run(clips, tmp_path):
    """Files may have 100 kB, the state has more: as good as a full disk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        output = finish(command(clips, tmp_path / "run", "--epochs", "2"), expected=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert re.search(r"warning: step 3: the state could not be saved \(.*File too large", output)
    assert "warning: step 3: best.safetensors could not be written" in output
    assert re.search(r"error: .*writing failed", output)  # of the last weights
    assert lines(tmp_path / "run" / "log.jsonl")[-1]["step"] == 6
    assert not list((tmp_path / "run").rglob("*.safetensors"))
    assert "6 steps done" in finish(command(clips, tmp_path / "run", "--epochs", "2"))


@pytest.mark.slow
def test_bad_clips_are_limited_and_reported(clips, tmp_path):
    folder = make_clips(tmp_path / "c" if (tmp_path / "c").mkdir() is None else tmp_path)
    (folder / "2.mp4").write_bytes(b"no video")
    output = finish(command(folder, tmp_path / "run", "--epochs", "1"), expected=2)
    assert "1 of 12 clips cannot be read, more than --max-bad 1% allows; the first: " in output
    output = finish(command(folder, tmp_path / "run", "--epochs", "1", "--max-bad", "10%"))
    assert re.search(r"warning: .*2\.mp4: ", output)
    (folder / "3.mp4").unlink()
    output = finish(command(folder, tmp_path / "other", "--epochs", "1"), expected=2)
    assert "'3.mp4': no such file" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_clips", "options", "todo"),
    [
        (7, [], "choose another --batch-size, or training.drop_last=true"),
        (7, ["--set", "training.drop_last=true"], ""),
        (7, ["--set", "training.freeze_norms=true"], ""),
        (7, ["--batch-size", "4"], ""),
        (7, ["--set", "training.sampling.num_clips=2"], ""),
        (8, [], ""),
        (8, ["--batch-size", "1"], "choose another --batch-size"),
        (8, ["--batch-size", "7"], "choose another --batch-size, or training.drop_last=true"),
    ],
)
def test_a_batch_of_one_value_per_channel_is_refused_before_training(tmp_path, num_clips, options, todo):
    """The last map of these clips is 1 x 1 x 1: a batch norm of one clip has no variance."""
    clips = make_clips(tmp_path, num_train=num_clips, num_val=0)
    words = command(clips, tmp_path / "run", "--epochs", "1", "--accumulate", "1", "--workers", "0", *options)
    output = finish(words, expected=2 if todo else 0)
    assert output.splitlines()[-1].endswith(f"; {todo}") or not todo
    assert "does not accept 1 clip of 6 frames of 28 x 28" in output or not todo
    assert (tmp_path / "run").exists() != bool(todo)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "nothing"], "there is no recipe 'nothing'"),
        (["--set", "training.epoch=3"], "training has no 'epoch'; did you mean training.epochs"),
        (["--set", "training.epochs=0"], "training.epochs: Input should be greater than or equal to 1"),
        (["--precision", "fp16"], "precision fp16: a CPU has no fast float16; use --precision bf16, fp32 or auto"),
        (["--init", "nowhere.pth"], "nowhere.pth: no such file"),
        (["--max-bad", "lots"], "--max-bad 'lots': is not a fraction"),
        (["--recipe", "inception_rgb_charades"], "has no training settings"),
        (["--set", "training.sync_norms=true"], "sync_norms: PyTorch synchronises batch norms on GPUs only"),
    ],
)
def test_wrong_use_is_one_line(clips, tmp_path, options, message):
    words = command(clips, tmp_path / "run")
    if options[0] == "--recipe":
        words[words.index("--recipe") + 1] = options[1]
    else:
        words += options
    output = finish(words, expected=2)
    assert message in output
    assert output.strip().splitlines()[-1].startswith("error: ")


# several processes


# Batch norms keep their statistics; dropout and mixup would be drawn for each process.
SAME_ON_RANKS = ["--epochs", "2", "--workers", "0", "--set", "training.save_every=1000"]
SAME_ON_RANKS += ["--set", "training.freeze_norms=true", "--set", "network.dropout=0"]
SAME_ON_RANKS += ["--set", "training.mixup.mixup_alpha=0"]


@pytest.fixture(scope="module")
def two_ranks(clips, tmp_path_factory):
    """A run of two processes with two clips each."""
    work_dir = tmp_path_factory.mktemp("ranks") / "run"
    finish(command(clips, work_dir, *SAME_ON_RANKS, "--batch-size", "2", "--accumulate", "1"), ranks=2)
    return work_dir


@pytest.mark.slow
def test_two_processes_are_one_with_the_same_batch(clips, two_ranks, tmp_path):
    finish(command(clips, tmp_path / "one", *SAME_ON_RANKS, "--batch-size", "4", "--accumulate", "1"))
    finish(command(clips, tmp_path / "add", *SAME_ON_RANKS, "--batch-size", "2", "--accumulate", "2"))
    folders = (tmp_path / "one", two_ranks, tmp_path / "add")
    one, two, added = (load_file(folder / "last.safetensors") for folder in folders)
    for name, value in one.items():
        assert torch.allclose(two[name], value, rtol=1e-6, atol=1e-6), name
        assert torch.allclose(added[name], value, rtol=1e-6, atol=1e-6), name
    metrics = [[line.get("validation") for line in lines(folder / "log.jsonl")] for folder in folders[:2]]
    assert metrics[0] == metrics[1]


@pytest.mark.slow
def test_sharded_weights_are_those_of_plain_processes_and_resume_bit_exactly(clips, two_ranks, tmp_path):
    options = [*SAME_ON_RANKS, "--batch-size", "2", "--accumulate", "1", "--fsdp"]
    finish(command(clips, tmp_path / "sharded", *options), ranks=2)
    plain, sharded = (load_file(folder / "last.safetensors") for folder in (two_ranks, tmp_path / "sharded"))
    for name, value in plain.items():
        assert torch.allclose(sharded[name], value, rtol=1e-5, atol=1e-6), name
    process = start(command(clips, tmp_path / "cut", *options), ranks=2)
    wait_for(tmp_path / "cut" / "log.jsonl")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    assert "resuming from step" in finish(command(clips, tmp_path / "cut", *options), ranks=2)
    assert digests(tmp_path / "cut") == digests(tmp_path / "sharded")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_worker_that_is_killed_ends_the_run_within_seconds(clips, tmp_path, workers):
    log = tmp_path / "log"
    process = start(command(clips, tmp_path / "run", "--workers", workers, "--epochs", "500"), log)
    wait_for(tmp_path / "run" / "log.jsonl")
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    killed_at = time.monotonic()
    assert process.wait(30) == 2
    assert time.monotonic() - killed_at < 15
    assert re.search(r"error: a process that loads clips died .* at one of these: .*\.mp4", log.read_text())


@pytest.mark.slow
def test_two_agents_on_the_loopback(clips, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes, logs = [], []
    for node in (0, 1):
        agent = ["--nnodes=2", f"--node-rank={node}", "--nproc-per-node=1", "--rdzv-backend=c10d"]
        agent += [f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=test", f"--rdzv-conf=is_host={int(node == 0)}"]
        logs.append(tmp_path / f"log{node}")
        processes.append(start([*TORCHRUN, *agent, "-m", *command(clips, tmp_path / "run", "--epochs", "2")], logs[-1]))
    assert [process.wait(120) for process in processes] == [0, 0], [log.read_text()[-2000:] for log in logs]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["world_size"] == 2
    assert record["done"] is True


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_within_seconds(clips, tmp_path):
    log = tmp_path / "log"
    words = command(clips, tmp_path / "run", "--workers", "0", "--epochs", "500")
    process = start([*TORCHRUN, "--standalone", "--nproc-per-node=2", "-m", *words], log)
    wait_for(tmp_path / "run" / "log.jsonl")
    ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    begin = time.monotonic()
    assert process.wait(60) != 0
    assert time.monotonic() - begin < 30
    assert "SIGKILL" in log.read_text()


def test_a_runtime_that_cannot_train_is_refused(tmp_path):
    """By `train` and `finetune` alike, before they read a clip."""
    compute = ComputeConfig(device="cpu", runtime="openvino")
    (tmp_path / "clips").mkdir()
    clips = i3d.data.read_annotations(make_clips(tmp_path / "clips", num_train=3, num_val=0) / "clips.csv")
    recipe = named_recipe("inception_rgb_kinetics400")
    for function in (lambda: i3d.train(recipe, clips, work_dir=tmp_path, compute=compute),
                     lambda: i3d.finetune(clips, work_dir=tmp_path, compute=compute)):  # fmt: skip
        with pytest.raises(i3d.InputError, match="runtime openvino: does not train; use torch or compile"):
            function()
