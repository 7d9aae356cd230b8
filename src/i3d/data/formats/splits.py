"""Official split files of UCF101 and HMDB51, and the lists of Something-Something.

UCF101    trainlist01.txt   ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1     classes count from 1
          testlist01.txt    ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi       the class is the folder
HMDB51    brush_hair_test_split1.txt   a.avi 1       1 is train, 2 is test, 0 is neither; one file a class
Something v1   something-something-v1-train.csv   100218;Something falling like a feather
          v2   [{"id": "78687", "label": "holding potato", "template": "Holding [something]"}, ...]
"""

import re
from pathlib import Path
from typing import Any, Final

from i3d.data.formats.tables import files_below
from i3d.data.labels import dataset_labels
from i3d.data.rows import Rows
from i3d.errors import InputError
from i3d.utils.text import clip_lines, line_error, read_lines

UCF_FILE: Final = re.compile(r"(train|test)list(0[1-3])\.txt")
HMDB_FILE: Final = re.compile(r"(.+)_test_split([1-3])\.txt")
_UCF_LINE: Final = re.compile(r"\s*([^/\s]+)/(\S+)(?:\s+(\d+))?\s*")
_GROUP: Final = re.compile(r"(v_.+_g\d+)_c\d+\.\w+")


def read_ucf101(path: Path, lines: list[str]) -> Rows:
    """One split file. The folder of a clip is its class; the number behind the path in training lists must agree."""
    match = UCF_FILE.fullmatch(path.name)
    split = "test" if match is not None and match[1] == "test" else "train"
    classes = ucf101_classes(path.parent / "classInd.txt") or dataset_labels("ucf101") or ()
    rows = Rows(classes=classes)
    known = {name.casefold(): name for name in classes}
    number_of = {name: i for i, name in enumerate(classes)}
    for number, line in clip_lines(lines):
        match = _UCF_LINE.fullmatch(line)
        label = None if match is None else known.get(match[1].casefold())
        if match is None or label is None:
            raise line_error(path, number, line, "not a line `Class/video.avi number` of a class of UCF101; correct it")
        if match[3] is not None and number_of[label] != int(match[3][:9]) - 1:
            why = f"class {label} has the number {number_of[label] + 1} in classInd.txt; correct one of them"
            raise line_error(path, number, line, why)
        group = _GROUP.fullmatch(match[2])
        rows.add(f"{match[1]}/{match[2]}", (label,), line=number, split=split, group=group[1] if group else "")
    return rows


def ucf101_classes(path: Path) -> tuple[str, ...]:
    """The classes of a `classInd.txt`, `1 ApplyEyeMakeup` a line; empty if there is no such file."""
    names: list[str] = []
    for number, line in clip_lines(read_lines(path) if path.is_file() else ()):
        fields = line.split()
        if len(fields) != 2 or fields[0] != str(len(names) + 1):
            raise line_error(path, number, line, f"expected `{len(names) + 1} Name`; number the classes from 1")
        names.append(fields[1])
    return tuple(names)


def read_hmdb51(folder: Path, *, fold: int) -> Rows:
    """All classes of one fold (1 to 3) from the folder of split files."""
    matches = ((p, HMDB_FILE.fullmatch(p.name)) for p in folder.iterdir())
    files = {match[1]: p for p, match in matches if match is not None and int(match[2]) == fold}
    if not files:
        raise InputError(f"{folder}: no file `CLASS_test_split{fold}.txt`; choose another --ucf-fold")
    rows = Rows(classes=tuple(sorted(files)))
    for name, file in sorted(files.items()):
        rows.begin(file)
        for number, line in clip_lines(read_lines(file)):
            clip, _, mark = line.strip().replace("\t", " ").rpartition(" ")
            if not clip or mark not in ("0", "1", "2"):
                why = "not a line `video.avi 1` (1 train, 2 test, 0 neither); correct it"
                raise line_error(file, number, line, why)
            if mark != "0":
                split = ("train", "test")[mark == "2"]
                rows.add(f"{name}/{clip.strip()}", (name,), line=number, split=split)
    return rows


def read_something_v1(path: Path, lines: list[str], *, split: str) -> Rows:
    """`id;label` lines; each clip is the folder of frames `id`. Lists for testing have no label."""
    rows = Rows(is_frames=True)
    for number, line in clip_lines(lines):
        clip, _, label = line.strip().partition(";")
        if not clip.isdigit():
            raise line_error(path, number, line, "not `id;label`; correct it")
        rows.add(clip, (label,) if label else (), line=number, split=split)
    return rows


def read_something_v2(path: Path, clips: Any, *, root: Path, split: str) -> Rows:
    """A JSON list of {id, label, template}; the class is the template without its brackets, the file `id.webm`."""
    if not isinstance(clips, list):
        which = "MMAction2's (filename, or frame_dir), or Something-Something's (id, label, template)"
        raise InputError(f"{path}: not a list of clips; give {which}")
    rows = Rows()
    on_disk = files_below(root)
    for number, item in enumerate(clips):
        if not isinstance(item, dict) or type(item.get("id")) not in (str, int):
            todo = "write one object a line, as .jsonl, if this is another list"
            raise InputError(f"{path}: clip {number}: no id with a label and a template; {todo}")
        name = str(item["id"])
        label = str(item.get("template") or item.get("label") or "").replace("[", "").replace("]", "").strip()
        rows.add((on_disk.get(name) or [f"{name}.webm"])[0], (label,) if label else (), split=split)
    return rows
