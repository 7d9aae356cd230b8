"""`i3d data ...`: look at, check, divide and prepare datasets; and `i3d benchmark data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from i3d import console
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.data.annotations import Annotations
    from i3d.data.dataset import ClipDataset

data = typer.Typer(help="Look at, check, divide and prepare datasets.", no_args_is_help=True, rich_markup_mode=None)
benchmark = typer.Typer(help="Measure how fast things are.", no_args_is_help=True, rich_markup_mode=None)

Source = Annotated[
    Path,
    typer.Argument(
        help="A list (MMAction2's, CSV, TSV, JSON lines, Kinetics, UCF101, Something-Something) or a class folder.",
        show_default=False,
    ),
]
Root = Annotated[Path | None, typer.Option(help="What paths of the list are relative to (default: its folder).")]
SplitName = Annotated[str | None, typer.Option("--split", help="Only train, val or test.")]
Classes = Annotated[
    str | None,
    typer.Option(help="Class names: a file, or kinetics400, kinetics600, ucf101, hmdb51 (default: from the list)."),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="auto, folders, videos, frames, frames-offset, table, kinetics, ucf101, hmdb51, something-v1 or -v2.",
    ),
]
Fold = Annotated[int, typer.Option(min=1, max=3, help="Which of UCF101's and HMDB51's three divisions.")]
MultiLabel = Annotated[bool, typer.Option("--multi-label", help="Clips may have several classes.")]
AllowOutside = Annotated[bool, typer.Option("--allow-outside", help="Accept paths that lead out of the root.")]
Modality = Annotated[str, typer.Option(help="rgb or flow (folders of frames).")]
Template = Annotated[
    str | None, typer.Option(help="Names of frames, such as img_{:05d}.jpg or flow_{axis}_{:05d}.jpg.")
]
FirstIndex = Annotated[int, typer.Option(min=0, help="The number of the first frame, with --template.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Workers = Annotated[int, typer.Option(min=0, help="Worker processes.")]
Seed = Annotated[int, typer.Option(min=0, help="Another number, another draw.")]


@data.command("list")
def list_(
    source: Source,
    out: Annotated[Path, typer.Option(help="The list to write: .csv, .tsv, .jsonl, or .txt for MMAction2's lines.")],
    root: Root = None,
    split: SplitName = None,
    classes: Classes = None,
    format: Format = "auto",  # noqa: A002
    fold: Fold = 1,
    multi_label: MultiLabel = False,
    allow_outside: AllowOutside = False,
) -> None:
    """Write any layout as any list, and the class names beside it (.classes.txt).

    Example: i3d data list clips/ --out clips.csv

    Example: i3d data list annotations.csv --split train --out train.txt
    """
    from i3d.data.write import write_classes, write_list

    found = _read(source, root, split, classes, format, fold, multi_label, allow_outside)
    write_list(found, out)
    names = out.with_suffix(".classes.txt")
    write_classes(found.classes, names)
    console.say(f"{len(found)} clips of {len(found.classes)} classes, in {_name(out)} and {_name(names)}")
    _say_root(found, out)


@data.command()
def split(
    source: Source,
    out: Annotated[Path, typer.Option(help="The list to write, with a column `split`: .csv, .tsv or .jsonl.")],
    val: Annotated[float, typer.Option(help="The share to validate on.")] = 0.2,
    test: Annotated[float, typer.Option(help="The share to test on.")] = 0.0,
    seed: Seed = 0,
    group_by: Annotated[
        str | None, typer.Option(help="A regular expression; what its parenthesis finds in a path is the group.")
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Forget the splits that the source has.")] = False,
    root: Root = None,
    classes: Classes = None,
    format: Format = "auto",  # noqa: A002
    multi_label: MultiLabel = False,
    allow_outside: AllowOutside = False,
    json: Json = False,
) -> None:
    """Divide a dataset into train, val and test: clips of one group stay together, classes are divided evenly.

    Example: i3d data split clips/ --out clips.csv --val 0.2

    Example: i3d data split clips/ --out clips.csv --group-by '(person\\d+)_'
    """
    from json import dumps

    from i3d.data.annotations import SPLITS
    from i3d.data.split import split as divide
    from i3d.data.write import write_list

    if out.suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise InputError(f"--out {_name(out)}: must end in .csv, .tsv or .jsonl, which can hold a split")
    found = _read(source, root, None, classes, format, 1, multi_label, allow_outside)
    done = divide(found, val=val, test=test, seed=seed, group_by=group_by, keep=not anew)
    write_list(done.annotations, out)
    for warning in done.warnings:
        console.say(f"warning: {warning}")
    if json:
        counts = {
            name: dict(zip(found.classes, row, strict=True))
            for name, row in zip(SPLITS, done.counts_SK.tolist(), strict=True)
        }
        typer.echo(dumps({"groups": done.num_groups, "clips": counts, "warnings": done.warnings}, indent=2))
    else:
        console.tell_split(found.classes, SPLITS, done.counts_SK.tolist())
    console.say(f"{len(found)} clips in {done.num_groups} groups divided, in {_name(out)}")
    _say_root(found, out)


@data.command()
def pack(
    source: Source,
    out: Annotated[Path, typer.Option(help="The new folder of shards.")],
    shard_megabytes: Annotated[int, typer.Option(min=1, help="The size at which the next shard begins.")] = 1024,
    root: Root = None,
    split: SplitName = None,
    classes: Classes = None,
    format: Format = "auto",  # noqa: A002
    fold: Fold = 1,
    multi_label: MultiLabel = False,
) -> None:
    """Copy a dataset of many small files into a few indexed tar files, which are read like any other dataset.

    Example: i3d data pack frames/list.txt --out packed
    """
    from i3d.data.pack import pack as run

    found = _read(source, root, split, classes, format, fold, multi_label, False)
    with console.Steps("packing", len(found)) as steps:
        files = run(found, out, shard_bytes=shard_megabytes << 20, on_clip=steps.done)
    console.say(f"{files} files of {len(found)} clips packed; give {_name(out)} wherever a dataset is asked for")


@benchmark.command("data")
def benchmark_data(
    source: Source,
    clips: Annotated[int, typer.Option(min=1, help="How many clips to load.")] = 64,
    view: Annotated[str, typer.Option(help="train (random clips) or test (all views of the recipe).")] = "train",
    recipe: Annotated[str, typer.Option(help="Clip length and sizes are this recipe's (`i3d models`).")] = (
        "i3d_r50_32x2x1_100e_kinetics400_rgb"
    ),
    batch: Annotated[int, typer.Option(min=1, help="Clips of a batch.")] = 8,
    workers: Annotated[list[int] | None, typer.Option(min=0, help="Numbers of worker processes to try.")] = None,
    root: Root = None,
    split: SplitName = None,
    format: Format = "auto",  # noqa: A002
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

    found = _read(source, root, split, None, format, 1, True, False, need_labels=False)
    dataset = _dataset(found, view, recipe, modality, template, first_index)
    speed = run(dataset, num_clips=clips, batch_size=batch if view == "train" else 1, workers=tuple(workers or (1, 2)))
    for reason in speed.bad:
        console.say(f"warning: {reason}")
    if json:
        typer.echo(dumps({**asdict(speed), "clip_ms": speed.clip_ms, "bottleneck": speed.bottleneck}, indent=2))
    else:
        console.tell_data_speed(speed)


def _read(
    source: Path,
    root: Path | None,
    split: str | None,
    classes: str | None,
    format: str,  # noqa: A002
    fold: int,
    multi_label: bool,
    allow_outside: bool,
    *,
    need_labels: bool = True,
) -> Annotations:
    """The annotations that the options ask for; their warnings are told."""
    from i3d.data.read import class_names, read_annotations

    found = read_annotations(
        source,
        root=root,
        split=split,
        classes=None if classes is None else class_names(classes),
        format=cast(Any, format),
        fold=fold,
        multi_label=multi_label,
        allow_outside=allow_outside,
        need_labels=need_labels,
    )
    for warning in found.warnings:
        console.say(f"warning: {printable(warning)}")
    return found


def _dataset(
    found: Annotations, view: str, recipe: str, modality: str, template: str | None, first_index: int
) -> ClipDataset:
    """Clips as training or testing by a recipe sees them."""
    from i3d.data.dataset import ClipDataset, TestView, TrainView
    from i3d.data.frame_folders import FrameNames
    from i3d.recipes.augmentation import Augmentation, TrainSampling
    from i3d.recipes.named import named_recipe
    from i3d.recipes.settings import ClipProtocol

    chosen = named_recipe(recipe)
    protocol, pre = chosen.protocol, chosen.preprocessing
    if not isinstance(protocol, ClipProtocol):
        raise InputError(f"--recipe {recipe}: scores all frames of a video, not clips; choose one that scores clips")
    if view not in ("train", "test"):
        raise InputError(f"--view {view!r}: is neither train nor test")
    if modality not in ("rgb", "flow"):
        raise InputError(f"--modality {modality!r}: is neither rgb nor flow")
    sampling = TrainSampling(clip_len=protocol.clip_len, frame_interval=protocol.frame_interval)
    training = TrainView(sampling, Augmentation(resize=pre.short_side, size=min(224, pre.crop)))
    names = None if template is None else FrameNames(template, first_index, cast(Any, modality))
    return ClipDataset(
        found, training if view == "train" else TestView(protocol, pre), modality=cast(Any, modality), names=names
    )


def _say_root(found: Annotations, out: Path) -> None:
    if Path(found.root).resolve() != out.parent.resolve():
        console.say(f"its paths are relative to {printable(found.root)}: say --root {printable(found.root)} with it")


def _name(path: Path) -> str:
    return printable(str(path))
