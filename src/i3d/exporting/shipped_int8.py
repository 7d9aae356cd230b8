"""`--precision int8` for weights: their graph, made int8 by calibrated ranges that the package has, and compiled once.

`tools/make_int8.py` makes the ranges.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError
from i3d.exporting.check import check_agreement, compare
from i3d.exporting.formats import GraphFile
from i3d.exporting.graph import build_graph, trace
from i3d.exporting.quantized import Calibration, quantize_graph
from i3d.models.engine import exported
from i3d.models.engine.runtimes import openvino
from i3d.models.engine.runtimes.exports import RunGraph, as_run, check_installed, compile_graph, openvino_settings
from i3d.models.engine.runtimes.task import PACKAGES, package_versions, warn_if_unwritable
from i3d.models.network import VideoNetwork
from i3d.recipes.recipe import Recipe
from i3d.utils.atomic_files import ASSETS
from i3d.utils.cache import cache_key
from i3d.utils.device import ComputeConfig, instructions, processor, use_cores
from i3d.utils.progress import ignore_progress
from i3d.weights.exported import GraphInput
from i3d.weights.load import Weights, build_model

RANGES: Final = ASSETS / "int8_ranges.json"  # calibrations by the SHA-256 of the weights
CASES: Final = ((1, 17), (2, 16))  # (clips, frames) on which the float32 graph is compared with PyTorch

log = logging.getLogger("i3d")


def shipped_calibration(weights: Weights) -> Calibration:
    """The calibration of weights in the package. Weights without one are an InputError."""
    calibrations = json.loads(RANGES.read_text(encoding="utf-8"))
    if weights.sha256 not in calibrations:
        todo = "make a file with i3d export MODEL OUT.xml --int8 --calibrate clips/, and name that as the model"
        raise InputError(f"precision int8: these weights ({weights.card.recipe.name}) are not calibrated; {todo}")
    return Calibration.model_validate_json(json.dumps(calibrations[weights.sha256]))


def open_int8(weights: Weights, compute: ComputeConfig) -> exported.ExportedEngine:
    """An engine of calibrated weights in int8, by OpenVINO on the CPU, for any number of frames.

    Weights without a calibration are an InputError, as are other devices and runtimes.
    """
    name = "precision int8"
    if compute.device not in ("auto", "cpu"):
        raise InputError(f"{name}: runs on the CPU, not on {compute.device}; leave --device out")
    if compute.runtime == "compile":
        raise InputError(f"{name}: runs in OpenVINO; leave --runtime compile out")
    calibration = shipped_calibration(weights)
    check_installed(name, *PACKAGES)
    use_cores()
    net = build_model(weights)
    takes = graph_input(net, weights.card.recipe)
    graph = exported.ExportedGraph(Path(name), takes.dtype, takes.frames, takes.size, "int8")
    run = _compiled(net, weights, takes, calibration, compute)
    return exported.ExportedEngine.from_run(graph, run, net, "fp32", "openvino", compute.cache)


def graph_input(net: VideoNetwork, recipe: Recipe) -> GraphInput:
    """What the graph takes: uint8 clips of any number of frames."""
    size, channels = recipe.preprocessing.crop, recipe.network.in_channels
    return GraphInput(dtype="uint8", frames=None, min_frames=net.min_frames, size=size, channels=channels)


def _compiled(
    net: VideoNetwork, weights: Weights, takes: GraphInput, calibration: Calibration, compute: ComputeConfig
) -> RunGraph:
    """The int8 graph, compiled now or read from the cache."""
    settings: dict[str, Any] = openvino_settings("int8")
    key = cache_key(
        what="int8",
        weights=weights.sha256,
        recipe=weights.card.recipe.model_dump(mode="json"),
        calibration=hashlib.sha256(calibration.model_dump_json().encode()).hexdigest(),
        machine=[processor(), instructions()],
        versions=package_versions("openvino", "onnxscript"),
        settings=settings,
    )
    core = openvino.shared_core()
    blob = compute.cache.load_bytes(key)
    if blob is None:
        log.info("making the int8 network, which takes about a minute; it is cached")
        content = BytesIO()
        model = _quantized(net, weights, takes, calibration)
        core.compile_model(model, "CPU", settings).export_model(content)
        blob = content.getvalue()
        with warn_if_unwritable():
            compute.cache.save_bytes(key, blob)
    return as_run(core.import_model(BytesIO(blob), "CPU", settings))


def _quantized(net: VideoNetwork, weights: Weights, takes: GraphInput, calibration: Calibration) -> Any:
    """The int8 graph, once its float32 graph agrees with PyTorch."""
    pre = weights.card.recipe.preprocessing
    graph = build_graph(net, pre, takes.dtype, softmax=False)
    with tempfile.TemporaryDirectory() as folder:
        model = GraphFile(trace(graph, takes), takes, graph.outputs).read_openvino(Path(folder) / "graph.onnx")
        agreement = compare(compile_graph(model, "fp32"), net, pre, takes, ignore_progress, chosen=CASES)
        check_agreement(agreement, "precision int8")
        return quantize_graph(model, calibration, name="precision int8")
