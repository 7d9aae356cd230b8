"""Export a network to ONNX, which OpenVINO reads."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from i3d.models.engine.runtimes.task import CompileTask, NetworkOutput

NAME = "clips_NCTHW"


def to_onnx(task: CompileTask) -> bytes:
    """The ONNX model for one clip, weights included."""
    with silence_exporter(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        program = torch.onnx.export(
            NetworkOutput(task.net, task.output).eval(),
            (task.example(),),
            input_names=[NAME],
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(Path(folder) / "model.onnx")
        return (Path(folder) / "model.onnx").read_bytes()


@contextmanager
def silence_exporter() -> Iterator[None]:
    """Silence the exporter, which warns about missing optional packages and logs its own steps."""
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
