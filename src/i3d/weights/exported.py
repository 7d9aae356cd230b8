"""Exported files: the record in their metadata has all that using them needs.

Each format has the same keys: ONNX as `metadata_props`, OpenVINO IR below `i3d` in `rt_info`, torch.export as extra
files. The key `i3d` is the record; the others repeat parts of it for other programs.
"""

import hashlib
import json
import os
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Int8Record:
    """How a graph became int8, and how far it is from its float32 one."""

    layers: int  # in int8
    float_layers: tuple[str, ...]  # weights of the layers that stay in float32, besides the classifier
    windows_calibrating: int
    windows_checking: int
    frames: int  # of a window
    is_held_out: bool  # whether other videos calibrate than check
    agreement: float  # the fraction of the checking windows with the same best class as in float32
    mean_change: float  # of the probability of that class
    largest_change: float  # of the probability of any class
    times_fp32: float  # the speed of the int8 graph relative to the float32 one, on the machine that made it
    times_bf16: float | None  # and to the bfloat16 one; None: the processor has no bfloat16
    seed: int

    @property
    def lines(self) -> dict[str, str]:
        """What is printed of it."""
        where = "of other videos" if self.is_held_out else "of the same video"
        rest = f", {len(self.float_layers)} more stay in float32" if self.float_layers else ""
        fast = "" if self.times_bf16 is None else f"{self.times_bf16:.2f} x fast (bf16), "
        return {
            "int8": f"{self.layers} layers{rest}; the classifier in float32",
            "calibrated": f"on {self.windows_calibrating} windows of {self.frames} frames",
            "agreement": f"{self.agreement:.3f} of {self.windows_checking} windows {where}: the class of float32",
            "probabilities": f"change by {self.mean_change:.3f} on average, by {self.largest_change:.3f} at most",
            "speed": f"{fast}{self.times_fp32:.2f} x exact (fp32), where it was made",
        }


class ExportRecord(Settings):
    """What is in an exported file, and how it was checked."""

    version: Literal[1] = 1
    card: Card
    weights_sha256: str  # of the file that it was made from
    input: GraphInput
    outputs: tuple[str, ...]  # logits and features always
    precision: Literal["fp32", "int8"] = "fp32"
    tolerance: float  # the largest allowed difference from PyTorch, relative to the largest value of an output
    difference: float  # the largest that was measured
    checked: str  # on what it was measured
    int8: Int8Record | None = None  # the difference is that of the float32 graph then
    made_with: dict[str, str]  # versions

    @property
    def description(self) -> dict[str, str]:
        """What `i3d models show` prints beside the origin of the weights."""
        return {
            "weights_sha256": printable(self.weights_sha256),
            "graph input": self.input.line,
            "graph outputs": printable(", ".join(self.outputs)),
            "graph checked": printable(f"{self.checked}: differs from PyTorch by at most {self.difference:.1g}"),
            **({} if self.int8 is None else {f"graph {key}": line for key, line in self.int8.lines.items()}),
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
    graph = ExportedGraph(path, record.input.dtype, record.input.frames, record.input.size, record.precision)
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
