"""`i3d data ...`: each command calls one verb of `i3d.data` and prints its result."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path

from i3d.cli import output
from i3d.cli.data import CheckOptions, ExtractOptions, FlowFileOptions, SplitOptions
from i3d.cli.messages import log
from i3d.cli.options import DatasetOptions, FrameOptions, ListOptions, ModalityOptions
from i3d.cli.run.setup import clip_dataset, frame_naming, read_dataset
from i3d.data.annotations import SPLITS, Annotations
from i3d.data.check.dataset import check_dataset
from i3d.data.check.report import write_report
from i3d.data.formats.read import class_names
from i3d.data.formats.write import write_annotations, write_classes
from i3d.data.frame_extraction.extract import extract_frames
from i3d.data.frame_extraction.jobs import FlowSettings, FrameSettings
from i3d.data.pack import pack_dataset
from i3d.data.preview import Preview, preview_dataset
from i3d.data.split import split_annotations
from i3d.errors import printable


def run_list(source: Path, out: Path, dataset: DatasetOptions, frames: ModalityOptions) -> None:
    """Write a list and its class names."""
    annotations = read_dataset(source, dataset, split=dataset.split)
    write_annotations(annotations, out, naming=frame_naming(frames, frames.modality))
    names = out.with_suffix(".classes.txt")
    write_classes(annotations.classes, names)
    num_classes = len(annotations.classes)
    log.info("%d clips of %d classes, in %s and %s", len(annotations), num_classes, _name(out), _name(names))
    _log_root(annotations, out)


def run_split(source: Path, out: Path, options: SplitOptions, dataset: ListOptions, *, seed: int, json: bool) -> None:
    """Write a list with splits, and print how many clips each class and split has."""
    annotations = read_dataset(source, dataset)
    result = split_annotations(
        annotations,
        val=options.val_fraction,
        test=options.test_fraction,
        seed=seed,
        group_by=options.group_by,
        keep_existing=not options.ignore_splits,
    )
    write_annotations(result.annotations, out)
    write_classes(annotations.classes, out.with_suffix(".classes.txt"))
    for warning in result.warnings:
        log.warning(warning)
    counts_SK = result.counts_SK.tolist()
    if json:
        counts = {
            name: dict(zip(annotations.classes, row, strict=True)) for name, row in zip(SPLITS, counts_SK, strict=True)
        }
        print(json_format.dumps({"groups": result.num_groups, "clips": counts, "warnings": result.warnings}, indent=2))
    else:
        output.print_split(annotations.classes, SPLITS, counts_SK)
    log.info("%d clips in %d groups divided, in %s", len(annotations), result.num_groups, _name(out))
    _log_root(annotations, out)


def run_pack(source: Path, out: Path, dataset: DatasetOptions, *, shard_megabytes: int) -> None:
    """Pack a dataset into shards."""
    annotations = read_dataset(source, dataset, split=dataset.split)
    with output.ProgressBar("pack files", len(annotations)) as bar:
        num_files = pack_dataset(annotations, out, shard_bytes=shard_megabytes << 20, on_clip=bar.update)
    log.info(
        "%d files of %d clips packed; use %s wherever a dataset is expected", num_files, len(annotations), _name(out)
    )


def run_extract(
    source: Path,
    out: Path,
    options: ExtractOptions,
    flow: FlowFileOptions,
    frames: FrameOptions,
    dataset: DatasetOptions,
    *,
    fps: float | None,
    workers: int,
    force: bool,
) -> int:
    """Write frames or flow; the exit code."""
    annotations = read_dataset(source, dataset, split=dataset.split, need_labels=False)
    settings = None
    if options.flow_method is not None:
        settings = FlowSettings(options.flow_method, flow.flow_bound, flow.flow_align, flow.flow_format)
    frame_settings = FrameSettings(
        options.short_side,
        options.jpeg_quality or (95 if settings is None else 100),
        frames.template or "",
        frames.first_index,
        fps,
        settings,
    )
    with output.ProgressBar("extract frames", len(annotations)) as bar:
        result = extract_frames(annotations, out, frame_settings, num_workers=workers, on_clip=bar.update, force=force)
    output.print_extraction(result)
    return 3 if result.bad else 0


def run_check(
    source: Path, dataset: DatasetOptions, frames: ModalityOptions, options: CheckOptions, *, json: bool
) -> int:
    """Check every clip, print and write the report; the exit code."""
    naming = frame_naming(frames, frames.modality)
    with output.ProgressBar("check clips") as bar:
        report = check_dataset(
            source,
            root=dataset.root,
            split=dataset.split,
            classes=None if dataset.classes is None else class_names(dataset.classes),
            format=dataset.list_format,
            fold=dataset.ucf_fold,
            multi_label=dataset.multi_label,
            allow_outside=dataset.allow_outside,
            naming=naming,
            modality=frames.modality,
            num_workers=options.workers,
            time_limit=options.time_limit,
            memory_limit_gib=options.memory_limit,
            min_frames=options.min_frames,
            near_duplicates=options.near_duplicates,
            fix=options.fix,
            on_count=lambda total: bar.update(0, total),
            on_clip=bar.advance,
        )
    for warning in report.warnings:
        log.warning(printable(warning))
    if options.out is not None:
        write_report(options.out, report)
    if json:
        print(json_format.dumps(asdict(report), indent=2))
    else:
        output.print_check(report)
    return 3 if report.num_bad else 0


def run_preview(
    source: Path,
    out: Path,
    dataset: DatasetOptions,
    frames: ModalityOptions,
    *,
    num_clips: int,
    epoch: int,
    seed: int,
    recipe: str,
    json: bool,
) -> int:
    """Draw clips and statistics; the exit code."""
    annotations = read_dataset(source, dataset, split=dataset.split)
    clips = clip_dataset(annotations, "train", recipe, frames, seed=seed)
    with output.ProgressBar("read clips") as bar:
        result = preview_dataset(clips, out, num_clips=num_clips, epoch=epoch, on_clip=bar.update)
    if json:
        print(_preview_json(result))
    else:
        output.print_preview(result)
    for bad in result.unreadable:
        log.error(bad.reason)
    log.info("images: %s", " and ".join(_name(picture) for picture in result.paths))
    return 3 if result.unreadable else 0


def _preview_json(result: Preview) -> str:
    sizes = {f"{width}x{height}": count for (width, height), count in result.sizes.items()}
    return json_format.dumps({**asdict(result), "sizes": sizes}, indent=2, default=str)


def _log_root(annotations: Annotations, out: Path) -> None:
    """What a reader of the list must know about where its clips are."""
    root = printable(annotations.root)
    if missing := annotations.missing_clips():
        first = printable(annotations.path(missing[0]))
        log.warning("%d of %d clips are not below %s, e.g. %s", len(missing), len(annotations), root, first)
    if Path(annotations.root).resolve() != out.parent.resolve():
        log.info("its paths are relative to %s: use --root %s with it", root, root)


def _name(path: Path) -> str:
    return printable(str(path))
