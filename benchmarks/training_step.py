"""One training step (2 clips of 32 x 224 x 224, SGD with momentum, gradients clipped) against the networks of other
packages in float32, in interleaved rounds: milliseconds, and whether every gradient is finite.

    python benchmarks/training_step.py results          # results/training-MACHINE.csv and .png

The peers run in their own process, with PyTorch's defaults; this package runs as the command `i3d` does.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import peers_networks as peers
import torch
import torch.nn.functional as F
from interleaved import OURS, THEIRS, Processes
from result_files import BLUE, GREEN, GREY, draw_bars, machine_name, result_path, write_csv
from torch import nn

from i3d.diagnostics.model_description import describe_model
from i3d.models.factory import build_network

ROUNDS, SHAPE = 5, (2, 3, 32, 224, 224)
CASES: Final = {
    "R50: MMAction2 1.2.0, fp32": THEIRS,
    "R50: i3d, fp32": OURS,
    "R50: i3d, bf16": OURS,
    "Inception: pytorch-i3d, fp32": THEIRS,
    "Inception: i3d, fp32": OURS,
    "Inception: i3d, bf16": OURS,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peers", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    peers.install(options.peers)
    with Processes(partial(prepare, options.peers), threads=options.threads) as processes:
        seconds, finite = processes.interleave(CASES, ROUNDS)
    rows = []
    for name, values in seconds.items():
        first = next(other for other in CASES if other.split(":")[0] == name.split(":")[0])
        ratio = statistics.median(a / b for a, b in zip(seconds[first], values, strict=True))
        rows.append(
            {
                "what": name,
                "median_ms": round(1000 * statistics.median(values)),
                "times_the_peer": round(ratio, 2),
                "finite": finite[name],
                "torch": torch.__version__,
            }
        )
        print(rows[-1])
    table = result_path(options.out, "training", threads=options.threads)
    write_csv(table.with_suffix(".csv"), rows)
    colours = [GREY if CASES[row["what"]] == THEIRS else GREEN if "bf16" in row["what"] else BLUE for row in rows]
    labels = [f"{row['median_ms']} ms, {row['times_the_peer']:g}x" for row in rows]
    values = {row["what"]: row["median_ms"] for row in rows}
    title = f"One training step, 2 clips: {machine_name(options.threads)}"
    draw_bars(table.with_suffix(".png"), values, labels, colours, title=title, axis="milliseconds (less is better)")


def prepare(folder: Path, name: str) -> Callable[[], bool]:
    """A step of a network with fresh weights."""
    case, who = name.split(": ")
    if "i3d," in who and "pytorch" not in who:
        recipe = describe_model("r50" if case == "R50" else "inception_rgb_kinetics400").recipe
        return step_of(build_network(recipe.network), last=True, rough="bf16" in who)
    peers.install(folder)
    return step_of(peers.mmaction2_r50() if case == "R50" else peers.pytorch_i3d(), last=False, rough=False)


def step_of(net: nn.Module, *, last: bool, rough: bool) -> Callable[[], bool]:
    """A step; whether its gradients were finite."""
    clips_NCTHW, labels_N = torch.randn(SHAPE), torch.tensor([3, 7])
    net = net.train()
    if last:
        net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        clips_NCTHW = clips_NCTHW.contiguous(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4, fused=last)

    def step() -> bool:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=rough):
            logits = net(clips_NCTHW)
        F.cross_entropy(logits.float().reshape(*logits.shape[:2], -1).mean(2), labels_N).backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 40.0)
        optimizer.step()
        return bool(norm.isfinite())

    return step


if __name__ == "__main__":
    main()
