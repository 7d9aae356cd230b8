"""Fine-tunes a pretrained network on the classes of a user's clips.

    result = finetune(read_annotations(Path("clips")), work_dir=Path("my"))
    result.model                        # my/best.safetensors, for `predict` and `evaluate`

`finetune` reads from top to bottom: inspect the clips, choose the settings, compute features, overfit eight clips, fit
the classifier, train layers if that is set, test, and diagnose the result.
"""

import logging
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming, dataset_naming
from i3d.errors import InputError, check_not_empty, counted
from i3d.evaluation.result import Evaluation, Metrics, compute_metrics
from i3d.finetuning.classifier import Head
from i3d.finetuning.data_issues import DataIssue, find_fold_issues
from i3d.finetuning.defaults import Decision, choose, trains_layers, with_folds
from i3d.finetuning.diagnosis import describe_folds, diagnose, doubts
from i3d.finetuning.features import ClipFeatures
from i3d.finetuning.inspect_data import DatasetStats, divide, inspect_clips
from i3d.finetuning.label_check import LabelCheck, check_labels
from i3d.finetuning.next_steps import NextStep, RunFacts, next_steps
from i3d.finetuning.options import FinetuneOptions
from i3d.finetuning.outcome import Outcome
from i3d.finetuning.record import OWN_FILES, SPLIT, check_record, write_end, write_split, write_start
from i3d.finetuning.selection import Candidate
from i3d.finetuning.shared_sources import SharedSources, group_near_duplicates, report_without
from i3d.finetuning.steps import RECORD, START, CrossValidation, Finetuner
from i3d.finetuning.suspicious_labels import SuspiciousLabel
from i3d.finetuning.useless_settings import check_validation
from i3d.training.run_folder import BEST, LAST, RunFolder, check_outside
from i3d.training.setup import check_sync_norms, check_training_runtime
from i3d.utils.arguments import checks_types
from i3d.utils.device import Arithmetic, ComputeConfig, arithmetic_of, pick_device
from i3d.utils.outputs import output_folder
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.weights.load import load_weights
from i3d.weights.pretrained import DEFAULT

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class FinetuneResult:
    """The model and its evaluation."""

    work_dir: Path
    model: Path
    train_layers: str
    decisions: tuple[Decision, ...]
    issues: tuple[DataIssue, ...]
    diagnosis: tuple[str, ...]
    next_steps: tuple[NextStep, ...]
    evaluation: Evaluation | None = field(repr=False)  # of clips that it was not trained on; None: there are none
    metrics: Metrics | None = field(repr=False)
    tested_on: str  # "test", "val", "5 folds"; "" without a test
    fold_accuracies: tuple[float, ...]
    of_folds: Evaluation | None = field(repr=False)  # of the classifier of a small set, by cross-validation
    suspicious: tuple[SuspiciousLabel, ...]  # labels: a fifth, the least probable, and all that look wrong
    num_computed: int  # views whose features were not in the cache
    stop_signal: int = 0  # the signal that stopped the training of layers


@checks_types
def finetune(
    annotations: Annotations,
    *,
    work_dir: Path,
    options: FinetuneOptions | None = None,
    init: str | os.PathLike[str] = DEFAULT,
    settings: Sequence[str] = (),
    max_bad: float | None = None,
    compute: ComputeConfig | None = None,
    deterministic: bool = False,
    seed: int = 0,
    naming: FrameNaming | None = None,
    multi_label: bool = False,
    command: str = "",
    on_progress: ProgressCallback = ignore_progress,
) -> FinetuneResult:
    """Train the classes of some clips, starting from pretrained weights.

    Args:
        annotations: the clips; those without a split are split by groups, a fifth for validation.
        work_dir: gets `best.safetensors` (the model), `split.csv`, `report.html`, `confusion.png`, `test.json`,
            `labels.csv` (suspicious labels), `preview/` and `finetune.json`. An interrupted run in it resumes.
        options: settings; those that are None are chosen by the clips and the device, and logged with the reason.
        init: pretrained weights, a shipped name or any weights file.
        settings: `key=value` changes of the resulting recipe.
        max_bad: the fraction of clips that may be unreadable (default: 0.1).
        compute: its precision (fp32 or bf16) is chosen if it is None.
        deterministic: train layers with deterministic algorithms.
        naming: how frame files are named.
        multi_label: a clip can have several classes.
        command: what started the run, for the report.
        on_progress: called while clips are checked, features computed, layers trained, clips tested.

    Raises:
        InputError: there is nothing to train, the overfit check fails, or the folder holds another run.
    """
    begun, work_dir = time.monotonic(), output_folder("work_dir", work_dir)
    check_not_empty(init=init)
    init = os.fspath(init)
    options, compute = options or FinetuneOptions(), compute or ComputeConfig()
    _check_options(options, compute, seed=seed, multi_label=multi_label)
    with _locked(work_dir):
        check_outside(work_dir, annotations)
        annotations.check_utf8(SPLIT)
        tuner, stats = plan_finetuning(
            annotations, options,
            init=init, settings=settings, max_bad=max_bad, compute=compute, deterministic=deterministic, seed=seed,
            naming=naming, multi_label=multi_label, on_progress=on_progress,
        )  # fmt: skip
        return _run(tuner, stats, work_dir, options, command=command, begun=begun)


def plan_finetuning(
    annotations: Annotations,
    options: FinetuneOptions,
    *,
    init: str,
    settings: Sequence[str],
    max_bad: float | None,
    compute: ComputeConfig,
    deterministic: bool,
    seed: int,
    naming: FrameNaming | None,
    multi_label: bool,
    on_progress: ProgressCallback,
) -> tuple[Finetuner, DatasetStats]:
    """Inspect the clips, divide them and choose the settings; nothing is computed or written yet."""
    weights, device = load_weights(init, needs_classifier=False), pick_device(compute.device)
    start, precision = weights.card.recipe, _feature_precision(compute, device)
    if naming is None and annotations.is_frames:
        naming = dataset_naming(annotations, modality="flow" if start.network.in_channels == 2 else "rgb")
    clips, stats = inspect_clips(
        annotations, options,
        naming=naming, compute=compute, seed=seed, max_bad=max_bad, multi_label=multi_label,
        trains_layers=trains_layers(options, device.type), on_progress=on_progress,
    )  # fmt: skip
    split = divide(clips.annotations, stats, options, seed=seed)
    config = choose(
        options, stats,
        recipe=start, device=device.type, has_fast_bf16=arithmetic_of("auto", device) == "bf16", precision=precision,
        init=init, settings=settings,
    )  # fmt: skip
    config = with_folds(config, split)
    check_validation(settings, split)
    if config.train_layers == "head" and split.tested_on == "test" and split.validation:
        unused = f"{counted(len(split.validation), 'clip')} of the split val"
        log.info(f"the model and its test leave out {unused}: the classifier alone is not validated")
    useless = f"--runtime {compute.runtime}" if compute.runtime != "torch" else "--deterministic" * deterministic
    if config.train_layers == "head" and useless:
        raise InputError(f"{useless}: no layers are trained (--train-layers head); leave it out")
    check_sync_norms(config.training, device.type)
    tuner = Finetuner(clips, split, config, weights, init, compute, deterministic, seed, on_progress, max_bad)
    return tuner, stats


def _check_options(options: FinetuneOptions, compute: ComputeConfig, *, seed: int, multi_label: bool) -> None:
    if seed < 0:
        raise InputError(f"seed {seed}: must be at least 0")
    check_training_runtime(compute)
    if multi_label and options.head in ("auto", "prototype"):
        raise InputError(f"--head {options.head}: a multi-label clip has no nearest class mean; use --head linear")


@contextmanager
def _locked(work_dir: Path) -> Iterator[None]:
    """The lock on the folder of the run, from its first check to its last file.

    It is an InputError, before any work, if another run uses the folder or it holds files that this run would write.
    """
    folder = RunFolder(work_dir)
    folder.lock()
    try:
        folder.check_own(RECORD, OWN_FILES)
        check_record(work_dir)
        yield
    finally:
        folder.release()


def _feature_precision(compute: ComputeConfig, device: torch.device) -> Arithmetic | None:
    """The precision of features that was asked for; None: it is chosen. `auto` on a device of fp16 is fp32."""
    precision = None if compute.precision is None else arithmetic_of(compute.precision, device)
    if precision == "fp16" and compute.precision != "auto":
        raise InputError("--precision fp16: fine-tuning computes features in fp32 or bf16; use one of them")
    return "fp32" if precision == "fp16" else precision


def _run(
    tuner: Finetuner, stats: DatasetStats, work_dir: Path, options: FinetuneOptions, *, command: str, begun: float
) -> FinetuneResult:
    """From the decisions to the model and its diagnosis."""
    tuner.report("draw preview")
    write_start(work_dir, tuner, stats)
    if tuner.config.norms == "re-estimated":
        tuner = replace(tuner, weights=tuner.reestimate_norms())
    tuner, stats, shared, features, lost = _compute_features(tuner, stats, options, work_dir)
    if options.overfit_check:
        tuner.check_overfit(features)
    names = (BEST, LAST) if tuner.config.train_layers == "head" else (START,)
    head, chosen = tuner.fit_classifier(features, tuner.split.train, work_dir, names)
    outcome = _train_and_test(tuner, features, head, chosen, work_dir, options)
    outcome = replace(outcome, lost=lost)
    tuner.report("write report")
    diagnosis, steps = _diagnose(tuner, stats, outcome), _next_steps(tuner, stats, options, outcome, work_dir)
    diagnosis += report_without(tuner.split, shared, outcome.evaluation, outcome.of_folds, work_dir)
    write_end(
        work_dir, tuner, stats, outcome,
        diagnosis=diagnosis, steps=steps, command=command, seconds=time.monotonic() - begun,
    )  # fmt: skip
    return FinetuneResult(
        work_dir=work_dir,
        model=work_dir / BEST,
        train_layers=tuner.config.train_layers,
        decisions=tuner.config.decisions,
        issues=stats.issues,
        diagnosis=tuple(diagnosis),
        next_steps=steps,
        evaluation=outcome.evaluation,
        metrics=None if outcome.evaluation is None else compute_metrics(outcome.evaluation),
        tested_on=tuner.split.tested_on,
        fold_accuracies=outcome.folds.fold_accuracies,
        of_folds=outcome.of_folds,
        suspicious=outcome.labels.suspicious,
        num_computed=features.num_computed,
        stop_signal=outcome.stop_signal,
    )


def _train_and_test(
    tuner: Finetuner, features: ClipFeatures, head: Head, chosen: Candidate, work_dir: Path, options: FinetuneOptions
) -> Outcome:
    """Cross-validate, train layers, test, and check the labels; after a signal, no more of it."""
    split, trains_layers, stop_signal = tuner.split, tuner.config.train_layers != "head", 0
    evaluation: Evaluation | None = None
    folds, gain = CrossValidation(), None
    if split.folds_N is not None:
        folds = tuner.cross_validate(features, work_dir)
        evaluation, gain, stop_signal = folds.evaluation, folds.gain, folds.stop_signal
    if trains_layers and not stop_signal:
        stop_signal = tuner.train_layers(work_dir, split.train, split.validation, overfit_check=options.overfit_check)
        gain = gain or tuner.layer_gain(work_dir)
        if gain and gain.is_in_vain and split.spare and not stop_signal:  # the classifier needs no validation clips
            head, chosen = tuner.fit_classifier(features, sorted((*split.train, *split.spare)), work_dir, [BEST])
            gain = replace(gain, is_fitted_again=True)
        elif not stop_signal:
            tuner.add_familiarity(work_dir / BEST)
    if split.test and not stop_signal:
        evaluation = tuner.test(features, head, split.test, work_dir / BEST)
        if trains_layers and not (gain or split.validation):
            gain = tuner.gain_of_test(features, head, evaluation)
    of_folds, train_top1 = None, None
    if split.head_folds_N is not None and not stop_signal:
        of_folds = tuner.cross_validate_head(features, split.head_folds_N)
    labels = LabelCheck(why_not="a signal stopped the run")
    if not stop_signal:
        labels = check_labels(tuner, features, chosen, folds.of_head or of_folds, options)
    # With trained layers it is unknown: the log has that of augmented clips, while the weights still change.
    if not (tuner.config.recipe.multi_label or trains_layers or stop_signal):
        train_top1 = tuner.training_accuracy(features, head)
    return Outcome(
        trains_layers, str(chosen), features.num_computed, evaluation, folds, of_folds, labels,
        train_top1=train_top1, gain=gain, overfit_checks=tuple(tuner.overfit_checks), stop_signal=stop_signal,
    )  # fmt: skip


def _compute_features(
    tuner: Finetuner, stats: DatasetStats, options: FinetuneOptions, work_dir: Path
) -> tuple[Finetuner, DatasetStats, SharedSources, ClipFeatures, tuple[str, ...]]:
    """The features of the clips that can be read, divided so that near-duplicates stay together; why others cannot."""
    backbone, features = tuner.extract_features()
    tuner, stats, shared = group_near_duplicates(tuner, stats, options, features, work_dir)
    features = tuner.add_random_views(backbone, features)
    lost = tuple(features.lost.values())
    if lost:
        shared = shared.without(features.lost, len(tuner.annotations))
        tuner, features = tuner.without_lost(features)
    folds_N = tuner.split.folds_N if tuner.split.folds_N is not None else tuner.split.head_folds_N
    issues = [] if folds_N is None else find_fold_issues(tuner.annotations, folds_N)
    for issue in issues:
        log.warning(issue.message)
    stats = replace(stats, issues=(*stats.issues, *issues))
    write_split(work_dir, tuner.annotations)
    return tuner, stats, shared, features, lost


def _diagnose(tuner: Finetuner, stats: DatasetStats, outcome: Outcome) -> list[str]:
    """Sentences about the classifier in folds, which has most clips, or about the test if layers are trained."""
    sentences, judged, labels = list[str](), outcome.judged, outcome.labels
    if outcome.of_folds is not None:
        metrics, num_folds = compute_metrics(outcome.of_folds), tuner.split.num_folds
        sentences = [describe_folds(metrics, num_folds, trains_layers=outcome.trains_layers)]
    if judged is None:
        risks = [*doubts(stats.issues), *filter(None, [stats.source_risk])] if sentences else []
        return [*sentences, *risks, labels.sentence()]
    return sentences + diagnose(
        judged, compute_metrics(judged),
        train_top1=outcome.train_top1, issues=stats.issues, is_cross_validated=outcome.is_cross_validated,
        gain=outcome.gain, source_risk=stats.source_risk, labels=labels.sentence(),
        has_wrong_labels=labels.num_wrong > 0,
    )  # fmt: skip


def _next_steps(
    tuner: Finetuner, stats: DatasetStats, options: FinetuneOptions, outcome: Outcome, work_dir: Path
) -> tuple[NextStep, ...]:
    metrics = None if outcome.judged is None else compute_metrics(outcome.judged)
    return next_steps(
        RunFacts(
            tuner.config, options, stats, tuner.split, metrics, outcome.labels,
            train_top1=outcome.train_top1, gain=outcome.gain, is_stopped=outcome.stop_signal != 0,
            folder=str(work_dir), list_and_split=_list_and_split(tuner.annotations.source),
        )
    )  # fmt: skip


def _list_and_split(source: str) -> tuple[str, str]:
    """The words of a command for a list or folder of clips, and for a new list in the folder that paths begin in."""
    place = Path(source)
    if not source or not place.exists():
        return "LIST", "split.csv"
    folder = place if place.is_dir() else place.parent
    return shlex.quote(source), shlex.quote(str(folder / "split.csv"))
