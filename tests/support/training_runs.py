"""Small training runs, in this process or in separate ones."""

import hashlib
import json
import tempfile
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch

from support.commands import run_here
from support.processes import start
from support.rendering import render_tinted

RECIPE = """
base: i3d_r50_video_32x2x1_100e_kinetics400_rgb
network: {depth: 18, base_channels: 4}
preprocessing: {short_side: 32, crop: 32}
protocol: {clip_len: 6, frame_interval: 1, num_clips: 1}
training:
  init: ""
  epochs: 12
  batch_size: 2
  accumulate: 2
  base_batch: 0
  optimizer: {lr: 0.02}
  schedule: {kind: cosine}
  ema_decay: 0.8
  sampling: {clip_len: 6, frame_interval: 1}
  augmentation: {resize: 32, size: 28, brightness: 0.2, erasing: {probability: 0.5}}
  mixup: {mixup_alpha: 0.3}
  validation: {clip_len: 6, frame_interval: 1}
  validation_crop: 28
  validate_every: 1
  save_every: 1
"""
OUTPUTS = ("log.jsonl", "best.safetensors", "last.safetensors")


def make_clips(folder, *, num_train=12, num_val=4):
    """Videos of three classes, their list and a recipe of a tiny network."""
    lines = ["path,label,split"]
    for i in range(num_train + num_val):
        render_tinted(folder / f"{i}.mp4", first=8 * i, num_frames=10, channel=i % 3)
        lines.append(f"{i}.mp4,{'abc'[i % 3]},{'train' if i < num_train else 'val'}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder


def command(clips, work_dir, *more):
    """The command line of a run."""
    options = ["--recipe", clips / "tiny.yaml", "--data", clips / "clips.csv", "--work-dir", work_dir]
    return list(map(str, ["i3d", "train", *options, "--device", "cpu", "--deterministic", *more]))


def finish(arguments, *, ranks=1, expected=0, draws=False):
    """Run a command to its end and return what it printed; a run of one process runs in this one.

    Unless it `draws`, it leaves out the curves, which take longer than the training of a tiny network.
    """
    if ranks > 1:
        with tempfile.NamedTemporaryFile("r") as log:
            code, output = start(arguments, Path(log.name), ranks=ranks).wait(300), log.read()
    else:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with nullcontext() if draws else mock.patch("i3d.training.run.draw_curves"):
                result = run_here(arguments)
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(False)
        code, output = result.returncode, result.output
    assert code == expected, (code, output[-5000:])
    return output


def digests(work_dir):
    """Hashes of the outputs of a run that hold no times: log, weights, last state (weights, EMA, optimiser)."""
    states = sorted((work_dir / "checkpoints").glob("step-*.safetensors"))
    paths = [*(work_dir / name for name in OUTPUTS), states[-1]]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def make_unfinished(work_dir):
    """Leave a finished run as one that was stopped between its last two saved states."""
    max((work_dir / "checkpoints").glob("step-*.safetensors")).unlink()
    record = json.loads((work_dir / "run.json").read_text())
    (work_dir / "run.json").write_text(json.dumps({**record, "done": False}))


def newest_step(work_dir):
    """The step of the newest saved state; 0 before the first."""
    steps = [int(path.stem.split("-")[1]) for path in (work_dir / "checkpoints").glob("step-*.safetensors")]
    return max(steps, default=0)
