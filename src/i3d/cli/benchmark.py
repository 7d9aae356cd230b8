"""`i3d benchmark ...`: measure how fast things are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from i3d.cli import output
from i3d.cli.options import (
    DEFAULT_RECIPE,
    AllowOutside,
    Classes,
    ClipRecipe,
    Device,
    FirstIndex,
    Fold,
    Format,
    Json,
    Modality,
    MultiLabel,
    RecipeName,
    Root,
    Source,
    SplitName,
    Template,
    clip_dataset,
    read_dataset,
)
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.utils.device import Precision, Runtime

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

    from i3d.diagnostics.benchmark_data import benchmark_data as run

    found = read_dataset(source, root, split, classes, format, fold, multi_label, allow_outside, need_labels=False)
    dataset = clip_dataset(found, view, recipe, modality, template, first_index)
    speed = run(dataset, num_clips=clips, batch_size=batch if view == "train" else 1, workers=tuple(workers or (1, 2)))
    for reason in speed.bad:
        output.say(f"warning: {reason}")
    if json:
        typer.echo(dumps({**asdict(speed), "clip_ms": speed.clip_ms, "bottleneck": speed.bottleneck}, indent=2))
    else:
        output.tell_data_speed(speed)


@benchmark.command("model")
def benchmark_model(
    name: Annotated[str, typer.Argument(help="A network, a recipe (`i3d models`), shipped weights or a weights file.")],
    recipe: RecipeName = None,
    protocol: Annotated[str | None, typer.Option(help="Clips x crops of a video, such as 10x3.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16 or auto, several with commas.")] = "fp32",
    batch: Annotated[str, typer.Option(help="Views that run at once, several with commas.")] = "1",
    threads: Annotated[str, typer.Option(help="Threads of the processor, several with commas (0: all cores).")] = "0",
    runtime: Annotated[
        str, typer.Option(help="torch, compile (torch.compile), openvino; several with commas.")
    ] = "torch",
    video: Annotated[Path | None, typer.Option(help="What to decode (default: 10 s of 340 x 256, rendered).")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, after a warm-up.")] = 10,
    max_seconds: Annotated[float, typer.Option(min=0, help="No more rounds (but 3) after so long.")] = 60.0,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Write everything to this .json, too.")] = None,
    json: Json = False,
) -> None:
    """Measure a network: parameters, GFLOPs, latency, clips and videos a second, memory.

    Several precisions, batches, threads and runtimes are measured in turn, round by round, so that they compare.

    Example: i3d benchmark model r50 --precision fp32,auto --batch 1,4
    """
    from itertools import product
    from json import dumps

    from i3d.diagnostics.benchmark_model import Configuration
    from i3d.diagnostics.benchmark_model import benchmark_model as run
    from i3d.utils.atomic_files import write_atomically

    if out is not None and (out.suffix.lower() != ".json" or not out.parent.is_dir() or out.is_dir()):
        raise InputError(f"--out {printable(str(out))}: must be a .json in a folder that is there")
    configurations = [
        Configuration(cast("Precision", one), batch=size, threads=number, runtime=cast("Runtime", how))
        for one, size, number, how in product(
            precision.split(","), _numbers(batch, "--batch"), _numbers(threads, "--threads"), runtime.split(",")
        )
    ]
    with output.Steps("measuring", len(configurations) * (rounds + 1)) as bar:
        speed = run(
            name,
            configurations,
            recipe=recipe,
            protocol=protocol,
            video=video,
            device=device,
            rounds=rounds,
            max_seconds=max_seconds,
            on_step=bar.one,
        )
    told = dumps(speed.as_dict(), indent=2)
    if out is not None:
        write_atomically(out, f"{told}\n".encode())
    if json:
        typer.echo(told)
    else:
        output.tell_model_speed(speed)


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r}: write whole numbers with commas, such as 1,4") from error
