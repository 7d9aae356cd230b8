"""Arguments of the wrong type, from Python, are an InputError that names the argument and what it takes.

pydantic's `validate_call` is no substitute: see docs/dependencies.md.
"""

import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache, wraps
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from i3d.errors import InputError, check_not_empty, quoted

P = ParamSpec("P")
R = TypeVar("R")
WORDS: Final[dict[Any, str]] = {
    str: "a text", int: "an integer", float: "a number", bool: "True or False", types.NoneType: "None",
    os.PathLike: "a path",
}  # fmt: skip
PLURALS: Final[dict[Any, str]] = {str: "texts", int: "integers", float: "numbers", bytes: "bytes", Path: "paths"}


def checks_types(function: Callable[P, R]) -> Callable[P, R]:
    """Before each call, check the arguments by their annotations: texts, paths, numbers, choices, classes.

    So are the items of sequences and mappings of these. A bool is no number and a text is no sequence. Arguments with
    any other annotation (callables, iterables, arrays) are not checked.
    """
    hints = cache(lambda: get_type_hints(function))  # at the first call: the import stays fast
    parameters = signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = parameters.bind(*args, **kwargs).arguments
        for name, hint in hints().items():
            if name in given and parameters.parameters[name].kind is not parameters.parameters[name].VAR_KEYWORD:
                check_type(name, given[name], hint)
        return function(*args, **kwargs)

    return checked


def check_fields(settings: Any) -> None:
    """The same for the fields of a dataclass, in its `__post_init__`."""
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        check_type(field.name, getattr(settings, field.name), hints[field.name])


def check_type(name: str, value: object, hint: Any) -> None:
    """An InputError if a value is not of the type that an annotation names."""
    if _fits(value, hint):
        return
    check_not_empty(**{name: value})
    kinds = _kinds(hint)
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if choices and isinstance(value, str):
        raise InputError(f"{name} {value!r}: is not one of {', '.join(choices)}")
    words = " or ".join(map(_words, kinds))
    raise InputError(f"{name}: {quoted(value)} is of type {type(value).__name__}; give {words}")


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: object, hint: Any) -> bool:
    return any(_fits_one(value, kind) for kind in _kinds(hint))


def _fits_one(value: Any, kind: Any) -> bool:
    """Whether a value is of a type that is no union; True for types that are not known here."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin in (Sequence, list, tuple):
        return _is_sequence(value) and _fit_items(value, inner)
    if origin in (Mapping, dict):
        return isinstance(value, Mapping) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if kind is bool:
        return isinstance(value, bool) or _is_boolean_scalar(value)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if origin is os.PathLike:
        return isinstance(value, os.PathLike)
    is_class = origin is None and isinstance(kind, type) and not getattr(kind, "_is_protocol", False)
    return isinstance(value, kind) if is_class else True


def _is_sequence(value: Any) -> bool:
    """A vector of NumPy or PyTorch is one too."""
    is_vector = getattr(value, "ndim", None) == 1
    return is_vector or (isinstance(value, Sequence) and not isinstance(value, str | bytes))


def _fit_items(value: Any, inner: tuple[Any, ...]) -> bool:
    if len(inner) == 1 or inner[1:] == (...,):
        return all(_fits(item, inner[0]) for item in value)
    return len(value) == len(inner) and all(map(_fits, value, inner))


def _is_boolean_scalar(value: Any) -> bool:
    """A bool of NumPy, which this module does not import: it takes a tenth of a second."""
    return getattr(getattr(value, "dtype", None), "kind", "") == "b" and getattr(value, "ndim", 1) == 0


def _words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin in (Sequence, list, tuple):
        number = "" if len(inner) == 1 or ... in inner else f"{len(inner)} "
        return f"a sequence of {number}{_plural(inner[0])}"
    if origin in (Mapping, dict):
        return f"a mapping of {_plural(inner[0])} to {_plural(inner[1])}"
    return WORDS.get(origin or kind) or f"one of type {getattr(kind, '__name__', kind)}"


def _plural(hint: Any) -> str:
    return PLURALS.get(hint) or getattr(hint, "__name__", None) or str(hint).replace("typing.", "")
