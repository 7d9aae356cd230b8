"""What the commands show on a terminal: progress, results, tables. Results go to stdout, all else to stderr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from i3d.errors import printable

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from i3d.benchmark import DataSpeed
    from i3d.catalogue import Catalogue, Cost, Description
    from i3d.convert import Conversion
    from i3d.data.check import Report
    from i3d.data.preview import Preview
    from i3d.results.prediction import Prediction
    from i3d.runs import RunSummary
    from i3d.train import Trained


class Progress:
    """A bar on stderr, if that is a terminal."""

    def __init__(self, paths: list[str]) -> None:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.description}", markup=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._names = [printable(path) for path in paths]
        self._done = 0
        self._task = self._bar.add_task(self._names[0], total=len(paths))

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def window(self, num_windows: int, seconds: float) -> None:
        description = f"{self._names[self._done]}: {num_windows} views, {seconds:.0f} s of video"
        self._bar.update(self._task, description=description)

    @contextmanager
    def next(self) -> Iterator[None]:
        """One more video is done; the bar steps aside while it is told of."""
        self._bar.stop()
        yield
        self._bar.start()
        self._done += 1
        self._bar.update(
            self._task, completed=self._done, description="".join(self._names[self._done : self._done + 1])
        )


class Steps:
    """A bar of equal steps on stderr, if that is a terminal."""

    def __init__(self, what: str, total: int) -> None:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
        )
        self._bar = progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Steps:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def done(self, number: int) -> None:
        """So many steps are done."""
        self._bar.update(self._task, completed=number)

    def done_of(self, number: int, total: int) -> None:
        """So many of so many steps are done."""
        self._bar.update(self._task, completed=number, total=total)

    def total(self, total: int) -> None:
        """So many steps there are."""
        self._bar.update(self._task, total=total)

    def one(self, *_: object) -> None:
        """One more step is done."""
        self._bar.advance(self._task)


class Training:
    """A training run on stderr: a line that changes on a terminal, a line for each interval elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False)
        self._quiet = quiet
        self._status = self._console.status("starting") if self._console.is_terminal and not quiet else None
        self._since: tuple[float, int] | None = None

    def __enter__(self) -> Training:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def step(self, step: int, total: int, figures: dict[str, float], *, epoch: int) -> None:
        f = figures
        left = (total - step) * f["step_seconds"]
        line = (
            f"epoch {epoch + 1}, step {step} of {total}: "
            f"loss {f['loss']:.4f}, top-1 {f['top1']:.3f}, lr {f['lr']:.2e}, "
            f"{f['clips_per_second']:.2f} clips/s, {100 * f['data_wait']:.0f} % waiting for data, "
            f"{f['memory_gib']:.1f} GiB, {_duration(left)} left"
        )
        if self._status is not None:
            self._status.update(line)
        elif not self._quiet:
            say(line)

    def told(self, message: str) -> None:
        say(message)


def tell(row: Prediction, *, json: bool, paths: list[str]) -> None:
    """What is known of one video: its classes on stdout, what is wrong with it on stderr."""
    if row.error:
        say(f"error: {row.error}" if row.status == "error" else f"{printable(row.path)}: {row.error}")
    if json or row.status == "error":
        return
    if len(paths) == 1:
        typer.echo(printable(row.path))
        width = max(len(p.label) for p in row.predictions)
        for rank, p in enumerate(row.predictions, start=1):
            typer.echo(f"{rank:3}  {p.label:<{width}}  {100 * p.score:6.2f} %")
    else:
        width = min(60, max(map(len, paths)))
        labels = ", ".join(f"{p.label} {100 * p.score:.1f} %" for p in row.predictions)
        typer.echo(f"{printable(row.path):<{width}}  {labels}")


def say_summary(rows: list[Prediction], bad: int, out: Path | None, protocol: str, *, json: bool) -> None:
    if not json and bad < len(rows):
        typer.echo(f"protocol: {rows[0].protocol if len(rows) == 1 else protocol}")
    if len(rows) > 1 or out is not None:
        say(f"{len(rows) - bad} of {len(rows)} videos recognised" + (f", in {printable(str(out))}" if out else ""))


def say(message: str) -> None:
    typer.echo(message, err=True)


def tell_conversion(done: Conversion) -> None:
    """What was recognised, how its entries compare, where it went."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    entries = done.entries
    lists = [("missing", entries.missing), ("unexpected", entries.unexpected), ("other shape", entries.other_shape)]
    for name, value in [
        ("source", f"{printable(done.source)} ({done.format})"),
        ("network", done.network),
        ("recipe", f"{done.recipe} ({done.recipe_from})"),
        ("labels", done.labels_from),
        (
            "entries",
            f"{len(entries.loaded)} loaded, {len(entries.missing)} missing, "
            f"{len(entries.unexpected)} unexpected, {len(entries.other_shape)} of another shape"
            + (f", {len(entries.ignored)} left aside as no weights" if entries.ignored else ""),
        ),
        *((name, _some(names)) for name, names in lists if names),
        ("wrote", f"{printable(done.target)}, {done.num_bytes / 1e6:.1f} MB"),
    ]:
        table.add_row(name, value)
    _print(table)


def tell_catalogue(found: Catalogue) -> None:
    """The shipped weights, the recipes, the networks."""
    typer.echo("WEIGHTS in the package\n")
    for w in found.weights:
        typer.echo(f"{w.name}\n    {w.classes} classes, {w.megabytes:.1f} MB, {w.licence}, {_cost(w.cost)}")
        typer.echo(f"    published: {w.published}\n")
    typer.echo("RECIPES\n")
    for r in found.recipes:
        typer.echo("\n  = ".join((r.name, *r.aliases)))
        typer.echo(f"    {r.network}, {r.classes} classes, {_cost(r.cost)}\n    scores {r.views}")
        typer.echo(f"    published: top-1 / top-5 {r.published}\n" if r.published else "")
    typer.echo("NETWORKS")
    networks = _table("network", "parameters (M)", "GFLOPs a view", "view (C x T x H x W)")
    for n in found.networks:
        millions = f"{n.cost.parameters / 1e6:.2f}"
        networks.add_row(n.name, millions, f"{n.cost.gflops:.1f}", _shape(n.cost.view_NCTHW[1:]))
    _print(networks)
    typer.echo(
        "Accuracies are in percent on Kinetics-400 and quoted from their sources; none was measured here.\n"
        "A multiply-add counts as two operations.\n"
        "`i3d models show NAME` prints the layers of a network, a recipe or a weights file."
    )


def tell_description(found: Description) -> None:
    """A network layer by layer."""
    if found.card is not None:
        card = found.card
        for name, value in [("recipe", card.recipe.name), ("licence", card.licence), *card.origin.items()]:
            typer.echo(f"{name}: {value}")
        typer.echo(f"classes: {_some(card.labels)}")
    typer.echo(f"protocol: {found.recipe.protocol_line}")
    table = _table("layer", "kind: kernel / stride", "output (C x T x H x W)", "parameters", "GFLOPs")
    for layer in found.layers:
        shape = _shape(layer.output_NCTHW[1:])
        table.add_row(layer.name, layer.kind, shape, f"{layer.parameters:,}", f"{layer.gflops:.3f}")
    cost = found.cost
    table.add_section()
    table.add_row("in all", "", f"input {_shape(cost.view_NCTHW[1:])}", f"{cost.parameters:,}", f"{cost.gflops:.3f}")
    _print(table)


def tell_split(classes: Sequence[str], splits: Sequence[str], counts_SK: list[list[int]]) -> None:
    """Clips of each class and split; of many classes, only the sums."""
    table = _table("class", *(f"clips {name}" for name in splits))
    if len(classes) <= 50:
        for k, name in enumerate(classes):
            table.add_row(printable(name), *(str(row[k]) for row in counts_SK))
        table.add_section()
    table.add_row(f"all {len(classes)}", *(str(sum(row)) for row in counts_SK))
    _print(table)


def tell_check(report: Report) -> None:
    """The clips that something is wrong with, and how many there are of each kind."""
    bad = [row for row in report.rows if row.status != "ok"]
    if bad:
        table = _table("status", "clip", "why")
        for row in bad:
            why = row.reason + (f": {row.fixed_to}" if row.fixed_to else "")
            table.add_row(row.status, printable(row.path), printable(why))
        _print(table)
    kinds = ", ".join(f"{count} {status}" for status, count in report.counts.items() if status != "ok")
    typer.echo(f"{len(report.rows) - len(bad)} of {len(report.rows)} clips are sound" + (f"; {kinds}" if kinds else ""))


def tell_preview(found: Preview) -> None:
    """Clips of each class (of many, the largest and the smallest), lengths, sizes."""
    counts = sorted(found.class_counts.items(), key=lambda item: -item[1])
    table = _table("class", "clips")
    shown = counts if len(counts) <= 40 else [*counts[:15], ("...", -1), *counts[-15:]]
    for name, count in shown:
        table.add_row(printable(name), str(count) if count >= 0 else "")
    table.add_section()
    table.add_row(f"all {len(counts)}", str(found.num_clips))
    _print(table)
    for what, values, unit in (("lengths", found.durations, " s"), ("", found.lengths, " frames")):
        if values is not None:
            typer.echo(f"{what:<9}{values.min:.4g} to {values.max:.4g}, half below {values.median:.4g}{unit}")
    sizes = sorted(found.sizes.items(), key=lambda item: -item[1])
    typer.echo("sizes    " + ", ".join(f"{width}x{height} ({count})" for (width, height), count in sizes[:6]))
    typer.echo(f"(lengths and sizes of {found.num_looked_at} clips)")


def tell_trained(done: Trained) -> None:
    """What came of a run, and what to do with it."""
    where = printable(str(done.work_dir))
    if done.speed:
        s = done.speed
        typer.echo(
            f"{s['step_seconds']:.3f} s a step, {s['clips_per_second']:.2f} clips/s in all, "
            f"{s['clips_per_second'] / s['num_ranks']:.2f} on each of {s['num_ranks']:.0f} devices, "
            f"{100 * s['data_wait']:.0f} % of the time waiting for data, {s['memory_gib']:.2f} GiB at the most; "
            "nothing is kept"
        )
    elif done.stopped_by:
        typer.echo(f"stopped after step {done.steps} of {done.total_steps}, saved; the same command goes on from there")
    else:
        best = "" if done.best is None else f", best validation {done.best:.4f} at step {done.best_step}"
        name = "last" if done.best is None else "best"
        typer.echo(f"{done.steps} steps done{best}; weights, log and curves are in {where}")
        if done.is_rgb:
            typer.echo(f"i3d predict clip.mp4 --model {where}/{name}.safetensors")


def tell_runs(found: Sequence[RunSummary]) -> None:
    """Runs side by side, and the settings in which they differ."""
    differ = list(found[0].settings)
    table = _table("run", "recipe", "state", "steps", "best", "at step", "loss", "seed", "started", *differ)
    for run in found:
        best = "" if run.best is None else f"{run.best:.4f}"
        loss = "" if run.loss is None else f"{run.loss:.4f}"
        row = [run.folder, run.recipe, run.state, str(run.steps), best, str(run.best_step or ""), loss, str(run.seed)]
        table.add_row(*map(printable, row), run.started[:16], *(printable(str(run.settings[key])) for key in differ))
    _print(table)


def _duration(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    return f"{minutes // 1440} d {minutes // 60 % 24} h" if minutes >= 1440 else f"{minutes // 60}:{minutes % 60:02d} h"


def tell_data_speed(speed: DataSpeed) -> None:
    """Where a clip's time goes, clips a second, and the bottleneck."""
    stages = _table("stage", "ms of a clip", "share")
    for name, ms in speed.stage_ms.items():
        stages.add_row(name, f"{ms:.2f}", f"{100 * ms / speed.clip_ms:.0f} %")
    stages.add_section()
    stages.add_row("all", f"{speed.clip_ms:.2f}", "")
    _print(stages)
    speeds = _table("workers", "clips/s", "clips/s of each")
    for workers, rate in speed.clips_per_second.items():
        speeds.add_row(
            str(workers) if workers else "0 (in this process)", f"{rate:.1f}", f"{rate / max(workers, 1):.1f}"
        )
    _print(speeds)
    typer.echo(f"{speed.num_clips} clips of the {speed.view} view, {speed.num_cores} cores")
    typer.echo(f"bottleneck: {speed.bottleneck}")


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numbers = column.startswith(("parameters", "GFLOPs", "MB", "classes", "clips", "ms", "share"))
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    return table


def _print(table: Table) -> None:
    """As wide as the terminal; into a file or pipe, as wide as it needs to be."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
        console.width = console.measure(table).maximum
    console.print(table)


def _cost(cost: Cost) -> str:
    return f"{cost.parameters / 1e6:.2f} M parameters, {cost.gflops:.1f} GFLOPs a view of {_shape(cost.view_NCTHW[1:])}"


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _some(names: Sequence[str], *, most: int = 8) -> str:
    return f"{len(names)}: {', '.join(names[:most])}{' ...' * (len(names) > most)}"
