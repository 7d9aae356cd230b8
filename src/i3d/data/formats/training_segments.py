"""Segments of videos as clips to learn from: where their videos are, and what lies between them.

A background clip is a part of a video in which no segment is, at least `MIN_BACKGROUND` long: the ends of segments are
rarely exact, so that a short gap may show the action itself.
"""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Final

from i3d.data.class_numbers import is_numeric
from i3d.data.formats.inputs import VIDEO_SUFFIXES
from i3d.data.formats.tables import files_below
from i3d.data.formats.video_times import lead_of_file, length_of
from i3d.data.rows import Rows
from i3d.data.segments.segment import MIN_LEAD, UNKNOWN, SegmentFile, lead_text
from i3d.errors import InputError, abridged, counted, printable, quoted

BACKGROUND: Final = "background"  # the class of what lies between
MIN_BACKGROUND: Final = 1.0  # seconds
MAX_LATE: Final = 20  # videos in a warning
Part = tuple[float, float]


def segment_rows(read: SegmentFile) -> Rows:
    """A row for each segment of a file."""
    rows = Rows(are_segments=True, warnings=[*read.notes], of_players=read.of_players)
    for video in read.videos:
        for one in video.segments:
            rows.add(
                video.video,
                (one.label,),
                start=one.start,
                end=one.stop,
                score=math.nan if read.are_annotations else one.score,
                split=video.split,
                group=video.video,
            )
        if video.seconds is not None:
            rows.seconds[video.video] = video.seconds
    rows.empty = [(video.video, video.split) for video in read.videos if not video.segments]
    return rows


def has_times(rows: Rows) -> bool:
    """Whether any row is a part of a video."""
    return any(not math.isnan(time) for column in (rows.starts, rows.ends) for time in column)


def prepare_segments(rows: Rows, *, source: Path, root: Path, background: bool) -> None:
    """Find the videos of segments, add background clips, and leave out what was predicted as unknown."""
    if background and (rows.is_frames or not (has_times(rows) or rows.empty)):
        what = "folders of frames" if rows.is_frames else "clips without start and end"
        raise InputError(f"{source}: {what}, between which nothing lies; omit --background")
    if rows.is_frames or not (has_times(rows) or rows.empty):
        return
    _find_videos(rows, source=source, root=root)
    if rows.of_players:
        rows.warnings += _late_pictures(rows, root)
    if rows.are_segments and (num_overlapping := count_overlapping(rows)):
        what = f"{counted(num_overlapping, 'segment')} overlap one of another label"
        rows.warnings.append(f"{what}: each is a clip of its own, with its own label alone")
    if background:
        _add_background(rows, source=source, root=root)
    elif rows.are_segments:
        rows.warnings.append(
            f"what lies between the segments is left out; --background adds it as a class {BACKGROUND}"
        )
    _note_predictions(rows)
    if not rows.paths:
        raise InputError(f"{source}: no segment to learn from; add one")


def _late_pictures(rows: Rows, root: Path) -> list[str]:
    """A warning that names the videos of which players count from a sound before the first frame."""
    leads = {path: lead_of_file(root / path) for path in dict.fromkeys(rows.paths)}
    late = [lead_text(path, lead) for path, lead in leads.items() if lead >= MIN_LEAD]
    if not late:
        return []
    what = f"{counted(len(late), 'video')} whose first frame comes after the first sound: {abridged(late, MAX_LATE)}"
    return [f"{what}; times are read from the first frame on: subtract this from times that count from the sound"]


def gaps(covered: Iterable[Part], seconds: float) -> list[Part]:
    """What lies between parts of a video, before and behind them, where it is long enough."""
    between, end = [], 0.0
    for start, stop in (*sorted(covered), (seconds, seconds)):
        if min(start, seconds) - end >= MIN_BACKGROUND:
            between.append((end, min(start, seconds)))
        end = max(end, stop)
    return between


def count_overlapping(rows: Rows) -> int:
    """How many parts overlap a part of the same video, but not exactly the same part, with other labels."""
    by_video: dict[str, list[tuple[float, float, int]]] = {}
    for index, path in enumerate(rows.paths):
        part = (_or(rows.starts[index], 0.0), _or(rows.ends[index], math.inf), index)
        by_video.setdefault(path, []).append(part)
    overlapping: set[int] = set()
    for parts in by_video.values():
        active: list[tuple[float, float, int]] = []
        for part in sorted(parts):
            active = [one for one in active if one[1] > part[0]]
            others = [one for one in active if one[:2] != part[:2] and rows.labels[one[2]] != rows.labels[part[2]]]
            if others:
                overlapping |= {part[2], *(one[2] for one in others)}
            active.append(part)
    return len(overlapping)


def _add_background(rows: Rows, *, source: Path, root: Path) -> None:
    if _are_numbers(rows):
        raise InputError(f"{source}: its labels are numbers, {BACKGROUND} is a name; give names, or omit --background")
    covered: dict[str, list[int]] = {path: [] for path, _ in rows.empty}
    for index, path in enumerate(rows.paths):
        covered.setdefault(path, []).append(index)
    named = sum(labels == (BACKGROUND,) for labels in rows.labels)
    splits = dict(rows.empty)
    num_added, num_divided, unread, total = 0, 0, [], 0.0
    for path, indices in covered.items():
        of_video = {rows.splits[index] for index in indices} or {splits[path]}
        seconds = length_of(root / path) if (stated := rows.seconds.get(path)) is None else stated
        if len(of_video) > 1 or (not indices and of_video == {"test"}):
            num_divided += 1
            continue
        if seconds is None:
            unread.append(path)
            continue
        parts = [(_or(rows.starts[index], 0.0), _or(rows.ends[index], seconds)) for index in indices]
        group = rows.groups[indices[0]] if indices else path
        for start, stop in gaps(parts, seconds):
            end = math.nan if stop == seconds else stop  # that of the video, which a stated length may exceed
            rows.add(path, (BACKGROUND,), start=start, end=end, split=min(of_video), group=group)
            num_added, total = num_added + 1, total + stop - start
    rows.warnings += _background_notes(num_added, total, named, num_divided, unread)


def _are_numbers(rows: Rows) -> bool:
    """Whether labels are class numbers, beside which a name cannot stand."""
    labels = [label for of_row in rows.labels for label in of_row]
    if rows.label_kind == "either":
        return bool(labels) and all(isinstance(label, int) or is_numeric(label) for label in labels)
    return rows.label_kind == "numbers" or any(isinstance(label, int) for label in labels)


def _background_notes(num_added: int, total: float, named: int, num_divided: int, unread: Sequence[str]) -> list[str]:
    what = f"{counted(num_added, 'clip')} of the class {BACKGROUND} added, {total:,.1f} s between segments"
    notes = [f"{what}; gaps below {MIN_BACKGROUND:g} s are left out"]
    if named:
        notes.append(f"the list has {counted(named, 'segment')} of a class {BACKGROUND}: both are one class")
    if num_divided:
        videos = counted(num_divided, "video")
        notes.append(
            f"no {BACKGROUND} of {videos} with segments in several splits, or of a test split without segments"
        )
    if unread:
        what = f"no {BACKGROUND} of {counted(len(unread), 'video')} whose length is unknown"
        notes.append(f"{what}, such as {printable(unread[0])}")
    return notes


def _note_predictions(rows: Rows) -> None:
    """Leave out what a network was unsure about, and state that the others are predictions."""
    pairs = zip(rows.labels, rows.scores, strict=True)
    known = [k for k, (labels, score) in enumerate(pairs) if labels != (UNKNOWN,) or math.isnan(score)]
    if num_left_out := len(rows.paths) - len(known):
        rows.warnings.append(f"{counted(num_left_out, 'segment')} labelled {UNKNOWN} left out")
        rows.select(known)
    unsure = [score for score in rows.scores if score < 1]
    if unsure:
        what = f"{counted(len(unsure), 'segment')} with scores below 1 (the lowest {min(unsure):.2g})"
        rows.warnings.append(f"{what}: predictions are read as labels; correct them first")


def _find_videos(rows: Rows, *, source: Path, root: Path) -> None:
    """Replace names of videos that are no files below the root by the one file that has this name there."""
    renamed, notes = find_videos([*rows.paths, *(path for path, _ in rows.empty)], source=source, root=root)
    rows.warnings += notes
    rows.paths = [renamed.get(path, path) for path in rows.paths]
    rows.groups = [renamed.get(group, group) for group in rows.groups]
    rows.empty = [(renamed.get(path, path), split) for path, split in rows.empty]
    rows.seconds = {renamed.get(path, path): seconds for path, seconds in rows.seconds.items()}


def find_videos(names: Iterable[str], *, source: Path, root: Path) -> tuple[dict[str, str], list[str]]:
    """(the file below `root` of each name in the list `source` that is no path there, notes on what is assumed).

    A name of which several files are possible is an InputError, and so is a path that leads to another file from the
    current folder: which of the two is meant is unknown. A name without a file stands for itself.
    """
    listed = dict.fromkeys(names)
    missing = [path for path in listed if not _exists(root, path)]
    below = files_below(root) if missing and root.is_dir() else {}
    renamed = {path: os.path.relpath(root / path, root) for path in listed if ".." in PurePath(path).parts}
    renamed |= {path: _by_name(path, below, source) for path in missing}
    _check_not_elsewhere(renamed, missing, source=source, root=root)
    moved = [path for path in missing if renamed[path] != path and PurePath(path).suffix.lower() in VIDEO_SUFFIXES]
    if not moved:
        return renamed, []
    what = f"{counted(len(moved), 'video')} found by name, not by path, below {root}"
    return renamed, [f"{what}: {abridged([printable(f'{path} is {renamed[path]}') for path in moved], 2)}"]


def _by_name(path: str, below: dict[str, list[str]], source: Path) -> str:
    """The file of this name; of a name without suffix, that of a video, also `v_NAME` as in ActivityNet."""
    name = PurePath(path).name
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 (as the names of the files were split)
    if suffix.lower() in VIDEO_SUFFIXES:
        files = [file for file in below.get(stem, []) if PurePath(file).name == name]
    else:
        files = below.get(name) or below.get(f"v_{name}") or []
    if len(files) > 1:
        several = ", ".join(map(quoted, files[:3]))
        raise InputError(f"{source}: {quoted(path)}: may be {several}; write its path")
    return files[0] if files else path


def _check_not_elsewhere(renamed: dict[str, str], missing: Iterable[str], *, source: Path, root: Path) -> None:
    """An InputError for a path that is a file of the current folder, but not the one that was found below `root`."""
    for path in missing:
        if not _exists(Path(), path) or PurePath(path).suffix.lower() not in VIDEO_SUFFIXES:
            continue
        chosen = root / renamed[path]
        if renamed[path] == path or not os.path.samefile(path, chosen):  # noqa: PTH121 (names, not paths)
            what = f"is a file of the current folder, and not below {root}"
            other = "" if renamed[path] == path else f", where {quoted(renamed[path])} has its name"
            raise InputError(
                f"{source}: {quoted(path)}: {what}{other}; if the list was written here, give --root ., or put it here"
            )


def _exists(root: Path, path: str) -> bool:
    try:
        return os.path.exists(os.path.join(root, path))  # noqa: PTH110, PTH118 (many names, and those with a NUL)
    except ValueError:
        return True  # refused with its line


def _or(time: float, other: float) -> float:
    return other if math.isnan(time) else time
