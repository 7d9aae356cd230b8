"""Tables with a header: CSV and TSV files, JSON lines, and the CSV files of Kinetics.

path,label,start,end,split,group                      only the path is required; `columns` knows other names
label,youtube_id,time_start,time_end,split            Kinetics; the file is `ID_000011_000021.mp4`
"""

import math
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from i3d.data.annotations import SPLITS
from i3d.data.formats.columns import Columns, find_columns, no_path_column
from i3d.data.formats.inputs import VIDEO_SUFFIXES, walk_visible
from i3d.data.formats.parts import (
    FramePart,
    frame_count,
    frames_of_row,
    rate_of_row,
    score_of_row,
    seconds_of_frames,
    seconds_of_row,
)
from i3d.data.formats.video_times import frame_times
from i3d.data.rows import Label, Rows
from i3d.errors import InputError, VideoError
from i3d.utils.text import csv_records, is_json_object, is_number, line_error, numbered_lines, parse_json

SPLIT_NAMES: Final = {
    "": "",
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "validate", "validation", "valid"), "val"),
    **dict.fromkeys(("test", "testing", "holdout_test"), "test"),
}
JSON_LINES: Final = ".jsonl"
LONG_SECONDS: Final = 6 * 3600  # a longer video is less likely than times in another unit
CACHED_VIDEOS: Final = 16  # whose frame times are not read again for their next part
MAX_INSPECTED: Final = 50  # paths from which the kind of the clips is recognised
YOUTUBE_ID: Final = "youtube_id"
Record = tuple[int, dict[str, Any], Columns]  # line, fields


def read_table(path: Path, lines: list[str], *, root: Path, multi_label: bool, fps: float | None = None) -> Rows:
    """A table with a column `path`, `file` or `video`: of videos, or of folders of frames if the first is a folder.

    `fps`: of videos whose parts are given in frames, where the table has no column of frame rates.
    """
    rows = Rows()
    frames, rates = list[FramePart](), list[float | None]()
    is_json = _is_json(path, lines)
    for line, record, columns in _records(path, lines, rows):
        if not columns.path:
            raise no_path_column(path, record)
        name = record.get(columns.path)
        if not isinstance(name, str) or not name.strip():
            raise line_error(path, line, name, f"no {columns.path} in this row; add one")
        if columns.start_frame:
            frames.append(frames_of_row(path, line, name, record, columns))
            rates.append(rate_of_row(path, line, record, columns) or fps)
        start, end = seconds_of_row(path, line, record, columns)
        rows.add(
            name if is_json else name.strip(),
            _labels_in(path, line, record.get(columns.label), is_split=multi_label and not is_json),
            line=line,
            start=start,
            end=end,
            score=score_of_row(path, line, record, columns),
            split=read_split(path, line, record.get(columns.split)),
            group=_text(record.get(columns.group)),
            num_frames=_count(path, line, record.get(columns.num_frames)),
        )
    if is_json and rows.label_kind == "either":
        rows.label_kind = "names"  # in JSON, numbers have no quotes
    rows.is_frames = _lists_folders(root, rows.paths)
    if frames:
        _set_frames(path, rows, frames, rates, root)
    rows.are_segments = any(not math.isnan(score) for score in rows.scores)
    if (latest := max((end for end in rows.ends if not math.isnan(end)), default=0)) > LONG_SECONDS:
        hours = f"times up to {latest:,.0f}, {latest / 3600:,.0f} hours if they are seconds"
        rows.warnings.append(f"{hours}; convert them if they are milliseconds or frame numbers")
    return rows


def _set_frames(path: Path, rows: Rows, frames: list[FramePart], rates: list[float | None], root: Path) -> None:
    """Set the parts of rows whose frames are listed: times of videos, or the frames of folders."""
    if rows.is_frames:
        count = frame_count(frames)
        rows.first_frames = array("i", (first - count.first for _, first, _ in frames))
        rows.num_frames = array("i", (last - first + count.has_last for _, first, last in frames))
        rows.warnings.append(count.note(frames[0]))
        return
    times_of_file = lru_cache(maxsize=CACHED_VIDEOS)(frame_times)

    def times_of(video: str, number: int) -> Sequence[float]:
        try:
            return times_of_file(root / video)
        except VideoError as error:
            why = f"its frame rate is unknown ({error.why}); add a column fps, or give --list-fps"
            raise line_error(path, rows.lines[number], video, why) from None

    def wrong(number: int, why: str) -> InputError:
        return line_error(path, rows.lines[number], rows.paths[number], why)

    times, note = seconds_of_frames(frames, rates, times_of, wrong)
    rows.starts, rows.ends = (array("d", column) for column in zip(*times, strict=True))
    rows.warnings.append(note)


def _lists_folders(root: Path, paths: Sequence[str]) -> bool:
    """Whether the first path is a folder; one that may not be looked up is left to the reading of the clips."""
    for path in paths[:MAX_INSPECTED]:
        with suppress(PermissionError):
            return (root / path).is_dir()
    return False


def read_kinetics(path: Path, lines: list[str], *, root: Path) -> Rows:
    """A CSV of Kinetics. The file of each clip is searched below the root, also in folders of classes and splits."""
    rows = Rows()
    on_disk = files_below(root)
    for line, record, columns in _records(path, lines, rows):
        youtube_id = str(record.get(YOUTUBE_ID) or "").strip()
        start, end = seconds_of_row(path, line, record, columns)
        if not youtube_id or math.isnan(start) or math.isnan(end):
            raise line_error(path, line, youtube_id, "a row needs youtube_id, time_start and time_end; correct it")
        label = str(record.get(columns.label) or "").strip().strip('"')
        split = read_split(path, line, record.get(columns.split))
        stem = f"{youtube_id}_{int(start):06d}_{int(end):06d}"
        cut, whole = on_disk.get(stem), on_disk.get(youtube_id)  # of an uncut video, the clip is a part
        name = _best_match(cut or whole or [], label, split) or f"{stem}.mp4"
        part = (start, end) if whole and not cut else (math.nan, math.nan)
        labels = (label,) if label else ()
        rows.add(name, labels, line=line, start=part[0], end=part[1], split=split, group=youtube_id)
    rows.label_kind = "names"
    return rows


def kinetics_labels(path: Path, lines: list[str]) -> list[str]:
    """The labels of the rows of a CSV of Kinetics, in their order."""
    records = _records(path, lines, Rows())
    labels = (str(record.get(columns.label) or "").strip().strip('"') for _, record, columns in records)
    return [label for label in labels if label]


def files_below(root: Path) -> dict[str, list[str]]:
    """The paths of all videos below a folder, relative to it, by their names without suffix."""
    paths: dict[str, list[str]] = {}
    for place, folders, files in walk_visible(root):
        folders.sort()
        relative = os.path.relpath(place, root)
        for file in sorted(files):
            stem, suffix = os.path.splitext(file)  # noqa: PTH122 (many names, fast)
            if suffix.lower() in VIDEO_SUFFIXES:
                paths.setdefault(stem, []).append(file if relative == "." else f"{relative}/{file}")
    return paths


def _best_match(paths: list[str], label: str, split: str) -> str:
    """The path whose folders name the class and the split best, of several files with one name."""

    def agreement(path: str) -> int:
        folders = path.split("/")[:-1]
        return (label in folders or label.replace(" ", "_") in folders) + 2 * any(
            split and SPLIT_NAMES.get(folder.lower()) == split for folder in folders
        )

    return max(paths, key=agreement, default="")


def _is_json(path: Path, lines: list[str]) -> bool:
    first = next((line for line in lines if line.strip()), "")
    return path.suffix.lower() == JSON_LINES or is_json_object(first)


def _records(path: Path, lines: list[str], rows: Rows) -> Iterator[Record]:
    """Every row with the columns that are read; at the end, what is known of them is in `rows`."""
    columns = Columns()
    names: dict[str, None] = {}  # of all rows so far
    for line, record in _json_records(path, lines) if _is_json(path, lines) else csv_records(path, lines):
        if not record.keys() <= names.keys():
            before = columns
            names |= dict.fromkeys(record)
            columns = find_columns(path, (name for name in names if name != YOUTUBE_ID))
            if before.label and before.label != columns.label:
                raise line_error(path, line, columns.label, f"in rows before it this column is {before.label}; use one")
        yield line, record, columns
    columns.check(path)
    rows.label_kind, rows.label_column = columns.label_kind, columns.label
    rows.no_label = columns.no_label(names)
    rows.warnings += columns.warnings()


def _json_records(path: Path, lines: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in numbered_lines(lines):
        record = parse_json(line, where=f"{path}:{number}")
        if not isinstance(record, dict):
            raise line_error(path, number, line, 'not an object; write lines such as {"path": "a.mp4", "label": "run"}')
        yield number, {key.lower(): value for key, value in record.items()}


def _labels_in(path: Path, line: int, value: Any, *, is_split: bool) -> tuple[Label, ...]:
    """One label, or several: a list, or separated by `|`."""
    values = value if isinstance(value, list) else [value]
    if is_split and isinstance(value, str):
        values = value.split("|")
    labels = [item.strip() if isinstance(item, str) else item for item in values if item is not None]
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise line_error(path, line, label, "not a label: a name or a whole number; correct it")
    return tuple(label for label in labels if label != "")


def _count(path: Path, line: int, value: Any) -> int:
    if value is None or value == "":
        return -1
    if not is_number(str(value)) or not 1 <= int(value) < 2**31:
        why = "num_frames is not a whole number of at least 1; correct it, or leave it empty"
        raise line_error(path, line, value, why)
    return int(value)


def read_split(path: Path, line: int, value: Any) -> str:
    """The split that a field of a table names; "" if it names none."""
    if value is None:
        return ""
    name = SPLIT_NAMES.get(_text(value).strip().lower())
    if name is None:
        raise line_error(path, line, value, f"not a split; use one of {', '.join(SPLITS)}")
    return name


def _text(value: object) -> str:
    """A field as text; 0 is one, and a field that is missing or null is empty."""
    return "" if value is None else str(value)
