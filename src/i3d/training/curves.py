"""Curves of one or several runs: loss, accuracy and learning rate over the steps."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

from i3d.errors import InputError
from i3d.training.log_reader import Curves, read_curves
from i3d.utils.arguments import checks_types
from i3d.utils.drawing import SOFT, open_figure
from i3d.utils.outputs import is_drawing, new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS: Final = {
    "loss": "Loss", "accuracy": "Accuracy on training clips", "lr": "Learning rate", "validation": "Validation",
}  # fmt: skip


@checks_types
def draw_curves(out: Path, logs: Mapping[str, Path], *, force: bool = False) -> None:
    """Draw the logs of some runs, by their names, into a PNG. Without any line to draw, that is an InputError.

    So is an existing file that i3d did not draw, unless `force` replaces it.
    """
    out = new_file(out, force=force, is_own=is_drawing)
    runs = {name: read_curves(path) for name, path in logs.items()}
    if not any(any(curves.values()) for curves in runs.values()):
        raise InputError(f"{next(iter(logs.values()))}: holds nothing to draw yet")
    with open_figure(out, 1210, 770) as figure:
        for axes, (kind, title) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
            _draw_panel(axes, kind, runs)
            axes.set_title(title)


def _draw_panel(axes: "Axes", kind: str, runs: Mapping[str, Curves]) -> None:
    for name, curves in runs.items():
        for style, (label, (steps, values)) in zip(cycle(("-", "--", ":")), curves.get(kind, {}).items()):
            marker = "o" if kind == "validation" or len(steps) == 1 else ""
            text = f"{name} {label}" if len(runs) > 1 else label
            axes.plot(steps, values, label=text, marker=marker, markersize=4, linestyle=style)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "none yet", ha="center", va="center", transform=axes.transAxes, color=SOFT)
