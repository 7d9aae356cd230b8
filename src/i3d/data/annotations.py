"""The clips of a dataset with their labels, as one compact table that worker processes share.

    annotations = read_annotations(Path("train.csv"))      # any list or layout: see `docs/data.md`
    annotations[7]                                          # Clip(path=..., labels=(3,), ...)

Letters in names: N clips, K classes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from i3d.data.class_numbers import assign_class_numbers
from i3d.data.labels import LOOK_ALIKE, scripts_in
from i3d.data.rows import Rows
from i3d.errors import InputError, printable, quoted

SPLITS: Final = ("train", "val", "test")
PIECES: Final = ("paths_utf8", "path_ends_N", "labels", "label_ends_N")
COLUMNS: Final = ("starts_N", "ends_N", "num_frames_N", "first_frames_N", "groups_N", "splits_N", "lines_N", "files_N")


@dataclass(frozen=True)
class Clip:
    """One clip: a video file, a folder of frames, or a part of one."""

    path: str  # relative to the root of its annotations, or absolute
    labels: tuple[int, ...]  # class numbers; one, or several if classes go together, or none if they are not known
    start_seconds: float | None = None
    end_seconds: float | None = None
    num_frames: int | None = None  # of a folder of frames, as the list says; None: a video, or not told
    first_frame: int = 0  # of a folder of frames that begins in its middle
    is_frames: bool = False
    group: str = ""  # what a split must not straddle
    split: str = ""
    line: int = 0  # in the list; 0: there is none


@dataclass(frozen=True, repr=False, eq=False)
class Annotations:
    """Clips and classes. The columns are arrays: processes share their memory, and a quarter million clips is small."""

    source: str  # the list or folder
    root: str  # what paths are relative to
    classes: tuple[str, ...]
    is_frames: bool  # folders of frames, not videos
    warnings: tuple[str, ...]
    paths_utf8: npt.NDArray[np.uint8]
    path_ends_N: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]  # of all clips, one after the other
    label_ends_N: npt.NDArray[np.int64]
    starts_N: npt.NDArray[np.float64]  # seconds; NaN: not told
    ends_N: npt.NDArray[np.float64]
    num_frames_N: npt.NDArray[np.int32]  # -1: not told
    first_frames_N: npt.NDArray[np.int32]
    groups_N: npt.NDArray[np.int32]  # numbers of `group_names`
    group_names: tuple[str, ...]
    splits_N: npt.NDArray[np.int8]  # numbers of SPLITS; -1: none
    lines_N: npt.NDArray[np.int32]
    files_N: npt.NDArray[np.int16]  # numbers of `file_names`
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

    def name(self, index: int) -> str:
        """The path as it is listed, with the part that is meant: `a.mp4 [1.5 s to 3 s]`, `a [frames 30 to 49]`."""
        clip = self[index]
        if clip.start_seconds is not None or clip.end_seconds is not None:
            end = "its end" if clip.end_seconds is None else f"{clip.end_seconds:.10g} s"
            return f"{clip.path} [{clip.start_seconds or 0:.10g} s to {end}]"
        if clip.first_frame:
            end = "the last" if clip.num_frames is None else str(clip.first_frame + clip.num_frames - 1)
            return f"{clip.path} [frames {clip.first_frame} to {end}]"
        return clip.path

    def labels_of(self, index: int) -> tuple[int, ...]:
        """Class numbers of one clip."""
        begin = self.label_ends_N[index - 1] if index else 0
        return tuple(self.labels[begin : self.label_ends_N[index]].tolist())

    def where(self, index: int) -> str:
        """`file:line` of a clip in its list, to stand before an error."""
        line = int(self.lines_N[index])
        return printable(self.file_names[self.files_N[index]]) + (f":{line}" if line else "")

    @cached_property
    def class_counts_K(self) -> npt.NDArray[np.int64]:
        """How many clips each class has."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def select(self, chosen: Sequence[int] | npt.NDArray[Any]) -> Self:
        """Only the clips of these indices (or of this mask), in that order."""
        indices = np.arange(len(self))[np.asarray(chosen)] if len(chosen) else np.empty(0, np.int64)
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

    def map_columns(self, change: Callable[[Any], Any]) -> Self:
        """The same with every column changed, as for a way to another process."""
        return replace(self, **{name: change(getattr(self, name)) for name in (*PIECES, *COLUMNS)})

    def select_split(self, split: str) -> Self:
        """The clips of "train", "val" or "test". A split without clips is an InputError."""
        chosen = self.splits_N == SPLITS.index(split)
        if not chosen.any():
            present = [name for i, name in enumerate(SPLITS) if (self.splits_N == i).any()]
            told = f"it has {', '.join(present)}" if present else "no clip says its split"
            raise InputError(f"{printable(self.source)}: no clip of the split {split!r}: {told}")
        return self.select(chosen)


def build_annotations(
    rows: Rows,
    *,
    source: Path,
    root: Path,
    classes: tuple[str, ...] | None = None,
    multi_label: bool = False,
    allow_outside: bool = False,
) -> Annotations:
    """Check what a reader found and make it a table. `classes` gives the class names; without, the list does."""
    if not rows.paths:
        raise InputError(f"{printable(str(source))}: it lists no clip; put one on each line")
    _check_paths(rows, source=source, root=root, allow_outside=allow_outside)
    names, ids_N = assign_class_numbers(rows, classes or rows.classes, source=source, multi_label=multi_label)
    remarks = _remarks(names, ids_N, rows.splits, told=classes is not None)
    warnings = [*rows.warnings, *_repeats(rows, ids_N, source=source), *remarks]
    groups = sorted(set(rows.groups))
    number_of = {name: i for i, name in enumerate(groups)}
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
        groups_N=np.array([number_of[name] for name in rows.groups], np.int32),
        group_names=tuple(groups),
        splits_N=np.array([SPLITS.index(name) if name else -1 for name in rows.splits], np.int8),
        lines_N=np.array(rows.lines, np.int32),
        files_N=np.array(rows.files, np.int16),
        file_names=tuple(rows.file_names) or (str(source),),
    )


def _check_paths(rows: Rows, *, source: Path, root: Path, allow_outside: bool) -> None:
    """No path may be empty, hold a NUL, or lead out of the root."""
    base = os.path.abspath(root)  # noqa: PTH100 (lexical: symbolic links inside the root are the user's own)
    for index, path in enumerate(rows.paths):
        if path and "\0" not in path and not path.startswith(("/", "~", "\\")) and ".." not in path:
            continue
        where = f"{rows.where(index, source)}: {quoted(path)}"
        if not path.strip() or "\0" in path:
            raise InputError(f"{where}: not a path; correct the line")
        whole = os.path.normpath(os.path.join(base, path))  # noqa: PTH118
        if not allow_outside and os.path.commonpath([base, whole]) != base:
            raise InputError(
                f"{where}: leads out of the root {printable(str(root))}; say --root, or --allow-outside if it is meant"
            )


def _repeats(rows: Rows, ids_N: list[tuple[int, ...]], *, source: Path) -> list[str]:
    """Clips that are listed twice. With other labels, that is an error."""
    keys: Sequence[Any] = rows.paths
    if any("./" in path or "//" in path for path in rows.paths):
        keys = [os.path.normpath(path) for path in rows.paths]
    if not np.isnan(rows.starts).all() or not np.isnan(rows.ends).all() or any(rows.first_frames):
        parts = [np.nan_to_num(np.array(column), nan=-1).tolist() for column in (rows.starts, rows.ends)]
        keys = list(zip(keys, *parts, rows.first_frames, strict=True))
    num_repeated = len(keys) - len(set(keys))
    if not num_repeated:
        return []
    first: dict[Any, int] = {}
    example = astride = ""
    for i, key in enumerate(keys):
        before = first.setdefault(key, i)
        if before != i:
            example = example or printable(rows.paths[i])
            if rows.splits[i] != rows.splits[before] and not astride:
                astride = f"; {printable(rows.paths[i])} is in {rows.splits[before]} and in {rows.splits[i]}"
            if set(ids_N[before]) != set(ids_N[i]):
                raise InputError(
                    f"{rows.where(i, source)}: {quoted(rows.paths[i])}: is also on line {rows.lines[before]} "
                    "with another label; keep one"
                )
    return [f"{num_repeated} clips are listed more than once, {example} for one{astride}"]


def _remarks(names: tuple[str, ...], ids_N: list[tuple[int, ...]], splits: list[str], *, told: bool) -> list[str]:
    """What is allowed but seldom meant."""
    used = {label for labels in ids_N for label in labels}
    remarks = []
    if len(used) == 1 and len(names) == 1:
        remarks.append(f"all clips are of one class, {names[0]!r}: there is nothing to tell apart")
    missing = [name for i, name in enumerate(names) if i not in used]
    if missing and used and (told or len(missing) < len(names)):
        remarks.append(f"{len(missing)} of {len(names)} classes have no clip: {_some(missing)}")
    trained = {label for labels, split in zip(ids_N, splits, strict=True) if split == "train" for label in labels}
    if "train" in splits and (untrained := [names[label] for label in sorted(used - trained)]):
        remarks.append(f"{len(untrained)} classes have clips, but none in train: {_some(untrained)}")
    if several := next((name for name in names if "|" in name), None):
        remarks.append(f"class names hold a `|`, such as {several!r}; say --multi-label if they are several classes")
    if mixed := next((name for name in names if not name.isascii() and len(scripts_in(name)) > 1), None):
        alphabets = " and ".join(sorted(scripts_in(mixed)))
        meant = "".join(LOOK_ALIKE.get(letter, letter) for letter in mixed)
        remarks.append(f"class name {mixed!r} has letters of {alphabets}, which look alike; was {meant!r} meant?")
    folded = Counter(name.casefold() for name in names)
    if alike := [name for name in names if folded[name.casefold()] > 1]:
        remarks.append(f"class names that differ only in case: {', '.join(map(repr, alike[:4]))}")
    return remarks


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (" ..." if len(names) > 3 else "")


def _gather(
    values: npt.NDArray[Any], ends_N: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Those of consecutive pieces of `values`, which end at `ends_N`, that `indices` name."""
    starts_N = np.concatenate([[0], ends_N[:-1]])
    lengths = (ends_N - starts_N)[indices]
    ends = np.cumsum(lengths)
    places = np.repeat(starts_N[indices] - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
    return values[places], ends
