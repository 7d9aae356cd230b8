"""Recipes by name, from YAML or JSON files, and with single settings changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from i3d.errors import InputError, first_line, printable, quoted
from i3d.recipes.named import named_recipe
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import first_fault

MAX_BYTES = 1 << 20


def load_recipe(name_or_file: str) -> Recipe:
    """A named recipe, or one in a YAML or JSON file or in a config of MMAction2 (.py), which is not executed.

    A file holds all settings, as `recipe.json` in the folder of a run does, or `base: NAME` and those that differ.
    A config that is not there is the published recipe of its name, `configs/recognition/i3d/NAME.py`.
    """
    path = Path(name_or_file)
    if path.suffix == ".py":
        from i3d.recipes.mmaction2.parse import read_config
        from i3d.recipes.mmaction2.translate import translate

        if not path.exists():
            return named_recipe(path.stem)
        return translate(read_config(path), where=printable(str(path)), name=path.stem).recipe
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        return named_recipe(name_or_file)
    where = printable(str(path))
    found = _read(path)
    base = found.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise InputError(f"{where}: base {quoted(base)}: not the name of a recipe")
    fields = _merged(named_recipe(base).model_dump(mode="json"), found) if base else found
    if base and "name" not in found:
        fields["name"] = path.stem
    return _validated(fields, where=where)


def changed(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with `key=value` settings, such as `training.epochs=20`; values are YAML: 3, 0.1, true, [1, 2], name.

    A setting of another kind takes the place of the whole: `training.optimizer={kind: adamw, lr: 0.001}`.
    """
    fields: dict[str, Any] = recipe.model_dump(mode="json")
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign or not key:
            raise InputError(f"--set {quoted(setting)}: write key=value, such as training.epochs=20")
        _put(fields, key.split("."), _value(text, setting), setting)
    return _validated(fields, where="--set") if settings else recipe


def with_training(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings of its training changed."""
    if not changes:
        return recipe
    if recipe.training is None:
        raise InputError(f"the recipe {recipe.name} says nothing of training; choose another (`i3d models`)")
    fields = recipe.model_dump(mode="json")
    fields["training"] |= changes
    return _validated(fields, where="settings")


def _put(fields: dict[str, Any], keys: list[str], value: Any, setting: str) -> None:
    place: Any = fields
    for number, key in enumerate(keys):
        if not isinstance(place, dict) or key not in place:
            known = ", ".join(place) if isinstance(place, dict) else "nothing"
            where = ".".join(keys[:number]) or "a recipe"
            raise InputError(f"--set {quoted(setting)}: {where} has no {key!r}; it has {known}")
        if number == len(keys) - 1:
            place[key] = value
        place = place[key]


def _value(text: str, setting: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {quoted(setting)}: the value is not YAML ({first_line(error)})") from error


def _read(path: Path) -> dict[str, Any]:
    import yaml

    where = printable(str(path))
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{where}: {path.stat().st_size:,} bytes is more than a recipe may have")
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{where}: not YAML or JSON ({first_line(error)})") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(f"{where}: not the settings of a recipe; write `base: NAME` and what differs")
    return found


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the changes, setting by setting; another `kind` takes the place of the whole."""
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict) and value.get("kind") in (None, before.get("kind")):
            value = _merged(before, value)
        merged[key] = value
    return merged


def _validated(fields: Mapping[str, Any], *, where: str) -> Recipe:
    try:
        return Recipe.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise InputError(f"{where}: {first_fault(error)}; see docs/training.md") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {first_line(error)}") from error
