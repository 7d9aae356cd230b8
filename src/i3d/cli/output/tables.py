"""Tables and JSON on stdout."""

import json as json_format
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Final, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

NUMBERS: Final = (
    "parameters", "GFLOPs", "MB", "classes", "clips", "ms", "fraction", "precision", "recall", "F1", "views", "top-",
    "mean", "95 %", "forward", "shuffled", "reversed", "frozen", "fall",
    "GFLOP/s", "videos/s", "peak", "times", "segments", "value",
)  # fmt: skip
MIN_TEXT, GAP = 12, 3  # characters of a shortened name in a table, and between two columns
Result = TypeVar("Result")


def print_table(
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    *,
    last: Iterable[object] | None = None,
    one_line: bool = False,
) -> None:
    """A table; numbers stand on the right. `last` is a row below a line.

    `one_line`: on a terminal, each row is one line; names are shortened, and the last columns left out with a note.
    """
    names, cells = [*columns], [[str(cell) for cell in row] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    widths = _fitting_widths(names, cells) if one_line else [None] * len(names)
    shown = len(widths)
    for column, width in zip(names[:shown], widths, strict=True):
        how: dict[str, Any] = {"overflow": "ellipsis", "no_wrap": True} if one_line else {"overflow": "fold"}
        table.add_column(column, justify="right" if column.startswith(NUMBERS) else "left", width=width, **how)
    for row in cells:
        table.add_row(*row[:shown])
    if last is not None:
        table.add_section()
        table.add_row(*map(str, last))
    show(table)
    if shown < len(names):
        print(f"for a wider terminal, or --json: {', '.join(names[shown:])}")


def _fitting_widths(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int | None]:
    """The widths of the columns that fit into the terminal. Numbers stay whole, texts have at least `MIN_TEXT`."""
    console = Console()
    room = console.width if console.is_terminal else 10_000
    natural = [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]
    widths: list[int] = []
    for name, width in zip(names, natural, strict=True):
        least = width if name.startswith(NUMBERS) else min(width, MIN_TEXT)
        if widths and room < least + GAP:
            break
        widths.append(least)
        room -= least + GAP
    fitting: list[int | None] = []
    for least, width in zip(widths, natural, strict=False):  # the first columns take the room that is left
        more = min(width - least, max(room, 0))
        room -= more
        fitting.append(least + more)
    return fitting


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
