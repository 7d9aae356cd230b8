"""Timelines of videos, on stdout. This module does not import PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from i3d.cli.messages import log
from i3d.errors import printable

if TYPE_CHECKING:
    from i3d.timelines.find import Timeline


def print_timeline(row: Timeline, *, json: bool, many: bool) -> None:
    """The segments of a video on stdout, a line each, and what is wrong with it on stderr."""
    if row.error:
        log.error(row.error)
        return
    for note in row.notes:
        log.warning("%s: %s", printable(row.path), note)
    if json:
        return
    if many:
        print(printable(row.path))
    width = max((cell_len(printable(segment.label)) for segment in row.segments), default=0)
    for s in row.segments:
        print(f"{clock(s.start):>12} {clock(s.stop):>12}  {set_cell_size(printable(s.label), width)}  {s.score:.2f}")


def clock(seconds: float) -> str:
    """1:02:03.400, or 2:03.400 of less than an hour."""
    minutes, rest = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{rest / 1000:06.3f}"
