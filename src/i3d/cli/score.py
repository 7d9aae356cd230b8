"""`i3d score` and `i3d fuse`: what follows from saved scores, or from segments, without the models."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cyclopts import Parameter

from i3d.cli import run
from i3d.cli.checks import numbers, refuse
from i3d.cli.limits import RATE, Within
from i3d.cli.options import COMPUTED, INPUT, Force, FusionOptions, Json, Report, Seed, in_file, out_file
from i3d.cli.usage import command
from i3d.errors import InputError


@Parameter(name="*", group=COMPUTED)
@dataclass(frozen=True)
class ResultOptions:
    """Which scores of a result file are used, and where metrics are written."""

    out_format: ClassVar = "i3d"

    protocol: str | None = None
    """Which of the file's protocols, e.g. 10x3."""

    bad_as_wrong: bool = False
    """Count unreadable clips as wrong."""

    out: Annotated[Path | None, out_file(".json", ".yaml", ".yml", ".csv")] = None
    """Write the result to this .json, .yaml or .csv."""

    report: Report = None
    force: Force = False
    json: Json = False


@Parameter(name="*", group=COMPUTED)
@dataclass(frozen=True)
class ScoreOptions:
    """Which metrics are computed."""

    metrics: str | None = None
    """Metrics to print, with commas (default: all that apply)."""

    top_k: Annotated[str, Parameter(alias="-k")] = "1,5"
    """The k of top_k_accuracy, with commas."""

    average_clips: Literal["score", "prob"] | None = None
    """Average probabilities (prob) or logits (score) of saved views."""

    result: ResultOptions = ResultOptions()


@Parameter(name="*", group=COMPUTED)
@dataclass(frozen=True)
class SegmentOptions:
    """How predicted segments are compared with annotated ones."""

    truth: Annotated[
        Path | None, in_file("Annotated segments: .json, .csv, .tsv, .srt, .vtt or .eaf.", option="--truth")
    ] = None

    tiou: str | None = None
    """tIoU of the mean average precision: thumos, activitynet, or numbers with commas (default: thumos)."""

    collar: Annotated[float | None, Parameter(validator=Within(0, 3600))] = None
    """Seconds that the ends of an event may be off in event_f1 (default: 0.5)."""

    split: Annotated[Literal["train", "val", "test"] | None, Parameter(group=INPUT)] = None
    """Compare only the annotated videos of this split."""

    list_fps: Annotated[float | None, Parameter(group=INPUT, validator=RATE)] = None
    """Frame rate by which an export of Label Studio counts, where it lacks it."""


def score(
    result: Annotated[Path, in_file("A .json or .yaml of `i3d test --out`; with --truth, segments.")],
    /,
    *,
    options: ScoreOptions = ScoreOptions(),
    segments: SegmentOptions = SegmentOptions(),
) -> int:
    """Compute the metrics of a test, or of segments, from their files.

    Metrics of a test: top_k_accuracy, mean_class_accuracy, mean_recall, calibration_error, mean_average_precision,
    mmit_mean_average_precision, per_class, confusion.

    With --truth: mean average precision at temporal IoU, frame accuracy, edit score, F1@10, 25 and 50, and F1 of
    events with a collar; --metrics mean_average_precision,f1@50 prints some of them.

    Examples:
      i3d score result.json --metrics top_k_accuracy,mean_class_accuracy --top-k 1,3
      i3d score segments.json --truth annotated.csv --tiou 0.3,0.5 --collar 1
    """
    if segments.truth is not None:
        _refuse_of_tests(options)
        return run.segments.run_score_segments(result, segments.truth, segments, options)
    of_segments = {f"--{name.replace('_', '-')}": value for name, value in vars(segments).items()}
    refuse(of_segments, " is for segments; give the annotated ones with --truth")
    names = [name.strip() for name in options.metrics.split(",")] if options.metrics else []
    top_k = numbers("--top-k", options.top_k, int, Within(1, 1_000_000))
    return run.score.run_score(result, names, top_k, options)


def _refuse_of_tests(options: ScoreOptions) -> None:
    given = {
        "--top-k": options.top_k != ScoreOptions().top_k,
        "--average-clips": options.average_clips,
        "--protocol": options.result.protocol,
        "--bad-as-wrong": options.result.bad_as_wrong,
        "--report": options.result.report,
    }
    refuse(given, " is for the result of a test; leave it out, or leave out --truth")
    if (out := options.result.out) is not None and out.suffix.lower() == ".csv":
        raise InputError(f"--out {out}: the metrics of segments are written to a .json or .yaml")


@Parameter(name="*", group=COMPUTED)
@dataclass(frozen=True)
class FuseOptions:
    """How results are fused."""

    fusion: FusionOptions = FusionOptions()

    sweep_on: Annotated[list[Path] | None, Parameter(group=INPUT)] = None
    """Results of other clips to choose weights on. Repeatable, same order."""

    sweep_fraction: Annotated[float, Parameter(validator=Within(0, 1))] = 0.5
    """Fraction of files to choose weights on."""

    seed: Seed = 0
    result: ResultOptions = ResultOptions()


def fuse(
    *results: Annotated[Path, in_file("Files of `i3d test --out`, one for each stream.", required=True)],
    options: FuseOptions = FuseOptions(),
) -> int:
    """Fuse the scores of several streams, e.g. RGB and flow.

    Logits are added, as in the paper, if the results have them (`i3d test --average-clips score`), else probabilities
    are averaged. With --stream-weights sweep, weights are chosen on held-out clips, and the metrics are of the others.

    Examples:
      i3d fuse rgb.json flow.json --stream-weights 1,1 --out fused.json
    """
    if len(results) < 2:
        raise InputError("fusion takes two results or more; give rgb.json flow.json")
    text, weights = options.fusion.stream_weights, None
    if options.sweep_on and text != "sweep":
        raise InputError("--sweep-on: is for --stream-weights sweep")
    if text not in (None, "sweep"):
        weights = numbers("--stream-weights", text, float, Within(0, 1_000_000))
    return run.score.run_fuse(results, weights, options)


score_app, fuse_app = command(score, "score"), command(fuse, "fuse")
