"""Curves of one or several runs: loss, accuracy and learning rate over the steps."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from i3d.errors import InputError, printable
from i3d.training.log_reader import read_curves
from i3d.utils.atomic_files import write_atomically


def draw_curves(out: Path, logs: Mapping[str, Path]) -> None:
    """Draw the logs of some runs, by their names, into a PNG. Without any line to draw, that is an InputError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs = {name: read_curves(path) for name, path in logs.items()}
    if not any(any(curves.values()) for curves in runs.values()):
        raise InputError(f"{printable(str(next(iter(logs.values()))))}: holds nothing to draw yet")
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(2, 2)
    titles = [
        ("loss", "Loss"),
        ("accuracy", "Accuracy on training clips"),
        ("lr", "Learning rate"),
        ("validation", "Validation"),
    ]
    for axes, (kind, title) in zip(panels.flat, titles, strict=True):
        drawn = False
        for name, curves in runs.items():
            for style, (label, (steps, values)) in zip(cycle(("-", "--", ":")), curves.get(kind, {}).items()):
                marker = "o" if kind == "validation" or len(steps) == 1 else ""
                text = f"{name} {label}".replace("$", "\\$") if len(runs) > 1 else label
                axes.plot(steps, values, label=text, marker=marker, markersize=4, linestyle=style)
                drawn = True
        axes.set_title(title, loc="left")
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if drawn:
            axes.legend(frameon=False, fontsize=9)
        else:
            axes.text(0.5, 0.5, "none yet", ha="center", va="center", transform=axes.transAxes, color="grey")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(out, content.getvalue())
