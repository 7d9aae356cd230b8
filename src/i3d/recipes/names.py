"""Names of the published recipes, from the list of `i3d models`: building the recipes takes 0.3 s."""

import json
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from i3d.errors import InputError
from i3d.utils.atomic_files import ASSETS

SUFFIXES: Final = (".json", ".yaml", ".yml")  # of recipe files
FILE_SUFFIXES: Final = (*SUFFIXES, ".py")  # and configs of MMAction2


@lru_cache(maxsize=1)
def recipe_names() -> tuple[str, ...]:
    """The names of all recipes, and older names of the same."""
    rows = json.loads((ASSETS / "model_zoo.json").read_text(encoding="utf-8"))["recipes"]
    return tuple(name for row in rows for name in (row["name"], *row["aliases"]))


def unknown_recipe(name: str) -> InputError:
    """The error for a name that no recipe has. It lists the nearest ones."""
    near = get_close_matches(name, recipe_names(), n=3, cutoff=0.3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return InputError(f"there is no recipe {name!r}; {hint}`i3d models` lists all")
