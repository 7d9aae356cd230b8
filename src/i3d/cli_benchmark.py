"""`i3d benchmark ...`: measure how fast things are."""

from __future__ import annotations

from typing import Annotated

import typer

from i3d import console
from i3d.cli_options import (
    DEFAULT_RECIPE,
    AllowOutside,
    Classes,
    ClipRecipe,
    FirstIndex,
    Fold,
    Format,
    Json,
    Modality,
    MultiLabel,
    Root,
    Source,
    SplitName,
    Template,
    clip_dataset,
    read_dataset,
)

benchmark = typer.Typer(help="Measure how fast things are.", no_args_is_help=True, rich_markup_mode=None)


@benchmark.command("data")
def benchmark_data(
    source: Source,
    clips: Annotated[int, typer.Option(min=1, help="How many clips to load.")] = 64,
    view: Annotated[str, typer.Option(help="train (random clips) or test (all views of the recipe).")] = "train",
    recipe: ClipRecipe = DEFAULT_RECIPE,
    batch: Annotated[int, typer.Option(min=1, help="Clips of a batch.")] = 8,
    workers: Annotated[list[int] | None, typer.Option(min=0, help="Numbers of worker processes to try.")] = None,
    root: Root = None,
    split: SplitName = None,
    classes: Classes = None,
    format: Format = "auto",  # noqa: A002
    fold: Fold = 1,
    multi_label: MultiLabel = False,
    allow_outside: AllowOutside = False,
    modality: Modality = "rgb",
    template: Template = None,
    first_index: FirstIndex = 1,
    json: Json = False,
) -> None:
    """Measure how fast clips come, where a clip's time goes, and what to do about it.

    Example: i3d benchmark data train.csv --workers 1 --workers 4
    """
    from dataclasses import asdict
    from json import dumps

    from i3d.benchmark import benchmark_data as run

    found = read_dataset(source, root, split, classes, format, fold, multi_label, allow_outside, need_labels=False)
    dataset = clip_dataset(found, view, recipe, modality, template, first_index)
    speed = run(dataset, num_clips=clips, batch_size=batch if view == "train" else 1, workers=tuple(workers or (1, 2)))
    for reason in speed.bad:
        console.say(f"warning: {reason}")
    if json:
        typer.echo(dumps({**asdict(speed), "clip_ms": speed.clip_ms, "bottleneck": speed.bottleneck}, indent=2))
    else:
        console.tell_data_speed(speed)
