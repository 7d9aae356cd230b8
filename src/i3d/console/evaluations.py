"""What a test found, on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import typer

from i3d.console.tables import show
from i3d.console.tables import table as new_table
from i3d.errors import printable

if TYPE_CHECKING:
    from i3d.results.evaluation import Evaluation, Figures

MOST: Final = 20  # classes that are all shown
WORST: Final = 10  # of more classes, those with the lowest F1


def tell_evaluation(found: Evaluation, figures: Figures) -> None:
    """A table of classes, then the figures, each a line, and how they were made."""
    left_out = "counted as wrong" if figures.bad_as_wrong else "left out"
    bad = f" ({figures.num_bad} unreadable, {left_out})" if figures.num_bad else ""
    if figures.mean_average_precision is not None:
        typer.echo(f"mean average precision {figures.mean_average_precision:.4f} of {figures.num_clips} clips{bad}")
    else:
        _tell_classes(found, figures)
        _tell_accuracy(found, figures, bad)
    typer.echo(f"protocol: {found.protocol}")


def _tell_classes(found: Evaluation, figures: Figures) -> None:
    by = figures.by_class
    assert by is not None
    there = [k for k in range(len(found.classes)) if by.num_clips_K[k] or not np.isnan(by.precision_K[k])]
    shown = there
    if len(there) > MOST:
        shown = sorted(there, key=lambda k: (by.f1_K[k], k))[:WORST]
        typer.echo(f"the {WORST} classes with the lowest F1, of {len(there)} (--out writes all)")
    table = new_table("class", "clips", "precision", "recall", "F1")
    for k in shown:
        values = (by.precision_K[k], by.recall_K[k], by.f1_K[k])
        numbers = ("-" if np.isnan(value) else f"{value:.3f}" for value in values)
        table.add_row(printable(found.classes[k]), str(by.num_clips_K[k]), *numbers)
    show(table)


def _tell_accuracy(found: Evaluation, figures: Figures, bad: str) -> None:
    f = figures
    assert f.top1 is not None
    assert f.top1_interval is not None
    assert f.largest_class is not None
    low, high = f.top1_interval
    typer.echo(f"top-1 {f.top1:.4f} (95 % interval {low:.2f} to {high:.2f}) of {f.num_clips} clips{bad}")
    if f.top5 is not None:
        typer.echo(f"top-5 {f.top5:.4f}")
    typer.echo(f"mean class {f.mean_class:.4f}")
    typer.echo(f"calibration error {f.calibration:.4f}")
    largest = printable(found.classes[int(np.bincount(found.class_N).argmax())])
    typer.echo(f'always "{largest}" would give {f.largest_class:.4f}')
    if f.top1 <= f.largest_class:
        typer.echo(f'the model is no better than always naming "{largest}"')
