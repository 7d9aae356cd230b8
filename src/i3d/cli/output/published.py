"""What `i3d publish` and `i3d push` print. This module does not import PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from i3d.cli.output.tables import show
from i3d.errors import printable

if TYPE_CHECKING:
    from i3d.publishing.folder import PublishedModel
    from i3d.publishing.sending import PushedModel


def print_published(model: PublishedModel) -> None:
    """The files of a published model, and the next step."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("wrote", printable(model.folder))
    table.add_row("files", ", ".join(map(printable, model.files)))
    table.add_row("licence", model.licence)
    table.add_row("metrics", ", ".join(map(printable, model.tested)) or "none")
    table.add_row(
        "next", f"read {printable(model.folder)}/README.md, then `i3d push {printable(model.folder)} owner/name`"
    )
    show(table)


def print_pushed(model: PushedModel) -> None:
    """Where a model is now, and how it is used."""
    print(f"sent to {model.repository}: {printable(model.address)}")
    print(f"use: i3d predict clip.mp4 --model hub:{model.repository}")
