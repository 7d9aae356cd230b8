"""Tables on stdout."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

NUMBERS: Final = (
    "parameters", "GFLOPs", "MB", "classes", "clips", "ms", "share", "precision", "recall", "F1", "views", "top-",
    "mean", "95 %", "forward", "shuffled", "reversed", "frozen",
    "GFLOP/s", "videos/s", "peak", "times",
)  # fmt: skip


def table(*columns: str) -> Table:
    """An empty table; numbers stand on the right."""
    table_ = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numbers = column.startswith(NUMBERS)
        table_.add_column(column, justify="right" if numbers else "left", overflow="fold")
    return table_


def gflops(value: float) -> str:
    """86.5; small ones with three digits: 0.0482."""
    return f"{value:,.1f}" if value >= 10 else f"{value:.3g}"


def show(shown: Table, console: Console | None = None) -> None:
    """As wide as the terminal; into a file or pipe, as wide as it needs to be."""
    console = console or Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
        console.width = console.measure(shown).maximum
    console.print(shown)


def format_shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
