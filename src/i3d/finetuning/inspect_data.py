"""The first look at a set of clips: decode all, leave out what cannot be read, divide the rest, say what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from i3d.data.annotations import SPLITS, Annotations
from i3d.data.check.dataset import ClipReport, DatasetReport, check_annotations
from i3d.data.formats.write import write_annotations, write_classes
from i3d.data.frame_folders import FrameNaming
from i3d.data.resume import file_signature
from i3d.data.split import split_annotations, with_groups
from i3d.errors import InputError, printable
from i3d.finetuning.data_issues import DataIssue, alike_pairs, find_data_issues, is_readable
from i3d.finetuning.features import Clips
from i3d.utils.cache import Cache, cache_key

VERSION: Final = 1  # of what a look finds
SPLIT: Final = "split.csv"
VAL_SHARE: Final = 0.2
MAX_BAD: Final = 0.1  # of the clips: if more cannot be read, something else is wrong


@dataclass(frozen=True)
class DatasetSummary:
    """Clips that can be read, with their splits, and what was found."""

    clips: Clips
    troubles: tuple[DataIssue, ...]
    alike: tuple[tuple[int, int], ...]  # clips that show the same, by their places among those that can be read
    told: tuple[str, ...]
    seconds: float | None  # the middle length; None: frames without times
    num_frames: int  # the middle number


def inspect_clips(
    annotations: Annotations,
    *,
    naming: FrameNaming | None,
    cache: Cache,
    num_workers: int,
    val: float | None,
    group_by: str | None,
    seed: int,
    max_bad: float | None,
    on_clip: Callable[[ClipReport], None] | None = None,
) -> DatasetSummary:
    """Decode every clip (or remember it, if no file has changed), and divide those that can be read.

    Clips that have a split keep it; of others, the share `val` (0.2) is for validation if no clip is yet. Clips that
    show the same stay together. More unreadable than the share `max_bad` (0.1, or one clip), and a trouble that stops,
    are an InputError.
    """
    if val is not None and not 0 <= val < 1:
        raise InputError(f"--val-share {val:g}: must be a share, from 0 (validate on none) to below 1")
    if val is not None and not _lacks_validation(annotations):
        raise InputError(f"--val-share {val:g}: {printable(annotations.source)} says a split already; leave one out")
    if group_by:
        annotations = with_groups(annotations, group_by)  # a wrong pattern is told at once
    report = _of_parts(_report(annotations, naming, cache, num_workers, on_clip), annotations)
    readable = [index for index, row in enumerate(report.rows) if is_readable(row)]
    lost = len(report.rows) - len(readable)
    share = MAX_BAD if max_bad is None else max_bad
    if lost > max(share * len(report.rows), max_bad is None) and readable:
        first = next(row for row in report.rows if not is_readable(row))
        raise InputError(
            f"{lost} of {len(report.rows)} clips cannot be read, more than --max-bad {100 * share:g}% allows: "
            f"{printable(first.path)}: {first.reason} (`i3d data check` lists all; a higher --max-bad leaves them out)"
        )
    kept = annotations.select(readable) if readable else annotations
    place = {index: n for n, index in enumerate(readable)}
    alike = tuple((place[a], place[b]) for a, b in alike_pairs(report) if a in place and b in place)
    told: tuple[str, ...] = ()
    if readable and _lacks_validation(kept) and val != 0 and len(set(kept.labels.tolist())) > 1:
        done = split_annotations(kept, val=VAL_SHARE if val is None else val, seed=seed, alike=alike)
        kept = done.annotations
        told = (f"{len(kept)} clips in {done.num_groups} groups divided: {_counts(kept)}", *done.warnings)
    elif readable:
        told = (f"{len(kept)} clips: {_counts(kept)}",)
    divided = _with_splits(annotations, kept, readable)
    troubles = find_data_issues(divided, report)
    if stops := [trouble.words for trouble in troubles if trouble.stops]:
        raise InputError(f"{printable(annotations.source)}: {'; '.join(stops)}")
    rows = [report.rows[index] for index in readable]
    seconds = [row.seconds for row in rows if row.seconds is not None]
    return DatasetSummary(
        clips=Clips(kept, tuple(row.sha256 for row in rows), naming),
        troubles=tuple(troubles),
        alike=alike,
        told=told,
        seconds=median(seconds) if len(seconds) == len(rows) else None,
        num_frames=int(median(row.num_frames or 0 for row in rows)),
    )


def write_split(annotations: Annotations, folder: Path) -> Path:
    """The list of the clips with their splits, and the class names beside it."""
    write_annotations(annotations, folder / SPLIT)
    write_classes(annotations.classes, (folder / SPLIT).with_suffix(".classes.txt"))
    return folder / SPLIT


def _report(
    annotations: Annotations,
    naming: FrameNaming | None,
    cache: Cache,
    num_workers: int,
    on_clip: Callable[[ClipReport], None] | None,
) -> DatasetReport:
    """The report of `check_annotations`, from the cache if no clip, label or file has changed.

    It is one entry of the cache and no `ResumeLog`: it depends on all clips together, as duplicates do, and runs of
    different work directories share it.
    """
    signatures = [[asdict(clip), file_signature(annotations.file(index))] for index, clip in enumerate(annotations)]
    root = os.path.abspath(annotations.root)  # noqa: PTH100
    key = cache_key(
        kind="inspection", version=VERSION, root=root, clips=signatures, classes=annotations.classes, naming=str(naming)
    )
    known = cache.load_json(key)
    with suppress(KeyError, TypeError):  # nothing is known, or it has another form
        rows = tuple(ClipReport(**{**row, "labels": tuple(row["labels"])}) for row in known["rows"])
        return DatasetReport(annotations.source, rows, known["counts"], annotations.warnings)
    report = check_annotations(annotations, naming=naming, num_workers=max(num_workers, 1), on_clip=on_clip)
    if all(signature for _, signature in signatures):  # shards have none
        cache.save_json(key, {"rows": [asdict(row) for row in report.rows], "counts": report.counts})
    return report


def _of_parts(report: DatasetReport, annotations: Annotations) -> DatasetReport:
    """The report with lengths and bytes of the part of its video that a clip is, by start and end."""
    rows = list(report.rows)
    for index, row in enumerate(rows):
        clip = annotations[index]
        if row.seconds and (clip.start_seconds is not None or clip.end_seconds is not None):
            first, last = clip.start_seconds or 0.0, row.seconds if clip.end_seconds is None else clip.end_seconds
            share = max(min(last, row.seconds) - first, 0.0) / row.seconds
            num_bytes = None if row.bytes is None else round(share * row.bytes)
            rows[index] = replace(row, seconds=share * row.seconds, bytes=num_bytes)
    return replace(report, rows=tuple(rows))


def _with_splits(annotations: Annotations, kept: Annotations, readable: list[int]) -> Annotations:
    """All clips, those that can be read with the splits that they got."""
    splits_N = annotations.splits_N.copy()
    splits_N[readable] = kept.splits_N
    return replace(annotations, splits_N=splits_N)


def _lacks_validation(annotations: Annotations) -> bool:
    """Whether some clips have no split, and none is to validate on."""
    return bool((annotations.splits_N < 0).any() and not (annotations.splits_N == SPLITS.index("val")).any())


def _counts(annotations: Annotations) -> str:
    counts = np.bincount(annotations.splits_N + 1, minlength=4)
    told = [
        f"{counts[s]} {name}" for s, name in ((1, "to train on"), (2, "to validate on"), (3, "to test on")) if counts[s]
    ]
    return ", ".join([*told, *([f"{counts[0]} without a split"] if counts[0] else [])])
