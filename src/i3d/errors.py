"""The errors that a user can cause. Each message is one line: what, which file or value, and what to do next."""

from collections.abc import Iterable, Sequence
from encodings import unicode_escape  # noqa: F401  `printable` works without another open file
from typing import Final

ASKS_UNIT: Final = "are these"  # how the question for the unit of a time begins


class I3DError(Exception):
    """Base of every error that the toolkit raises for bad input; its text is one printable line."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class InputError(I3DError):
    """An argument, an option or a list of inputs cannot be used (exit code 2)."""


class VideoError(I3DError):
    """One video cannot be read: the message names the file, the cause and the next step (exit code 3).

    >>> str(VideoError("clip.mp4", "the file is empty (0 bytes)", "copy or download it again"))
    'clip.mp4: the file is empty (0 bytes); copy or download it again'
    """

    def __init__(self, name: str, why: str, todo: str) -> None:
        super().__init__(f"{name}: {why}; {todo}")
        self.name, self.why, self.todo = name, why, todo

    def __reduce__(self) -> tuple[type["VideoError"], tuple[str, str, str]]:
        return type(self), (self.name, self.why, self.todo)


class WeightsError(I3DError):
    """A weights file is damaged or does not fit the network that was asked for."""


def doubt_units(reasons: Iterable[str]) -> str:
    """What to check where parts were refused for the unit of their times: other parts of the list were read; or ""."""
    num_asked = sum(ASKS_UNIT in reason for reason in reasons)
    if not num_asked:
        return ""
    refused = f"{counted(num_asked, 'part of a video was', 'parts of videos were')} refused for the unit of the times"
    return f"{refused}; parts with smaller numbers were read as seconds: check the unit of the whole list"


def check_not_empty(**values: object) -> None:
    """An InputError for an empty name or path, as that of an unset variable: as a path it is the current folder."""
    for name, value in values.items():
        if isinstance(value, str | bytes) and not value:
            raise InputError(f"{name}: is empty; give a value")


def printable(name: str) -> str:
    """`name` with line ends, escapes and undecodable bytes made visible, so that it stays on one line.

    >>> printable("a\\nb\\x1b[31m")
    'a\\\\nb\\\\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)


def is_utf8(name: str) -> bool:
    """Whether a file name is text; one that is not has surrogates for its bytes, and fits in no text file."""
    return name.isprintable() or not any("\ud800" <= c <= "\udfff" for c in name)


def quoted(value: object, *, most: int = 120) -> str:
    """A value for a message: in quotes, on one line, at most `most` characters."""
    return f"'{printable(str(value)[:most])}'"


def abridged(names: Sequence[str], most: int) -> str:
    """The first `most` names for a message, and " ..." if there are more."""
    return ", ".join(names[:most]) + " ..." * (len(names) > most)


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 clip, 2,000 clips."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def first_line(error: Exception) -> str:
    """The first line of the message of a library's error, or its type if it has none."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    return printable(next(iter(str(error).splitlines()), "")[:200]) or type(error).__name__
