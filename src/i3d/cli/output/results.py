"""What a command found, on stdout."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from rich.table import Table

from i3d.cli.messages import log
from i3d.cli.output.evaluations import print_evaluation
from i3d.cli.output.tables import format_shape, gflops, show
from i3d.cli.output.tables import table as new_table
from i3d.errors import printable

if TYPE_CHECKING:
    from pathlib import Path

    from i3d.data.check.report import DatasetReport
    from i3d.data.frame_extraction.extract import ExtractionResult
    from i3d.data.preview import Preview
    from i3d.diagnostics.benchmark_data import DataSpeed
    from i3d.diagnostics.benchmark_model import ModelSpeed
    from i3d.diagnostics.model_description import ModelDescription
    from i3d.finetuning.finetune import FinetuneResult
    from i3d.inference.prediction import Prediction
    from i3d.training.runs import RunSummary
    from i3d.training.train import TrainResult
    from i3d.weights.convert import Conversion


def print_prediction(row: Prediction, *, json: bool, paths: list[str]) -> None:
    """What is known of one video: its classes on stdout, what is wrong with it on stderr."""
    if row.error:
        if row.status == "error":
            log.error(row.error)
        else:
            log.info("%s: %s", printable(row.path), row.error)
    if json or row.status == "error":
        return
    if len(paths) == 1:
        print(printable(row.path))
        width = max(len(p.label) for p in row.predictions)
        for rank, p in enumerate(row.predictions, start=1):
            print(f"{rank:3}  {p.label:<{width}}  {100 * p.score:6.2f} %")
    else:
        width = min(60, max(map(len, paths)))
        labels = ", ".join(f"{p.label} {100 * p.score:.1f} %" for p in row.predictions)
        print(f"{printable(row.path):<{width}}  {labels}")


def print_summary(rows: list[Prediction], bad: int, out: Path | None, protocol: str, *, json: bool) -> None:
    if not json and bad < len(rows):
        print(f"protocol: {rows[0].protocol if len(rows) == 1 else protocol}")
    if len(rows) > 1 or out is not None:
        where = f", in {printable(str(out))}" if out else ""
        log.info("%d of %d videos recognised%s", len(rows) - bad, len(rows), where)


def print_conversion(result: Conversion) -> None:
    """What was recognised, which state-dict keys matched, and the output."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    report = result.report
    lists = [("missing", report.missing), ("unexpected", report.unexpected), ("other shape", report.mismatched)]
    for name, value in [
        ("source", f"{printable(result.source)} ({result.format})"),
        ("network", result.network),
        ("recipe", f"{result.recipe} ({result.recipe_from})"),
        ("labels", result.labels_from),
        (
            "keys",
            f"{len(report.loaded)} loaded, {len(report.missing)} missing, "
            f"{len(report.unexpected)} unexpected, {len(report.mismatched)} of another shape"
            + (f", {len(report.ignored)} left aside as no weights" if report.ignored else ""),
        ),
        *((name, _some(names)) for name, names in lists if names),
        ("wrote", f"{printable(result.target)}, {result.num_bytes / 1e6:.1f} MB"),
    ]:
        table.add_row(name, value)
    show(table)


def print_description(description: ModelDescription) -> None:
    """A network layer by layer."""
    if description.card is not None:
        card = description.card
        for name, value in [("recipe", card.recipe.name), ("licence", card.licence), *card.origin.items()]:
            print(f"{name}: {value}")
        print(f"classes: {_some(card.labels)}")
    print(f"protocol: {description.recipe.protocol_line}")
    table = new_table("layer", "kind: kernel / stride", "output (C x T x H x W)", "parameters", "GFLOPs")
    for layer in description.layers:
        shape = format_shape(layer.output_NCTHW[1:])
        table.add_row(layer.name, layer.kind, shape, f"{layer.parameters:,}", f"{layer.gflops:.3f}")
    cost = description.cost
    table.add_section()
    table.add_row(
        "in all", "", f"input {format_shape(cost.view_NCTHW[1:])}", f"{cost.parameters:,}", f"{cost.gflops:.3f}"
    )
    show(table)


def print_split(classes: Sequence[str], splits: Sequence[str], counts_SK: list[list[int]]) -> None:
    """Clips of each class and split; of many classes, only the sums."""
    table = new_table("class", *(f"clips {name}" for name in splits))
    if len(classes) <= 50:
        for k, name in enumerate(classes):
            table.add_row(printable(name), *(str(row[k]) for row in counts_SK))
        table.add_section()
    table.add_row(f"all {len(classes)}", *(str(sum(row)) for row in counts_SK))
    show(table)


def print_check(report: DatasetReport) -> None:
    """The clips that something is wrong with, and how many there are of each kind."""
    bad = [row for row in report.rows if row.status != "ok"]
    if bad:
        table = new_table("status", "clip", "why")
        for row in bad:
            why = row.reason + (f": {row.fixed_to}" if row.fixed_to else "")
            table.add_row(row.status, printable(row.path), printable(why))
        show(table)
    kinds = ", ".join(f"{count} {status}" for status, count in report.counts.items() if status != "ok")
    print(f"{len(report.rows) - len(bad)} of {len(report.rows)} clips are sound" + (f"; {kinds}" if kinds else ""))


def print_preview(preview: Preview) -> None:
    """Clips of each class (of many, the largest and the smallest), lengths, sizes."""
    counts = sorted(preview.class_counts.items(), key=lambda item: -item[1])
    table = new_table("class", "clips")
    shown = counts if len(counts) <= 40 else [*counts[:15], ("...", -1), *counts[-15:]]
    for name, count in shown:
        table.add_row(printable(name), str(count) if count >= 0 else "")
    table.add_section()
    table.add_row(f"all {len(counts)}", str(preview.num_clips))
    show(table)
    for what, values, unit in (("lengths", preview.durations, " s"), ("", preview.lengths, " frames")):
        if values is not None:
            print(f"{what:<9}{values.min:.4g} to {values.max:.4g}, half below {values.median:.4g}{unit}")
    sizes = sorted(preview.sizes.items(), key=lambda item: -item[1])
    print("sizes    " + ", ".join(f"{width}x{height} ({count})" for (width, height), count in sizes[:6]))
    print(f"(lengths and sizes of {preview.num_inspected} clips)")


def print_finetuning(result: FinetuneResult) -> None:
    """The figures of the test, what to think of them, and how to use the model."""
    folder = printable(str(result.work_dir))
    if result.stop_signal:
        log.info("stopped by a signal; the same command resumes in %s", folder)
        return
    if result.evaluation is not None and result.metrics is not None:
        print(f"tested on {result.tested_on}")
        print_evaluation(result.evaluation, result.metrics)
    else:
        log.info("no clips were held out to test on (--val-fraction, or a column `split`)")
    if result.fold_accuracies:
        mean, spread = fmean(result.fold_accuracies), stdev(result.fold_accuracies)
        folds = ", ".join(f"{value:.4f}" for value in result.fold_accuracies)
        print(f"folds: {folds}; mean {mean:.4f}, standard deviation {spread:.4f}")
        print("each clip was tested by a model trained without it; the saved model was trained on all clips")
    print("")
    for sentence in result.diagnosis:
        print(printable(sentence))
    print(f"\nreport: {folder}/report.html" if result.evaluation is not None else "")
    print(f"next: i3d predict clip.mp4 --model {printable(shlex.quote(str(result.model)))}")


def print_training(result: TrainResult) -> None:
    """What came of a run, and what to do with it."""
    where = printable(str(result.work_dir))
    if result.speed:
        s = result.speed
        print(
            f"{s['step_seconds']:.3f} s per step, {s['clips_per_second']:.2f} clips/s in all, "
            f"{s['clips_per_second'] / s['world_size']:.2f} on each of {s['world_size']:.0f} devices, "
            f"{100 * s['data_wait']:.0f} % of the time waiting for data, {s['memory_gib']:.2f} GiB at the peak; "
            "nothing is saved"
        )
    elif result.stop_signal:
        print(f"stopped after step {result.steps} of {result.total_steps}, saved; the same command resumes from there")
    else:
        best = "" if result.best is None else f", best validation {result.best:.4f} at step {result.best_step}"
        name = "last" if result.best is None else "best"
        print(f"{result.steps} steps done{best}; weights, log and curves are in {where}")
        print(f"i3d predict clip.mp4 --model {where}/{name}.safetensors")


def print_runs(summaries: Sequence[RunSummary]) -> None:
    """Runs side by side, and the settings in which they differ."""
    differ = list(summaries[0].settings)
    table = new_table("run", "recipe", "state", "steps", "best", "at step", "loss", "seed", "started", *differ)
    for run in summaries:
        best = "" if run.best is None else f"{run.best:.4f}"
        loss = "" if run.loss is None else f"{run.loss:.4f}"
        row = [run.folder, run.recipe, run.state, str(run.steps), best, str(run.best_step or ""), loss, str(run.seed)]
        table.add_row(*map(printable, row), run.started[:16], *(printable(str(run.settings[key])) for key in differ))
    show(table)


def print_extraction(result: ExtractionResult, *, num_missing: int = 0) -> None:
    """Warnings about the videos, and where their frames or flow are, on stderr."""
    for path, note in result.notes:
        log.warning("%s: %s", printable(path), note)
    for bad in result.bad:
        log.error(bad.reason)
    reused = f", {result.num_reused} reused" if result.num_reused else ""
    clips = f"{result.num_written + result.num_reused} of {result.num_clips + num_missing} clips"
    log.info("%s, %d frames%s; the list is %s", clips, result.num_frames, reused, printable(str(result.list_file)))


def print_model_speed(speed: ModelSpeed) -> None:
    """What a network costs, and a line for each way to run it."""
    view = format_shape(speed.view_NCTHW[1:])
    print(f"{printable(speed.name)}: {speed.parameters / 1e6:.2f} million parameters")
    print(f"a view of {view}: {gflops(speed.gflops_per_view)} GFLOPs (a multiply-add counts as two)")
    print(f"views of a video: {speed.views_per_video}, {gflops(speed.gflops_per_video)} GFLOPs")
    if speed.decode_ms is not None:
        print(f"its views are decoded and resized in {speed.decode_ms:.0f} ms, in one process")
    columns = ("clips/s", "GFLOP/s", "videos/s", "videos/s, decoded", "peak MiB", "times the first")
    table = new_table("configuration", "ms p50", "ms p95", *columns)
    for s in speed.speeds:
        decoded = "-" if s.videos_per_second_decoded is None else f"{s.videos_per_second_decoded:.3f}"
        table.add_row(
            s.configuration.name,
            f"{s.quantile_ms(0.5):,.1f}",
            f"{s.quantile_ms(0.95):,.1f}",
            f"{s.clips_per_second:.2f}",
            f"{s.gflops_per_second:,.0f}",
            f"{s.videos_per_second:.3f}",
            decoded,
            "-" if s.peak_mib is None else f"{s.peak_mib:,.0f}",
            f"{s.times_the_first:.2f}",
        )
    show(table)
    rounds = len(speed.speeds[0].seconds)
    print(f"rounds: {rounds}, on {speed.device}, {speed.cores} cores, PyTorch {speed.torch}")
    print(f"protocol of a video: {speed.protocol}")


def print_data_speed(speed: DataSpeed) -> None:
    """Where a clip's time goes, clips a second, and the bottleneck."""
    stages = new_table("stage", "ms of a clip", "share")
    for name, ms in speed.stage_ms.items():
        stages.add_row(name, f"{ms:.2f}", f"{100 * ms / speed.clip_ms:.0f} %")
    stages.add_section()
    stages.add_row("all", f"{speed.clip_ms:.2f}", "")
    show(stages)
    speeds = new_table("workers", "clips/s", "clips/s of each")
    for workers, rate in speed.clips_per_second.items():
        speeds.add_row(
            str(workers) if workers else "0 (in this process)", f"{rate:.1f}", f"{rate / max(workers, 1):.1f}"
        )
    show(speeds)
    print(f"{speed.num_clips} clips of the {speed.view} view, {speed.num_cores} cores")
    print(f"bottleneck: {speed.bottleneck}")


def _some(names: Sequence[str], *, most: int = 8) -> str:
    return f"{len(names)}: {', '.join(names[:most])}{' ...' * (len(names) > most)}"
