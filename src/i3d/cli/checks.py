"""Checks of paths before any work: what cannot be read, or could not be written, is refused at once."""

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from i3d.cli.usage import STDIN, STDIN_WORD
from i3d.errors import InputError

Number = TypeVar("Number", int, float)


def check_videos(names: Sequence[str]) -> list[str]:
    """The names of videos as a user writes them; an InputError if none of them leads anywhere."""
    videos = [STDIN if name == STDIN_WORD else name for name in names]
    if not any(map(_leads_somewhere, videos)):
        what = "no file matches this pattern; check it" if glob.has_magic(videos[0]) else "no such file; check the path"
        raise InputError(f"{videos[0]}: {what}")
    return videos


def _leads_somewhere(name: str) -> bool:
    if name == STDIN or "%" in name or os.path.lexists(name):  # frames_%05d.jpg is a pattern of one video
        return True
    return glob.has_magic(name) and any(True for _ in glob.iglob(name, recursive=True))  # noqa: PTH207


def exists(option: str = "") -> Callable[[object, Path | None], None]:
    """A validator: there is such a list, file or folder. Options that are not given are validated too: None."""

    def check(_: object, source: Path | None) -> None:
        if source is not None and not source.exists() and "%" not in str(source):
            where = f"{option} {source}".lstrip()  # arguments have no option
            raise InputError(f"{where}: no such file or folder; check the path")

    return check


def writable(option: str, *suffixes: str) -> Callable[[object, Path | None], None]:
    """A validator: a file of this name can be written, and its name ends in one of the suffixes."""
    return lambda _, path: check_output(option, path, suffixes)


def check_output(option: str, path: Path | None, suffixes: Sequence[str] = ()) -> None:
    """An InputError if a file of this name could not be written, or its name has no known format."""
    if path is None:
        return
    where = f"{option} {path}".lstrip()
    if not path.parent.is_dir():
        raise InputError(f"{where}: there is no folder {path.parent}; make it first")
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{where}: the name must end in {' or '.join(suffixes)}")
    if suffixes and path.is_dir():
        raise InputError(f"{where}: is a folder; choose another name")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{where}: the folder cannot be written to; check its rights")


def check_new(option: str, path: Path | None, *, force: bool) -> None:
    """An InputError if a file exists and must not be replaced."""
    if path is not None and path.exists() and not force:
        where = f"{option} {path}".lstrip()
        raise InputError(f"{where}: the file exists; choose another name, or replace it with --force")


def check_not_source(source: Path, out: Path, option: str = "--out") -> None:
    """An InputError if the output would replace its own input."""
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{option} {out}: is the source itself; choose another name")


def refuse(given: Mapping[str, object], why: str) -> None:
    """An InputError for the first option that is given: neither None nor False."""
    for option, value in given.items():
        if value is not None and value is not False:
            raise InputError(f"{option}{why}")


def numbers(option: str, text: str, kind: type[Number]) -> list[Number]:
    """The numbers of a list with commas."""
    try:
        return [kind(number) for number in text.split(",")]
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(f"{option} {text!r}: write {what} with commas, such as 1,5") from error


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
        return None if text == "native" else float(text)
    except ValueError as error:
        raise InputError(f"--fps {text!r}: write a number, or native") from error
