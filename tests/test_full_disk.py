"""A full disk: every writer names its file, and leaves the old one."""

import contextlib
import os
import resource

import numpy as np
import pytest
import torch

import i3d
from i3d.cli.main import run_cli
from i3d.data.check.report import DatasetReport
from i3d.data.check.report import write_report as write_check
from i3d.data.formats.write import write_annotations
from i3d.evaluation.confusion import draw_confusion
from i3d.evaluation.report import write_report
from i3d.evaluation.result import compute_metrics
from i3d.evaluation.result_file import write_evaluations
from i3d.utils.atomic_files import write_atomically
from i3d.utils.cache import Cache
from i3d.weights.checkpoint import save_checkpoint
from i3d.weights.load import load_weights
from support.commands import run
from support.evaluation_runs import save_model
from support.evaluations import make_evaluation
from support.finetuning_runs import make_folder, save_tiny
from support.rendering import render

LIMIT = 16  # bytes of a file


@contextlib.contextmanager
def full_disk(limit=LIMIT):
    """Files cannot grow beyond some bytes: writes fail with EFBIG, as they do with ENOSPC on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def writers(place):
    labels = [n % 2 for n in range(20)]
    evaluation = make_evaluation(np.eye(2)[labels], labels)
    weights = load_weights(save_tiny(place / "tiny.safetensors"))
    annotations = i3d.data.read_annotations(make_folder(place / "clips", ("a", "b"), 2))
    report = DatasetReport("x", (), {}, ())
    state = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.state.items()}
    return {
        "plain": lambda path: write_atomically(path, b"x" * 1000),
        "weights": lambda path: save_checkpoint(path, state, weights.card),
        "list": lambda path: write_annotations(annotations, path),
        "check": lambda path: write_check(path, report),
        "scores": lambda path: write_evaluations(path, [(evaluation, compute_metrics(evaluation))]),
        "page": lambda path: write_report(path, evaluation),
        "matrix": lambda path: draw_confusion(path, evaluation),
        "array": lambda path: Cache(path).save_array("ab" * 20, np.zeros(1000, np.float32)),
    }


SUFFIXES = {"plain": "txt", "weights": "safetensors", "list": "csv", "check": "csv", "scores": "json", "page": "html",
            "matrix": "png", "array": "cache"}  # fmt: skip


@pytest.mark.parametrize("name", SUFFIXES)
def test_every_writer_names_its_file_and_leaves_the_old_one(name, tmp_path, capsys):
    writer, path = writers(tmp_path)[name], tmp_path / f"out.{SUFFIXES[name]}"
    if name != "array":
        path.write_bytes(b"old")
    codes = []

    def write():
        with full_disk():
            writer(path)

    with pytest.raises(SystemExit) as ended:
        run_cli(write)
    codes.append(ended.value.code)
    message = capsys.readouterr().err
    assert str(path) in message
    assert message.count("\n") == 1
    assert "unexpected" not in message
    assert codes[0] in (1, 2)
    if name != "array":
        assert path.read_bytes() == b"old"
        assert not [left for left in os.listdir(tmp_path) if left.startswith(".")]


PACKED = "packed-video"


def folder_writers(place):
    """Commands that write many files, or a file through a library, with their words after the output."""
    for name in ("a.mp4", "b.mp4"):
        render(place / name, num_frames=12)
    (place / "l.csv").write_text("path,label,split\na.mp4,a,train\nb.mp4,b,val\n")
    model = save_model(place / "m.safetensors")
    return {
        "frames": ("out", ["data", "extract-frames", "l.csv", "--workers", 0]),
        "flow": ("out", ["flow", "a.mp4", "b.mp4", "--flow-method", "dis", "--workers", 0]),
        "flow file": ("out", ["flow", "a.mp4", "--flow-method", "dis", "--workers", 0, "--flow-format", "npz"]),
        "flow video": (
            "out",
            ["flow", "a.mp4", "--flow-method", "dis", "--workers", 0, "--flow-format", "packed-video"],
        ),
        "pack": ("out", ["data", "pack", "l.csv"]),
        "features": ("out", ["features", "a.mp4", "--model", model, "--window", 8, "--stride", 8]),
        "labels": ("o.mp4", ["predict", "a.mp4", "--model", model, "--annotate", "o.mp4"]),
        "labels gif": ("o.gif", ["predict", "a.mp4", "--model", model, "--annotate", "o.gif"]),
        "flow shown": ("o.mp4", ["flow", "show", "a.mp4", "--flow-method", "dis"]),
        "list": ("o.csv", ["data", "list", "l.csv"]),
        "preview": ("out", ["data", "preview", "l.csv", "--recipe", "i3d_r50_video_32x2x1_100e_kinetics400_rgb"]),
        "results": ("o.json", ["predict", "a.mp4", "--model", model]),
    }


KINDS = ("frames", "flow", "flow file", "flow video", "pack", "features", "labels", "labels gif", "flow shown", "list",
         "preview", "results")  # fmt: skip


@pytest.mark.parametrize("limit", [LIMIT, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_commands_name_the_place_and_leave_no_partial_file(kind, limit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, words = folder_writers(tmp_path)[kind]
    words = [*words, *([] if "--annotate" in words else ["--out", out])]
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with full_disk(limit):
        result = run(*words)
    if result.returncode == 0:  # its files are smaller
        assert limit > LIMIT
        return
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert errors, result.output
    assert all(out in line and "unexpected" not in line for line in errors), errors
    left = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(path.stat().st_size and path.suffix in (".json", ".resume") for path in left), left
    assert run(*words).returncode == 0  # with space, the same command ends it
