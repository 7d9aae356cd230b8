"""What is wrong with a set of clips, said in words before anything is trained on it.

    for trouble in find_troubles(annotations, report):
        print(trouble.words)

Letters in names: N clips, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from i3d.data.annotations import SPLITS, Annotations
from i3d.data.check.dataset import ClipReport, DatasetReport
from i3d.data.split import find_groups
from i3d.errors import printable

Kind = Literal[
    "one class",
    "few clips",
    "empty class",
    "unreadable",
    "damaged",
    "two classes",
    "duplicates",
    "twice",
    "leak",
    "imbalance",
]
UNREADABLE: Final = ("missing", "empty", "unreadable", "no video", "crashed", "timeout", "too short")
MOST: Final = 5  # files that are named
NEIGHBOURS: Final = 5
MAX_COMPARED: Final = 2000  # clips whose lengths and sizes are compared
DEVIATIONS: Final = 3  # above chance: with 2, four facts of 20 clips in two classes alarm falsely in 16 % of sets
IMBALANCE: Final = 5.0  # clips of the largest class for one of the smallest
FACTS: Final = {
    "length": "how long a clip is",
    "size": "the size of the frames",
    "rate": "the frame rate",
    "bytes": "the bytes of a frame",
}


@dataclass(frozen=True)
class DataIssue:
    """One thing that is wrong, in words. With one that stops, there is nothing to train."""

    kind: Kind
    words: str
    stops: bool = False


def is_readable(row: ClipReport) -> bool:
    """Whether there are frames to train on."""
    return bool(row.num_frames) and row.status not in UNREADABLE


def alike_pairs(report: DatasetReport) -> list[tuple[int, int]]:
    """Clips that show the same as an earlier one: (later, earlier)."""
    first: dict[str, int] = {}
    for index, row in enumerate(report.rows):
        first.setdefault(row.path, index)
    return [(index, first[row.duplicate_of]) for index, row in enumerate(report.rows) if row.duplicate_of in first]


def find_data_issues(annotations: Annotations, report: DatasetReport) -> list[DataIssue]:
    """All that is wrong with clips that have their splits; `report` is that of `check`, a row for each clip.

    Clips without a split count as clips to train on.
    """
    readable_N = np.array([is_readable(row) for row in report.rows], bool)
    labels_N = np.array(
        [annotations.labels_of(i)[0] if annotations.labels_of(i) else -1 for i in range(len(report.rows))]
    )
    to_train_N = readable_N & (annotations.splits_N <= 0)
    return [
        *_unreadable(report),
        *_classes(annotations, labels_N, readable_N, to_train_N),
        *_same(annotations, report),
        *_leaks(annotations, report, labels_N, readable_N),
    ]


def _unreadable(report: DatasetReport) -> list[DataIssue]:
    troubles = []
    lost = [f"{row.path} ({row.reason})" for row in report.rows if not is_readable(row)]
    if lost:
        words = f"{len(lost)} of {len(report.rows)} clips cannot be read and are left out: {_named(lost)}"
        troubles.append(DataIssue("unreadable", words, stops=len(lost) == len(report.rows)))
    hurt = [
        f"{row.path} ({row.reason})"
        for row in report.rows
        if is_readable(row) and row.status in ("truncated", "damaged")
    ]
    if hurt:
        troubles.append(
            DataIssue("damaged", f"{len(hurt)} clips are damaged, and used as far as they go: {_named(hurt)}")
        )
    return troubles


def _classes(
    annotations: Annotations,
    labels_N: npt.NDArray[np.int64],
    readable_N: npt.NDArray[np.bool_],
    to_train_N: npt.NDArray[np.bool_],
) -> list[DataIssue]:
    names = annotations.classes
    chosen_N = annotations.select(to_train_N) if to_train_N.any() else None
    counts_K = chosen_N.class_counts_K if chosen_N is not None else np.zeros(len(names), np.int64)
    present = np.flatnonzero(counts_K)
    if len(present) < 2:
        only = (
            f"all clips to train on are of one class, {names[present[0]]!r}" if len(present) else "no clip can be read"
        )
        return [
            DataIssue("one class", f"{only}: there is nothing to tell apart; add clips of another class", stops=True)
        ]
    troubles = []
    if len(labels_N[readable_N]) < len(names):
        words = f"{int(readable_N.sum())} clips for {len(names)} classes: fewer clips than classes"
        troubles.append(DataIssue("few clips", f"{words}; add clips, or take classes out", stops=True))
    empty = [repr(names[k]) for k in np.flatnonzero(counts_K == 0)]
    if empty:
        words = f"{len(empty)} of {len(names)} classes have no clip to train on and can never be recognised"
        troubles.append(DataIssue("empty class", f"{words}: {_named(empty)}; add clips, or take the classes out"))
    single = [repr(names[k]) for k in np.flatnonzero(counts_K == 1)]
    if single:
        words = f"{len(single)} of {len(names)} classes have one clip to train on: {_named(single)}"
        troubles.append(DataIssue("few clips", f"{words}; ten or more of each are a beginning"))
    most, least = int(counts_K.argmax()), int(present[counts_K[present].argmin()])
    if counts_K[most] >= IMBALANCE * counts_K[least]:
        words = f"{names[most]!r} has {counts_K[most]} clips to train on, {names[least]!r} {counts_K[least]}"
        troubles.append(
            DataIssue("imbalance", f"{words}: look at the mean over classes, not at top-1 alone (--balance)")
        )
    return troubles


def _same(annotations: Annotations, report: DatasetReport) -> list[DataIssue]:
    """Clips that show the same: in two classes, or on both sides of the split."""
    two, across, twice = [], [], []
    first = {(row.path, _part(annotations, i)): i for i, row in reversed([*enumerate(report.rows)])}
    for later, _ in alike_pairs(report):
        earlier = first.get((report.rows[later].duplicate_of, _part(annotations, later)))
        if earlier is None:  # another part of that file
            continue
        named = f"{report.rows[later].path} and {report.rows[earlier].path}"
        classes = [" + ".join(report.rows[index].labels) for index in (earlier, later)]
        if set(report.rows[later].labels) != set(report.rows[earlier].labels):
            two.append(f"{named} ({classes[1]} and {classes[0]})")
        splits = [int(annotations.splits_N[index]) for index in (earlier, later)]
        if min(splits) >= 0 and splits[0] != splits[1]:
            across.append(f"{named} ({SPLITS[splits[1]]} and {SPLITS[splits[0]]})")
        elif set(report.rows[later].labels) == set(report.rows[earlier].labels):
            twice.append(named)
    troubles = []
    if two:
        words = f"{len(two)} clips show the same as a clip of another class: {_named(two)}"
        troubles.append(DataIssue("two classes", f"{words}; one of each two is labelled wrongly"))
    if across:
        words = f"{len(across)} clips show the same as one on the other side of the split: {_named(across)}"
        troubles.append(
            DataIssue("duplicates", f"{words}; the scores will be too good (`i3d data split --anew` divides better)")
        )
    if twice:
        words = f"{len(twice)} clips show the same as another of their class: {_named(twice)}"
        troubles.append(DataIssue("twice", f"{words}; they stay on one side of the split, and count twice"))
    return troubles


def _part(annotations: Annotations, index: int) -> tuple[float | None, ...]:
    """Which part of its file a clip is."""
    clip = annotations[index]
    return clip.start_seconds, clip.end_seconds, clip.first_frame


def _leaks(
    annotations: Annotations, report: DatasetReport, labels_N: npt.NDArray[np.int64], readable_N: npt.NDArray[np.bool_]
) -> list[DataIssue]:
    """Facts of the files that alone tell the class: a network may learn them instead of the action."""
    chosen = np.flatnonzero(readable_N & (labels_N >= 0))
    if len(chosen) > MAX_COMPARED:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, MAX_COMPARED, replace=False))
    if len(chosen) < 4 or len(np.unique(labels_N[chosen])) < 2:
        return []
    groups_N = find_groups(annotations)[0][chosen]
    chance = 1 / len(np.unique(labels_N[chosen]))
    troubles = []
    for name, words in FACTS.items():
        values_N = np.array([_fact(report.rows[index], name) for index in chosen])
        share = class_predictability(values_N, labels_N[chosen], groups_N)
        if share >= 0.5 + chance / 2 and len(chosen) * (share - chance) ** 2 > DEVIATIONS**2 * chance * (1 - chance):
            troubles.append(
                DataIssue(
                    "leak",
                    f"{words} alone tells the class in {share:.0%} of clips (by class; chance is {chance:.0%}): "
                    f"the network may learn that instead of the action; make the clips of all classes alike in it",
                )
            )
    return troubles


def class_predictability(
    values_N: npt.NDArray[np.float64], labels_N: npt.NDArray[np.int64], groups_N: npt.NDArray[np.int64]
) -> float:
    """How well one number tells the class: the mean over classes of the share of clips that are told right.

    A clip is told by the clips of other groups with the nearest values, at least five, all that are equally near; a
    class counts by its share of these among all clips of it. Unknown values (NaN) tell nothing.
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
        shares_K = np.bincount(number_N[near_N], minlength=len(classes)) / totals_K
        best = np.flatnonzero(shares_K == shares_K.max())
        right_N[i] = (number_N[i] in best) / len(best)
    return float(np.mean([right_N[number_N == k].mean() for k in range(len(classes))]))


def _fact(row: ClipReport, name: str) -> float:
    values = {
        "length": row.seconds if row.seconds is not None else row.num_frames,
        "size": row.width * row.height if row.width and row.height else None,
        "rate": row.fps,
        "bytes": row.bytes / row.num_frames if row.bytes and row.num_frames else None,
    }
    value = values[name]
    return float("nan") if value is None else float(value)


def _named(what: Sequence[str]) -> str:
    return printable(", ".join(what[:MOST])) + (f" and {len(what) - MOST} more" if len(what) > MOST else "")
