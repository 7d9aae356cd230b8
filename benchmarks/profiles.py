"""The five slowest operations of a forward pass and of a training step, and the parts of a prediction of one short
clip by the command, from its start to its end.

python benchmarks/profiles.py results          # results/profiles-MACHINE.csv and .png
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import torch
from dense_features import frame
from result_files import BLUE, GREEN, Row, draw_bars, machine_name, result_path, write_csv
from torch.profiler import ProfilerActivity, profile
from training_step import step_of

from i3d.diagnostics.model_description import describe_model
from i3d.models.engine.engine import Engine
from i3d.models.factory import build_network
from i3d.utils.allocator import disable_malloc_trim
from i3d.utils.device import ComputeConfig
from i3d.video.writer import write_video

R50, INCEPTION = "r50", "inception_rgb_kinetics400"
SHAPES = {R50: (1, 3, 32, 256, 256), INCEPTION: (1, 3, 64, 224, 224)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    disable_malloc_trim()
    rows: list[Row] = []
    for name, shape in SHAPES.items():
        clip_NCTHW = torch.rand(shape).contiguous(memory_format=torch.channels_last_3d)
        for precision in ("fp32", "bf16"):
            net = build_network(describe_model(name).recipe.network)
            engine = Engine.create(net, ComputeConfig(precision=precision), device=torch.device("cpu"))
            rows += profile_rows(f"forward, {name}, {precision}", lambda engine=engine, clip=clip_NCTHW: engine(clip))
    for rough in (False, True):
        net = build_network(describe_model(R50).recipe.network)
        rows += profile_rows(
            f"training step, {R50}, {'bf16' if rough else 'fp32'}", step_of(net, last=True, rough=rough)
        )
    rows += prediction_rows()
    threads = torch.get_num_threads()
    table = result_path(out, "profiles", threads=threads)
    write_csv(table.with_suffix(".csv"), rows)
    draw(table.with_suffix(".png"), rows, machine_name(threads))


def profile_rows(what: str, run: Callable[[], object]) -> list[Row]:
    """The five operations with the most time of their own, of one run: over more, the profiler fragments memory."""
    for _ in range(4):
        run()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    costs = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in costs)
    fractions = {f"{event.key} ({event.count} calls)": event.self_cpu_time_total / total for event in costs[:5]}
    return rows_of(what, seconds, fractions)


def rows_of(what: str, seconds: float, fractions: Mapping[str, float]) -> list[Row]:
    """A row for each part, printed as well."""
    print(f"\n{what}: {1000 * seconds:.0f} ms")
    for name, fraction in fractions.items():
        print(f"  {100 * fraction:5.1f} %  {name}")
    of_all = {"of": what, "ms": round(1000 * seconds)}
    return [{**of_all, "part": name, "percent": round(100 * fraction, 1)} for name, fraction in fractions.items()]


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    names = {f"{row['of']}, {row['ms']} ms: {row['part']}": row["percent"] for row in rows}
    labels = [f"{percent} %" for percent in names.values()]
    whats = list(dict.fromkeys(row["of"] for row in rows))
    colours = [(BLUE, GREEN)[whats.index(row["of"]) % 2] for row in rows]
    draw_bars(path, names, labels, colours, title=title, axis="% of the time")


def prediction_rows() -> list[Row]:
    """`i3d predict` of a clip of 10 s, with the files in the system's cache."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_video(clip, (frame(number) for number in range(250)), fps=Fraction(25))
        command = ["-m", "i3d", "predict", str(clip)]
        took = min(timed([sys.executable, *command]) for _ in range(3))
        imports = min(imported([sys.executable, "-X", "importtime", *command]) for _ in range(3))
        parts = {
            "import of PyTorch": imports[0],
            "all other imports": imports[1],
            **min((apart(clip) for _ in range(3)), key=lambda parts: sum(parts.values())),
        }
    parts["the rest: interpreter, options, tables"] = took - sum(parts.values())
    fractions = {name: seconds / took for name, seconds in sorted(parts.items(), key=lambda part: -part[1])}
    return rows_of("`i3d predict` of a clip of 10 s", took, fractions)


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def imported(command: list[str]) -> tuple[float, float]:
    """Seconds of importing PyTorch, and of all that is not within it."""
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = re.findall(r"import time:\s+(\d+) \|\s+(\d+) \| *(\S+)", result.stderr)
    of_torch = next(int(total) for _, total, name in lines if name == "torch")
    return of_torch / 1e6, (sum(int(own) for own, _, _ in lines) - of_torch) / 1e6


def apart(clip: Path) -> dict[str, float]:
    """In a fresh process, which has touched none of its memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(parts_of, clip).result()


def parts_of(clip: Path) -> dict[str, float]:
    """Seconds of the parts after the imports."""
    from i3d.inference.predictor import Predictor

    disable_malloc_trim()
    marks = [time.perf_counter()]
    predictor = Predictor()
    marks.append(time.perf_counter())
    views = list(predictor.sampler.views(clip))
    marks.append(time.perf_counter())
    predictor.logits_of(iter(views))
    marks.append(time.perf_counter())
    names = ("weights: read, folded, packed", "decoding and resizing", "network")
    return {name: after - before for name, before, after in zip(names, marks, marks[1:], strict=False)}


if __name__ == "__main__":
    main()
