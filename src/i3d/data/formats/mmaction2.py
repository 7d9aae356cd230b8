"""MMAction2's lists, one clip a line.

    videos         some dir/drinking (31).mp4 1           path, label
    frame folders  abseiling/k7 250 1                     folder, number of frames, label
    with offset    abseiling/k7 30 250 1                  folder, first frame, number of frames, label
    multi-label    clip.mp4 3 17 42                       path, labels

Fields are separated by blanks, tabs or commas. Paths may contain blanks: numbers are read from the right.

The same as JSON, which its `build_file_list.py` and `anno_txt2json.py` write:

    [{"filename": "a.mp4", "label": [1]}, ...]    [{"frame_dir": "a", "total_frames": 250, "label": [1]}, ...]
"""

import os
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from i3d.data.formats.inputs import VIDEO_SUFFIXES
from i3d.data.formats.splits import ucf101_classes
from i3d.data.labels import dataset_labels
from i3d.data.rows import Label, Rows
from i3d.errors import InputError, printable, quoted
from i3d.utils.folders import MAX_NAME, PathLookup, is_folder
from i3d.utils.text import clip_lines, is_number, line_error

MAX_INSPECTED: Final = 50  # lines from which the kind of a list is recognised
_SUFFIXES: Final = "|".join(sorted((re.escape(suffix) for suffix in VIDEO_SUFFIXES), key=len, reverse=True))
_VIDEO: Final = re.compile(rf"(.*\S(?:{_SUFFIXES}))(?:[ \t,]+(.*))?", re.IGNORECASE | re.DOTALL)
_WHOLE: Final = re.compile(r"-?\d{1,9}", re.ASCII)
_SEPARATOR: Final = re.compile(r"([ \t,]+)")
_OTHER_FIELDS: Final = re.compile(r"[,;\t]")
_DATASET_LIST: Final = re.compile(r"(ucf101|hmdb51)_(?:train|val)_split_[123]_(?:videos|rawframes)\.(?:txt|json)")
_JSON_KEYS: Final = {"filename", "frame_dir", "total_frames", "offset", "label"}
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
    else:
        _refuse_kind(path, numbered, root, frames=frames)
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
    name_classes(rows, path)
    return rows


def _refuse_kind(path: Path, lines: list[Line], root: Path, *, frames: bool) -> None:
    """An InputError if the first line is clearly of the other kind than the list is read as."""
    number, text = lines[0] if lines else (0, "")
    is_video, has_count = _VIDEO.fullmatch(text) is not None, len(_tail_numbers(text)[1]) > 1
    if is_video is not frames or has_count is frames or _names_folders(lines, root) is frames:
        return
    if frames:
        why = "a video, and the list is read as one of folders of frames"
        raise line_error(path, number, text, f"{why}; pass --list-format videos, or give a list of folders")
    why = "a folder, the number of its frames and a label, and the list is read as one of videos"
    raise line_error(path, number, text, f"{why}; pass --list-format frames, or give a list of videos")


def is_json_list(content: Any) -> bool:
    """Whether JSON is a list of clips as MMAction2 writes it."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and ("filename" in first or "frame_dir" in first)


def read_json_list(path: Path, content: list[Any], *, frames: bool | None) -> Rows:
    """The clips of such a list. `frames`: it must be, or must not be, of folders of frames. Errors name the clip."""
    key = "frame_dir" if "frame_dir" in content[0] else "filename"
    if frames is not None and frames != (key == "frame_dir"):
        kinds = ("videos (filename)", "folders of frames (frame_dir)")
        raise InputError(f"{path}: it lists {kinds[key == 'frame_dir']}, not {kinds[frames]}; give the other list")
    rows = Rows(is_frames=key == "frame_dir", label_kind="either", is_json=True)
    others = set[str]()
    for number, clip in enumerate(content):
        where = f"{path}: clip {number}"
        if not isinstance(clip, dict) or not isinstance(clip.get(key), str):
            raise InputError(f"{where}: has no {key}; correct it")
        labels = clip.get("label", [])
        labels = labels if isinstance(labels, list) else [labels]
        if not all(type(label) in (int, str) for label in labels):
            raise InputError(
                f"{where}: label {quoted(clip['label'])}: not a class number or a list of them; correct it"
            )
        first, num_frames = clip.get("offset", 0), clip.get("total_frames", -1)
        if rows.is_frames and (type(num_frames) is not int or num_frames < 1 or type(first) is not int or first < 0):
            raise InputError(f"{where}: total_frames {quoted(num_frames)}: must be a whole number above 0; correct it")
        others |= clip.keys() - _JSON_KEYS
        rows.add(clip[key], tuple(labels), num_frames=num_frames, first_frame=first)
    if others:
        rows.warnings.append(f"keys that are not read: {', '.join(map(printable, sorted(others)))}")
    name_classes(rows, path)
    return rows


def name_classes(rows: Rows, path: Path) -> None:
    """Name the classes of a list of UCF101 or HMDB51 that `build_file_list.py` wrote, by its own name.

    The names are those of `annotations/classInd.txt`, which numbers them from 1; a label that is not that of the folder
    is an InputError. Without that file they are the public ones, if all labels are those of their folders.
    """
    dataset = _DATASET_LIST.fullmatch(path.name)
    if dataset is None:
        return
    files = (folder / "classInd.txt" for folder in (path.parent / "annotations", path.parent))
    names = next((classes for file in files if (classes := ucf101_classes(file))), ())
    is_public, names = not names, names or dataset_labels(dataset[1]) or ()
    number_of = {name.casefold(): number for number, name in enumerate(names)}
    has_folder = False
    for index, (clip, labels) in enumerate(zip(rows.paths, rows.labels, strict=True)):
        number = number_of.get(clip.replace("\\", "/").rstrip("/").rpartition("/")[0].rpartition("/")[2].casefold())
        has_folder |= number is not None
        if number is None or list(map(str, labels)) == [str(number)]:
            continue
        where = f"{rows.where(index, path)}: {quoted(clip)}"
        if not is_public:
            why = f"its label is not {number}, that of {names[number]} counted from 0"
            raise InputError(f"{where}: {why}; correct it, or classInd.txt")
        why = f"is not {number}, that of {names[number]} in {dataset[1].upper()}"
        rows.warnings.append(f"{where}: its label {why}: classes stay without names; --classes names them")
        return
    rows.classes = names if has_folder else None


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
