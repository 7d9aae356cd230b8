"""YAML for settings: plain data, numbers of YAML 1.2, no duplicate keys, no aliases."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import yaml

from i3d.recipes.mmaction2.table import Table

PLAIN_TAGS: Final = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (*name); write the value itself")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        if repeated := next((key for key in keys if keys.count(key) > 1), None):
            raise ValueError(f"{repeated} is there twice, in line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 takes 1e-3 for a text, 1:30 for 90 and 2026-01-01 for a date.
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[1] in ("null", "bool", "merge")]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


@contextmanager
def _loading(text: str) -> Iterator[_Loader]:
    """A loader of a text, whose errors become a ValueError of one line."""
    try:
        loader = _Loader(text)
        try:
            yield loader
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"{getattr(error, 'problem', None) or error}{line}") from error


def read_yaml(text: str) -> Any:
    """The data in a YAML text. Anything but plain data is a ValueError of one line."""
    with _loading(text) as loader:
        return loader.get_single_data()


def read_yaml_table(text: str, where: str) -> Table:
    """The data in a YAML text, with the place of each key as `where:line`. A ValueError as of `read_yaml`.

    A key may be there twice with the same value, as in configs of the MindSpore port.
    """
    with _loading(text) as loader:
        table = _table_of(loader, loader.get_single_node(), where)
    if not isinstance(table, Table):
        raise ValueError("it has no keys")
    return table


def _table_of(loader: _Loader, node: Any, where: str) -> Any:
    if node is not None and node.tag not in PLAIN_TAGS:
        raise ValueError(f"{node.tag} is not plain data, in line {node.start_mark.line + 1}")
    if isinstance(node, yaml.SequenceNode):
        return [_table_of(loader, item, where) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return None if node is None else loader.construct_object(node)
    table = Table()
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        value = _table_of(loader, value_node, where)
        if key in table and table[key] != value:
            raise ValueError(f"{key} is there twice with other values, in line {line}")
        table[key] = value
        table.places[key] = f"{where}:{line}"
    return table
