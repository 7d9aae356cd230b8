"""`i3d.export`: a network as one file for other programs, compared with PyTorch before it gets its name."""

import copy
import hashlib
import importlib.metadata
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from i3d._version import __version__
from i3d.errors import InputError, WeightsError, quoted
from i3d.exporting.calibrate import check_nncf
from i3d.exporting.check import Agreement, check_agreement, compare
from i3d.exporting.formats import FORMATS, PACKAGES, GraphFile, check_format, open_file
from i3d.exporting.graph import MAX_FRAMES, Graph, build_graph, trace
from i3d.exporting.int8 import Int8Options, make_int8
from i3d.models.engine.exported import OPENVINO_IR, InputDtype
from i3d.models.engine.runtimes.task import TOLERANCE
from i3d.models.network import VideoNetwork
from i3d.recipes.protocols import CLIP_LEN
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, WindowProtocol
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import replacing_together
from i3d.utils.device import use_cores
from i3d.utils.outputs import check_new, new_file
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.weights.checkpoint import Card
from i3d.weights.exported import EXPORT_SUFFIXES, ExportRecord, GraphInput, Int8Record, weights_of
from i3d.weights.load import build_model, load_weights

INPUT_DTYPES: Final[tuple[InputDtype, ...]] = ("float32", "uint8")

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class ExportResult:
    """An exported file."""

    source: str
    target: str
    format: str
    num_bytes: int  # with the file beside it
    input: str  # type, shape and layout
    outputs: tuple[str, ...]
    difference: float  # the largest from PyTorch, relative to the largest value of an output; before it is int8
    tolerance: float
    checked: str
    int8: Int8Record | None = None


@checks_types
def export(
    model: str | os.PathLike[str] | VideoNetwork,
    out: str | os.PathLike[str],
    *,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    input_dtype: InputDtype = "float32",
    softmax: bool = False,
    frames: int | None = None,
    dynamic_frames: bool = False,
    int8: bool = False,
    calibrate: str | os.PathLike[str] | None = None,
    calibration_windows: int | None = None,
    min_agreement: float | None = None,
    seed: int | None = None,
    force: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> ExportResult:
    """Export a network (weights by name or file, or one of `load_model`) as .onnx, .xml with .bin, or .pt2.

    The batch is of any size. Clips have `frames` frames (default: those of the recipe's clips; 64 for a recipe of
    windows), or any number with `dynamic_frames`. `input_dtype` "uint8": (N, T, H, W, C), normalised inside; "float32":
    normalised (N, C, T, H, W). Outputs are logits (N, K), pooled features (N, C), and with `softmax` first
    probabilities. The network is exported in evaluation mode, whatever its mode.

    `int8` makes an .xml whose layers run in int8, except the classifier, calibrated by NNCF on `calibration_windows`
    (default 300) of the videos `calibrate` (a folder, a pattern, a list, or one file), chosen by `seed` (default 0). A
    third of them calibrates, the others check: if fewer than `min_agreement` (default 0.98) have the best class of
    float32, the layers with the largest error stay in float32; if that does not suffice it is an InputError.

    The file is compared with PyTorch on random and rendered clips; one that differs by more than 1e-4 of the largest
    value is an InputError, as are missing packages and bad options, and nothing is written. An existing file is an
    InputError too, unless `force` replaces it. Weights that do not fit are a WeightsError.
    """
    path = new_file(out, EXPORT_SUFFIXES, force=force)
    beside = weights_of(path) if path.suffix.lower() == ".xml" else None
    if beside is not None:
        check_new(str(beside), beside, force=force, flag="--force (in Python: force=True)")
    check_format(path)
    options = _int8_options(int8, path, calibrate, calibration_windows, min_agreement, seed)
    use_cores()
    source, net, card, sha256 = _network(model, recipe, labels)
    takes = _graph_input(card.recipe, net, input_dtype, frames=frames, dynamic=dynamic_frames)
    if softmax and card.recipe.multi_label:
        raise InputError(f"{source}: has several labels a clip, whose scores are no softmax; leave softmax out")
    on_progress(Progress("trace the network", 0, None))
    graph = build_graph(net, card.recipe.preprocessing, input_dtype, softmax=softmax)
    file = GraphFile(trace(graph, takes), takes, graph.outputs)
    record = _record(card, sha256, takes, graph)
    with replacing_together(path) as temporary:
        on_progress(Progress("write", 0, None))
        file.write(temporary, record)
        agreement = compare(open_file(temporary), net, card.recipe.preprocessing, takes, on_progress)
        check_agreement(agreement, str(path))
        record = _checked(record, agreement)
        if options is None:
            file.write(temporary, record)
        else:
            head = net.head_prefix
            record = make_int8(temporary, record, options, head_prefix=head, name=str(path), on_progress=on_progress)
    files = [path] if beside is None else [path, beside]
    return ExportResult(
        source=source,
        target=str(path),
        format=FORMATS[path.suffix.lower()],
        num_bytes=sum(written.stat().st_size for written in files),
        input=takes.line,
        outputs=graph.outputs,
        difference=agreement.difference,
        tolerance=record.tolerance,
        checked=agreement.checked,
        int8=record.int8,
    )


def _int8_options(
    int8: bool,
    path: Path,
    calibrate: str | os.PathLike[str] | None,
    num_windows: int | None,
    min_agreement: float | None,
    seed: int | None,
) -> Int8Options | None:
    """The settings of int8; None: the file is in float32. An option that has no use is an InputError."""
    chosen = {"num_windows": num_windows, "min_agreement": min_agreement, "seed": seed}
    changes = {name: value for name, value in chosen.items() if value is not None}
    if not int8:
        if calibrate is not None or changes:
            raise InputError(f"{path}: calibration is for int8; add --int8 (in Python: int8=True), or leave it out")
        return None
    if path.suffix.lower() != OPENVINO_IR:
        raise InputError(f"{path}: int8 is for OpenVINO, as onnxruntime has no int8 3D convolution; name it .xml")
    if calibrate is None:
        raise InputError(f"{path}: int8 needs videos of your kind; name some with --calibrate clips/")
    check_nncf(str(path))
    return Int8Options(calibrate, **changes)  # type: ignore[arg-type]


def _network(
    model: str | os.PathLike[str] | VideoNetwork, recipe: str | None, labels: Sequence[str] | None
) -> tuple[str, VideoNetwork, Card, str]:
    """The name, the network in evaluation mode, the card and the hash of the weights."""
    if not isinstance(model, VideoNetwork):
        weights = load_weights(model, recipe=recipe, labels=labels)
        if weights.incomplete:
            raise WeightsError(f"{model}: some of its weights are random ({weights.incomplete}); export complete ones")
        if weights.familiarity is not None:
            log.info("%s: its distances to training clips, by which `predict` marks videos as unsure, stay here", model)
        return str(model), build_model(weights), weights.card, weights.sha256
    if recipe is not None or labels is not None:
        raise InputError("recipe, labels: are for weights; a network has them as attributes")
    if not all(hasattr(model, name) for name in ("recipe", "labels", "preprocessing")):
        raise InputError("a network without a recipe and labels; load it with i3d.load_model, or set both attributes")
    net = copy.deepcopy(model).eval().float().cpu()
    digest = hashlib.sha256()
    for key, tensor in net.state_dict().items():
        digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    its_recipe = Recipe(**{**dict(net.recipe), "preprocessing": net.preprocessing})
    origin = {"source": "a network in memory"}
    card = Card(recipe=its_recipe, labels=net.labels, licence="that of the source", origin=origin)
    return origin["source"], net, card, digest.hexdigest()


def _graph_input(
    recipe: Recipe, net: VideoNetwork, dtype: InputDtype, *, frames: int | None, dynamic: bool
) -> GraphInput:
    if dtype not in INPUT_DTYPES:
        raise InputError(f"input {quoted(dtype)}: is not one of {', '.join(INPUT_DTYPES)}")
    if dynamic and frames is not None:
        raise InputError(f"frames {frames}: dynamic frames are of any number; give one of both")
    if frames is not None and not net.min_frames <= frames <= MAX_FRAMES:
        raise InputError(f"frames {frames}: this network takes {net.min_frames} to {MAX_FRAMES}")
    own = recipe.protocol.clip_len if isinstance(recipe.protocol, ClipProtocol) else CLIP_LEN
    fixed = None if dynamic else frames or max(own, net.min_frames)
    if fixed is not None and isinstance(recipe.protocol, WindowProtocol):
        clips = f", or predict with --protocol 10x1, clips of {CLIP_LEN}" if fixed == CLIP_LEN else ""
        what = f"its own test scores windows of any length, the file takes {fixed} frames"
        log.warning("%s: export with --dynamic-frames%s", what, clips)
    elif fixed is not None and fixed != own:
        log.warning("its own test scores clips of %d frames, the file takes %d: `predict` refuses it", own, fixed)
    return GraphInput(
        dtype=dtype,
        frames=fixed,
        min_frames=net.min_frames,
        size=recipe.preprocessing.crop,
        channels=recipe.network.in_channels,
    )


def _record(card: Card, sha256: str, takes: GraphInput, graph: Graph) -> ExportRecord:
    packages = ("torch", *sorted({name for names in PACKAGES.values() for name in names}))
    versions = {name: _version(name) for name in packages}
    return ExportRecord(
        card=card,
        weights_sha256=sha256,
        input=takes,
        outputs=graph.outputs,
        tolerance=TOLERANCE["fp32"],
        difference=0.0,
        checked="",
        made_with={"i3d": __version__} | {name: version for name, version in versions.items() if version},
    )


def _checked(record: ExportRecord, agreement: Agreement) -> ExportRecord:
    return record.model_copy(update={"difference": agreement.difference, "checked": agreement.checked})


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
