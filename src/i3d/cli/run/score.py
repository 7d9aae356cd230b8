"""`i3d score` and `i3d fuse`, and how every test ends: files, metrics, report."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.score import ResultOptions
from i3d.errors import InputError, printable
from i3d.evaluation.exports import check_out, write_results
from i3d.evaluation.fuse import WeightSweep, align_evaluations, check_sweep, fuse_scores, hold_out, sweep_weights
from i3d.evaluation.report import is_report, write_report
from i3d.evaluation.result import Evaluation, Metrics, check_metrics, compute_metrics, named_metrics
from i3d.evaluation.result_file import metrics_as_dict, read_evaluation, read_evaluations
from i3d.evaluation.scoring import Average


def run_score(
    result: Path,
    names: Sequence[str],
    top_k: Sequence[int],
    average: Average | None,
    options: ResultOptions,
    *,
    force: bool,
    json: bool,
) -> int:
    """Print the metrics of saved scores; the exit code."""
    check_metrics(names, top_k)
    check_out(options.out)
    check_report(options.report, force=force)
    if options.protocol is not None or names:
        evaluations: Sequence[Evaluation] = [read_evaluation(result, protocol=options.protocol, average=average)]
    else:
        evaluations = read_evaluations(result, average=average)
    _check_bad_as_wrong(evaluations[0], options)
    evaluations = [replace(e, views_N=()) for e in evaluations]  # they are averaged now
    if not names:
        finish(evaluations, options.out, report=options.report, bad_as_wrong=options.bad_as_wrong, json=json)
        return 0
    evaluation = evaluations[0]
    metrics = compute_metrics(evaluation, bad_as_wrong=options.bad_as_wrong)
    values = named_metrics(evaluation, metrics, names, top_k=top_k)
    _write(evaluations, [metrics], options.out, report=options.report, bad_as_wrong=options.bad_as_wrong)
    if json:
        every = metrics_as_dict(evaluation, metrics)
        tables = {"per_class": "by_class", "confusion": "confusion"}
        selected = {name: every[name] for name in ("protocol", "num_clips", "num_bad", "bad_as_wrong")}
        selected |= {key: every[key] for name, key in tables.items() if name in names}
        print(json_format.dumps({**selected, **values}, indent=2))
    else:
        output.print_metrics(evaluation, metrics, names, values)
    return 0


@dataclass(frozen=True)
class Sweep:
    """On which clips the weights of streams are chosen: of other results, or a fraction of the files."""

    results: Sequence[Path]
    fraction: float
    seed: int


def run_fuse(
    results: Sequence[Path],
    weights: Sequence[float] | None,
    sweep: Sweep | None,
    average: Average | None,
    options: ResultOptions,
    *,
    force: bool,
    json: bool,
) -> int:
    """Fuse saved scores and print the metrics of the streams and of all together; the exit code."""
    check_out(options.out)
    check_report(options.report, force=force)
    streams = [read_evaluation(path, protocol=options.protocol) for path in results]
    _check_bad_as_wrong(streams[0], options)
    swept = None
    if sweep is not None:
        streams, swept = _swept(streams, sweep, average=average, protocol=options.protocol)
        weights = swept.weights
    weights = weights or [1.0] * len(streams)
    fused = fuse_scores(streams, weights=weights, average=average)
    bad_as_wrong = options.bad_as_wrong
    tested = [(e, compute_metrics(e, bad_as_wrong=bad_as_wrong)) for e in (*align_evaluations(streams), fused)]
    _write([fused], [tested[-1][1]], options.out, report=options.report, bad_as_wrong=bad_as_wrong)
    if json:
        print(_fusion_json(tested, weights, swept))
    else:
        output.print_fusion(tested, [*map(str, results), "fused"], swept)
    return 0


def finish(
    evaluations: Sequence[Evaluation],
    out: Path | None,
    *,
    out_format: str = "i3d",
    report: Path | None,
    bad_as_wrong: bool,
    json: bool,
) -> None:
    """Write the files, log the clips that could not be read, print the metrics."""
    all_metrics = [compute_metrics(evaluation, bad_as_wrong=bad_as_wrong) for evaluation in evaluations]
    for bad in evaluations[0].bad:
        log.error(bad.reason)
    _write(evaluations, all_metrics, out, out_format=out_format, report=report, bad_as_wrong=bad_as_wrong)
    pairs = list(zip(evaluations, all_metrics, strict=True))
    if evaluations[0].views_N and out is not None:
        if out_format == "i3d":
            log.info("`i3d score %s` averages the views and prints the metrics", printable(str(out)))
    elif json:
        rows: Any = [{"name": e.name, "gflops_per_video": e.gflops, **metrics_as_dict(e, m)} for e, m in pairs]
        print(json_format.dumps(rows[0] if len(rows) == 1 else rows, indent=2))
    elif len(pairs) > 1:
        output.print_protocols(pairs)
    else:
        output.print_evaluation(*pairs[0])


def check_report(report: Path | None, *, force: bool) -> None:
    """An InputError if a file would be replaced that is no report of i3d."""
    if report is not None and report.exists() and not force and not is_report(report):
        raise InputError(
            f"--report {printable(str(report))}: exists already and is no report of i3d; choose another name, or use "
            "--force"
        )


def _write(
    evaluations: Sequence[Evaluation],
    metrics: Sequence[Metrics],
    out: Path | None,
    *,
    out_format: str = "i3d",
    report: Path | None,
    bad_as_wrong: bool,
) -> None:
    first, *others = evaluations
    if out is not None:
        write_results(out, list(zip(evaluations, metrics, strict=True)), out_format=out_format)
        what = "logits of every view" if first.views_N else "scores and metrics" if out_format == "i3d" else "scores"
        log.info("%s: %s", what, printable(str(out)))
        if out_format == "mmaction2" and first.bad:
            log.warning("%d clips could not be read; null stands in their places", len(first.bad))
    if report is not None:
        write_report(report, first, others=others, bad_as_wrong=bad_as_wrong)
        log.info("report: %s", printable(str(report)))


def _swept(
    streams: list[Evaluation], sweep: Sweep, *, average: Average | None, protocol: str | None
) -> tuple[list[Evaluation], WeightSweep]:
    """The streams on the clips that are tested, and the weights, chosen on other clips."""
    if not sweep.results:
        chosen_on, rest = hold_out(streams, fraction=sweep.fraction, seed=sweep.seed)
        return rest, sweep_weights(chosen_on, average=average)
    if len(sweep.results) != len(streams):
        raise InputError(f"--sweep-on: {len(sweep.results)} results for {len(streams)} streams; give one for each")
    chosen_on = [read_evaluation(path, protocol=protocol) for path in sweep.results]
    check_sweep(chosen_on, streams)
    return streams, sweep_weights(chosen_on, average=average)


def _fusion_json(
    tested: Sequence[tuple[Evaluation, Metrics]], weights: Sequence[float], swept: WeightSweep | None
) -> str:
    summary: dict[str, Any] = {"weights": list(weights)}
    if swept is not None:
        summary["swept_on_clips"] = swept.num_clips
        summary["tried"] = [{"weights": list(row), "accuracy": accuracy} for row, accuracy in swept.tried]
    *streams, fused = (metrics_as_dict(e, m) for e, m in tested)
    return json_format.dumps({**summary, "streams": streams, "fused": fused}, indent=2)


def _check_bad_as_wrong(evaluation: Evaluation, options: ResultOptions) -> None:
    if options.bad_as_wrong and evaluation.multi_label:
        raise InputError("--bad-as-wrong: is for single-label classes; leave it out")
