"""Count the parameters and GFLOPs of all networks and recipes into src/i3d/assets/model_zoo.json.

    python tools/make_model_zoo.py

Run it after a change of a network, a recipe, a published accuracy or the weights of the package; a test recounts all.
"""

import json
from dataclasses import asdict
from typing import Any

from i3d.diagnostics.model_description import NETWORKS, OTHER_DEPTHS, recipe_of_network
from i3d.diagnostics.model_zoo import ASSET, ModelZoo, NetworkRow, RecipeRow, WeightsRow
from i3d.models.flops import network_cost
from i3d.recipes.named import ALIASES, RECIPES, named_recipe
from i3d.recipes.published import PUBLISHED
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import NetworkSettings
from i3d.utils.atomic_files import write_atomically
from i3d.weights.checkpoint import load_checkpoint
from i3d.weights.foreign.shapes import stored_settings
from i3d.weights.pretrained import PRETRAINED


def count_models() -> ModelZoo:
    """The list of `i3d models`, counted from the recipes and the weights."""
    networks = [NetworkRow(name, **_cost(recipe_of_network(name))) for name in (*NETWORKS, *OTHER_DEPTHS)]
    recipes = [
        RecipeRow(
            name=recipe.name,
            aliases=tuple(alias for alias, name in ALIASES.items() if name == recipe.name),
            network=_network_name(recipe.network),
            classes=recipe.network.num_classes,
            protocol=recipe.protocol_line.split(": ", 1)[1],
            published=_published(recipe.name),
            **_cost(recipe),
        )
        for recipe in map(named_recipe, RECIPES)
    ]
    weights = []
    for name, file in PRETRAINED.items():
        _, card = load_checkpoint(file.path, sha256=file.sha256)
        published = "; ".join(f"{accuracy} ({protocol})" for protocol, accuracy in card.published.items())
        size = file.path.stat().st_size / 1e6
        row = (name, card.recipe.name, len(card.labels), size)
        weights.append(WeightsRow(*row, **_cost(card.recipe), licence=card.licence, published=published))
    return ModelZoo(tuple(networks), tuple(recipes), tuple(weights))


def _cost(recipe: Recipe) -> dict[str, Any]:
    return asdict(network_cost(recipe))


def _network_name(network: NetworkSettings) -> str:
    """The short name of a network, whatever its number of classes."""
    for name in NETWORKS:
        known = recipe_of_network(name).network
        same_mode = getattr(known, "non_local_mode", "") == getattr(network, "non_local_mode", "")
        if same_mode and stored_settings(known) == stored_settings(network):
            return name
    return network.kind


def _published(recipe: str) -> str:
    """The published accuracy of a recipe with its source and protocol, or ""."""
    accuracy = PUBLISHED.get(recipe)
    if accuracy is None:
        return ""
    return f"{accuracy.top1:.2f} / {accuracy.top5:.2f} ({accuracy.source}; {accuracy.protocol})"


if __name__ == "__main__":
    write_atomically(ASSET, (json.dumps(asdict(count_models()), indent=1) + "\n").encode())
    print(f"wrote {ASSET}")
