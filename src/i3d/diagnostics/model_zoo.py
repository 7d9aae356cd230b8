"""`i3d models`: which networks, recipes and shipped weights there are, and what a network consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError
from i3d.models.flops import Cost, Layer, network_cost, trace_layers, view_shape
from i3d.recipes.named import ALIASES, RECIPES, named_recipe
from i3d.recipes.published import PUBLISHED
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import NetworkSettings, ResNetSettings
from i3d.weights.checkpoint import Card, load_checkpoint
from i3d.weights.foreign.shapes import stored_settings
from i3d.weights.load import load_weights
from i3d.weights.pretrained import PRETRAINED

NETWORKS: Final[Mapping[str, str]] = {  # name -> a recipe that has it
    "inception_rgb": "inception_rgb_kinetics400",
    "inception_flow": "inception_flow_kinetics400",
    "r34": "i3d_r34_32x2x1_100e_kinetics400_rgb",
    "r50": "i3d_r50_32x2x1_100e_kinetics400_rgb",
    "r50_heavy": "i3d_imagenet-pretrained-r50-heavy_8xb8-32x2x1-100e_kinetics400-rgb",
    "r50_nl_embedded_gaussian": "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb",
    "r50_nl_gaussian": "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb",
    "r50_nl_dot_product": "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb",
}
OTHER_DEPTHS: Final = {"r18": 18, "r101": 101}  # of which no recipe was published


@dataclass(frozen=True)
class NetworkRow:
    """A network by its short name."""

    name: str
    cost: Cost


@dataclass(frozen=True)
class RecipeRow:
    """A recipe, its network's cost, and the accuracy that others published for weights trained by it."""

    name: str
    aliases: tuple[str, ...]
    network: str
    classes: int
    views: str
    cost: Cost
    published: str  # "" if none was


@dataclass(frozen=True)
class WeightsRow:
    """Weights that come with the package."""

    name: str
    recipe: str
    classes: int
    megabytes: float
    cost: Cost
    licence: str
    published: str


@dataclass(frozen=True)
class ModelZoo:
    """Everything that `i3d models` lists."""

    networks: tuple[NetworkRow, ...]
    recipes: tuple[RecipeRow, ...]
    weights: tuple[WeightsRow, ...]


@dataclass(frozen=True)
class Description:
    """A network, layer by layer, and the recipe that it was asked by."""

    name: str
    recipe: Recipe
    card: Card | None  # of weights; None for a recipe or a network alone
    cost: Cost
    layers: tuple[Layer, ...]

    def as_dict(self) -> dict[str, Any]:
        """All of it as what JSON has."""
        layers = [asdict(layer) for layer in self.layers]
        card = None if self.card is None else self.card.model_dump(mode="json")
        recipe = self.recipe.model_dump(mode="json")
        return {"name": self.name, "recipe": recipe, "card": card, "cost": asdict(self.cost), "layers": layers}


def list_models() -> ModelZoo:
    """The networks, the recipes and the shipped weights."""

    networks = [NetworkRow(name, network_cost(recipe_of_network(name))) for name in (*NETWORKS, *OTHER_DEPTHS)]
    recipes = []
    for recipe in map(named_recipe, RECIPES):
        aliases = tuple(alias for alias, name in ALIASES.items() if name == recipe.name)
        row = (recipe.name, aliases, network_name(recipe.network), recipe.network.num_classes)
        recipes.append(
            RecipeRow(*row, recipe.protocol_line.split(": ", 1)[1], network_cost(recipe), published_for(recipe.name))
        )
    weights = []
    for name, file in PRETRAINED.items():
        _, card = load_checkpoint(file.path, sha256=file.sha256)
        told = "; ".join(f"{figures} ({protocol})" for protocol, figures in card.published.items())
        row_of_weights = (name, card.recipe.name, len(card.labels), file.path.stat().st_size / 1e6)
        weights.append(WeightsRow(*row_of_weights, network_cost(card.recipe), card.licence, told))
    return ModelZoo(tuple(networks), tuple(recipes), tuple(weights))


def describe(name: str, *, recipe: str | None = None) -> Description:
    """The layers of a network, a recipe, shipped weights or a weights file. An unknown name is an InputError."""

    card = None
    if name in PRETRAINED or Path(name).exists():
        card = load_weights(name, recipe=recipe).card
        found = card.recipe
    elif name in NETWORKS or name in OTHER_DEPTHS:
        found = recipe_of_network(name)
    elif name in RECIPES or name in ALIASES:
        found = named_recipe(name)
    else:
        near = _nearest(name, [*NETWORKS, *OTHER_DEPTHS, *RECIPES, *ALIASES])
        raise InputError(f"there is no network, recipe or file {name!r}{near}; `i3d models` lists all")
    cost, layers = trace_layers(found.network, view_shape(found))
    return Description(name, found, card, cost, layers)


def recipe_of_network(name: str) -> Recipe:
    """The plain recipe of a short network name."""

    if name in NETWORKS:
        return named_recipe(NETWORKS[name])
    r50 = named_recipe(NETWORKS["r50"])
    network = ResNetSettings.model_validate({**r50.network.model_dump(), "depth": OTHER_DEPTHS[name]})
    return r50.model_copy(update={"network": network, "name": name})


def network_name(network: NetworkSettings) -> str:
    """The short name of a network, whatever its number of classes."""

    for name in NETWORKS:
        known = recipe_of_network(name).network
        mode = getattr(known, "non_local_mode", "") == getattr(network, "non_local_mode", "")
        if mode and stored_settings(known) == stored_settings(network):
            return name
    return network.kind


def published_for(recipe: str) -> str:
    """The published accuracy of a recipe with its protocol and source, or ""."""

    found = PUBLISHED.get(recipe)
    return f"{found.top1:.2f} / {found.top5:.2f} ({found.source}; {found.protocol})" if found else ""


def _nearest(name: str, names: list[str]) -> str:

    near = get_close_matches(name, names, n=3, cutoff=0.4)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
