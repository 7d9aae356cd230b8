"""`i3d data ...`: look at, check, divide and prepare datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from i3d.cli import output
from i3d.cli.options import (
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
    Seed,
    Source,
    SplitName,
    Template,
    Workers,
    clip_dataset,
    frame_names,
    read_dataset,
)
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.data.annotations import Annotations
    from i3d.data.preview import Preview

data = typer.Typer(help="Look at, check, divide and prepare datasets.", no_args_is_help=True, rich_markup_mode=None)


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
    modality: Modality = "rgb",
    template: Template = None,
    first_index: FirstIndex = 1,
) -> None:
    """Write any layout as any list, and the class names beside it (.classes.txt).

    Example: i3d data list clips/ --out clips.csv

    Example: i3d data list annotations.csv --split train --out train.txt
    """
    from i3d.data.formats.write import write_annotations, write_classes

    _not_onto_itself(source, out)
    found = read_dataset(source, root, split, classes, format, fold, multi_label, allow_outside)
    write_annotations(found, out, naming=frame_names(modality, template, first_index))
    names = out.with_suffix(".classes.txt")
    write_classes(found.classes, names)
    output.say(f"{len(found)} clips of {len(found.classes)} classes, in {_name(out)} and {_name(names)}")
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
    fold: Fold = 1,
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
    from i3d.data.formats.write import write_annotations, write_classes
    from i3d.data.split import split_annotations

    if out.suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise InputError(f"--out {_name(out)}: must end in .csv, .tsv or .jsonl, which can hold a split")
    _not_onto_itself(source, out)
    found = read_dataset(source, root, None, classes, format, fold, multi_label, allow_outside)
    done = split_annotations(found, val=val, test=test, seed=seed, group_by=group_by, keep_existing=not anew)
    write_annotations(done.annotations, out)
    write_classes(found.classes, out.with_suffix(".classes.txt"))
    for warning in done.warnings:
        output.say(f"warning: {warning}")
    if json:
        counts = {
            name: dict(zip(found.classes, row, strict=True))
            for name, row in zip(SPLITS, done.counts_SK.tolist(), strict=True)
        }
        typer.echo(dumps({"groups": done.num_groups, "clips": counts, "warnings": done.warnings}, indent=2))
    else:
        output.tell_split(found.classes, SPLITS, done.counts_SK.tolist())
    output.say(f"{len(found)} clips in {done.num_groups} groups divided, in {_name(out)}")
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
    from i3d.data.pack import pack_dataset as run

    found = read_dataset(source, root, split, classes, format, fold, multi_label, False)
    with output.Steps("packing", len(found)) as steps:
        files = run(found, out, shard_bytes=shard_megabytes << 20, on_clip=steps.done)
    output.say(f"{files} files of {len(found)} clips packed; give {_name(out)} wherever a dataset is asked for")


@data.command("extract-frames")
def extract_frames(
    source: Source,
    out: Annotated[
        Path, typer.Option(help="The folder to write to: a folder of pictures for each clip, and list.txt.")
    ],
    short_side: Annotated[
        int | None, typer.Option(min=1, help="Make the shorter side of frames so long; without, it stays.")
    ] = None,
    jpeg_quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="100 is best and largest (default: 95, of flow 100).")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second; without, every frame.")] = None,
    flow: Annotated[
        str | None,
        typer.Option(help="Write optical flow instead of frames: tvl1 (the paper's), dis (fast), farneback."),
    ] = None,
    bound: Annotated[float, typer.Option(help="With --flow: the pixels that 0 and 255 stand for.")] = 20.0,
    align: Annotated[
        str, typer.Option(help="With --flow: N frames give N-1 flows (between) or N, the first twice (frames).")
    ] = "between",
    flow_format: Annotated[
        str, typer.Option(help="With --flow: jpg (two pictures each), npz or packed-video (one file for each clip).")
    ] = "jpg",
    template: Annotated[
        str | None, typer.Option(help="Names of the pictures (default: img_{:05d}.jpg, flow_{axis}_{:05d}.jpg).")
    ] = None,
    first_index: FirstIndex = 1,
    workers: Workers = 2,
    force: Annotated[bool, typer.Option("--force", help="Make folders anew that have other settings.")] = False,
    root: Root = None,
    split: SplitName = None,
    classes: Classes = None,
    format: Format = "auto",  # noqa: A002
    fold: Fold = 1,
    multi_label: MultiLabel = False,
    allow_outside: AllowOutside = False,
) -> None:
    """Write the frames of videos, or their optical flow, as JPEG, with MMAction2's lists. An interrupted run goes on.

    Example: i3d data extract-frames clips/ --out frames --short-side 256 --workers 8

    Example: i3d data extract-frames clips/ --out flow --short-side 256 --fps 25 --flow tvl1
    """
    from i3d.data.frame_extraction.extract import extract_frames as run
    from i3d.data.frame_extraction.jobs import FlowSettings

    found = read_dataset(source, root, split, classes, format, fold, multi_label, allow_outside, need_labels=False)
    kinds = (cast(Any, align), cast(Any, flow_format))
    chosen = None if flow is None else FlowSettings(cast(Any, flow), bound, *kinds)
    with output.Steps("extracting frames", len(found)) as steps:
        done = run(
            found,
            out,
            short_side=short_side,
            jpeg_quality=jpeg_quality or (95 if flow is None else 100),
            template=template,
            first=first_index,
            fps=fps,
            flow=chosen,
            num_workers=workers,
            on_clip=steps.done,
            force=force,
        )
    output.tell_extraction(done)
    if done.bad:
        raise typer.Exit(3)


@data.command()
def check(
    source: Source,
    out: Annotated[Path | None, typer.Option(help="Write a row for every clip to this .csv.")] = None,
    min_frames: Annotated[int, typer.Option(min=1, help="Shorter clips are told of.")] = 1,
    time_limit: Annotated[float, typer.Option(min=0.1, help="Seconds that one clip may take.")] = 300.0,
    memory_limit: Annotated[float, typer.Option(min=0.5, help="GiB that one process may take.")] = 4.0,
    near_duplicates: Annotated[
        str, typer.Option(help="Tell of clips that look alike: across-splits, all or none.")
    ] = "across-splits",
    workers: Annotated[int, typer.Option(min=1, help="Processes; each may crash or hang without harm.")] = 2,
    fix: Annotated[
        Path | None, typer.Option(help="Encode what can be decoded of damaged clips anew, into this folder.")
    ] = None,
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
    """Decode every clip to its end, and name what is missing, broken, cut short, too short or there twice.

    Example: i3d data check clips/ --out report.csv
    """
    from dataclasses import asdict
    from json import dumps

    from i3d.data.check.dataset import check_dataset as run
    from i3d.data.check.dataset import write_report
    from i3d.data.formats.read import class_names

    if out is not None and (out.suffix.lower() != ".csv" or not out.parent.is_dir()):
        raise InputError(f"--out {_name(out)}: must be a .csv in a folder that is there")
    frame_names(modality, template, first_index)  # tells of options that make no sense
    with output.Steps("checking", 1) as steps:
        report = run(
            source,
            root=root,
            split=split,
            classes=None if classes is None else class_names(classes),
            format=cast(Any, format),
            fold=fold,
            multi_label=multi_label,
            allow_outside=allow_outside,
            modality=cast(Any, modality),
            template=template,
            first_index=first_index,
            num_workers=workers,
            time_limit=time_limit,
            memory_limit_gib=memory_limit,
            min_frames=min_frames,
            near_duplicates=cast(Any, near_duplicates),
            fix=fix,
            on_count=steps.total,
            on_clip=steps.one,
        )
    for warning in report.warnings:
        output.say(f"warning: {printable(warning)}")
    if out is not None:
        write_report(out, report)
    if json:
        typer.echo(dumps(asdict(report), indent=2))
    else:
        output.tell_check(report)
    if report.num_bad:
        raise typer.Exit(3)


@data.command()
def preview(
    source: Source,
    out: Annotated[Path, typer.Option(help="The folder for clips.png and statistics.png.")],
    clips: Annotated[int, typer.Option(min=1, max=100, help="How many clips to show.")] = 16,
    recipe: ClipRecipe = DEFAULT_RECIPE,
    seed: Seed = 0,
    epoch: Annotated[int, typer.Option(min=0, help="The same clips, drawn as in this epoch.")] = 0,
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
    """Draw a sheet of clips as training will see them, and what the dataset is made of.

    Example: i3d data preview clips/ --out preview
    """
    from i3d.data.preview import preview_dataset as run

    found = read_dataset(source, root, split, classes, format, fold, multi_label, allow_outside)
    dataset = clip_dataset(found, "train", recipe, modality, template, first_index, seed=seed)
    with output.Steps("looking", 1) as steps:
        done = run(dataset, out, num_clips=clips, epoch=epoch, on_clip=steps.done_of)
    if json:
        typer.echo(_preview_json(done))
    else:
        output.tell_preview(done)
    for bad in done.unreadable:
        output.say(f"error: {bad.reason}")
    output.say(f"look at {' and '.join(_name(picture) for picture in done.paths)}")
    if done.unreadable:
        raise typer.Exit(3)


def _preview_json(done: Preview) -> str:
    from dataclasses import asdict
    from json import dumps

    sizes = {f"{width}x{height}": count for (width, height), count in done.sizes.items()}
    return dumps({**asdict(done), "sizes": sizes}, indent=2, default=str)


def _not_onto_itself(source: Path, out: Path) -> None:
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"--out {_name(out)}: is the source itself; choose another name")


def _say_root(found: Annotations, out: Path) -> None:
    """What whoever reads the list should know of where its clips are."""
    from i3d.data.missing import missing_clips
    from i3d.data.shards import Shards

    if missing := missing_clips(found, Shards.find(Path(found.root))):
        first = printable(found.path(missing[0]))
        output.say(
            f"warning: {len(missing)} of {len(found)} clips are not below {printable(found.root)}, {first} for one"
        )
    if Path(found.root).resolve() != out.parent.resolve():
        output.say(f"its paths are relative to {printable(found.root)}: say --root {printable(found.root)} with it")


def _name(path: Path) -> str:
    return printable(str(path))
