"""A network as an ONNX model, which onnxruntime and OpenVINO read."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from i3d.models.engine.runtimes.task import Function, Task

NAME = "clips_NCTHW"


def onnx_of(task: Task) -> bytes:
    """The model of one clip, its weights within; of several runtimes the first makes it."""
    if task.onnx is None:
        task.onnx = exported(task)
    return task.onnx


def exported(task: Task) -> bytes:
    """The network, written down by PyTorch."""
    with quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        program = torch.onnx.export(
            Function(task.net, task.what).eval(), (task.example(),), input_names=[NAME], dynamo=True, verbose=False
        )
        assert program is not None
        program.save(Path(folder) / "model.onnx")
        return (Path(folder) / "model.onnx").read_bytes()


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporter tells of packages that are not here and of itself."""
    loggers = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
