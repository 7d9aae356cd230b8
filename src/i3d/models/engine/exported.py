"""An exported file as an `Engine`: its logits and pooled features, by onnxruntime or OpenVINO.

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from i3d.errors import InputError
from i3d.models.engine.engine import Engine
from i3d.models.engine.runtimes import openvino
from i3d.models.engine.runtimes.exports import GraphRuntime, RunGraph, open_graph
from i3d.models.engine.runtimes.task import LOGITS, POOLED, runtime_errors
from i3d.models.network import VideoNetwork
from i3d.utils.cache import Cache
from i3d.utils.device import Arithmetic, ComputeConfig, Precision, arithmetic_of, has_int8, use_cores

InputDtype = Literal["float32", "uint8"]
ONNX, OPENVINO_IR, TORCH_EXPORT = ".onnx", ".xml", ".pt2"
log = logging.getLogger("i3d")
FEATURES: Final = "features"  # the output of a graph that `Engine.pooled` returns


@dataclass(frozen=True)
class ExportedGraph:
    """The graph in a file, and what it takes."""

    path: Path
    input_dtype: InputDtype  # "uint8": (N, T, H, W, C), normalised inside; "float32": normalised (N, C, T, H, W)
    frames: int | None  # None: any number
    size: int  # rows and columns
    precision: Literal["fp32", "int8"] = "fp32"


class ExportedEngine(Engine):
    """An `Engine` of a graph in a file. It has the logits and the pooled features, and no other layer."""

    graph: ExportedGraph
    _run_graph: RunGraph

    @classmethod
    def open(cls, graph: ExportedGraph, net: VideoNetwork, compute: ComputeConfig) -> "ExportedEngine":
        """Open a graph. `net`: its network, which needs no values. What the file cannot run on is an InputError."""
        name, device = str(graph.path), torch.device("cpu")
        use_cores()
        if compute.device not in ("auto", "cpu"):
            raise InputError(f"{name}: exported files run on the CPU, not on {compute.device}; leave --device out")
        runtime: GraphRuntime = "openvino" if graph.path.suffix.lower() == OPENVINO_IR else "onnxruntime"
        if compute.precision == "int8" and graph.precision != "int8":
            todo = "export the weights with --int8 --calibrate clips/"
            raise InputError(f"{name}: is in {graph.precision}, not in int8; {todo}, or leave --precision out")
        if compute.runtime == "compile":
            raise InputError(f"{name}: --runtime compile is for weights; leave it out")
        if compute.runtime == "openvino":
            runtime = "openvino"
        arithmetic: Arithmetic = "fp32"
        if runtime == "openvino":
            arithmetic = _arithmetic(graph, compute.precision, device)
            openvino.check_arithmetic(arithmetic)
        elif compute.precision not in (None, "auto", "fp32"):
            todo = "leave it out, or take --runtime openvino"
            raise InputError(f"{name}: onnxruntime has no --precision {compute.precision}; {todo}")
        if graph.precision == "int8" and not has_int8():
            log.warning("%s: this processor has no int8 instructions (VNNI): int8 is slow here, and may be wrong", name)
        run = open_graph(graph.path, runtime, arithmetic)
        return cls.from_run(graph, run, net, arithmetic, runtime, compute.cache)

    @classmethod
    def from_run(
        cls,
        graph: ExportedGraph,
        run: RunGraph,
        net: VideoNetwork,
        arithmetic: Arithmetic,
        runtime: GraphRuntime,
        cache: Cache,
    ) -> "ExportedEngine":
        """The engine of a graph that is open already."""
        engine = cls(net, torch.device("cpu"), arithmetic, runtime, net, cache, None)
        engine.graph, engine._run_graph = graph, run
        return engine

    @property
    def number_format(self) -> str:
        if self.graph.precision == "int8":
            return "int8" if self.arithmetic == "fp32" else f"int8 and {self.arithmetic}"
        return self.arithmetic

    @property
    def requested(self) -> str:
        return f"{self.number_format}, {self.runtime}"

    @property
    def normalizes(self) -> bool:
        return self.graph.input_dtype == "uint8"

    @property
    def has_maps(self) -> bool:
        return False

    def _run(self, output: str, clips_NCTHW: Tensor) -> Tensor:
        if output not in (LOGITS, POOLED):
            what = f"has logits and pooled features, no {output}"
            raise InputError(f"{self.graph.path}: {what}; give the weights that it was made from")
        self._check_shape(clips_NCTHW)
        self._used.add(self.runtime)
        clips = clips_NCTHW.permute(0, 2, 3, 4, 1) if self.normalizes else clips_NCTHW
        with runtime_errors(self.runtime, todo="export it again"):
            outputs = self._run_graph(np.ascontiguousarray(clips.numpy()))
            return torch.from_numpy(outputs[LOGITS if output == LOGITS else FEATURES])

    def _check_shape(self, clips_NCTHW: Tensor) -> None:
        frames, *sides = clips_NCTHW.shape[2:]
        graph, size = self.graph, self.graph.size
        if sides != [size, size]:
            what = f"takes {size} x {size} pixels, not {sides[1]} x {sides[0]}"
            raise InputError(f"{graph.path}: {what}; give the weights that it was made from")
        if graph.frames not in (None, frames):
            todo = f"export it with --dynamic-frames, or choose a --protocol of clips of {graph.frames}"
            raise InputError(f"{graph.path}: takes clips of {graph.frames} frames, not of {frames}; {todo}")


def _arithmetic(graph: ExportedGraph, precision: Precision | None, device: torch.device) -> Arithmetic:
    """The number format of all that is not int8."""
    if graph.precision == "int8" and precision in ("int8", "auto"):
        return "fp32"
    return arithmetic_of(precision, device)
