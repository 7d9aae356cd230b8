"""Text files of users: UTF-8, with any line ends, with or without a byte order mark."""

import csv
import io
import json
import logging
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError, counted, first_line, printable, quoted

log = logging.getLogger("i3d")

MAX_LINE_CHARACTERS: Final = 65_536
MAX_BYTES: Final = 2**29
MAX_LINES: Final = 10_000_000
UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


def refuse_endless(path: Path) -> None:
    """An InputError for a pipe or a device, whose content may never end; an OSError if there is no such file."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path}: a pipe or a device, which may never end; save its content to a file first")


def read_text(path: Path) -> str:
    """The content of a text file without its byte order mark. What is not UTF-8 is an InputError with its line."""
    where = str(path)
    try:
        refuse_endless(path)
        if (num_bytes := path.stat().st_size) > MAX_BYTES:
            raise InputError(f"{where}: {num_bytes:,} bytes; a list has at most {MAX_BYTES:,}: split it")
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
    return split_lines(path, read_text(path))


def split_lines(path: Path, text: str) -> list[str]:
    """The lines of the text of a file, as `read_lines` returns them."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > MAX_LINES:
        raise InputError(f"{path}: {len(lines):,} lines; a list has at most {MAX_LINES:,}: split it")
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))
    if len(lines[longest]) > MAX_LINE_CHARACTERS:
        what = f"a line of {len(lines[longest]):,} characters; at most {MAX_LINE_CHARACTERS:,} are read"
        raise InputError(f"{path}:{longest + 1}: {what}: check the file")
    return lines


def numbered_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Those of the lines that are not blank, with their numbers from 1."""
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def clip_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Those of the lines of a list of clips, one a line, that are neither blank nor comments (`# ` begins them)."""
    return ((number, line) for number, line in numbered_lines(lines) if not line.lstrip().startswith("# "))


def line_error(path: Path, line: int, value: object, why: str) -> InputError:
    """`file:line: value: reason; next step`."""
    return InputError(f"{path}:{line}: {quoted(value)}: {why}")


def is_number(text: str) -> bool:
    """Whether a text is a whole number of at most nine ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) <= 9


def csv_records(path: Path, lines: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, columns) of the rows of a table with commas, tabs or semicolons; column names are lower case."""
    skipped = next((i for i, line in enumerate(lines) if line.strip()), None)
    if skipped is None:
        return
    header_line = lines[skipped]
    delimiter = max(",\t;", key=header_line.count)
    reader = csv.reader((line + "\n" for line in lines[skipped:]), delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader)]
        if repeated := next((name for name in header if name and header.count(name) > 1), None):
            raise line_error(path, skipped + 1, repeated, "two columns have this name; rename one")
        for fields in reader:
            line = skipped + reader.line_num
            if not "".join(fields).strip():
                continue
            if fields[0].strip().lower() == header[0] and [field.strip().lower() for field in fields] == header:
                raise line_error(path, line, delimiter.join(fields), "a repeated header; remove it")
            if len(fields) < len(header) or any(field.strip() for field in fields[len(header) :]):
                todo = f"quote fields that contain {delimiter!r}, leave empty ones empty"
                why = f"{counted(len(fields), 'field')}, the header has {len(header)}; {todo}"
                raise line_error(path, line, delimiter.join(fields), why)
            yield line, {name: field for name, field in zip(header, fields, strict=False) if name}  # "": row numbers
    except csv.Error as error:
        why = f"not a row of a table ({error}); correct the quotes"
        raise line_error(path, skipped + reader.line_num, "", why) from None


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as the text of a CSV file."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def encode_names(text: str, path: Path) -> bytes:
    """The bytes of a table with file names, for the file `path`. Names that are not UTF-8 stay as they are on disk."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        log.warning("%s: some file names are not UTF-8, and many programs refuse it; rename them", printable(str(path)))
        return text.encode("utf-8", "surrogateescape")


def group_pattern(group_by: str) -> re.Pattern[str]:
    """The regular expression of --group-by, whose first parenthesis is the name of a group."""
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise InputError(f"--group-by {group_by!r}: not a regular expression ({error}); correct it") from None
    if not pattern.groups:
        raise InputError(f"--group-by {group_by!r}: has no parentheses; put them around the name of the group")
    return pattern


def is_json_object(text: str) -> bool:
    """Whether a text begins as a JSON object does."""
    return re.match(r'\s*\{\s*"', text) is not None


def parse_json(text: str, *, where: str) -> Any:
    """Parse JSON. NaN, infinities, repeated keys and nesting too deep for Python are an InputError."""
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({first_line(error)}); correct it") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key is repeated")
    return result


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse)
