"""Run a network with OpenVINO on a CPU, in float32 or bfloat16. OpenVINO reads it as an ONNX model."""

from __future__ import annotations

import importlib.util
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from i3d.errors import InputError
from i3d.models.engine.runtimes.task import PACKAGES, CompileTask, NetworkOutput, RunClips, run_one_by_one
from i3d.utils.device import Arithmetic, EngineArithmetic

if TYPE_CHECKING:
    import openvino

HINTS: Final[dict[EngineArithmetic, str]] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of int8: all other layers


def check(arithmetic: Arithmetic, device: torch.device) -> None:
    """Raise InputError if OpenVINO is not installed, or cannot run this arithmetic on this device."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"runtime openvino: needs {', '.join(missing)}; pip install 'i3d[export]'")
    if device.type != "cpu":
        raise InputError(f"runtime openvino: runs on CPUs, not on {device.type}; use --device cpu")
    check_arithmetic(arithmetic)


def check_arithmetic(arithmetic: Arithmetic) -> None:
    """An InputError for an arithmetic that OpenVINO lacks on CPUs."""
    if arithmetic not in HINTS:
        raise InputError(f"runtime openvino: has no {arithmetic} on a CPU; use --precision fp32, or another runtime")


def compile_task(task: CompileTask) -> RunClips:
    """Compile a task, or load it from the cache."""
    # OpenVINO's default is bfloat16 wherever the processor has it.
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[task.arithmetic],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": task.threads,
    }
    core = shared_core()
    key = task.key("openvino", "onnxscript", runtime="openvino", weights=task.weights, settings=settings)
    compiled = core.import_model(BytesIO(task.cached(key, lambda: _compile(core, task, settings))), "CPU", settings)
    request = compiled.create_infer_request()

    def run(clip_1CTHW: Tensor) -> Tensor:
        clip_1THWC = clip_1CTHW.float().permute(0, 2, 3, 4, 1).contiguous().numpy()
        return torch.from_numpy(request.infer([clip_1THWC], share_inputs=True)[0].copy())

    return run_one_by_one(run)


@cache
def shared_core() -> openvino.Core:
    """The one `Core` of this process.

    Each `Core` installs an alternate signal stack. With several, the last one to be destroyed restores the stack of
    one that is already freed, and the next signal crashes the process.
    """
    # OpenVINO reports its import to a web site unless this module is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    from openvino import Core

    return Core()


def _compile(core: openvino.Core, task: CompileTask, settings: dict[str, object]) -> bytes:
    """Compile the model, for clips with their channels last."""
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(core.read_model(to_onnx(task), b""))
    steps.input().tensor().set_layout(Layout("NDHWC"))
    steps.input().model().set_layout(Layout("NCDHW"))
    content = BytesIO()
    core.compile_model(steps.build(), "CPU", settings).export_model(content)
    return content.getvalue()


def to_onnx(task: CompileTask) -> bytes:
    """The ONNX model for one clip, weights included."""
    with silence_exporter(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        program = torch.onnx.export(
            NetworkOutput(task.net, task.output).eval(),
            (torch.zeros(1, *task.clip_CTHW),),
            input_names=["clips_NCTHW"],
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(Path(folder) / "model.onnx")
        return (Path(folder) / "model.onnx").read_bytes()


@contextmanager
def silence_exporter() -> Iterator[None]:
    """Silence the exporter, which warns about missing optional packages and logs its own steps."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
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
