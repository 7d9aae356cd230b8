"""Networks at rest against those of other packages, in turns: seconds of one clip, from float to logits.

    python benchmarks/networks.py results          # results/networks-MACHINE.csv and .png

The peers run as their packages run them: eager, float32, in their own layout; this package's as `predict` runs them.
All have large tensors in huge pages (THP_MEM_ALLOC_ENABLE), which the command `i3d` asks for and they do not. GEMM is
the machine's rate for matrices of 4096 x 4096, of which each has a share.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import peers_networks as peers
import torch

from i3d.catalogue import describe, gflops_of_view
from i3d.device import PRECISIONS, processor
from i3d.models.build import build_network
from i3d.models.engine import Engine

GEMM: Final = 4096
SHAPES: Final = {"r50": (1, 3, 32, 256, 256), "inception": (1, 3, 64, 224, 224)}
PEERS: Final = {"r50": "MMAction2 1.2.0", "inception": "pytorch-i3d"}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peers", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    peers.install(options.peers)
    contenders = {**gemms(), **networks("r50"), **networks("inception")}
    seconds = in_turns({name: run for name, (run, _) in contenders.items()}, options.rounds)
    rows = [row_of(name, gflop, seconds) for name, (_, gflop) in contenders.items()]
    machine = machine_of(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / f"networks-{machine}.csv", rows)
    draw(options.out / f"networks-{machine}.png", rows, f"{processor()}, {options.threads} threads")
    for row in rows:
        print(row)


def machine_of(threads: int) -> str:
    """The hardware as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", f"{processor()}-{threads}-threads").strip("-").lower()


def gemms() -> dict[str, tuple[Callable[[], object], float]]:
    """Products of matrices, and what they cost in GFLOP."""
    found: dict[str, tuple[Callable[[], object], float]] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.rand(GEMM, GEMM).to(dtype) for _ in range(2))
        found[f"GEMM {name}"] = (lambda a=a, b=b: a @ b, 2 * GEMM**3 / 1e9)
    return found


def networks(name: str) -> dict[str, tuple[Callable[[], object], float]]:
    """The peer's network and ours, exact and fast, on the same clip; the weights of all are fresh."""
    torch.manual_seed(0)
    clip_NCTHW = torch.rand(SHAPES[name]) * 2 - 1
    recipe = describe("r50" if name == "r50" else "inception_rgb_kinetics400").recipe
    gflop = gflops_of_view(recipe, num_frames=SHAPES[name][2])
    peer = peers.mmaction2_r50() if name == "r50" else peers.pytorch_i3d()
    found: dict[str, tuple[Callable[[], object], float]] = {f"{name}: {PEERS[name]}": (lambda: peer(clip_NCTHW), gflop)}
    last_NCTHW = clip_NCTHW.contiguous(memory_format=torch.channels_last_3d)
    for precision in PRECISIONS:
        net = build_network(recipe.network)
        engine = Engine.of(net, device=torch.device("cpu"), precision=precision)
        found[f"{name}: i3d {precision} ({engine.arithmetic})"] = (lambda engine=engine: engine(last_NCTHW), gflop)
    return found


def in_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The seconds of each in each round, after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for number in range(rounds + 1):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if number:
                    seconds[name].append(time.perf_counter() - start)
    return seconds


def row_of(name: str, gflop: float, seconds: dict[str, list[float]]) -> Row:
    """Medians; the ratio to the peer is the median of those of the rounds."""
    group = name.split(":")[0]
    peer = next((other for other in seconds if ":" in other and other.split(":")[0] == group), name)
    ratios = [theirs / ours for theirs, ours in zip(seconds[peer], seconds[name], strict=True)]
    median = statistics.median(seconds[name])
    gemm = statistics.median(seconds["GEMM bfloat16" if "bf16" in name else "GEMM float32"])
    return {
        "what": name,
        "median_ms": round(1000 * median, 1),
        "least_ms": round(1000 * min(seconds[name]), 1),
        "gflop_per_s": round(gflop / median, 1),
        "times_the_peer": round(statistics.median(ratios), 2),
        "share_of_gemm": round(gflop / median / (2 * GEMM**3 / 1e9 / gemm), 2),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    from matplotlib.figure import Figure

    shown = [row for row in rows if ":" in row["what"]]
    figure = Figure(figsize=(8, 0.6 + 0.45 * len(shown)), layout="constrained")
    axes = figure.subplots()
    colours = [
        "#4477aa" if "i3d exact" in r["what"] else "#228833" if "i3d fast" in r["what"] else "#999999" for r in shown
    ]
    bars = axes.barh([row["what"] for row in shown], [row["median_ms"] for row in shown], color=colours)
    axes.bar_label(bars, [f"{row['median_ms']:.0f} ms, {row['times_the_peer']:.1f}x" for row in shown], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_xlabel("milliseconds of one clip (less is better)")
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
