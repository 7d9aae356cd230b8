"""A chart of bars, with what each stands for beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

BLUE: Final = "#4477aa"
GREEN: Final = "#228833"
GREY: Final = "#999999"


def bars(
    path: Path, values: Mapping[str, float], told: Sequence[str], colours: Sequence[str], *, title: str, axis: str
) -> None:
    figure = Figure(figsize=(9, 0.7 + 0.3 * len(values)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(list(values), list(values.values()), color=colours)
    axes.bar_label(drawn, told, padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_xlabel(axis)
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)
