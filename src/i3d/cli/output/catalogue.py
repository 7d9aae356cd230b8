"""The list of `i3d models`, without PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from i3d.cli.output.tables import format_shape, show
from i3d.cli.output.tables import table as new_table

if TYPE_CHECKING:
    from i3d.diagnostics.model_zoo import ModelZoo, RecipeRow, WeightsRow


def print_catalogue(zoo: ModelZoo) -> None:
    """The shipped weights, the recipes, the networks."""
    print("WEIGHTS in the package\n")
    for w in zoo.weights:
        print(f"{w.name}\n    {w.classes} classes, {w.megabytes:.1f} MB, {w.licence}, {_format_cost(w)}")
        print(f"    published: {w.published}\n")
    print("RECIPES\n")
    for r in zoo.recipes:
        print("\n  = ".join((r.name, *r.aliases)))
        print(f"    {r.network}, {r.classes} classes, {_format_cost(r)}\n    scores {r.protocol}")
        print(f"    published: top-1 / top-5 {r.published}\n" if r.published else "")
    print("NETWORKS")
    networks = new_table("network", "parameters (M)", "GFLOPs a view", "view (C x T x H x W)")
    for n in zoo.networks:
        millions = f"{n.parameters / 1e6:.2f}"
        networks.add_row(n.name, millions, f"{n.gflops:.1f}", format_shape(n.view_NCTHW[1:]))
    show(networks)
    print(
        "Accuracies are in percent on Kinetics-400 and quoted from their sources; none was measured here.\n"
        "A multiply-add counts as two operations.\n"
        "`i3d models show NAME` prints the layers of a network, a recipe or a weights file."
    )


def _format_cost(cost: RecipeRow | WeightsRow) -> str:
    view = format_shape(cost.view_NCTHW[1:])
    return f"{cost.parameters / 1e6:.2f} M parameters, {cost.gflops:.1f} GFLOPs a view of {view}"
