"""Exported files: the record in their metadata has all that using them needs.

Each format has the same keys: ONNX as `metadata_props`, OpenVINO IR below `i3d` in `rt_info`, torch.export as extra
files. The key `i3d` is the record; the others repeat parts of it for other programs.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from i3d.errors import WeightsError, first_line, printable
from i3d.models.engine.exported import ONNX, OPENVINO_IR, TORCH_EXPORT, ExportedGraph, InputDtype
from i3d.models.engine.runtimes.exports import check_installed
from i3d.models.engine.runtimes.openvino import shared_core
from i3d.recipes.settings import Settings, first_error, input_name
from i3d.utils.outputs import file_sha256
from i3d.weights.checkpoint import METADATA_KEY, Card

EXPORT_SUFFIXES: Final = (ONNX, OPENVINO_IR, TORCH_EXPORT)


class GraphInput(Settings):
    """The one input of a graph, `clips`: a batch of any size."""

    dtype: InputDtype
    frames: int | None = Field(ge=1, le=10_000)  # None: any number from `min_frames` on
    min_frames: int = Field(ge=1, le=10_000)
    size: int = Field(ge=1, le=7680)  # rows and columns
    channels: int = Field(ge=1, le=1024)

    @property
    def line(self) -> str:
        """Type, shape and layout in words."""
        frames, channels = self.frames or "T", self.channels
        if self.dtype == "uint8":
            layout = f"(N, {frames}, {self.size}, {self.size}, {channels}): batch, frames, rows, columns, channels"
        else:
            layout = f"(N, {channels}, {frames}, {self.size}, {self.size}): batch, channels, frames, rows, columns"
        values = f"{input_name(channels)} 0 to 255" if self.dtype == "uint8" else "(value - mean) / std"
        return f"{self.dtype} {layout}; {values}" + ("" if self.frames else f"; T at least {self.min_frames}")


class ExportRecord(Settings):
    """What is in an exported file, and how it was checked."""

    version: Literal[1] = 1
    card: Card
    weights_sha256: str  # of the file that it was made from
    input: GraphInput
    outputs: tuple[str, ...]  # logits and features always
    precision: Literal["fp32"] = "fp32"
    tolerance: float  # the largest allowed difference from PyTorch, relative to the largest value of an output
    difference: float  # the largest that was measured
    checked: str  # on what it was measured
    made_with: dict[str, str]  # versions

    @property
    def description(self) -> dict[str, str]:
        """What `i3d models show` prints beside the origin of the weights."""
        return {
            "weights_sha256": printable(self.weights_sha256),
            "graph input": self.input.line,
            "graph outputs": printable(", ".join(self.outputs)),
            "graph checked": printable(f"{self.checked}: differs from PyTorch by at most {self.difference:.1g}"),
        }

    def metadata(self) -> dict[str, str]:
        """The keys and texts in a file."""
        recipe = self.card.recipe
        return {
            METADATA_KEY: self.model_dump_json(),
            "labels": json.dumps(self.card.labels, ensure_ascii=False),
            "preprocessing": recipe.preprocessing.model_dump_json(),
            "protocol": recipe.protocol_line,
            "licence": self.card.licence,
            "weights_sha256": self.weights_sha256,
            "input": self.input.line,
        }


def is_export(path: Path) -> bool:
    """Whether a file is an exported one, by the end of its name."""
    return path.suffix.lower() in EXPORT_SUFFIXES


def weights_of(path: Path) -> Path:
    """The file beside an OpenVINO IR that has its numbers."""
    return path.with_suffix(".bin")


def read_export(path: Path) -> tuple[ExportRecord, ExportedGraph, str]:
    """The record of an exported file, its graph, and the SHA-256 of its content.

    A file that i3d did not export, that is damaged, or of torch.export is a WeightsError.
    """
    suffix = path.suffix.lower()
    if suffix == TORCH_EXPORT:
        todo = "run it with torch.export.load, or give the weights, an .onnx or an .xml"
        raise WeightsError(f"{path}: is a graph of torch.export, which i3d does not run; {todo}")
    try:
        text = _read_onnx(path) if suffix == ONNX else _read_ir(path)
        record = ExportRecord.model_validate_json(text)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except KeyError as error:
        raise WeightsError(f"{path}: was not exported by i3d; `i3d export` makes one of weights") from error
    except ValidationError as error:
        why = f"its record is not valid ({first_error(error)}); it may be of a newer version of i3d"
        raise WeightsError(f"{path}: {why}") from error
    graph = ExportedGraph(path, record.input.dtype, record.input.frames, record.input.size)
    return record, graph, _sha256(path)


def _read_onnx(path: Path) -> str:
    check_installed(str(path), "onnx", "onnxruntime")
    import onnx

    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, whose class differs between its implementations
        raise WeightsError(f"{path}: is no ONNX file ({first_line(error)}); export it again") from error
    metadata: dict[str, str] = {entry.key: entry.value for entry in model.metadata_props}
    return metadata[METADATA_KEY]


def _read_ir(path: Path) -> str:
    check_installed(str(path), "openvino")
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    if not weights_of(path).is_file():
        raise WeightsError(f"{path}: its numbers are in {weights_of(path).name}, which is missing; copy both files")
    try:
        model = shared_core().read_model(path)
        text: str = model.get_rt_info([METADATA_KEY, METADATA_KEY]).astype(str)
    except RuntimeError as error:
        if "rt_info" in str(error).lower() or "rt info" in str(error).lower():
            raise KeyError(METADATA_KEY) from error
        raise WeightsError(f"{path}: is no OpenVINO IR ({first_line(error)}); export it again") from error
    return text


def _sha256(path: Path) -> str:
    """Of the file; of an IR, of the two hashes of its files."""
    if path.suffix.lower() != OPENVINO_IR:
        return file_sha256(path)
    return hashlib.sha256(os.fsencode(file_sha256(path) + file_sha256(weights_of(path)))).hexdigest()
