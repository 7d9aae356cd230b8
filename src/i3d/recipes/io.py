"""Load recipes by name or from files, and override single settings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from i3d.errors import InputError, first_line, quoted
from i3d.recipes.named import R50, named_recipe
from i3d.recipes.names import SUFFIXES
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import TAGS, Settings, first_error
from i3d.recipes.yaml import read_yaml
from i3d.utils.arguments import checks_types
from i3d.utils.text import refuse_endless

if TYPE_CHECKING:
    from i3d.recipes.mmaction2.from_config import Config

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 4


@checks_types
def load_recipe(name_or_file: str | Path, *, depth: int = 0, for_training: bool = True) -> Recipe:
    """A named recipe, or one in a YAML or JSON file or in a config of MMAction2 (.py), which is not executed.

    A file holds all settings, as `recipe.json` in the folder of a run does, or `base: NAME` and those that differ;
    the base may be another file, relative to it.
    Not `for_training`, the training of a config of MMAction2 is neither checked nor in the recipe. A config that does
    not exist means the published recipe of its name, `configs/recognition/i3d/NAME.py`.
    """
    path = Path(name_or_file)
    if path.suffix == ".py":
        if not path.exists():
            return named_recipe(path.stem)
        return _read_config(path, for_training=for_training).recipe
    if path.suffix.lower() not in SUFFIXES:
        return named_recipe(str(name_or_file))
    content = _read(path)
    base = content.pop("base", None)
    if base is None and "network" not in content:
        raise InputError(f"{path}: names no base; write `base: NAME` (`i3d models`) and what differs")
    if base is None:
        return _validated(content, where=str(path))
    if not isinstance(base, str):
        raise InputError(f"{path}: base {quoted(base)}: not the name of a recipe")
    is_file = Path(base).suffix.lower() in SUFFIXES
    if is_file and depth > MAX_DEPTH:
        raise InputError(f"{path}: base {quoted(base)}: a base of a base of a base; write one recipe")
    before = load_recipe(str(path.parent / base), depth=depth + 1) if is_file else named_recipe(base)
    return _validated(_merged(before.model_dump(mode="json"), {"name": path.stem, **content}), where=str(path))


def config_notes(name_or_file: str) -> list[str]:
    """What the recipe of a config of MMAction2 assumes and leaves to options, for the log; [] for other recipes."""
    path = Path(name_or_file)
    if path.suffix != ".py" or not path.exists():
        return []
    config = _read_config(path)
    notes = list(config.notes)
    if config.seed is not None or config.deterministic:
        notes.append("a recipe has no seed and no `deterministic`: those of the config are for --seed, --deterministic")
    return notes


def _read_config(path: Path, *, for_training: bool = True) -> "Config":
    from i3d.recipes.mmaction2 import from_config, parse  # their import takes a moment

    return from_config.from_config(parse.read_config(path), where=str(path), name=path.stem, for_training=for_training)


@checks_types
def with_overrides(recipe: Recipe, settings: Sequence[str], *, page: str = "docs/training.md") -> Recipe:
    """The recipe with `key=value` settings, such as `training.epochs=20`; values are YAML: 3, 0.1, true, [1, 2], name.

    A setting of another kind replaces the whole: `training.optimizer={kind: adamw, lr: 0.001}`.
    """
    fields: dict[str, Any] = recipe.model_dump(mode="json")
    check_settings(settings)
    for setting in settings:
        key, _, text = setting.partition("=")
        _put(fields, key.split("."), _value(text, setting), setting)
        with suppress(ValidationError, TypeError, ValueError):  # a setting may need the next one to make sense
            fields = Recipe.model_validate_json(json.dumps(fields)).model_dump(mode="json")
    return _validated(fields, where="--set", page=page) if settings else recipe


def check_settings(settings: Sequence[str]) -> None:
    """An InputError for a setting that no recipe has, whatever its kind."""
    for setting in settings:
        key, sign, _ = setting.partition("=")
        if not sign or not key:
            raise InputError(f"--set {quoted(setting)}: write key=value, such as training.epochs=20")
        if (part := key.split(".")[0]) not in Recipe.model_fields:
            known = _hint(key, R50.model_dump(mode="json"), list(Recipe.model_fields))
            raise InputError(f"--set {quoted(setting)}: a recipe has no {part!r}; {known}")


def _hint(key: str, fields: dict[str, Any], beside: list[str]) -> str:
    """The settings that a key of no setting may mean: with its last part, or nearly its name; else those `beside`."""
    paths = list(_paths(fields))
    near = [path for path in paths if path.endswith(f".{key.split('.')[-1]}")]
    near = near[:3] or [path for path in get_close_matches(key, paths, cutoff=0.75) if not key.startswith(f"{path}.")]
    return f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(beside)}"


def _paths(fields: dict[str, Any], above: str = "") -> Iterator[str]:
    """The dotted keys of all settings."""
    for key, value in fields.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from _paths(value, f"{above}{key}.")


def with_training(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with overridden settings of its training."""
    if not changes:
        return recipe
    if recipe.training is None:
        raise InputError(f"the recipe {recipe.name} has no training settings; choose another (`i3d models`)")
    fields = recipe.model_dump(mode="json")
    fields["training"] |= changes
    return _validated(fields, where="options")


def _put(fields: dict[str, Any], keys: list[str], value: Any, setting: str) -> None:
    place: Any = fields
    for number, key in enumerate(keys):
        if not isinstance(place, dict) or (key not in place and not (key == "kind" or "kind" in place)):
            where = ".".join(keys[:number]) or "a recipe"
            known = f"it is {json.dumps(place)}"
            if isinstance(place, dict):
                known = _hint(".".join(keys), fields, list(place))
            raise InputError(f"--set {quoted(setting)}: {where} has no {key!r}; {known}")
        if number < len(keys) - 1:
            place = place.get(key)
        elif key == "kind" and value != place.get("kind"):
            place.clear()
            place["kind"] = value
        else:
            place[key] = _joined(place.get(key), value, key)


def _value(text: str, setting: str) -> Any:
    try:
        return read_yaml(text)
    except ValueError as error:
        raise InputError(f"--set {quoted(setting)}: the value is not YAML ({first_line(error)})") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        refuse_endless(path)
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: {path.stat().st_size:,} bytes is more than a recipe may have")
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == ".json" else read_yaml(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML or JSON ({first_line(error)})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"{path}: not the settings of a recipe; write `base: NAME` and what differs")
    return content


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**base, **{key: _joined(base.get(key), value, key) for key, value in changes.items()}}


def _joined(before: Any, value: Any, key: str) -> Any:
    """A group of settings is merged; one of another kind replaces the whole."""
    if not isinstance(before, dict) or not isinstance(value, dict):
        return value
    is_other_protocol = key == "protocol" and not value.keys() <= before.keys()
    if is_other_protocol or value.get("kind") not in (None, before.get("kind")):
        return value
    return _merged(before, value)


def _validated(fields: Mapping[str, Any], *, where: str, page: str = "docs/training.md") -> Recipe:
    try:
        return Recipe.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise InputError(f"{where}: {first_error(error)}{_known(error, fields)}; see {page}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {first_line(error)}") from error


def _known(error: ValidationError, fields: Mapping[str, Any]) -> str:
    """For an unknown key: the known keys beside it."""
    fault = error.errors()[0]
    if fault["type"] != "extra_forbidden":
        return ""
    place: Any = fields
    for part in [part for part in fault["loc"][:-1] if part not in TAGS]:
        place = place[part]
    unknown = str(fault["loc"][-1])
    known = sorted({*place, *_fields_of_kind(fault["loc"])} - {unknown})
    near = get_close_matches(unknown, known, n=2)
    return f"; nearest is {' or '.join(near)}" if near else f"; known are {', '.join(known)}"


def _fields_of_kind(loc: tuple[int | str, ...]) -> set[str]:
    """The settings of the group of a kind, such as `sgd`, that the place of an error ends in."""
    kinds = (one for one in Settings.__subclasses__() if "kind" in one.model_fields)
    return {name for one in kinds if one.model_fields["kind"].default in loc[-2:-1] for name in one.model_fields}
