"""Names that are needed before any settings: of metrics, and of the published recipes (0.3 s to build)."""

import json
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, Literal

from i3d.errors import InputError
from i3d.utils.atomic_files import ASSETS

MINDSPORE: Final = "mindspore"  # the protocol of that port
SUFFIXES: Final = (".json", ".yaml", ".yml")  # of recipe files
FILE_SUFFIXES: Final = (*SUFFIXES, ".py")  # and configs of MMAction2

SegmentMetric = Literal[
    "f1@10", "f1@25", "f1@50", "event_f1", "edit_score", "frame_accuracy", "mean_average_precision"
]  # fmt: skip


@lru_cache(maxsize=1)
def _zoo() -> dict[str, Any]:
    zoo: dict[str, Any] = json.loads((ASSETS / "model_zoo.json").read_text(encoding="utf-8"))
    return zoo


@lru_cache(maxsize=1)
def recipe_names() -> tuple[str, ...]:
    """The names of all recipes, and older names of the same."""
    return tuple(name for row in _zoo()["recipes"] for name in (row["name"], *row["aliases"]))


def network_names() -> tuple[str, ...]:
    """The short names of networks, such as r50."""
    return tuple(row["name"] for row in _zoo()["networks"])


def published_files(name: str) -> tuple[str, ...]:
    """The files of weights that others published for a recipe, or for the recipes of a network."""
    zoo = _zoo()
    recipes = {row["name"] for row in zoo["recipes"] if name in (row["name"], row["network"], *row["aliases"])}
    return tuple(row["file"] for row in zoo["checkpoints"] if row["recipe"] in recipes)


def unknown_recipe(name: str) -> InputError:
    """The error for a name that no recipe has. It lists the nearest ones."""
    near = get_close_matches(name, recipe_names(), n=3, cutoff=0.3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return InputError(f"there is no recipe {name!r}; {hint}`i3d models` lists all")
