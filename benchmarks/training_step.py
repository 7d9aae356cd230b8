"""One training step of I3D-R50 (2 clips of 32 x 224 x 224, SGD with momentum, gradients clipped) against MMAction2's
network in float32, in turns: milliseconds, and whether every gradient is finite.

    python benchmarks/training_step.py results          # results/training-MACHINE.csv
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import peers_networks as peers
import torch
import torch.nn.functional as F
from networks import machine_of, write
from torch import nn

from i3d.catalogue import describe
from i3d.memory import keep_memory
from i3d.models.build import build_network

ROUNDS, SHAPE = 5, (2, 3, 32, 224, 224)


def main() -> None:
    keep_memory()  # as the command `i3d` does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peers", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    peers.install(options.peers)
    torch.manual_seed(0)
    steps = {
        "MMAction2 1.2.0, fp32": step_of(peers.mmaction2_r50(), last=False, rough=False),
        "i3d, fp32": step_of(build_network(describe("r50").recipe.network), last=True, rough=False),
        "i3d, bf16": step_of(build_network(describe("r50").recipe.network), last=True, rough=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    finite = dict.fromkeys(steps, True)
    for number in range(ROUNDS + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            finite[name] &= step()
            if number:
                seconds[name].append(time.perf_counter() - start)
    first = next(iter(steps))
    rows = [
        {
            "what": name,
            "median_ms": round(1000 * statistics.median(found)),
            "times_the_peer": round(statistics.median(a / b for a, b in zip(seconds[first], found, strict=True)), 2),
            "finite": finite[name],
            "torch": torch.__version__,
        }
        for name, found in seconds.items()
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / f"training-{machine_of(options.threads)}.csv", rows)
    for row in rows:
        print(row)


def step_of(net: nn.Module, *, last: bool, rough: bool) -> Callable[[], bool]:
    """A step; whether its gradients were finite."""
    clips_NCTHW, labels_N = torch.randn(SHAPE), torch.tensor([3, 7])
    net = net.train()
    if last:
        net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        clips_NCTHW = clips_NCTHW.contiguous(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)

    def step() -> bool:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=rough):
            logits_NK = net(clips_NCTHW)
        F.cross_entropy(logits_NK.float(), labels_N).backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 40.0)
        optimizer.step()
        return bool(norm.isfinite())

    return step


if __name__ == "__main__":
    main()
