"""The rule of output files: a command replaces no file that it did not itself write, unless --force is given.

An option that names a file to write has an `OutputFile` among its validators. `guarded` finds these options and applies
the rule before the command runs, and locks the files while it runs.
"""

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from i3d.cli.messages import is_first_rank
from i3d.errors import InputError
from i3d.utils.outputs import check_new, check_resumable, locked_output, remove_abandoned_locks


@dataclass(frozen=True)
class OutputFile:
    """A validator: a file of this name can be written, and its name ends in one of the suffixes."""

    option: str  # empty: an argument
    suffixes: tuple[str, ...]
    is_own: Callable[[Path], bool] = lambda _: False  # such a file may be replaced: it can be drawn again at any time
    resumes: bool = False  # its resume log decides, and is locked
    or_folder: bool = False  # it may be a folder instead, which the command itself guards

    def __call__(self, _: object, path: Path | None) -> None:
        if path is None:
            return
        if not self.is_folder(path):
            more = ", or have no suffix, as that of a folder with a file for each video" if self.or_folder else ""
            check_writable(self.where(path), path, self.suffixes, more=more)
        elif path.exists() and not path.is_dir():
            raise InputError(f"{self.where(path)}: is a file; name a folder, or a file that ends in {self.endings}")

    @property
    def endings(self) -> str:
        return " or ".join(self.suffixes)

    def is_folder(self, path: Path) -> bool:
        """Whether a path names a folder: an existing one, or one without a suffix."""
        return self.or_folder and (path.is_dir() or not path.suffix)

    def where(self, path: Path) -> str:
        """The begin of a message."""
        return f"{self.option} {path}".lstrip()


@dataclass(frozen=True)
class _Value:
    """A value of a parameter, perhaps of one in a group."""

    name: str
    value: Any
    output: OutputFile | None


def check_writable(where: str, path: Path, suffixes: tuple[str, ...], *, more: str = "") -> None:
    """An InputError if a file of this name could not be written, or its name has no known format."""
    if not path.parent.is_dir():
        raise InputError(f"{where}: there is no folder {path.parent}; make it first")
    if suffixes and path.suffix.lower() not in suffixes:
        why = "a pickle can run any code when it is read; " if path.suffix in (".pkl", ".pickle", ".p") else ""
        raise InputError(f"{where}: {why}the name must end in {' or '.join(suffixes)}{more}")
    if path.is_dir():
        raise InputError(f"{where}: is a folder; choose another name")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{where}: the folder cannot be written to; check its rights")


def guarded(function: Callable[..., object]) -> Callable[..., object]:
    """The function of a command, called only if it may write its output files; they are locked meanwhile."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> object:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = list(_values(get_type_hints(function, include_extras=True), bound.arguments))
        force = any(value.value for value in values if value.name == "force")
        outputs = [(value.output, value.value) for value in values if value.output and value.value is not None]
        outputs = [(output, path) for output, path in outputs if not output.is_folder(path)]
        outputs = outputs if is_first_rank() else []  # it writes for all
        for _, path in outputs:
            remove_abandoned_locks(path)
        with ExitStack() as locks:
            for output, path in outputs:
                _check_inputs(output, path, values)
                _lock(output, path, locks, force=force)
            return function(*args, **kwargs)

    return run


def _lock(output: OutputFile, path: Path, locks: ExitStack, *, force: bool) -> None:
    if output.resumes:
        return check_resumable(output.where(path), path, force=force)
    check_new(output.where(path), path, force=force, is_own=output.is_own)
    locks.enter_context(locked_output(output.where(path), path))
    return None


def _check_inputs(output: OutputFile, path: Path, values: list[_Value]) -> None:
    """An InputError if the output is also another file of the command, even with --force."""
    for other in values:
        if other.value is path or not isinstance(other.value, str | Path):
            continue
        names_same = os.path.abspath(path) == os.path.abspath(other.value)  # noqa: PTH100 (keeps links)
        if names_same or (path.exists() and Path(other.value).exists() and path.samefile(other.value)):
            what = "another output too" if other.output is not None else "what the command reads"
            raise InputError(f"{output.where(path)}: is {what}; choose another name")


def _values(hints: dict[str, Any], arguments: dict[str, Any]) -> Iterator[_Value]:
    """All values of parameters and of the fields of their groups, one for each item of a list."""
    for name, hint in hints.items():
        if name not in arguments:  # what is returned, class variables
            continue
        value = arguments[name]
        if is_dataclass(value) and not isinstance(value, type):
            inner = {field.name: getattr(value, field.name) for field in fields(value)}
            yield from _values(get_type_hints(type(value), include_extras=True), inner)
            continue
        for item in value if isinstance(value, list | tuple) else [value]:
            yield _Value(name, item, _output_file(hint))


def _output_file(hint: Any) -> OutputFile | None:
    """The `OutputFile` among the validators of a parameter."""
    metadata = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    validators: list[Any] = []
    for part in metadata:
        given = part.validator if isinstance(part, Parameter) else ()
        validators += given if isinstance(given, tuple | list) else [given]
    return next((validator for validator in validators if isinstance(validator, OutputFile)), None)
