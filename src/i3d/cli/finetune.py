"""`i3d train` without a published recipe: fine-tuning, with every setting chosen that is not given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from i3d.cli import output
from i3d.cli.options import frame_names, share
from i3d.errors import InputError, printable
from i3d.weights.pretrained import DEFAULT

if TYPE_CHECKING:
    from i3d.data.annotations import Annotations
    from i3d.finetuning.finetune import FinetuneResult
    from i3d.utils.device import ComputeConfig

GUIDED = "finetune"  # the recipe's name

Mode = Annotated[
    str | None,
    typer.Option("--train-layers", help="Layers to train: head (seconds), last or all. Default: by clips and device."),
]
Head = Annotated[str | None, typer.Option(help="The classifier in fine-tuning: linear, or prototype (class means).")]
Views = Annotated[int | None, typer.Option(min=1, help="Views of a clip that the classifier is fitted on.")]
TestClips = Annotated[int | None, typer.Option(min=1, help="Clips per video in the test of fine-tuning.")]
Norms = Annotated[str | None, typer.Option(help="Batch norms in fine-tuning: frozen, trained, re-estimated.")]
Flip = Annotated[
    str | None,
    typer.Option(help="Mirror clips in fine-tuning: on, off, swap (left and right change places)."),
]
Balance = Annotated[
    str | None,
    typer.Option(help="Class balance in fine-tuning: none, sampler, loss, focal, logit-adjust."),
]
LayerDecay = Annotated[
    float | None, typer.Option(min=0.01, max=1, help="Learning-rate factor per stage away from the classifier.")
]
Folds = Annotated[int, typer.Option("--cv-folds", min=0, help="Folds of cross-validation, in fine-tuning.")]
ValShare = Annotated[
    float | None,
    typer.Option("--val-fraction", help="Validation clips among those without a split (default: 0.2)."),
]
GroupBy = Annotated[
    str | None, typer.Option(help="A regular expression; what its parenthesis finds in a path keeps clips together.")
]
SelfTest = Annotated[bool, typer.Option("--overfit-check/--no-overfit-check", help="First overfit eight clips.")]
Yes = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]


def check_unused(options: dict[str, Any], *, yes: bool) -> None:
    """An InputError if an option of fine-tuning stands beside a published recipe."""
    defaults: dict[str, Any] = {"cv_folds": 0, "overfit_check": True}
    used = [name for name, value in options.items() if value != defaults.get(name)] + ["yes"] * yes
    for name in used:
        flag = "--no-overfit-check" if name == "overfit_check" else "--" + name.replace("_", "-")
        raise InputError(f"{flag}: is for the recipe {GUIDED} only (leave --recipe out; --init names the weights)")


def run_guided(
    options: dict[str, Any],
    clips: Annotations,
    work_dir: Path,
    init: str | None,
    settings: list[str],
    compute: ComputeConfig,
    max_bad: str | None,
    seed: int,
    template: tuple[str | None, int],
    multi_label: bool,
    *,
    yes: bool,
    json: bool,
) -> None:
    """Fine-tune, and print the result."""
    from i3d.finetuning.finetune import finetune
    from i3d.finetuning.options import FinetuneOptions

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--recipe finetune: runs in one process; leave torchrun out, or name a published recipe")
    if options["flip"] is None:
        options = {**options, "flip": _confirmed_flip(clips.classes, quiet=json or yes)}
    modality = "flow" if template[0] is not None and "{axis}" in template[0] else "rgb"
    with _resumable(work_dir), output.Training(quiet=json) as progress:
        result = finetune(
            clips,
            work_dir=work_dir,
            options=FinetuneOptions(**options),
            init=init or DEFAULT,
            settings=settings,
            max_bad=None if max_bad is None else share(max_bad),
            compute=compute,
            seed=seed,
            naming=frame_names(modality, *template),
            multi_label=multi_label,
            on_progress=progress,
        )
    _print(result, json=json)
    if result.stop_signal:
        raise typer.Exit(128 + result.stop_signal)


@contextmanager
def _resumable(work_dir: Path) -> Iterator[None]:
    """At an interruption, print that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        output.say(f"interrupted; results so far are saved, and the same command resumes in {printable(str(work_dir))}")
        raise


def _confirmed_flip(classes: tuple[str, ...], *, quiet: bool) -> Any:
    """On a terminal, ask whether a mirror changes classes as their names suggest: "off" if not, else None."""
    from i3d.finetuning.mirrored_classes import mirror_rule

    rule = mirror_rule(classes)
    if not rule or quiet or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    for one, other in rule.pairs:
        output.say(f"in a mirror, {printable(one)!r} becomes {printable(other)!r}")
    for name in rule.alone:
        output.say(f"in a mirror, {printable(name)!r} is none of the classes: it is not mirrored")
    return None if typer.confirm("Is this correct? (no: nothing is mirrored)", default=True, err=True) else "off"


def _print(result: FinetuneResult, *, json: bool) -> None:
    from dataclasses import asdict
    from json import dumps

    from i3d.evaluation.result_file import metrics_as_dict

    if json:
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
        typer.echo(dumps(summary, indent=2))
    else:
        output.tell_finetuned(result)
