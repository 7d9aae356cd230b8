"""`i3d models show`: a network layer by layer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError
from i3d.models.flops import Cost, Layer, trace_layers, view_shape
from i3d.recipes.named import ALIASES, RECIPES, named_recipe
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ResNetSettings
from i3d.weights.checkpoint import Card
from i3d.weights.load import load_weights
from i3d.weights.pretrained import PRETRAINED

NETWORKS: Final[Mapping[str, str]] = {  # name -> a recipe of this network
    "inception_rgb": "inception_rgb_kinetics400",
    "inception_flow": "inception_flow_kinetics400",
    "r34": "i3d_r34_32x2x1_100e_kinetics400_rgb",
    "r50": "i3d_r50_32x2x1_100e_kinetics400_rgb",
    "r50_heavy": "i3d_imagenet-pretrained-r50-heavy_8xb8-32x2x1-100e_kinetics400-rgb",
    "r50_nl_embedded_gaussian": "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb",
    "r50_nl_gaussian": "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb",
    "r50_nl_dot_product": "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb",
}
OTHER_DEPTHS: Final = {"r18": 18, "r101": 101}  # no recipe of these depths was published


@dataclass(frozen=True)
class ModelDescription:
    """A network layer by layer, with the recipe that defines it."""

    name: str
    recipe: Recipe
    card: Card | None  # of weights; None for a recipe or a network without weights
    cost: Cost
    layers: tuple[Layer, ...]

    def as_dict(self) -> dict[str, Any]:
        """The description as JSON values."""
        layers = [asdict(layer) for layer in self.layers]
        card = None if self.card is None else self.card.model_dump(mode="json")
        recipe = self.recipe.model_dump(mode="json")
        return {"name": self.name, "recipe": recipe, "card": card, "cost": asdict(self.cost), "layers": layers}


def describe_model(name: str, *, recipe: str | None = None) -> ModelDescription:
    """The layers of a network, a recipe, weights of the package or a weights file. Raises InputError if unknown.

    `recipe`: the recipe of a weights file that does not record one.
    """
    card = None
    if name in PRETRAINED or Path(name).exists():
        card = load_weights(name, recipe=recipe).card
        described = card.recipe
    elif name in NETWORKS or name in OTHER_DEPTHS:
        described = recipe_of_network(name)
    elif name in RECIPES or name in ALIASES:
        described = named_recipe(name)
    else:
        near = get_close_matches(name, [*NETWORKS, *OTHER_DEPTHS, *RECIPES, *ALIASES], n=3, cutoff=0.4)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise InputError(f"there is no network, recipe or file {name!r}{hint}; `i3d models` lists all")
    cost, layers = trace_layers(described.network, view_shape(described))
    return ModelDescription(name, described, card, cost, layers)


def recipe_of_network(name: str) -> Recipe:
    """The plain recipe of a short network name."""
    if name in NETWORKS:
        return named_recipe(NETWORKS[name])
    r50 = named_recipe(NETWORKS["r50"])
    network = ResNetSettings.model_validate({**r50.network.model_dump(), "depth": OTHER_DEPTHS[name]})
    return r50.model_copy(update={"network": network, "name": name})
