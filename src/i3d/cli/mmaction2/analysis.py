"""MMAction2's `tools/analysis/`: `benchmark.py`, `get_flops.py`, `analyze_logs.py`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import typer

from i3d.cli import output
from i3d.cli.mmaction2.arguments import Arguments, clips_of, read_asked
from i3d.errors import InputError, printable
from i3d.utils.device import ComputeConfig

if TYPE_CHECKING:
    pass

WARM_UP: Final = 5  # items that are not measured, as in MMAction2
ITEMS: Final = 200  # that are measured at the most, with the warm-up
PANELS: Final = ("loss", "loss_cls", "lr", "top1_acc", "top5_acc", "mean_class_accuracy", "acc/top1", "acc/top5",
                 "acc/mean1", "val/top1_acc", "grad_norm")  # fmt: skip


def benchmark(arguments: Sequence[str] | None = None) -> None:
    """`benchmark.py CONFIG`: how many test videos a second a config's network does, with fresh weights."""
    parser = _parser("benchmark.py", "Measure a config's network on its list for testing, with fresh weights.")
    parser.add_argument("config", help="an MMAction2 config, or the name of a published recipe")
    parser.add_argument("--log-interval", type=int, default=10, help="items between lines (default: 10)")
    parser.add_argument("--fuse-conv-bn", action="store_true", help="is always done")
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--items", type=int, default=ITEMS, help=f"items at the most (default: {ITEMS})")
    options = parser.parse_args(arguments)
    if options.log_interval < 1 or options.items < 1:
        raise InputError("--log-interval and --items: must be at least 1")
    asked = read_asked(options.config, options.cfg_options)
    network, waiting = 0.0, 0.0
    number, measured = 0, 0
    for number, (loaded, run) in enumerate(_timed(asked, options.config), start=1):
        is_warm = number > WARM_UP
        network, waiting, measured = network + run * is_warm, waiting + loaded * is_warm, measured + is_warm
        if is_warm and number % options.log_interval == 0:
            typer.echo(f"Done item [{number:<3}/ {options.items}], fps: {measured / network:.3f} items / s")
        if number == options.items:
            break
    if not measured:
        raise InputError(f"{printable(options.config)}: its list has {number} clips; {WARM_UP} are for the warm-up")
    typer.echo(f"Overall fps: {measured / network:.3f} items / s, of the network alone, as MMAction2 counts")
    typer.echo(f"with the wait for clips: {measured / (network + waiting):.3f} items / s ({measured} items)")
    typer.echo(f"protocol: {asked.config.recipe.protocol_line}")


def get_flops(arguments: Sequence[str] | None = None) -> None:
    """`get_flops.py CONFIG`: operations and parameters of a config's network on one view."""
    from i3d.models.flops import network_cost_on, view_shape

    parser = _parser("get_flops.py", "Operations and parameters of a config's network on one view.")
    parser.add_argument("config", help="an MMAction2 config, or the name of a published recipe")
    parser.add_argument("--shape", type=int, nargs="+", help="(batch) channels frames height width, or one side")
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    recipe = read_asked(options.config, options.cfg_options).config.recipe
    shape = _shape(options.shape, view_shape(recipe))
    cost = network_cost_on(recipe, shape)
    line, gflops = "=" * 30, cost.gflops
    typer.echo(f"{line}\nInput shape: {shape}\nFlops: {gflops / 2:.2f} GFLOPs")
    typer.echo(f"Params: {cost.parameters / 1e6:.2f} M\n{line}")
    typer.echo(
        f"A multiply-add counts as one operation, as in MMAction2; `i3d models` counts two: {gflops:.2f} GFLOPs."
    )


def analyze_logs(arguments: Sequence[str] | None = None) -> None:
    """`analyze_logs.py plot_curve|cal_train_time LOG...`: the curves of `i3d plot`, and seconds a step."""
    parser = _parser("analyze_logs.py", "Draw the curves of logs (MMAction2's and ours), or tell the time of a step.")
    tasks = parser.add_subparsers(dest="task", required=True)
    plot = tasks.add_parser("plot_curve", allow_abbrev=False)
    plot.add_argument("json_logs", nargs="+", metavar="LOG")
    plot.add_argument("--out", default="curves.png", help="a .png (default: curves.png)")
    plot.add_argument("--keys", nargs="+", default=[], help="accepted: loss, accuracy, rate and validation are drawn")
    plot.add_argument("--title", help="refused: the panels have titles")
    plot.add_argument("--legend", nargs="+", help="refused: runs are called by their files")
    for ignored in ("--backend", "--style"):
        plot.add_argument(ignored, help="accepted, and needless")
    spent = tasks.add_parser("cal_train_time", allow_abbrev=False)
    spent.add_argument("json_logs", nargs="+", metavar="LOG")
    spent.add_argument("--include-outliers", action="store_true", help="with the first step of each epoch")
    options = parser.parse_args(arguments)
    if options.task == "plot_curve":
        _plot(options)
    else:
        _times(options)


def _plot(options: argparse.Namespace) -> None:
    from i3d.cli.train import plot

    for flag in ("title", "legend"):
        if getattr(options, flag) is not None:
            raise InputError(f"--{flag}: panels and runs have their own names; leave it out")
    if unknown := [key for key in options.keys if key not in PANELS]:
        raise InputError(f"--keys {unknown[0]!r}: is not drawn; there are {', '.join(PANELS)}")
    plot([Path(log) for log in options.json_logs], Path(options.out))


def _times(options: argparse.Namespace) -> None:
    """Seconds a step by epoch, as MMAction2's logs tell them in "time", ours in `timing.jsonl`."""
    from i3d.training.log_reader import read_step_seconds

    for log in options.json_logs:
        epochs = read_step_seconds(Path(log))
        if not options.include_outliers:
            epochs = {epoch: seconds[1:] or seconds for epoch, seconds in epochs.items()}
        means = {epoch: float(np.mean(seconds)) for epoch, seconds in epochs.items()}
        slowest, fastest = max(means, key=lambda e: means[e]), min(means, key=lambda e: means[e])
        typer.echo(f"{'-' * 5}Analyze train time of {printable(log)}{'-' * 5}")
        typer.echo(f"slowest epoch {slowest}, average time is {means[slowest]:.4f}")
        typer.echo(f"fastest epoch {fastest}, average time is {means[fastest]:.4f}")
        typer.echo(f"time std over epochs is {np.std(list(means.values())):.4f}")
        typer.echo(f"average iter time: {np.mean([s for seconds in epochs.values() for s in seconds]):.4f} s/iter\n")


def _timed(asked: Arguments, config: str) -> Iterator[tuple[float, float]]:
    """(seconds that a clip was waited for, seconds of the network) of each clip of the list for testing."""
    from i3d.data.loading.dataset import ClipDataset, TestView
    from i3d.data.loading.flow_cache import ClipFlow
    from i3d.data.loading.loader import ClipLoader
    from i3d.models.engine.engine import Engine
    from i3d.models.engine.forward import forward_views
    from i3d.models.factory import build_network
    from i3d.utils.device import pick_device

    recipe = asked.config.recipe
    clips, naming = clips_of(asked.config.lists, "test", recipe, config)
    view = TestView(recipe.protocol, recipe.preprocessing)
    flow = ClipFlow.from_network(recipe.network, recipe.preprocessing)
    dataset = ClipDataset(clips, view, naming=naming, flow=flow, multi_label=recipe.multi_label)
    device = pick_device("auto")
    engine = Engine.create(build_network(recipe.network), ComputeConfig(), device=device)
    loader = ClipLoader(dataset, batch_size=1, num_workers=asked.config.num_workers, max_bad=1.0)
    begun = time.perf_counter()
    for batch in loader.batches():
        for views in batch.views_N:
            loaded = time.perf_counter()
            forward_views(engine, views, recipe.preprocessing, device=device, max_views=8)
            done = time.perf_counter()
            yield loaded - begun, done - loaded
            begun = time.perf_counter()
    for bad in loader.bad.values():
        output.say(f"error: {bad.reason}")


def _shape(given: Sequence[int] | None, own: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (1, C, T, H, W) that --shape says in one of MMAction2's ways."""
    if given is None:
        return own
    match given:
        case [side]:
            shape = (1, *own[1:3], side, side)
        case [height, width]:
            shape = (1, *own[1:3], height, width)
        case [channels, frames, height, width] | [_, channels, frames, height, width]:
            shape = (1, channels, frames, height, width)
        case _:
            raise InputError(f"--shape {' '.join(map(str, given))}: write channels frames height width, or one side")
    if min(shape) < 1 or shape[1] != own[1]:
        raise InputError(f"--shape {' '.join(map(str, given))}: all must be above 0, and channels {own[1]}")
    return shape


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"tools/analysis/{name}", description=description, allow_abbrev=False)
