"""`i3d models show`: a network layer by layer."""

from dataclasses import asdict, dataclass
from typing import Any

from i3d.diagnostics.model_zoo import CheckpointRow, list_models
from i3d.models.flops import Cost, Layer, trace_layers, view_shape
from i3d.recipes.recipe import Recipe
from i3d.utils.arguments import checks_types
from i3d.weights.checkpoint import Card
from i3d.weights.load import Weights, load_weights
from i3d.weights.untrained import recipe_without_weights


@dataclass(frozen=True)
class ModelDescription:
    """A network layer by layer, with the recipe that defines it."""

    name: str
    recipe: Recipe
    card: Card | None  # of weights; None for a recipe or a network without weights
    cost: Cost
    layers: tuple[Layer, ...]
    checkpoints: tuple[CheckpointRow, ...] | None = None  # that others published; None if it is no recipe or network

    def as_dict(self) -> dict[str, Any]:
        """The description as JSON values."""
        layers = [asdict(layer) for layer in self.layers]
        card = None if self.card is None else self.card.model_dump(mode="json")
        recipe = self.recipe.model_dump(mode="json")
        checkpoints = None if self.checkpoints is None else [asdict(row) for row in self.checkpoints]
        described = {"name": self.name, "recipe": recipe, "card": card, "cost": asdict(self.cost), "layers": layers}
        return {**described, "checkpoints": checkpoints}


@checks_types
def describe_model(name: str, *, recipe: str | None = None) -> ModelDescription:
    """The layers of a network, a recipe, weights of the package or a weights file. Raises InputError if unknown.

    `recipe`: the recipe of a weights file that does not record one.
    """
    described, weights = recipe_and_weights(name, recipe)
    cost, layers = trace_layers(described.network, view_shape(described))
    card = None if weights is None else weights.card
    return ModelDescription(name, described, card, cost, layers, list_models().checkpoints_of(name))


def recipe_and_weights(name: str, recipe: str | None) -> tuple[Recipe, Weights | None]:
    """The recipe of a name, and its weights if it has any."""
    if (known := recipe_without_weights(name, recipe)) is not None:
        return known, None
    weights = load_weights(name, recipe=recipe, takes_exports=True)
    return weights.card.recipe, weights
