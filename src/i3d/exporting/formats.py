"""Write a traced graph as ONNX, OpenVINO IR or torch.export, with its record, and open what was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy.typing as npt
import torch
from torch.export import ExportedProgram

from i3d.models.engine.exported import ONNX, OPENVINO_IR, TORCH_EXPORT
from i3d.models.engine.runtimes.exports import RunGraph, check_installed, open_graph
from i3d.models.engine.runtimes.openvino import shared_core, silence_exporter
from i3d.weights.checkpoint import METADATA_KEY
from i3d.weights.exported import ExportRecord, GraphInput

if TYPE_CHECKING:
    import openvino

FORMATS: Final = {ONNX: "ONNX", OPENVINO_IR: "OpenVINO IR", TORCH_EXPORT: "torch.export"}
PACKAGES: Final = {
    ONNX: ("onnx", "onnxscript", "onnxruntime"),
    OPENVINO_IR: ("onnx", "onnxscript", "openvino"),
    TORCH_EXPORT: (),
}


def check_format(path: Path) -> None:
    """An InputError if a package that the format of this file needs is not installed."""
    check_installed(str(path), *PACKAGES[path.suffix.lower()])


class GraphFile:
    """A traced graph, to be written with a record to a file whose name decides the format."""

    def __init__(self, program: ExportedProgram, takes: GraphInput, outputs: tuple[str, ...]) -> None:
        self.program, self.takes, self.outputs = program, takes, outputs
        self._onnx: Any = None

    def write(self, path: Path, record: ExportRecord) -> None:
        """Write the file, and the files beside it that its format has."""
        match path.suffix.lower():
            case ".pt2":
                torch.export.save(self.program, path, extra_files=record.metadata())
            case ".onnx":
                self._write_onnx(path, record.metadata())
            case _:
                self._write_ir(path, record.metadata())

    def _write_onnx(self, path: Path, metadata: Mapping[str, str]) -> None:
        if self._onnx is None:
            with silence_exporter(), torch.no_grad():
                self._onnx = torch.onnx.export(
                    self.program,
                    input_names=["clips"],
                    output_names=list(self.outputs),
                    dynamo=True,
                    verbose=False,
                )
        self._onnx.model.metadata_props.update(metadata)
        self._onnx.save(path)

    def _write_ir(self, path: Path, metadata: Mapping[str, str]) -> None:
        model = self.read_openvino(path.with_suffix(ONNX))
        save_ir(model, path, metadata)

    def read_openvino(self, temporary: Path) -> openvino.Model:
        """The graph in OpenVINO. `temporary` is an .onnx to write, which is removed."""
        self._write_onnx(temporary, {})
        model = shared_core().read_model(temporary)  # before the import, as it switches telemetry off
        from openvino import Layout

        temporary.unlink()
        model.get_parameters()[0].set_layout(Layout("NDHWC" if self.takes.dtype == "uint8" else "NCDHW"))
        return model


def save_ir(model: openvino.Model, path: Path, metadata: Mapping[str, str]) -> None:
    """Save a graph of OpenVINO with its record: an .xml, and a .bin beside it."""
    from openvino import save_model

    for key, text in metadata.items():
        model.set_rt_info(text, [METADATA_KEY, key])
    save_model(model, path, compress_to_fp16=False)


def open_file(path: Path) -> RunGraph:
    """A written file, ready to run in float32: by the runtime of its format."""
    suffix = path.suffix.lower()
    if suffix == TORCH_EXPORT:
        return _open_torch_export(path)
    return open_graph(path, "openvino" if suffix == OPENVINO_IR else "onnxruntime")


def _open_torch_export(path: Path) -> RunGraph:
    extra_files = {METADATA_KEY: ""}
    module = torch.export.load(path, extra_files=extra_files).module()
    names = ExportRecord.model_validate_json(extra_files[METADATA_KEY]).outputs

    def run(values: npt.NDArray[Any]) -> Mapping[str, npt.NDArray[Any]]:
        with torch.inference_mode():
            return {name: output.numpy() for name, output in zip(names, module(torch.from_numpy(values)), strict=True)}

    return run
