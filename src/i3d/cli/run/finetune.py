"""`i3d train` without a published recipe: every setting that is not given is chosen automatically."""

from __future__ import annotations

import json as json_format
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.prompt import Confirm

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.options import FrameOptions, ListOptions
from i3d.cli.run.setup import cache_in, frame_naming, read_dataset
from i3d.cli.run.train import flow_settings
from i3d.cli.train import FinetuneFlags, TrainOptions
from i3d.errors import InputError, printable
from i3d.evaluation.result_file import metrics_as_dict
from i3d.finetuning.finetune import FinetuneResult, finetune
from i3d.finetuning.mirrored_classes import mirror_rule
from i3d.finetuning.options import FinetuneOptions
from i3d.utils.device import ComputeConfig
from i3d.weights.pretrained import DEFAULT


def run_finetune(
    data: Path,
    work_dir: Path,
    dataset: ListOptions,
    frames: FrameOptions,
    options: TrainOptions,
    flags: FinetuneFlags,
    max_bad: float | None,
    *,
    seed: int,
    json: bool,
) -> int:
    """Fine-tune, print the result; the exit code."""
    clips = read_dataset(data, dataset)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--recipe finetune: runs in one process; leave torchrun out, or name a published recipe")
    flip = flags.flip or _confirm_mirroring(clips.classes, quiet=json or flags.yes)
    modality: Literal["rgb", "flow"] = "flow" if frames.template and "{axis}" in frames.template else "rgb"
    with _resumable(work_dir), output.Training(quiet=json) as progress:
        result = finetune(
            clips,
            work_dir=work_dir,
            options=FinetuneOptions(
                train_layers=flags.train_layers,
                head=flags.head,
                views=flags.views,
                test_clips=flags.test_clips,
                epochs=options.epochs,
                batch_size=options.batch_size,
                lr=options.lr,
                norms=flags.norms,
                flip=flip,
                balance=flags.balance,
                layer_decay=flags.layer_decay,
                cv_folds=flags.cv_folds,
                val_fraction=flags.val_fraction,
                group_by=flags.group_by,
                overfit_check=flags.overfit_check,
            ),
            init=options.init or DEFAULT,
            settings=_settings(options),
            max_bad=max_bad,
            compute=ComputeConfig(
                options.device, options.precision, options.runtime, options.workers, cache_in(options.cache)
            ),
            deterministic=options.deterministic,
            seed=seed,
            naming=frame_naming(frames, modality),
            multi_label=dataset.multi_label,
            on_progress=progress,
        )
    _print_result(result, json=json)
    return 128 + result.stop_signal if result.stop_signal else 0


def _settings(options: TrainOptions) -> list[str]:
    """Settings of the recipe that is made."""
    given = {"accumulate": options.accumulate, "validate_every": options.validate_every}
    named = [f"training.{name}={value}" for name, value in given.items() if value is not None]
    return [*(options.settings or []), *flow_settings(options), *named]


@contextmanager
def _resumable(work_dir: Path) -> Iterator[None]:
    """After Ctrl-C, log that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        log.info("interrupted; results so far are saved, and the same command resumes in %s", printable(str(work_dir)))
        raise


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


def _print_result(result: FinetuneResult, *, json: bool) -> None:
    if not json:
        output.print_finetuning(result)
        return
    summary: dict[str, Any] = {
        "model": str(result.model) if result.model.exists() else None,
        "train_layers": result.train_layers,
        "decisions": [asdict(decision) for decision in result.decisions],
        "issues": [asdict(issue) for issue in result.issues],
        "diagnosis": result.diagnosis,
        "tested_on": result.tested_on if result.evaluation is not None else "",
        "fold_accuracies": result.fold_accuracies,
        "features_computed": result.num_computed,
        "stop_signal": result.stop_signal,
    }
    if result.evaluation is not None and result.metrics is not None:
        summary["metrics"] = metrics_as_dict(result.evaluation, result.metrics)
    print(json_format.dumps(summary, indent=2))
