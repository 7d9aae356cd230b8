"""From a file of anybody's to entries of ours and the recipe that they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from i3d.errors import WeightsError, first_line, printable
from i3d.recipes.io import load_recipe
from i3d.recipes.mmaction2.parse import assignments
from i3d.recipes.named import RECIPES, named_recipe
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import InceptionSettings, NetworkSettings, Preprocessing, ResNetSettings, first_fault
from i3d.weights.foreign.files import WeightsFile, read_weights_file
from i3d.weights.foreign.mmaction2_config import network_of_config, testing_of_config
from i3d.weights.foreign.names import Named, name_entries
from i3d.weights.foreign.numbers import Array
from i3d.weights.foreign.shapes import function_of, network_of_shapes, visible


@dataclass(frozen=True)
class DetectedCheckpoint:
    """A foreign file that is understood: its entries under our names, not yet compared with the network's."""

    kind: str  # the file format
    layout: str  # whose names
    images: bool  # a 2D network, whose kernels are not inflated yet
    arrays: Mapping[str, Array]
    ignored: tuple[str, ...]  # no weights: optimisers, counters
    unknown: tuple[str, ...]
    recipe: Recipe
    why: str  # how the recipe was found
    labels: tuple[str, ...] | None  # if the file holds class names


def detect_checkpoint(
    path: Path, *, recipe: str | Recipe | None = None, in_channels: int | None = None
) -> DetectedCheckpoint:
    """Read a foreign file and find out what it is. Raises WeightsError that names the file.

    The recipe is the one that is asked for, else that of a config in the file, else the published one whose network
    has such entries. Where networks of different function have the same entries, the error asks for the recipe.
    `in_channels` is for 2D networks, which can be inflated for other inputs than RGB.
    """
    file = read_weights_file(path)
    try:
        named = name_entries(file.arrays)
        chosen, why = choose_recipe(file, named, recipe=recipe, in_channels=in_channels)
        chosen = _with_normalisation(chosen, file.arrays).model_copy(update={"training": None})  # it was not ours
    except WeightsError as error:
        raise WeightsError(f"{printable(str(path))}: {error}") from error
    except ValidationError as error:
        raise WeightsError(f"{printable(str(path))}: its network is impossible ({first_fault(error)})") from error
    return DetectedCheckpoint(
        kind=file.kind,
        layout=named.layout.title,
        images=named.layout.images,
        arrays=named.arrays,
        ignored=named.ignored,
        unknown=named.unknown,
        recipe=chosen,
        why=why,
        labels=_labels(file.meta),
    )


def choose_recipe(
    file: WeightsFile, named: Named, *, recipe: str | Recipe | None, in_channels: int | None
) -> tuple[Recipe, str]:
    """(recipe, how it was found)."""
    seen = network_of_shapes({entry: array.shape for entry, array in named.arrays.items()})
    seen = seen.model_copy(update=named.facts)
    if named.layout.images:
        return _for_images(seen, recipe, in_channels)
    if in_channels is not None:
        raise WeightsError("other input channels are for 2D networks, this one is inflated already")
    if recipe is not None:
        asked = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        if visible(asked.network) != visible(seen):
            wanted = asked.network.description
            raise WeightsError(f"the file holds {seen.description}, the recipe {asked.name} is for {wanted}")
        return _with_widths(asked, seen), "as asked for"
    return _by_config(file, seen) or _by_entries(file, seen)


def _for_images(seen: NetworkSettings, asked: str | Recipe | None, in_channels: int | None) -> tuple[Recipe, str]:
    """A 2D network fits every recipe of its kind and depth."""
    if asked is None:
        same_kind = _of_depth(seen, lambda network: network.kind == seen.kind)
        recipe, why = same_kind[0], "the plain one; --recipe names another"
    else:
        recipe, why = asked if isinstance(asked, Recipe) else load_recipe(asked), "as asked for"
    network = recipe.network
    if network.kind != seen.kind or getattr(network, "depth", 0) != getattr(seen, "depth", 0):
        raise WeightsError(f"the file holds {seen.description}, the recipe {recipe.name} is for {network.description}")
    wanted = seen.model_copy(update={"in_channels": in_channels or network.in_channels})
    return _with_widths(recipe, wanted), why


def _by_config(file: WeightsFile, seen: NetworkSettings) -> tuple[Recipe, str] | None:
    """The network and the test protocol of a config that MMAction2 left in the file."""
    text = next((file.meta[key] for key in ("cfg", "config") if isinstance(file.meta.get(key), str)), "")
    config = assignments(text)
    try:
        network = network_of_config(config, seen) if isinstance(seen, ResNetSettings) else None
        testing = testing_of_config(config, version_1=_is_version_1(file))
    except (TypeError, ValueError, AttributeError, OverflowError) as error:  # a config of other types than usual
        raise WeightsError(f"the config in it is not understood ({first_line(error)}); name the recipe") from error
    if network is None:
        return None
    same = [r for r in _of_version(file, map(named_recipe, RECIPES)) if function_of(r.network) == function_of(network)]
    base = same[0] if same else named_recipe("i3d_r50_32x2x1_100e_kinetics400_rgb")
    fields = base.model_dump()
    for part, values in testing.items():
        fields[part] |= values
    told = Recipe.model_validate(fields)
    like = [r for r in same if (r.protocol, r.preprocessing) == (told.protocol, told.preprocessing)]
    name = like[0].name if like else "mmaction2_config"
    return _with_network(told.model_copy(update={"name": name}), network), "by the config in the file"


def _by_entries(file: WeightsFile, seen: NetworkSettings) -> tuple[Recipe, str]:
    fitting = _of_depth(seen, lambda network: visible(network) == visible(seen))
    if not fitting:
        raise WeightsError(f"no recipe has such a network, {seen.description}")
    if isinstance(seen, InceptionSettings):
        fitting = [r for r in fitting if function_of(r.network) == function_of(seen)] or fitting
        fitting = [r for r in fitting if r.network.num_classes == seen.num_classes] or fitting
    fitting = _of_version(file, fitting)
    functions = {function_of(r.network): r.name for r in reversed(fitting)}
    if len(functions) > 1:
        names = " or ".join(f"--recipe {name}" for name in reversed(functions.values()))
        raise WeightsError(f"its entries fit networks that compute different things; say which: {names}")
    others = f", which {len(fitting) - 1} more recipes share; --recipe names another" if len(fitting) > 1 else ""
    return _with_widths(fitting[0], seen), f"by the network{others}"


def _of_depth(seen: NetworkSettings, fits: Any) -> list[Recipe]:
    """The recipes whose network fits; for depths that no recipe has, those of ResNet-50 with another depth."""
    recipes = [recipe for name in RECIPES if fits((recipe := named_recipe(name)).network)]
    if not isinstance(seen, ResNetSettings):
        return recipes
    exact = [r for r in recipes if isinstance(r.network, ResNetSettings) and r.network.depth == seen.depth]
    if exact:
        return exact
    deeper = []
    for recipe in map(named_recipe, RECIPES):
        if isinstance(recipe.network, ResNetSettings) and recipe.network.depth == 50:
            network = recipe.network.model_copy(update={"depth": seen.depth})
            if fits(network):
                deeper.append(
                    recipe.model_copy(update={"network": network, "name": recipe.name.replace("r50", f"r{seen.depth}")})
                )
    return deeper


def _of_version(file: WeightsFile, recipes: Any) -> list[Recipe]:
    """Recipes of the MMAction2 version that wrote the file first."""
    return sorted(recipes, key=lambda r: r.name.startswith("i3d_imagenet-") != _is_version_1(file))


def _is_version_1(file: WeightsFile) -> bool:
    """MMAction2 1.x writes a message hub and mmengine's version."""
    return bool(file.meta.get("1.x") or file.meta.get("mmengine_version"))


def _with_widths(recipe: Recipe, seen: NetworkSettings) -> Recipe:
    """The recipe with the classes, channels and width of the file."""
    fields = {"num_classes", "in_channels", "base_channels"} if isinstance(seen, ResNetSettings) else set()
    fields = fields or {"num_classes", "in_channels", "bn_eps"}
    return _with_network(recipe, recipe.network.model_copy(update=seen.model_dump(include=fields)))


def _with_network(recipe: Recipe, network: NetworkSettings) -> Recipe:
    """The recipe of another network. Channels that are not RGB are scaled to [-1, 1], as flow is."""
    changes: dict[str, Any] = {"network": network}
    if network.in_channels != recipe.network.in_channels:
        even = (127.5,) * network.in_channels
        changes["preprocessing"] = Preprocessing(**{**dict(recipe.preprocessing), "mean": even, "std": even})
    if network.num_classes != recipe.network.num_classes:
        changes["dataset"] = ""
    return Recipe(**{**dict(recipe), **changes})


def _with_normalisation(recipe: Recipe, arrays: Mapping[str, Array]) -> Recipe:
    """The recipe with the mean and deviation of MMAction2 1.x's data preprocessor, if they lie among the entries."""
    found = {
        name: tuple(float(value) for value in array.reshape(-1)[: recipe.network.in_channels + 1])
        for name in ("mean", "std")
        if (array := arrays.get(f"data_preprocessor.{name}")) is not None
    }
    if not found:
        return recipe
    return Recipe(**{**dict(recipe), "preprocessing": Preprocessing(**{**dict(recipe.preprocessing), **found})})


def _labels(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    dataset = meta.get("dataset_meta")
    classes = dataset.get("classes") if isinstance(dataset, dict) else meta.get("CLASSES")
    if isinstance(classes, (list, tuple)) and classes and all(isinstance(name, str) for name in classes):
        return tuple(printable(name[:200]) for name in classes)
    return None
