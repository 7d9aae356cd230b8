"""`i3d train` without a published recipe: every setting that is not given is chosen automatically."""

import shlex
import sys
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from rich.console import Console
from rich.prompt import Confirm

from i3d.cli import output
from i3d.cli.messages import if_interrupted, log, this_command
from i3d.cli.run.setup import cache_in, frame_naming, read_dataset, template_modality
from i3d.cli.run.train import flow_settings
from i3d.cli.train import TrainOptions
from i3d.errors import InputError, printable
from i3d.evaluation.result import compute_metrics
from i3d.evaluation.result_file import metrics_as_dict
from i3d.finetuning.finetune import FinetuneResult, finetune
from i3d.finetuning.mirrored_classes import mirror_rule
from i3d.finetuning.options import FinetuneOptions
from i3d.utils.device import ComputeConfig
from i3d.utils.launcher import launched_as
from i3d.weights.pretrained import DEFAULT
from i3d.weights.runs import FINETUNE


def run_finetune(options: TrainOptions) -> int:
    """Fine-tune, print the result; the exit code."""
    frames, flags = options.frames, options.finetuning
    clips = read_dataset(options.data, options.dataset)
    if launched_as()[1] > 1:
        raise InputError("--recipe finetune: runs in one process; leave torchrun out, or name a published recipe")
    flip = flags.flip or _confirm_mirroring(clips.classes, quiet=options.json or flags.yes)
    given = {name: value for name, value in vars(flags).items() if name != "yes"}
    given |= {"flip": flip, "epochs": options.epochs, "batch_size": options.batch_size, "lr": options.lr}
    with (
        if_interrupted(partial(_describe_saved, options.work_dir)),
        output.ProgressBar("starting", lines=True, quiet=options.json) as progress,
    ):
        result = finetune(
            clips,
            work_dir=options.work_dir,
            options=FinetuneOptions(**given),
            init=options.init or DEFAULT,
            settings=_settings(options),
            max_bad=options.max_bad,
            compute=ComputeConfig(
                options.device, options.precision, options.runtime, options.workers, cache_in(options.cache)
            ),
            deterministic=options.deterministic,
            seed=options.seed,
            naming=frame_naming(frames, template_modality(frames)),
            multi_label=options.dataset.multi_label,
            command=this_command(),
            on_progress=progress,
        )
    if options.json:
        output.print_json(_summary(result))
    else:
        _print_text(result)
    return 128 + result.stop_signal if result.stop_signal else 0


def _describe_saved(work_dir: Path) -> str:
    """What is saved: nothing before the plan, when the check of the clips is one entry of the cache."""
    where = printable(str(work_dir))
    if (work_dir / FINETUNE).is_file():
        return f"results so far are saved in {where} and in the cache"
    return f"nothing is saved in {where} yet; the check of the clips is cached when it is complete"


def _settings(options: TrainOptions) -> list[str]:
    """Settings of the recipe that is made."""
    given = {"accumulate": options.accumulate, "validate_every": options.validate_every}
    named = [f"training.{name}={value}" for name, value in given.items() if value is not None]
    return [*(options.settings or []), *flow_settings(options), *named]


def _confirm_mirroring(classes: tuple[str, ...], *, quiet: bool) -> Literal["off"] | None:
    """On a terminal: "off" if the user answers that mirrored classes do not change places; None: chosen later."""
    rule = mirror_rule(classes)
    if not rule or quiet or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    for one, other in rule.pairs:
        log.info("in a mirror, %r becomes %r", printable(one), printable(other))
    for name in rule.alone:
        log.info("in a mirror, %r is none of the classes: it is not mirrored", printable(name))
    question = "Is this correct? (no: nothing is mirrored)"
    return None if Confirm.ask(question, default=True, console=Console(stderr=True)) else "off"


def _summary(result: FinetuneResult) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "model": str(result.model) if result.model.exists() else None,
        "train_layers": result.train_layers,
        "decisions": result.decisions,
        "issues": result.issues,
        "diagnosis": result.diagnosis,
        "next_steps": result.next_steps,
        "suspicious_labels": result.suspicious,
        "tested_on": result.tested_on if result.evaluation is not None else "",
        "fold_accuracies": result.fold_accuracies,
        "features_computed": result.num_computed,
        "stop_signal": result.stop_signal,
    }
    if result.evaluation is not None and result.metrics is not None:
        summary["metrics"] = metrics_as_dict(result.evaluation, result.metrics)
    if result.of_folds is not None:
        summary["cross_validation"] = metrics_as_dict(result.of_folds, compute_metrics(result.of_folds))
    return summary


def _print_text(result: FinetuneResult) -> None:
    """The metrics of the test, the diagnosis, and how to use the model."""
    folder = printable(str(result.work_dir))
    if result.stop_signal:
        log.info("stopped by a signal; results so far are saved in %s; to resume: %s", folder, this_command())
        return
    if result.evaluation is not None and result.metrics is not None:
        print(f"tested on {result.tested_on}")
        output.print_evaluation(result.evaluation, result.metrics)
    else:
        log.info("no clips were held out to test on (--val-fraction, or a column `split`)")
    if result.fold_accuracies:
        mean, spread = fmean(result.fold_accuracies), stdev(result.fold_accuracies)
        folds = ", ".join(f"{value:.4f}" for value in result.fold_accuracies)
        print(f"folds: {folds}; mean {mean:.4f}, standard deviation {spread:.4f}")
        print("each clip was tested by a model trained without it; the saved model was trained on all clips")
    print("")
    for sentence in result.diagnosis:
        print(printable(sentence))
    print(f"\nreport: {folder}/report.html")
    for step in result.next_steps:
        print(f"next: {printable(str(step))}")
    print(f"next: i3d predict clip.mp4 --model {printable(shlex.quote(str(result.model)))}")
