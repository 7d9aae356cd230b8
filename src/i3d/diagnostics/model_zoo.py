"""`i3d models`: the networks, recipes and weights of the package with their costs.

Nothing is computed here, and PyTorch is not imported: the list is the asset `model_zoo.json`, which
`tools/make_model_zoo.py` counts and a test recounts. `diagnostics/model_description.py` shows one network.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from i3d.utils.atomic_files import ASSETS

ASSET: Final = ASSETS / "model_zoo.json"


@dataclass(frozen=True)
class NetworkRow:
    """A network by its short name. `gflops` are of one view; a multiply-add counts as two operations."""

    name: str
    view_NCTHW: tuple[int, ...]
    parameters: int
    gflops: float


@dataclass(frozen=True)
class RecipeRow(NetworkRow):
    """A recipe, the cost of its network, and the accuracy that others published for weights trained by it."""

    aliases: tuple[str, ...]
    network: str
    classes: int
    protocol: str
    published: str  # "": no accuracy was published


@dataclass(frozen=True)
class WeightsRow(NetworkRow):
    """Weights in the package."""

    recipe: str
    classes: int
    megabytes: float
    licence: str
    published: str


@dataclass(frozen=True)
class CheckpointRow:
    """Weights that others published for a recipe. They are not in the package, and nothing fetches them."""

    recipe: str
    file: str
    address: str
    megabytes: float  # of its weights in float32, counted; files hold a little more
    sha256_begins: str  # the digits that the publisher wrote into the file name; "": none were published
    licence: str
    note: str
    published: str  # top-1 / top-5; "": no accuracy was published


@dataclass(frozen=True)
class ModelZoo:
    """Everything that `i3d models` lists."""

    networks: tuple[NetworkRow, ...]
    recipes: tuple[RecipeRow, ...]
    weights: tuple[WeightsRow, ...]
    checkpoints: tuple[CheckpointRow, ...]

    def checkpoints_of(self, name: str) -> tuple[CheckpointRow, ...] | None:
        """The published checkpoints of a recipe or of a network; None if `name` is neither."""
        recipes = {row.name for row in self.recipes if name in (row.name, row.network, *row.aliases)}
        if not recipes and name not in {row.name for row in self.networks}:
            return None
        return tuple(row for row in self.checkpoints if row.recipe in recipes)


def list_models() -> ModelZoo:
    """The networks, the recipes and the weights of the package."""
    rows = json.loads(ASSET.read_text(encoding="utf-8"), object_hook=_with_tuples)
    return ModelZoo(
        tuple(NetworkRow(**row) for row in rows["networks"]),
        tuple(RecipeRow(**row) for row in rows["recipes"]),
        tuple(WeightsRow(**row) for row in rows["weights"]),
        tuple(CheckpointRow(**row) for row in rows["checkpoints"]),
    )


def _with_tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
