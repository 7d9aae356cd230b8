"""Read annotations from the lists and layouts of common datasets, which are recognised by their content."""

import logging
import re
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np

from i3d.data.annotations import SPLITS, Annotations, build_annotations
from i3d.data.class_files import read_labels
from i3d.data.formats import folders, mmaction2, splits, tables
from i3d.data.formats.columns import PATH_COLUMNS
from i3d.data.formats.inputs import VIDEO_SUFFIXES
from i3d.data.formats.other_tasks import refuse_other_json, refuse_other_lines, refuse_pickle
from i3d.data.formats.parts import MAX_FPS
from i3d.data.formats.training_segments import prepare_segments, segment_rows
from i3d.data.frame_folders import RECORD
from i3d.data.labels import clean_label
from i3d.data.rows import Rows
from i3d.data.segments.read import decode_segment_json, is_segment_source, is_segments, read_segment_file
from i3d.data.shards import CLASSES, LIST, Shards, is_as_packed, is_packed
from i3d.errors import InputError, check_not_empty, quoted
from i3d.utils.arguments import checks_types
from i3d.utils.remote import as_address, why_no_file
from i3d.utils.text import clip_lines, is_json_object, line_error, parse_json, read_lines, read_text

Format = Literal[
    "auto", "folders", "videos", "frames", "frames-offset", "table", "kinetics", "ucf101", "hmdb51", "something-v1",
    "something-v2", "segments",
]  # fmt: skip
SPLIT_LIST: Final = re.compile(r"(?:kinetics-?_?\d+_)?([a-z]+)(?:_label|_list)?(?:\.txt|\.csv)?")
MAX_INSPECTED: Final = 50  # lines from which the format is recognised
MMACTION2: Final = ("videos", "frames", "frames-offset")
CLASS_NUMBERS: Final = "cls2index.json"  # MindSpore's
PORT_LIST: Final = re.compile(r"kinetics-\d+_(train|val|test)\.csv")  # of the MindSpore port


@checks_types
def read_annotations(
    source: Path | str,
    *,
    root: Path | str | None = None,
    split: str | None = None,
    classes: tuple[str, ...] | None = None,
    format: Format = "auto",  # noqa: A002 (the word that users know)
    fold: int = 1,
    multi_label: bool = False,
    allow_outside: bool = False,
    need_labels: bool = True,
    background: bool = False,
    fps: float | None = None,
) -> Annotations:
    """The clips of a list or of a folder of classes, with their labels.

    `root`: the folder that paths are relative to (MMAction2's `data_prefix`), by default that of the list. `split`:
    only the clips of "train", "val" or "test". `classes`: class names in the order of their numbers, by default those
    of the source, or of `LIST.classes.txt` beside it, which `i3d data list` writes. `format`: by default recognised.
    `fold`: which of the three official splits of UCF101 or HMDB51. `multi_label`: a clip may have several labels.
    `allow_outside`: paths may lead out of the root. `need_labels`: a clip without a label is an error. `background`:
    what lies between the segments of videos is a class of its own. `fps`: of videos, where a list gives parts in frames
    and no frame rate; by default that of the video itself.
    Errors are InputErrors: `file:line: value: reason; next step`.
    """
    check_not_empty(source=source, root=root)
    if format not in get_args(Format):
        raise InputError(f"format {format!r}: not one of {', '.join(get_args(Format))}")
    if split is not None and split not in SPLITS:
        raise InputError(f"split {split!r}: not one of {', '.join(SPLITS)}")
    source, root = Path(source), None if root is None else Path(root)
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise InputError(f"fps {fps:g}: is not above 0 and at most {MAX_FPS}")
    if not source.exists():
        if ":/" in str(source) and (why := why_no_file(str(source))):
            raise InputError(f"{as_address(str(source))}: {why}")
        raise InputError(f"{source}: no such file or folder; check the path")
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES and format != "segments":
        todo = "give a list of videos, or a folder of classes; for its chapters, --list-format segments"
        raise InputError(f"{source}: is a video; {todo}")
    rows, base = _rows(source, root, format, fold=fold, multi_label=multi_label, fps=fps)
    prepare_segments(rows, source=source, root=base, background=background)
    if classes is None and rows.classes is None and source.is_file():
        beside = _classes_beside(source)
        classes = None if beside is None else read_labels(beside)
    if root is not None and not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder of the clips as --root")
    annotations = build_annotations(
        rows, source=source, root=base, classes=classes, multi_label=multi_label, allow_outside=allow_outside
    )
    if split is not None:
        annotations = annotations.select_split(split)
    num_labels_N = np.diff(annotations.label_ends_N, prepend=0)
    if need_labels and not num_labels_N.all():
        raise annotations.error(int(num_labels_N.argmin()), rows.no_label)
    logging.getLogger("i3d").debug("%s: %d clips, %d classes", source, len(annotations), len(annotations.classes))
    return annotations


def _classes_beside(source: Path) -> Path | None:
    """The file of the class names of a list that i3d wrote: `LIST.classes.txt`, or that of the whole folder."""
    named = source.absolute().with_suffix(".classes.txt")  # `.` has no name
    whole = named.with_name(CLASSES)
    is_ours = (whole.parent / RECORD).is_file() or is_packed(whole.parent)
    return named if named.is_file() else whole if whole.is_file() and is_ours else None


def _rows(
    source: Path, root: Path | None, kind: Format, *, fold: int, multi_label: bool, fps: float | None = None
) -> tuple[Rows, Path]:
    """The rows of a source, and the folder that their paths are relative to."""
    if kind == "segments" or (kind == "auto" and is_segment_source(source)):
        base = source if source.is_dir() else source.parent
        return segment_rows(read_segment_file(source, fps=fps)), root or base
    if source.is_dir():
        return _rows_of_folder(source, root, kind, fold=fold, multi_label=multi_label)
    base = root or source.parent
    refuse_pickle(source)
    if source.suffix.lower() == ".json" and kind in ("auto", "something-v2", *MMACTION2):
        return _rows_of_json(source, base, kind, fps), base
    lines = read_lines(source)
    if kind in ("auto", *MMACTION2):
        refuse_other_lines(source, lines)
    kind = kind_of(source, lines) if kind == "auto" else kind
    match kind:
        case "table":
            rows = tables.read_table(source, lines, root=base, multi_label=multi_label, fps=fps)
        case "kinetics":
            rows = tables.read_kinetics(source, lines, root=base)
            _number_as_mindspore(rows, source)
        case "ucf101":
            rows = splits.read_ucf101(source, lines)
        case "hmdb51":
            named = splits.HMDB_FILE.fullmatch(source.name)
            rows = splits.read_hmdb51(source.parent, fold=int(named[2]) if named else fold)
        case "something-v1":
            rows = splits.read_something_v1(source, lines, split=folders.split_of(source.stem.replace(".", "_")))
        case "videos" | "frames" | "frames-offset" | "auto":
            frames = None if kind == "auto" else kind != "videos"
            offset = kind == "frames-offset"
            rows = mmaction2.read_list(
                source, lines, root=base, frames=frames, with_offset=offset, multi_label=multi_label
            )
        case _:
            raise InputError(f"{source}: a file cannot have the format {kind!r}; omit --list-format")
    return rows, base


def _rows_of_json(source: Path, base: Path, kind: Format, fps: float | None) -> Rows:
    content = parse_json(read_text(source), where=str(source))
    if kind == "auto" and is_segments(content):
        return segment_rows(decode_segment_json(content, where=str(source), fps=fps))
    refuse_other_json(source, content)
    if kind in MMACTION2 or (kind == "auto" and mmaction2.is_json_list(content)):
        if not mmaction2.is_json_list(content):
            raise InputError(f"{source}: not a list of clips with filename or frame_dir; write it as MMAction2 does")
        return mmaction2.read_json_list(source, content, frames=None if kind == "auto" else kind != "videos")
    split = folders.split_of(source.stem.replace(".", "_"))
    return splits.read_something_v2(source, content, root=base, split=split)


def _rows_of_folder(
    source: Path, root: Path | None, kind: Format, *, fold: int, multi_label: bool
) -> tuple[Rows, Path]:
    if kind in ("auto", "hmdb51") and any(splits.HMDB_FILE.fullmatch(p.name) for p in source.iterdir()):
        return splits.read_hmdb51(source, fold=fold), root or source
    if kind in ("auto", "ucf101") and (source / f"trainlist0{fold}.txt").is_file():
        rows = Rows()
        for name in ("train", "test"):
            file = source / f"{name}list0{fold}.txt"
            part = splits.read_ucf101(file, read_lines(file))
            rows.classes = part.classes
            rows.begin(file)
            rows.extend(part, split=name)
        return rows, root or source
    if kind in ("auto", "ucf101") and any(splits.UCF_FILE.fullmatch(p.name) for p in source.iterdir()):
        raise InputError(f"{source}: no file trainlist0{fold}.txt; choose another --ucf-fold")
    if kind not in ("auto", "folders"):
        raise InputError(f"{source}: a folder cannot have the format {kind!r}; give the list itself")
    if (source / LIST).is_file() and is_packed(source):
        return _rows_of_shards(source, multi_label=multi_label), source
    lists = [] if kind == "folders" else _lists_of_splits(source)
    if lists:
        return _rows_of_lists(source, lists, multi_label=multi_label), source
    if root is not None and root.resolve() != source.resolve():
        raise InputError(f"{source}: contains no list, and --root {root} applies to lists; omit it")
    return folders.read_folders(source), source


def _rows_of_shards(source: Path, *, multi_label: bool) -> Rows:
    rows = tables.read_table(source / LIST, read_lines(source / LIST), root=source, multi_label=multi_label)
    rows.is_frames = bool(rows.paths) and Shards(source).has_folder(rows.paths[0])
    changed = (name for name in (LIST, CLASSES) if (source / name).is_file() and not is_as_packed(source, name))
    rows.warnings += [f"{source / name}: has changed since it was packed" for name in changed]
    if (source / CLASSES).is_file():
        rows.classes = read_labels(source / CLASSES)
    return rows


def _lists_of_splits(folder: Path) -> list[tuple[str, Path, str]]:
    """(split, list, folder of its clips) of lists that are beside the folders of their splits.

    MindSpore's port: `kinetics-400_train.csv` and train/. Ascend's: `train_label` (MMAction2's lines) and train/.
    """
    entries = sorted(folder.iterdir())
    places = {p.name: split for p in entries if p.is_dir() and (split := tables.SPLIT_NAMES.get(p.name.lower()))}
    lists = []
    for path in entries:
        match = SPLIT_LIST.fullmatch(path.name.lower())
        split = tables.SPLIT_NAMES.get(match[1]) if match is not None and path.is_file() else None
        if match is None or not split:
            continue
        candidates = [name for name, split_of_folder in places.items() if split_of_folder == split]
        place = next((name for name in candidates if name.lower() == match[1]), next(iter(candidates), None))
        if place is not None:
            lists.append((split, path, place))
    return lists


def _rows_of_lists(folder: Path, lists: list[tuple[str, Path, str]], *, multi_label: bool) -> Rows:
    rows = Rows()
    listed = {place for _, _, place in lists}
    for place in sorted(p.name for p in folder.iterdir() if p.is_dir()):
        if tables.SPLIT_NAMES.get(place.lower()) and place not in listed:
            rows.warnings.append(f"{place}/ is ignored: there is no list of its clips beside it")
    for number, (split, file, place) in enumerate(lists):
        rows.begin(file)
        part, _ = _rows(file, folder / place, "auto", fold=1, multi_label=multi_label)
        if number and part.is_frames != rows.is_frames:
            kinds = ("videos", "folders of frames")
            why = f"lists {kinds[part.is_frames]}, the list before it {kinds[rows.is_frames]}; read them separately"
            raise InputError(f"{file}: {why}")
        if number and part.label_kind != rows.label_kind:
            raise InputError(f"{file}: labels of another kind than in the list before it; read them separately")
        rows.is_frames = part.is_frames
        has_place = all(path.startswith(f"{place}/") for path in part.paths) and not (folder / place / place).is_dir()
        rows.extend(part, split=split, prefix="" if has_place else f"{place}/")
    _number_as_mindspore(rows, lists[0][1])
    return rows


def _number_as_mindspore(rows: Rows, source: Path) -> None:
    """Set the classes of lists of the MindSpore port: of `cls2index.json`, or as they first appear in the train list.

    Classes that only the other lists have come after these, as they appear; the port ends with an error.
    """
    folder = source.parent
    if (folder / CLASS_NUMBERS).is_file():
        rows.classes = read_labels(folder / CLASS_NUMBERS)
    elif match := PORT_LIST.fullmatch(source.name):
        train = folder / source.name.replace(f"_{match[1]}.csv", "_train.csv")
        names = tables.kinetics_labels(train, read_lines(train)) if train.is_file() else []
        names += [str(label) for labels in rows.labels for label in labels]
        unique = {clean_label(name): name for name in reversed(names)}  # of equal names, the first
        rows.classes = tuple(unique[key] for key in dict.fromkeys(map(clean_label, names))) or None
        if rows.classes and list(rows.classes) != sorted(rows.classes):
            what = f"there is no {CLASS_NUMBERS}: classes are numbered as they first appear in {train.name}"
            note = f"{what}, as in the MindSpore port; 0 is {quoted(rows.classes[0])}"
            rows.warnings = [*dict.fromkeys((*rows.warnings, note))]  # of a folder, each list has brought it


def kind_of(source: Path, lines: list[str]) -> Format:
    """The format of a list by its name and its first line; "auto": one of MMAction2's."""
    first = next((line for _, line in clip_lines(lines)), "").strip()
    if is_json_object(first) or source.suffix.lower() == tables.JSON_LINES:
        return "table"
    fields = [field.strip().lower().strip('"') for field in re.split(r"[,\t;]", first)]
    if "youtube_id" in fields:
        return "kinetics"
    if any(field in PATH_COLUMNS for field in fields) and not any(map(str.isdigit, fields)):
        return "table"
    if re.fullmatch(r"\d+(;.*)?", first):
        return "something-v1"
    if splits.UCF_FILE.fullmatch(source.name):
        return "ucf101"
    if splits.HMDB_FILE.fullmatch(source.name):
        return "hmdb51"
    if source.suffix.lower() in (".csv", ".tsv") and len(fields) > 1 and not fields[-1].isdigit():
        if any(Path(field).suffix in VIDEO_SUFFIXES for field in fields):
            why = "a clip, where the names of the columns should be; write path,label above it"
            raise line_error(source, 1, first, why)
        why = f"no column {', '.join(PATH_COLUMNS)} or youtube_id; rename the column of the paths"
        raise line_error(source, 1, first, why)
    for line, text in clip_lines(lines[:MAX_INSPECTED] if source.suffix.lower() == ".csv" else ()):
        if re.match(r"\d+;", text):
            raise line_error(source, line, text, "`number;label`, as the first line is not; correct that line")
    return "auto"
