"""Options that several commands share, in groups. The docstring of a field is its help text.

A group is a frozen dataclass; cyclopts makes one flag of each field (`list_format` is `--list-format`). This module and
those that declare commands do not import PyTorch: wrong options are answered at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Group, Parameter, Token

from i3d.cli.checks import accepted, check_recipe, exists, no_file
from i3d.cli.limits import RATE, Within
from i3d.cli.output_files import OutputFile
from i3d.data.labels import SHIPPED
from i3d.errors import InputError
from i3d.utils.device_names import DEVICE_NAMES, check_device_name
from i3d.utils.outputs import is_report
from i3d.utils.text import group_pattern
from i3d.weights.names import check_weights_name

INPUT: Final = Group("Input", sort_key=1)
MODEL: Final = Group("Model", sort_key=2)
COMPUTED: Final = Group("What to compute", sort_key=3)
OUTPUT: Final = Group("Output", sort_key=4)
SPEED: Final = Group("Speed", sort_key=5)

DEFAULT_RECIPE: Final = "i3d_r50_32x2x1_100e_kinetics400_rgb"
STREAMS: Final = ("rgb", "flow", "rgb,flow")

if TYPE_CHECKING:
    FileOrName = str
else:
    FileOrName = str | Path  # always text, which the first type takes; shells complete files for the second
Precision = Literal["fp32", "bf16", "fp16", "auto"]
InferencePrecision = Literal["fp32", "bf16", "fp16", "int8", "auto"]
Runtime = Literal["torch", "compile", "openvino"]
FlowMethod = Literal["tvl1", "dis", "farneback"]
Modality = Literal["rgb", "flow"]
ListFormat = Literal[
    "auto", "folders", "videos", "frames", "frames-offset", "table", "kinetics", "ucf101", "hmdb51", "something-v1",
    "something-v2", "segments"
]  # fmt: skip


def _parse_streams(_: type, tokens: Sequence[Token]) -> str:
    """The streams in their order: rgb, flow, or rgb,flow."""
    streams = ",".join(sorted(tokens[0].value.replace(" ", "").lower().split(","), reverse=True))
    if streams not in STREAMS:
        raise InputError(f"--streams {tokens[0].value!r}: write rgb, flow, or rgb,flow")
    return streams


def _parse_fraction(_: type, tokens: Sequence[Token]) -> float:
    """The fraction that 1% or 0.01 stands for."""
    text = tokens[0].value
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"{tokens[0].keyword} {text!r}: is not a fraction; write 1% or 0.01")
    return value


def _parse_whole(_: object, tokens: Sequence[Token]) -> int:
    if not tokens[0].value.isdecimal():
        raise ValueError  # cyclopts itself rounds 1.5
    return int(tokens[0].value)


def whole(low: int, high: int) -> Parameter:
    """An option that is a whole number within limits."""
    return Parameter(converter=_parse_whole, validator=Within(low, high))


COUNT: Final = whole(1, 1_000_000)


def out_file(*suffixes: str, option: str = "--out", **rule: Any) -> Parameter:
    """An option that names a file to write, whose name ends in one of the suffixes. `rule`: fields of `OutputFile`."""
    alias = "-o" if option == "--out" else None
    return Parameter(group=OUTPUT, alias=alias, validator=OutputFile(option, suffixes, **rule))


def _parse_folder(_: type, tokens: Sequence[Token]) -> Path:
    """A path that is not Path("."), which functions refuse: it is that of an empty text too."""
    folder = Path(tokens[0].value)
    return Path.cwd() if folder == Path() else folder


def out_folder(option: str, alias: str | None = None) -> Parameter:
    """An option that names a folder to write to, which need not exist."""
    return Parameter(group=OUTPUT, alias=alias, converter=_parse_folder, validator=no_file(option))


def in_file(text: str, *, option: str = "", required: bool | None = None) -> Parameter:
    """An argument, or an option, that names an existing file or folder."""
    alias = "-d" if option == "--data" else None
    return Parameter(group=INPUT, alias=alias, required=required, validator=exists(option), help=text)


DEVICE: Final = Parameter(group=SPEED, validator=lambda _, device: check_device_name(device))
Device = Annotated[str, DEVICE, Parameter(help=f"{', '.join(DEVICE_NAMES)} (npu is untested).")]
Fraction = Annotated[float, Parameter(converter=_parse_fraction)]
Seed = Annotated[int, Parameter(group=COMPUTED, help="Random seed."), whole(0, 2**63 - 1)]
Workers = Annotated[int, Parameter(group=SPEED, help="Processes that load clips."), whole(0, 1024)]
Json = Annotated[bool, Parameter(group=OUTPUT, help="Print JSON instead of tables.")]
Force = Annotated[bool, Parameter(group=OUTPUT, help="Replace existing output.")]
Report = Annotated[
    Path | None,
    out_file(".html", option="--report", is_own=is_report),
    Parameter(help="Write metrics, confusion and worst clips to this .html file."),
]
Videos = Annotated[
    FileOrName,
    Parameter(
        group=INPUT,
        required=True,
        help="Videos, folders, patterns, or lists (.txt: a path a line; .csv: a column path, file or video).",
    ),
]
DATASET: Final = "A list of clips in any format, or a folder of classes."
Dataset = Annotated[Path, in_file(DATASET)]
DATA: Final = in_file(DATASET, option="--data")
DataOption = Annotated[Path, DATA]
OutFolder = Annotated[Path, out_folder("--out", alias="-o"), Parameter(help="The folder to write to.")]
WEIGHTS: Final = Parameter(group=MODEL, validator=accepted(check_weights_name))
Root = Annotated[Path | None, Parameter(validator=exists("--root"))]
Classes = Annotated[FileOrName | None, Parameter(validator=exists("--classes", tuple(SHIPPED)))]
GroupBy = Annotated[str | None, Parameter(validator=accepted(group_pattern))]
RECIPE: Final = Parameter(group=MODEL, validator=accepted(check_recipe, "--recipe"))
ModelRecipe = Annotated[
    FileOrName | None, RECIPE, Parameter(help="Recipe of a checkpoint of another project that does not name it.")
]
ClipRecipe = Annotated[FileOrName, RECIPE, Parameter(help="Recipe that sets clip length and sizes (`i3d models`).")]


@Parameter(name="*", group=INPUT)
@dataclass(frozen=True)
class ListOptions:
    """How a list of clips is read."""

    root: Root = None
    """Folder that paths of the list are relative to (default: its own)."""

    classes: Classes = None
    """Class names: a file, kinetics400, kinetics600, ucf101 or hmdb51."""

    list_format: ListFormat = "auto"
    """Format of the list; auto recognises it."""

    ucf_fold: Annotated[int, whole(1, 3)] = 1
    """Official split of UCF101 or HMDB51: 1, 2 or 3."""

    multi_label: bool = False
    """Clips may have several classes."""

    allow_outside: bool = False
    """Accept paths that lead out of the root."""

    background: bool = False
    """Add what lies between the segments of a video as a class named background."""

    list_fps: Annotated[float | None, Parameter(validator=RATE)] = None
    """Frame rate of videos whose list counts frames and states no rate."""


@Parameter(name="*", group=INPUT)
@dataclass(frozen=True)
class DatasetOptions(ListOptions):
    """Which clips of a list are read, and how."""

    split: Literal["train", "val", "test"] | None = None
    """Read only the clips of this split."""


@Parameter(name="*", group=INPUT)
@dataclass(frozen=True)
class FrameOptions:
    """How the image files of extracted frames are named."""

    template: str | None = None
    """File names of frames, e.g. img_{:05d}.jpg, {folder}-{:06d}.jpg or flow_{axis}_{:05d}.jpg."""

    first_index: Annotated[int, whole(0, 1_000_000_000)] = 1
    """Number in the name of the first frame, with --template."""


@Parameter(name="*", group=INPUT)
@dataclass(frozen=True)
class ModalityOptions(FrameOptions):
    """Which frames are read, and how their files are named."""

    modality: Modality = "rgb"
    """Frames to read: rgb or flow."""


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True)
class ModelOptions:
    """Which network, by its weights."""

    model: Annotated[FileOrName | None, Parameter(alias="-m", validator=accepted(check_weights_name, "--model"))] = None
    """Weights: shipped ones by name, a file, or the folder of a run (default: shipped)."""

    recipe: ModelRecipe = None


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True)
class FlowModelOptions:
    """Which network of optical flow, by its weights."""

    flow_model: Annotated[FileOrName | None, Parameter(validator=accepted(check_weights_name, "--flow-model"))] = None
    """Weights of a network of optical flow: a file, or the folder of a run."""

    flow_recipe: Annotated[FileOrName | None, Parameter(validator=accepted(check_recipe, "--flow-recipe"))] = None
    """Recipe of a foreign --flow-model that does not name it."""


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True)
class StreamOptions(FlowModelOptions):
    """Which networks process a video: of RGB, of optical flow, or both."""

    streams: Annotated[str | None, Parameter(converter=_parse_streams)] = None
    """rgb, flow or rgb,flow (default: those whose networks are given)."""

    flow_method: FlowMethod | None = None
    """How flow is computed (default: as the weights require, else dis)."""


@Parameter(name="*", group=COMPUTED)
@dataclass(frozen=True)
class FusionOptions:
    """How the scores of several streams become one."""

    fuse_average: Literal["score", "prob"] | None = None
    """Add logits of streams (score) or average probabilities (prob)."""

    stream_weights: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    """Weight of each stream, with commas (default: 1 each)."""


@Parameter(name="*", group=SPEED)
@dataclass(frozen=True)
class ComputeOptions:
    """Where and how a network runs."""

    device: Device = "auto"

    precision: InferencePrecision = "fp32"
    """Number format; auto is the fastest that the device has, but int8, which is for calibrated networks."""

    runtime: Runtime = "torch"
    """What runs the network; openvino needs `pip install 'i3d[export]'`."""

    cache: Path | None = None
    """Folder of computed flow and compiled networks (default: $I3D_CACHE)."""
