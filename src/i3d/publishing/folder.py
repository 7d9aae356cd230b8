"""Write a model as a folder for the model hub.

The folder holds `model.safetensors` (the checkpoint, byte for byte), `config.json` (class names, preprocessing,
protocol), `README.md` (the model card) and, where there was a test, `metrics.json` and a drawn confusion matrix. Names
of clips and folders of the user are not in it.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Final

from i3d._version import __version__
from i3d.errors import InputError, abridged, check_not_empty, printable, quoted
from i3d.evaluation.confusion import draw_confusion
from i3d.evaluation.result import Evaluation, Metrics, compute_metrics
from i3d.evaluation.result_file import metrics_as_dict, read_evaluations
from i3d.exporting import export
from i3d.publishing.hub_names import check_licence, check_repository
from i3d.publishing.model_card import CARD, CardFacts, write_card
from i3d.recipes.settings import WindowProtocol
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import unfinished_folder, write_atomically
from i3d.utils.outputs import file_sha256, output_folder
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.weights.checkpoint import Card, is_checkpoint, load_checkpoint
from i3d.weights.familiarity import FEATURES
from i3d.weights.hub import FILE
from i3d.weights.load import state_shapes
from i3d.weights.names import weights_file
from i3d.weights.pretrained import PRETRAINED

CONFIG: Final = "config.json"
METRICS: Final = "metrics.json"
CONFUSION: Final = "confusion.png"
EXPORTS: Final = {"onnx": "model.onnx", "openvino": "model.xml"}
TEST: Final = "test.json"  # the result that a run folder holds
FORMAT: Final = "i3d published model"
log = logging.getLogger("i3d")
Tested = Sequence[tuple[Evaluation, Metrics]]


@dataclass(frozen=True)
class PublishedModel:
    """What was written."""

    folder: str
    files: tuple[str, ...]
    licence: str  # as the hub names it: an identifier, or "other"
    tested: tuple[str, ...]  # protocols with metrics
    notes: tuple[str, ...] = ()  # what a reader of the card would miss


@checks_types
def publish(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    repository: str | None = None,
    test: str | os.PathLike[str] | None = None,
    licence: str | None = None,
    base_model: str | None = None,
    exports: Sequence[str] = (),
    on_progress: ProgressCallback = ignore_progress,
) -> PublishedModel:
    """Write a model to the new folder `out`, ready for the model hub.

    Args:
        model: The folder of a run, or an i3d checkpoint (.safetensors).
        out: The folder to write. It must not exist; it appears when it is complete.
        repository: `owner/name` on the hub, for the examples of the card.
        test: A result of `i3d test --out` (default: `test.json` of the run, if there is one).
        licence: An identifier of the hub, such as apache-2.0 (default: that of the checkpoint).
        base_model: `owner/name` of the hub whose weights the model started from.
        exports: Files for other programs in the folder too: "onnx" (model.onnx), "openvino" (model.xml, model.bin);
            of uint8 clips, compared with PyTorch as `i3d.export` does.
        on_progress: Called while an export is compared.

    Raises:
        InputError: for weights of another format, an existing folder, a test of other weights, an export that differs.
    """
    check_not_empty(model=os.fspath(model))
    if repository is not None:
        check_repository("repository", repository)
    if base_model is not None:
        check_repository("base_model", base_model)
    exports = tuple(dict.fromkeys(exports))
    for export_name in exports:
        if export_name not in EXPORTS:
            raise InputError(f"exports {quoted(export_name)}: is not one of {', '.join(EXPORTS)}")
    target = _new_folder(out)
    weights = _checkpoint(os.fspath(model))
    tensors, card = load_checkpoint(weights)
    tested = [
        (replace(evaluation, model=target.name, data=Path(evaluation.data).name), metrics)
        for evaluation, metrics in _read_test(Path(os.fspath(model)), test, weights)
    ]
    name, notes = check_licence(licence, card.licence)
    if not tested:
        notes = (*notes, "the card has no metrics: test the model with `i3d test --out test.json` and give --test")
    facts = CardFacts(
        title=repository.partition("/")[2] if repository else target.name,
        repository=repository or "",
        licence=name,
        base_model=base_model or "",
        num_parameters=sum(prod(shape) for shape in state_shapes(card.recipe.network).values()),
        num_features=len(tensors[FEATURES]) if FEATURES in tensors else 0,
        exports=tuple(map(EXPORTS.__getitem__, exports)),
    )
    with unfinished_folder(target.parent) as temporary:
        whole = temporary / target.name
        whole.mkdir()
        shutil.copyfile(weights, whole / FILE)
        _write_json(whole / CONFIG, _config(card, whole / FILE))
        if tested:
            _write_metrics(whole, tested)
        write_card(whole / CARD, card, tested, facts)
        _write_exports(whole, card, exports, on_progress)
        files = tuple(sorted(path.name for path in whole.iterdir()))
        _ = _new_folder(out)  # it may have come since
        whole.rename(target)
    return PublishedModel(str(target), files, name, tuple(e.name for e, _ in tested), notes)


def _new_folder(out: str | os.PathLike[str]) -> Path:
    folder = output_folder("out", out)
    if os.path.lexists(folder):
        raise InputError(f"{folder}: exists; its card may have been edited: name a new folder, or remove this one")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"{folder}: there is no folder {folder.parent}; create it first")
    return folder


def _checkpoint(model: str) -> Path:
    path = PRETRAINED[model].path if model in PRETRAINED else weights_file(model)
    if not path.is_file():
        raise InputError(f"{model}: no such file; give the folder of a run, or a checkpoint of i3d")
    if path.suffix != ".safetensors" or not is_checkpoint(path):
        raise InputError(f"{path}: is no checkpoint of i3d; convert it first: i3d convert {path} model.safetensors")
    return path


def _read_test(model: Path, test: str | os.PathLike[str] | None, weights: Path) -> Tested:
    """The test whose metrics the card shows. One of other weights is refused: the card would be wrong."""
    path = model / TEST if test is None else Path(test)
    if test is None and not path.is_file():
        return ()
    evaluations = read_evaluations(path)
    tested, own = evaluations[0].weights_sha256, file_sha256(weights)
    if not tested and test is None:
        log.warning("%s: is of the models of the folds, not of these weights: the card leaves it out", path)
        return ()
    if tested != own:
        what = f"is a test of other weights (SHA-256 {tested[:12]}..., those of {weights} are {own[:12]}...)"
        raise InputError(f"{printable(str(path))}: {what}; test these: i3d test {weights} --data LIST --out test.json")
    return [(evaluation, compute_metrics(evaluation)) for evaluation in evaluations if evaluation.files_N]


def _config(card: Card, weights: Path) -> Mapping[str, Any]:
    """Class names under the keys of the transformers library, then the settings as the checkpoint has them."""
    recipe = card.recipe.model_dump(mode="json")
    repeated = sorted({label for label in card.labels if card.labels.count(label) > 1})
    if repeated:
        raise InputError(
            f"two classes have one name ({abridged(repeated, 3)}); rename them: i3d convert --classes FILE"
        )
    return {
        "library_name": "i3d",
        "format": FORMAT,
        "i3d_version": __version__,
        "architectures": [card.recipe.network.name],
        "id2label": {str(number): label for number, label in enumerate(card.labels)},
        "label2id": {label: number for number, label in enumerate(card.labels)},
        "preprocessing": recipe["preprocessing"],
        "protocol": {"text": card.recipe.protocol_line, **recipe["protocol"]},
        "network": recipe["network"],
        "licence": card.licence,
        "origin": dict(card.origin),
        "weights": {"file": weights.name, "sha256": file_sha256(weights)},
    }


def _write_exports(folder: Path, card: Card, exports: Sequence[str], on_progress: ProgressCallback) -> None:
    has_windows = isinstance(card.recipe.protocol, WindowProtocol)  # of any number of frames
    for name in exports:
        file = folder / EXPORTS[name]
        export(folder / FILE, file, input_dtype="uint8", dynamic_frames=has_windows, on_progress=on_progress)


def _write_metrics(folder: Path, tested: Tested) -> None:
    values = {
        e.name: {**metrics_as_dict(e, metrics), "data": e.data, "weights_sha256": e.weights_sha256}
        for e, metrics in tested
    }
    _write_json(folder / METRICS, values)
    evaluation, metrics = tested[0]
    if metrics.confusion_KK is not None:
        draw_confusion(folder / CONFUSION, evaluation)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())
