"""Divide a dataset into training, validation and test, so that what belongs together stays together."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from i3d.data.annotations import SPLITS, Annotations
from i3d.errors import InputError, quoted

Key = tuple[str, str]  # what kind of thing keeps clips together, and which one
UCF101_GROUP = r"(v_.+_g\d+)_c\d+\.\w+$"  # clips of one video


@dataclass(frozen=True)
class SplitResult:
    """Annotations with a split for each clip, and what could not be had."""

    annotations: Annotations
    counts_SK: npt.NDArray[np.int64]  # clips of each split (train, val, test) and class
    num_groups: int
    warnings: tuple[str, ...]


def split_annotations(
    annotations: Annotations,
    *,
    val: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    group_by: str | None = None,
    keep: bool = True,
    alike: Sequence[tuple[int, int]] = (),
) -> SplitResult:
    """Give each clip a split. Clips of one group never straddle, and every class is divided in about the same shares.

    A group is what the list says (`group`), or the first parenthesis of the regular expression `group_by` in the path,
    or UCF101's numbering of clips, or else the file: parts of one video are together. Clips that have a split keep it
    (`keep`), with their whole group. `alike`: pairs of clips that stay together besides, as they show the same.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and 0 < val + test < 1):
        raise InputError(f"val {val} and test {test} must be shares from 0 to 1 that leave something to train on")
    groups_N, _ = find_groups(annotations, group_by, alike)
    num_groups, num_classes = int(groups_N.max()) + 1, len(annotations.classes)
    counts_G = _class_counts(annotations, groups_N, num_groups)
    fixed_G = _fixed(annotations, groups_N, num_groups) if keep else np.full(num_groups, -1)
    shares_S = np.array([1 - val - test, val, test])
    splits_G = _assign(counts_G, fixed_G, shares_S, seed=seed)
    splits_N = splits_G[groups_N].astype(np.int8)
    counts_SK = np.stack([
        np.bincount(_labels_of(annotations, splits_N == s), minlength=num_classes) for s in range(len(SPLITS))
    ])  # fmt: skip
    changed = replace(with_groups(annotations, group_by), splits_N=splits_N)
    if (fixed_G >= 0).all():
        kept = "all clips have a split already and keep it; say --anew to divide them anew"
        return SplitResult(changed, counts_SK, num_groups, (kept,))
    return SplitResult(changed, counts_SK, num_groups, _warnings(annotations.classes, counts_SK, shares_S))


def assign_folds(
    annotations: Annotations, num_folds: int, *, seed: int = 0, alike: Sequence[tuple[int, int]] = ()
) -> npt.NDArray[np.int64]:
    """The fold (0 to `num_folds` - 1) of each clip: groups stay together, classes are divided evenly."""
    groups_N, _ = find_groups(annotations, None, alike)
    num_groups = int(groups_N.max()) + 1
    if not 2 <= num_folds <= num_groups:
        raise InputError(f"--folds {num_folds}: must be at least 2 and at most {num_groups}, the number of groups")
    counts_G = _class_counts(annotations, groups_N, num_groups)
    fold_G = _assign(counts_G, np.full(num_groups, -1), np.full(num_folds, 1 / num_folds), seed=seed)
    if len(np.unique(fold_G)) < num_folds:
        raise InputError(
            f"--folds {num_folds}: {num_groups} groups of these sizes fill no more than "
            f"{len(np.unique(fold_G))} folds evenly; say --folds {len(np.unique(fold_G))}"
        )
    return fold_G[groups_N]


def with_groups(annotations: Annotations, group_by: str | None = None) -> Annotations:
    """The same clips, with the groups that `find_groups` finds by their names written down as a list's own."""
    _, names_N = find_groups(annotations, group_by)
    names = tuple(dict.fromkeys(names_N))
    number_of = {name: i for i, name in enumerate(names)}
    named_N = np.array([number_of[name] for name in names_N], np.int32)
    return replace(annotations, groups_N=named_N, group_names=names)


def find_groups(
    annotations: Annotations, group_by: str | None = None, alike: Sequence[tuple[int, int]] = ()
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """A number for the group of every clip, and what it is called; "" where it is the file alone."""
    try:
        pattern = re.compile(group_by or UCF101_GROUP)
    except re.error as error:
        raise InputError(f"--group-by {group_by!r}: not a regular expression ({error}); correct it") from None
    if group_by and not pattern.groups:
        raise InputError(f"--group-by {group_by!r}: has no parenthesis; put one around what names the group")
    keys = []
    for index in range(len(annotations)):
        path = annotations.path(index)
        named = annotations.group_names[annotations.groups_N[index]]
        found = pattern.search(path) if group_by or not named else None
        if group_by and found is None:
            where = annotations.where(index)
            raise InputError(f"{where}: {quoted(path)}: does not match --group-by {group_by!r}; correct one")
        keys.append(("pattern", found[1]) if found else ("group", named) if named else ("path", path))
    files = [("file", os.path.normpath(annotations.path(index))) for index in range(len(annotations))]
    pairs = [*zip(keys, files, strict=True), *((keys[one], keys[other]) for one, other in alike)]
    return _joined(keys, pairs), ["" if kind == "path" else name for kind, name in keys]


def _joined(keys: list[Key], pairs: list[tuple[Key, Key]]) -> npt.NDArray[np.int64]:
    """Numbers of groups, where clips with the same key are together, and those whose keys are a pair as well."""
    parent: dict[Key, Key] = {}

    def root(key: Key) -> Key:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for one, other in pairs:
        parent[root(other)] = root(one)
    numbers: dict[Key, int] = {}
    return np.array([numbers.setdefault(root(key), len(numbers)) for key in keys], np.int64)


def _class_counts(annotations: Annotations, groups_N: npt.NDArray[np.int64], num_groups: int) -> list[dict[int, int]]:
    """For each group, how many clips of which class (most have one class of hundreds)."""
    counts: list[dict[int, int]] = [{} for _ in range(num_groups)]
    for index, group in enumerate(groups_N.tolist()):
        for label in annotations.labels_of(index) or (-1,):
            counts[group][label] = counts[group].get(label, 0) + 1
    return counts


def _fixed(annotations: Annotations, groups_N: npt.NDArray[np.int64], num_groups: int) -> npt.NDArray[np.int64]:
    """The split that a group has already; -1: none. A group that has two is an InputError."""
    fixed_G = np.full(num_groups, -1)
    for index in np.flatnonzero(annotations.splits_N >= 0).tolist():
        group, known = groups_N[index], int(annotations.splits_N[index])
        if fixed_G[group] not in (-1, known):
            raise InputError(
                f"{annotations.where(index)}: {quoted(annotations.path(index))}: its group is in "
                f"{SPLITS[fixed_G[group]]} and in {SPLITS[known]}; put it into one, or divide anew (--anew)"
            )
        fixed_G[group] = known
    return fixed_G


def _assign(
    counts_G: list[dict[int, int]], fixed_G: npt.NDArray[np.int64], shares_S: npt.NDArray[np.float64], *, seed: int
) -> npt.NDArray[np.int64]:
    """Large groups first, each to the split that lacks most of its classes; small ones even out what is left.

    Where several lack as much of these, it is the one that lacks most clips: else rare classes fill the first alone.
    """
    rng = np.random.default_rng(seed)
    sizes_G = np.array([sum(counts.values()) for counts in counts_G])
    order = np.lexsort((rng.permutation(len(counts_G)), -sizes_G))
    totals: dict[int, int] = {}  # of what is divided: not of what lies in a split that gets no share
    divided = (counts for counts, known in zip(counts_G, fixed_G, strict=True) if known < 0 or shares_S[known] > 0)
    for counts in divided:
        for label, count in counts.items():
            totals[label] = totals.get(label, 0) + count
    lack_KS = {label: total * shares_S for label, total in totals.items()}
    lack_S, splits_G = sum(totals.values()) * shares_S, fixed_G.copy()
    for group in [*(g for g in order if fixed_G[g] >= 0), *(g for g in order if fixed_G[g] < 0)]:
        if splits_G[group] < 0:
            need_S = sum(lack_KS[label] * count for label, count in counts_G[group].items())
            need_S = np.where(shares_S > 0, need_S, -np.inf)
            equal = np.flatnonzero(np.isclose(need_S, need_S.max(), rtol=0, atol=1e-9))
            splits_G[group] = equal[np.argmax(lack_S[equal])]
        for label, count in counts_G[group].items():
            if label in lack_KS:
                lack_KS[label][splits_G[group]] -= count
                lack_S[splits_G[group]] -= count
    return splits_G


def _labels_of(annotations: Annotations, chosen_N: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    lengths_N = np.diff(annotations.label_ends_N, prepend=0)
    return annotations.labels[np.repeat(chosen_N, lengths_N)]


def _warnings(
    classes: tuple[str, ...], counts_SK: npt.NDArray[np.int64], shares_S: npt.NDArray[np.float64]
) -> tuple[str, ...]:
    """Classes that some split lacks: too few groups to divide."""
    warnings = []
    for s in np.flatnonzero(shares_S):
        lacking = [classes[k] for k in np.flatnonzero((counts_SK[s] == 0) & (counts_SK.sum(axis=0) > 0))]
        if lacking:
            named = ", ".join(map(repr, lacking[:5])) + (" ..." if len(lacking) > 5 else "")
            warnings.append(f"{SPLITS[s]} has no clip of {len(lacking)} classes, which have too few groups: {named}")
    return tuple(warnings)
