"""MMAction2's `tools/analysis/`: `benchmark.py`, `get_flops.py`, `analyze_logs.py`."""

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from i3d.cli.messages import log
from i3d.cli.mmaction2.arguments import ConfigArguments, ScriptParser, config_parser, read_clips, read_config_arguments
from i3d.cli.output_files import check_writable
from i3d.cli.runs import plot_runs
from i3d.data.loading.dataset import ClipDataset, TestView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.loader import ClipLoader
from i3d.errors import InputError, printable
from i3d.models.engine.engine import Engine
from i3d.models.engine.forward import forward_views
from i3d.models.factory import build_network
from i3d.models.flops import network_cost, view_shape
from i3d.training.log_reader import read_step_seconds
from i3d.utils.device import ComputeConfig, pick_device
from i3d.utils.outputs import check_new, is_drawing

WARM_UP: Final = 5  # items that are not measured, as in MMAction2
ITEMS: Final = 200  # that are measured at the most, with the warm-up
PANELS: Final = ("loss", "loss_cls", "lr", "top1_acc", "top5_acc", "mean_class_accuracy", "acc/top1", "acc/top5",
                 "acc/mean1", "val/top1_acc", "grad_norm")  # fmt: skip


def benchmark(arguments: Sequence[str] | None = None) -> None:
    """`benchmark.py CONFIG`: how many test videos a second a config's network does, with fresh weights."""
    parser = config_parser(
        "analysis/benchmark.py", "Measure a config's network on its list for testing, with fresh weights."
    )
    parser.add_argument("--log-interval", type=int, default=10, help="items between lines (default: 10)")
    parser.add_argument("--fuse-conv-bn", action="store_true", help="accepted: it is always done")
    parser.add_argument("--items", type=int, default=ITEMS, help=f"items at the most (default: {ITEMS})")
    options = parser.parse_args(arguments)
    if options.log_interval < 1 or options.items < 1:
        raise InputError("--log-interval and --items: must be at least 1")
    parsed = read_config_arguments(options.config, options.cfg_options, for_training=False)
    network, waiting, number = 0.0, 0.0, 0
    for number, (loaded, run) in enumerate(islice(_timed(parsed), options.items), start=1):
        if number > WARM_UP:
            network, waiting = network + run, waiting + loaded
            if number % options.log_interval == 0:
                fps = (number - WARM_UP) / network
                print(f"Done item [{number:<3}/ {options.items}], fps: {fps:.3f} items / s")
    measured = number - WARM_UP
    if measured < 1:
        raise InputError(f"{options.config}: its list has {number} clips; {WARM_UP} are for the warm-up")
    print(f"Overall fps: {measured / network:.3f} items / s, of the network alone, as MMAction2 counts")
    print(f"with the wait for clips: {measured / (network + waiting):.3f} items / s ({measured} items)")
    print(f"protocol: {parsed.config.recipe.protocol_line}")


def get_flops(arguments: Sequence[str] | None = None) -> None:
    """`get_flops.py CONFIG`: operations and parameters of a config's network on one view."""
    parser = config_parser("analysis/get_flops.py", "Operations and parameters of a config's network on one view.")
    parser.add_argument("--shape", type=int, nargs="+", help="(batch) channels frames height width, or one side")
    options = parser.parse_args(arguments)
    recipe = read_config_arguments(options.config, options.cfg_options, for_training=False).config.recipe
    shape = _shape(options.shape, view_shape(recipe))
    cost = network_cost(recipe, shape)
    line, gflops = "=" * 30, cost.gflops
    print(f"{line}\nInput shape: {shape}\nFlops: {gflops / 2:.2f} GFLOPs")
    print(f"Params: {cost.parameters / 1e6:.2f} M\n{line}")
    print(f"A multiply-add counts as one operation, as in MMAction2; `i3d models` counts two: {gflops:.2f} GFLOPs.")


def analyze_logs(arguments: Sequence[str] | None = None) -> None:
    """`analyze_logs.py plot_curve|cal_train_time LOG...`: the curves of `i3d plot`, and seconds a step."""
    parser = ScriptParser(
        prog="tools/analysis/analyze_logs.py",
        description="Draw the curves of logs (of MMAction2 or i3d), or print the time of a step.",
        allow_abbrev=False,
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    plot = tasks.add_parser("plot_curve", allow_abbrev=False)
    plot.add_argument("json_logs", nargs="+", metavar="LOG")
    plot.add_argument("--out", default="curves.png", help="a .png (default: curves.png)")
    plot.add_argument(
        "--keys", nargs="+", default=[], help="accepted: loss, accuracy, learning rate and validation are drawn"
    )
    plot.add_argument("--title", help="refused: the panels have titles")
    plot.add_argument("--legend", nargs="+", help="refused: runs are called by their files")
    for ignored in ("--backend", "--style"):
        plot.add_argument(ignored, help="accepted and ignored")
    plot.add_argument("--force", action="store_true", help="replace a file that i3d did not draw")
    spent = tasks.add_parser("cal_train_time", allow_abbrev=False)
    spent.add_argument("json_logs", nargs="+", metavar="LOG")
    spent.add_argument("--include-outliers", action="store_true", help="with the first step of each epoch")
    options = parser.parse_args(arguments)
    (_plot if options.task == "plot_curve" else _times)(options)


def _plot(options: argparse.Namespace) -> None:
    for flag in ("title", "legend"):
        if getattr(options, flag) is not None:
            raise InputError(f"--{flag}: panels and runs have their own names; leave it out")
    if unknown := [key for key in options.keys if key not in PANELS]:
        raise InputError(f"--keys {unknown[0]!r}: is not drawn; there are {', '.join(PANELS)}")
    out = Path(options.out)
    where = f"--out {out}"
    check_writable(where, out, (".png",))
    check_new(where, out, force=options.force, is_own=is_drawing)
    plot_runs([Path(path) for path in options.json_logs], out)


def _times(options: argparse.Namespace) -> None:
    """Seconds a step by epoch, from "time" in logs of MMAction2, from `timing.jsonl` of i3d."""
    for path in options.json_logs:
        epochs = read_step_seconds(Path(path))
        if not options.include_outliers:
            epochs = {epoch: seconds[1:] or seconds for epoch, seconds in epochs.items()}
        means = {epoch: float(np.mean(seconds)) for epoch, seconds in epochs.items()}
        slowest, fastest = max(means, key=lambda e: means[e]), min(means, key=lambda e: means[e])
        print(f"{'-' * 5}Analyze train time of {printable(path)}{'-' * 5}")
        print(f"slowest epoch {slowest}, average time is {means[slowest]:.4f}")
        print(f"fastest epoch {fastest}, average time is {means[fastest]:.4f}")
        print(f"time std over epochs is {np.std(list(means.values())):.4f}")
        print(f"average iter time: {np.mean([s for seconds in epochs.values() for s in seconds]):.4f} s/iter\n")


def _timed(parsed: ConfigArguments) -> Iterator[tuple[float, float]]:
    """(seconds that a clip was waited for, seconds of the network) of each clip of the list for testing."""
    recipe = parsed.config.recipe
    clips, naming = read_clips(parsed, "test")
    view = TestView(recipe.protocol, recipe.preprocessing)
    flow = ClipFlow.from_network(recipe.network, recipe.preprocessing)
    dataset = ClipDataset(clips, view, naming=naming, flow=flow, multi_label=recipe.multi_label)
    device = pick_device("auto")
    engine = Engine.create(build_network(recipe.network), ComputeConfig(), device=device)
    loader = ClipLoader(dataset, batch_size=1, num_workers=parsed.config.num_workers, max_bad=1.0)
    begun = time.perf_counter()
    for batch in loader.batches():
        for views in batch.views_N:
            loaded = time.perf_counter()
            forward_views(engine, views, recipe.preprocessing, device=device, max_views=8)
            finished = time.perf_counter()
            yield loaded - begun, finished - loaded
            begun = time.perf_counter()
    for bad in loader.bad.values():
        log.error(bad.reason)


def _shape(given: Sequence[int] | None, own: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (1, C, T, H, W) of --shape, in any of MMAction2's forms."""
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
