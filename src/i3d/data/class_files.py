"""Files of class names, in the order of their numbers: every place that takes class names reads them here.

running                                    one name a line; `1 running` in a file classInd.txt
running 0    0 running    0,running        numbers from 0 beside the names, in any order; also `0: running`
id,name                                    such a header, above numbers and names
{"running": 0}    {"0": "running"}    ["running"]      JSON
"""

import logging
import re
from pathlib import Path
from string import digits as DIGITS
from typing import Any, Final, NamedTuple

from i3d.data.labels import dataset_labels, is_class_name
from i3d.errors import InputError, quoted
from i3d.utils.text import is_json_object, is_number, line_error, parse_json, read_text, split_lines

NUMBER_HEADERS: Final = frozenset({
    "id", "index", "idx", "number", "no", "label", "class", "label_id", "class_id", "label_index", "class_index",
})  # fmt: skip
NAME_HEADERS: Final = frozenset({
    "name", "names", "label", "labels", "class", "classes", "label_name", "class_name", "action", "category",
})  # fmt: skip
UCF101_FILE: Final = "classind.txt"  # of UCF101, and of HMDB51 by MMAction2: its numbers count from 1
_SEPARATORS: Final = ",;:" + "".join(filter(str.isspace, map(chr, range(0x3001))))
log = logging.getLogger("i3d")
Line = tuple[int, str]  # its number from 1, and its text; of JSON the number is 0


def class_names(name_or_file: str) -> tuple[str, ...]:
    """Class names by the name of a public dataset (kinetics400, kinetics600, ucf101, hmdb51), or from a file."""
    path = Path(name_or_file)
    shipped = None if path.is_file() else dataset_labels(name_or_file)
    return read_labels(path) if shipped is None else shipped


def read_labels(path: Path) -> tuple[str, ...]:
    """The class names in a file of any of these forms.

    Empty lines at the end, Windows line ends and a byte order mark are ignored. An empty or repeated name, and other
    numbers than 0, 1, 2 ... are an InputError with the line.
    """
    text = read_text(path)
    is_json = path.suffix.lower() == ".json" or is_json_object(text)
    names = _in_json(path, parse_json(text, where=str(path))) if is_json else _in_lines(path, split_lines(path, text))
    if not any(name for _, name in names):
        raise InputError(f"{path}: contains no class names; write one a line")
    first: dict[str, int] = {}
    for line, name in names:
        where = f"{path}:{line}" if line else f"{path}"
        if not is_class_name(name):
            raise InputError(f"{where}: {quoted(name)}: not a class name; write one a line")
        if name in first:
            place = f"also on line {first[name]}" if line else "there twice"
            raise InputError(f"{where}: {quoted(name)}: {place}; rename one")
        first[name] = line
    return tuple(first)


def classes_file(classes: tuple[str, ...]) -> bytes:
    """The content of a file of class names, as `read_labels` reads it.

    Numbers follow the names after a tab, which no name contains, if a name begins or ends with a digit, or the first
    ones look like a header.
    """
    with_numbers = _looks_like_header(classes[0]) or any(name[:1].isdigit() or name[-1:].isdigit() for name in classes)
    lines = (f"{name}\t{number}\n" if with_numbers else f"{name}\n" for number, name in enumerate(classes))
    return "".join(lines).encode()


def _in_lines(path: Path, lines: list[str]) -> list[Line]:
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    while numbered and not numbered[-1][1]:
        numbered.pop()
    if not numbered or _after_tab(numbered[0][1]) or not _is_header(path, numbered[0][1]):
        return _by_numbers(path, numbered) or numbered
    names = _by_numbers(path, numbered[1:])
    if names is None:
        raise line_error(path, 1, lines[0], "a header of numbers and names, which not every line has; write both")
    return names


def _is_header(path: Path, line: str) -> bool:
    """Whether a line is `id,name`. A header of other columns is an InputError."""
    fields = _header_fields(line)
    if len(fields) == 1 and path.suffix.lower() in (".csv", ".tsv") and fields[0] in NAME_HEADERS:
        raise line_error(path, 1, line, "a header, and no class name; remove the line")
    is_both = _looks_like_header(line)
    if is_both and len(fields) > 2 and "," in line:
        raise line_error(path, 1, line, "more columns than numbers and names; remove the others")
    return is_both and len(fields) == 2


def _looks_like_header(line: str) -> bool:
    """Whether a line has the name of a column of numbers beside that of a column of names."""
    fields = set(_header_fields(line))
    return any(fields & NAME_HEADERS - {number} for number in fields & NUMBER_HEADERS)


def _header_fields(line: str) -> list[str]:
    return [field.strip('"').lower() for field in re.split(r"[\s,;]+", line)]


class _Numbered(NamedTuple):
    """A line with a class number beside the name."""

    number: int
    between: str
    name: str


def _after_tab(text: str) -> _Numbered | None:
    """`name<TAB>number`."""
    name, tab, number = text.rpartition("\t")
    return _Numbered(int(number), tab, name) if is_number(number) and name and name[-1] != "\t" else None


def _behind(text: str) -> _Numbered | None:
    """`name number`, with separators between. From the right, as lines may be long."""
    head = text.rstrip(DIGITS)
    name, number = head.rstrip(_SEPARATORS), text[len(head) :]
    return _Numbered(int(number), head[len(name) :], name) if is_number(number) and name and name != head else None


def _before(text: str) -> _Numbered | None:
    """`number name`, `number. name`, `number) name`, with separators between."""
    behind = text.lstrip(DIGITS)
    number = text[: len(text) - len(behind)]
    rest = behind[1:] if behind[:1] in (".", ")") else behind
    name = rest.lstrip(_SEPARATORS)
    if not is_number(number) or not name or name == rest:
        return None
    return _Numbered(int(number), behind[: len(behind) - len(name)], name)


def _by_numbers(path: Path, lines: list[Line]) -> list[Line] | None:
    """The names in the order of the numbers beside them; None: there are no numbers."""
    forms = [_after_tab] if all(_after_tab(text) for _, text in lines) else [_behind, _before]
    readings, others = [], []
    for form in forms:
        matches = [form(text) for _, text in lines]
        pairs = [(match.number, match.name) for match in matches if match is not None]
        pairs = pairs if form is _after_tab else [(number, _unquoted(name)) for number, name in pairs]
        has_separators = any(match.between.strip(" ") for match in matches if match is not None)
        if len({name for _, name in pairs}) < len(pairs) and not has_separators:
            continue  # class 0, class 1 ... are names
        in_order = sorted(number for number, _ in pairs)
        from_1 = path.name.lower() == UCF101_FILE and in_order[:1] == [1]
        if len(pairs) == len(lines) and in_order == list(range(from_1, len(lines) + from_1)):
            if from_1:
                log.info("%s: its numbers count from 1, the labels of a list from 0", path)
            by_number = sorted(zip(pairs, lines, strict=True))
            readings.append([(line, name) for (_, name), (line, _) in by_number])
        else:
            others.append([None if match is None else match.number for match in matches])
    is_mmaction2 = all(re.fullmatch(r"\d+ +\d+", text) for _, text in lines)  # of classes named by numbers
    if len(readings) == 2 and readings[0] != readings[1] and not is_mmaction2:
        raise InputError(f"{path}: numbers stand before and behind the names; write `name number` with a tab between")
    for numbers in others if not readings else ():
        _check_numbers(path, lines, numbers)
    return readings[0] if readings else None


def _check_numbers(path: Path, lines: list[Line], numbers: list[int | None]) -> None:
    """An InputError if numbers are beside all names, but not 0, 1, 2 ..., or only beside most of them."""
    if None not in numbers and len(lines) > 1:
        what = f"the numbers beside the names must be 0 to {len(lines) - 1}, each once"
        raise InputError(f"{path}: {what}; correct them, or write names alone")
    known = {number for number in numbers if number is not None and number <= len(lines)}
    if len(known) >= 2 and len(known) * 3 >= len(lines) and None in numbers:
        line, text = lines[numbers.index(None)]
        raise line_error(path, line, text, "has no class number, other lines have; number all names, or none")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if len(name) > 2 and name[0] == name[-1] == '"' else name


def _in_json(path: Path, content: Any) -> list[Line]:
    if isinstance(content, list) and content and all(isinstance(name, str) for name in content):
        return [(0, name) for name in content]
    pairs = list(content.items()) if isinstance(content, dict) else []
    readings = [
        [name for _, name in sorted((int(number), name) for number, name in reading)]
        for reading in ([(value, key) for key, value in pairs], pairs)
        if sorted(str(number) for number, _ in reading) == sorted(map(str, range(len(pairs))))
        and all(type(number) in (int, str) and isinstance(name, str) for number, name in reading)
    ]
    if not pairs or not readings:
        raise InputError(f"{path}: not classes numbered from 0; give {{name: number, ...}}")
    if len(readings) == 2 and readings[0] != readings[1]:
        raise InputError(f"{path}: names and numbers are both numbers in quotes; give {{name: number}} without quotes")
    return [(0, name) for name in readings[0]]
