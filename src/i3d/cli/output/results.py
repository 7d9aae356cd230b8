"""What a command found, on stdout. This module does not import PyTorch."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from i3d.cli.messages import log, this_command
from i3d.cli.output.progress import shorten
from i3d.cli.output.tables import format_shape, gflops, print_table, show
from i3d.errors import counted, doubt_units, printable

if TYPE_CHECKING:
    from pathlib import Path

    from i3d.data.check.report import DatasetReport
    from i3d.data.frame_extraction.extract import ExtractionResult
    from i3d.data.preview import Preview
    from i3d.diagnostics.benchmark_data import DataSpeed
    from i3d.diagnostics.benchmark_model import ModelSpeed
    from i3d.diagnostics.doctor import Check
    from i3d.diagnostics.model_description import ModelDescription
    from i3d.diagnostics.model_zoo import CheckpointRow, ModelZoo, RecipeRow, WeightsRow
    from i3d.features.compare import FeatureComparison, LikelyCause
    from i3d.inference.prediction import Prediction
    from i3d.training.runs import RunSummary
    from i3d.training.train import TrainResult
    from i3d.weights.convert import Conversion

MOST_OF_IT: Final = 0.9  # of a video's length
MAX_SETTINGS: Final = 6  # columns of settings in which runs differ


class PredictionLines:
    """A line for each of many videos: its name, score and class, and the runner-up if the terminal has room for it."""

    def __init__(self, paths: Sequence[str], labels: Sequence[str], *, can_be_unsure: bool = False) -> None:
        console = Console()
        width = console.width if console.is_terminal else 10_000
        self._mark = len("unsure") if can_be_unsure else 0
        width -= self._mark + 2 if can_be_unsure else 0
        longest_name = max((cell_len(printable(path)) for path in paths), default=0)
        longest = max((cell_len(label) for label in labels), default=0)
        self._label = min(longest, max(width // 3, 12))
        one = 11 + self._label  # a score and a class, with the spaces before them
        least_name = min(longest_name, 24)
        self._has_second = least_name + 2 * one <= width
        self._name = max(min(longest_name, width - one * (1 + self._has_second)), min(longest_name, 8))

    def line(self, row: Prediction) -> str:
        """clips/a.mp4   97.3 %  waving hand    1.2 %  clapping."""
        cells = [set_cell_size(shorten(printable(row.path), self._name), self._name)]
        cells += [f"{'unsure' if row.unsure else '':{self._mark}}"] * bool(self._mark)
        for p in row.predictions[: 1 + self._has_second]:
            cells += [f"{100 * p.score:5.1f} %", set_cell_size(shorten(p.label, self._label), self._label)]
        return "  ".join(cells).rstrip()


def print_prediction(row: Prediction, *, json: bool, lines: PredictionLines | None) -> None:
    """What is known of one video: its classes on stdout, what is wrong with it on stderr; `lines`: of many videos."""
    if row.error:
        if row.status == "error":
            log.error(row.error)
        else:
            log.info("%s: %s", printable(row.path), row.error)
    if json or row.status == "error":
        return
    if lines is None:
        print(printable(row.path))
        width = max(len(p.label) for p in row.predictions)
        for rank, p in enumerate(row.predictions, start=1):
            print(f"{rank:3}  {p.label:<{width}}  {100 * p.score:6.2f} %")
        if row.unsure:
            print(f"unsure: {row.unsure}")
    else:
        print(lines.line(row))


def print_summary(rows: list[Prediction], bad: int, out: Path | None, protocol: str, *, json: bool) -> None:
    if not json and bad < len(rows):
        print(f"protocol: {rows[0].protocol if len(rows) == 1 else protocol}")
    partly = sorted((row.coverage, row.path) for row in rows if row.predictions and row.coverage < MOST_OF_IT)
    if partly:
        which = f"{len(partly)} of {len(rows)} videos were" if len(rows) > 1 else "the video was"
        least, path = partly[0]
        name = f", {printable(path)} the least" if len(rows) > 1 else ""
        todo = "--protocol windows scores all frames, --num-clips 10 ten clips"
        log.info("%s scored in part (%.2g %% of its length%s); %s", which, 100 * least, name, todo)
    _log_unsure(rows)
    looped = [printable(row.path) for row in rows if row.looped]
    if looped:
        which = f"{len(looped)} of {len(rows)} videos, such as {looped[0]}," if len(rows) > 1 else "the video"
        verb = "is" if len(looped) == 1 else "are"
        log.info("%s %s shorter than what the network takes: frames are repeated", which, verb)
    if len(rows) > 1 or out is not None:
        where = f", in {printable(str(out))}" if out else ""
        log.info("%d of %s recognised%s", len(rows) - bad, counted(len(rows), "video"), where)


def _log_unsure(rows: Sequence[Prediction]) -> None:
    """How many of several videos are unsure, and why."""
    num_unsure = sum(bool(row.unsure) for row in rows)
    if num_unsure and len(rows) > 1:
        reasons = Counter(re.split("[,:]", part)[0] for row in rows for part in row.unsure.split("; ") if part)
        parts = (f"{number} {what}" for what, number in reasons.most_common())
        log.info("%d of %d videos unsure: %s", num_unsure, len(rows), ", ".join(parts))


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
    if description.card is not None:
        card = description.card
        for name, value in [("recipe", card.recipe.name), ("licence", card.licence), *card.origin.items()]:
            print(f"{name}: {value}")
        print(f"classes: {_some(card.labels)}")
    print(f"protocol: {description.recipe.protocol_line}")
    rows = [
        (layer.name, layer.kind, format_shape(layer.output_NCTHW[1:]), f"{layer.parameters:,}", f"{layer.gflops:.3f}")
        for layer in description.layers
    ]
    cost = description.cost
    last = ("in all", "", f"input {format_shape(cost.view_NCTHW[1:])}", f"{cost.parameters:,}", f"{cost.gflops:.3f}")
    print_table(("layer", "kind: kernel / stride", "output (C x T x H x W)", "parameters", "GFLOPs"), rows, last=last)
    if description.checkpoints is not None:
        _print_checkpoints(description.name, description.checkpoints)


def _print_checkpoints(name: str, checkpoints: tuple[CheckpointRow, ...]) -> None:
    """Where the published weights of a recipe or a network are, and how they are used."""
    if not checkpoints:
        print(f"\nNo published weights of {name} are known; train it (i3d train --recipe), or give a file of yours.")
        return
    print("\nPUBLISHED CHECKPOINTS, which are not in the package; i3d fetches none\n")
    for row in checkpoints:
        digest = f"SHA-256 begins with {row.sha256_begins}" if row.sha256_begins else "no digest was published"
        print(f"{row.file}\n    {row.address}\n    for {row.recipe}{f', {row.note}' if row.note else ''}")
        print(f"    about {row.megabytes:.0f} MB, {digest}; licence: {row.licence}")
        print(f"    published: top-1 / top-5 {row.published}\n" if row.published else "")
    print("Download one, then: i3d predict clip.mp4 --model FILE, or --model ADDRESS --checkpoints FOLDER")


def print_catalogue(zoo: ModelZoo) -> None:
    print("WEIGHTS in the package\n")
    for w in zoo.weights:
        print(f"{w.name}\n    {w.classes} classes, {w.megabytes:.1f} MB, {w.licence}, {_format_cost(w)}")
        print(f"    published: {w.published}\n")
    print("RECIPES\n")
    for r in zoo.recipes:
        print("\n  = ".join((r.name, *r.aliases)))
        print(f"    {r.network}, {r.classes} classes, {_format_cost(r)}\n    scores {r.protocol}")
        print(f"    published: top-1 / top-5 {r.published}\n" if r.published else "")
    print("NETWORKS")
    networks = [
        (n.name, f"{n.parameters / 1e6:.2f}", f"{n.gflops:.1f}", format_shape(n.view_NCTHW[1:])) for n in zoo.networks
    ]
    print_table(("network", "parameters (M)", "GFLOPs a view", "view (C x T x H x W)"), networks)
    print(
        "Accuracies are in percent on Kinetics-400 and quoted from their sources; none was measured here.\n"
        "A multiply-add counts as two operations.\n"
        "`i3d models show NAME` prints the layers of a network, a recipe or a weights file,\n"
        "and where others published weights of it."
    )


def print_split(classes: Sequence[str], splits: Sequence[str], counts_SK: list[list[int]]) -> None:
    """Clips of each class and split; of many classes, only the sums."""
    rows = [(printable(name), *(row[k] for row in counts_SK)) for k, name in enumerate(classes)]
    last = (f"all {len(classes)}", *map(sum, counts_SK))
    print_table(("class", *(f"clips {name}" for name in splits)), rows if len(classes) <= 50 else [], last=last)


def print_check(report: DatasetReport) -> None:
    """The clips that something is wrong with, and how many there are of each kind."""
    bad = [row for row in report.rows if row.status != "ok"]
    if bad:
        reasons = [row.reason + (f": {row.fixed_to}" if row.fixed_to else "") for row in bad]
        rows = [(row.status, printable(row.path), printable(why)) for row, why in zip(bad, reasons, strict=True)]
        print_table(("status", "clip", "why"), rows)
    kinds = ", ".join(f"{count} {status}" for status, count in report.counts.items() if status != "ok")
    sound = f"{len(report.rows) - len(bad)} of {counted(len(report.rows), 'clip')}"
    print(f"{sound} {'is' if len(report.rows) == 1 else 'are'} sound" + (f"; {kinds}" if kinds else ""))


def print_checks(checks: Sequence[Check]) -> None:
    for check in checks:
        print(f"{ {True: 'ok', False: 'BAD', None: ''}[check.ok]:4}{check.name:<12}{check.result}")


def print_preview(preview: Preview) -> None:
    """Clips of each class (of many, the largest and the smallest), lengths, sizes."""
    counts = sorted(preview.class_counts.items(), key=lambda item: -item[1])
    rows: list[tuple[str, object]] = [(printable(name), count) for name, count in counts]
    shown = rows if len(rows) <= 40 else [*rows[:15], ("...", ""), *rows[-15:]]
    print_table(("class", "clips"), shown, last=(f"all {len(counts)}", preview.num_clips))
    for what, values, unit in (("lengths", preview.durations, " s"), ("", preview.lengths, " frames")):
        if values is not None:
            print(f"{what:<9}{values.min:.4g} to {values.max:.4g}, median {values.median:.4g}{unit}")
    sizes = sorted(preview.sizes.items(), key=lambda item: -item[1])
    print("sizes    " + ", ".join(f"{width}x{height} ({count})" for (width, height), count in sizes[:6]))
    print(f"(lengths and sizes of {counted(preview.num_inspected, 'clip')})")


def print_training(result: TrainResult) -> None:
    """What came of a run, and what to do with it."""
    where = printable(str(result.work_dir))
    if result.speed:
        s = result.speed
        print(
            f"{s['step_seconds']:.3f} s per step, {s['clips_per_second']:.2f} clips/s in all, "
            f"{s['clips_per_second'] / s['world_size']:.2f} on each of {counted(int(s['world_size']), 'device')}, "
            f"{100 * s['data_wait']:.0f} % of the time waiting for data, {s['memory_gib']:.2f} GiB at the peak; "
            "nothing is saved"
        )
    elif result.stop_signal:
        print(result.how_it_stopped + (f": {this_command()}" if result.saved_step is not None else ""))
    else:
        best = "" if result.best is None else f", best validation {result.best:.4f} at step {result.best_step}"
        name = "last" if result.best is None else "best"
        print(f"{result.steps} steps done{best}; weights, log and curves are in {where}")
        print(f"i3d predict clip.mp4 --model {where}/{name}.safetensors")


def log_notes(notes: Sequence[str]) -> None:
    """A warning about clips that were read up to a damage: how many, and the first. `notes`: one of each such clip."""
    if notes:
        clips = counted(len(notes), "clip is", "clips are")
        log.warning("%s damaged; the first: %s (`i3d data check` lists all)", clips, printable(notes[0]))


def print_runs(summaries: Sequence[RunSummary]) -> None:
    """Runs side by side, and the settings in which they differ."""
    differ = next((list(run.settings) for run in summaries if not run.note), [])
    shown, rows = differ if len(differ) <= MAX_SETTINGS else [], []
    for run in summaries:
        values = run.best, run.loss, run.tested, run.in_folds
        best, loss, tested, in_folds = ("" if value is None else f"{value:.4f}" for value in values)
        tested += f" ({run.tested_on})" if tested else ""
        row = [run.folder, run.kind, run.recipe, run.state, str(run.steps or ""), best, str(run.best_step or ""), loss]
        row += [tested, in_folds, "" if run.seed is None else str(run.seed), run.started[:16]]
        rows.append([*map(printable, row), *(printable(str(run.settings.get(key, ""))) for key in shown)])
    columns = (
        "run",
        "kind",
        "recipe",
        "state",
        "steps",
        "best",
        "at step",
        "loss",
        "test",
        "in folds",
        "seed",
        "started",
    )
    used = [n for n in range(len(rows[0])) if n < 4 or any(row[n] for row in rows)]
    print_table([[*columns, *shown][n] for n in used], [[row[n] for n in used] for row in rows], one_line=True)
    if differ != shown:
        log.info("they differ in %d settings, which --json lists", len(differ))


def log_unreadable(reasons: Iterable[str], *, level: int = logging.ERROR) -> None:
    """Why clips of a list could not be read, and a doubt about the others that follows from it."""
    reasons = list(reasons)
    for reason in reasons:
        log.log(level, reason)
    if doubt := doubt_units(reasons):
        log.warning(doubt)


def print_extraction(result: ExtractionResult, *, num_missing: int = 0) -> None:
    """Warnings about the videos, and where their frames or flow are, on stderr."""
    for path, note in result.notes:
        log.warning("%s: %s", printable(path), note)
    log_unreadable(bad.reason for bad in result.bad)
    reused = f", {result.num_reused} reused" if result.num_reused else ""
    clips = f"{result.num_written + result.num_reused} of {counted(result.num_clips + num_missing, 'clip')}"
    frames, name = counted(result.num_frames, "frame"), printable(str(result.list_file))
    log.info("%s, %s%s; the list is %s", clips, frames, reused, name)


def print_model_speed(speed: ModelSpeed) -> None:
    """What a network costs, and a line for each way to run it."""
    view = format_shape(speed.view_NCTHW[1:])
    print(f"{printable(speed.name)}: {speed.parameters / 1e6:.2f} million parameters")
    print(f"a view of {view}: {gflops(speed.gflops_per_view)} GFLOPs (a multiply-add counts as two)")
    print(f"views of a video: {speed.views_per_video}, {gflops(speed.gflops_per_video)} GFLOPs")
    if speed.decode_ms is not None:
        print(f"its views are decoded and resized in {speed.decode_ms:.0f} ms, in one process")
    columns = ("clips/s", "GFLOP/s", "videos/s", "videos/s, decoded", "peak MiB", "times the first")
    rows = [
        (
            s.configuration.name,
            f"{s.quantile_ms(0.5):,.1f}",
            f"{s.quantile_ms(0.95):,.1f}",
            f"{s.clips_per_second:.2f}",
            f"{s.gflops_per_second:,.0f}",
            f"{s.videos_per_second:.3f}",
            "-" if s.videos_per_second_decoded is None else f"{s.videos_per_second_decoded:.3f}",
            "-" if s.peak_mib is None else f"{s.peak_mib:,.0f}",
            f"{s.times_the_first:.2f}",
        )
        for s in speed.speeds
    ]
    print_table(("configuration", "ms p50", "ms p95", *columns), rows)
    rounds = len(speed.speeds[0].seconds)
    print(f"rounds: {rounds}, on {speed.device}, {speed.cores} cores, PyTorch {speed.torch}")
    print(f"protocol of a video: {speed.protocol}")


def print_data_speed(speed: DataSpeed) -> None:
    """Where a clip's time goes, clips a second, and the bottleneck."""
    stages = [(name, f"{ms:.2f}", f"{100 * ms / speed.clip_ms:.0f} %") for name, ms in speed.stage_ms.items()]
    print_table(("stage", "ms of a clip", "fraction"), stages, last=("all", f"{speed.clip_ms:.2f}", ""))
    speeds = [
        (workers or "0 (in this process)", f"{rate:.1f}", f"{rate / max(workers, 1):.1f}")
        for workers, rate in speed.clips_per_second.items()
    ]
    print_table(("workers", "clips/s", "clips/s of each"), speeds)
    print(f"{counted(speed.num_clips, 'clip')} of the {speed.view} view, {speed.num_cores} cores")
    print(f"bottleneck: {speed.bottleneck}")


def print_comparison(comparison: FeatureComparison, causes: Sequence[LikelyCause]) -> None:
    """How alike the rows are, where they are least, and what may be the cause."""
    one, other = comparison.num_rows
    print(f"rows: {one} and {other}" + ("" if one == other else f", compared are the first {min(one, other)}"))
    if comparison.is_same:
        print("they are the same to the bit")
        return
    for name, crops_first in zip(("first", "second"), comparison.crops_first, strict=True):
        if crops_first:
            print(f"the {name} has its crops before its rows: (crops, rows, numbers)")
    worst = int(comparison.cosines_R.argmin())
    print(f"cosine {comparison.mean:.6f} on average, {comparison.cosines_R[worst]:.6f} at the least (row {worst})")
    best = max(comparison.shifted, key=lambda shift: comparison.shifted[shift], default=0)
    if best and comparison.shifted[best] > comparison.mean + 1e-6:
        print(
            f"rows of the first from {max(best, 0)}, of the second from {max(-best, 0)} on: "
            f"{comparison.shifted[best]:.6f}"
        )
    if comparison.crop_order:
        order = " ".join(map(str, comparison.crop_order))
        print(f"crops are in another order: with crops {order} of the second {comparison.reordered:.6f}")
    for line in comparison.differ:
        print(printable(f"made otherwise: {line}"))
    if causes:
        rows = [
            (cause.what, f"1 - {1 - cause.cosine:.1e}" if 0 < 1 - cause.cosine < 1e-4 else f"{cause.cosine:.6f}")
            for cause in causes
        ]
        print_table(("changed in the first", "mean cosine to the second"), rows)
        if not causes[0].cosine >= 0.999:
            print("none of these explains the difference; other weights may")


def _format_cost(cost: RecipeRow | WeightsRow) -> str:
    view = format_shape(cost.view_NCTHW[1:])
    return f"{cost.parameters / 1e6:.2f} M parameters, {cost.gflops:.1f} GFLOPs a view of {view}"


def _some(names: Sequence[str], *, most: int = 8) -> str:
    return f"{len(names)}: {', '.join(names[:most])}{' ...' * (len(names) > most)}"
