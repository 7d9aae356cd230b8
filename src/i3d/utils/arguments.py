"""Arguments of the wrong type, from Python, are an InputError that names the argument and what it takes."""

import os
import types
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache, wraps
from inspect import signature
from numbers import Integral, Real
from typing import Any, Final, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from i3d.errors import InputError, check_not_empty, quoted

P = ParamSpec("P")
R = TypeVar("R")
WORDS: Final[dict[Any, str]] = {
    str: "a text", int: "an integer", float: "a number", bool: "True or False", types.NoneType: "None",
    os.PathLike: "a path",
}  # fmt: skip


def checks_types(function: Callable[P, R]) -> Callable[P, R]:
    """Before each call, check the arguments by their annotations: texts, paths, numbers, choices, names, classes.

    A bool is no number and a text is no sequence of names. Arguments with any other annotation are not checked.
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
    """An InputError if a value is none of the kinds of a type annotation that are known here."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if not all(_is_known(kind) for kind in kinds) or any(_fits(value, kind) for kind in kinds):
        return
    check_not_empty(**{name: value})
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if choices and isinstance(value, str):
        raise InputError(f"{name} {value!r}: is not one of {', '.join(choices)}")
    words = " or ".join(map(_words, kinds))
    raise InputError(f"{name}: {quoted(value)} is of type {type(value).__name__}; give {words}")


def _is_known(kind: Any) -> bool:
    origin = get_origin(kind)
    return origin is Literal or _is_names(kind) or origin is os.PathLike or (origin is None and isinstance(kind, type))


def _is_names(kind: Any) -> bool:
    return get_origin(kind) in (Sequence, tuple, list) and set(get_args(kind)) <= {str, ...}


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if _is_names(kind):
        return isinstance(value, Sequence) and not isinstance(value, str | bytes) and {*map(type, value)} <= {str}
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, os.PathLike if get_origin(kind) is os.PathLike else kind)


def _words(kind: Any) -> str:
    if _is_names(kind):
        return "a sequence of texts"
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    return WORDS.get(get_origin(kind) or kind) or f"one of type {kind.__name__}"
