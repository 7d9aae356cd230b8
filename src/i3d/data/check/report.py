"""The result of the check of a dataset: a row for each clip, also as CSV."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from i3d.data.check.clip import Status
from i3d.errors import printable
from i3d.utils.atomic_files import write_atomically
from i3d.utils.text import csv_text, encode_names

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet evaluates cells that begin with these


@dataclass(frozen=True)
class ClipReport:
    """One row: a listed clip and the result of its check. `width` to `sha256` are those of its whole file."""

    path: str
    line: int  # in the list; 0: none
    split: str
    labels: tuple[str, ...]
    status: Status  # of its most serious problem
    reason: str  # all problems, on one line
    num_frames: int | None = None  # decodable frames of the clip
    listed_frames: int | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    sha256: str = ""
    duplicate_of: str = ""  # the path of an earlier clip
    fixed_to: str = ""  # the file with its re-encoded frames


@dataclass(frozen=True)
class DatasetReport:
    """All clips in the order of the list, and the number of clips of each status."""

    source: str
    rows: tuple[ClipReport, ...] = field(repr=False)
    counts: dict[str, int]  # the most serious first
    warnings: tuple[str, ...]  # about the list

    @property
    def num_bad(self) -> int:
        """Number of clips with a problem."""
        return len(self.rows) - self.counts.get("ok", 0)


def write_report(path: Path, report: DatasetReport) -> None:
    """Write the rows as CSV, whole or not at all.

    No cell is a formula for a spreadsheet: such paths get the prefix `./`, other texts an apostrophe.
    """
    names = [f.name for f in fields(ClipReport)]
    rows = [["label" if name == "labels" else name for name in names]]
    rows += [[_cell(name, getattr(row, name)) for name in names] for row in report.rows]
    write_atomically(path, encode_names(csv_text(rows), path))


def _cell(name: str, value: Any) -> str:
    if value is None or (name == "line" and not value):
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = "|".join(value) if isinstance(value, tuple) else str(value)
    if text.startswith(FORMULA) and not isinstance(value, int):
        text = f"./{text}" if name in ("path", "duplicate_of", "fixed_to") else f"'{text}"
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return printable(text)
    return text
