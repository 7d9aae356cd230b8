"""Networks in inference mode against those of other packages, in interleaved rounds: seconds of one
clip, from float to logits.

    python benchmarks/networks.py results          # results/networks-MACHINE.csv and .png

The peers run as their packages run them: eager, float32, in their own layout, in a process of their own; this package's
as the commands run them. GEMM is the rate of products of 4096 x 4096 matrices.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import peers_networks as peers
import torch
from interleaved import OURS, THEIRS, Processes
from result_files import BLUE, GREEN, GREY, Row, draw_bars, machine_name, result_path, write_csv

from i3d.diagnostics.model_description import describe_model
from i3d.models.engine.engine import Engine
from i3d.models.factory import build_network
from i3d.models.flops import view_gflops
from i3d.utils.device import RUNTIMES, ComputeConfig, has_bf16

GEMM: Final = 4096
R50: Final = (1, 3, 32, 256, 256)
CASES: Final = {  # the clip, our recipe, the peer
    "R50": (R50, "r50", "MMAction2 1.2.0"),
    "R50 embedded Gaussian": (R50, "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb", "MMAction2 1.2.0"),
    "R50 Gaussian": (R50, "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb", "MMAction2 1.2.0"),
    "R50 dot product": (R50, "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb", "MMAction2 1.2.0"),
    "Inception": ((1, 3, 64, 224, 224), "inception_rgb_kinetics400", "pytorch-i3d"),
}
MODES: Final = {
    "R50 embedded Gaussian": "embedded_gaussian",
    "R50 Gaussian": "gaussian",
    "R50 dot product": "dot_product",
}
PEERS: Final = ("MMAction2 1.2.0", "pytorch-i3d", "pytorchvideo 0.1.5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peers", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    names = ["GEMM fp32", "GEMM bf16", *(name for case in CASES for name in contenders(case))]
    peers.install(options.peers)
    sides = {name: THEIRS if name.split(": ")[-1] in PEERS else OURS for name in names}
    with Processes(partial(prepare, options.peers), threads=options.threads) as processes:
        seconds, _ = processes.interleave(sides, options.rounds)
    rows = [row_of(name, seconds) for name in names]
    table = result_path(options.out, "networks", threads=options.threads)
    write_csv(table.with_suffix(".csv"), rows)
    draw(table.with_suffix(".png"), rows, machine_name(options.threads))
    for row in rows:
        print(row)


def contenders(case: str) -> list[str]:
    """The peers, and ours by precision and runtime."""
    peers = [CASES[case][2], *(["pytorchvideo 0.1.5"] if case == "R50" else [])]
    precisions = ("fp32", "bf16") if has_bf16() else ("fp32",)
    runtimes = RUNTIMES if case in ("R50", "Inception") else ("torch",)
    ours = [f"i3d {precision} {runtime}" for precision in precisions for runtime in runtimes]
    return [f"{case}: {name}" for name in (*peers, *ours)]


def prepare(folder: Path, name: str) -> Callable[[], object]:
    """What is timed, in the process that times it; the weights of all are fresh."""
    if name.startswith("GEMM"):
        a, b = (torch.rand(GEMM, GEMM).to(torch.bfloat16 if "bf16" in name else torch.float32) for _ in range(2))
        return lambda: a @ b
    case, who = name.split(": ")
    shape, recipe, _ = CASES[case]
    clip_NCTHW = torch.rand(shape) * 2 - 1
    if who in PEERS:
        peers.install(folder)
        net = peer(case, who)
        return torch.inference_mode()(lambda: net(clip_NCTHW))
    _, precision, runtime = who.split()
    built = build_network(describe_model(recipe).recipe.network)
    engine = Engine.create(built, ComputeConfig(precision=precision, runtime=runtime), device=torch.device("cpu"))
    last_NCTHW = clip_NCTHW.contiguous(memory_format=torch.channels_last_3d)
    return lambda: engine(last_NCTHW)


def peer(case: str, who: str) -> torch.nn.Module:
    if who == "pytorch-i3d":
        return peers.pytorch_i3d()
    if who.startswith("pytorchvideo"):
        return peers.pytorchvideo_r50()
    return peers.mmaction2_r50(non_local=MODES.get(case))


def row_of(name: str, seconds: dict[str, list[float]]) -> Row:
    """Medians; the ratio to the peer is the median of those of the rounds."""
    median = statistics.median(seconds[name])
    gflop, against = 2 * GEMM**3 / 1e9, name
    if ": " in name:
        case, who = name.split(": ")
        shape, recipe, first = CASES[case]
        # PyTorchVideo's has no stride in time at its stem, so another cost: its row has 0.
        gflop = view_gflops(describe_model(recipe).recipe, num_frames=shape[2]) if "video" not in who else 0
        against = f"{case}: {first}"
    ratios = [theirs / ours for theirs, ours in zip(seconds[against], seconds[name], strict=True)]
    gemm = statistics.median(seconds["GEMM bf16" if "bf16" in name else "GEMM fp32"])
    return {
        "what": name,
        "median_ms": round(1000 * median, 1),
        "least_ms": round(1000 * min(seconds[name]), 1),
        "gflop_per_s": round(gflop / median, 1),
        "times_the_peer": round(statistics.median(ratios), 2),
        "fraction_of_gemm": round(gflop / median / (2 * GEMM**3 / 1e9 / gemm), 2),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    shown = [row for row in rows if ":" in row["what"]]
    colours = [BLUE if "i3d fp32" in r["what"] else GREEN if "i3d bf16" in r["what"] else GREY for r in shown]
    labels = [f"{row['median_ms']:.0f} ms, {row['times_the_peer']:.1f}x" for row in shown]
    values = {row["what"]: row["median_ms"] for row in shown}
    draw_bars(path, values, labels, colours, title=title, axis="milliseconds of one clip (less is better)")


if __name__ == "__main__":
    main()
