"""Text files of users: UTF-8, with any line ends, with or without a byte order mark."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from i3d.errors import InputError, quoted

MAX_LINE_CHARACTERS: Final = 65_536
MAX_BYTES: Final = 2**30
UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path) -> str:
    """The content of a text file without its byte order mark. What is not UTF-8 is an InputError with its line."""
    where = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{where}: {path.stat().st_size:,} bytes; a list has at most {MAX_BYTES:,}: split it")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); check the path and its permissions") from error
    if content.startswith(UTF16_MARKS):
        raise InputError(f"{where}:1: it is UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{where}:{line}: not UTF-8; save it as UTF-8") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without their ends (LF, CRLF or CR). A line that is too long is an InputError."""
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))
    if len(lines[longest]) > MAX_LINE_CHARACTERS:
        raise InputError(
            f"{path}:{longest + 1}: a line of {len(lines[longest]):,} characters; "
            f"at most {MAX_LINE_CHARACTERS:,} are read: check the file"
        )
    return lines


def numbered_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Those of the lines that are not blank, with their numbers from 1."""
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def line_error(path: Path, line: int, value: object, why: str) -> InputError:
    """`file:line: value: reason; next step`."""
    return InputError(f"{path}:{line}: {quoted(value)}: {why}")


def is_number(text: str) -> bool:
    """Whether a text is a whole number of at most nine ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) <= 9
