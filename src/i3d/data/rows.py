"""The rows of a list or layout as its reader returns them, before labels become class numbers."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np

Label = str | int
COLUMNS: Final = ("labels", "lines", "starts", "ends", "num_frames", "first_frames", "scores", "groups")
LabelKind = Literal["names", "numbers", "either"]


@dataclass
class Rows:
    """A table that the readers of all formats fill by `add`; `build_annotations` checks and converts it."""

    paths: list[str] = field(default_factory=list)
    labels: list[tuple[Label, ...]] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("i"))
    starts: array[float] = field(default_factory=lambda: array("d"))
    ends: array[float] = field(default_factory=lambda: array("d"))
    num_frames: array[int] = field(default_factory=lambda: array("i"))
    first_frames: array[int] = field(default_factory=lambda: array("i"))
    scores: array[float] = field(default_factory=lambda: array("d"))  # of predictions; NaN: an annotation
    groups: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    # What a label that is a text means: a name, a number, or what all of the list look like. An int is a number.
    label_kind: LabelKind = "names"
    label_column: str = ""  # of a table
    no_label: str = "has no label; add one"  # why, and the next step
    classes: tuple[str, ...] | None = None  # if the format defines them
    is_frames: bool = False
    are_segments: bool = False  # the rows are what happens in longer videos
    of_players: bool = False  # of a format whose time 0 may be the first sound
    empty: list[tuple[str, str]] = field(default_factory=list)  # videos without a row, and their splits
    seconds: dict[str, float] = field(default_factory=dict)  # lengths of videos, where the list states them
    is_json: bool = False  # errors name a clip by its place in the list, from 0
    warnings: list[str] = field(default_factory=list)
    file_names: list[str] = field(default_factory=list)  # if the clips come from several lists
    files: array[int] = field(default_factory=lambda: array("h"))

    def begin(self, file: Path) -> None:
        """Attribute the following rows to this list."""
        self.file_names.append(str(file))

    def where(self, index: int, source: Path) -> str:
        """`file:line` of a row, the begin of error messages."""
        name = self.file_names[self.files[index]] if self.file_names else str(source)
        if self.is_json and not self.file_names:
            return f"{name}: clip {index}"
        return name + (f":{self.lines[index]}" if self.lines[index] else "")

    def add(
        self,
        path: str,
        labels: tuple[Label, ...],
        *,
        line: int = 0,
        start: float = np.nan,
        end: float = np.nan,
        num_frames: int = -1,
        first_frame: int = 0,
        score: float = np.nan,
        group: str = "",
        split: str = "",
    ) -> None:
        self.paths.append(path)
        self.labels.append(labels)
        self.lines.append(line)
        self.starts.append(start)
        self.ends.append(end)
        self.num_frames.append(num_frames)
        self.first_frames.append(first_frame)
        self.scores.append(score)
        self.groups.append(group)
        self.splits.append(split)
        self.files.append(max(len(self.file_names) - 1, 0))

    def select(self, indices: Sequence[int]) -> None:
        """Leave only these rows, in this order."""
        for name in ("paths", "splits", "files", *COLUMNS):
            column = getattr(self, name)
            values = [column[index] for index in indices]
            setattr(self, name, values if isinstance(column, list) else array(column.typecode, values))

    def extend(self, part: Rows, *, split: str, prefix: str = "") -> None:
        """Add the rows of another list, all in one split, with a prefix of their paths."""
        for column in COLUMNS:
            getattr(self, column).extend(getattr(part, column))
        self.warnings.extend(part.warnings)
        self.are_segments |= part.are_segments
        self.label_kind, self.label_column, self.no_label = part.label_kind, part.label_column, part.no_label
        self.paths.extend(f"{prefix}{path}" for path in part.paths)
        self.splits.extend([split] * len(part.paths))
        self.files.extend([len(self.file_names) - 1] * len(part.paths))
