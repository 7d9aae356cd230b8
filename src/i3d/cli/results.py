"""`i3d score` and `i3d fuse`: what can be made of the scores of tests, without the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from i3d.cli import output
from i3d.cli.options import Json, Seed
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.evaluation.fuse import Swept
    from i3d.evaluation.result import Evaluation, Metrics
    from i3d.evaluation.scoring import Average

Results = Annotated[list[Path], typer.Argument(help="Files of `i3d test --out`, one a stream.", show_default=False)]
Result = Annotated[Path, typer.Argument(help="A .json or .yaml of `i3d test --out`.", show_default=False)]
ProtocolName = Annotated[str | None, typer.Option("--protocol", help="Which of the file's protocols, such as 10x3.")]
MetricNames = Annotated[
    str | None,
    typer.Option(
        help="Some of top_k_accuracy, mean_class_accuracy, calibration_error, mean_average_precision, per_class, "
        "confusion, with commas (default: all that apply)."
    ),
]
TopK = Annotated[str, typer.Option(help="The k of top_k_accuracy, with commas.")]
AverageViews = Annotated[
    str | None, typer.Option("--average-clips", help="prob or score, of a file that keeps the logits of every view.")
]
BadAsWrong = Annotated[bool, typer.Option("--bad-as-wrong", help="Count unreadable clips as wrong.")]
Report = Annotated[Path | None, typer.Option(help="Write figures, confusion, worst clips to this one .html file.")]
Out = Annotated[Path | None, typer.Option(help="Write the result to this .json, .yaml or .csv.")]
Force = Annotated[bool, typer.Option("--force", help="Replace --out.")]
Weights = Annotated[
    str | None,
    typer.Option(help="A number for each stream, with commas (default: 1 each); or sweep: chosen on held-out clips."),
]
SweepOn = Annotated[
    list[Path] | None,
    typer.Option(help="Results of other clips to choose the weights on, one a stream. Repeatable, in the same order."),
]
HeldOut = Annotated[
    float, typer.Option(min=0, max=1, help="Without --sweep-on: the share of files to choose the weights on.")
]
Of = Annotated[str | None, typer.Option(help="Add logits (score) or average probabilities (prob).")]


def score(
    result: Result,
    metrics: MetricNames = None,
    top_k: TopK = "1,5",
    protocol: ProtocolName = None,
    average_clips: AverageViews = None,
    bad_as_wrong: BadAsWrong = False,
    report: Report = None,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Compute the figures of a test anew from its scores, without the model.

    Example: i3d score result.json --metrics top_k_accuracy,mean_class_accuracy --top-k 1,3
    """
    from json import dumps

    from i3d.evaluation.named_metrics import check_metrics, metrics_of
    from i3d.evaluation.result import compute_metrics
    from i3d.evaluation.result_file import metrics_as_dict, read_evaluation, read_evaluations

    names = [name.strip() for name in metrics.split(",")] if metrics else []
    ks = _numbers(top_k, "--top-k", int)
    check_metrics(names, ks)
    _check_new(out, force)
    check_report(report, force=force)
    average = _average(average_clips, "--average-clips")
    if protocol is not None or names:
        found: Sequence[Evaluation] = [read_evaluation(result, protocol=protocol, average=average)]
    else:
        found = read_evaluations(result, average=average)
    _check_bad_as_wrong(bad_as_wrong, found[0])
    found = [replace(e, views_N=()) for e in found]  # they are averaged now
    if not names:
        finish(found, out, report=report, bad_as_wrong=bad_as_wrong, json=json)
        return
    evaluation, figures = found[0], compute_metrics(found[0], bad_as_wrong=bad_as_wrong)
    numbers = metrics_of(evaluation, figures, names, top_k=ks)
    _write(found, [figures], out, report=report, bad_as_wrong=bad_as_wrong)
    if json:
        every = metrics_as_dict(evaluation, figures)
        tables = {"per_class": "by_class", "confusion": "confusion"}
        told = {name: every[name] for name in ("protocol", "num_clips", "num_bad", "bad_as_wrong")}
        told |= {key: every[key] for name, key in tables.items() if name in names}
        typer.echo(dumps({**told, **numbers}, indent=2))
    else:
        output.tell_metrics(evaluation, figures, names, numbers)


def fuse(
    results: Results,
    weights: Weights = None,
    sweep_on: SweepOn = None,
    held_out: HeldOut = 0.5,
    seed: Seed = 0,
    of: Of = None,
    protocol: ProtocolName = None,
    bad_as_wrong: BadAsWrong = False,
    report: Report = None,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Fuse the scores of two streams or more, such as RGB and flow, of the same clips.

    Logits are added, as in the paper, if the results have them (`i3d test --average-clips score`), else probabilities
    are averaged. Swept weights are chosen on held-out clips, and the figures are those of the others.

    Example: i3d fuse rgb.json flow.json --weights 1,1 --out fused.json
    """
    from i3d.evaluation.fuse import fuse as run
    from i3d.evaluation.result import compute_metrics
    from i3d.evaluation.result_file import read_evaluation

    _check_new(out, force)
    check_report(report, force=force)
    if len(results) < 2:
        raise InputError("fusion is of two results or more; give rgb.json flow.json")
    kind = _average(of, "--of")
    streams = [read_evaluation(path, protocol=protocol) for path in results]
    _check_bad_as_wrong(bad_as_wrong, streams[0])
    swept = None
    if weights == "sweep":
        streams, swept = _swept(streams, sweep_on, held_out=held_out, seed=seed, of=kind, protocol=protocol)
        chosen: Sequence[float] = swept.weights
    elif sweep_on:
        raise InputError("--sweep-on: is for --weights sweep")
    else:
        chosen = _numbers(weights, "--weights", float) if weights is not None else [1.0] * len(streams)
    fused = run(streams, weights=chosen, of=kind)
    same = [*_readable(streams), fused]
    tested = [(e, compute_metrics(e, bad_as_wrong=bad_as_wrong)) for e in same]
    _write([fused], [tested[-1][1]], out, report=report, bad_as_wrong=bad_as_wrong)
    if json:
        typer.echo(_fused_json(tested, chosen, swept))
    else:
        output.tell_fused(tested, [*map(str, results), "fused"], swept)


def finish(
    found: Sequence[Evaluation],
    out: Path | None,
    *,
    form: str = "i3d",
    report: Path | None,
    bad_as_wrong: bool,
    json: bool,
) -> None:
    """Write the files, name the clips that could not be read, tell the figures."""
    from json import dumps

    from i3d.evaluation.result import compute_metrics
    from i3d.evaluation.result_file import metrics_as_dict

    all_figures = [compute_metrics(evaluation, bad_as_wrong=bad_as_wrong) for evaluation in found]
    for bad in found[0].bad:
        output.say(f"error: {bad.reason}")
    _write(found, all_figures, out, form=form, report=report, bad_as_wrong=bad_as_wrong)
    pairs = list(zip(found, all_figures, strict=True))
    if found[0].views_N and out is not None:
        if form == "i3d":
            output.say(f"`i3d score {printable(str(out))}` averages the views and tells the figures")
    elif json:
        told: Any = [{"name": e.name, "gflops_per_video": e.gflops, **metrics_as_dict(e, f)} for e, f in pairs]
        typer.echo(dumps(told[0] if len(told) == 1 else told, indent=2))
    elif len(pairs) > 1:
        output.tell_protocols(pairs)
    else:
        output.tell_evaluation(*pairs[0])


def check_report(report: Path | None, *, force: bool) -> None:
    """Find out before the work, not after it, that the report could not be written."""
    from i3d.evaluation.report import is_report

    if report is None:
        return
    where = f"--report {printable(str(report))}"
    if report.suffix.lower() != ".html" or not report.parent.is_dir() or report.is_dir():
        raise InputError(f"{where}: must be a .html in a folder that is there")
    if report.exists() and not force and not is_report(report):
        raise InputError(f"{where}: is there already and no report of ours; choose another name, or say --force")


def _write(
    found: Sequence[Evaluation],
    figures: Sequence[Metrics],
    out: Path | None,
    *,
    form: str = "i3d",
    report: Path | None,
    bad_as_wrong: bool,
) -> None:
    from i3d.evaluation.exports import write_results
    from i3d.evaluation.report import write_report

    if out is not None:
        write_results(out, list(zip(found, figures, strict=True)), form=form)
        what = "logits of every view" if found[0].views_N else "scores and figures" if form == "i3d" else "scores"
        output.say(f"{what}: {printable(str(out))}")
        if form == "mmaction2" and found[0].bad:
            output.say(f"warning: {len(found[0].bad)} clips could not be read; null stands in their places")
    if report is not None:
        first, *others = found
        write_report(report, first, others=others, bad_as_wrong=bad_as_wrong)
        output.say(f"report: {printable(str(report))}")


def _check_new(out: Path | None, force: bool) -> None:
    from i3d.evaluation.exports import check_out

    check_out(out)
    if out is not None and out.exists() and not force:
        raise InputError(
            f"--out {printable(str(out))}: the file exists; choose another name, or replace it with --force"
        )


def _swept(
    streams: list[Evaluation],
    sweep_on: Sequence[Path] | None,
    *,
    held_out: float,
    seed: int,
    of: Average | None,
    protocol: str | None,
) -> tuple[list[Evaluation], Swept]:
    """The streams that the figures are of, and the weights, chosen on other clips."""
    from i3d.evaluation.fuse import check_sweep, halves, sweep
    from i3d.evaluation.result_file import read_evaluation

    if not sweep_on:
        chosen_on, rest = halves(streams, share=held_out, seed=seed)
        return rest, sweep(chosen_on, of=of)
    if len(sweep_on) != len(streams):
        raise InputError(f"--sweep-on: {len(sweep_on)} results for {len(streams)} streams; give one for each")
    chosen_on = [read_evaluation(path, protocol=protocol) for path in sweep_on]
    check_sweep(chosen_on, streams)
    return streams, sweep(chosen_on, of=of)


def _readable(streams: Sequence[Evaluation]) -> list[Evaluation]:
    """The streams on the clips that all of them could read."""
    from i3d.evaluation.fuse import aligned

    return aligned(streams)


def _fused_json(tested: Sequence[tuple[Evaluation, Metrics]], weights: Sequence[float], swept: Swept | None) -> str:
    from json import dumps

    from i3d.evaluation.result_file import metrics_as_dict

    told: dict[str, Any] = {"weights": list(weights)}
    if swept is not None:
        told["swept_on_clips"] = swept.num_clips
        told["tried"] = [{"weights": list(row), "accuracy": accuracy} for row, accuracy in swept.tried]
    *streams, fused = (metrics_as_dict(e, f) for e, f in tested)
    return dumps({**told, "streams": streams, "fused": fused}, indent=2)


def _check_bad_as_wrong(bad_as_wrong: bool, found: Evaluation) -> None:
    if bad_as_wrong and found.multi_label:
        raise InputError("--bad-as-wrong: is for classes that exclude each other; leave it out")


def _average(value: str | None, option: str) -> Average | None:
    if value not in (None, "prob", "score"):
        raise InputError(f"{option} {value!r}: is neither prob nor score")
    return cast("Average | None", value)


def _numbers(text: str, option: str, kind: type[Any]) -> list[Any]:
    try:
        return [kind(number) for number in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r}: write numbers with commas, such as 1,5") from error
