"""`i3d timeline`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import check_videos, exists, refuse
from i3d.cli.limits import RATE, WEEK, Within
from i3d.cli.usage import command
from i3d.errors import InputError
from i3d.recipes.names import SegmentMetric
from i3d.utils.outputs import is_drawing

HOUR = Within(0, 3600)
UP_TO_AN_HOUR = Within(0, 3600, "low")
SEGMENT_FILE = shared.out_file(".csv", ".tsv", ".json", ".srt", ".vtt", ".eaf", ".mp4", resumes=True, or_folder=True)
TUNING = Group("Tuning", sort_key=3.5)


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True)
class SegmentOptions:
    """How segments are found in scores. What is left open is that of the checkpoint (--tune), or the default."""

    smooth: Annotated[float | None, Parameter(validator=HOUR)] = None
    """Seconds over which scores are averaged (default: the model's, or 1)."""

    enter: Annotated[float | None, Parameter(validator=Within(0, 1))] = None
    """Score from which a label begins (default: the model's, or 0.5)."""

    leave: Annotated[float | None, Parameter(validator=Within(0, 1))] = None
    """Score below which it ends (default: the model's, or 0.3; at most --enter)."""

    min_length: Annotated[float | None, Parameter(validator=HOUR)] = None
    """Seconds; shorter segments are dropped (default: the model's, or 0.5)."""

    min_gap: Annotated[float | None, Parameter(validator=HOUR)] = None
    """Seconds; shorter gaps in a label are filled (default: the model's, or 0.5)."""


@Parameter(name="*", group=TUNING)
@dataclass(frozen=True)
class TuneOptions:
    """Settings that are chosen, instead of segments that are found."""

    tune: Annotated[Path | None, Parameter(validator=exists("--tune"))] = None
    """Choose these settings by the known segments of the videos: .json, .csv, .tsv, .srt, .vtt or .eaf."""

    tune_by: SegmentMetric | None = None
    """Metric that is maximised (default: f1@50)."""

    tune_out: Annotated[Path | None, shared.out_file(".safetensors", option="--tune-out")] = None
    """Write the model with these settings to this .safetensors (default: into --model itself)."""

    list_fps: Annotated[float | None, Parameter(validator=RATE)] = None
    """Frame rate by which an export of Label Studio counts, where it lacks it."""


@Parameter(name="*")
@dataclass(frozen=True)
class TimelineOptions:
    """What is found, and where it is written."""

    model: shared.ModelOptions = shared.ModelOptions()

    classes: Annotated[shared.Classes, Parameter(group=shared.MODEL)] = None
    """Class names: a file, kinetics400, kinetics600, ucf101 or hmdb51."""

    frames_fps: Annotated[float | None, Parameter(group=shared.INPUT, validator=RATE)] = None
    """Frame rate of folders of images."""

    max_decode_lag: Annotated[float, Parameter(group=shared.INPUT, validator=Within(0, WEEK))] = 60.0
    """Stop decoding a video that takes so many seconds longer than playing it."""

    labels: Annotated[str | None, Parameter(group=shared.COMPUTED)] = None
    """Only these labels, with commas, those with a comma in quotes; scores stay those among all labels."""

    window_seconds: Annotated[float | None, Parameter(group=shared.COMPUTED, validator=UP_TO_AN_HOUR)] = None
    """Length of a window (default: as the network was trained)."""

    stride_seconds: Annotated[float | None, Parameter(group=shared.COMPUTED, validator=UP_TO_AN_HOUR)] = None
    """From one window to the next (default: a quarter of a window)."""

    segments: SegmentOptions = SegmentOptions()
    tuning: TuneOptions = TuneOptions()

    out: Annotated[Path | None, SEGMENT_FILE] = None
    """Write segments to this .csv, .tsv or .json, of one video to an .srt, .vtt, .eaf or (chapters) .mp4; resumes."""

    segment_format: Annotated[
        Literal["activitynet", "label-studio", "srt", "vtt", "eaf", "chapters"] | None, Parameter(group=shared.OUTPUT)
    ] = None
    """Which .json (default: activitynet); if --out is a folder, the format of the file of each video."""

    annotate: Annotated[Path | None, shared.out_file(".mp4", ".gif", option="--annotate", or_folder=True)] = None
    """Draw what is on, and its score, on a copy of each video below this folder, or of one: NAME.mp4 or .gif (10 s)."""

    plot: Annotated[Path | None, shared.out_file(".png", option="--plot", is_own=is_drawing)] = None
    """Draw the segments, a row for each label, to this .png (of 20 videos at most)."""

    force: shared.Force = False
    json: shared.Json = False
    flow_method: shared.FlowMethod | None = None
    """Method of optical flow, for a network of flow."""

    compute: shared.ComputeOptions = shared.ComputeOptions()


def timeline(*videos: shared.Videos, options: TimelineOptions = TimelineOptions()) -> int:
    """Find when things happen in each video.

    Windows of frames are scored, and segments found in the scores. Where no label is certain, the label is "unknown".
    Exit code 3: some video could not be read.

    --tune chooses thresholds and smoothing on videos with known segments, and writes them into the model.

    Examples:
      i3d timeline match.mp4
      i3d timeline recordings/ --model my --out segments.csv
      i3d timeline match.mp4 --labels "juggling soccer ball,headbutting" --out match.srt --annotate labelled.mp4
      i3d timeline validation/ --model my --tune annotated.json
    """
    paths, tuning = check_videos(videos), options.tuning
    if tuning.tune is not None:
        _refuse_with_tune(options)
        return run.tune.run_tune(paths, tuning.tune, options)
    given = {"--tune-by": tuning.tune_by, "--tune-out": tuning.tune_out, "--list-fps": tuning.list_fps}
    refuse(given, ": goes with --tune FILE; omit it")
    return run.timeline.run_timeline(paths, options)


def _refuse_with_tune(options: TimelineOptions) -> None:
    """An InputError for what is chosen by --tune, and for outputs of segments."""
    chosen = {f"--{name.replace('_', '-')}": value for name, value in vars(options.segments).items()}
    refuse(chosen, ": is chosen by --tune; omit it")
    refuse({"--labels": options.labels}, ": --tune compares all labels; omit it")
    if options.force and options.tuning.tune_out is None:
        raise InputError("--force: replaces the file of --tune-out, which is not given; omit it")
    written = {"--out": options.out, "--segment-format": options.segment_format, "--plot": options.plot}
    written["--annotate"] = options.annotate
    refuse(written, ": --tune writes no segments; omit it, and run the command without --tune afterwards")


app = command(timeline, "timeline")
