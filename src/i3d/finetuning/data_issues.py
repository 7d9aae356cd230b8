"""Finds the issues of a dataset before anything is trained on it: unreadable files, duplicates, leaks, imbalance.

    for issue in find_data_issues(annotations, report):
        print(issue.message)

Letters in names: N clips, K classes.
"""

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from i3d.data.annotations import SPLITS, Annotations
from i3d.data.check.report import ClipReport, DatasetReport
from i3d.data.sources import guess_sources
from i3d.data.split import find_groups
from i3d.errors import InputError, counted, doubt_units, printable

Kind = Literal[
    "one class", "few clips", "empty class", "unreadable", "damaged", "two classes", "duplicates", "twice", "leak",
    "imbalance", "sources", "units", "near-duplicates", "divided near-duplicates", "doubtful labels", "one fold",
]  # fmt: skip
UNREADABLE: Final = ("missing", "empty", "unreadable", "no video", "crashed", "timeout", "too short")
MAX_NAMES: Final = 5  # files that a message names
NEIGHBOURS: Final = 5
MAX_COMPARED: Final = 2000  # clips, in the search for leaks
DEVIATIONS: Final = 3  # above chance; with 2, four properties of 20 clips in two classes give 16 % false alarms
FEW: Final = 5  # training clips of a class
IMBALANCE: Final = 5.0  # clips of the largest class per clip of the smallest

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class DataIssue:
    """One issue of a dataset. After a fatal one, there is nothing to train."""

    kind: Kind
    message: str
    is_fatal: bool = False
    group_by: str = ""  # the pattern that names the sources of the issue


def is_readable(row: ClipReport) -> bool:
    """Whether a clip has frames to train on."""
    return bool(row.num_frames) and row.status not in UNREADABLE


def duplicate_pairs(report: DatasetReport) -> list[tuple[int, int]]:
    """Pairs of clips with the same content: (later, earlier)."""
    first: dict[str, int] = {}
    for index, row in enumerate(report.rows):
        first.setdefault(row.path, index)
    return [(index, first[row.duplicate_of]) for index, row in enumerate(report.rows) if row.duplicate_of in first]


def find_data_issues(annotations: Annotations, report: DatasetReport) -> list[DataIssue]:
    """The issues of clips with their splits; `report` has the row of `i3d data check` for each clip.

    Clips without a split count as training clips.
    """
    readable_N = np.array([is_readable(row) for row in report.rows], bool)
    return [
        *_unreadable(report),
        *_classes(annotations, readable_N),
        *_same(annotations, report),
        *_sources(annotations, readable_N),
        *_leaks(annotations, report, readable_N),
    ]


def report_data_issues(annotations: Annotations, report: DatasetReport) -> list[DataIssue]:
    """The issues of the data, logged; fatal ones are an InputError."""
    issues = find_data_issues(annotations, report)
    if fatal := [issue.message for issue in issues if issue.is_fatal]:
        raise InputError(f"{annotations.source}: {'; '.join(fatal)}")
    for issue in issues:
        log.warning(issue.message)
    return issues


def find_fold_issues(annotations: Annotations, folds_N: npt.NDArray[np.int64]) -> list[DataIssue]:
    """The issue of classes whose clips are all in one fold: no model that tests them was trained on the class."""
    folds_K: list[set[int]] = [set() for _ in annotations.classes]
    for index, fold in enumerate(folds_N.tolist()):
        for label in annotations.labels_of(index):
            folds_K[label].add(fold)
    names = [repr(name) for name, folds in zip(annotations.classes, folds_K, strict=True) if len(folds) == 1]
    words = "classes have all clips in one fold, so that cross-validation never predicts them"
    one = "class has all clips in one fold, so that cross-validation never predicts it"
    return _named("one fold", names, words, "; add clips of other sources", one=one)


def _named(
    kind: Kind, names: Sequence[str], words: str, todo: str = "", *, one: str = "", is_fatal: bool = False
) -> list[DataIssue]:
    """An issue that counts and names some files or classes; none of them is no issue."""
    named = ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
    message = printable(f"{len(names)} {one if one and len(names) == 1 else words}: {named}{todo}")
    return [DataIssue(kind, message, is_fatal)] if names else []


def _unreadable(report: DatasetReport) -> list[DataIssue]:
    num_clips = len(report.rows)
    unreadable = [f"{row.path} ({row.reason})" for row in report.rows if not is_readable(row)]
    doubt = doubt_units(row.reason for row in report.rows)
    damaged = [row for row in report.rows if is_readable(row) and row.status in ("truncated", "damaged")]
    return [
        *_named("unreadable", unreadable, f"of {counted(num_clips, 'clip')} cannot be read and are left out",
                is_fatal=len(unreadable) == num_clips),
        *([DataIssue("units", doubt)] if doubt else []),
        *_named("damaged", [f"{row.path} ({row.reason})" for row in damaged],
                "clips are damaged: read as far as possible", one="clip is damaged: read as far as possible"),
    ]  # fmt: skip


def _classes(annotations: Annotations, readable_N: npt.NDArray[np.bool_]) -> list[DataIssue]:
    names = annotations.classes
    is_training_N = readable_N & (annotations.splits_N <= 0)
    counts_K = np.zeros(len(names), np.int64)
    if is_training_N.any():
        counts_K = annotations.select(is_training_N).class_counts_K
    present = np.flatnonzero(counts_K)
    if len(present) < 2:
        only = f"all training clips are of one class, {names[present[0]]!r}" if len(present) else "no clip can be read"
        return [DataIssue("one class", f"{only}; add clips of another class", is_fatal=True)]
    issues = []
    if readable_N.sum() < len(names):
        clips = counted(int(readable_N.sum()), "clip")
        words = f"{clips} for {counted(len(names), 'class', 'classes')}: fewer clips than classes"
        issues.append(DataIssue("few clips", f"{words}; add clips, or remove classes", is_fatal=True))
    empty = [repr(names[k]) for k in np.flatnonzero(counts_K == 0)]
    few = [f"{names[k]!r} ({counts_K[k]})" for k in np.flatnonzero((counts_K > 0) & (counts_K < FEW))]
    words = f"of {len(names)} classes have no training clip and can never be predicted"
    issues += _named("empty class", empty, words, "; add clips, or remove the classes")
    words = f"of {len(names)} classes have fewer than {FEW} training clips"
    issues += _named("few clips", few, words, "; aim at ten or more per class")
    most, least = int(counts_K.argmax()), int(present[counts_K[present].argmin()])
    if counts_K[most] >= IMBALANCE * counts_K[least]:
        words = f"{names[most]!r} has {counts_K[most]} training clips, {names[least]!r} has {counts_K[least]}"
        issues.append(DataIssue("imbalance", f"{words}: compare mean recall beside top-1 (--balance)"))
    return issues


def _same(annotations: Annotations, report: DatasetReport) -> list[DataIssue]:
    """Duplicates: in two classes, in two splits, or within a class."""
    two, across, twice = [], [], []
    first = {(row.path, _part(annotations, i)): i for i, row in reversed([*enumerate(report.rows)])}
    for later, _ in duplicate_pairs(report):
        earlier = first.get((report.rows[later].duplicate_of, _part(annotations, later)))
        if earlier is None:  # another part of that file
            continue
        rows, splits = (report.rows[later], report.rows[earlier]), annotations.splits_N[[later, earlier]].tolist()
        named, is_same_class = " and ".join(row.path for row in rows), set(rows[0].labels) == set(rows[1].labels)
        if not is_same_class:
            two.append(f"{named} ({' and '.join(' + '.join(row.labels) for row in rows)})")
        if min(splits) >= 0 and splits[0] != splits[1]:
            across.append(f"{named} ({' and '.join(SPLITS[split] for split in splits)})")
        elif is_same_class:
            twice.append(named)
    return [
        *_named("two classes", two, "clips are duplicates of a clip of another class",
                "; one label of each pair is wrong", one="clip is a duplicate of a clip of another class"),
        *_named("duplicates", across, "clips are duplicates of a clip in another split",
                "; test scores will be too high (without your split, the one that is drawn keeps them together)",
                one="clip is a duplicate of a clip in another split"),
        *_named("twice", twice, "clips are duplicates of a clip of their class",
                "; they stay in one split, and count twice", one="clip is a duplicate of a clip of its class"),
    ]  # fmt: skip


def _sources(annotations: Annotations, readable_N: npt.NDArray[np.bool_]) -> list[DataIssue]:
    """Sources (listed groups, names of datasets, shared beginnings of names) of clips in two splits."""
    clips = annotations.select(np.flatnonzero(readable_N & (annotations.splits_N >= 0)).tolist())
    if len(np.unique(clips.splits_N)) < 2:
        return []
    groups_N, names = find_groups(clips)
    group_by = ""
    groups: Sequence[object] = groups_N.tolist()
    paths = [clips.path(index) for index in range(len(clips))]
    words = "sources have clips in two splits"
    if not any(names) and (guess := guess_sources(paths, [clips.labels_of(index) for index in range(len(clips))])):
        groups, names, words = guess.names_N, list(guess.names_N), "beginnings of names are in two splits"
        group_by = guess.pattern
    splits: dict[object, set[int]] = {}
    for group, split in zip(groups, clips.splits_N.tolist(), strict=True):
        splits.setdefault(group, set()).add(split)
    named = dict(zip(groups, (name or path for name, path in zip(names, paths, strict=True)), strict=True))
    both = [
        f"{named[group]} ({' and '.join(SPLITS[split] for split in sorted(splits_of))})"
        for group, splits_of in splits.items()
        if len(splits_of) > 1
    ]
    command = f"i3d data split --ignore-splits{group_flag(group_by)}"
    todo = f"; test scores may be too high (`{command}` keeps them together)"
    return [replace(issue, group_by=group_by) for issue in _named("sources", both, words, todo)]


def group_flag(group_by: str) -> str:
    """The flag of a pattern, after a space; "" without one."""
    return f" --group-by {shlex.quote(group_by)}" if group_by else ""


def _part(annotations: Annotations, index: int) -> tuple[float | None, ...]:
    """The part of its file that a clip is."""
    clip = annotations[index]
    return clip.start_seconds, clip.end_seconds, clip.first_frame


def _leaks(annotations: Annotations, report: DatasetReport, readable_N: npt.NDArray[np.bool_]) -> list[DataIssue]:
    """Properties of the files that predict the class: a network may learn them instead of the action."""
    labels = [annotations.labels_of(index) for index in range(len(report.rows))]
    labels_N = np.array([classes[0] if classes else -1 for classes in labels])
    indices = np.flatnonzero(readable_N & (labels_N >= 0))
    if len(indices) > MAX_COMPARED:
        indices = np.sort(np.random.default_rng(0).choice(indices, MAX_COMPARED, replace=False))
    if len(indices) < 4 or len(np.unique(labels_N[indices])) < 2:
        return []
    groups_N = find_groups(annotations)[0][indices]
    chance = 1 / len(np.unique(labels_N[indices]))
    issues = []
    properties_N = [_properties(report.rows[index]) for index in indices]
    for words in properties_N[0]:
        values_N = np.array([properties[words] for properties in properties_N], np.float64)  # None becomes NaN
        accuracy = class_predictability(values_N, labels_N[indices], groups_N)
        surprise = len(indices) * (accuracy - chance) ** 2 / (chance * (1 - chance))
        if accuracy >= 0.5 + chance / 2 and surprise > DEVIATIONS**2:
            message = (
                f"{words} alone predicts the class with a mean recall of {accuracy:.0%} (chance is "
                f"{chance:.0%}): the network may learn that instead of the action; make the classes alike in it"
            )
            issues.append(DataIssue("leak", message))
    return issues


def class_predictability(
    values_N: npt.NDArray[np.float64], labels_N: npt.NDArray[np.int64], groups_N: npt.NDArray[np.int64]
) -> float:
    """How well one number predicts the class: the mean recall of a nearest-neighbour classifier.

    The neighbours of a clip are the five clips of other groups with the nearest values, and all that are equally near.
    Each votes with the inverse of its class size. A clip whose value is unknown (NaN) counts as wrong.
    """
    classes, number_N = np.unique(labels_N, return_inverse=True)
    totals_K = np.bincount(number_N)
    right_N = np.zeros(len(values_N))
    for i, value in enumerate(values_N):
        distances_N = np.where(groups_N == groups_N[i], np.inf, np.abs(values_N - value))
        known = np.sort(distances_N[np.isfinite(distances_N)])
        if not np.isfinite(value) or not len(known):
            continue
        near_N = distances_N <= known[min(NEIGHBOURS, len(known)) - 1]
        votes_K = np.bincount(number_N[near_N], minlength=len(classes)) / totals_K
        best = np.flatnonzero(votes_K == votes_K.max())
        right_N[i] = (number_N[i] in best) / len(best)
    return float(np.mean([right_N[number_N == k].mean() for k in range(len(classes))]))


def _properties(row: ClipReport) -> dict[str, float | None]:
    """Properties of a clip that have nothing to do with its action; None: unknown."""
    return {
        "the length of a clip": row.num_frames if row.seconds is None else row.seconds,
        "the size of the frames": row.width * row.height if row.width and row.height else None,
        "the frame rate": row.fps,
        "the bytes per frame": row.bytes / row.num_frames if row.bytes and row.num_frames else None,
    }
