"""Run a network with OpenVINO on a CPU, in float32 or bfloat16."""

from __future__ import annotations

import sys
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from i3d.models.engine.runtimes.onnx import to_onnx
from i3d.models.engine.runtimes.task import CompileTask, RunClips, run_one_by_one
from i3d.utils.device import Arithmetic

if TYPE_CHECKING:
    import openvino

HINTS: Final[dict[Arithmetic, str]] = {"fp32": "f32", "bf16": "bf16"}


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
