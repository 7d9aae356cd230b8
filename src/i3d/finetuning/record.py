"""The files that fine-tuning writes to its folder, beside the model: record, split, preview, report."""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from i3d.data.annotations import SPLITS, Annotations
from i3d.data.class_files import classes_file
from i3d.data.formats.write import list_content
from i3d.data.labels import CLASSES_SUFFIX
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.preview import Preview, preview_dataset
from i3d.data.resume import read_record
from i3d.errors import InputError, printable
from i3d.evaluation.confusion import draw_confusion
from i3d.evaluation.result import compute_metrics
from i3d.evaluation.result_file import metrics_as_dict, write_evaluations
from i3d.finetuning.defaults import Decision
from i3d.finetuning.inspect_data import DatasetStats
from i3d.finetuning.label_check import LABELS, LabelCheck
from i3d.finetuning.next_steps import NextStep
from i3d.finetuning.outcome import Outcome
from i3d.finetuning.report import describe_environment, write_run_report
from i3d.finetuning.steps import RECORD, START, Finetuner
from i3d.training.run_folder import BEST, DONE, LAST, RUN, check_same_run, fingerprint, without_init
from i3d.training.run_folder import OWN_FILES as RUN_FILES
from i3d.utils.atomic_files import write_atomically
from i3d.utils.cache import cache_key
from i3d.utils.outputs import WRITTEN, check_recorded, recorded, recorded_files
from i3d.utils.text import encode_names

SPLIT, TEST, CONFUSION, REPORT, PREVIEW = "split.csv", "test.json", "confusion.png", "report.html", "preview"
ENVIRONMENT: Final = "environment"  # in the record: of the command that completed the run
DECISIONS: Final = "decisions"  # in the record
ROOTS: Final = "roots"  # in the record: the folder of the clips, as such and from the folder of the run
CLASSES: Final = str(Path(SPLIT).with_suffix(CLASSES_SUFFIX))

RECORDED: Final = (SPLIT, CLASSES, TEST, CONFUSION, REPORT, LABELS, START)  # their digests are in the record
OWN_FILES: Final = (  # of fine-tuning, beside its record
    *RECORDED, f"{PREVIEW}/clips.png", f"{PREVIEW}/statistics.png", "fold_1", RUN, *RUN_FILES,
)  # fmt: skip

log = logging.getLogger("i3d")


def check_record(work_dir: Path) -> dict[str, Any] | None:
    """The record of a folder, if there is one. An InputError for one that no fine-tuning wrote, or that is damaged.

    Another is for an output whose digest is not in the record.
    """
    record = read_record(work_dir / RECORD)
    if record is not None and DECISIONS not in record:
        what = "was not written by a run, or is damaged"
        raise InputError(f"{work_dir / RECORD}: {what}; choose another --work-dir, or move the file away")
    weights = () if (work_dir / RUN).exists() else (BEST, LAST)  # `train` wrote them, and checks its own files
    written = (record or {}).get(WRITTEN)
    for name in {*RECORDED, *weights, *(written if isinstance(written, dict) else ())}:
        check_recorded(work_dir / name, recorded(record, name), todo="choose another --work-dir, or move it away")
    return record


def write_start(work_dir: Path, tuner: Finetuner, stats: DatasetStats) -> None:
    """Log the decisions; write the record, the split and a sheet of training clips.

    A folder that holds another run is an InputError. A run without a model (after a failed overfit check) is
    replaced.
    """
    config = {  # that a resumed run must match
        "seed": tuner.seed,
        "views": tuner.config.views,
        "head": tuner.config.head,
        "norms": tuner.config.norms,
        "tested_on": tuner.split.tested_on,
        "weights": tuner.weights.sha256,
        "clips": fingerprint(tuner.annotations),
        "contents": cache_key(contents=tuner.clips.sha256_N),
        "recipe": without_init(tuner.config.recipe),
    }
    root = tuner.annotations.root or "."
    record: dict[str, Any] = {
        "config": config,
        ROOTS: [os.path.abspath(root), os.path.relpath(root, work_dir)],  # noqa: PTH100 (keeps links)
        DECISIONS: [asdict(decision) for decision in tuner.config.decisions],
        "issues": [asdict(issue) for issue in stats.issues],
    }
    path, before = work_dir / RECORD, check_record(work_dir)
    record["started"] = (before or {}).get("started", time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    is_resumed = path.exists() and any((work_dir / name).exists() for name in (BEST, RUN, "fold_1"))
    if is_resumed:
        record[DECISIONS] = check_same_run(path, config)[DECISIONS]  # near-duplicates may have changed that about folds
    elif path.exists():
        (work_dir / PREVIEW / "clips.png").unlink(missing_ok=True)
        before = None if before is None else {WRITTEN: before.get(WRITTEN, {})}
    _write_record(path, before, record)  # the first file: `RunFolder.check_own`
    if not (is_resumed and (work_dir / SPLIT).exists()):  # it may have been divided again by near-duplicates
        write_split(work_dir, tuner.annotations)
    log.info(f"{printable(str(work_dir / SPLIT))}: the clips and their splits")
    log.info(format_decisions(tuner.config.decisions))
    _write_preview(work_dir, tuner)


@dataclass(frozen=True)
class RunClips:
    """The clips of a fine-tuning."""

    path: Path  # the list, with their splits
    root: Path | None  # their folder; None: it is not where it was
    tested_on: str  # "test", "val", "5 folds"; "": no clip is held out
    has_folds: bool  # whether folds tested the classifier

    @property
    def trained_on_all(self) -> str:
        """Why a test of the model on them would be one on training clips, and its own result; "": some are held out."""
        if self.tested_on in SPLITS:
            return ""
        why = "none was held out" if not self.tested_on else f"the {self.tested_on} were tested with other models"
        folds = self.tested_on or "folds" * self.has_folds
        result = f"; the result of the {folds} is in {RECORD} and {REPORT}" if folds else ""
        return f"the model was trained on all clips of this run ({why}{result})"


def clips_of_run(work_dir: Path) -> RunClips:
    """The list of a fine-tuning's clips with their splits, and their folder.

    The folder is searched where the run read it, then beside the run: both may have been moved together.
    """
    record = check_record(work_dir) or {}
    if not (work_dir / SPLIT).is_file():
        raise InputError(f"{work_dir}: has no {SPLIT}, which fine-tuning writes; name the clips with --data")
    roots = record.get(ROOTS)
    paths = [work_dir / root for root in roots if isinstance(root, str)] if isinstance(roots, list) else []
    root, config = next((path for path in paths if path.is_dir()), None), record.get("config")
    tested_on = config.get("tested_on", "") if isinstance(config, dict) else ""
    return RunClips(work_dir / SPLIT, root, str(tested_on), "cross_validation" in record)


def write_split(work_dir: Path, annotations: Annotations) -> None:
    """Write the clips with their splits, and the class names."""
    with recorded_files(work_dir, work_dir / RECORD) as folder:
        write_atomically(folder / SPLIT, list_content(annotations, work_dir / SPLIT))
        write_atomically(folder / CLASSES, classes_file(annotations.classes))


def _write_record(path: Path, before: dict[str, Any] | None, new: dict[str, Any]) -> None:
    """Write the record with new values, if they are others than before."""
    record = json.loads(json.dumps({**(before or {}), **new}))
    if record != before:
        write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())


def read_value(work_dir: Path, key: str) -> Any:
    """A value of the record; None if there is none."""
    return (read_record(work_dir / RECORD) or {}).get(key)


def write_values(work_dir: Path, values: Mapping[str, Any]) -> None:
    """Add values to the record."""
    _write_record(work_dir / RECORD, json.loads((work_dir / RECORD).read_bytes()), dict(values))


def write_end(
    work_dir: Path,
    tuner: Finetuner,
    stats: DatasetStats,
    outcome: Outcome,
    *,
    diagnosis: Sequence[str],
    steps: Sequence[NextStep],
    command: str,
    seconds: float,
) -> None:
    """Write scores, metrics, the confusion matrix, labels and the report. A run that a signal stopped is not done."""
    evaluation, of_folds = outcome.evaluation, outcome.of_folds
    before: dict[str, Any] = json.loads((work_dir / RECORD).read_bytes())
    complete = before.get(ENVIRONMENT) if before.get(DONE) else None
    environment = describe_environment(tuner, outcome, command=command, seconds=seconds, before=complete)
    record: dict[str, Any] = {"diagnosis": list(diagnosis), "fold_accuracies": list(outcome.folds.fold_accuracies)}
    record["issues"] = [asdict(issue) for issue in stats.issues]  # with those that features show
    record |= {"next_steps": [str(step) for step in steps], "labels": outcome.labels.as_dict()}
    record |= {ENVIRONMENT: environment, DONE: not outcome.stop_signal}
    if of_folds is not None:
        record["cross_validation"] = metrics_as_dict(of_folds, compute_metrics(of_folds))
    _write_labels(work_dir, outcome.labels)
    with recorded_files(work_dir, work_dir / RECORD) as folder:
        if evaluation is not None:
            metrics = compute_metrics(evaluation)
            record["metrics"] = metrics_as_dict(evaluation, metrics)
            write_evaluations(folder / TEST, [(evaluation, metrics)])
            if not evaluation.multi_label:
                draw_confusion(folder / CONFUSION, evaluation)
        images = {"training clips": (work_dir / PREVIEW / "clips.png").read_bytes()}
        write_run_report(
            folder / REPORT, work_dir, tuner, stats, outcome,
            diagnosis=diagnosis, steps=steps, environment=environment, images=images,
        )  # fmt: skip
    write_values(work_dir, record)


def _write_labels(work_dir: Path, labels: LabelCheck) -> None:
    """Write the list of suspicious labels, or remove that of another check of these clips."""
    if labels.why_not:
        (work_dir / LABELS).unlink(missing_ok=True)
        return
    with recorded_files(work_dir, work_dir / RECORD) as folder:
        write_atomically(folder / LABELS, encode_names(labels.as_csv(), work_dir / LABELS))


def format_decisions(decisions: Sequence[Decision]) -> str:
    """A table of flags, values and reasons as text, a line for each decision."""
    rows = [(decision.flag, printable(decision.value), printable(decision.reason)) for decision in decisions]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {flag:<{widths[0]}}  {value:<{widths[1]}}  {reason}" for flag, value, reason in rows]
    return "\n".join(["settings, each with its reason; a flag overrides it:", *lines])


def preview_plan(tuner: Finetuner, out: Path, **options: Any) -> Preview:
    """Draw the training clips of a plan as it reads them. `options`: of `preview_dataset`."""
    config, clips = tuner.config, tuner.annotations.select(tuner.split.train)
    recipe, training = config.recipe, config.training
    view: TrainView | TestView = TrainView(training.sampling, training.augmentation)
    if config.train_layers == "head" and config.views == 1:  # the classifier reads the views of a test
        view = TestView(config.protocol, recipe.preprocessing)
    flow = ClipFlow.from_network(recipe.network, recipe.preprocessing, tuner.compute.cache)
    dataset = ClipDataset(clips, view, seed=tuner.seed, naming=tuner.clips.naming, flow=flow)
    plan = f"plan of `i3d train` without --recipe, chosen for these clips: --train-layers {config.train_layers}"
    return preview_dataset(dataset, out, plan=plan, **options)


def _write_preview(work_dir: Path, tuner: Finetuner) -> None:
    out = work_dir / PREVIEW
    if not (out / "clips.png").exists():
        preview = preview_plan(tuner, out)
        log.info(f"{printable(str(preview.paths[0]))}: clips as training reads them")
