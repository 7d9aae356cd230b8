"""Run an exported graph: an ONNX file with onnxruntime or OpenVINO, an OpenVINO IR with OpenVINO. CPUs only."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy.typing as npt
import torch

from i3d.errors import InputError, WeightsError, first_line
from i3d.models.engine.runtimes.openvino import HINTS, shared_core
from i3d.utils.device import EngineArithmetic

if TYPE_CHECKING:
    import openvino

GraphRuntime = Literal["onnxruntime", "openvino"]
PACKAGES: Final[dict[GraphRuntime, str]] = {"onnxruntime": "onnxruntime", "openvino": "openvino"}

RunGraph = Callable[[npt.NDArray[Any]], Mapping[str, npt.NDArray[Any]]]  # clips -> the outputs by name


def check_installed(what: str, *packages: str) -> None:
    """An InputError that names the packages of the extra `export` that are not installed. `what` begins it."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{what}: needs {', '.join(missing)}; pip install 'i3d[export]'")


def open_graph(path: Path, runtime: GraphRuntime, arithmetic: EngineArithmetic = "fp32") -> RunGraph:
    """The graph in a file, ready to run. A file that the runtime does not read is a WeightsError."""
    check_installed(str(path), PACKAGES[runtime])
    try:
        return _with_onnxruntime(path) if runtime == "onnxruntime" else compile_graph(path, arithmetic)
    except (RuntimeError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: {runtime} does not read it ({first_line(error)}); export it again") from error


def _with_onnxruntime(path: Path) -> RunGraph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # its messages become our errors
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class but this
        raise RuntimeError(first_line(error)) from error
    (clips,), names = session.get_inputs(), [output.name for output in session.get_outputs()]
    return lambda values: dict(zip(names, session.run(names, {clips.name: values}), strict=True))


def compile_graph(graph: Path | openvino.Model, arithmetic: EngineArithmetic) -> RunGraph:
    """A graph of OpenVINO, or that in a file, ready to run on the CPU."""
    return as_run(shared_core().compile_model(graph, "CPU", openvino_settings(arithmetic)))


def openvino_settings(arithmetic: EngineArithmetic) -> dict[str, Any]:
    """How OpenVINO compiles a graph."""
    return {
        "INFERENCE_PRECISION_HINT": HINTS[arithmetic],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }


def as_run(compiled: openvino.CompiledModel) -> RunGraph:
    """A compiled graph as a function."""
    request = compiled.create_infer_request()

    def run(values: npt.NDArray[Any]) -> Mapping[str, npt.NDArray[Any]]:
        outputs = request.infer([values], share_inputs=True)
        return {output.get_any_name(): array.copy() for output, array in outputs.items()}

    return run
