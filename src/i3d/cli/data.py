"""`i3d data ...`: list, check, split, preview and prepare datasets."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Group, Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import accepted, frame_rate, refuse
from i3d.cli.limits import BELOW_1, SIDE, WEEK, Within
from i3d.cli.usage import command
from i3d.errors import InputError
from i3d.weights.names import check_weights_name

PLAN = Group("Plan (without --recipe)", sort_key=3.5)
app = App(name="data", help="List, check, split, preview and pack datasets.")


def list_(
    source: shared.Dataset,
    /,
    *,
    out: Annotated[
        Path,
        shared.out_file(".csv", ".tsv", ".jsonl", ".txt"),
        Parameter(help="The .csv, .tsv, .jsonl or (MMAction2) .txt."),
    ],
    dataset: shared.DatasetOptions = shared.DatasetOptions(),
    frames: shared.ModalityOptions = shared.ModalityOptions(),
    force: shared.Force = False,
) -> None:
    """Write a dataset of any format as a list of any format.

    The class names are written beside it, as .classes.txt.

    Examples:
      i3d data list clips/ --out clips.csv
      i3d data list annotations.csv --split train --out train.txt
    """
    run.data.run_list(source, out, dataset, frames, force=force)


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How clips are divided, and where the list is written."""

    out: Annotated[Path, shared.out_file(".csv", ".tsv", ".jsonl")]
    """The .csv, .tsv or .jsonl to write."""

    val_fraction: Annotated[float, Parameter(validator=BELOW_1)] = 0.2
    """Fraction to validate on."""

    test_fraction: Annotated[float, Parameter(validator=BELOW_1)] = 0.0
    """Fraction to test on."""

    group_by: shared.GroupBy = None
    """Regular expression; clips whose paths match alike stay together."""

    ignore_splits: bool = False
    """Ignore the splits that the source has."""

    seed: shared.Seed = 0
    dataset: shared.ListOptions = shared.ListOptions()
    force: shared.Force = False
    json: shared.Json = False


def split(source: shared.Dataset, /, *, options: SplitOptions) -> None:
    """Split a dataset into train, val and test.

    Clips of one group stay together, and the classes are divided evenly.

    Examples:
      i3d data split clips/ --out clips.csv --val-fraction 0.2
      i3d data split clips/ --out clips.csv --group-by '(person\\d+)_'
    """
    run.data.run_split(source, options)


def pack(
    source: shared.Dataset,
    /,
    *,
    out: shared.OutFolder,
    shard_megabytes: Annotated[
        int, Parameter(group=shared.OUTPUT, help="Size at which the next shard begins."), shared.COUNT
    ] = 1024,
    dataset: shared.DatasetOptions = shared.DatasetOptions(),
) -> None:
    """Pack a dataset of many small files into a few tar files.

    They are indexed, and read like any other dataset.

    Examples:
      i3d data pack frames/list.txt --out packed
    """
    if dataset.allow_outside:
        raise InputError("--allow-outside: shards hold only files below the root; leave it out")
    run.data.run_pack(source, out, dataset, shard_megabytes=shard_megabytes)


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True)
class FlowFileOptions:
    """How flow is computed and stored."""

    flow_bound: Annotated[float, Parameter(validator=Within(0, 1000, "low"))] = 20.0
    """Displacement in pixels that 0 and 255 stand for; larger is clipped."""

    flow_align: Literal["between", "frames"] = "between"
    """N frames give N-1 flows (between) or N, the first twice (frames)."""

    flow_format: Annotated[Literal["jpg", "npz", "packed-video"], Parameter(group=shared.OUTPUT)] = "jpg"
    """jpg (two images each), npz or packed-video (a file for each clip)."""

    cache: Annotated[Path | None, Parameter(group=shared.SPEED)] = None
    """Folder of computed flow (default: $I3D_CACHE)."""


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """Which frames are written, and where."""

    out: shared.OutFolder

    short_side: Annotated[int | None, shared.whole(1, SIDE)] = None
    """Resize frames to this short side (default: not resized)."""

    fps: str = "native"
    """Frames a second, or native (every frame)."""

    flow_method: shared.FlowMethod | None = None
    """Write optical flow instead of frames: tvl1 (the paper's), dis (fast)."""

    jpeg_quality: Annotated[int | None, Parameter(group=shared.OUTPUT), shared.whole(1, 100)] = None
    """Quality of JPEG files, 1 to 100 (default: 95, of flow 100)."""

    flow: FlowFileOptions = FlowFileOptions()
    frames: shared.FrameOptions = shared.FrameOptions()
    dataset: shared.DatasetOptions = shared.DatasetOptions()
    workers: shared.Workers = 2
    force: shared.Force = False


def extract_frames(source: shared.Dataset, /, *, options: ExtractOptions) -> int:
    """Write the frames of videos, or their optical flow, as JPEG.

    Each clip gets a folder, named by --template, and list.txt is a list of MMAction2. The same command resumes an
    interrupted run. Exit code 3: some video could not be read.

    Examples:
      i3d data extract-frames clips/ --out frames --short-side 256 --workers 8
      i3d data extract-frames clips/ --out flow --short-side 256 --fps 25 --flow-method tvl1
    """
    fps = frame_rate(options.fps)
    if options.flow_method is None and options.flow != FlowFileOptions():
        raise InputError("--flow-bound, --flow-align, --flow-format, --cache: are for flow; name a --flow-method too")
    return run.data.run_extract(source, options, fps)


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True)
class CheckOptions:
    """What is checked."""

    dataset: shared.DatasetOptions = shared.DatasetOptions()
    frames: shared.ModalityOptions = shared.ModalityOptions()

    min_frames: Annotated[int, shared.COUNT] = 1
    """Report clips of fewer frames."""

    near_duplicates: Literal["across-splits", "all", "none"] = "across-splits"
    """Report clips that show nearly the same."""

    time_limit: Annotated[float, Parameter(validator=Within(0.1, WEEK))] = 300.0
    """Seconds that one clip may take."""

    memory_limit: Annotated[float, Parameter(validator=Within(0.5, 100_000))] = 4.0
    """GiB of memory that one process may take."""

    workers: Annotated[int, Parameter(group=shared.SPEED), shared.whole(1, 1024)] = 2
    """Processes; each may crash or hang without harm."""

    out: Annotated[Path | None, shared.out_file(".csv")] = None
    """Write a row for every clip to this .csv."""

    fix: Annotated[Path | None, Parameter(group=shared.OUTPUT)] = None
    """Re-encode the readable part of damaged clips into this folder."""

    force: shared.Force = False
    json: shared.Json = False


def check(source: shared.Dataset, /, *, options: CheckOptions = CheckOptions()) -> int:
    """Decode every clip and report unreadable files and duplicates.

    It names the files that are missing, broken, truncated, too short or duplicates. Exit code 3: it found some.

    Examples:
      i3d data check clips/ --out report.csv
    """
    return run.data.run_check(source, options)


@Parameter(name="*", group=PLAN)
@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What changes the plan of `i3d train`."""

    init: Annotated[shared.FileOrName | None, Parameter(validator=accepted(check_weights_name, "--init"))] = None
    """Initial weights (default: the shipped ones)."""

    train_layers: Literal["head", "last", "all"] | None = None
    """Layers to train: the classifier (head), the last stage too, or all."""

    views: Annotated[int | None, shared.COUNT] = None
    """Views of each clip that the classifier is fitted on."""

    test_clips: Annotated[int | None, shared.COUNT] = None
    """Clips of each video that are scored."""

    flip: Literal["on", "off", "swap"] | None = None
    """Mirror images; swap exchanges left and right classes."""

    cv_folds: Annotated[int | None, shared.whole(0, 1000)] = None
    """Train and test on all clips in so many folds."""

    val_fraction: Annotated[float | None, Parameter(validator=BELOW_1)] = None
    """Fraction to validate on, of clips without a split (default: 0.2)."""

    group_by: shared.GroupBy = None
    """Regular expression; clips whose paths match alike stay together."""

    max_bad: shared.Fraction | None = None
    """Fraction of clips that may be unreadable (default: 10%)."""


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True, kw_only=True)
class PreviewOptions:
    """Which clips are drawn, and where."""

    out: shared.OutFolder

    num_clips: Annotated[int, shared.whole(1, 100)] = 16
    """Clips to draw."""

    epoch: Annotated[int, shared.whole(0, 1_000_000)] = 0
    """Draw clips as in this epoch."""

    recipe: Annotated[shared.FileOrName | None, shared.RECIPE] = None
    """Draw clips of this recipe (default: of the plan of `i3d train`)."""

    settings: Annotated[list[str] | None, Parameter(name="--set")] = None
    """Setting of the recipe: training.augmentation.flip=0. Repeatable."""

    plan: PlanOptions = PlanOptions()
    seed: shared.Seed = 0
    dataset: shared.ListOptions = shared.ListOptions()
    frames: shared.FrameOptions = shared.FrameOptions()
    device: shared.Device = "auto"
    workers: shared.Workers = 2

    cache: Annotated[Path | None, Parameter(group=shared.SPEED)] = None
    """Folder of checked clips and flow (default: $I3D_CACHE)."""

    force: shared.Force = False
    json: shared.Json = False


def preview(source: shared.Dataset, /, *, options: PreviewOptions) -> int:
    """Draw clips as `i3d train` reads them, and statistics of the dataset.

    Without --recipe, clips and settings are those of the plan that `i3d train --data SOURCE` makes of all clips, which
    are decoded once. With --recipe, they are those of its training. It writes clips.png and statistics.png. Exit code
    3: some clip could not be read.

    Examples:
      i3d data preview clips/ --out preview
      i3d data preview clips.csv --out preview --recipe i3d_r50_video_32x2x1_100e_kinetics400_rgb
    """
    if options.recipe is not None and options.plan != PlanOptions():
        given = {f"--{f.name.replace('_', '-')}": getattr(options.plan, f.name) for f in fields(options.plan)}
        refuse(given, ": changes the plan of `i3d train` without --recipe; leave one of them out")
    return run.data.run_preview(source, options)


for _function in (list_, check, preview, split, extract_frames, pack):
    app.command(command(_function, _function.__name__.rstrip("_").replace("_", "-")))
