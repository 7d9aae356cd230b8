"""Our weights file: safetensors, with everything that its use needs as JSON in the metadata.

Nothing in it can be executed. The JSON is a `Card`: recipe (network, preprocessing, protocol), class names,
licence and origin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, model_validator

from i3d.errors import WeightsError
from i3d.recipes.settings import Recipe, Settings

if TYPE_CHECKING:
    import torch

METADATA_KEY = "i3d"


class Card(Settings):
    """What a weights file says about itself."""

    recipe: Recipe
    labels: tuple[str, ...]
    licence: str
    origin: Mapping[str, str]  # where the numbers come from: source, its hash, what was done to them
    published: Mapping[str, str] = {}  # figures that others published, quoted with whose they are

    @model_validator(mode="after")
    def _one_label_per_class(self) -> Card:
        if len(self.labels) != self.recipe.network.num_classes:
            raise ValueError(f"{len(self.labels)} labels for {self.recipe.network.num_classes} classes")
        return self


def save_checkpoint(path: Path, state: Mapping[str, torch.Tensor], card: Card) -> None:
    """Write tensors and card to `path`, whole or not at all."""
    from safetensors.torch import save

    from i3d.files import write_atomically

    write_atomically(path, save(dict(state), metadata={METADATA_KEY: card.model_dump_json()}))


def load_checkpoint(path: Path, *, sha256: str | None = None) -> tuple[dict[str, torch.Tensor], Card]:
    """Tensors (as stored) and card of a weights file. Raises WeightsError if it is damaged or not ours."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); give the path of a weights file") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise WeightsError(f"{path}: the file is damaged (its SHA-256 is not {sha256[:12]}...); install i3d again")
    try:
        state = load(content)
        card = Card.model_validate_json(_metadata(content)[METADATA_KEY])
    except (SafetensorError, ValidationError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{path}: not a weights file of i3d ({reason}); give a .safetensors that i3d wrote"
        ) from error
    return state, card


def _metadata(content: bytes) -> dict[str, Any]:
    """The `__metadata__` of a safetensors file that the library has already accepted."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata: dict[str, Any] = header.get("__metadata__", {})
    return metadata
