"""A part of a config whose every key must be read or ignored by name."""

from difflib import get_close_matches
from typing import Any, TypeVar, cast

from i3d.errors import InputError, printable, quoted
from i3d.recipes.mmaction2.table import Table

T = TypeVar("T")
KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "True or False",
    list: "a list",
    Table: "a dict",
}


class Section:
    """A dict of a config. Keys are read one by one; `close` refuses all others, with their lines."""

    def __init__(self, table: Table, path: str, where: str) -> None:
        self.table, self.path, self._where = table, path, where
        self._taken: set[str] = set()
        self._parts: dict[str, list[Section]] = {}

    def __contains__(self, key: str) -> bool:
        return self.table.get(key) is not None

    @property
    def kind(self) -> str:
        """Its `type`, without a package prefix."""
        return self.take("type", "").rsplit(".", 1)[-1]

    def choose(self, what: str, *kinds: str, default: str = "") -> str:
        """Its `type`, which must be one of `kinds`; the default, if there is one, where it has none."""
        kind = self.kind or default
        if kind not in kinds:
            raise self.unknown(what, ", ".join(kinds))
        return kind

    def take(self, key: str, default: T) -> T:
        """The value of a key, which must have the type of the default; the default if the key is missing or None."""
        self._taken.add(key)
        value = self.table.get(key)
        if value is None:
            return default
        wanted = type(default)
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise self.wrong(key, f"must be {KINDS[wanted]}")
        return value

    def fields(self, **defaults: Any) -> dict[str, Any]:
        """The values of several keys, each as `take` reads it."""
        return {key: self.take(key, default) for key, default in defaults.items()}

    def any(self, key: str) -> Any:
        """The value of a key, whatever it is, or None."""
        self._taken.add(key)
        return self.table.get(key)

    def only(self, key: str, *allowed: Any, why: str = "") -> None:
        """Check a key whose only supported values are `allowed`."""
        value = self.any(key)
        if key in self.table and not any(value == one and type(value) is type(one) for one in allowed):
            words = " or ".join(quoted(one) if isinstance(one, str) else str(one) for one in allowed)
            raise self.wrong(key, why or f"must be {words} here")

    def only_class(self, key: str, *names: str) -> None:
        """Check a key that names a class, with or without its package; only `names` are supported."""
        if self.take(key, names[0]).rsplit(".", 1)[-1] not in names:
            raise self.wrong(key, f"must be {' or '.join(map(quoted, names))} here")

    def ignore(self, *keys: str) -> None:
        """Accept keys that do not change what is computed."""
        self._taken.update(keys)

    def numbers(self, key: str, count: int | None = None) -> list[float]:
        """A list of numbers, [] if the key is missing."""
        value = self.any(key)
        if value is None:
            return []
        if isinstance(value, list) and all(type(v) in (int, float) for v in value) and count in (None, len(value)):
            return cast(list[float], value)
        raise self.wrong(key, f"must be {'' if count is None else f'{count} '}numbers")

    def pair(self, key: str, default: tuple[float, float] | None = None) -> tuple[float, float]:
        """Two numbers; without a default they are required."""
        pair = self.numbers(key, 2) or default
        if pair is None:
            raise self.wrong(key, "is missing", "give its two numbers")
        return pair[0], pair[1]

    def sub(self, key: str) -> "Section":
        """A nested dict; an empty one if the key is missing."""
        value = self.any(key)
        if value is not None and not isinstance(value, Table):
            raise self.wrong(key, "must be a dict")
        if key not in self._parts:
            self._parts[key] = [Section(value or Table(), f"{self.path}.{key}".strip("."), self.place(key))]
        return self._parts[key][0]

    def each(self, key: str) -> list["Section"]:
        """The dicts of a list; a single dict counts as a list of one."""
        value = self.any(key)
        items = value if isinstance(value, list) else [value or Table()]
        if not all(isinstance(item, Table) for item in items):
            raise self.wrong(key, "must be a list of dicts")
        places = [item.places.get("type", self.place(key)) for item in items]
        names = [f"{self.path}.{key}[{number}]".strip(".") for number in range(len(items))]
        self._parts[key] = [Section(*part) for part in zip(items, names, places, strict=True)]
        return self._parts[key] if value else []

    def close(self) -> None:
        """Refuse keys that were not read, here and in the parts that were. None counts as missing."""
        for key, value in self.table.items():
            if key not in self._taken and value is not None:
                near = get_close_matches(key, self._taken, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(self._taken)) or 'none'}"
                raise self.wrong(key, "is not supported", hint)
        self.close_parts()

    def close_parts(self) -> None:
        """Refuse keys that were not read in the parts that were."""
        for part in [part for parts in self._parts.values() for part in parts]:
            part.close()

    def place(self, key: str) -> str:
        """`file:line` of a key."""
        return self.table.places.get(key) or self._where

    def wrong(self, key: str, why: str, todo: str = "change or remove it") -> InputError:
        value = self.table.get(key)
        is_missing = value is None and why.startswith("is missing")
        shown = "" if isinstance(value, (Table, list)) or key not in self.table or is_missing else f" = {quoted(value)}"
        name = printable(f"{self.path}.{key}".strip("."))
        return InputError(f"{self.place(key)}: {name}{shown} {why}; {todo}")

    def unknown(self, what: str, allowed: str) -> InputError:
        """The error for an unsupported `type`."""
        shown = quoted(self.table.get("type", "no type"))
        return InputError(f"{self.place('type')}: {what} {shown} is not supported; supported: {allowed}")
