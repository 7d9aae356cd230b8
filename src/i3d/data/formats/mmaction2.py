"""MMAction2's lists, one clip a line.

    videos         some dir/drinking (31).mp4 1           path, label
    frame folders  abseiling/k7 250 1                     folder, number of frames, label
    with offset    abseiling/k7 30 250 1                  folder, first frame, number of frames, label
    multi-label    clip.mp4 3 17 42                       path, labels

Fields are separated by blanks, tabs or commas. Paths may contain blanks: numbers are read from the right.
"""

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from i3d.data.formats.inputs import VIDEO_SUFFIXES
from i3d.data.rows import Label, Rows
from i3d.utils.folders import MAX_NAME, PathLookup, is_folder
from i3d.utils.text import clip_lines, is_number, line_error

MAX_INSPECTED: Final = 50  # lines from which the kind of a list is recognised
_SUFFIXES: Final = "|".join(sorted((re.escape(suffix) for suffix in VIDEO_SUFFIXES), key=len, reverse=True))
_VIDEO: Final = re.compile(rf"(.*\S(?:{_SUFFIXES}))(?:[ \t,]+(.*))?", re.IGNORECASE | re.DOTALL)
_WHOLE: Final = re.compile(r"-?\d{1,9}", re.ASCII)
_SEPARATOR: Final = re.compile(r"([ \t,]+)")
_OTHER_FIELDS: Final = re.compile(r"[,;\t]")
Line = tuple[int, str]


class _Row(NamedTuple):
    path: str
    labels: tuple[Label, ...]
    first_frame: int = 0
    num_frames: int = -1


def read_list(
    path: Path, lines: list[str], *, root: Path, frames: bool | None, with_offset: bool, multi_label: bool
) -> Rows:
    """The clips of a list. `frames`: it lists folders of frames; None: recognised by its lines and the disk."""
    numbered = [(number, line.strip()) for number, line in clip_lines(lines)]
    if frames is None:
        frames = with_offset or _names_folders(numbered, root)
        with_offset = with_offset or (frames and not multi_label and _has_offsets(numbered, root))
    rows, base, lookup = Rows(is_frames=frames, label_kind="either"), str(root), PathLookup(is_folder)
    for number, text in numbered:
        row = _frame_folder(text, base, 1 + with_offset, lookup if multi_label else None) if frames else _video(text)
        if row is None:
            expected = ("folder frames label", "folder first frames label")[with_offset] if frames else "path label"
            todo = "correct it, or pass --list-format if this is another kind of list"
            raise line_error(path, number, text, f"not a line of the form `{expected}`; {todo}")
        if unlikely := next((label for label in row.labels if _OTHER_FIELDS.search(str(label))), None):
            why = "a class name with a separator of fields; write a table, with a header such as path,label"
            raise line_error(path, number, unlikely, why)
        rows.add(row.path, row.labels, line=number, first_frame=row.first_frame, num_frames=row.num_frames)
    return rows


def _names_folders(lines: list[Line], root: Path) -> bool:
    """Whether the paths are folders of frames: not if they end like a video, or are files."""
    for _, text in lines[:MAX_INSPECTED]:
        if (match := _VIDEO.fullmatch(text)) is not None and not is_folder(root / match[1]):
            return False
        ends, numbers = _tail_numbers(text)
        if not numbers:
            if _named_after_counts(text, 1)[1]:
                return True
            continue
        name_start = text.rfind("/", 0, ends[-1]) + 1
        for end in reversed(ends[1:]):
            if end - name_start > MAX_NAME:
                break
            candidate = root / text[:end]
            if is_folder(candidate):
                return True
            if os.path.isfile(candidate):  # noqa: PTH113 (as `is_folder`)
                return False
        if len(numbers) >= 2:
            return True
    return False


def _has_offsets(lines: list[Line], root: Path) -> bool:
    """Whether `a 30 250 1` lists frames from the middle of `a`: that folder exists, and `a 30` does not."""
    for _, text in lines[:MAX_INSPECTED]:
        ends, numbers = _tail_numbers(text)
        if len(numbers) == 3 and is_folder(root / text[: ends[3]]) and not is_folder(root / text[: ends[2]]):
            return True
    return False


def _video(text: str) -> _Row | None:
    if (match := _VIDEO.fullmatch(text)) is not None:
        return _Row(match[1], _labels(match[2] or ""))
    head, blank, label = text.replace("\t", " ").rpartition(" " if " " in text or "\t" in text else ",")
    head = head.strip(" ,")
    return _Row(head, (label,)) if blank and head else None  # unknown suffix: the last field is the label


def _frame_folder(text: str, root: str, num_counts: int, lookup: PathLookup | None) -> _Row | None:
    """A line of a list of folders of frames. `lookup`: of a multi-label list, which of the numbers are of the name."""
    ends, numbers = _tail_numbers(text)
    head, labels = text[: ends[-1]], tuple[Label, ...](numbers[num_counts:])
    if not numbers:
        head, numbers, labels = _named_after_counts(text, num_counts)
    elif (in_name := len(labels) - 1) > 0:  # the name of the folder ends in numbers, or there are several labels
        sizes = range(in_name, 0, -1)
        if lookup is not None:
            place = lookup.first(text, [ends[len(numbers) - size] for size in sizes], folder=root)
            in_name = 0 if place is None else sizes[place]
        head, numbers = text[: ends[len(numbers) - in_name]], numbers[in_name:]
        labels = tuple(numbers[num_counts:])
    if len(numbers) < num_counts:
        return None
    first, num_frames = (0, *map(int, numbers[:num_counts]))[-2:]
    return _Row(head, labels, first, num_frames) if first >= 0 and num_frames >= 1 else None


def _tail_numbers(text: str) -> tuple[list[int], list[str]]:
    """The numbers at the end of a line, and where it ends without the last 0, 1, 2 ... of them.

    "a b 12 3" -> [8, 6, 3], [12, 3].
    """
    parts = _SEPARATOR.split(text)
    end, ends = len(parts), [len(text)]
    while end > 2 and _WHOLE.fullmatch(parts[end - 1]):
        ends.append(ends[-1] - len(parts[end - 1]) - len(parts[end - 2]))
        end -= 2
    return ends, parts[end + 1 :: 2]


def _named_after_counts(text: str, num_counts: int) -> tuple[str, list[str], tuple[Label, ...]]:
    """Folder, counts and class name: "a b 120 playing guitar" -> "a b", 120, playing guitar. No counts: it has none."""
    parts = _SEPARATOR.split(text)
    for at in range(2, len(parts) - 2 * num_counts, 2):
        counts = parts[at : at + 2 * num_counts : 2]
        if all(map(is_number, counts)) and not parts[at + 2 * num_counts][:1].isdigit():
            return "".join(parts[: at - 1]), counts, ("".join(parts[at + 2 * num_counts :]),)
    return text, [], ()


def _labels(text: str) -> tuple[Label, ...]:
    """Numbers, or one name."""
    fields = text.replace(",", " ").split()
    if all(map(is_number, fields)):
        return tuple(fields)
    return (text.strip(),)
