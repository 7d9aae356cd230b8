"""Write annotations as a list: a table, JSON lines, or a list of MMAction2."""

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any, Final

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming, count_frames, dataset_naming
from i3d.data.labels import numbered_labels
from i3d.errors import InputError, printable
from i3d.utils.atomic_files import write_atomically

log = logging.getLogger("i3d")
COLUMNS: Final = ("path", "label", "start", "end", "split", "group", "num_frames")


def write_annotations(annotations: Annotations, out: Path | str, *, naming: FrameNaming | None = None) -> None:
    """Write a table (.csv, .tsv), JSON lines (.jsonl), or MMAction2's list of videos or of frame folders (.txt).

    Paths are those of the annotations, relative to their root. `naming`: of frames, if folders must be counted; by
    default inferred. MMAction2's lists have class numbers and no times, splits or groups: a clip with a start or an end
    is an InputError, splits and groups are omitted with a warning.
    """
    out = Path(out)
    match out.suffix.lower():
        case ".csv" | ".tsv" as suffix:
            text = _table(annotations, "\t" if suffix == ".tsv" else ",")
        case ".jsonl":
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(annotations))
        case ".txt":
            text = _mmaction2(annotations, out, naming)
        case _:
            raise InputError(f"{out}: not a suffix of lists; use .csv, .tsv, .jsonl or .txt")
    write_atomically(out, text.encode("utf-8", "surrogateescape"))


def write_classes(classes: tuple[str, ...], out: Path) -> None:
    """Write class names, one a line, in the order of their numbers."""
    write_atomically(out, classes_file(classes))


def classes_file(classes: tuple[str, ...]) -> bytes:
    """The content of a file of class names. If a name begins or ends with a digit, numbers follow the names."""
    with_numbers = any(name[:1].isdigit() or name[-1:].isdigit() for name in classes)
    lines = (f"{name} {number}\n" if with_numbers else f"{name}\n" for number, name in enumerate(classes))
    return "".join(lines).encode()


def _rows(annotations: Annotations) -> list[dict[str, Any]]:
    """One JSON object per clip, without empty fields."""
    rows = []
    are_numbered = annotations.classes == numbered_labels(len(annotations.classes))  # generated names: write numbers
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
        rows.append({key: value for key, value in values.items() if value is not None})
    return rows


def _table(annotations: Annotations, delimiter: str) -> str:
    rows = _rows(annotations)
    columns = [name for name in COLUMNS if name in ("path", "label") or any(name in row for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        label = row.get("label", "")
        if isinstance(label, list):
            label = [str(name) for name in label]
            if any("|" in name for name in label):
                raise InputError(f"{row['path']}: a table cannot contain a class name with `|`; write .jsonl")
            label = "|".join(label)
        writer.writerow({**row, "label": label})
    return text.getvalue()


def _mmaction2(annotations: Annotations, out: Path, naming: FrameNaming | None) -> str:
    lost = {"splits": (annotations.splits_N >= 0).any(), "groups": any(annotations.group_names)}
    if omitted := " and ".join(name for name, exists in lost.items() if exists):
        todo = "write a .csv to store them"
        log.warning("%s: MMAction2's lists have no %s, which are omitted; %s", printable(str(out)), omitted, todo)
    lines = []
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
            fields[1:1] = [str(clip.first_frame), str(count)] if annotations.first_frames_N.any() else [str(count)]
        lines.append(" ".join(fields) + "\n")
    return "".join(lines)


def _lost(annotations: Annotations, index: int, what: str, better: str) -> InputError:
    return annotations.error(index, f"has {what}, which this list cannot hold; write {better}")
