"""Parse MMAction2's configs, which are Python files, as data; they are never executed.

Supported are literals, `dict(...)`, `range(...)`, names assigned before, `+` and other arithmetic of them, f-strings
of them, `_base_` with `_delete_=True`, `{{_base_.name}}` and `_base_.name`, `{{ fileDirname }}` and its like.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError, first_line, quoted
from i3d.recipes.mmaction2.table import Table
from i3d.recipes.mmaction2.to_config import published_config

MAX_TEXT: Final = 64_000  # MMAction2's own have some 10,000 letters
MAX_SIZE: Final = 20_000  # of a string or list that is concatenated
MAX_BASES: Final = 32
HUGE: Final = 10**18  # larger than any number in a config
BASE: Final = "_base_"
DELETE: Final = "_delete_"
FILE_WORDS: Final = re.compile(r"\{\{\s*(fileDirname|fileBasename|fileBasenameNoExtension|fileExtname)\s*\}\}")
ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


class _NotDataError(ValueError):
    """An expression that is more than data."""

    def __init__(self, node: ast.AST, what: str) -> None:
        super().__init__(what)
        self.line = getattr(node, "lineno", 1)


def read_config(path: Path) -> Table:
    """The variables of a config and of its bases, merged. What is not understood is an InputError `file:line: ...`."""
    return _read(path, "", [])


def assignments(text: str, where: str) -> tuple[Table, dict[str, str]]:
    """The variables of the config text that MMAction2 saves in a checkpoint; why others are not read, by name.

    They are more than data. A text that is not Python is an InputError.
    """
    values, more = Table(), dict[str, str]()
    try:
        statements = _statements(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{where}: not a config in Python ({first_line(error)})") from error
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                try:
                    values[name] = _data(value, values, where)
                except (_NotDataError, RecursionError, TypeError) as error:
                    values.pop(name, None)
                    more[name] = first_line(error)
    return values, more


def _statements(text: str) -> list[ast.stmt]:
    if len(text) > MAX_TEXT:
        raise ValueError(f"{len(text):,} letters are more than a config may have")
    return ast.parse(text).body


def _read(path: Path, asked_by: str, above: list[Path]) -> Table:
    resolved = path.resolve()
    if resolved in above or len(above) >= MAX_BASES:
        raise InputError(f"{asked_by}: {BASE} {path}: is a config that leads back to itself; remove one of them")
    try:
        if not path.is_file():
            lead = f"{asked_by}: {BASE} " if asked_by else ""
            raise InputError(f"{lead}{path}: there is no such file; check the path")
        statements = _statements(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except SyntaxError as error:
        line = error.lineno or 1
        raise InputError(f"{path}:{line}: not Python ({first_line(error)}); correct the line") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: not a config in Python ({first_line(error)})") from error
    try:
        base = _bases(path, statements, [*above, resolved])
        return merged(base, _variables(path, statements, base))
    except _NotDataError as error:
        todo = "a config is parsed and never executed: write its value out"
        raise InputError(f"{path}:{error.line}: {error}; {todo}") from None
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply for a config") from error


def _bases(path: Path, statements: list[ast.stmt], above: list[Path]) -> Table:
    """The variables of the bases; two of them must not set the same."""
    base = Table()
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == BASE:
                place = f"{path}:{statement.lineno}"
                parsed = _data(value, {}, place)
                for file in [parsed] if isinstance(parsed, str) else parsed:
                    if not isinstance(file, str) or "::" in file or not file.endswith(".py"):
                        raise _NotDataError(statement, f"{BASE} {quoted(file)}: not a .py file beside this one")
                    one = _base(path.parent, Path(file), place, above)
                    if both := base.keys() & one.keys():
                        raise _NotDataError(statement, f"two of its {BASE} files set {sorted(both)[0]!r}")
                    base = Table({**base, **one}, {**base.places, **one.places})
    return base


def _base(folder: Path, file: Path, place: str, above: list[Path]) -> Table:
    """A base; those of MMAction2's own that are not there are published recipes, by their names, or named."""
    path = folder / file
    if path.exists() or not {"_base_", "configs", "recognition"} & set(file.parts):
        return _read(path, place, above)
    is_of_i3d = file.parts[-3:-1] == ("recognition", "i3d")
    if is_of_i3d and (published := published_config(file.stem, place)) is not None:
        return published
    raise InputError(
        f"{place}: {BASE} {path}: there is no such file; check the path, copy it from MMAction2, "
        "or name a published recipe (`i3d models`) as configs/recognition/i3d/NAME.py, which needs no file"
    )


def _variables(path: Path, statements: list[ast.stmt], base: Table) -> Table:
    values = Table()
    names: dict[str, Any] = {
        BASE: base,
        "{{fileDirname}}": str(path.parent),
        "{{fileBasename}}": path.name,
        "{{fileBasenameNoExtension}}": path.stem,
        "{{fileExtname}}": path.suffix,
    }
    for statement in statements:
        match statement:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                continue
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                if name != BASE:
                    names[name] = values[name] = _data(value, names, str(path))
                    values.places[name] = f"{path}:{statement.lineno}"
            case _:
                raise _NotDataError(statement, f"{_source(statement)} is more than `name = value`")
    return values


def merged(base: Table, changes: Table) -> Table:
    """`base` with the changes, key by key as MMEngine does it; `_delete_=True` in a dict replaces the whole of it."""
    parsed = Table(base, base.places)
    for key, value in changes.items():
        before = parsed.get(key)
        if isinstance(value, Table):
            if value.get(DELETE):
                value = Table({k: v for k, v in value.items() if k != DELETE}, value.places)
            elif isinstance(before, Table):
                value = merged(before, value)
            elif key in parsed and before is not None:
                raise InputError(
                    f"{changes.places.get(key, '')}: {key}: is a dict here and none in its {BASE}; "
                    f"add {DELETE}=True to replace it"
                )
        parsed[key] = value
        parsed.places[key] = changes.places.get(key, "")
    return parsed


def _data(node: ast.expr, names: Mapping[str, Any], file: str) -> Any:
    """The value of an expression that is data; tuples become lists."""
    match node:
        case ast.Constant(value=str() as value):
            return FILE_WORDS.sub(lambda word: str(names.get("{{" + word[1] + "}}", word[0])), value)
        case ast.Constant(value=bool() | int() | float() | None as value) if value is None or abs(value) < HUGE:
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_data(item, names, file) for item in items]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _data(operand, names, file)
            if isinstance(value, (int, float)):
                return -value
        case ast.Dict(keys=keys, values=values):
            return _table([key and _data(key, names, file) for key in keys], values, names, file)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return _table([k.arg for k in keywords], [k.value for k in keywords], names, file)
        case ast.Call(func=ast.Name(id="range"), args=[_, *_] as ends, keywords=[]) if len(ends) <= 3:
            return _range(node, [_data(end, names, file) for end in ends])
        case ast.BinOp(left=left, op=op, right=right):
            return _computed(node, op, _data(left, names, file), _data(right, names, file))
        case ast.JoinedStr(values=parts):
            return "".join(_part(part, names, file) for part in parts)
        case ast.Set(elts=[ast.Set(elts=[inner])]):  # {{_base_.name}}
            return _data(inner, names, file)
        case ast.Attribute(value=ast.Name() | ast.Attribute() as value, attr=name):
            table = _data(value, names, file)
            if isinstance(table, Table) and name in table:
                return table[name]
        case ast.Subscript(value=value, slice=index):
            try:
                return _data(value, names, file)[_data(index, names, file)]
            except (LookupError, TypeError):
                pass
    raise _NotDataError(node, f"{_source(node)} is not data")


def _table(keys: list[Any], expressions: list[ast.expr], names: Mapping[str, Any], file: str) -> Table:
    """A dict; a key None is that of a `**` expression."""
    table = Table()
    for key, expression in zip(keys, expressions, strict=True):
        value = _data(expression, names, file)
        if key is None:
            if not isinstance(value, Table):
                raise _NotDataError(expression, f"** of {_source(expression)}, which is no dict")
            table.update(value)
            table.places.update(value.places)
        elif not isinstance(key, str | int):
            raise _NotDataError(expression, f"the key {quoted(key)} is no name")
        else:
            table[str(key)] = value
            table.places[str(key)] = f"{file}:{expression.lineno}"
    return table


def _range(node: ast.expr, ends: list[Any]) -> list[int]:
    """`gpu_ids = range(0, 8)`, as MMCV writes it."""
    if any(type(end) is not int for end in ends) or ends[2:] == [0]:
        raise _NotDataError(node, f"{_source(node)} is not data")
    numbers = range(*ends)
    if len(numbers[:MAX_SIZE]) == MAX_SIZE:
        raise _NotDataError(node, f"{_source(node)} is larger than anything in a config")
    return list(numbers)


def _computed(node: ast.expr, op: ast.operator, left: Any, right: Any) -> Any:
    compute = ARITHMETIC.get(type(op))
    numbers = all(isinstance(value, (int, float)) for value in (left, right))
    joined = isinstance(op, ast.Add) and isinstance(left, (str, list)) and type(left) is type(right)
    if compute is None or not (numbers or joined):
        raise _NotDataError(node, f"{_source(node)} is not data")
    try:
        value = compute(left, right)
    except ArithmeticError as error:
        raise _NotDataError(node, f"{_source(node)} cannot be computed ({error})") from None
    if len(value) > MAX_SIZE if joined else not abs(value) < HUGE:
        raise _NotDataError(node, f"{_source(node)} is larger than anything in a config")
    return value


def _part(node: ast.expr, names: Mapping[str, Any], file: str) -> str:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.FormattedValue(value=expression, conversion=-1, format_spec=None):
            value = _data(expression, names, file)
            if isinstance(value, (str, int, float)):
                return str(value)
    raise _NotDataError(node, f"{_source(node)} in an f-string is more than a name")


def _source(node: ast.AST) -> str:
    """The code of a node, short and on one line."""
    text = " ".join(ast.unparse(node).split())
    return quoted(text, most=80)
