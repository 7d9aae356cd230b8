"""MMAction2's lists, one clip a line.

    videos         some dir/drinking (31).mp4 1           path, label
    frame folders  abseiling/k7 250 1                     folder, number of frames, label
    with offset    abseiling/k7 30 250 1                  folder, first frame, number of frames, label
    multi-label    clip.mp4 3 17 42                       path, labels

Fields are separated by blanks, tabs or commas. Paths may contain blanks: numbers are read from the right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from i3d.data.formats.inputs import VIDEO_SUFFIXES
from i3d.data.rows import Label, Rows
from i3d.errors import InputError, printable, quoted
from i3d.utils.text import is_number

MAX_INSPECTED: Final = 50  # lines from which the kind of a list is recognised
_SUFFIXES: Final = "|".join(sorted((re.escape(suffix) for suffix in VIDEO_SUFFIXES), key=len, reverse=True))
_VIDEO: Final = re.compile(rf"(.*\S(?:{_SUFFIXES}))(?:[ \t,]+(.*))?", re.IGNORECASE | re.DOTALL)
_WHOLE: Final = re.compile(r"-?\d{1,9}", re.ASCII)
_SEPARATOR: Final = re.compile(r"([ \t,]+)")
Line = tuple[int, str]


def read_list(
    path: Path, lines: list[str], *, root: Path, frames: bool | None, with_offset: bool, multi_label: bool
) -> Rows:
    """The clips of a list. `frames`: it lists folders of frames; None: recognised by its lines and the disk."""
    numbered = [
        (n, text) for n, line in enumerate(lines, start=1) if (text := line.strip()) and not text.startswith("# ")
    ]
    if frames is None:
        frames = with_offset or _names_folders(numbered, root)
        with_offset = with_offset or (frames and not multi_label and _has_offsets(numbered, root))
    rows = Rows(is_frames=frames)
    parse = _frame_folder(root, rows, with_offset=with_offset, multi_label=multi_label) if frames else _video(rows)
    for number, text in numbered:
        if not parse(number, text):
            expected = ("folder frames label", "folder first frames label")[with_offset] if frames else "path label"
            raise InputError(
                f"{printable(str(path))}:{number}: {quoted(text)}: not a line of the form `{expected}`; "
                "correct it, or pass --list-format if this is another kind of list"
            )
    return rows


def _names_folders(lines: list[Line], root: Path) -> bool:
    """Whether the paths are folders of frames: not if they end like a video, or are files."""
    for _, text in lines[:MAX_INSPECTED]:
        if _VIDEO.fullmatch(text) and not (root / text.split()[0]).is_dir():
            return False
        _, numbers = _tail_numbers(text)
        if not numbers:
            if _named_after_counts(text, 1) is not None:
                return True
            continue
        for in_name in range(len(numbers)):
            candidate = root / _folder(text, len(numbers) - in_name)
            if candidate.is_dir():
                return True
            if candidate.is_file():
                return False
        if len(numbers) >= 2:
            return True
    return False


def _has_offsets(lines: list[Line], root: Path) -> bool:
    """Whether `a 30 250 1` lists frames from the middle of `a`: that folder exists, and `a 30` does not."""
    for _, text in lines[:MAX_INSPECTED]:
        head, numbers = _tail_numbers(text)
        if len(numbers) == 3 and (root / head).is_dir() and not (root / _folder(text, 2)).is_dir():
            return True
    return False


def _video(rows: Rows) -> Callable[[int, str], bool]:
    def parse(number: int, text: str) -> bool:
        match = _VIDEO.fullmatch(text)
        if match is not None:
            rows.add(match[1], _labels(match[2] or ""), line=number)
            return True
        head, blank, label = text.replace("\t", " ").rpartition(" " if " " in text or "\t" in text else ",")
        if blank and head.strip(" ,"):  # unknown suffix: the last field is the label
            rows.add(head.strip(" ,"), (label,), line=number)
        return bool(blank and head.strip(" ,"))

    return parse


def _frame_folder(root: Path, rows: Rows, *, with_offset: bool, multi_label: bool) -> Callable[[int, str], bool]:
    num_counts, base = 1 + with_offset, str(root)

    def parse(number: int, text: str) -> bool:
        head, numbers = _tail_numbers(text)
        if not numbers:
            named = _named_after_counts(text, num_counts)
            return named is not None and _add(number, named[0], named[1], (named[2],))
        fields = numbers
        extra = len(numbers) - num_counts - 1
        if extra > 0:  # the name of the folder ends in numbers, or there are several labels
            in_name = extra
            if multi_label:
                sizes = (k for k in range(extra, 0, -1) if os.path.isdir(f"{base}/{_folder(text, len(numbers) - k)}"))  # noqa: PTH112
                in_name = next(sizes, 0)
            head, fields = _folder(text, len(numbers) - in_name), numbers[in_name:]
        if len(fields) < num_counts:
            return False
        return _add(number, head, fields[:num_counts], tuple(fields[num_counts:]))

    def _add(number: int, folder: str, counts: list[str], labels: tuple[Label, ...]) -> bool:
        first, frames = (int(counts[0]), int(counts[1])) if with_offset else (0, int(counts[0]))
        if not 1 <= frames < 2**31 or not 0 <= first < 2**31:
            return False
        rows.add(folder, labels, line=number, num_frames=frames, first_frame=first)
        return True

    return parse


def _tail_numbers(text: str) -> tuple[str, list[str]]:
    """Split off the numbers at the end of a line: "a b 12 3" -> "a b", 12 3."""
    parts = _SEPARATOR.split(text)
    end = len(parts)
    while end > 2 and _WHOLE.fullmatch(parts[end - 1]):
        end -= 2
    return "".join(parts[:end]), parts[end + 1 :: 2]


def _folder(text: str, num_fields: int) -> str:
    """A line without its last fields."""
    return "".join(_SEPARATOR.split(text)[: -2 * num_fields])


def _named_after_counts(text: str, num_counts: int) -> tuple[str, list[str], str] | None:
    """Folder, counts and class name: "a b 120 playing guitar" -> "a b", 120, playing guitar."""
    parts = _SEPARATOR.split(text)
    for at in range(2, len(parts) - 2 * num_counts, 2):
        counts = parts[at : at + 2 * num_counts : 2]
        if all(map(is_number, counts)) and not parts[at + 2 * num_counts][:1].isdigit():
            return "".join(parts[: at - 1]), counts, "".join(parts[at + 2 * num_counts :])
    return None


def _labels(text: str) -> tuple[Label, ...]:
    """Numbers, or one name."""
    fields = text.replace(",", " ").split()
    if all(map(is_number, fields)):
        return tuple(fields)
    return (text.strip(),)
