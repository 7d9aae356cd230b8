"""Inspects the clips before anything is trained: decodes all, leaves out unreadable ones, splits the rest."""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from i3d.data.annotations import SPLITS, Annotations
from i3d.data.check.dataset import check_annotations
from i3d.data.check.report import ClipReport, DatasetReport
from i3d.data.content import CHANGED, file_signature
from i3d.data.frame_folders import FrameNaming
from i3d.data.sources import guess_sources
from i3d.data.split import assign_folds, complete_split, find_groups, split_annotations, with_groups
from i3d.errors import InputError, VideoError, counted, quoted
from i3d.finetuning.data_issues import DataIssue, duplicate_pairs, is_readable, report_data_issues
from i3d.finetuning.features import Clips
from i3d.finetuning.options import FinetuneOptions
from i3d.utils.cache import cache_key
from i3d.utils.device import ComputeConfig
from i3d.utils.progress import ProgressCallback, ignore_progress

VERSION: Final = 2  # of the cached report
VAL_FRACTION: Final = 0.2
FEW_CLIPS: Final = 100  # held out, below which an accuracy is uncertain by more than ten points
NUM_FOLDS: Final = 5
MAX_FOLDED: Final = 2000  # clips, above which fits to all folds take minutes
MAX_BAD: Final = 0.1  # fraction of unreadable clips, above which something else is wrong

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class DatasetStats:
    """What was found in the readable clips: the basis of every decision."""

    classes: tuple[str, ...]
    counts_K: tuple[int, ...]  # training clips of each class
    seconds: float | None  # median length of a clip; None: frames without times
    num_frames: int  # median
    multi_label: bool = False
    issues: tuple[DataIssue, ...] = ()
    duplicates: tuple[tuple[int, int], ...] = ()  # pairs of clips with the same content
    unreadable: tuple[str, ...] = ()  # clips that are left out, with the reason
    source_risk: str = ""  # a sentence, if no source of the clips is known
    near_duplicates: str = ""  # what was found, and what follows
    drawn: tuple[int, ...] = ()  # clips whose split was drawn; the others have one in the list
    val_fraction: float = 0.0  # of these, the fraction that was drawn for validation
    draws_validation: bool = False  # the list has no clips for validation: they were drawn

    @property
    def num_clips(self) -> int:
        """Training clips; a clip with several labels counts once for each."""
        return sum(self.counts_K)


def inspect_clips(
    annotations: Annotations,
    options: FinetuneOptions,
    *,
    naming: FrameNaming | None,
    compute: ComputeConfig,
    seed: int,
    max_bad: float | None,
    multi_label: bool = False,
    trains_layers: bool = True,
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[Clips, DatasetStats]:
    """Decode every clip, or read the cached report if no file has changed; the readable clips, with their splits.

    Clips keep a split that they have. If some have none and there are no validation clips, a fraction of them is drawn
    for validation, by groups; clips with the same content stay together. None is drawn where the split `test` is tested
    on and no layers are trained, as the classifier alone is not validated. Where layers are trained and all clips have
    a split, it is drawn from those for training.

    It is an InputError if more than the fraction `max_bad` (default: 0.1, or one clip) is unreadable, or an issue
    leaves nothing to train.
    """
    fraction = _val_fraction(annotations, options, trains_layers=trains_layers)
    if options.group_by:
        annotations = with_groups(annotations, options.group_by)  # a wrong pattern is an error before any decoding
    contents = [file_signature(annotations.file(index)) for index in range(len(annotations))]
    report = _trim_to_parts(_check(annotations, contents, naming, compute, on_progress), annotations)
    readable = [index for index, row in enumerate(report.rows) if is_readable(row)]
    if not readable:
        raise _nothing_readable(annotations, report)
    position = {index: n for n, index in enumerate(readable)}
    pairs = [(position[a], position[b]) for a, b in duplicate_pairs(report) if a in position and b in position]
    splits_N = annotations.splits_N.copy()
    bad = [_why_bad(row, annotations) for row in report.rows if not is_readable(row)]
    check_num_bad(len(bad), len(report.rows), max_bad, next(iter(bad), ""))
    undivided = annotations.select(readable)
    clips = _split(undivided, fraction, pairs, seed=seed, is_divided=not options.cv_folds)
    if fraction and trains_layers and not _is_validated(clips):
        clips = _draw_validation(clips, fraction, pairs, seed=seed)
    splits_N[readable] = clips.splits_N
    issues = report_data_issues(replace(annotations, splits_N=splits_N), report)
    rows = [report.rows[index] for index in readable]
    seconds = [row.seconds for row in rows if row.seconds is not None]
    stats = DatasetStats(
        classes=clips.classes,
        counts_K=training_counts(clips),
        seconds=median(seconds) if len(seconds) == len(rows) else None,
        num_frames=int(median(row.num_frames or 0 for row in rows)),
        multi_label=multi_label,
        issues=tuple(issues),
        duplicates=tuple(pairs),
        unreadable=tuple(bad),
        source_risk=_source_risk(clips),
        drawn=tuple(np.flatnonzero((undivided.splits_N < 0) & (clips.splits_N >= 0)).tolist()),
        val_fraction=fraction,
        draws_validation=_is_validated(clips) and not _is_validated(undivided),
    )
    sha256_N, contents_N = tuple(row.sha256 for row in rows), tuple(contents[index] for index in readable)
    return Clips(clips, sha256_N, naming, contents_N), stats


def _val_fraction(annotations: Annotations, options: FinetuneOptions, *, trains_layers: bool) -> float:
    """The fraction of clips to draw for validation; an InputError for one that was given and would have no effect."""
    given = options.val_fraction
    is_tested = bool((annotations.splits_N == SPLITS.index("test")).any())
    if given is not None and not (_lacks_validation(annotations) or (trains_layers and not _is_validated(annotations))):
        raise InputError(f"--val-fraction {given:g}: {annotations.source} has a split already; leave out one of them")
    if given and is_tested and not trains_layers:
        raise InputError(
            f"--val-fraction {given:g}: has no effect: the split test is tested on, and the classifier "
            "alone is not validated; leave it out, or add --train-layers last or all"
        )
    if options.cv_folds or (is_tested and not trains_layers):
        return 0.0
    return VAL_FRACTION if given is None else given


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the clips to train, test and validate on."""

    train: list[int]
    test: list[int]
    validation: list[int]  # choose the best weights while layers are trained
    tested_on: str  # "test", "val", "5 folds"; "": no clip is held out
    groups_N: npt.NDArray[np.int64]  # clips of a group stay together in cross-validation
    folds_N: npt.NDArray[np.int64] | None = None  # in cross-validation, the fold that holds out each clip
    head_folds_N: npt.NDArray[np.int64] | None = None  # the same of the classifier alone, for a small set
    folds_reason: str = ""  # of these folds, or why there are none
    spare: tuple[int, ...] = ()  # validation clips that were drawn, and are not tested on

    def select(self, chosen: Sequence[int]) -> Self:
        """The split of only these clips, at their new indices. Folds without clips disappear."""
        place = {index: n for n, index in enumerate(chosen)}

        def folds(folds_N: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64] | None:
            return None if folds_N is None else np.unique(folds_N[list(chosen)], return_inverse=True)[1]

        return replace(
            self,
            train=[place[i] for i in self.train if i in place],
            test=[place[i] for i in self.test if i in place],
            validation=[place[i] for i in self.validation if i in place],
            groups_N=self.groups_N[list(chosen)],
            folds_N=folds(self.folds_N),
            head_folds_N=folds(self.head_folds_N),
            spare=tuple(place[i] for i in self.spare if i in place),
        )

    @property
    def num_folds(self) -> int:
        """Folds of the whole training, or of the classifier alone."""
        folds_N = self.folds_N if self.folds_N is not None else self.head_folds_N
        return 0 if folds_N is None else int(folds_N.max()) + 1


def divide(annotations: Annotations, stats: DatasetStats, options: FinetuneOptions, *, seed: int) -> Split:
    """Clips of the split `test`, or else `val`, are held out; `train` and clips without a split are trained on.

    With `cv_folds`, the splits are ignored: each clip is held out once, and the final model trains on all. Without it,
    a set with few held-out clips also gets folds in which the classifier alone is tested.
    """
    cv_folds = options.cv_folds
    groups_N, _ = find_groups(annotations, None, stats.duplicates)
    if cv_folds:
        folds_N = assign_folds(annotations, cv_folds, seed=seed, alike=stats.duplicates)
        return Split(list(range(len(annotations))), [], [], f"{cv_folds} folds", groups_N, folds_N, None, "set by you")
    splits_N = annotations.splits_N
    train, val, test = (np.flatnonzero(is_in_N).tolist() for is_in_N in (splits_N <= 0, splits_N == 1, splits_N == 2))
    held_out, tested_on = test or val, "test" if test else "val" if val else ""
    head_folds_N, reason = None, "set by you"
    if cv_folds is None:
        head_folds_N, reason = _head_folds(annotations, stats, options, len(held_out), seed=seed)
    spare = tuple(val) if stats.draws_validation and test else ()
    return Split(train, held_out, val, tested_on, groups_N, None, head_folds_N, reason, spare)


def _head_folds(
    annotations: Annotations, stats: DatasetStats, options: FinetuneOptions, num_held_out: int, *, seed: int
) -> tuple[npt.NDArray[np.int64] | None, str]:
    """Folds in which the classifier of a small set is tested on its cached features, and the reason; or None."""
    num_clips = len(annotations)
    if num_held_out >= FEW_CLIPS:
        return None, f"{num_held_out} held-out clips are enough for a test"
    few = f"only {counted(num_held_out, 'clip is', 'clips are')} held out"
    if num_clips > MAX_FOLDED:
        return None, f"{few}, but fits to {num_clips:,} clips take long; 5 trains and tests on all"
    if options.norms == "re-estimated":
        return None, f"{few}, but re-estimated batch norms depend on the clips of all folds"
    folds_N = assign_most_folds(annotations, stats.duplicates, seed=seed)
    if folds_N is None:
        return None, f"{few}, but clips of one group make no folds"
    number = int(folds_N.max()) + 1
    return folds_N, f"{few}: {number} folds of the features judge the classifier on all {num_clips}"


def assign_most_folds(
    annotations: Annotations, alike: Sequence[tuple[int, int]], *, seed: int
) -> npt.NDArray[np.int64] | None:
    """The fold (N) of each clip, of five folds or as many as the groups fill; None: there is one group."""
    for number in range(NUM_FOLDS, 1, -1):
        with suppress(InputError):  # too few groups
            return assign_folds(annotations, number, seed=seed, alike=alike)
    return None


def _source_risk(clips: Annotations) -> str:
    """A sentence about clips of one source in training and test, if nothing names the sources."""
    if any(find_groups(clips)[1]):
        return ""
    indices = range(len(clips))
    guess = guess_sources([clips.path(index) for index in indices], [clips.labels_of(index) for index in indices])
    return (
        "The sources of the clips are unknown (a column `group`, or --group-by): if several clips are of one video, "
        f"person or camera, they can be in training and test, and the accuracy is too high{'; ' * bool(guess)}"
        f"{guess.hint if guess else ''}."
    )


def _check(
    annotations: Annotations,
    contents: Sequence[list[str]],
    naming: FrameNaming | None,
    compute: ComputeConfig,
    on_progress: ProgressCallback,
) -> DatasetReport:
    """The report of `i3d data check`, from the cache if no clip, label or content (a signature) has changed.

    It is one entry of the cache and no `ResumeLog`: it depends on all clips together, as duplicates do, and runs of
    different work directories share it.
    """
    key = cache_key(
        kind="inspection",
        version=VERSION,
        root=os.path.abspath(annotations.root),  # noqa: PTH100
        clips=[[asdict(clip), content] for clip, content in zip(annotations, contents, strict=True)],
        classes=annotations.classes,
        naming=str(naming),
    )
    cached = compute.cache.load_json(key)
    with suppress(KeyError, TypeError):  # not cached, or in another form
        rows = tuple(ClipReport(**{**row, "labels": tuple(row["labels"])}) for row in cached["rows"])
        return DatasetReport(annotations.source, rows, cached["counts"], annotations.warnings)
    report = check_annotations(annotations, naming=naming, num_workers=compute.num_workers, on_progress=on_progress)
    _check_unchanged(annotations, contents)
    if all(contents):  # clips in shards have none
        compute.cache.save_json(key, {"rows": [asdict(row) for row in report.rows], "counts": report.counts})
    return report


def _why_bad(row: ClipReport, annotations: Annotations) -> str:
    if row.status != "missing":
        return f"{row.path}: {row.reason}"
    root = annotations.root or "."
    return f"{row.path}: no such file below {root}; restore it, or give the folder that paths begin in (--root)"


def _check_unchanged(annotations: Annotations, contents: Sequence[list[str]]) -> None:
    """An InputError for the first clip whose file has changed since its digest was computed."""
    for index, content in enumerate(contents):
        if file_signature(file := annotations.file(index)) != content:
            raise InputError(str(VideoError(file, *CHANGED)))


def _nothing_readable(annotations: Annotations, report: DatasetReport) -> InputError:
    """The error of a list without a readable clip: missing files often have another root."""
    num_clips, first = len(report.rows), report.rows[0]
    if all(row.status == "missing" for row in report.rows):
        where = f"{annotations.source}: none of {counted(num_clips, 'clip')} is below {annotations.root or '.'}"
        return InputError(f"{where}: the first is {quoted(first.path)}; give the folder that paths begin in (--root)")
    return InputError(
        f"{annotations.source}: none of {counted(num_clips, 'clip')} can be read: {first.path}: {first.reason} "
        "(`i3d data check` lists all)"
    )


def check_num_bad(num_bad: int, num_clips: int, max_bad: float | None, first: str) -> None:
    """An InputError if more than the fraction `max_bad` (None: 0.1, or one clip) are bad; `first` and why it is."""
    fraction = MAX_BAD if max_bad is None else max_bad
    if num_bad > max(fraction * num_clips, max_bad is None):
        raise InputError(
            f"{num_bad} of {counted(num_clips, 'clip')} cannot be read, more than --max-bad {100 * fraction:g}% "
            f"allows: {first} (`i3d data check` lists all; a higher --max-bad leaves them out)"
        )


def training_counts(annotations: Annotations) -> tuple[int, ...]:
    """The number of training clips of each class."""
    return tuple(annotations.select(annotations.splits_N <= 0).class_counts_K.tolist())


def draw_split(
    annotations: Annotations, fraction: float, alike: Sequence[tuple[int, int]], *, seed: int
) -> tuple[Annotations, tuple[str, ...]]:
    """Divide the clips without a split, a fraction for validation and the others for training; and warnings.

    Those of a group with a split have this one.
    """
    if not fraction:
        return complete_split(annotations, alike), ()
    result = split_annotations(annotations, val=fraction, seed=seed, alike=alike)
    return result.annotations, result.warnings


def _split(
    clips: Annotations, fraction: float, duplicates: list[tuple[int, int]], *, seed: int, is_divided: bool
) -> Annotations:
    """Divide the clips without a split, unless cross-validation divides all (`is_divided`) or some are for validation.

    Without a fraction for validation and a split `test`, they stay without one: all are for training.
    """
    is_tested = bool((clips.splits_N == SPLITS.index("test")).any())
    is_undrawn = not fraction and not (is_tested and is_divided)
    if not _lacks_validation(clips) or is_undrawn or len(set(clips.labels.tolist())) < 2:
        log.info(f"{counted(len(clips), 'clip')}: {describe_counts(clips)}")
        return clips
    result, warnings = draw_split(clips, fraction, duplicates, seed=seed)
    num_groups = int(find_groups(clips, None, duplicates)[0].max()) + 1
    why = ""
    if is_tested:
        why = "; those for validation select the best weights of the layers"
    if not fraction:
        why = "; none is for validation, as the split test is tested on"
    of_groups = f"{counted(len(clips), 'clip')} in {counted(num_groups, 'group')}"
    log.info(f"{of_groups}, split into {describe_counts(result)}{why}")
    for warning in warnings:
        log.warning(warning)
    return result


def _draw_validation(
    clips: Annotations, fraction: float, duplicates: list[tuple[int, int]], *, seed: int
) -> Annotations:
    """The clips, with a fraction of those for training for validation, by groups. No other clip changes its split."""
    training = np.flatnonzero(clips.splits_N == SPLITS.index("train")).tolist()
    place = {index: n for n, index in enumerate(training)}
    alike = [(place[a], place[b]) for a, b in duplicates if a in place and b in place]
    undivided = replace(clips.select(training), splits_N=np.full(len(training), -1, np.int8))
    splits_N = clips.splits_N.copy()
    splits_N[training] = split_annotations(undivided, val=fraction, seed=seed, alike=alike).annotations.splits_N
    num_drawn = f"{(splits_N == SPLITS.index('val')).sum()} of {counted(len(training), 'training clip')}"
    why = "so that layers that do not help are not the model (--val-fraction 0: none)"
    log.info(f"no clip has the split val: {num_drawn} validate, {why}")
    return replace(clips, splits_N=splits_N)


def _trim_to_parts(report: DatasetReport, annotations: Annotations) -> DatasetReport:
    """The report with seconds and bytes of the part of a video that a clip is, by its start and end."""
    rows = list(report.rows)
    for index, row in enumerate(rows):
        clip = annotations[index]
        if row.seconds and (clip.start_seconds is not None or clip.end_seconds is not None):
            first, last = clip.start_seconds or 0.0, row.seconds if clip.end_seconds is None else clip.end_seconds
            fraction = max(min(last, row.seconds) - first, 0.0) / row.seconds
            num_bytes = None if row.bytes is None else round(fraction * row.bytes)
            rows[index] = replace(row, seconds=fraction * row.seconds, bytes=num_bytes)
    return replace(report, rows=tuple(rows))


def _lacks_validation(annotations: Annotations) -> bool:
    """Whether some clips have no split, and none are for validation."""
    return bool((annotations.splits_N < 0).any()) and not _is_validated(annotations)


def _is_validated(annotations: Annotations) -> bool:
    return bool((annotations.splits_N == SPLITS.index("val")).any())


def describe_counts(annotations: Annotations) -> str:
    """How many clips each split has, in words."""
    counts = np.bincount(annotations.splits_N + 1, minlength=4)
    names = ((1, "for training"), (2, "for validation"), (3, "for testing"), (0, "without a split"))
    return ", ".join(f"{counts[s]} {name}" for s, name in names if counts[s])
