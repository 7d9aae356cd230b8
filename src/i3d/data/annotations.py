"""The clips of a dataset with their labels: a compact table that worker processes share.

    annotations = read_annotations("train.csv")      # any list or layout: see `docs/data.md`
    annotations[7]                                   # Clip(path=..., labels=(3,), ...)

Letters in names: N clips, K classes.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from i3d.data.class_numbers import assign_class_numbers, not_a_class
from i3d.data.labels import LOOK_ALIKE, check_numbers, clean_label, is_numbered, scripts_in
from i3d.data.rows import Rows
from i3d.data.shards import Shards, is_packed
from i3d.errors import InputError, abridged, counted, is_utf8, printable, quoted
from i3d.utils.remote import why_no_file

SPLITS: Final = ("train", "val", "test")
PIECES: Final = ("paths_utf8", "path_ends_N", "labels", "label_ends_N")
COLUMNS: Final = ("starts_N", "ends_N", "num_frames_N", "first_frames_N", "groups_N", "splits_N", "lines_N", "files_N")


@dataclass(frozen=True)
class Clip:
    """One clip: a video file, a folder of frames, or a part of either."""

    path: str  # relative to the root of its annotations, or absolute
    labels: tuple[int, ...]  # class numbers: one, several for multi-label data, or none if unknown
    start_seconds: float | None = None
    end_seconds: float | None = None
    num_frames: int | None = None  # of a folder of frames, as listed; None: a video, or not listed
    first_frame: int = 0  # of a part of a folder of frames
    is_frames: bool = False
    group: str = ""  # clips of one group belong to the same split
    split: str = ""  # "train", "val", "test", or "" for none
    line: int = 0  # in the list; 0: not from a line


@dataclass(frozen=True, repr=False, eq=False)
class Annotations:
    """Clips and classes. Columns are arrays, so that processes can share them and 250,000 clips need little memory."""

    source: str  # the list or folder
    root: str  # the folder that paths are relative to
    classes: tuple[str, ...]
    is_frames: bool  # folders of frames, not videos
    warnings: tuple[str, ...]
    paths_utf8: npt.NDArray[np.uint8]
    path_ends_N: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]  # of all clips, concatenated
    label_ends_N: npt.NDArray[np.int64]
    starts_N: npt.NDArray[np.float64]  # seconds; NaN: none
    ends_N: npt.NDArray[np.float64]
    num_frames_N: npt.NDArray[np.int32]  # -1: not listed
    first_frames_N: npt.NDArray[np.int32]
    groups_N: npt.NDArray[np.int32]  # indices of `group_names`
    group_names: tuple[str, ...]
    splits_N: npt.NDArray[np.int8]  # indices of SPLITS; -1: none
    lines_N: npt.NDArray[np.int32]
    files_N: npt.NDArray[np.int16]  # indices of `file_names`
    file_names: tuple[str, ...]  # the lists

    def __len__(self) -> int:
        return len(self.path_ends_N)

    def __repr__(self) -> str:
        what = "frame folders" if self.is_frames else "videos"
        return f"Annotations({len(self)} {what}, {len(self.classes)} classes, from {printable(self.source)})"

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        start, end, frames = self.starts_N[index], self.ends_N[index], int(self.num_frames_N[index])
        split = int(self.splits_N[index])
        return Clip(
            self.path(index),
            self.labels_of(index),
            None if np.isnan(start) else float(start),
            None if np.isnan(end) else float(end),
            None if frames < 0 else frames,
            int(self.first_frames_N[index]),
            self.is_frames,
            self.group_names[self.groups_N[index]],
            SPLITS[split] if split >= 0 else "",
            int(self.lines_N[index]),
        )

    def path(self, index: int) -> str:
        """The path as it is listed."""
        begin = self.path_ends_N[index - 1] if index else 0
        return self.paths_utf8[begin : self.path_ends_N[index]].tobytes().decode("utf-8", "surrogatepass")

    def file(self, index: int) -> str:
        """The path to open."""
        return os.path.join(self.root, self.path(index))  # noqa: PTH118 (names that are not UTF-8)

    @cached_property
    def shards(self) -> Shards | None:
        """The shards that hold the clips; None: they are not packed."""
        root = Path(self.root)
        return Shards(root) if is_packed(root) else None

    def readable(self, index: int) -> Any:
        """The file or folder of a clip: a Path, or a PackedPath."""
        return Path(self.file(index)) if self.shards is None else self.shards.path(self.path(index))

    def name(self, index: int) -> str:
        """The path as it is listed, with the part of it: `a.mp4 [1.5 s to 3 s]`, `a [frames 30 to 49]`."""
        clip = self[index]
        if clip.start_seconds is not None or clip.end_seconds is not None:
            end = "its end" if clip.end_seconds is None else f"{clip.end_seconds:.10g} s"
            return f"{clip.path} [{clip.start_seconds or 0:.10g} s to {end}]"
        if clip.first_frame:
            end = "the last" if clip.num_frames is None else str(clip.first_frame + clip.num_frames - 1)
            return f"{clip.path} [frames {clip.first_frame} to {end}]"
        return clip.path

    def labels_of(self, index: int) -> tuple[int, ...]:
        """The class numbers of one clip."""
        begin = self.label_ends_N[index - 1] if index else 0
        return tuple(self.labels[begin : self.label_ends_N[index]].tolist())

    def where(self, index: int) -> str:
        """`file:line` of a clip in its list, the begin of error messages."""
        line = int(self.lines_N[index])
        return printable(self.file_names[self.files_N[index]]) + (f":{line}" if line else "")

    def error(self, index: int, why: str) -> InputError:
        """An error that begins with the line and the path of a clip."""
        return InputError(f"{self.where(index)}: {quoted(self.path(index))}: {why}")

    def check_utf8(self, what: str, todo: str = "rename it") -> None:
        """An InputError for the first clip whose path or group is not UTF-8, which `what` cannot hold."""
        for index, clip in enumerate(self):
            if not is_utf8(clip.path) or not is_utf8(clip.group):
                raise self.error(index, f"its name is not UTF-8, which {what} cannot hold; {todo}")

    def check_present(self) -> None:
        """An InputError if any clip is missing, with their number, the first of them, and the root."""
        missing, num_clips = self.missing_clips(), len(self)
        if not missing:
            return
        if len(missing) == num_clips:
            why = f"none of {counted(num_clips, 'clip')} is below {self.root}; give their folder as --root"
        else:
            what = f"no such file below {self.root}; {len(missing)} of {num_clips} clips are missing"
            why = f"{what}: restore them, or list them by `i3d data check`"
        raise self.error(missing[0], why)

    def missing_clips(self) -> list[int]:
        """The clips whose file or folder does not exist. Each parent folder is listed only once."""
        if self.shards is not None:
            return [index for index in range(len(self)) if self.path(index) not in self.shards]
        listed: dict[str, frozenset[str]] = {}
        missing = []
        for index in range(len(self)):
            folder, name = os.path.split(self.file(index).rstrip("/"))
            if folder not in listed:
                try:
                    listed[folder] = frozenset(
                        entry.name
                        for entry in os.scandir(folder or ".")
                        if not entry.is_symlink() or os.path.exists(entry.path)  # noqa: PTH110 (no link to nothing)
                    )
                except (FileNotFoundError, NotADirectoryError):
                    listed[folder] = frozenset()
            if name not in listed[folder]:
                missing.append(index)
        return missing

    @cached_property
    def class_counts_K(self) -> npt.NDArray[np.int64]:
        """The number of clips of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def select(self, clips: Sequence[int] | npt.NDArray[Any]) -> Self:
        """The clips of these indices in this order, or those of a boolean mask."""
        indices = np.arange(len(self))[np.asarray(clips)] if len(clips) else np.empty(0, np.int64)
        paths, path_ends = _gather(self.paths_utf8, self.path_ends_N, indices)
        labels, label_ends = _gather(self.labels, self.label_ends_N, indices)
        return replace(
            self,
            paths_utf8=paths,
            path_ends_N=path_ends,
            labels=labels,
            label_ends_N=label_ends,
            **{name: getattr(self, name)[indices] for name in COLUMNS},
        )

    def with_classes(self, classes: tuple[str, ...]) -> Self:
        """The same clips with the classes of another list, matched by name; numbers without names stay as they are.

        A label that is none of these classes is an InputError with its line.
        """
        known = {clean_label(name): number for number, name in enumerate(classes)}
        names = self.classes
        if is_numbered(self.classes) and self.classes != classes:
            check_numbers(self.source, classes)
            names = classes
        number_of_K = np.array([known.get(clean_label(name), -1) for name in names[: len(self.classes)]], np.int32)
        number_of_K = np.pad(number_of_K, (0, len(self.classes) - len(number_of_K)), constant_values=-1)
        if (lacking_N := number_of_K[self.labels] < 0).any():
            label = int(lacking_N.argmax())
            clip = int(np.searchsorted(self.label_ends_N, label, side="right"))
            name = self.classes[self.labels[label]]
            raise InputError(f"{self.where(clip)}: {quoted(name)}: {not_a_class(known, name)}")
        return replace(self, classes=classes, labels=number_of_K[self.labels])

    def map_columns(self, function: Callable[[Any], Any]) -> Self:
        """The same annotations with a function applied to every column, such as a copy to shared memory."""
        return replace(self, **{name: function(getattr(self, name)) for name in (*PIECES, *COLUMNS)})

    def select_split(self, split: str) -> Self:
        """The clips of "train", "val" or "test". A split without clips is an InputError."""
        in_split_N = self.splits_N == SPLITS.index(split)
        if not in_split_N.any():
            present = [name for i, name in enumerate(SPLITS) if (self.splits_N == i).any()]
            todo = f"choose {' or '.join(present)}" if present else "its clips have no split: omit --split"
            raise InputError(f"{self.source}: no clip of the split {split!r}; {todo}")
        return self.select(in_split_N)


def build_annotations(
    rows: Rows,
    *,
    source: Path,
    root: Path,
    classes: tuple[str, ...] | None = None,
    multi_label: bool = False,
    allow_outside: bool = False,
) -> Annotations:
    """Check the rows of a reader and convert them. `classes`: class names; by default those of the list."""
    if not rows.paths:
        raise InputError(f"{source}: it lists no clip; write one on each line")
    _check_paths(rows, source=source, root=root, allow_outside=allow_outside)
    if multi_label:
        _unite_lines(rows, source=source)
    names, ids_N = assign_class_numbers(rows, classes or rows.classes, source=source, multi_label=multi_label)
    class_warnings = _class_warnings(names, ids_N, rows.splits, has_class_file=classes is not None)
    warnings = [*rows.warnings, *_repeated_clips(rows, ids_N, source=source), *class_warnings]
    groups = sorted(set(rows.groups))
    group_index = {name: i for i, name in enumerate(groups)}
    encoded = [path.encode("utf-8", "surrogatepass") for path in rows.paths]
    return Annotations(
        source=str(source),
        root=str(root),
        classes=names,
        is_frames=rows.is_frames,
        warnings=tuple(warnings),
        paths_utf8=np.frombuffer(b"".join(encoded), np.uint8),
        path_ends_N=np.cumsum([len(path) for path in encoded], dtype=np.int64),
        labels=np.array([label for labels in ids_N for label in labels], np.int32),
        label_ends_N=np.cumsum([len(labels) for labels in ids_N], dtype=np.int64),
        starts_N=np.array(rows.starts),
        ends_N=np.array(rows.ends),
        num_frames_N=np.array(rows.num_frames, np.int32),
        first_frames_N=np.array(rows.first_frames, np.int32),
        groups_N=np.array([group_index[name] for name in rows.groups], np.int32),
        group_names=tuple(groups),
        splits_N=np.array([SPLITS.index(name) if name else -1 for name in rows.splits], np.int8),
        lines_N=np.array(rows.lines, np.int32),
        files_N=np.array(rows.files, np.int16),
        file_names=tuple(rows.file_names) or (str(source),),
    )


def _check_paths(rows: Rows, *, source: Path, root: Path, allow_outside: bool) -> None:
    """An InputError for a path that is empty, contains NUL, or leads out of the root."""
    base = os.path.abspath(root)  # noqa: PTH100 (lexical: symbolic links below the root are followed)
    for index, path in enumerate(rows.paths):
        is_plain = "\0" not in path and ":/" not in path and ".." not in path
        if path and is_plain and not path.startswith(("/", "~", "\\")):
            continue
        where = f"{rows.where(index, source)}: {quoted(path)}"
        if ":/" in path and (why := why_no_file(path)):
            raise InputError(f"{where}: {why}")
        if not path.strip() or "\0" in path:
            raise InputError(f"{where}: not a path; correct the line")
        absolute = os.path.normpath(os.path.join(base, path))  # noqa: PTH118
        if not allow_outside and os.path.commonpath([base, absolute]) != base:
            raise InputError(f"{where}: leads out of the root {root}; give another --root, or pass --allow-outside")


def _clip_keys(rows: Rows) -> Sequence[Any]:
    """What two rows of the same clip have in common: its path, and its part."""
    keys: Sequence[Any] = rows.paths
    if any("./" in path or "//" in path for path in rows.paths):
        keys = [os.path.normpath(path) for path in rows.paths]
    if not np.isnan(rows.starts).all() or not np.isnan(rows.ends).all() or any(rows.first_frames):
        parts = [np.nan_to_num(np.array(column), nan=-1).tolist() for column in (rows.starts, rows.ends)]
        keys = list(zip(keys, *parts, rows.first_frames, strict=True))
    return keys


def _unite_lines(rows: Rows, *, source: Path) -> None:
    """A clip with other labels on each of several lines becomes one clip with all of them, within a split."""
    keys = _clip_keys(rows)
    if len(set(keys)) == len(keys):
        return
    places: dict[Any, list[int]] = {}
    for i, key in enumerate(zip(keys, rows.splits, strict=True)):
        places.setdefault(key, []).append(i)
    several = [same for same in places.values() if len({frozenset(rows.labels[i]) for i in same}) > 1]
    if not several:
        return
    for first, *others in several:
        if wrong := next((i for i in others if rows.num_frames[i] != rows.num_frames[first]), None):
            why = f"is also on line {rows.lines[first]} with another number of frames; correct one"
            raise InputError(f"{rows.where(wrong, source)}: {quoted(rows.paths[wrong])}: {why}")
        rows.labels[first] = tuple(dict.fromkeys(label for i in (first, *others) for label in rows.labels[i]))
    clips = f"{counted(len(several), 'clip')} on several lines, such as {printable(rows.paths[several[0][0]])}"
    rows.warnings.append(f"{clips}: each is one clip with the labels of all its lines")
    united = {i for _, *others in several for i in others}
    rows.select([i for i in range(len(keys)) if i not in united])


def _repeated_clips(rows: Rows, ids_N: list[tuple[int, ...]], *, source: Path) -> list[str]:
    """A warning if clips are listed more than once; with different labels that is an InputError."""
    keys = _clip_keys(rows)
    num_repeated = len(keys) - len(set(keys))
    if not num_repeated:
        return []
    first: dict[Any, int] = {}
    example = in_two_splits = ""
    for i, key in enumerate(keys):
        before = first.setdefault(key, i)
        if before != i:
            example = example or printable(rows.paths[i])
            if rows.splits[i] != rows.splits[before] and not in_two_splits:
                in_two_splits = f"; {printable(rows.paths[i])} is in {rows.splits[before]} and in {rows.splits[i]}"
            if set(ids_N[before]) != set(ids_N[i]):
                place = f"on line {rows.lines[before]}" if rows.lines[before] else "listed"
                why = f"is also {place} with another label; remove one"
                raise InputError(f"{rows.where(i, source)}: {quoted(rows.paths[i])}: {why}")
    clips = f"{num_repeated} clips are listed more than once, such as"
    clips = "1 clip is listed more than once:" if num_repeated == 1 else clips
    return [f"{clips} {example}{in_two_splits}"]


def _class_warnings(
    names: tuple[str, ...], ids_N: list[tuple[int, ...]], splits: list[str], *, has_class_file: bool
) -> list[str]:
    """Warnings about classes that are allowed but probably mistakes."""
    used = {label for labels in ids_N for label in labels}
    warnings = []
    if len(used) == 1 and len(names) == 1:
        warnings.append(f"all clips are of one class, {names[0]!r}: there is nothing to classify")
    missing = [name for i, name in enumerate(names) if i not in used]
    if missing and used and (has_class_file or len(missing) < len(names)):
        warnings.append(f"{len(missing)} of {len(names)} classes have no clip: {abridged([*map(repr, missing)], 3)}")
    trained = {label for labels, split in zip(ids_N, splits, strict=True) if split == "train" for label in labels}
    if "train" in splits and (untrained := [names[label] for label in sorted(used - trained)]):
        have = counted(len(untrained), "class has", "classes have")
        warnings.append(f"{have} clips, but none in train: {abridged([*map(repr, untrained)], 3)}")
    if several := next((name for name in names if "|" in name), None):
        warnings.append(f"class names contain `|`, such as {several!r}; pass --multi-label if they are several classes")
    if mixed := next((name for name in names if not name.isascii() and len(scripts_in(name)) > 1), None):
        alphabets = " and ".join(sorted(scripts_in(mixed)))
        meant = "".join(LOOK_ALIKE.get(letter, letter) for letter in mixed)
        warnings.append(f"class name {mixed!r} mixes letters of {alphabets} that look alike; did you mean {meant!r}?")
    folded = Counter(name.casefold() for name in names)
    if alike := [name for name in names if folded[name.casefold()] > 1]:
        warnings.append(f"class names that differ only in case: {', '.join(map(repr, alike[:4]))}")
    return warnings


def _gather(
    values: npt.NDArray[Any], ends_N: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Select from `values`, the concatenation of N pieces that end at `ends_N`: the chosen pieces, and their ends."""
    starts_N = np.concatenate([[0], ends_N[:-1]])
    lengths = (ends_N - starts_N)[indices]
    ends = np.cumsum(lengths)
    places = np.repeat(starts_N[indices] - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
    return values[places], ends
