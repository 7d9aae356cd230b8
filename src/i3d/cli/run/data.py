"""`i3d data ...`: each command calls one verb of `i3d.data` and prints its result."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from i3d.cli import output
from i3d.cli.data import CheckOptions, ExtractOptions, PreviewOptions, SplitOptions
from i3d.cli.flow import FlowOptions
from i3d.cli.messages import if_interrupted, log
from i3d.cli.options import DatasetOptions, ModalityOptions
from i3d.cli.run.setup import (
    cache_in,
    frame_naming,
    list_format,
    log_flow_cost,
    read_dataset,
    template_modality,
)
from i3d.data.annotations import SPLITS, Annotations
from i3d.data.check.dataset import check_dataset
from i3d.data.check.report import write_report
from i3d.data.class_files import classes_file
from i3d.data.formats.write import SUFFIXES, write_with_classes
from i3d.data.frame_extraction.extract import extract_frames
from i3d.data.frame_extraction.jobs import FlowSettings, FrameSettings
from i3d.data.frame_folders import FrameNaming
from i3d.data.labels import CLASSES_SUFFIX
from i3d.data.loading.dataset import ClipDataset
from i3d.data.pack import pack_dataset
from i3d.data.preview import check_drawings, preview_dataset
from i3d.data.split import split_annotations
from i3d.errors import InputError, counted, printable
from i3d.finetuning.finetune import plan_finetuning
from i3d.finetuning.options import FinetuneOptions
from i3d.finetuning.record import preview_plan
from i3d.finetuning.steps import Finetuner
from i3d.recipes.io import load_recipe, with_overrides
from i3d.training.setup import training_dataset
from i3d.utils.atomic_files import read_bytes
from i3d.utils.device import ComputeConfig
from i3d.utils.outputs import check_new, check_outside, locked_output
from i3d.weights.pretrained import DEFAULT


def run_list(source: Path, out: Path, dataset: DatasetOptions, frames: ModalityOptions, *, force: bool) -> None:
    annotations = read_dataset(source, dataset)
    names = _write_list(annotations, out, naming=frame_naming(frames, frames.modality), force=force)
    classes = counted(len(annotations.classes), "class", "classes")
    log.info("%s of %s, in %s and %s", counted(len(annotations), "clip"), classes, _name(out), _name(names))
    _log_root(annotations, out)


def run_split(source: Path, options: SplitOptions) -> None:
    """Write a list with splits, and print how many clips each class and split has."""
    annotations, out = read_dataset(source, options.dataset), options.out
    result = split_annotations(
        annotations,
        val=options.val_fraction,
        test=options.test_fraction,
        seed=options.seed,
        group_by=options.group_by,
        keep_existing=not options.ignore_splits,
    )
    _write_list(result.annotations, out, force=options.force)
    for warning in result.warnings:
        log.warning(warning)
    counts_SK = result.counts_SK.tolist()
    if options.json:
        counts = {
            name: dict(zip(annotations.classes, row, strict=True)) for name, row in zip(SPLITS, counts_SK, strict=True)
        }
        output.print_json({"groups": result.num_groups, "clips": counts, "warnings": result.warnings})
    else:
        output.print_split(annotations.classes, SPLITS, counts_SK)
    clips, groups = counted(len(annotations), "clip"), counted(result.num_groups, "group")
    log.info("%s in %s divided, in %s", clips, groups, _name(out))
    _log_root(annotations, out)


def run_pack(source: Path, out: Path, dataset: DatasetOptions, *, shard_megabytes: int) -> None:
    annotations = read_dataset(source, dataset)
    nothing = if_interrupted("nothing is saved", resumes=False)
    with nothing, output.ProgressBar("pack files", len(annotations), "clip") as bar:
        num_files = pack_dataset(annotations, out, shard_bytes=shard_megabytes << 20, on_clip=bar.update)
    what = f"{counted(num_files, 'file')} of {counted(len(annotations), 'clip')} packed"
    log.info("%s; use %s wherever a dataset is expected", what, _name(out))


def run_extract(source: Path, options: ExtractOptions, fps: float | None) -> int:
    annotations = read_dataset(source, options.dataset, need_labels=False)
    settings, flow = None, options.flow
    if options.flow_method is not None:
        settings = FlowSettings(options.flow_method, flow.flow_bound, flow.flow_align, flow.flow_format)
    frame_settings = FrameSettings(
        options.short_side,
        options.jpeg_quality or (95 if settings is None else 100),
        options.frames.template or "",
        options.frames.first_index,
        fps,
        settings,
    )
    return extract_clips("extract frames", annotations, frame_settings, options)


def extract_clips(
    stage: str,
    annotations: Annotations,
    settings: FrameSettings,
    options: ExtractOptions | FlowOptions,
    *,
    missing: Sequence[str] = (),
) -> int:
    """Write frames or flow of clips, log what was written and which files are missing; the exit code."""
    files = options.files if isinstance(options, FlowOptions) else options.flow
    cache = cache_in(files.cache)
    if settings.flow is not None:
        used_cache = cache if settings.caches_flow else None
        log_flow_cost(settings.flow.method, used_cache, short_side=settings.short_side, fps=settings.fps)
    with if_interrupted(f"complete folders are saved in {_name(options.out)}"), output.ProgressBar(stage) as bar:
        result = extract_frames(
            annotations,
            options.out,
            settings,
            num_workers=options.workers,
            on_progress=bar,
            force=options.force,
            cache=cache,
        )
    for path in missing:
        log.error("%s: no such file; check the path", printable(path))
    output.print_extraction(result, num_missing=len(missing))
    return 3 if result.bad or missing else 0


def run_check(source: Path, options: CheckOptions) -> int:
    """Check every clip, print and write the report; the exit code."""
    frames = options.frames
    naming = frame_naming(frames, frames.modality)
    with if_interrupted("nothing is saved", resumes=False), output.ProgressBar("check clips") as bar:
        report = check_dataset(
            source,
            **list_format(options.dataset),
            naming=naming,
            modality=frames.modality,
            num_workers=options.workers,
            time_limit=options.time_limit,
            memory_limit_gib=options.memory_limit,
            min_frames=options.min_frames,
            near_duplicates=options.near_duplicates,
            fix=options.fix,
            on_progress=bar,
        )
    for warning in report.warnings:
        log.warning(printable(warning))
    if options.out is not None:
        write_report(options.out, report)
    output.print_result(report, output.print_check, json=options.json)
    return 3 if report.num_bad else 0


def run_preview(source: Path, options: PreviewOptions) -> int:
    """Draw clips and statistics; the exit code."""
    annotations = read_dataset(source, options.dataset)
    check_outside(options.out, annotations.source)
    check_drawings(options.out, force=options.force)
    chosen: dict[str, Any] = {"num_clips": options.num_clips, "epoch": options.epoch, "force": options.force}
    num_lost = 0
    with if_interrupted("nothing is saved", resumes=False), output.ProgressBar("draw preview") as bar:
        if options.recipe is None:
            tuner = _plan(annotations, options, bar)
            num_lost = len(annotations) - len(tuner.annotations)
            log.info("plan of `i3d train --data %s`; with --recipe, that of a recipe", _name(source))
            result = preview_plan(tuner, options.out, on_clip=bar.update, **chosen)
        else:
            clips = _clips_of_recipe(annotations, options)
            log.info("training clips of the recipe %s", options.recipe)
            plan = f"settings of the recipe {options.recipe}"
            result = preview_dataset(clips, options.out, plan=plan, on_clip=bar.update, **chosen)
    if options.json:
        sizes = {f"{width}x{height}": count for (width, height), count in result.sizes.items()}
        output.print_json({**asdict(result), "sizes": sizes})
    else:
        output.print_preview(result)
    output.log_unreadable(bad.reason for bad in result.unreadable)
    log.info("images: %s", " and ".join(_name(path) for path in result.paths))
    return 3 if result.unreadable or num_lost else 0


def _plan(annotations: Annotations, options: PreviewOptions, bar: output.ProgressBar) -> Finetuner:
    """What `i3d train` plans for these clips."""
    plan, frames = options.plan, options.frames
    given = {name: value for name, value in vars(plan).items() if name not in ("init", "max_bad")}
    tuner, _ = plan_finetuning(
        annotations,
        FinetuneOptions(**given),
        init=plan.init or DEFAULT,
        settings=options.settings or (),
        max_bad=plan.max_bad,
        compute=ComputeConfig(options.device, None, "torch", options.workers, cache_in(options.cache)),
        deterministic=False,
        seed=options.seed,
        naming=frame_naming(frames, template_modality(frames)),
        multi_label=options.dataset.multi_label,
        on_progress=bar,
    )
    return tuner


def _clips_of_recipe(annotations: Annotations, options: PreviewOptions) -> ClipDataset:
    """The clips that `i3d train --recipe` trains on, as it reads them."""
    recipe = with_overrides(load_recipe(str(options.recipe)), options.settings or [])
    is_training_N = annotations.splits_N == SPLITS.index("train")
    clips = annotations.select_split("train") if is_training_N.any() else annotations
    naming = frame_naming(options.frames, "flow" if recipe.network.in_channels == 2 else "rgb")
    return training_dataset(recipe, clips, seed=options.seed, naming=naming, cache=cache_in(options.cache))


def _write_list(annotations: Annotations, out: Path, *, force: bool, naming: FrameNaming | None = None) -> Path:
    """Write a list and, beside it, the file of its class names, whose path is returned."""
    names = out.with_suffix(CLASSES_SUFFIX)
    with locked_output(str(names), names):  # lists of other suffixes share it
        if not (names.is_file() and read_bytes(names) == classes_file(annotations.classes)):
            lists = [path for suffix in SUFFIXES if (path := out.with_suffix(suffix)) != out and path.exists()]
            if names.exists() and lists:
                what = f"has other class names, which may be those of {lists[0].name} too"
                raise InputError(f"{names}: {what}; choose another name than {out.name}")
            check_new(str(names), names, force=force)
        write_with_classes(annotations, out, names, naming=naming)
    return names


def _log_root(annotations: Annotations, out: Path) -> None:
    """What a reader of the list must know about where its clips are."""
    root = printable(annotations.root)
    if missing := annotations.missing_clips():
        first = printable(annotations.path(missing[0]))
        clips = counted(len(annotations), "clip is", "clips are")
        log.warning("%d of %s not below %s, e.g. %s", len(missing), clips, root, first)
    if Path(annotations.root).resolve() != out.parent.resolve():
        log.info("its paths are relative to %s: use --root %s with it", root, root)


def _name(path: Path) -> str:
    return printable(str(path))
