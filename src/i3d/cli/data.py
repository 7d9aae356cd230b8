"""`i3d data ...`: list, check, split, preview and prepare datasets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import frame_rate
from i3d.cli.limits import BELOW_1, SIDE, WEEK, Within
from i3d.cli.usage import command
from i3d.errors import InputError

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
        raise InputError("--flow-bound, --flow-align, --flow-format: are for flow; name a --flow-method too")
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


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True, kw_only=True)
class PreviewOptions:
    """Which clips are drawn, and where."""

    out: shared.OutFolder

    num_clips: Annotated[int, shared.whole(1, 100)] = 16
    """Clips to draw."""

    epoch: Annotated[int, shared.whole(0, 1_000_000)] = 0
    """Draw clips as in this epoch."""

    seed: shared.Seed = 0
    recipe: shared.ClipRecipe = shared.DEFAULT_RECIPE
    dataset: shared.DatasetOptions = shared.DatasetOptions()
    frames: shared.ModalityOptions = shared.ModalityOptions()
    force: shared.Force = False
    json: shared.Json = False


def preview(source: shared.Dataset, /, *, options: PreviewOptions) -> int:
    """Draw clips as training reads them, and statistics of the dataset.

    It writes clips.png and statistics.png. Exit code 3: some clip could not be read.

    Examples:
      i3d data preview clips/ --out preview
    """
    return run.data.run_preview(source, options)


for _function in (list_, check, preview, split, extract_frames, pack):
    app.command(command(_function, _function.__name__.rstrip("_").replace("_", "-")))
