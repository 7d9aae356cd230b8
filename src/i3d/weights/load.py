"""One door for weights: a shipped name, a file of ours or anybody's, or a 2D network -> a network that is ready."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from i3d._version import __version__
from i3d.data.labels import dataset_labels, numbered_labels
from i3d.errors import InputError, WeightsError, printable
from i3d.models.factory import build_meta_network, build_network
from i3d.models.inflate import inflate_weights
from i3d.models.network import VideoNetwork
from i3d.recipes.named import ALIASES, RECIPES
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import NetworkSettings
from i3d.weights.checkpoint import Card, file_sha256, is_checkpoint, load_checkpoint
from i3d.weights.detect import DetectedCheckpoint, detect_checkpoint
from i3d.weights.foreign.numbers import Array
from i3d.weights.foreign.tensorflow import checkpoint_prefix, index_of
from i3d.weights.hub import fetch_from_hub, is_hub_name
from i3d.weights.pretrained import PRETRAINED

if TYPE_CHECKING:
    State = dict[str, torch.Tensor]
    Shapes = Mapping[str, torch.Size]


COUNTER = "num_batches_tracked"  # of batches that a batch norm has seen


@dataclass(frozen=True)
class LoadReport:
    """How the entries of a file compare with those of the network."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()  # the network has them, the file has not
    unexpected: tuple[str, ...] = ()  # the file has them, the network has not
    other_shape: tuple[str, ...] = ()  # both have them, of different shape
    ignored: tuple[str, ...] = ()  # no weights: optimisers, counters, preprocessing

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} loaded", *_told("missing", self.missing), *_told("unexpected", self.unexpected)]
        parts += [*_told("of another shape", self.other_shape), *_told("left aside as no weights", self.ignored)]
        return ", ".join(parts)


@dataclass(frozen=True)
class Weights:
    """A network's whole state, float32, and what is known of it."""

    state: State = field(repr=False)
    card: Card
    sha256: str  # of the file that they came from
    kind: str  # what that file was
    why: str  # how its recipe was found
    labels_from: str
    entries: LoadReport

    @property
    def gaps(self) -> str:
        """What was not in the file, or in the one it was converted from, and has fresh values; "" if nothing."""
        told = self.card.origin.get("entries", "")
        inflated = self.card.origin.get("changes", "").startswith("inflated")
        return told if " of another shape" in told or (" missing" in told and not inflated) else ""


def load_model(
    source: str | os.PathLike[str] = "inception_rgb_kinetics400",
    *,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
) -> VideoNetwork:
    """The network of a shipped name or of a weights file, ours or foreign, in eval mode.

    It takes normalised float clips (N, C, T, H, W) and gives logits (N, K), averaged over time. Beside it lie
    `.recipe`, `.labels` and `.preprocessing`. A foreign file whose entries leave it open what it was trained by needs
    the name of the `recipe`; `labels` replace those of the file. Raises WeightsError for a file that is damaged,
    hostile or of another network, and InputError for an unknown name.
    """
    return build_model(load_weights(source, recipe=recipe, labels=labels))


def load_weights(
    source: str | os.PathLike[str],
    *,
    recipe: str | Recipe | None = None,
    labels: Sequence[str] | None = None,
    in_channels: int | None = None,
    partial: bool = False,
) -> Weights:
    """Read weights from anywhere, whole or not at all.

    With `partial`, entries that are missing or of another shape keep fresh values (seed 0). 2D networks are inflated,
    for `in_channels` other than RGB if need be.
    """

    name = str(source)
    if name in PRETRAINED:
        return _ours(PRETRAINED[name].path, recipe, labels, sha256=PRETRAINED[name].sha256)
    path = fetch_from_hub(name) if is_hub_name(name) else Path(source)
    _check_name(name, path)
    if is_checkpoint(path):
        if in_channels is not None or partial:
            raise InputError(
                f"{printable(name)}: is a checkpoint of i3d already; --in-channels and --partial are not for it"
            )
        return _ours(path, recipe, labels)
    found = detect_checkpoint(path, recipe=recipe, in_channels=in_channels)
    state, entries = _fitted(found, name, partial=partial)
    sha256 = file_sha256(_main_file(path))
    names, labels_from = _labels_of(found, labels)
    card = _card_of(found, names, entries, source=name if is_hub_name(name) else path.name, sha256=sha256)
    return Weights(state, card, sha256, f"{found.kind}, {found.layout}", found.why, labels_from, entries)


def build_model(weights: Weights) -> VideoNetwork:
    """A network with these weights, in eval mode."""

    recipe = weights.card.recipe
    model = build_meta_network(recipe.network)
    model.load_state_dict(weights.state, assign=True)
    model.recipe, model.labels, model.preprocessing = recipe, weights.card.labels, recipe.preprocessing
    return model.eval()


def shapes_of(network: NetworkSettings) -> Shapes:
    """Every entry of a network's state dict and its shape. No memory is used."""
    return {name: tensor.shape for name, tensor in build_meta_network(network).state_dict().items()}


def _ours(
    path: Path, recipe: str | Recipe | None, labels: Sequence[str] | None, *, sha256: str | None = None
) -> Weights:

    arrays, card = load_checkpoint(path, sha256=sha256)
    name = printable(path.name)
    if isinstance(recipe, str) and recipe != card.recipe.name:
        raise InputError(f"{name}: has the recipe {card.recipe.name} in it; for {recipe} convert the original again")
    if labels is not None:
        card = Card.model_validate({**dict(card), "labels": _checked(labels, card.recipe.network.num_classes)})
    expected = shapes_of(card.recipe.network)
    entries = _compare({entry: array.shape for entry, array in arrays.items()}, expected)
    if len(entries.loaded) != len(expected) or entries.unexpected:
        raise WeightsError(f"{name}: its entries do not fit the network that it says it is ({entries}); copy it again")
    state = {entry: _tensor(entry, array, name) for entry, array in arrays.items()}
    labels_from = "as given" if labels is not None else "in the file"
    return Weights(state, card, sha256 or file_sha256(path), "i3d checkpoint", "in the file", labels_from, entries)


def _fitted(found: DetectedCheckpoint, name: str, *, partial: bool) -> tuple[State, LoadReport]:
    """The foreign entries as the network's whole state."""

    expected = shapes_of(found.recipe.network)
    arrays = dict(found.arrays)
    for entry in expected:
        if entry.endswith(COUNTER):  # other frameworks lack it, and inference does not use it
            arrays.setdefault(entry, np.array(0))
    if found.images:
        tensors = {entry: _tensor(entry, array, name) for entry, array in arrays.items()}
        arrays = {entry: tensor.numpy() for entry, tensor in inflate_weights(tensors, expected).items()}
    shapes = {entry: array.shape for entry, array in arrays.items()}
    entries = _compare(shapes, expected, unknown=found.unknown, ignored=found.ignored)
    new = tuple(entry for entry in entries.missing if not (found.images and ".non_local." in entry))
    if (new or entries.unexpected or entries.other_shape) and not partial:
        raise WeightsError(
            f"{printable(name)}: does not fit {found.recipe.name}: {entries}; `i3d convert --partial` keeps what fits"
        )
    kept = {entry: _tensor(entry, arrays[entry], name) for entry in entries.loaded}
    if len(kept) < len(expected):
        kept = {**_fresh(found.recipe.network), **kept}
    return kept, entries


def _fresh(network: NetworkSettings) -> State:
    """The state of a new network, the same at every call."""

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dict(build_network(network).state_dict())


def _compare(
    found: Mapping[str, tuple[int, ...]],
    expected: Shapes,
    *,
    unknown: tuple[str, ...] = (),
    ignored: tuple[str, ...] = (),
) -> LoadReport:
    same = {name for name in expected if name in found and found[name] == tuple(expected[name])}
    return LoadReport(
        loaded=tuple(name for name in expected if name in same),
        missing=tuple(name for name in expected if name not in found),
        unexpected=(*(printable(name[:100]) for name in found if name not in expected), *unknown),
        other_shape=tuple(
            f"{name} {found[name]} for {tuple(expected[name])}"
            for name in expected
            if name in found and name not in same
        ),
        ignored=ignored,
    )


def _labels_of(found: DetectedCheckpoint, labels: Sequence[str] | None) -> tuple[tuple[str, ...], str]:
    """(class names, where they come from)."""

    num_classes = found.recipe.network.num_classes
    if labels is not None:
        return _checked(labels, num_classes), "as given"
    if found.labels is not None and len(found.labels) == num_classes:
        return found.labels, "in the file"
    known = dataset_labels(found.recipe.dataset)
    if known is not None and len(known) == num_classes:
        return known, f"{found.recipe.dataset}, by the recipe"
    return numbered_labels(num_classes), "none known: classes are numbered, --labels names them"


def _card_of(
    found: DetectedCheckpoint, labels: tuple[str, ...], entries: LoadReport, *, source: str, sha256: str
) -> Card:
    """What the converted weights say of themselves."""

    return Card(
        recipe=found.recipe,
        labels=labels,
        licence="that of the source",
        origin={
            "source": printable(source),
            "source_sha256": sha256,
            "format": f"{found.kind}, {found.layout}",
            "recipe": found.why,
            "entries": str(entries),
            "changes": f"{'inflated and ' * found.images}renamed by i3d {__version__}",
        },
    )


def _checked(labels: Sequence[str], num_classes: int) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise InputError(f"labels must be a sequence of names, got the text {labels[:40]!r}; read a file of them first")
    if len(labels) != num_classes:
        raise InputError(f"there are {len(labels)} labels for a network of {num_classes} classes; give one for each")
    return tuple(labels)


def _check_name(name: str, path: Path) -> None:
    """A name that is neither a file nor shipped: say which it could have been."""

    try:
        if path.exists() or checkpoint_prefix(path) is not None:
            return
    except OSError as error:  # a name that no file can have
        raise InputError(f"{printable(name[:100])}: cannot be a file ({error.strerror}); check the path") from error
    if name in RECIPES or name in ALIASES:
        raise InputError(f"no weights of {name} come with i3d, {', '.join(PRETRAINED)} do; give a file of its weights")
    raise InputError(f"{printable(name)}: no such file, and no shipped weights ({', '.join(PRETRAINED)}) of that name")


def _main_file(path: Path) -> Path:
    """The file to take the hash of: of a TensorFlow checkpoint its index, which holds the checksums of its data."""

    prefix = checkpoint_prefix(path)
    return path if prefix is None else index_of(prefix)


def _tensor(entry: str, array: Array, name: str) -> torch.Tensor:
    """A float32 tensor of its own (a counter: int64). Whole numbers, NaN, infinity, variances below 0 are refused."""

    wrong = WeightsError(f"{printable(name)}: {entry} does not hold what a network has there")
    if entry.endswith(COUNTER):
        if array.dtype.kind not in "iu":
            raise wrong
        return torch.from_numpy(array.astype(np.int64))
    if array.dtype.kind != "f":
        raise wrong
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise WeightsError(f"{printable(name)}: {entry} holds NaN or infinity: the training that wrote it had failed")
    if entry.endswith("running_var") and (values < 0).any():
        raise wrong
    return torch.from_numpy(values)


def _told(what: str, names: Sequence[str], *, most: int = 3) -> list[str]:
    """["2 missing (a, b)"], or nothing."""
    if not names:
        return []
    return [f"{len(names)} {what} ({', '.join(names[:most])}{' ...' * (len(names) > most)})"]
