"""The report of a fine-tuning as one self-contained HTML file: what was found, chosen, trained and measured.

The page is the template `assets/report/finetuning.html`, with the sections of a test.
"""

import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

import numpy as np
import torch

from i3d._version import __version__
from i3d.errors import printable
from i3d.evaluation.hardest_clips import Still, read_stills
from i3d.evaluation.report import render_page, sections_of_test
from i3d.evaluation.result import ClipRange, Evaluation, Metrics, compute_metrics
from i3d.finetuning.diagnosis import describe_folds
from i3d.finetuning.inspect_data import DatasetStats
from i3d.finetuning.label_check import LABELS
from i3d.finetuning.next_steps import NextStep
from i3d.finetuning.outcome import Outcome
from i3d.finetuning.steps import Finetuner
from i3d.finetuning.suspicious_labels import SuspiciousLabel
from i3d.training.run_folder import BEST, CURVES
from i3d.utils.atomic_files import write_atomically
from i3d.utils.cores import num_cores
from i3d.utils.device import pick_device, processor

MAX_LABELS: Final = 24  # with stills
FEW_LABELS: Final = 4  # the same, where fewer look wrong
VARYING: Final = ("features computed", "minutes", "finished")  # from one start of a command to the next


@dataclass(frozen=True)
class Result:
    """A row of the table of results."""

    name: str
    metrics: Metrics
    num_groups: int


@dataclass(frozen=True)
class LabelStills:
    """A suspicious label with stills of its clip, or a note why there are none."""

    label: SuspiciousLabel
    stills: tuple[Still, ...]
    note: str


def write_run_report(
    path: Path,
    work_dir: Path,
    tuner: Finetuner,
    stats: DatasetStats,
    outcome: Outcome,
    *,
    diagnosis: Sequence[str],
    steps: Sequence[NextStep],
    environment: Mapping[str, str],
    images: Mapping[str, bytes],
) -> None:
    """Write the report of a run to `path`. Images are PNG files by caption."""
    shown, title = _shown_evaluation(tuner, outcome), f"Training on {printable(_short(tuner.annotations.source))}"
    accuracies = outcome.folds.fold_accuracies
    curves = work_dir / CURVES
    values = {
        "evaluation": None,
        **({} if shown is None else sections_of_test(shown)),
        "shown": "" if shown is None else _name_of(shown, tuner, outcome),
        "steps": steps,
        "predict": f"i3d predict clip.mp4 --model {shlex.quote(str(work_dir / BEST))}",
        "diagnosis": [sentence for sentence in diagnosis if sentence not in _of_other_sections(tuner, outcome)],
        "results": results(tuner, outcome),
        "outcome": outcome,
        "fold_accuracies": accuracies,
        "fold_mean": fmean(accuracies) if accuracies else None,
        "fold_spread": stdev(accuracies) if len(accuracies) > 1 else None,
        "num_groups": _num_groups(tuner, range(len(tuner.annotations))),
        "annotations": tuner.annotations,
        "tested_on": tuner.split.tested_on,
        "train_layers": tuner.config.train_layers,
        "decisions": tuner.config.decisions,
        "issues": [issue for issue in stats.issues if issue.kind != "unreadable"],  # they have a list of their own
        "near_duplicates": stats.near_duplicates,
        "unreadable": (*stats.unreadable, *outcome.lost),
        "label_clips": (label_clips := label_stills(tuner, outcome)),
        "num_hidden": outcome.labels.num_wrong - sum(clip.label.looks_wrong for clip in label_clips),
        "labels_file": LABELS,
        "environment": environment,
        "curves": curves.read_bytes() if curves.exists() else None,
    }
    write_atomically(path, render_page("finetuning.html", title, values, images).encode())


def describe_environment(
    tuner: Finetuner, outcome: Outcome, *, command: str, seconds: float, before: Mapping[str, str] | None
) -> dict[str, str]:
    """What the run was made with. That of a complete run before stays, if only the time differs."""
    device = pick_device(tuner.compute.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor()}, {num_cores()} cores"
    environment = {
        "i3d": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "device": f"{device.type} ({name})",
        "precision": tuner.config.precision,
        "seed": str(tuner.seed),
        "initial weights": f"{printable(tuner.init)} (SHA-256 {tuner.weights.sha256})",
        "features computed": f"{outcome.num_computed}; the others are from the cache",
        "minutes": f"{seconds / 60:.1f}, of the command that completed the run",
        "finished": time.strftime("%Y-%m-%d %H:%M"),
    }
    environment |= {"command": command} if command else {}
    if before is not None and all(before.get(key) == environment.get(key) for key in environment if key not in VARYING):
        return dict(before)
    return environment


def results(tuner: Finetuner, outcome: Outcome) -> list[Result]:
    """The tests of clips that were held out."""
    split, everything = tuner.split, range(len(tuner.annotations))
    rows = []
    if outcome.evaluation is not None:
        clips = split.test if split.folds_N is None else everything
        name = _name_of(outcome.evaluation, tuner, outcome)
        rows.append(Result(name, compute_metrics(outcome.evaluation), _num_groups(tuner, clips)))
    if outcome.of_folds is not None:
        name = _name_of(outcome.of_folds, tuner, outcome)
        rows.append(Result(name, compute_metrics(outcome.of_folds), _num_groups(tuner, everything)))
    return rows


def label_stills(tuner: Finetuner, outcome: Outcome) -> list[LabelStills]:
    """The labels that look wrong, at most 24, with stills; a few of the most suspicious ones if fewer do."""
    suspicious = outcome.labels.suspicious
    wrong = [row for row in suspicious if row.looks_wrong][:MAX_LABELS]
    rows = wrong if len(wrong) >= FEW_LABELS else suspicious[:FEW_LABELS]
    annotations, clips = tuner.annotations, []
    for row in {*wrong, *rows}:
        part = ClipRange.from_clip(annotations[row.index])
        stills = read_stills(annotations.file(row.index), clip_range=part, naming=tuner.clips.naming)
        clips.append(
            LabelStills(row, () if isinstance(stills, str) else stills, stills if isinstance(stills, str) else "")
        )
    return sorted(clips, key=lambda clip: (clip.label.probability, clip.label.index))


def _shown_evaluation(tuner: Finetuner, outcome: Outcome) -> Evaluation | None:
    """What the sections of a test are of: clips of the split `test`, else what the diagnosis is about."""
    return outcome.evaluation if tuner.split.tested_on == "test" else outcome.judged


def _name_of(evaluation: Evaluation, tuner: Finetuner, outcome: Outcome) -> str:
    """What was tested on which clips, in words."""
    if evaluation is not outcome.of_folds:
        folds = f"Cross-validation of the training in {tuner.split.tested_on}"
        return folds if tuner.split.folds_N is not None else f"Held-out clips (split {tuner.split.tested_on})"
    classifier = "classifier on the pretrained network" if outcome.trains_layers else "classifier"
    return f"Cross-validation of the {classifier} in {tuner.split.num_folds} folds"


def _of_other_sections(tuner: Finetuner, outcome: Outcome) -> list[str]:
    """Sentences of the diagnosis that the table of results and the check of labels repeat."""
    sentences = [outcome.labels.sentence()]
    if outcome.of_folds is not None:
        metrics, num_folds = compute_metrics(outcome.of_folds), tuner.split.num_folds
        sentences.append(describe_folds(metrics, num_folds, trains_layers=outcome.trains_layers))
    return sentences


def _num_groups(tuner: Finetuner, indices: Sequence[int]) -> int:
    return len(np.unique(tuner.split.groups_N[list(indices)]))


def _short(source: object) -> str:
    """The end of a path."""
    return "/".join(Path(str(source)).parts[-2:])
