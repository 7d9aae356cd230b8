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
from support.evaluations import make_evaluation
from support.finetuning_runs import make_folder, save_tiny

LIMIT = 16  # bytes of a file


@contextlib.contextmanager
def full_disk():
    """Files cannot grow beyond some bytes: writes fail with EFBIG, as they do with ENOSPC on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
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
