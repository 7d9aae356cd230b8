"""What names a network without weights: a network, a recipe, or a recipe file."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from i3d.errors import InputError
from i3d.recipes.io import load_recipe
from i3d.recipes.named import ALIASES, RECIPES, named_recipe
from i3d.recipes.names import FILE_SUFFIXES
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ResNetSettings
from i3d.weights.addresses import is_address
from i3d.weights.names import check_weights_name, is_local

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


def recipe_without_weights(name: str, recipe: str | None = None) -> Recipe | None:
    """The recipe of the name of a network, a recipe or a recipe file; None for weights. `recipe` is for weights only.

    Any other name is an InputError.
    """
    if Path(name).suffix.lower() in FILE_SUFFIXES:
        known = load_recipe(name)
    elif is_local(name) or is_address(name):
        check_weights_name(name)
        return None
    elif name in (*NETWORKS, *OTHER_DEPTHS, *RECIPES, *ALIASES):
        known = recipe_of_network(name)
    else:
        near = get_close_matches(name, [*NETWORKS, *OTHER_DEPTHS, *RECIPES, *ALIASES], n=3, cutoff=0.4)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise InputError(f"there is no network, recipe or file {name!r}{hint}; `i3d models` lists all")
    if recipe is not None:
        raise InputError(f"--recipe {recipe}: is for a weights file, {name} has its own; leave it out")
    return known


def recipe_of_network(name: str) -> Recipe:
    """The recipe of that name, or the plain one of a short network name."""
    if name not in OTHER_DEPTHS:
        return named_recipe(NETWORKS.get(name, name))
    r50 = named_recipe(NETWORKS["r50"])
    network = ResNetSettings.model_validate({**r50.network.model_dump(), "depth": OTHER_DEPTHS[name]})
    return r50.model_copy(update={"network": network, "name": name})
