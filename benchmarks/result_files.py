"""The output of benchmarks: a table as CSV, and a chart, with the hardware in their names."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from i3d.utils.device import processor

BLUE: Final = "#4477aa"
GREEN: Final = "#228833"
GREY: Final = "#999999"
Row = dict[str, Any]


def result_path(folder: Path, name: str, *, threads: int) -> Path:
    """The path of a table of this machine, without its suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    hardware = re.sub(r"[^A-Za-z0-9]+", "-", f"{processor()}-{threads}-threads").strip("-").lower()
    return folder / f"{name}-{hardware}"


def machine_name(threads: int) -> str:
    """The title of a chart."""
    return f"{processor()}, {threads} threads"


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw_bars(
    path: Path, values: Mapping[str, float], labels: Sequence[str], colours: Sequence[str], *, title: str, axis: str
) -> None:
    """A bar for each value, with a label at its end."""
    names = 0.08 * max(map(len, values))  # inches
    figure = Figure(figsize=(names + 6, 0.9 + 0.3 * len(values)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(list(values), list(values.values()), color=colours)
    axes.bar_label(drawn, labels, padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.25, y=0.02)
    axes.set_xlabel(axis)
    axes.set_title(title, fontsize=10)
    figure.savefig(path, dpi=120)
