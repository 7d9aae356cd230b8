"""Write annotations as a list: a table, JSON lines, or a list of MMAction2."""

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any, Final

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.class_files import classes_file
from i3d.data.class_numbers import is_numeric
from i3d.data.formats.mmaction2 import read_list
from i3d.data.formats.read import kind_of
from i3d.data.frame_folders import FrameNaming, count_frames, dataset_naming
from i3d.data.labels import is_numbered
from i3d.data.rows import Rows
from i3d.errors import InputError, is_utf8, printable
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import write_atomically, write_in_order
from i3d.utils.outputs import new_file

log = logging.getLogger("i3d")
LABEL_NAME: Final = "label_name"  # a column of names, also where these are numbers
SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".txt")
COLUMNS: Final = ("path", "label", "start", "end", "split", "group", "num_frames")


@checks_types
def write_annotations(
    annotations: Annotations, out: Path | str, *, naming: FrameNaming | None = None, force: bool = False
) -> None:
    """Write a table (.csv, .tsv), JSON lines (.jsonl), or MMAction2's list of videos or of frame folders (.txt).

    Paths are those of the annotations, relative to their root. `naming`: of frames, if folders must be counted; by
    default inferred. MMAction2's lists have class numbers and no times, splits or groups: several splits, a start or
    an end, and a name that would be read as another are an InputError; groups are omitted with a warning. JSON lines
    hold file names that are not UTF-8, the other formats refuse them. An existing file is an InputError, unless `force`
    replaces it.
    """
    out = new_file(out, SUFFIXES, force=force)
    write_atomically(out, list_content(annotations, out, naming=naming))


def list_content(annotations: Annotations, out: Path, *, naming: FrameNaming | None = None) -> bytes:
    """The content that `write_annotations` writes to a file of this name."""
    if out.suffix.lower() != ".jsonl":
        annotations.check_utf8("this list", "rename it, or write JSON lines (.jsonl)")
    match out.suffix.lower():
        case ".csv" | ".tsv" as suffix:
            text = _table(annotations, "\t" if suffix == ".tsv" else ",")
        case ".jsonl":
            text = "".join(_json_line(row) for row in _rows(annotations))
        case _:
            text = _mmaction2(annotations, out, naming)
    return text.encode()


def write_with_classes(annotations: Annotations, out: Path, names: Path, *, naming: FrameNaming | None = None) -> None:
    """Write a list, and before it the file of its class names. Existing files are replaced.

    After a kill, no list is there without its names, or with those of another list.
    """
    content = list_content(annotations, out, naming=naming)
    write_in_order(names, classes_file(annotations.classes), out, content)


def write_classes(classes: tuple[str, ...], out: Path) -> None:
    """Write class names, one a line, in the order of their numbers."""
    write_atomically(out, classes_file(classes))


def _rows(annotations: Annotations) -> list[dict[str, Any]]:
    """One JSON object per clip, without empty fields."""
    rows = []
    are_numbered = is_numbered(annotations.classes)  # generated names: write numbers
    for index, clip in enumerate(annotations):
        names = [label if are_numbered else annotations.classes[label] for label in clip.labels]
        values = {
            "path": clip.path,
            "label": names[0] if len(names) == 1 else (names or None),
            "start": clip.start_seconds,
            "end": clip.end_seconds,
            "split": clip.split or None,
            "group": clip.group or None,
            "num_frames": clip.num_frames,
        }
        if clip.first_frame:
            what = "frames from the middle of a folder"
            raise _lost(annotations, index, what, "MMAction2's list with offsets (.txt)")
        ends = ("start", "end") if (values["start"], values["end"]) != (None, None) else ()  # both, or none
        rows.append({key: value for key, value in values.items() if value is not None or key in ends})
    return rows


def _json_line(row: dict[str, Any]) -> str:
    line = json.dumps(row, ensure_ascii=False)
    return f"{line if is_utf8(line) else json.dumps(row)}\n"


def _table(annotations: Annotations, delimiter: str) -> str:
    rows = _rows(annotations)
    columns = [name for name in COLUMNS if name in ("path", "label") or any(name in row for row in rows)]
    label_column = LABEL_NAME if any(map(is_numeric, annotations.classes)) else "label"
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([label_column if name == "label" else name for name in columns])
    has_several = any(isinstance(row.get("label"), list) for row in rows)
    for index, row in enumerate(rows):
        if row["path"] != row["path"].strip() or "\r" in row["path"]:
            raise _lost(annotations, index, "blanks around its name, or a line end", "JSON lines (.jsonl)")
        labels = row.get("label", "")
        names = [str(name) for name in labels] if isinstance(labels, list) else [str(labels)]
        if has_several and any("|" in name for name in names):
            raise _lost(annotations, index, "a class with `|` in its name", "JSON lines (.jsonl)")
        label = "|".join(names)
        writer.writerow([{**row, "label": label}.get(name) for name in columns])
    return text.getvalue()


def _mmaction2(annotations: Annotations, out: Path, naming: FrameNaming | None) -> str:
    if len(np.unique(annotations.splits_N)) > 1:
        todo = "choose one by --split, or write a table (.csv)"
        raise InputError(f"{out}: the clips are of several splits, which MMAction2's lists cannot hold; {todo}")
    if (annotations.splits_N >= 0).any():
        log.warning("%s: MMAction2's lists have no splits: all clips are of one, which is omitted", printable(str(out)))
    if any(annotations.group_names):
        todo = "write a .csv to store them"
        log.warning("%s: MMAction2's lists have no groups, which are omitted; %s", printable(str(out)), todo)
    lines = []
    has_offsets = bool(annotations.first_frames_N.any())
    for index, clip in enumerate(annotations):
        if clip.start_seconds is not None or clip.end_seconds is not None:
            raise _lost(annotations, index, "a start or an end", "a table (.csv)")
        if "\n" in clip.path or "\r" in clip.path:
            raise _lost(annotations, index, "a line end in its name", "JSON lines (.jsonl)")
        fields = [clip.path, " ".join(map(str, clip.labels))]
        if annotations.is_frames:
            count = clip.num_frames
            if count is None:
                naming = naming or dataset_naming(annotations)
                count = count_frames(annotations.readable(index), naming)
            fields[1:1] = [str(clip.first_frame), str(count)] if has_offsets else [str(count)]
        lines.append(" ".join(fields))
    _check_lines(annotations, out, lines, with_offset=has_offsets)
    return "".join(f"{line}\n" for line in lines)


def _check_lines(annotations: Annotations, out: Path, lines: list[str], *, with_offset: bool) -> None:
    """An InputError for the first clip that the reader of MMAction2's lists would read as another one."""
    multi_label = bool((np.diff(annotations.label_ends_N, prepend=0) > 1).any())
    root, frames = Path(annotations.root), annotations.is_frames
    if kind_of(out, lines) != "auto":
        raise _lost(annotations, 0, f"a name that {out.name} cannot begin with", "a table (.csv)")
    for index, (line, clip) in enumerate(zip(lines, annotations, strict=True)):
        try:
            rows = read_list(out, [line], root=root, frames=frames, with_offset=with_offset, multi_label=multi_label)
        except InputError:
            rows = Rows()
        if rows.paths != [clip.path] or rows.labels != [tuple(map(str, clip.labels))]:
            raise _lost(annotations, index, "a name that looks like other fields", "a table (.csv)")


def _lost(annotations: Annotations, index: int, what: str, better: str) -> InputError:
    return annotations.error(index, f"has {what}, which this list cannot hold; write {better}")
