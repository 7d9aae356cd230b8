"""Load weights of any source: a shipped name, an i3d checkpoint, a foreign checkpoint, or a 2D network."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from i3d._version import __version__
from i3d.data.labels import dataset_labels, is_numbered, numbered_labels
from i3d.errors import InputError, WeightsError, abridged, counted, printable, quoted
from i3d.models.engine.exported import ExportedGraph
from i3d.models.factory import NETWORKS, build_meta_network, build_network
from i3d.models.inflate import inflate_weights
from i3d.models.network import VideoNetwork
from i3d.recipes.io import load_recipe
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import NetworkSettings
from i3d.utils.arguments import checks_types
from i3d.utils.outputs import file_sha256
from i3d.weights.addresses import digest_in_name, is_address
from i3d.weights.checkpoint import Card, is_checkpoint, load_checkpoint
from i3d.weights.detect import DetectedCheckpoint, detect_checkpoint
from i3d.weights.exported import is_export, read_export
from i3d.weights.familiarity import DISTANCES, FEATURES, Familiarity
from i3d.weights.foreign.numbers import Array
from i3d.weights.foreign.shapes import differing_settings
from i3d.weights.hub import is_hub_name
from i3d.weights.names import check_weights_name, checkpoint_prefix, index_of, weights_file
from i3d.weights.pretrained import PRETRAINED

State = dict[str, torch.Tensor]
Shapes = Mapping[str, torch.Size]
REPORT_KEY = "state_dict"  # of the load report in the origin of a card
HEADLESS = "`i3d features` and `i3d train --init` take it, `i3d convert --partial` adds a random one"
NO_WEIGHTS = "is an exported file, a graph without PyTorch weights; give the weights that it was made from"
COUNTER = "num_batches_tracked"  # the batches of training that a batch norm has averaged over
log = logging.getLogger("i3d")


@dataclass(frozen=True)
class LoadReport:
    """The state-dict keys of a file, compared with those of the network."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()  # in the network only
    unexpected: tuple[str, ...] = ()  # in the file only
    mismatched: tuple[str, ...] = ()  # in both, with different shapes
    ignored: tuple[str, ...] = ()  # no weights: optimiser, counters, preprocessing

    def __str__(self) -> str:
        others = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.mismatched}
        parts = [
            f"{len(keys)} {what} ({abridged(keys, 3)})"
            for what, keys in (others | {"ignored": self.ignored}).items()
            if keys
        ]
        return ", ".join([f"{len(self.loaded)} loaded", *parts])


@dataclass(frozen=True)
class Weights:
    """The complete state dict of a network in float32, with its card and where both come from."""

    state: State = field(repr=False)
    card: Card
    sha256: str  # of the file
    format: str  # of the file, with the layout of its keys
    recipe_from: str  # how the recipe was found
    labels_from: str
    report: LoadReport
    familiarity: Familiarity | None = field(default=None, repr=False)  # of models of `i3d train` without a recipe
    exported: ExportedGraph | None = None  # of an exported file, whose `state` is empty

    @property
    def incomplete(self) -> str:
        """The load report of the original file if some weights were not in it and are random; else ""."""
        report = self.card.origin.get(REPORT_KEY, "")
        is_inflated = self.card.origin.get("changes", "").startswith("inflated")
        return report if " of another shape" in report or (" missing" in report and not is_inflated) else ""


@checks_types
def load_model(
    source: str | os.PathLike[str] = "inception_rgb_kinetics400",
    *,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
) -> VideoNetwork:
    """The network of a shipped name or of a weights file, ours or foreign, in eval mode.

    It takes normalised float clips (N, C, T, H, W) and returns logits (N, K), averaged over time. Its attributes
    `recipe`, `labels` and `preprocessing` are for its use. A foreign file whose keys fit several networks needs the
    name of the `recipe`; `labels` replace those of the file. Raises WeightsError for a file that is damaged, hostile
    or of another network, and InputError for an unknown name.
    """
    return build_model(load_weights(source, recipe=recipe, labels=labels))


@checks_types
def load_weights(
    source: str | os.PathLike[str],
    *,
    recipe: str | Recipe | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int | None = None,
    state_key: str | None = None,
    partial: bool = False,
    needs_classifier: bool = True,
    takes_exports: bool = False,
) -> Weights:
    """Load weights of any source. Every key of the file and of the network must match, or a WeightsError is raised.

    With `partial`, weights that are missing or of another shape are initialised at random (seed 0); if no classifier is
    needed, so is one that is missing. 2D networks are inflated, for `in_channels` other than RGB on request. Of several
    state dicts in a file, `state_key` chooses one. With `takes_exports`, an exported file is its graph, without a state
    dict; else it is a WeightsError.
    """
    name = str(source)
    if name in PRETRAINED:
        return _load_own(PRETRAINED[name].path, recipe, labels, sha256=PRETRAINED[name].sha256)
    check_weights_name(name)
    path = weights_file(name)
    if is_export(path):
        if in_channels is not None or partial or state_key is not None or not takes_exports:
            raise WeightsError(f"{name}: {NO_WEIGHTS}")
        return _load_export(path, recipe, labels)
    if is_checkpoint(path):
        if in_channels is not None or partial or state_key is not None:
            raise InputError(f"{name}: is an i3d checkpoint already; --in-channels, --partial and --state do not apply")
        return _load_own(path, recipe, labels)
    checkpoint = detect_checkpoint(path, recipe=recipe, in_channels=in_channels, state_key=state_key)
    state, report = _fit(checkpoint, name, partial=partial, needs_classifier=needs_classifier)
    prefix = checkpoint_prefix(path)
    sha256 = file_sha256(path if prefix is None else index_of(prefix))  # the index holds the checksums of the data
    if not sha256.startswith(digest_in_name(path)):
        what = "another file than the published one of this name"
        log.warning("%s: its SHA-256 begins with %s, not as its name ends: %s", path, sha256[:8], what)
    class_names, labels_from = _choose_labels(checkpoint, labels, path)
    source = name if is_hub_name(name) or is_address(name) else path.name
    card = _make_card(checkpoint, class_names, report, source=source, sha256=sha256)
    return Weights(state, card, sha256, checkpoint.format, checkpoint.recipe_from, labels_from, report)


@checks_types
def build_model(weights: Weights) -> VideoNetwork:
    """A network with these weights, in eval mode."""
    recipe = weights.card.recipe
    if weights.exported is not None:
        raise WeightsError(f"{weights.exported.path}: {NO_WEIGHTS}")
    model = build_meta_network(recipe.network)
    model.load_state_dict(weights.state, assign=True)
    model.recipe, model.labels, model.preprocessing = recipe, weights.card.labels, recipe.preprocessing
    return model.eval()


def build_backbone(weights: Weights, network: NetworkSettings) -> VideoNetwork:
    """A network with these weights but a classifier of its own, which is 0, in eval mode."""
    model = build_meta_network(network)
    state = {
        key: torch.zeros(tensor.shape) if key.startswith(model.head_prefix) else weights.state[key]
        for key, tensor in model.state_dict().items()
    }
    model.load_state_dict(state, assign=True)
    return model.eval()


def state_shapes(network: NetworkSettings) -> Shapes:
    """The keys of a network's state dict and their shapes; no memory is allocated."""
    return {key: tensor.shape for key, tensor in build_meta_network(network).state_dict().items()}


def _load_own(
    path: Path, recipe: str | Recipe | None, labels: Sequence[str] | None, *, sha256: str | None = None
) -> Weights:
    tensors, card = load_checkpoint(path, sha256=sha256)
    name, recipe_from = path.name, "in the file"
    arrays, familiarity = _without_familiarity(tensors, card, name)
    if isinstance(recipe, str) and recipe != card.recipe.name:
        card, recipe_from = _with_recipe(card, recipe, name), "as given"
        if familiarity is not None:
            log.info("%s: its distances to training clips are of its own recipe, and not used with %s", name, recipe)
            familiarity = None
        if card.timeline is not None:
            log.info("%s: its settings of segments were tuned with its own recipe, and not used with %s", name, recipe)
            card = card.model_copy(update={"timeline": None})
    if labels is not None:
        names = _checked(labels, card.recipe.network.num_classes)
        _warn_of_renamed(name, card.labels, names)
        card = Card.model_validate({**dict(card), "labels": names})
    expected = state_shapes(card.recipe.network)
    report = _compare(arrays, expected)
    if len(report.loaded) != len(expected) or report.unexpected:
        raise WeightsError(f"{name}: its state dict does not fit the network of its card ({report}); copy it again")
    state = {key: _tensor(key, array, name) for key, array in arrays.items()}
    labels_from = "as given" if labels is not None else "in the file"
    digest = sha256 or file_sha256(path)
    return Weights(state, card, digest, "i3d checkpoint", recipe_from, labels_from, report, familiarity)


def _load_export(path: Path, recipe: str | Recipe | None, labels: Sequence[str] | None) -> Weights:
    """An exported file as weights without a state dict; its origin names the input of the graph."""
    if recipe is not None:
        raise InputError(f"{path}: its recipe is in it; leave --recipe out, or give the weights that it was made from")
    record, graph, sha256 = read_export(path)
    card = record.card
    if labels is not None:
        names = _checked(labels, card.recipe.network.num_classes)
        _warn_of_renamed(path.name, card.labels, names)
        card = card.model_copy(update={"labels": names})
    card = card.model_copy(update={"origin": {**card.origin, **record.description}})
    labels_from = "as given" if labels is not None else "in the file"
    return Weights(
        {}, card, sha256, f"exported {path.suffix}", "in the file", labels_from, LoadReport(()), exported=graph
    )


def _without_familiarity(
    tensors: Mapping[str, Array], card: Card, name: str
) -> tuple[dict[str, Array], Familiarity | None]:
    """The state dict of a checkpoint, and what else is in it."""
    arrays = {key: array for key, array in tensors.items() if key not in (FEATURES, DISTANCES)}
    if len(arrays) == len(tensors):
        return arrays, None
    num_channels = build_meta_network(card.recipe.network).num_classifier_inputs
    return arrays, Familiarity.from_arrays(tensors, num_channels=num_channels, name=name)


def _with_recipe(card: Card, given: str, name: str) -> Card:
    """The card with the preprocessing and the protocol of another recipe, which must be of the same network."""
    own, recipe = card.recipe, load_recipe(given, for_training=False)
    what = differing_settings(own.network, recipe.network)
    if own.multi_label != recipe.multi_label:
        what = f"{'several labels' if own.multi_label else 'one label'} a clip"
    if what:
        todo = f"leave --recipe out, or name one of {own.network.description}"
        raise InputError(f"{name}: is of the recipe {own.name}, another network than that of {given} ({what}); {todo}")
    parts = {"network": own.network, "training": own.training, "dataset": own.dataset}
    return Card.model_validate({**dict(card), "recipe": Recipe(**{**dict(recipe), **parts})})


def _fit(
    checkpoint: DetectedCheckpoint, name: str, *, partial: bool, needs_classifier: bool
) -> tuple[State, LoadReport]:
    """The complete state dict of the network, from that of a foreign checkpoint."""
    expected, is_2d = state_shapes(checkpoint.recipe.network), checkpoint.state.layout.is_2d
    arrays = dict(checkpoint.state.arrays)
    for key in expected:
        if key.endswith(COUNTER):  # other frameworks lack it, and inference does not use it
            arrays.setdefault(key, np.array(0))
    if is_2d:
        tensors = {key: _tensor(key, array, name) for key, array in arrays.items()}
        arrays = {key: tensor.numpy() for key, tensor in inflate_weights(tensors, expected).items()}
    report = _compare(arrays, expected, unknown=checkpoint.state.unknown, ignored=checkpoint.state.ignored)
    # Of 2D networks, non-local blocks are missing; they start as the identity.
    missing = [key for key in report.missing if not (is_2d and ".non_local." in key)]
    head = NETWORKS[type(checkpoint.recipe.network)].head_prefix
    if missing and all(key.startswith(head) for key in missing) and not partial:
        if needs_classifier:
            raise WeightsError(f"{name}: has no classifier ({', '.join(missing)} missing); {HEADLESS}")
        log.info("%s: has no classifier, and none is needed", name)
        missing = []
    if (missing or report.unexpected or report.mismatched) and not partial:
        todo = "`i3d convert --partial` loads what fits"
        raise WeightsError(f"{name}: does not fit {checkpoint.recipe.name}: {report}; {todo}")
    state = {key: _tensor(key, arrays[key], name) for key in report.loaded}
    if len(state) < len(expected):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same random weights at every call
            state = {**build_network(checkpoint.recipe.network).state_dict(), **state}
    return state, report


def _compare(
    arrays: Mapping[str, Array], expected: Shapes, *, unknown: tuple[str, ...] = (), ignored: tuple[str, ...] = ()
) -> LoadReport:
    pairs = [(key, arrays[key].shape, tuple(shape)) for key, shape in expected.items() if key in arrays]
    return LoadReport(
        loaded=tuple(key for key, actual, wanted in pairs if actual == wanted),
        missing=tuple(key for key in expected if key not in arrays),
        unexpected=(*(printable(key[:100]) for key in arrays if key not in expected), *unknown),
        mismatched=tuple(f"{key} {actual} instead of {wanted}" for key, actual, wanted in pairs if actual != wanted),
        ignored=ignored,
    )


def _warn_of_renamed(name: str, before: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """A warning if given class names replace others of the file; numbered classes have no names yet."""
    changed = [f"{quoted(a)} is now {quoted(b)}" for a, b in zip(before, labels, strict=True) if a != b]
    if changed and not is_numbered(before):
        log.warning("%s: its class names are replaced: %s", name, abridged(changed, 3))


def _choose_labels(
    checkpoint: DetectedCheckpoint, labels: Sequence[str] | None, path: Path
) -> tuple[tuple[str, ...], str]:
    """(class names, where they come from)."""
    num_classes = checkpoint.recipe.network.num_classes
    if labels is not None:
        return _checked(labels, num_classes), "as given"
    if checkpoint.labels is not None and len(checkpoint.labels) == num_classes:
        return checkpoint.labels, "in the file"
    if checkpoint.labels is not None:
        names = counted(len(checkpoint.labels), "class name")
        log.warning("%s: has %s for %d classes: they are left out; --classes names them", path, names, num_classes)
    known = dataset_labels(checkpoint.recipe.dataset)
    if known is not None and len(known) == num_classes:
        return known, f"{checkpoint.recipe.dataset}, by the recipe"
    return numbered_labels(num_classes), "none known: classes are numbered, --classes names them"


def _make_card(
    checkpoint: DetectedCheckpoint, labels: tuple[str, ...], report: LoadReport, *, source: str, sha256: str
) -> Card:
    return Card(
        recipe=checkpoint.recipe,
        labels=labels,
        licence="that of the source",
        origin={
            "source": printable(source),
            "source_sha256": sha256,
            "format": checkpoint.format,
            "recipe": checkpoint.recipe_from,
            REPORT_KEY: str(report),
            "changes": f"{'inflated and ' * checkpoint.state.layout.is_2d}renamed by i3d {__version__}",
        },
    )


def _checked(labels: Sequence[str], num_classes: int) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise InputError(f"labels must be a sequence of names, got the text {labels[:40]!r}; read a file of them first")
    if len(labels) != num_classes:
        raise InputError(f"there are {len(labels)} labels for a network of {num_classes} classes; give one for each")
    return tuple(labels)


def _tensor(key: str, array: Array, name: str) -> torch.Tensor:
    """A float32 copy (a counter: int64). Integers, NaN, infinity and negative variances are a WeightsError."""
    where = f"{name}: {key}"
    if key.endswith(COUNTER):
        if array.dtype.kind not in "iu":
            raise WeightsError(f"{where} has the type {array.dtype}, expected integers")
        return torch.from_numpy(array.astype(np.int64))
    if array.dtype.kind != "f":
        raise WeightsError(f"{where} has the type {array.dtype}, expected floats")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise WeightsError(f"{where} holds NaN or infinity: the training that wrote it had failed")
    if key.endswith("running_var") and (values < 0).any():
        raise WeightsError(f"{where} holds a variance below 0")
    return torch.from_numpy(values)
