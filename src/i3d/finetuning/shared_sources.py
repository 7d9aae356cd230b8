"""What follows from near-duplicates: they stay on one side of the split and of folds, or the risk is measured.

A split that was drawn is drawn again with each pair on one side; folds and the selection of the classifier treat a pair
as one group. A split that the user gave stays: then the accuracy without the held-out near-duplicates is reported.

Letters in names: N clips.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from i3d.data.annotations import Annotations
from i3d.data.split import find_groups
from i3d.errors import InputError, counted, printable
from i3d.evaluation.intervals import format_interval
from i3d.evaluation.result import Evaluation, compute_metrics
from i3d.evaluation.result_file import metrics_as_dict
from i3d.finetuning.data_issues import DataIssue, Kind
from i3d.finetuning.defaults import with_folds
from i3d.finetuning.features import ClipFeatures
from i3d.finetuning.inspect_data import DatasetStats, Split, describe_counts, divide, draw_split, training_counts
from i3d.finetuning.near_duplicates import MAX_CLIPS, Pair, near_duplicates
from i3d.finetuning.options import FinetuneOptions
from i3d.finetuning.record import DECISIONS, read_value, write_values
from i3d.finetuning.steps import Finetuner

PAIRS: Final = "near_duplicates"  # in the record
WITHOUT: Final = "without_near_duplicates"
MAX_NAMES: Final = 3  # pairs that a message names
SAME_CLIP: Final = 0.9  # of the way from unrelated clips to another view of the same clip
LARGEST: Final = 0.5  # fraction of the clips: a group that is larger leaves nothing to divide

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class SharedSources:
    """Pairs of near-duplicates of different groups, the most alike first."""

    pairs: tuple[Pair, ...] = ()

    copies: tuple[Pair, ...] = ()  # pairs of the same content, which have a data issue of their own

    @property
    def with_copies(self) -> Self:
        """Both kinds of pairs as one."""
        return type(self)((*self.pairs, *self.copies))

    def without(self, lost: Mapping[int, str], num_clips: int) -> Self:
        """Without some of the clips, at the indices of the others."""
        place = {index: n for n, index in enumerate(n for n in range(num_clips) if n not in lost)}
        pairs, copies = (
            tuple((place[a], place[b]) for a, b in some if a in place and b in place)
            for some in (self.pairs, self.copies)
        )
        return type(self)(pairs, copies)

    def across(self, held_out: Sequence[int], train: Sequence[int]) -> list[Pair]:
        """Pairs of a held-out clip and a training clip, in this order."""
        held, trained = set(held_out), set(train)
        both = [pair for a, b in self.pairs for pair in ((a, b), (b, a))]
        return [(a, b) for a, b in both if a in held and b in trained]

    def across_folds(self, folds_N: npt.NDArray[np.int64]) -> list[Pair]:
        """Pairs in two folds: each clip is tested by a model that has read the other; in both orders."""
        return [pair for a, b in self.pairs if folds_N[a] != folds_N[b] for pair in ((a, b), (b, a))]


def group_near_duplicates(
    tuner: Finetuner, stats: DatasetStats, options: FinetuneOptions, features: ClipFeatures, work_dir: Path
) -> tuple[Finetuner, DatasetStats, SharedSources]:
    """Find near-duplicates and regroup the clips by them. A resumed run takes the pairs from its record.

    Features of another machine differ in rounding: its pairs, and with them its split, could be others.
    """
    annotations = tuner.annotations
    degrees = _recorded_pairs(work_dir, len(annotations))
    if degrees is None:
        degrees = _search(tuner, features)
        rows = [
            {"clips": pair, "names": [annotations.name(index) for index in pair], "alike": round(degree, 3)}
            for pair, degree in degrees.items()
        ]
        write_values(work_dir, {PAIRS: rows})
    if not degrees:
        return (
            tuner,
            replace(stats, near_duplicates=_why_not_searched(tuner, features)),
            SharedSources(copies=stats.duplicates),
        )
    pairs = list(degrees)
    regrouped, reason = _regroup(tuner, stats, options, pairs)
    write_values(work_dir, {DECISIONS: [asdict(decision) for decision in regrouped.config.decisions]})
    shared = SharedSources(tuple(pairs), stats.duplicates)
    line = f"{counted(len(pairs), 'pair')} of near-duplicate clips, perhaps of one source"
    line = printable(f"{line} ({_named(annotations, pairs)}): {reason}{_describe_groups(tuner.split, regrouped.split)}")
    log.info(line)
    avoidable = set() if regrouped is tuner else set(range(len(annotations))) - {*stats.drawn}
    risks = _risks(annotations, regrouped.split, shared, avoidable=avoidable)
    issues = [*_doubtful_labels(annotations, degrees), *risks]
    for issue in issues:
        log.warning(issue.message)
    risk = stats.source_risk and _remaining_risk(len(pairs), before=stats.source_risk)
    counts_K, issues = training_counts(regrouped.annotations), [*stats.issues, *issues]
    stats = replace(stats, issues=tuple(issues), source_risk=risk, near_duplicates=line, counts_K=counts_K)
    return regrouped, stats, shared


def _describe_groups(before: Split, after: Split) -> str:
    """How many groups become how many; "" if they stay."""
    number, now = (len(np.unique(split.groups_N)) for split in (before, after))
    return f"; {counted(number, 'group')} become {now}" if number != now else ""


def _why_not_searched(tuner: Finetuner, features: ClipFeatures) -> str:
    """A sentence, if near-duplicates are not searched."""
    number = len(tuner.annotations) - len(features.lost)
    return f"not searched: {number:,} clips are more than {MAX_CLIPS:,}" if number > MAX_CLIPS else ""


def _recorded_pairs(work_dir: Path, num_clips: int) -> dict[Pair, float] | None:
    """The pairs of an earlier start of this run; None: they were not searched, or the record was edited."""
    try:
        rows = read_value(work_dir, PAIRS)
        degrees = {(int(row["clips"][0]), int(row["clips"][1])): float(row["alike"]) for row in rows}
    except (TypeError, KeyError, IndexError, ValueError):
        return None
    return degrees if all(0 <= index < num_clips for pair in degrees for index in pair) else None


def _search(tuner: Finetuner, features: ClipFeatures) -> dict[Pair, float]:
    """Near-duplicates among the clips that could be read."""
    annotations = tuner.annotations
    chosen = [index for index in range(len(annotations)) if index not in features.lost]
    if why_not := _why_not_searched(tuner, features):
        log.info(f"near-duplicates are {why_not}")
        return {}
    labels = [annotations.labels_of(index) for index in chosen]
    degrees = near_duplicates(features.values_NVC[chosen], labels, tuner.split.groups_N[chosen])
    return {(chosen[a], chosen[b]): degree for (a, b), degree in degrees.items()}


def _regroup(
    tuner: Finetuner, stats: DatasetStats, options: FinetuneOptions, pairs: list[Pair]
) -> tuple[Finetuner, str]:
    """With the clips of each pair in one group, and what follows; or as it was, if groups would be too large."""
    annotations, alike, warnings = tuner.annotations, (*stats.duplicates, *pairs), tuple[str, ...]()
    sizes = np.bincount(find_groups(annotations, None, alike)[0])
    if sizes.max() > max(LARGEST * len(annotations), np.bincount(tuner.split.groups_N).max()):
        return tuner, f"they chain {sizes.max()} of {len(annotations)} clips into one group, so that groups ignore them"
    try:
        if stats.drawn:
            annotations, warnings = _draw_again(annotations, stats, alike, seed=tuner.seed)
        split = divide(annotations, replace(stats, duplicates=alike), options, seed=tuner.seed)
    except InputError:  # too few groups, or a group in two splits of the list
        return tuner, "too few groups would remain, so that groups ignore them"
    before = tuner.split
    if (divided := describe_counts(annotations)) != describe_counts(tuner.annotations):
        log.info(f"the clips are divided again, into {divided}; the settings above are for the first division")
    for warning in warnings:
        log.warning(warning)
    if before.head_folds_N is None and split.head_folds_N is not None:  # what was decided and printed
        split = replace(split, head_folds_N=None, folds_reason=before.folds_reason)
    where = "on one side of the split and in one fold" if split.num_folds else "on one side of the split"
    if split.folds_N is not None:
        where = "in one fold"
    given = "" if stats.drawn or split.folds_N is not None else ", as far as the split of the list allows"
    clips = replace(tuner.clips, annotations=annotations)
    config = with_folds(tuner.config, split)
    return replace(tuner, clips=clips, split=split, config=config), f"each pair stays {where}{given}"


def _draw_again(
    annotations: Annotations, stats: DatasetStats, alike: Sequence[Pair], *, seed: int
) -> tuple[Annotations, tuple[str, ...]]:
    """The clips whose split was drawn, divided by these groups, and warnings."""
    splits_N = annotations.splits_N.copy()
    splits_N[list(stats.drawn)] = -1
    return draw_split(replace(annotations, splits_N=splits_N), stats.val_fraction, alike, seed=seed)


def _doubtful_labels(annotations: Annotations, degrees: Mapping[Pair, float]) -> list[DataIssue]:
    """The issue of pairs that are as alike as two views of a clip, and of different classes.

    Less similar pairs are clips of one source with different actions, as a scene before and during an event.
    """
    pairs = [
        (a, b)
        for (a, b), degree in degrees.items()
        if degree >= SAME_CLIP and set(annotations.labels_of(a)) != set(annotations.labels_of(b))
    ]
    are = "of near-duplicates is" if len(pairs) == 1 else "of near-duplicates are"
    message = (
        f"{counted(len(pairs), 'pair')} {are} as alike as two views of a clip, and of two classes "
        f"({_named(annotations, pairs)}): one label may be wrong"
    )
    return [DataIssue("doubtful labels", printable(message))] * bool(pairs)


def _named(annotations: Annotations, pairs: Sequence[Pair]) -> str:
    named = ", ".join(f"{annotations.name(a)} ~ {annotations.name(b)}" for a, b in pairs[:MAX_NAMES])
    return named + ", ..." * (len(pairs) > MAX_NAMES)


def _risks(
    annotations: Annotations, split: Split, shared: SharedSources, *, avoidable: Collection[int]
) -> list[DataIssue]:
    """The issues of clips that are tested by a model which was trained on a near-duplicate.

    `avoidable`: clips whose split the list gives, where a drawn one would have each pair on one side.
    """
    folds_N = split.folds_N if split.folds_N is not None else split.head_folds_N
    across_folds = [] if folds_N is None else shared.across_folds(folds_N)
    issues = []
    for pairs, tested, trained, is_avoidable_in in (
        (shared.across(split.test, split.train), f"{len(split.test)} held-out clips", "training clips", avoidable),
        (across_folds, f"{len(annotations)} clips", "clips in another fold", ()),
    ):
        num_clips = len({held for held, _ in pairs})
        are = "is a near-duplicate" if num_clips == 1 else "are near-duplicates"
        named = _named(annotations, [*{frozenset(pair): pair for pair in reversed(pairs)}.values()][::-1])
        kind: Kind = "divided near-duplicates"
        todo = "put those of one source in one group (column `group`)"
        if any(held in is_avoidable_in for held, _ in pairs):
            kind, todo = "near-duplicates", "without your split, the one that is drawn has them on one side"
        message = f"{num_clips} of {tested} {are} of {trained} ({named}): the accuracy may be too high; {todo}"
        issues += [DataIssue(kind, printable(message))] * bool(pairs)
    return issues


def _remaining_risk(num_pairs: int, *, before: str) -> str:
    """The sentence about unknown sources where some were found; a hint of how to name them stays."""
    _, _, hint = before.partition("; ")
    return (
        "The sources of the clips are unknown (a column `group`, or --group-by): "
        f"{counted(num_pairs, 'pair')} of near-duplicates were detected by features, but clips of one source that "
        f"differ more can be in training and test{f'; {hint}' if hint else '.'}"
    )


def report_without(
    split: Split, shared: SharedSources, evaluation: Evaluation | None, of_folds: Evaluation | None, work_dir: Path
) -> list[str]:
    """Sentences about the accuracy without held-out near-duplicates and copies of training clips, which is recorded."""
    shared = shared.with_copies
    tested: dict[str, tuple[Evaluation | None, Sequence[int], list[Pair]]] = {
        "test": (evaluation, split.test, shared.across(split.test, split.train))
    }
    for key, result, folds_N in (
        ("test", evaluation, split.folds_N),
        ("cross_validation", of_folds, split.head_folds_N),
    ):
        if folds_N is not None:
            tested[key] = result, range(len(folds_N)), shared.across_folds(folds_N)
    sentences, metrics = [], {}
    for key, (result, indices, across) in tested.items():
        if result is not None and (without := accuracy_without(result, indices, across)):
            sentences.append(without[0])
            metrics[key] = without[1]
    write_values(work_dir, {WITHOUT: metrics})
    return sentences


def accuracy_without(
    evaluation: Evaluation, indices: Sequence[int], across: Sequence[Pair]
) -> tuple[str, dict[str, Any]] | None:
    """A sentence about the accuracy without the held-out near-duplicates of training clips, and its metrics.

    `indices` are those of the evaluated clips. None if no clip is a near-duplicate, or all are.
    """
    duplicates = {held for held, _ in across}
    rest = [n for n, index in enumerate(indices) if index not in duplicates]
    if not rest or len(rest) == len(indices):
        return None
    others = evaluation.select(rest)
    metrics, whole = compute_metrics(others), compute_metrics(evaluation)
    name = "mean average precision" if evaluation.multi_label else "top-1"
    num_duplicates = counted(
        len(indices) - len(rest), "clip that is a near-duplicate or copy", "clips that are near-duplicates or copies"
    )
    sentence = (
        f"Without the {num_duplicates} of training clips, the {name} is {metrics.accuracy:.4f} on "
        f"{counted(len(rest), 'clip')} (95 % interval {format_interval(metrics.interval)}); with all clips it is "
        f"{whole.accuracy:.4f}."
    )
    return sentence, metrics_as_dict(others, metrics)
