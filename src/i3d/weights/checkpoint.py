"""The i3d checkpoint: safetensors, with everything that using it needs as JSON in the metadata.

Nothing in it can be executed. The JSON is a `Card`: recipe (network, preprocessing, protocol), class names,
licence, origin and training.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from pydantic import ValidationError, model_validator

from i3d.errors import WeightsError
from i3d.recipes.recipe import Recipe
from i3d.recipes.segments import TunedSegments
from i3d.recipes.settings import Settings, first_error
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import replacing
from i3d.utils.outputs import file_sha256, new_file
from i3d.weights.familiarity import Familiarity
from i3d.weights.file_checksum import FileChecksum, save_with_checksum
from i3d.weights.foreign.files import read_weights_file, safetensors_metadata
from i3d.weights.foreign.numbers import Array
from i3d.weights.names import without_folder

METADATA_KEY = "i3d"
START = "started_from"  # in the record of training: the initial weights


class Card(Settings):
    """The description in a checkpoint."""

    recipe: Recipe
    labels: tuple[str, ...]
    licence: str
    origin: Mapping[str, str]  # source of the weights, its hash, what was changed
    published: Mapping[str, str] = {}  # accuracies that others published, with their source
    training: Mapping[str, str] = {}  # data, epochs and best accuracy, if they were trained by i3d
    timeline: TunedSegments | None = None  # how segments are found, chosen by `i3d timeline --tune`
    file_crc32c: FileChecksum | None = None  # in a file only, which was verified when it was read

    @model_validator(mode="after")
    def _one_label_per_class(self) -> Self:
        if len(self.labels) != self.recipe.network.num_classes:
            raise ValueError(f"{len(self.labels)} labels for {self.recipe.network.num_classes} classes")
        texts = (self.recipe.name, self.licence, *self.labels)
        for record in (self.origin, self.published, self.training):
            texts += (*record.keys(), *record.values())
        if not all(text.isprintable() for text in texts):
            raise ValueError("a text in it cannot be printed")
        return self


@checks_types
def save_checkpoint(
    path: Path,
    state: Mapping[str, torch.Tensor],
    card: Card,
    *,
    familiarity: Familiarity | None = None,
    force: bool = False,
) -> None:
    """Write tensors and card to `path` atomically. An existing file is an InputError, unless `force` replaces it.

    Of the initial weights the file name is stored, not the folders of whoever trained the model.
    """
    card = _without_folders(card)
    tensors = {**state, **(familiarity.tensors if familiarity else {})}
    with replacing(new_file(path, force=force)) as temporary:
        save_with_checksum(temporary, tensors, key=METADATA_KEY, record=card)


def _without_folders(card: Card) -> Card:
    start, training = card.training.get(START), card.recipe.training
    if start is not None:
        card = card.model_copy(update={"training": {**card.training, START: without_folder(start)}})
    if training is not None:
        training = training.model_copy(update={"init": without_folder(training.init)})
        card = card.model_copy(update={"recipe": card.recipe.model_copy(update={"training": training})})
    return card


def is_checkpoint(path: Path) -> bool:
    """Whether a file has the header of an i3d checkpoint."""
    return METADATA_KEY in safetensors_metadata(path)


@checks_types
def load_checkpoint(path: Path, *, sha256: str | None = None) -> tuple[Mapping[str, Array], Card]:
    """The tensors as stored (the state dict, and those of `Familiarity`), and the card.

    Raises WeightsError for a damaged file and for another format.
    """
    file = read_weights_file(path)
    if sha256 is not None and file_sha256(path) != sha256:
        raise WeightsError(f"{path}: the file is damaged (its SHA-256 is not {sha256[:12]}...); install i3d again")
    try:
        card = Card.model_validate_json(file.meta[METADATA_KEY])
    except KeyError as error:
        raise WeightsError(f"{path}: not an i3d checkpoint; `i3d convert` makes one of it") from error
    except ValidationError as error:
        why = f"its card is not valid ({first_error(error)}); it may be of a newer version of i3d"
        raise WeightsError(f"{path}: {why}") from error
    return file.arrays, card.model_copy(update={"file_crc32c": None})
