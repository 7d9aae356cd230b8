"""`i3d train`, `i3d runs`, `i3d plot`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from i3d.cli import output
from i3d.cli.finetune import (
    GUIDED,
    Balance,
    Flip,
    Folds,
    GroupBy,
    Head,
    LayerDecay,
    Mode,
    Norms,
    SelfTest,
    TestClips,
    ValShare,
    Views,
    Yes,
    check_unused,
    run_guided,
)
from i3d.cli.options import (
    AllowOutside,
    Classes,
    FirstIndex,
    Fold,
    Format,
    Json,
    MultiLabel,
    Root,
    Seed,
    Template,
    frame_names,
    read_dataset,
    share,
)
from i3d.cli.streams import CacheFolder, FlowChoice, cache_of, flow_method
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.data.annotations import Annotations
    from i3d.recipes.recipe import Recipe
    from i3d.training.train import TrainResult

DataOption = Annotated[
    Path,
    typer.Option("--data", help="What to train on: any list, or a folder of classes.", show_default=False),
]
ValOption = Annotated[
    Path | None,
    typer.Option("--val-list", help="Validation clips (default: the split `val` of --data, if any)."),
]
WorkDir = Annotated[
    Path, typer.Option(help="The folder of the run; the same command goes on in it.", show_default=False)
]
RecipeOption = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="finetune (your own clips), a recipe by name (`i3d models`), a .yaml or .json, or an MMAction2 config "
        "(.py; parsed, never executed).",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting of the recipe: training.optimizer.lr=0.02")
]
Init = Annotated[
    str | None, typer.Option(help="Weights to start from: a file of any kind, a hub name, or none (fresh ones).")
]
Rate = Annotated[
    float | None, typer.Option("--lr", help="The learning rate as it is, not scaled to the batch by the linear rule.")
]
MaxBad = Annotated[
    str | None, typer.Option(help="How many clips may be unreadable: 5%, or 0 (default: 1%, none in validation).")
]
MaxSteps = Annotated[int | None, typer.Option(min=1, help="Measure the speed of so many steps; nothing is kept.")]


def train(
    data: DataOption,
    work_dir: WorkDir,
    recipe: RecipeOption = GUIDED,
    val_list: ValOption = None,
    root: Root = None,
    val_root: Annotated[Path | None, typer.Option(help="The same for --val-list.")] = None,
    init: Init = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Clips of a step on each device.")] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, help="Batches whose gradients make one step.")] = None,
    lr: Rate = None,
    settings: Settings = None,
    validate: Annotated[bool, typer.Option(help="Validate as often as the recipe says, and at the end.")] = True,
    validate_every: Annotated[int | None, typer.Option(min=1, help="Epochs from one validation to the next.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16, fp16 (default: the recipe's).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps, npu (npu is untested).")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that load clips, for each device.")] = 2,
    seed: Seed = 0,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Only repeatable operations.")] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile: slow to start, then faster.")] = False,
    fsdp: Annotated[bool, typer.Option("--fsdp", help="Divide weights and optimiser among the devices.")] = False,
    max_bad: MaxBad = None,
    max_steps: MaxSteps = None,
    flow: FlowChoice = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Curves for TensorBoard too ([track]).")] = False,
    train_layers: Mode = None,
    head: Head = None,
    views: Views = None,
    test_clips: TestClips = None,
    norms: Norms = None,
    flip: Flip = None,
    balance: Balance = None,
    layer_decay: LayerDecay = None,
    cv_folds: Folds = 0,
    val_fraction: ValShare = None,
    group_by: GroupBy = None,
    overfit_check: SelfTest = True,
    cache: CacheFolder = None,
    yes: Yes = False,
    classes: Classes = None,
    format: Format = "auto",  # noqa: A002
    fold: Fold = 1,
    multi_label: MultiLabel = False,
    allow_outside: AllowOutside = False,
    template: Template = None,
    first_index: FirstIndex = 1,
    json: Json = False,
) -> None:
    """Train on your own clips, or by a published recipe. The same command again resumes an interrupted run.

    Without --recipe, the pretrained network is fine-tuned on your classes, and every setting is chosen and printed.

    Example: i3d train --data clips/ --work-dir my

    Example: i3d train --data clips/ --work-dir my2 --train-layers head --cv-folds 5

    Example: i3d train --recipe i3d_r50_video_32x2x1_100e_kinetics400_rgb --data a.txt --val-list b.txt --work-dir run

    Example: torchrun --nproc-per-node 8 -m i3d train --recipe r.yaml --data clips.csv --work-dir run
    """
    from i3d.training.train import train as run
    from i3d.utils.device import ComputeConfig

    _check_beside(data, work_dir)
    compute = ComputeConfig(device, cast(Any, precision), "compile" if compile_ else "torch", workers, cache_of(cache))
    options = (format, fold, multi_label, allow_outside)
    guided: dict[str, Any] = {
        "train_layers": train_layers, "head": head, "views": views, "test_clips": test_clips, "norms": norms,
        "flip": flip, "balance": balance, "layer_decay": layer_decay, "cv_folds": cv_folds,
        "val_fraction": val_fraction, "group_by": group_by, "overfit_check": overfit_check,
    }  # fmt: skip
    if recipe == GUIDED:
        _check_guided(val_list, val_root, max_steps, validate=validate, tensorboard=tensorboard)
        clips = read_dataset(data, root, None, classes, *options)
        more = [*(settings or []), *_of_flow(flow), *_as_settings(accumulate, validate_every)]
        guided |= {"epochs": epochs, "batch_size": batch_size, "lr": lr}
        frames, bad = (template, first_index), max_bad
        return run_guided(
            guided, clips, work_dir, init, more, compute, bad, seed, frames, multi_label, yes=yes, json=json
        )
    check_unused(guided, yes=yes)
    settings = [*(settings or []), *_of_flow(flow)]
    chosen = _recipe(recipe, settings, init, epochs, batch_size, accumulate, validate_every, multi_label)
    clips, to_validate = _clips(chosen, data, val_list, root, val_root, classes, options, validate=validate)
    modality = "flow" if chosen.network.in_channels == 2 else "rgb"
    with output.Training(quiet=json) as progress:
        done = run(
            chosen,
            clips,
            to_validate,
            work_dir=work_dir,
            seed=seed,
            compute=compute,
            deterministic=deterministic,
            sharded=fsdp,
            lr=lr,
            max_bad=None if max_bad is None else share(max_bad),
            max_steps=max_steps,
            naming=frame_names(modality, template, first_index),
            tensorboard=tensorboard,
            on_progress=progress,
        )
    _tell(done, json=json)
    if done.stop_signal:
        raise typer.Exit(128 + done.stop_signal)
    return None


def _check_beside(data: Path, work_dir: Path) -> None:
    """What a run writes must not become part of a folder of clips."""
    if data.is_dir() and work_dir.resolve().is_relative_to(data.resolve()):
        raise InputError(
            f"--work-dir {printable(str(work_dir))}: lies in --data {printable(str(data))}, whose folders are classes; "
            "put it beside"
        )


def _check_guided(
    val: Path | None, val_root: Path | None, max_steps: int | None, *, validate: bool, tensorboard: bool
) -> None:
    given = {"--val-list": val, "--val-root": val_root, "--max-steps": max_steps, "--tensorboard": tensorboard or None}
    given["--no-validate"] = None if validate else True
    for name in (name for name, value in given.items() if value is not None):
        todo = "put a column `split` into --data" if name.startswith("--val") else "leave it out"
        raise InputError(f"{name}: goes with a published recipe (--recipe); {todo}")


def _as_settings(accumulate: int | None, validate_every: int | None) -> list[str]:
    told = {"accumulate": accumulate, "validate_every": validate_every}
    return [f"training.{name}={value}" for name, value in told.items() if value is not None]


def _of_flow(flow: str | None) -> list[str]:
    """The setting of --flow; of a recipe of RGB it is refused there."""
    method = flow_method(flow)
    return [] if method is None else [f"preprocessing.flow={method}"]


def _recipe(
    name: str,
    settings: list[str] | None,
    init: str | None,
    epochs: int | None,
    batch_size: int | None,
    accumulate: int | None,
    validate_every: int | None,
    multi_label: bool,
) -> Recipe:
    """The recipe, then --set, then the options that have a name of their own."""
    from i3d.recipes.io import load_recipe, with_overrides, with_training

    changes: dict[str, Any] = {
        "init": {"none": ""}.get(init or "", init),
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "validate_every": validate_every,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    if epochs is not None:
        changes["steps"] = None
    found = with_training(with_overrides(load_recipe(name), settings or []), changes)
    return found.model_copy(update={"multi_label": True}) if multi_label else found


def _clips(
    recipe: Recipe,
    data: Path,
    val: Path | None,
    root: Path | None,
    val_root: Path | None,
    classes: str | None,
    options: tuple[str, int, bool, bool],
    *,
    validate: bool,
) -> tuple[Annotations, Annotations | None]:
    """Clips to train on and to validate on, which number their classes alike."""
    from i3d.data.labels import dataset_labels, numbered_labels

    clips = read_dataset(data, root, None, classes, *options)
    known = dataset_labels(recipe.dataset)
    are_numbers = classes is None and known is not None and clips.classes == numbered_labels(len(clips.classes))
    if are_numbers and known is not None and len(clips.classes) == len(known):
        classes = recipe.dataset
        clips = read_dataset(data, root, None, classes, *options)
    elif are_numbers:
        output.say(
            f"the list numbers its {len(clips.classes)} classes; --classes {recipe.dataset} if these are its numbers"
        )
    if val is None:
        has_train, has_val = ((clips.splits_N == number).any() for number in (0, 1))
        to_validate = clips.select_split("val") if has_val and validate else None
        return clips.select_split("train") if has_train else clips, to_validate
    chosen = clips.select_split("train") if (clips.splits_N == 0).any() else clips
    if not validate:
        return chosen, None
    found = read_dataset(val, val_root or root, None, clips.classes, *options)
    return chosen, found.select_split("val") if (found.splits_N == 1).any() else found


def _tell(done: TrainResult, *, json: bool) -> None:
    from dataclasses import asdict
    from json import dumps

    if os.environ.get("RANK", "0") != "0":  # torchrun's: the first process speaks for all
        return
    for reason in done.bad_clips:
        output.say(f"warning: {reason}")
    if json:
        typer.echo(dumps(asdict(done), indent=2, default=str))
    else:
        output.tell_trained(done)


def plot(
    logs: Annotated[list[Path], typer.Argument(help="Logs (ours, MMAction2's *.log.json), or folders of runs.")],
    out: Annotated[Path, typer.Option(help="The picture to write, a .png.")] = Path("curves.png"),
) -> None:
    """Draw the curves of one or several runs.

    Example: i3d plot run1 run2 --out both.png
    """
    from i3d.training.curves import draw_curves
    from i3d.training.run_folder import LOG

    if out.suffix.lower() != ".png" or not out.parent.is_dir():
        raise InputError(f"--out {printable(str(out))}: must be a .png in a folder that is there")
    paths = [path / LOG if path.is_dir() else path for path in logs]
    names = [path.parent.name if path.name == LOG else path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in logs]
    draw_curves(out, dict(zip(names, paths, strict=True)))
    output.say(f"look at {printable(str(out))}")


def runs(
    folder: Annotated[Path, typer.Argument(help="A folder with folders of runs in it, or of one run.")],
    json: Json = False,
) -> None:
    """List the runs below a folder: recipe, progress, best validation, and in which settings they differ.

    Example: i3d runs runs/
    """
    from dataclasses import asdict
    from json import dumps

    from i3d.training.runs import list_runs

    found = list_runs(folder)
    if json:
        typer.echo(dumps([asdict(run) for run in found], indent=2, default=str))
    else:
        output.tell_runs(found)
