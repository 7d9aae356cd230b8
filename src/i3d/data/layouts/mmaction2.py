"""MMAction2's lists, one clip a line.

    videos         some dir/drinking (31).mp4 1           path, label
    frame folders  abseiling/k7 250 1                     folder, number of frames, label
    with offset    abseiling/k7 30 250 1                  folder, first frame, number of frames, label
    multi-label    clip.mp4 3 17 42                       path, labels

Fields are divided by blanks, tabs or commas. Paths may hold blanks: numbers are read from the right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from i3d.data.annotations import Label, Rows
from i3d.data.inputs import VIDEO_SUFFIXES
from i3d.errors import InputError, printable, quoted

LOOKED_AT: Final = 50  # lines by which the kind of a list is told
_SUFFIXES: Final = "|".join(sorted((re.escape(suffix) for suffix in VIDEO_SUFFIXES), key=len, reverse=True))
_VIDEO: Final = re.compile(rf"(.*\S(?:{_SUFFIXES}))(?:[ \t,]+(.*))?", re.IGNORECASE | re.DOTALL)
_NUMBERS: Final = re.compile(r"(.*?\S)((?:[ \t,]+-?\d+)+)", re.DOTALL)
_NAMED: Final = re.compile(r".*?\S[ \t,]+\d+[ \t,]+\D.*", re.DOTALL)  # folder, number of frames, name of a class
Line = tuple[int, str]


def read_list(
    path: Path, lines: list[str], *, root: Path, frames: bool | None, with_offset: bool, multi_label: bool
) -> Rows:
    """`frames`: whether the list names folders of frames; None: found out from the lines and from what is on disk."""
    numbered = [(n, text) for n, line in enumerate(lines, start=1) if (text := line.strip()) and text[0] != "#"]
    if frames is None:
        frames = with_offset or _names_folders(numbered, root)
    rows = Rows(is_frames=frames)
    parse = _frame_folder(root, rows, with_offset=with_offset, multi_label=multi_label) if frames else _video(rows)
    for number, text in numbered:
        if not parse(number, text):
            expected = ("folder frames label", "folder first frames label")[with_offset] if frames else "path label"
            raise InputError(
                f"{printable(str(path))}:{number}: {quoted(text)}: not a line of the form `{expected}`; "
                "correct it, or say --format if this is another kind of list"
            )
    return rows


def _names_folders(lines: list[Line], root: Path) -> bool:
    """Videos where names end as videos do, or lie there as files; else folders."""
    for _, text in lines[:LOOKED_AT]:
        if _VIDEO.fullmatch(text) and not (root / text.split()[0]).is_dir():
            return False
        found = _NUMBERS.fullmatch(text)
        if found is None and _NAMED.fullmatch(text):
            return True
        if found is None:
            continue
        numbers = found[2].replace(",", " ").split()
        for kept in range(len(numbers)):
            candidate = root / " ".join([found[1], *numbers[:kept]])
            if candidate.is_dir():
                return True
            if candidate.is_file():
                return False
        if len(numbers) >= 2:
            return True
    return False


def _video(rows: Rows) -> Callable[[int, str], bool]:
    def parse(number: int, text: str) -> bool:
        found = _VIDEO.fullmatch(text)
        if found is not None:
            rows.add(found[1], _labels(found[2] or ""), line=number)
            return True
        head, blank, label = text.replace("\t", " ").rpartition(" " if " " in text or "\t" in text else ",")
        if blank and head.strip(" ,"):  # no known suffix: the last field is the label
            rows.add(head.strip(" ,"), (label,), line=number)
        return bool(blank and head.strip(" ,"))

    return parse


def _frame_folder(root: Path, rows: Rows, *, with_offset: bool, multi_label: bool) -> Callable[[int, str], bool]:
    num_counts = 1 + with_offset

    def parse(number: int, text: str) -> bool:
        found = _NUMBERS.fullmatch(text)
        if found is None:
            return _named(number, text)
        numbers = found[2].replace(",", " ").split()
        head, fields = found[1].rstrip(" ,\t"), numbers
        extra = len(numbers) - num_counts - 1
        if extra > 0:  # the folder's own name ends in numbers, or there are several labels
            keep = (
                extra
                if not multi_label
                else next(
                    (k for k in range(extra, 0, -1) if os.path.isdir(root / " ".join([head, *numbers[:k]]))),  # noqa: PTH112
                    0,
                )
            )
            head, fields = " ".join([head, *numbers[:keep]]), numbers[keep:]
        if len(fields) < num_counts:
            return False
        return _add(number, head, fields[:num_counts], tuple(fields[num_counts:]))

    def _named(number: int, text: str) -> bool:
        """The label is a name: `folder frames playing guitar`."""
        counts = r"[ \t,]+".join([r"(\d+)"] * num_counts)
        found = re.fullmatch(rf"(.*?\S)[ \t,]+{counts}[ \t,]+(\D.*)", text, re.DOTALL)
        return found is not None and _add(number, found[1], list(found.groups()[1:-1]), (found[num_counts + 2],))

    def _add(number: int, folder: str, counts: list[str], labels: tuple[Label, ...]) -> bool:
        first, frames = (int(counts[0]), int(counts[1])) if with_offset else (0, int(counts[0]))
        if not 1 <= frames < 2**31 or not 0 <= first < 2**31:
            return False
        rows.add(folder, labels, line=number, num_frames=frames, first_frame=first)
        return True

    return parse


def _labels(text: str) -> tuple[Label, ...]:
    """Numbers, or one name."""
    fields = text.replace(",", " ").split()
    if all(field.isdigit() for field in fields):
        return tuple(fields)
    return (text.strip(),)
