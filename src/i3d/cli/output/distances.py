"""Distances of sets of videos, on stdout. This module does not import PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from i3d.cli.output.tables import print_json

if TYPE_CHECKING:
    from i3d.video_distance.result import FvdResult

WHAT = {"shuffled": "shuffled frames", "frozen": "its middle frame repeated"}  # each generated clip


def print_fvd(result: FvdResult, *, json: bool) -> None:
    """The value first, then what it is made of, and the protocol in the last line."""
    if json:
        print_json(result.as_dict())
        return
    interval = ""
    if result.interval is not None:
        interval = f"  (95 % interval of this biased value {result.interval[0]:.4f} to {result.interval[1]:.4f})"
    print(f"{result.metric} {result.value:.4f}{interval}")
    if len(result.runs) > 1:
        each = f"{min(result.runs):.4f} to {max(result.runs):.4f}"
        print(f"of {len(result.runs)} draws: mean {result.mean_of_runs:.4f}, sd {result.spread_of_runs:.4f}, {each}")
    kernel = result.kernel
    subsets = f"{kernel.num_subsets} subsets of {kernel.subset:,} clips"
    print(f"{result.kernel_name} {kernel.mean:.6g}, sd {kernel.spread:.3g} ({subsets})")
    for order, value in result.control.items():
        print(f"{result.metric} {value:.4f} if each generated clip has {WHAT[order]}")
    print(f"protocol: {result.protocol_line}")
