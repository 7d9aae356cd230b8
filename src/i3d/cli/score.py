"""`i3d score` and `i3d fuse`: what follows from the saved scores of tests, without the models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from i3d.cli import run
from i3d.cli.checks import check_dataset, check_new, check_output, numbers
from i3d.cli.help import command
from i3d.cli.options import COMPUTED, FRACTION, INPUT, OUTPUT, Force, FusionOptions, Json, Seed
from i3d.errors import InputError

OUT_SUFFIXES: Final = (".json", ".yaml", ".yml", ".csv")


@Parameter(name="*", group=COMPUTED)
@dataclass(frozen=True)
class ResultOptions:
    """Which scores of a result file are used, and where metrics are written."""

    protocol: str | None = None
    """Which of the file's protocols, e.g. 10x3."""

    bad_as_wrong: bool = False
    """Count unreadable clips as wrong."""

    out: Annotated[Path | None, Parameter(group=OUTPUT, alias="-o")] = None
    """Write the result to this .json, .yaml or .csv."""

    report: Annotated[Path | None, Parameter(group=OUTPUT)] = None
    """Write metrics, confusion and worst clips to this .html file."""

    def check(self, results: tuple[Path, ...], *, force: bool) -> None:
        """An InputError for results that do not exist, and outputs that cannot be written."""
        for result in results:
            check_dataset(result)
        check_output("--out", self.out, OUT_SUFFIXES)
        check_new("--out", self.out, force=force)
        check_output("--report", self.report, (".html",))


def score(
    result: Annotated[Path, Parameter(group=INPUT, help="A .json or .yaml of `i3d test --out`.")],
    /,
    *,
    metrics: Annotated[
        str | None,
        Parameter(group=COMPUTED, help="Metrics to print, with commas (default: all that apply)."),
    ] = None,
    top_k: Annotated[str, Parameter(group=COMPUTED, alias="-k", help="The k of top_k_accuracy, with commas.")] = "1,5",
    average_clips: Annotated[
        Literal["prob", "score"] | None,
        Parameter(group=COMPUTED, help="Average probabilities or logits, of saved views."),
    ] = None,
    options: ResultOptions = ResultOptions(),
    force: Force = False,
    json: Json = False,
) -> int:
    """Compute the metrics of a test from its saved scores.

    Metrics: top_k_accuracy, mean_class_accuracy, calibration_error, mean_average_precision, per_class, confusion.

    Examples:
      i3d score result.json --metrics top_k_accuracy,mean_class_accuracy --top-k 1,3
    """
    options.check((result,), force=force)
    names = [name.strip() for name in metrics.split(",")] if metrics else []
    ks = numbers("--top-k", top_k, int)
    return run.score.run_score(result, names, ks, average_clips, options, force=force, json=json)


def fuse(
    *results: Annotated[
        Path, Parameter(group=INPUT, required=True, help="Files of `i3d test --out`, one for each stream.")
    ],
    fusion: FusionOptions = FusionOptions(),
    sweep_on: Annotated[
        list[Path] | None,
        Parameter(group=INPUT, help="Results of other clips to choose weights on. Repeatable, same order."),
    ] = None,
    sweep_fraction: Annotated[
        float, Parameter(group=COMPUTED, validator=FRACTION, help="Fraction of files to choose weights on.")
    ] = 0.5,
    seed: Seed = 0,
    options: ResultOptions = ResultOptions(),
    force: Force = False,
    json: Json = False,
) -> int:
    """Fuse the scores of several streams, e.g. RGB and flow.

    Logits are added, as in the paper, if the results have them (`i3d test --average-clips score`), else probabilities
    are averaged. With --stream-weights sweep, weights are chosen on held-out clips, and the metrics are of the others.

    Examples:
      i3d fuse rgb.json flow.json --stream-weights 1,1 --out fused.json
    """
    options.check(results, force=force)
    if len(results) < 2:
        raise InputError("fusion takes two results or more; give rgb.json flow.json")
    is_sweep = fusion.stream_weights == "sweep"
    if sweep_on and not is_sweep:
        raise InputError("--sweep-on: is for --stream-weights sweep")
    weights = None
    if fusion.stream_weights is not None and not is_sweep:
        weights = numbers("--stream-weights", fusion.stream_weights, float)
    sweep = run.score.Sweep(sweep_on or [], sweep_fraction, seed) if is_sweep else None
    return run.score.run_fuse(results, weights, sweep, fusion.fuse_average, options, force=force, json=json)


score_app, fuse_app = command(score, "score"), command(fuse, "fuse")
