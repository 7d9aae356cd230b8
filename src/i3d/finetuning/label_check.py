"""Checks the labels of all clips with classifiers that have not read them, after training."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from i3d.errors import counted, printable
from i3d.evaluation.result import Evaluation, compute_metrics
from i3d.finetuning.features import ClipFeatures
from i3d.finetuning.inspect_data import assign_most_folds
from i3d.finetuning.options import FinetuneOptions
from i3d.finetuning.selection import Candidate
from i3d.finetuning.steps import Finetuner
from i3d.finetuning.suspicious_labels import (
    Mask,
    SuspiciousLabel,
    known_labels,
    most_suspicious,
    predictable_classes,
    rank_labels,
)
from i3d.utils.text import csv_text

LABELS: Final = "labels.csv"
COLUMNS: Final = ("path", "label", "probability", "other", "other_probability", "looks_wrong")
MAX_NAMES: Final = 3


@dataclass(frozen=True)
class LabelCheck:
    """The most suspicious labels, or why none were checked."""

    suspicious: tuple[SuspiciousLabel, ...] = ()  # a fifth of those checked, and all that look wrong
    num_checked: int = 0
    num_wrong: int = 0  # that look wrong
    num_unknown: int = 0  # clips whose class is in one fold only
    unpredictable: tuple[str, ...] = ()  # classes of a multi-label set that are not judged
    is_weak: bool = False  # the classifiers are hardly better than a constant prediction
    why_not: str = ""

    def sentence(self) -> str:
        """One line: how many labels look wrong, the first of them, and where the list is."""
        if self.why_not:
            return f"Labels were not checked: {self.why_not}."
        number = f"{self.num_wrong} of {counted(self.num_checked, 'label')}"
        verb = "looks" if self.num_wrong == 1 else "look"
        wrong = [row for row in self.suspicious if row.looks_wrong]
        named = [f"{row.path} ({row.label!r}, rather {row.other!r})" for row in wrong[:MAX_NAMES]]
        more = f" and {self.num_wrong - len(named)} more" if self.num_wrong > len(named) else ""
        names = f": {', '.join(named)}{more}" * bool(named)
        return printable(
            f"{number} {verb} wrong to a classifier that has not read the clip{names}. {LABELS} lists "
            f"{counted(len(self.suspicious), 'label')}, the least probable first; "
            f"{'some' if self.num_wrong else 'all'} may be right.{self._limits()}"
        )

    def _limits(self) -> str:
        unknown = counted(self.num_unknown, "clip is left out, whose class is", "clips are left out, whose classes are")
        words = f" {unknown} in one fold only." * bool(self.num_unknown)
        if self.unpredictable and not self.is_weak:
            named = ", ".join(repr(name) for name in self.unpredictable[:MAX_NAMES])
            named += f" and {len(self.unpredictable) - MAX_NAMES} more" * (len(self.unpredictable) > MAX_NAMES)
            words += f" Not judged, because nothing predicts them better than chance: {named}."
        return (
            words
            + " That classifier is hardly better than a constant prediction: the rank means little." * self.is_weak
        )

    def as_dict(self) -> dict[str, Any]:
        """As the record of the run holds it."""
        values = {key: value for key, value in asdict(self).items() if key != "suspicious"}
        return {**values, "suspicious": [_row(row) for row in self.suspicious]}

    def as_csv(self) -> str:
        """The list as a table; probabilities have four digits."""
        rows = [_row(row) for row in self.suspicious]
        for row in rows:
            row |= {key: f"{row[key]:.4f}" for key in ("probability", "other_probability")}
            row["looks_wrong"] = "yes" if row["looks_wrong"] else "no"
        return csv_text([COLUMNS, *(row.values() for row in rows)])


def _row(row: SuspiciousLabel) -> dict[str, Any]:
    return {name: getattr(row, name) for name in COLUMNS}


def check_labels(
    tuner: Finetuner,
    features: ClipFeatures,
    chosen: Candidate,
    of_folds: Evaluation | None,
    options: FinetuneOptions,
) -> LabelCheck:
    """Check the labels by the classifiers of existing folds, or else of five folds with the chosen penalty."""
    split, annotations = tuner.split, tuner.annotations
    folds_N = split.folds_N if split.folds_N is not None else split.head_folds_N
    if of_folds is None or folds_N is None:
        if options.cv_folds == 0:
            return LabelCheck(why_not="--cv-folds 0 leaves out the folds that would hold them out")
        if tuner.config.norms == "re-estimated":
            return LabelCheck(why_not="re-estimated batch norms depend on the clips that would be held out")
        first_N = np.unique(split.groups_N, return_index=True)[1][np.unique(split.groups_N, return_inverse=True)[1]]
        folds_N = assign_most_folds(annotations, [*enumerate(first_N.tolist())], seed=tuner.seed)
        if folds_N is None:
            return LabelCheck(why_not="all clips are of one group, and none can be held out")
        of_folds = tuner.cross_validate_head(features, folds_N, chosen)
    return judge_labels(of_folds, known_labels(of_folds.labels_N, folds_N))


def judge_labels(evaluation: Evaluation, known_N: Mask) -> LabelCheck:
    """Rank the labels by the scores of classifiers that have not read the clips; not those of unknown classes."""
    ranked = rank_labels(
        evaluation.probabilities_NK, evaluation.labels_N, known_N,
        names=evaluation.names_N, classes=evaluation.classes, multi_label=evaluation.multi_label,
    )  # fmt: skip
    if not ranked:
        return LabelCheck(num_unknown=len(known_N), why_not="the clips of each class are all in one fold")
    unpredictable, is_weak = tuple[str, ...](), False
    if evaluation.multi_label:
        predictable_K = predictable_classes(evaluation.probabilities_NK, evaluation.labels_N, known_N)
        unpredictable = tuple(evaluation.classes[k] for k in np.flatnonzero(~predictable_K))
        is_weak = not predictable_K.any()
    else:
        metrics = compute_metrics(evaluation)
        interval, constant = metrics.top1_interval, metrics.largest_class
        is_weak = interval is not None and constant is not None and interval[0] <= constant
    return LabelCheck(
        suspicious=most_suspicious(ranked),
        num_checked=len(ranked),
        num_wrong=sum(row.looks_wrong for row in ranked),
        num_unknown=len(known_N) - len(ranked),
        unpredictable=unpredictable,
        is_weak=is_weak,
    )
