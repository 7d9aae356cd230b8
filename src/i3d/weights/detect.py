"""Detect what a foreign checkpoint holds: its state dict under our keys, and the recipe that it belongs to."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from i3d.errors import WeightsError, printable
from i3d.recipes.io import load_recipe
from i3d.recipes.named import ALIASES, BASELINE, R50, RECIPES
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import InceptionSettings, NetworkSettings, Preprocessing, ResNetSettings, first_error
from i3d.weights.foreign.files import WeightsFile, read_weights_file
from i3d.weights.foreign.mmaction2_config import read_saved_config
from i3d.weights.foreign.names import RenamedState, rename_keys
from i3d.weights.foreign.numbers import Array
from i3d.weights.foreign.shapes import computed_settings, network_from_shapes, stored_settings

AUTHOR: Final = "Tushar-N/pytorch-resnet3d"  # of the weights of BASELINE
UNPUBLISHED: Final = "no published recipe"  # in the name of one that `i3d models` does not have
OTHER_POOLING: Final = "its keys and shapes are those of %s, with another pooling and input than %s"

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class DetectedCheckpoint:
    """A foreign checkpoint: its state dict under our keys, not yet compared with that of the network."""

    format: str  # of the file, with the layout of its keys
    state: RenamedState
    recipe: Recipe
    recipe_from: str  # how the recipe was found
    labels: tuple[str, ...] | None  # the class names in the file


def detect_checkpoint(
    path: Path, *, recipe: str | Recipe | None = None, in_channels: int | None = None, state_key: str | None = None
) -> DetectedCheckpoint:
    """Read a foreign checkpoint and detect its network and recipe. Raises WeightsError, which names the file.

    `state_key`: which state dict of the file, where it holds several (see `read_weights_file`).

    The recipe is `recipe`, else that of a config in the file, else the published one whose network has these keys and
    shapes. Where networks that compute different things have the same keys, the error asks for the recipe.
    `in_channels` is for 2D networks, which can be inflated for other inputs than RGB.
    """
    file = read_weights_file(path, state_key=state_key)
    if file.note:
        log.warning("%s: %s", path, file.note)
    try:
        state = rename_keys(file.arrays)
        recipe_, recipe_from = choose_recipe(file, state, recipe=recipe, in_channels=in_channels, file_name=path.name)
        recipe_ = _with_normalisation(recipe_, file.arrays)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except ValidationError as error:
        raise WeightsError(f"{path}: its network is not possible ({first_error(error)})") from error
    return DetectedCheckpoint(
        format=f"{file.kind}, {state.layout.title}" + (f" under {printable(state.prefix)!r}" if state.prefix else ""),
        state=state,
        recipe=recipe_.model_copy(update={"training": None}),  # it was not trained here
        recipe_from=recipe_from,
        labels=_labels(file.meta),
    )


def choose_recipe(
    file: WeightsFile,
    state: RenamedState,
    *,
    recipe: str | Recipe | None,
    in_channels: int | None,
    file_name: str = "",
) -> tuple[Recipe, str]:
    """(recipe, how it was found). `file_name` decides between recipes that the content fits, if it contains one."""
    stored = network_from_shapes({key: array.shape for key, array in state.arrays.items()})
    stored = stored.model_copy(update=state.settings)
    if state.layout.is_2d:
        return _for_2d(stored, recipe, in_channels)
    if in_channels is not None:
        raise WeightsError("--in-channels is for 2D networks; this one is inflated already")
    if recipe is not None:
        given = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, for_training=False)
        if stored_settings(given.network) != stored_settings(stored):
            raise _other_network(stored, given)
        if state.layout.is_ambiguous and _is_baseline(stored) and given.name != BASELINE.name:
            log.warning(OTHER_POOLING, AUTHOR, given.name)
        return _with_widths(given, stored), "as given"
    if state.layout.is_ambiguous:
        return _baseline(stored), f"by the keys and shapes of {AUTHOR}; --recipe names another"
    return _by_config(file, stored) or _by_keys(file, stored, file_name)


def _baseline(stored: NetworkSettings) -> Recipe:
    """torchvision's keys with 3D kernels: only the shapes of pytorch-resnet3d show what is computed."""
    if not _is_baseline(stored):
        what = f"{stored.description} with torchvision's keys, as in IBM's or 3D-ResNets-PyTorch"
        raise WeightsError(
            f"{what}: a 3D network whose strides, pooling and input its keys do not show; only the ResNet-50 of "
            f"{AUTHOR} is known by its shapes; --recipe NAME loads another as that network"
        )
    return _with_widths(BASELINE, stored)


def _is_baseline(stored: NetworkSettings) -> bool:
    return stored_settings(stored) == stored_settings(BASELINE.network)


def _other_network(stored: NetworkSettings, recipe: Recipe) -> WeightsError:
    network = recipe.network.description
    return WeightsError(f"the file holds {stored.description}, the recipe {recipe.name} is for {network}")


def _for_2d(stored: NetworkSettings, given: str | Recipe | None, in_channels: int | None) -> tuple[Recipe, str]:
    """A 2D network fits every recipe of its kind and depth."""
    if given is None:
        same_kind = _fitting(stored, lambda network: network.kind == stored.kind)
        recipe, recipe_from = same_kind[0], "the plain one; --recipe names another"
    else:
        recipe = given if isinstance(given, Recipe) else load_recipe(given, for_training=False)
        recipe_from = "as given"
    network = recipe.network
    if network.kind != stored.kind or _depth(network) != _depth(stored):
        raise _other_network(stored, recipe)
    widths = stored.model_copy(update={"in_channels": in_channels or network.in_channels})
    return _with_widths(recipe, widths), recipe_from


def _by_config(file: WeightsFile, stored: NetworkSettings) -> tuple[Recipe, str] | None:
    """The network and the test protocol of the config that MMAction2 saved in the file."""
    text = next((file.meta[key] for key in ("cfg", "config") if isinstance(file.meta.get(key), str)), "")
    if not isinstance(stored, ResNetSettings):
        return None
    config = read_saved_config(text, stored, version=int(_is_version_1(file)))
    if config is None:
        return None
    network, multi_label, protocol, preprocessing = config
    computed = computed_settings(network)
    same = [r for r in _by_version(file, RECIPES.values()) if computed_settings(r.network) == computed]
    base = same[0] if same else R50
    fields = base.model_dump() | {"multi_label": multi_label}
    fields["protocol"] |= protocol
    fields["preprocessing"] |= preprocessing
    recipe = Recipe.model_validate(fields)
    keys = {"protocol", "preprocessing", "multi_label"}
    like = [r for r in same if r.model_dump(include=keys) == recipe.model_dump(include=keys)]
    name = like[0].name if like else f"a config of MMAction2 ({UNPUBLISHED})"
    return _with_network(recipe.model_copy(update={"name": name}), network), "by the config in the file"


def _by_keys(file: WeightsFile, stored: NetworkSettings, file_name: str) -> tuple[Recipe, str]:
    fitting = _fitting(stored, lambda network: stored_settings(network) == stored_settings(stored))
    fitting = [r for r in fitting if getattr(r.network, "pool1", "") == getattr(stored, "pool1", "")]
    if not fitting:
        raise WeightsError(f"no recipe has such a network, {stored.description}")
    if isinstance(stored, InceptionSettings):
        fitting = [r for r in fitting if computed_settings(r.network) == computed_settings(stored)] or fitting
        fitting = [r for r in fitting if r.network.num_classes == stored.num_classes] or fitting
    fitting = _by_version(file, fitting)
    named = _named_in(file_name, fitting) if isinstance(stored, ResNetSettings) else []  # `i3d_rgb` is any I3D's name
    if len(fitting) > 1 and len(named) == 1:
        log.info("%s: taken as %s, which its name contains; --recipe names another", file_name, named[0].name)
        return _with_widths(named[0], stored), "by the file name; --recipe names another"
    functions = {computed_settings(r.network): r.name for r in reversed(fitting)}
    if len(functions) > 1:
        raise _ambiguous(stored, list(reversed(functions.values())))
    others = f", which {len(fitting) - 1} more recipes share; --recipe names another" if len(fitting) > 1 else ""
    return _with_widths(fitting[0], stored), f"by the network{others}"


def _ambiguous(stored: NetworkSettings, names: list[str]) -> WeightsError:
    """The error for keys that fit several networks; of a depth that no recipe has, how a recipe of it is written."""
    what = "its keys fit networks that compute different things; choose one"
    if all(name in RECIPES for name in names):
        return WeightsError(f"{what}: {' or '.join(f'--recipe {name}' for name in names)}")
    how = f"`network: {{depth: {_depth(stored)}}}` and `base: {names[0].split()[0]}`"
    others = f"or another of {', '.join(name.split()[0] for name in names[1:])}"
    return WeightsError(f"{what}, by --recipe FILE.yaml with {how}, {others}")


def _named_in(file_name: str, recipes: list[Recipe]) -> list[Recipe]:
    """The recipes whose name, or an older name of the same, a file name contains; not within a longer such name."""
    by_name = {recipe.name: recipe for recipe in recipes}
    by_name |= {alias: by_name[name] for alias, name in ALIASES.items() if name in by_name}
    names = [name for name in by_name if name in file_name]
    return [by_name[name] for name in names if not any(name in other for other in names if other != name)]


def _fitting(stored: NetworkSettings, fits: Callable[[NetworkSettings], bool]) -> list[Recipe]:
    """The recipes whose network fits; for a depth that no recipe has, those of ResNet-50 with that depth."""
    fitting = [r for r in RECIPES.values() if fits(r.network) and _depth(r.network) == _depth(stored)]
    if fitting or not isinstance(stored, ResNetSettings):
        return fitting
    r50s = (r for r in RECIPES.values() if _depth(r.network) == 50)
    return [r for r in (_with_depth(r50, stored.depth) for r50 in r50s) if fits(r.network)]


def _with_depth(recipe: Recipe, depth: int) -> Recipe:
    name = f"{recipe.name} with ResNet-{depth} ({UNPUBLISHED})"
    return recipe.model_copy(update={"network": recipe.network.model_copy(update={"depth": depth}), "name": name})


def _depth(network: NetworkSettings) -> int:
    return network.depth if isinstance(network, ResNetSettings) else 0


def _by_version(file: WeightsFile, recipes: Iterable[Recipe]) -> list[Recipe]:
    """The recipes sorted: first those of the MMAction2 version that wrote the file."""
    return sorted(recipes, key=lambda r: r.name.startswith("i3d_imagenet-") != _is_version_1(file))


def _is_version_1(file: WeightsFile) -> bool:
    """MMAction2 1.x writes a message hub and the version of MMEngine."""
    return bool(file.meta.get("1.x") or file.meta.get("mmengine_version"))


def _with_widths(recipe: Recipe, stored: NetworkSettings) -> Recipe:
    """The recipe with the classes, channels and width of the file."""
    widths = {"in_channels", "base_channels", "bn_eps"} | ({"num_classes"} & stored.model_fields_set)
    changes = stored.model_dump(include=widths)
    return _with_network(recipe, recipe.network.model_copy(update=changes))


def _with_network(recipe: Recipe, network: NetworkSettings) -> Recipe:
    """The recipe with another network. Channels that are not RGB are scaled to [-1, 1], as flow is."""
    changes: dict[str, Any] = {"network": network}
    if network.in_channels != recipe.network.in_channels:
        even = (127.5,) * network.in_channels
        changes["preprocessing"] = Preprocessing(**{**dict(recipe.preprocessing), "mean": even, "std": even})
    if network.num_classes != recipe.network.num_classes:
        changes["dataset"] = ""
    return Recipe(**{**dict(recipe), **changes})


def _with_normalisation(recipe: Recipe, arrays: Mapping[str, Array]) -> Recipe:
    """The recipe with the mean and deviation of MMAction2 1.x's data preprocessor, if the state dict has them."""
    changes = {
        name: tuple(float(value) for value in array.reshape(-1)[: recipe.network.in_channels + 1])
        for name in ("mean", "std")
        if (array := arrays.get(f"data_preprocessor.{name}")) is not None
    }
    return Recipe(**{**dict(recipe), "preprocessing": Preprocessing(**{**dict(recipe.preprocessing), **changes})})


def _labels(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    dataset = meta.get("dataset_meta")
    classes = dataset.get("classes") if isinstance(dataset, dict) else meta.get("CLASSES")
    if isinstance(classes, (list, tuple)) and classes and all(isinstance(name, str) for name in classes):
        return tuple(printable(name[:200]) for name in classes)
    return None
