"""`i3d score` and `i3d fuse`, and how every test ends: files, metrics, report."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.run.segments import check_no_segments
from i3d.cli.score import FuseOptions, ResultOptions, ScoreOptions
from i3d.cli.test import TestOptions
from i3d.errors import InputError, counted, printable
from i3d.evaluation.exports import write_results
from i3d.evaluation.fuse import (
    WeightSweep,
    align_evaluations,
    check_distinct,
    check_sweep,
    fuse_scores,
    hold_out,
    sweep_weights,
)
from i3d.evaluation.report import write_report
from i3d.evaluation.result import Evaluation, Metrics, check_metrics, compute_metrics, named_metrics
from i3d.evaluation.result_file import metrics_as_dict, read_evaluation, read_evaluations


def run_score(result: Path, names: Sequence[str], top_k: Sequence[int], score_options: ScoreOptions) -> int:
    """Print the metrics of saved scores; the exit code."""
    options, average = score_options.result, score_options.average_clips
    check_metrics(names, top_k)
    try:
        if options.protocol is not None or names:
            evaluations: Sequence[Evaluation] = [read_evaluation(result, protocol=options.protocol, average=average)]
        else:
            evaluations = read_evaluations(result, average=average)
    except InputError:
        check_no_segments(result)
        raise
    check_bad_as_wrong(options, multi_label=evaluations[0].multi_label)
    evaluations = [replace(e, views_N=()) for e in evaluations]  # they are averaged now
    if not names:
        finish(evaluations, options, level=logging.WARNING)  # the test has counted them as errors
        return 0
    ((evaluation, metrics),) = pairs = with_metrics(evaluations, options)
    values = named_metrics(evaluation, metrics, names, top_k=top_k)
    _write(pairs, options)
    if options.json:
        every = metrics_as_dict(evaluation, metrics)
        tables = {"per_class": "by_class", "confusion": "confusion"}
        selected = {name: every[name] for name in ("protocol", "num_clips", "num_bad", "bad_as_wrong")}
        selected |= {key: every[key] for name, key in tables.items() if name in names}
        output.print_json({**selected, **values})
    else:
        output.print_metrics(evaluation, metrics, names, values)
    return 0


def run_fuse(results: Sequence[Path], weights: Sequence[float] | None, fuse_options: FuseOptions) -> int:
    """Fuse saved scores and print the metrics of the streams and of all together; the exit code."""
    options, fusion = fuse_options.result, fuse_options.fusion
    streams = [read_evaluation(path, protocol=options.protocol) for path in results]
    check_distinct(streams, [str(path) for path in results])
    check_bad_as_wrong(options, multi_label=streams[0].multi_label)
    swept = None
    if fusion.stream_weights == "sweep":
        streams, swept = _swept(streams, fuse_options)
        weights = swept.weights
    weights = weights or [1.0] * len(streams)
    fused = fuse_scores(streams, weights=weights, average=fusion.fuse_average)
    tested = with_metrics((*align_evaluations(streams), fused), options)
    _write(tested[-1:], options)
    if options.json:
        tried = [] if swept is None else [{"weights": list(row), "accuracy": value} for row, value in swept.tried]
        sweep = {} if swept is None else {"swept_on_clips": swept.num_clips, "tried": tried}
        *of_streams, of_fused = (metrics_as_dict(e, m) for e, m in tested)
        output.print_json({"weights": list(weights), **sweep, "streams": of_streams, "fused": of_fused})
    else:
        output.print_fusion(tested, [*map(str, results), "fused"], swept)
    return 0


def finish(
    evaluations: Sequence[Evaluation], options: ResultOptions | TestOptions, *, level: int = logging.ERROR
) -> None:
    """Write the files, log the clips that could not be read, print the metrics."""
    out, pairs = options.out, with_metrics(evaluations, options)
    output.log_unreadable((bad.reason for bad in evaluations[0].bad), level=level)
    output.log_notes(evaluations[0].clip_notes)
    _write(pairs, options)
    if evaluations[0].views_N and out is not None:
        if options.out_format == "i3d":
            log.info("`i3d score %s` averages the views and prints the metrics", printable(str(out)))
    elif options.json:
        rows = [{"name": e.name, "gflops_per_video": e.gflops, **metrics_as_dict(e, m)} for e, m in pairs]
        output.print_json(rows[0] if len(rows) == 1 else rows)
    elif len(pairs) > 1:
        output.print_protocols(pairs)
    else:
        output.print_evaluation(*pairs[0])


def with_metrics(
    evaluations: Sequence[Evaluation], options: ResultOptions | TestOptions
) -> list[tuple[Evaluation, Metrics]]:
    """The evaluations with their metrics. A file whose test had --bad-as-wrong is scored as it was."""
    wanted = [replace(e, bad_as_wrong=e.bad_as_wrong or options.bad_as_wrong) for e in evaluations]
    return [(e, compute_metrics(e)) for e in wanted]


def _write(pairs: Sequence[tuple[Evaluation, Metrics]], options: ResultOptions | TestOptions) -> None:
    out, report, out_format = options.out, options.report, options.out_format
    first, *others = (evaluation for evaluation, _ in pairs)
    if out is not None:
        write_results(out, pairs, out_format=out_format)
        what = "logits of every view" if first.views_N else "scores and metrics" if out_format == "i3d" else "scores"
        log.info("%s: %s", what, printable(str(out)))
        if out_format == "mmaction2" and first.bad:
            clips = counted(len(first.bad), "clip")
            log.warning("%s could not be read; null stands in place of the scores", clips)
    if report is not None:
        write_report(report, first, others=others, force=True)
        log.info("report: %s", printable(str(report)))


def _swept(streams: list[Evaluation], options: FuseOptions) -> tuple[list[Evaluation], WeightSweep]:
    """The streams on the clips that are tested, and the weights, chosen on other clips."""
    results, average = options.sweep_on, options.fusion.fuse_average
    if not results:
        chosen_on, rest = hold_out(streams, fraction=options.sweep_fraction, seed=options.seed)
        return rest, sweep_weights(chosen_on, average=average)
    if len(results) != len(streams):
        raise InputError(f"--sweep-on: {len(results)} results for {len(streams)} streams; give one for each")
    chosen_on = [read_evaluation(path, protocol=options.result.protocol) for path in results]
    check_sweep(chosen_on, streams)
    return streams, sweep_weights(chosen_on, average=average)


def check_bad_as_wrong(options: ResultOptions | TestOptions, *, multi_label: bool) -> None:
    """An InputError for --bad-as-wrong where a clip may have several classes."""
    if options.bad_as_wrong and multi_label:
        raise InputError("--bad-as-wrong: is for single-label classes; leave it out")
