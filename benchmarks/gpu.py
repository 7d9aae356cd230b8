"""On a CUDA GPU: forward pass and training step of R50, R50 with non-local blocks and Inception, in bfloat16, eager
and compiled, for batches of 1, 8 and 32, against the networks of other packages as they are; clips a second, memory,
and the fraction of the rate of a matrix product.

    python benchmarks/gpu.py results                       # results/gpu-NAME.csv and .png
    python benchmarks/gpu.py results --device cpu --batch 1 --rounds 1 --frames 9 --size 193 --eager    # a rehearsal
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import peers_networks as peers
import torch
import torch.nn.functional as F
from result_files import GREEN, GREY, draw_bars, write_csv
from torch import nn

from i3d.diagnostics.model_description import describe_model
from i3d.errors import InputError, first_line
from i3d.models.engine.engine import Engine
from i3d.models.factory import build_network
from i3d.models.flops import network_cost
from i3d.utils.device import ComputeConfig, processor

GEMM: Final = 8192
REHEARSAL_GEMM: Final = 256  # on a CPU, which may have no instructions for bfloat16
Row = dict[str, Any]
NETWORKS: Final = {
    "R50": ("r50", lambda: peers.mmaction2_r50()),
    "R50 embedded Gaussian": (
        "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb",
        lambda: peers.mmaction2_r50(non_local="embedded_gaussian"),
    ),
    "Inception": ("inception_rgb_kinetics400", lambda: peers.pytorch_i3d()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--eager", action="store_true", help="compile nothing: compiling takes minutes")
    parser.add_argument("--no-peers", action="store_true", help="where their wheels cannot be installed")
    parser.add_argument("--peers", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU is available (torch.cuda.is_available() is False)")
    if not options.no_peers:
        peers.install(options.peers)
    gemm, size = gemm_rate(device), GEMM if device.type == "cuda" else REHEARSAL_GEMM
    print(f"{device_name(device)}: {gemm:.0f} GFLOP/s in bfloat16, matrices of {size}")
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / ("gpu-" + re.sub(r"[^A-Za-z0-9]+", "-", device_name(device)).strip("-").lower())
    rows = []
    for case in NETWORKS:
        for batch in options.batch:
            shape = (batch, 3, options.frames, options.size, options.size)
            for what, make in contenders(case, shape, device, eager=options.eager, with_peers=not options.no_peers):
                rows.append(measured(f"{case}: {what}", make, shape, case, gemm, device, options.rounds))
                print(rows[-1], flush=True)
                write_csv(table.with_suffix(".csv"), rows)  # after each row: a GPU may be taken away
    draw(table.with_suffix(".png"), rows, f"{device_name(device)}, bfloat16; fraction of the rate of a matrix product")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def contenders(
    case: str, shape: tuple[int, ...], device: torch.device, *, eager: bool, with_peers: bool
) -> Iterator[tuple[str, Callable[[], Callable[[], object]]]]:
    """Names, and the functions that prepare them."""
    recipe, peer = NETWORKS[case]
    network = describe_model(recipe).recipe.network
    runtimes = ("torch",) if eager else ("torch", "compile")
    for runtime in runtimes:
        yield (
            f"forward, i3d auto {runtime}",
            lambda runtime=runtime: forward_of(build_network(network), shape, device, runtime),
        )
    if with_peers:
        yield "forward, peer, bf16 autocast", lambda: autocast_of(peer(), shape, device)
    for runtime in runtimes:
        compiled = runtime == "compile"
        yield (
            f"step, i3d bf16 {runtime}",
            lambda compiled=compiled: step_of(build_network(network), shape, device, last=True, compiled=compiled),
        )
    if with_peers:
        yield "step, peer, bf16 autocast", lambda: step_of(peer(), shape, device, last=False, compiled=False)


def forward_of(net: Any, shape: tuple[int, ...], device: torch.device, runtime: str) -> Callable[[], object]:
    engine = Engine.create(net, ComputeConfig(precision="auto", runtime=runtime), device=device)  # type: ignore[arg-type]
    clips_NCTHW = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last_3d)
    return lambda: engine(clips_NCTHW)


def autocast_of(net: nn.Module, shape: tuple[int, ...], device: torch.device) -> Callable[[], object]:
    net, clips_NCTHW = net.eval().to(device), torch.rand(shape, device=device)

    @torch.inference_mode()
    def run() -> object:
        with torch.autocast(device.type, torch.bfloat16):
            return net(clips_NCTHW)

    return run


def step_of(
    net: nn.Module, shape: tuple[int, ...], device: torch.device, *, last: bool, compiled: bool
) -> Callable[[], object]:
    """SGD with momentum, gradients clipped."""
    net = net.train().to(device)
    clips_NCTHW, labels_N = torch.rand(shape, device=device), torch.zeros(shape[0], dtype=torch.long, device=device)
    if last:
        net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        clips_NCTHW = clips_NCTHW.contiguous(memory_format=torch.channels_last_3d)
    running = torch.compile(net) if compiled else net
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4, fused=last)

    def step() -> object:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            logits = running(clips_NCTHW)
        loss = F.cross_entropy(logits.float().reshape(*logits.shape[:2], -1).mean(2), labels_N)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 40.0)
        optimizer.step()
        return loss

    return step


def measured(
    name: str,
    make: Callable[[], Callable[[], object]],
    shape: tuple[int, ...],
    case: str,
    gemm: float,
    device: torch.device,
    rounds: int,
) -> Row:
    """Median milliseconds, clips a second, fraction of the rate of a matrix product, memory; or why it does not run."""
    clear(device)
    of_clip = network_cost(describe_model(NETWORKS[case][0]).recipe, (1, *shape[1:])).gflops
    gflop = shape[0] * of_clip * (3 if ": step" in name else 1)
    row: Row = {"what": name, "batch": shape[0]}
    try:
        run = make()
        seconds = [timed(run, device) for _ in range(rounds + 2)][2:]
    except (RuntimeError, InputError) as error:  # too much memory, a missing compiler
        nothing = dict.fromkeys(("median_ms", "clips_per_s", "fraction_of_gemm", "peak_mib"), "")
        return {**row, **nothing, "why_not": first_line(error)[:120]}
    median = statistics.median(seconds)
    peak = torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else ""
    return {
        **row,
        "median_ms": round(1000 * median, 2),
        "clips_per_s": round(shape[0] / median, 1),
        "fraction_of_gemm": round(gflop / median / gemm, 3),
        "peak_mib": peak,
        "why_not": "",
    }


def timed(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def clear(device: torch.device) -> None:
    torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def gemm_rate(device: torch.device) -> float:
    """GFLOP/s of a product of bfloat16 matrices."""
    size = GEMM if device.type == "cuda" else REHEARSAL_GEMM
    a, b = (torch.rand(size, size, device=device).bfloat16() for _ in range(2))
    seconds = statistics.median([timed(lambda: a @ b, device) for _ in range(12)][2:])
    return 2 * size**3 / 1e9 / seconds


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    shown = [row for row in rows if row["fraction_of_gemm"] != ""]
    colours = [GREY if "peer" in row["what"] else GREEN for row in shown]
    labels = [f"{row['clips_per_s']:g} clips/s" for row in shown]
    values = {f"{row['what']}, batch {row['batch']}": 100 * row["fraction_of_gemm"] for row in shown}
    draw_bars(path, values, labels, colours, title=title, axis="% of the rate of the matrix product")


if __name__ == "__main__":
    main()
