"""What `i3d export` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from i3d.cli.output.tables import show
from i3d.errors import printable

if TYPE_CHECKING:
    from i3d.exporting.api import ExportResult


def print_export(result: ExportResult) -> None:
    """What the file takes and returns, and how far it is from PyTorch."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in [
        ("input", result.input),
        ("outputs", ", ".join(result.outputs)),
        ("checked", result.checked),
        ("difference", f"{result.difference:.1e} of the largest value, {result.tolerance:g} is allowed"),
        *(result.int8.lines.items() if result.int8 is not None else ()),
        ("wrote", f"{printable(result.target)} ({result.format}), {result.num_bytes / 1e6:.1f} MB"),
    ]:
        table.add_row(name, value)
    show(table)
