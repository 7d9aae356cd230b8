"""Split a dataset into training, validation and test, or into folds, without separating the clips of a group."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from i3d.data.annotations import SPLITS, Annotations
from i3d.data.sources import derived_pairs, known_source
from i3d.errors import InputError, abridged, counted
from i3d.utils.arguments import checks_types
from i3d.utils.text import group_pattern

GroupKey = tuple[str, str]  # kind of group (pattern, group, path, file) and its name


@dataclass(frozen=True)
class SplitResult:
    """Annotations with a split for each clip."""

    annotations: Annotations
    counts_SK: npt.NDArray[np.int64]  # number of clips of each split (train, val, test) and class
    num_groups: int
    warnings: tuple[str, ...]  # classes that a split lacks


@checks_types
def split_annotations(
    annotations: Annotations,
    *,
    val: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    group_by: str | None = None,
    keep_existing: bool = True,
    alike: Sequence[tuple[int, int]] = (),
) -> SplitResult:
    """Assign a split to each clip. A group is never divided, and classes are divided in about the same proportion.

    `val` and `test`: fractions of the clips. The group of a clip is the column `group` of its list; or what the first
    parenthesis of the regular expression `group_by` matches in its path; or its source, in the file names of some
    public datasets; else its file, so that parts of one video stay together. Without `group_by`, a name with a suffix
    such as `_mirror` joins the clip without it. `keep_existing`: clips that have a split keep it,
    with their whole group. `alike`: pairs of clips that also stay together, such as duplicates.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and 0 < val + test < 1):
        raise InputError(f"val {val} and test {test}: must be fractions from 0 to 1 whose sum is between 0 and 1")
    groups_N, _ = find_groups(annotations, group_by, alike)
    num_groups = int(groups_N.max()) + 1
    counts_G = _class_counts(annotations, groups_N, num_groups)
    fixed_G = _existing_splits(annotations, groups_N, num_groups) if keep_existing else np.full(num_groups, -1)
    fractions_S = np.array([1 - val - test, val, test])
    splits_G = _assign(counts_G, fixed_G, fractions_S, seed=seed)
    splits_N = splits_G[groups_N].astype(np.int8)
    counts_SK = np.stack([annotations.select(splits_N == s).class_counts_K for s in range(len(SPLITS))])
    changed = replace(with_groups(annotations, group_by), splits_N=splits_N)
    warnings = _warnings(annotations.classes, counts_SK, fractions_S)
    if (fixed_G >= 0).all():
        warnings = ("all clips already have a split and keep it; pass --ignore-splits to split them again",)
    return SplitResult(changed, counts_SK, num_groups, warnings)


def complete_split(annotations: Annotations, alike: Sequence[tuple[int, int]] = ()) -> Annotations:
    """Clips without a split get that of their group; those of a group without one are for training."""
    groups_N, _ = find_groups(annotations, None, alike)
    fixed_G = _existing_splits(annotations, groups_N, int(groups_N.max()) + 1)
    splits_G = np.where(fixed_G < 0, SPLITS.index("train"), fixed_G).astype(np.int8)
    return replace(annotations, splits_N=splits_G[groups_N])


def assign_folds(
    annotations: Annotations, num_folds: int, *, seed: int = 0, alike: Sequence[tuple[int, int]] = ()
) -> npt.NDArray[np.int64]:
    """The fold (0 to `num_folds` - 1) of each clip: groups are not divided, classes are divided evenly."""
    groups_N, _ = find_groups(annotations, None, alike)
    num_groups = int(groups_N.max()) + 1
    if not 2 <= num_folds <= num_groups:
        raise InputError(f"--cv-folds {num_folds}: must be at least 2 and at most {num_groups}, the number of groups")
    counts_G = _class_counts(annotations, groups_N, num_groups)
    fold_G = _assign(counts_G, np.full(num_groups, -1), np.full(num_folds, 1 / num_folds), seed=seed)
    if (num_filled := len(np.unique(fold_G))) < num_folds:
        why = f"{num_groups} groups of these sizes fill only {num_filled} folds; pass --cv-folds {num_filled}"
        raise InputError(f"--cv-folds {num_folds}: {why}")
    return fold_G[groups_N]


def with_groups(annotations: Annotations, group_by: str | None = None) -> Annotations:
    """The same clips with the groups of `find_groups` as their column `group`."""
    _, names_N = find_groups(annotations, group_by)
    numbers: dict[str, int] = {}
    groups_N = np.array([numbers.setdefault(name, len(numbers)) for name in names_N], np.int32)
    return replace(annotations, groups_N=groups_N, group_names=tuple(numbers))


def find_groups(
    annotations: Annotations, group_by: str | None = None, alike: Sequence[tuple[int, int]] = ()
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The number of each clip's group, and its name; "" for a group that is a file."""
    pattern, keys = group_pattern(group_by) if group_by else None, []
    for index in range(len(annotations)):
        path = annotations.path(index)
        listed = annotations.group_names[annotations.groups_N[index]]
        match = pattern.search(path) if pattern else None
        if pattern and (match is None or match[1] is None):
            raise annotations.error(index, f"does not match --group-by {group_by!r}; correct one")
        source = match[1] if match else "" if listed else known_source(path)
        keys.append(("pattern", source) if match or source else ("group", listed) if listed else ("path", path))
    if pattern is None:
        alike = [*alike, *derived_pairs([annotations.path(index) for index in range(len(annotations))])]
    files = [("file", os.path.normpath(annotations.path(index))) for index in range(len(annotations))]
    pairs = [*zip(keys, files, strict=True), *((keys[one], keys[other]) for one, other in alike)]
    return _connected_groups(keys, pairs), ["" if kind == "path" else name for kind, name in keys]


def _connected_groups(keys: list[GroupKey], pairs: list[tuple[GroupKey, GroupKey]]) -> npt.NDArray[np.int64]:
    """Numbers of groups (by union-find): clips of the same key are in one group, and clips whose keys are a pair."""
    parent: dict[GroupKey, GroupKey] = {}

    def root(key: GroupKey) -> GroupKey:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for one, other in pairs:
        parent[root(other)] = root(one)
    numbers: dict[GroupKey, int] = {}
    return np.array([numbers.setdefault(root(key), len(numbers)) for key in keys], np.int64)


def _class_counts(annotations: Annotations, groups_N: npt.NDArray[np.int64], num_groups: int) -> list[Counter[int]]:
    """The number of clips of each class in each group. Sparse, as most groups have one class of hundreds."""
    counts: list[Counter[int]] = [Counter() for _ in range(num_groups)]
    for index, group in enumerate(groups_N.tolist()):
        counts[group].update(annotations.labels_of(index) or (-1,))
    return counts


def _existing_splits(
    annotations: Annotations, groups_N: npt.NDArray[np.int64], num_groups: int
) -> npt.NDArray[np.int64]:
    """The split of each group's clips, or -1. A group in two splits is an InputError."""
    fixed_G = np.full(num_groups, -1)
    for index in np.flatnonzero(annotations.splits_N >= 0).tolist():
        group, split = groups_N[index], int(annotations.splits_N[index])
        if fixed_G[group] not in (-1, split):
            what = f"its group is in {SPLITS[fixed_G[group]]} and in {SPLITS[split]}"
            raise annotations.error(index, f"{what}; correct the list, or pass --ignore-splits")
        fixed_G[group] = split
    return fixed_G


def _assign(
    counts_G: list[Counter[int]], fixed_G: npt.NDArray[np.int64], fractions_S: npt.NDArray[np.float64], *, seed: int
) -> npt.NDArray[np.int64]:
    """Assign large groups first, each to the split that lacks most clips of its classes; small groups fill the rest.

    Of several splits that lack equally many, the one that lacks most clips of all classes is chosen: otherwise rare
    classes would all go to the first split.
    """
    rng = np.random.default_rng(seed)
    sizes_G = np.array([sum(counts.values()) for counts in counts_G])
    order = np.lexsort((rng.permutation(len(counts_G)), -sizes_G))
    totals: Counter[int] = Counter()  # clips of each class, except those fixed to a split whose fraction is 0
    for counts, split in zip(counts_G, fixed_G, strict=True):
        if split < 0 or fractions_S[split] > 0:
            totals.update(counts)
    lack_KS = {label: total * fractions_S for label, total in totals.items()}
    lack_S, splits_G = sum(totals.values()) * fractions_S, fixed_G.copy()
    for group in [*(g for g in order if fixed_G[g] >= 0), *(g for g in order if fixed_G[g] < 0)]:
        if splits_G[group] < 0:
            need_S = sum(lack_KS[label] * count for label, count in counts_G[group].items())
            need_S = np.where(fractions_S > 0, need_S, -np.inf)
            equal = np.flatnonzero(np.isclose(need_S, need_S.max(), rtol=0, atol=1e-9))
            splits_G[group] = equal[np.argmax(lack_S[equal])]
        for label, count in counts_G[group].items():
            if label in lack_KS:
                lack_KS[label][splits_G[group]] -= count
                lack_S[splits_G[group]] -= count
    return splits_G


def _warnings(
    classes: tuple[str, ...], counts_SK: npt.NDArray[np.int64], fractions_S: npt.NDArray[np.float64]
) -> tuple[str, ...]:
    warnings = []
    for s in np.flatnonzero(fractions_S):
        absent = [repr(classes[k]) for k in np.flatnonzero((counts_SK[s] == 0) & (counts_SK.sum(axis=0) > 0))]
        if absent:
            number = counted(len(absent), "class, which has", "classes, which have")
            what = f"{SPLITS[s]} has no clip of {number} too few groups"
            warnings.append(f"{what}: {abridged(absent, 5)}")
    return tuple(warnings)
