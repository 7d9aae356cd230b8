"""A network by OpenVINO, on a CPU, in float32 or bfloat16."""

from __future__ import annotations

import sys
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from i3d.models.engine.runtimes.onnx import onnx_of
from i3d.models.engine.runtimes.task import Run, Task, one_by_one
from i3d.utils.device import Arithmetic

if TYPE_CHECKING:
    import openvino

HINTS: Final[dict[Arithmetic, str]] = {"fp32": "f32", "bf16": "bf16"}


def run_of(task: Task) -> Run:
    """The function; the compiled model is kept in the cache."""
    # Its own default is bfloat16 wherever there is any.
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[task.arithmetic],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": task.threads,
    }
    core = the_core()
    key = task.key("openvino", "onnxscript", runtime="openvino", weights=task.weights, settings=settings)
    compiled = core.import_model(BytesIO(task.kept(key, lambda: compiled_for(core, task, settings))), "CPU", settings)
    request = compiled.create_infer_request()

    def run(clip_1CTHW: Tensor) -> Tensor:
        clip_1THWC = clip_1CTHW.float().permute(0, 2, 3, 4, 1).contiguous().numpy()
        return torch.from_numpy(request.infer([clip_1THWC], share_inputs=True)[0].copy())

    return one_by_one(run)


@cache
def the_core() -> openvino.Core:
    """One for the whole process.

    Each puts a stack of its own under the handlers of signals. Were there several, the last to go would leave that of
    one that is gone already, and the next signal would end the process.
    """
    # Importing OpenVINO reports to a web site, unless that part of it is not there.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    from openvino import Core

    return Core()


def compiled_for(core: openvino.Core, task: Task, settings: dict[str, object]) -> bytes:
    """The compiled model, which takes clips with their channels last."""
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(core.read_model(onnx_of(task), b""))
    steps.input().tensor().set_layout(Layout("NDHWC"))
    steps.input().model().set_layout(Layout("NCDHW"))
    content = BytesIO()
    core.compile_model(steps.build(), "CPU", settings).export_model(content)
    return content.getvalue()
