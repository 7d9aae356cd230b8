"""How time and memory grow: with views, clip length, batch, length of a video, classes, threads, workers and lines of
a list. Each number comes from its own process, with its peak memory.

    python benchmarks/growth.py results          # results/growth-MACHINE.csv and .png
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import torch
from dense_features import frame
from matplotlib.figure import Figure
from result_files import BLUE, Row, machine_name, result_path, write_csv

from i3d.cli.options import ModalityOptions
from i3d.cli.run.setup import clip_dataset
from i3d.data.formats.read import read_annotations
from i3d.diagnostics.benchmark_data import measure_data
from i3d.diagnostics.model_description import describe_model
from i3d.inference.predictor import Predictor
from i3d.models.engine.engine import Engine
from i3d.models.factory import build_network
from i3d.recipes.settings import ResNetSettings
from i3d.utils.allocator import disable_malloc_trim
from i3d.utils.device import ComputeConfig
from i3d.video.writer import write_video

R50: Final = "i3d_r50_32x2x1_100e_kinetics400_rgb"
ROUNDS: Final = 3


def forward(
    *, frames: int = 32, views: int = 1, at_once: int = 1, classes: int = 400, threads: int | None = None
) -> Callable[[], object]:
    """R50, fp32, views of 256 x 256."""
    torch.set_num_threads(threads or os.cpu_count() or 1)
    settings = describe_model("r50").recipe.network
    assert isinstance(settings, ResNetSettings)
    net = build_network(settings.model_copy(update={"num_classes": classes}))
    engine = Engine.create(net, ComputeConfig(precision="fp32"), device=torch.device("cpu"))
    clip_NCTHW = torch.rand(at_once, 3, frames, 256, 256).contiguous(memory_format=torch.channels_last_3d)
    return lambda: [engine(clip_NCTHW) for _ in range(views // at_once)]


def predict(*, seconds: int) -> Callable[[], object]:
    """The shipped network, in the precision auto, a rendered video of 340 x 256."""
    clip = Path(tempfile.mkdtemp()) / "clip.mp4"
    write_video(clip, (frame(number) for number in range(25 * seconds)), fps=Fraction(25))
    predictor = Predictor(compute=ComputeConfig(device="cpu", precision="auto"))
    return lambda: predictor(clip)


def load(*, workers: int) -> Callable[[], object]:
    """64 clips of training of R50's, from eight rendered videos of 10 s; seconds of one clip."""
    folder = Path(tempfile.mkdtemp())
    for number in range(8):
        write_video(folder / f"{number}.mp4", (frame(i + number) for i in range(250)), fps=Fraction(25))
    (folder / "list.csv").write_text(
        "path,label\n" + "".join(f"{number}.mp4,{number % 2}\n" for number in range(8)) * 8
    )
    dataset = clip_dataset(read_annotations(folder / "list.csv"), "train", R50, ModalityOptions())
    return lambda: 1 / measure_data(dataset, num_clips=64, workers=(workers,)).clips_per_second[workers]


def lines(*, number: int) -> Callable[[], object]:
    """A list of videos, read and checked for its form; the files need not exist."""
    path = Path(tempfile.mkdtemp()) / "list.csv"
    path.write_text("path,label\n" + "".join(f"c/{i:07d}.mp4,class {i % 400}\n" for i in range(number)))
    return lambda: len(read_annotations(path))


SWEEPS: Final[dict[str, tuple[Callable[..., Callable[[], object]], list[dict[str, int]]]]] = {
    "views of a video, R50": (forward, [{"views": n} for n in (1, 3, 10, 30)]),
    "views that run at once, of 8, R50": (forward, [{"views": 8, "at_once": n} for n in (1, 2, 4, 8)]),
    "frames of a clip, R50": (forward, [{"frames": n} for n in (8, 16, 32, 64, 128)]),
    "classes, R50": (forward, [{"classes": n} for n in (10, 400, 10_000, 100_000)]),
    "threads, R50": (forward, [{"threads": n} for n in range(1, (os.cpu_count() or 1) + 1)]),
    "seconds of a video, predict": (predict, [{"seconds": n} for n in (10, 60, 300)]),
    "workers, one clip of training": (load, [{"workers": n} for n in (0, 1, 2)]),
    "lines of a list": (lines, [{"number": n} for n in (1_000, 10_000, 100_000, 1_000_000)]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    rows = []
    for what, (_, values) in SWEEPS.items():
        for number, value in enumerate(values):
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                seconds, mib = alone.submit(measured, what, number).result()
            row: dict[str, Any] = {"what": what, "value": list(value.values())[-1], "seconds": round(seconds, 4)}
            rows.append({**row, "peak_mib": mib})
            print(rows[-1], flush=True)
    threads = os.cpu_count() or 1
    table = result_path(out, "growth", threads=threads)
    write_csv(table.with_suffix(".csv"), rows)
    draw(table.with_suffix(".png"), rows, machine_name(threads))


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    """Seconds against each variable; on a log scale where they grow by more than four times."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    for axes, what in zip(figure.subplots(2, 4).flat, SWEEPS, strict=True):
        values, seconds = zip(*((row["value"], row["seconds"]) for row in rows if row["what"] == what), strict=True)
        axes.plot(values, seconds, "o-", color=BLUE)
        if max(seconds) > 4 * min(seconds):
            axes.set_yscale("log")
            axes.set_yticks(seconds, [f"{value:.2g}" for value in seconds], fontsize=8)
            axes.set_yticks([], minor=True)
        else:
            axes.set_ylim(0, 1.1 * max(seconds))
        if min(values) > 0:
            axes.set_xscale("log")
        axes.set_xticks(values, [f"{value:,.0f}" for value in values], fontsize=8)
        axes.set_xticks([], minor=True)
        axes.set_title(what, fontsize=9)
        axes.set_ylabel("seconds", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120)


def measured(what: str, number: int) -> tuple[float, int]:
    """The median seconds of some runs after the first (of one, if it takes long), and the largest memory in MiB."""
    disable_malloc_trim()
    make, values = SWEEPS[what]
    run = make(**values[number])
    begin = time.perf_counter()
    run()
    seconds: list[float] = []
    for _ in range(ROUNDS if time.perf_counter() - begin < 5 else 1):
        start = time.perf_counter()
        value = run()
        seconds.append(value if isinstance(value, float) else time.perf_counter() - start)
    return statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main()
