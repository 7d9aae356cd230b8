"""`i3d train` without a published recipe: one's own clips, with everything chosen that is not asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

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
    typer.Option("--finetune", help="What learns: head (seconds), last (layers), all. Default: by clips and device."),
]
Head = Annotated[str | None, typer.Option(help="The classifier with --finetune: linear, or prototype (class means).")]
Views = Annotated[int | None, typer.Option(min=1, help="Views of a clip that the classifier is fitted on.")]
TestClips = Annotated[int | None, typer.Option(min=1, help="Clips of a video that are scored, with --finetune.")]
Norms = Annotated[str | None, typer.Option(help="Batch norms with --finetune: frozen, trained or re-estimated.")]
Flip = Annotated[
    str | None, typer.Option(help="Mirror images with --finetune: on, off, or swap (left and right change places).")
]
Balance = Annotated[
    str | None, typer.Option(help="Uneven classes, with --finetune: none, sampler, loss, focal or logit-adjust.")
]
LayerDecay = Annotated[
    float | None, typer.Option(min=0.01, max=1, help="Times the rate for each layer further from the classifier.")
]
Folds = Annotated[int, typer.Option(min=0, help="Test on all clips by so many folds, with --finetune.")]
ValShare = Annotated[
    float | None, typer.Option(help="The share to validate on, of clips without a split (default: 0.2).")
]
GroupBy = Annotated[
    str | None, typer.Option(help="A regular expression; what its parenthesis finds in a path keeps clips together.")
]
SelfTest = Annotated[bool, typer.Option(help="First learn eight clips by heart, with --finetune.")]
Yes = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]


@dataclass(frozen=True)
class Guided:
    """The options that only fine-tuning has."""

    mode: str | None = None
    head: str | None = None
    views: int | None = None
    test_clips: int | None = None
    norms: str | None = None
    flip: str | None = None
    balance: str | None = None
    layer_decay: float | None = None
    folds: int = 0
    val_share: float | None = None
    group_by: str | None = None
    self_test: bool = True
    yes: bool = False

    def check_unused(self) -> None:
        """An InputError if one of them stands beside a published recipe."""
        for each in fields(self):
            if getattr(self, each.name) != each.default:
                flag = {"mode": "--finetune", "self_test": "--no-self-test"}
                raise InputError(
                    f"{flag.get(each.name, '--' + each.name.replace('_', '-'))}: goes with the recipe {GUIDED} alone "
                    "(leave --recipe out; --init names the weights)"
                )


def run_guided(
    guided: Guided,
    clips: Annotations,
    work_dir: Path,
    init: str | None,
    moves: dict[str, Any],
    settings: list[str],
    compute: ComputeConfig,
    max_bad: str | None,
    seed: int,
    names: tuple[str | None, int],
    multi_label: bool,
    *,
    json: bool,
) -> None:
    """Fine-tune, and tell what came out."""
    from i3d.finetuning.defaults import Balance, FinetuneOptions, Flip, HeadKind, Mode, Norms
    from i3d.finetuning.finetune import finetune

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--recipe finetune: runs in one process; leave torchrun out, or name a published recipe")
    asked = FinetuneOptions(
        mode=_one_of("--finetune", guided.mode, Mode),
        head=_one_of("--head", guided.head, HeadKind),
        views=guided.views,
        test_clips=guided.test_clips,
        precision=_one_of("--precision", moves.pop("precision"), ("fp32", "bf16")),
        norms=_one_of("--norms", guided.norms, Norms),
        flip=_one_of("--flip", guided.flip, Flip) or _asked_about(clips.classes, quiet=json or guided.yes),
        balance=_one_of("--balance", guided.balance, Balance),
        layer_decay=guided.layer_decay,
        **moves,
    )
    template, first_index = names
    modality = "flow" if template is not None and "{axis}" in template else "rgb"
    with _going_on(work_dir), output.Training(quiet=json) as watcher:
        done = finetune(
            clips,
            work_dir=work_dir,
            watcher=watcher,
            init=init or DEFAULT,
            asked=asked,
            settings=settings,
            val=guided.val_share,
            group_by=guided.group_by,
            folds=guided.folds,
            self_test=guided.self_test,
            max_bad=None if max_bad is None else share(max_bad),
            compute=compute,
            seed=seed,
            naming=frame_names(modality, template, first_index),
            multi_label=multi_label,
        )
    _tell(done, json=json)
    if done.stopped_by:
        raise typer.Exit(128 + done.stopped_by)


@contextmanager
def _going_on(work_dir: Path) -> Iterator[None]:
    """Say at an interruption that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        output.say(
            f"interrupted; what was computed is kept, and the same command goes on in {printable(str(work_dir))}"
        )
        raise


def _asked_about(classes: tuple[str, ...], *, quiet: bool) -> Any:
    """On a terminal: "off" if the user says that classes named after sides do not change places; else it is chosen."""
    from i3d.finetuning.mirrored_classes import mirror_rule

    rule = mirror_rule(classes)
    if not rule or quiet or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    for one, other in rule.pairs:
        output.say(f"in a mirror, {printable(one)!r} becomes {printable(other)!r}")
    for name in rule.alone:
        output.say(f"in a mirror, {printable(name)!r} is of no class: it is not mirrored")
    return None if typer.confirm("Is that so? (no: nothing is mirrored)", default=True, err=True) else "off"


def _one_of(flag: str, value: str | None, allowed: Any) -> Any:
    options = get_args(allowed) or allowed
    if value is not None and value not in options:
        raise InputError(f"{flag} {value!r}: is not one of {', '.join(options)}")
    return value


def _tell(done: FinetuneResult, *, json: bool) -> None:
    from dataclasses import asdict
    from json import dumps

    from i3d.evaluation.result_file import metrics_as_dict

    if json:
        told: dict[str, Any] = {
            "model": str(done.model) if done.model.exists() else None,
            "mode": done.mode,
            "choices": [asdict(choice) for choice in done.choices],
            "troubles": [asdict(trouble) for trouble in done.troubles],
            "diagnosis": done.diagnosis,
            "tested_on": done.tested_on if done.evaluation is not None else "",
            "fold_accuracies": done.fold_accuracies,
            "features_computed": done.num_computed,
            "stopped_by": done.stopped_by,
        }
        if done.evaluation is not None and done.figures is not None:
            told["figures"] = metrics_as_dict(done.evaluation, done.figures)
        typer.echo(dumps(told, indent=2))
    else:
        output.tell_finetuned(done)
