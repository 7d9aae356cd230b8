"""Our weights file: safetensors, with everything that its use needs as JSON in the metadata.

Nothing in it can be executed. The JSON is a `Card`: recipe (network, preprocessing, protocol), class names,
licence, origin and training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError, model_validator
from safetensors.torch import save

from i3d.errors import WeightsError, printable
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import Settings, first_fault
from i3d.utils.atomic_files import write_atomically
from i3d.weights.foreign.files import read_weights_file, safetensors_metadata
from i3d.weights.foreign.numbers import Array

METADATA_KEY = "i3d"


class Card(Settings):
    """What a weights file says about itself."""

    recipe: Recipe
    labels: tuple[str, ...]
    licence: str
    origin: Mapping[str, str]  # where the numbers come from: source, its hash, what was done to them
    published: Mapping[str, str] = {}  # figures that others published, quoted with whose they are
    training: Mapping[str, str] = {}  # how they were trained, if it was here: data, epochs, best accuracy

    @model_validator(mode="after")
    def _one_label_per_class(self) -> Card:
        if len(self.labels) != self.recipe.network.num_classes:
            raise ValueError(f"{len(self.labels)} labels for {self.recipe.network.num_classes} classes")
        told = (self.recipe.name, self.licence, *self.labels)
        for record in (self.origin, self.published, self.training):
            told += (*record.keys(), *record.values())
        if not all(text.isprintable() for text in told):
            raise ValueError("a text in it cannot be printed")
        return self


def save_checkpoint(path: Path, state: Mapping[str, torch.Tensor], card: Card) -> None:
    """Write tensors and card to `path`, whole or not at all."""

    write_atomically(path, save(dict(state), metadata={METADATA_KEY: card.model_dump_json()}))


def is_checkpoint(path: Path) -> bool:
    """Is it a weights file of ours? Its header alone is looked at."""
    return METADATA_KEY in safetensors_metadata(path)


def load_checkpoint(path: Path, *, sha256: str | None = None) -> tuple[Mapping[str, Array], Card]:
    """Entries (as stored) and card of a weights file. Raises WeightsError if it is damaged or not ours."""
    name = printable(str(path))
    file = read_weights_file(path)
    if sha256 is not None and file_sha256(path) != sha256:
        raise WeightsError(f"{name}: the file is damaged (its SHA-256 is not {sha256[:12]}...); install i3d again")
    try:
        card = Card.model_validate_json(file.meta[METADATA_KEY])
    except KeyError as error:
        raise WeightsError(f"{name}: not a weights file of i3d; `i3d convert` makes one of it") from error
    except ValidationError as error:
        raise WeightsError(
            f"{name}: what the file says of itself is not valid ({first_fault(error)}); "
            "it may be of a newer version of i3d"
        ) from error
    return file.arrays, card


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
