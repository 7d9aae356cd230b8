"""Tables and JSON on stdout."""

import json as json_format
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from typing import Any, Final, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

NUMBERS: Final = (
    "parameters", "GFLOPs", "MB", "classes", "clips", "ms", "fraction", "precision", "recall", "F1", "views", "top-",
    "mean", "95 %", "forward", "shuffled", "reversed", "frozen",
    "GFLOP/s", "videos/s", "peak", "times",
)  # fmt: skip
Result = TypeVar("Result")


def print_table(
    columns: Iterable[str], rows: Iterable[Iterable[object]], *, last: Iterable[object] | None = None
) -> None:
    """A table; numbers stand on the right. `last` is a row below a line."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numbers = column.startswith(NUMBERS)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    if last is not None:
        table.add_section()
        table.add_row(*map(str, last))
    show(table)


def gflops(value: float) -> str:
    """86.5; small ones with three digits: 0.0482."""
    return f"{value:,.1f}" if value >= 10 else f"{value:.3g}"


def show(shown: Table) -> None:
    """As wide as the terminal; into a file or pipe, as wide as it needs to be."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
        console.width = console.measure(shown).maximum
    console.print(shown)


def print_result(result: Result, print_text: Callable[[Result], None], *, json: bool) -> None:
    if json:
        print_json(result)
    else:
        print_text(result)


def print_json(value: object) -> None:
    """Dataclasses as their fields, or as their `as_dict` has them."""
    print(json_format.dumps(value, indent=2, default=_json_value))


def _json_value(value: Any) -> Any:
    if hasattr(value, "as_dict"):
        return value.as_dict()
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def format_shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
