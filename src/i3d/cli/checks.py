"""Checks of names and paths before any work, without PyTorch: what cannot be used is refused at once."""

import csv
import glob
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

from i3d import recipes
from i3d.cli.limits import RATE, Within
from i3d.cli.usage import STDIN, STDIN_WORD
from i3d.errors import InputError
from i3d.recipes.names import FILE_SUFFIXES, recipe_names, unknown_recipe
from i3d.utils.folders import may_exist, paths_matching
from i3d.utils.remote import as_address, why_no_file
from i3d.weights.pretrained import DEFAULT

Number = TypeVar("Number", int, float)

TAKE_NONE: Final = ("--init", "--average-clips", "--balance", "--near-duplicates", "--padding")  # have such a choice


def check_videos(names: Sequence[str]) -> list[str]:
    """The names of videos as a user writes them; an InputError if none of them leads anywhere."""
    videos = [STDIN if name == STDIN_WORD else name for name in names]
    for name in videos:
        check_file_name(name)
    if not any(map(_leads_somewhere, videos)):
        what = "no file matches this pattern; check it" if glob.has_magic(videos[0]) else "no such file; check the path"
        raise InputError(f"{videos[0]}: {what}")
    return videos


def check_file_name(name: str, where: str = "") -> None:
    """An InputError with the next step for an address, a live stream or a camera."""
    if why := why_no_file(name):
        raise InputError(f"{(where or name).replace(name, as_address(name))}: {why} (`i3d help topics`)")


def _leads_somewhere(name: str) -> bool:
    if name == STDIN or "%" in name or may_exist(name):  # frames_%05d.jpg is a pattern of one video
        return True
    return glob.has_magic(name) and bool(paths_matching(name))


def check_values(words: Sequence[str]) -> None:
    """An InputError for an empty value, and for "none" of most options."""
    check_no_empty(words)
    for before, word in pairwise(("", *words)):
        option, _, value = word.partition("=") if word.startswith("--") else (before, "", word)
        is_none = value.lower() in ("none", "null") and not Path(value).exists()  # for cyclopts as if it were not given
        if is_none and option.startswith("-") and option not in TAKE_NONE:
            raise InputError(f"{option} {value}: is not a value of this option; leave it out for the default")


def check_no_empty(words: Sequence[str]) -> None:
    """An InputError for an empty value, as that of an unset variable of the shell."""
    for before, word in pairwise(("", *words)):
        if not word.strip() or re.fullmatch(r"--[\w-]+=\s*", word):
            argument = f"the argument after {before!r}" if before else "the first argument"
            name = word.partition("=")[0] if word.startswith("--") else before if before.startswith("-") else argument
            raise InputError(f"{name}: the value is empty; write one, or leave it out")


def exists(option: str = "", names: Sequence[str] = ()) -> Callable[[object, Path | str | None], None]:
    """A validator: one of the names, or an existing file or folder. Options that are not given are None."""

    def check(_: object, source: Path | str | None) -> None:
        if source is not None:
            check_file_name(str(source), f"{option} {source}".lstrip())
        if source is not None and source not in names and not Path(source).exists() and "%" not in str(source):
            where = f"{option} {source}".lstrip()  # arguments have no option
            other = f", and none of {', '.join(names)}" if names else ""
            raise InputError(f"{where}: no such file or folder{other}; check the path")

    return check


def no_file(option: str) -> Callable[[object, Path | None], None]:
    """A validator: a folder, which need not exist."""

    def check(_: object, path: Path | None) -> None:
        if path is not None and path.exists() and not path.is_dir():
            raise InputError(f"{option} {path}: is a file; name a folder")

    return check


def accepted(check: Callable[[str], object], option: str = "", *others: str) -> Callable[[object, str | None], None]:
    """A validator: one of the other words, or a value for which `check` raises no InputError."""

    def validate(_: object, value: str | None) -> None:
        try:
            if value is not None and value not in others:
                check(value)
        except InputError as error:
            raise InputError(f"{option}: {error}".removeprefix(": ")) from error

    return validate


def check_network(name: str, recipe: str | None) -> None:
    from i3d.weights.untrained import recipe_without_weights  # it builds all recipes, which takes a moment

    recipe_without_weights(name, recipe)


def check_recipe(name: str) -> None:
    if Path(name).suffix.lower() in FILE_SUFFIXES:
        recipes.load_recipe(name, for_training=False)  # `train` reads it again, whole
    elif name not in recipe_names():
        raise unknown_recipe(name)


def check_protocols(names: str) -> None:
    """An InputError if one of the names is of no protocol, even of a network of windows."""
    for name in names.split(","):
        recipes.with_protocol(recipes.named_recipe(DEFAULT), name.strip())


def refuse(given: Mapping[str, object], why: str) -> None:
    """An InputError for the first option that is given: neither None nor False."""
    for option, value in given.items():
        if value is not None and value is not False:
            raise InputError(f"{option}{why}")


@contextmanager
def flags_named(*names: str, **flags: str) -> Iterator[None]:
    """Within it, an InputError that begins with the name of an option in Python begins with its flag instead.

    `names` become flags with dashes, `flags` have others: hide_frames -> --hide-frames.
    """
    flags = {name: f"--{name.replace('_', '-')}" for name in names} | flags
    try:
        yield
    except InputError as error:
        name = re.split("[ :]", str(error), maxsplit=1)[0]
        if name not in flags:
            raise
        raise InputError(flags[name] + str(error).removeprefix(name)) from error


def numbers(option: str, text: str, kind: type[Number], allowed: Within) -> list[Number]:
    """The numbers of a list with commas, each of which must be allowed."""
    try:
        values = [kind(number) for number in text.split(",")]
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(f"{option} {text!r}: write {what} with commas, such as 1,5") from error
    for value in values:
        try:
            allowed(None, value)
        except ValueError as error:
            raise InputError(f"{option} {value:g}: {error}") from error
    return values


def comma_names(option: str, text: str) -> list[str]:
    """The names of a list with commas, as a row of CSV: a name that has a comma stands in double quotes.

    'run,"turn left, slowly"' -> run; turn left, slowly
    """
    try:
        (row,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:  # a line end makes two rows
        todo = f"""write {option} 'a,"b, c"', with quotes around a name that has a comma"""
        raise InputError(f"{option} {text!r}: {error}; {todo}") from error
    return [name.strip() for name in row]


def choices(option: str, text: str, allowed: Sequence[str]) -> list[Any]:
    """The words of a list with commas, each of which must be allowed."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in allowed:
            raise InputError(f"{option} {word!r}: is not one of {', '.join(allowed)}")
    return words


def frame_rate(text: str) -> float | None:
    """A number of frames a second; None: native."""
    try:
        fps = None if text == "native" else float(text)
        RATE(None, fps)
    except ValueError as error:
        raise InputError(f"--fps {text!r}: write a number {RATE}, or native") from error
    return fps
