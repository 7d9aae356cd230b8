"""What to do after a fine-tuning: a pure function of the data, the settings and the results.

No step sets what is set already.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from i3d.evaluation.intervals import format_interval
from i3d.evaluation.result import Metrics
from i3d.finetuning.data_issues import group_flag
from i3d.finetuning.defaults import FinetuneConfig
from i3d.finetuning.diagnosis import LayerGain, is_overfit, is_underfit, is_uneven
from i3d.finetuning.inspect_data import FEW_CLIPS, NUM_FOLDS, DatasetStats, Split
from i3d.finetuning.label_check import LABELS, LabelCheck
from i3d.finetuning.options import FinetuneOptions
from i3d.recipes.training import Loss

NEARLY_RIGHT: Final = 0.95  # an accuracy above which training layers is not worth its time
ENOUGH_CLIPS: Final = 10  # of a class


@dataclass(frozen=True)
class NextStep:
    """A sentence, and the flag or command that does it, if there is one."""

    text: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.text.removesuffix('.')}: {self.command}" if self.command else self.text


@dataclass(frozen=True)
class RunFacts:
    """What the steps depend on."""

    config: FinetuneConfig
    options: FinetuneOptions
    stats: DatasetStats
    split: Split
    metrics: Metrics | None  # of the result that the diagnosis is about; None: no clip was held out
    labels: LabelCheck
    train_top1: float | None = None
    gain: LayerGain | None = None
    is_stopped: bool = False
    folder: str = "RUN"  # of the run
    list_and_split: tuple[str, str] = ("LIST", "split.csv")  # words of a command: the list, and a new one

    @property
    def is_few(self) -> bool:
        """Whether the result is of too few clips, or of none."""
        return self.metrics is None or self.metrics.num_clips < FEW_CLIPS

    def has_issue(self, *kinds: str) -> bool:
        return any(issue.kind in kinds for issue in self.stats.issues)


def next_steps(facts: RunFacts) -> tuple[NextStep, ...]:
    """The steps, the most important first. After an interrupt it is only to resume."""
    if facts.is_stopped:
        return (NextStep("The run is not complete. The same command resumes it."),)
    return (*_data(facts), *_evidence(facts), *_training(facts))


def _data(facts: RunFacts) -> Iterator[NextStep]:
    """Labels and files to correct."""
    num_wrong = facts.labels.num_wrong
    if num_wrong and not facts.labels.is_weak:
        which = f"the {num_wrong} labels that look wrong" if num_wrong > 1 else "the label that looks wrong"
        yield NextStep(f"Check {which} ({LABELS}). Correct your list where it is wrong, and train in a new folder.")
    if facts.has_issue("two classes"):
        yield NextStep("Correct the labels of the clips that are in two classes.")
    if facts.has_issue("doubtful labels"):
        yield NextStep("Check the near-duplicates of two classes: of each pair, one label may be wrong.")
    if facts.has_issue("unreadable", "damaged"):
        yield NextStep("Restore the clips that cannot be read, or read to their end.", "i3d data check")
    if facts.has_issue("leak"):
        yield NextStep("Make the classes alike in length, frame size, frame rate and bytes per frame, and train again.")
    if facts.has_issue("empty class", "few clips"):
        yield NextStep(f"Add clips of the classes that have none or few; aim at {ENOUGH_CLIPS} or more of each.")


def _evidence(facts: RunFacts) -> Iterator[NextStep]:
    """How to know the accuracy better."""
    metrics, split = facts.metrics, facts.split
    flag = group_flag(next((issue.group_by for issue in facts.stats.issues if issue.kind == "sources"), ""))
    kinds = [kind for kind in ("sources", "duplicates", "near-duplicates") if facts.has_issue(kind)]
    if kinds == ["sources"]:
        source, out = facts.list_and_split
        command = f"i3d data split {source} --out {out} --ignore-splits{flag}"
        yield NextStep("Split the clips again, so that sources stay on one side.", command)
    elif kinds:  # `i3d data split` does not read the clips
        text = f"Train without the split of your list: the one that is drawn has {' and '.join(kinds)} on one side."
        yield NextStep(text, flag.strip())
    if facts.stats.source_risk and not facts.options.group_by:
        if not flag:
            yield NextStep("Name the source of each clip, in a column `group` or by its path.", "--group-by REGEX")
    elif facts.has_issue("divided near-duplicates"):
        yield NextStep("Give near-duplicates that are of one source one name in the column `group`.")
    num_groups = len(np.unique(split.groups_N))
    can_fold = not split.num_folds and num_groups > 1 and facts.config.norms != "re-estimated"
    if facts.is_few and can_fold:
        instead = "" if facts.options.val_fraction is None else ", without --val-fraction"
        yield NextStep(f"Test on all clips, in folds{instead}.", f"--cv-folds {min(NUM_FOLDS, num_groups)}")
    elif metrics is None:
        yield NextStep("Give some clips of another source the split `test`, and train again.")
    elif facts.is_few and split.num_folds:
        ends = format_interval(metrics.interval, factor=100, digits=0)
        percents = f": the 95 % interval of the result is {ends} %" * bool(metrics.interval)
        yield NextStep(f"Add clips, of other sources if you can{percents}.")
    if split.folds_N is not None:
        text = "Test the model on further clips: it was trained on all of these."
        yield NextStep(text, f"i3d test {shlex.quote(facts.folder)} --data LIST")


def _training(facts: RunFacts) -> Iterator[NextStep]:
    """How to make the model better."""
    metrics, config, gain = facts.metrics, facts.config, facts.gain
    is_in_vain = gain is not None and gain.is_in_vain
    if is_in_vain:
        yield NextStep("Train the classifier alone, which is as good and faster.", "--train-layers head")
    if metrics is None:
        return
    if metrics.top1 is not None:
        if is_uneven(metrics) and not _is_balanced(config):
            yield NextStep("Weight the classes equally, or add clips of the rare ones.", "--balance loss")
        elif is_uneven(metrics):
            yield NextStep("Add clips of the rare classes: they are weighted equally already.")
        if is_overfit(metrics, facts.train_top1) and not facts.is_few:
            yield NextStep("Add more, and more varied, training clips: the model overfits those that it has.")
    if not is_in_vain and (is_underfit(metrics, facts.train_top1) or _could_be_better(facts, metrics)):
        if config.train_layers == "head":
            yield NextStep("Try whether training the last layers is better, in a new folder.", "--train-layers last")
        elif config.train_layers == "last":
            yield NextStep("Try whether training all layers is better, in a new folder.", "--train-layers all")
        else:
            yield NextStep(
                "Try whether more epochs are better, in a new folder.", f"--epochs {2 * config.training.epochs}"
            )


def _could_be_better(facts: RunFacts, metrics: Metrics) -> bool:
    """Whether the accuracy leaves room, with clips enough to train layers."""
    smallest = min((count for count in facts.stats.counts_K if count), default=0)
    return metrics.accuracy < NEARLY_RIGHT and smallest >= ENOUGH_CLIPS and facts.config.norms != "re-estimated"


def _is_balanced(config: FinetuneConfig) -> bool:
    return config.training.balance != "none" or config.training.loss != Loss()
