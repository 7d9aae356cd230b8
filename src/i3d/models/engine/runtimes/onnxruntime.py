"""A network by onnxruntime, on a CPU, in float32."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from i3d.models.engine.runtimes.onnx import NAME, onnx_of
from i3d.models.engine.runtimes.task import Run, Task, one_by_one

WRONG: Final = ["MatmulTransposeFusion"]  # concatenating non-local blocks come out 0.3 % off (onnxruntime 1.31)


def run_of(task: Task) -> Run:
    """The function; the optimised model is kept in the cache."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.log_severity_level = 3  # errors
    key = task.key("onnxruntime", "onnxscript", runtime="onnxruntime", weights=task.weights)
    session = onnxruntime.InferenceSession(
        task.kept(key, lambda: optimized(task)), options, providers=["CPUExecutionProvider"], disabled_optimizers=WRONG
    )

    def run(clip_1CTHW: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {NAME: clip_1CTHW.float().numpy()})[0])

    return one_by_one(run)


def optimized(task: Task) -> bytes:
    """The model as onnxruntime has changed it for this processor."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(
            onnx_of(task), options, providers=["CPUExecutionProvider"], disabled_optimizers=WRONG
        )
        return Path(options.optimized_model_filepath).read_bytes()
