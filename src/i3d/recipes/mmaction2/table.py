"""A part of a config as a dict that knows its lines."""

from collections.abc import Mapping
from typing import Any


class Table(dict[str, Any]):
    """A dict of a config that knows the place of each key as `file:line`."""

    def __init__(self, values: Mapping[str, Any] | None = None, places: Mapping[str, str] | None = None) -> None:
        super().__init__(values or {})
        self.places: dict[str, str] = dict(places or {})
