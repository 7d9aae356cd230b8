"""The result of one video."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from i3d.errors import printable
from i3d.evaluation.scoring import top_k


@dataclass(frozen=True)
class LabelScore:
    """A class by name and its score: a probability from 0 to 1."""

    label: str
    score: float

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ValueError(f"the score of {self.label!r} must be from 0 to 1, got {self.score}")

    def __str__(self) -> str:
        return f"{self.label} {100 * self.score:.1f} %"


@dataclass(frozen=True, repr=False)
class Prediction:
    """The most likely classes of one video, best first, or the reason why there are none."""

    path: str
    status: Literal["ok", "error"]
    predictions: tuple[LabelScore, ...]
    protocol: str  # how the scores were computed
    frames: int  # decoded from the video
    error: str = ""  # why there is no prediction; with status "ok", "warning: ..." about the file

    def __post_init__(self) -> None:
        if (self.status == "ok") != bool(self.predictions):
            raise ValueError(f"status {self.status!r} with {len(self.predictions)} predictions")
        scores = [p.score for p in self.predictions]
        if scores != sorted(scores, reverse=True):
            raise ValueError(f"predictions must come best first, got {scores}")

    @property
    def top1(self) -> LabelScore:
        """The most likely class. A video that failed has none: that is a ValueError."""
        if not self.predictions:
            raise ValueError(f"no prediction: {self.error}")
        return self.predictions[0]

    def __str__(self) -> str:
        return ", ".join(map(str, self.predictions)) if self.predictions else f"error: {self.error}"

    def __repr__(self) -> str:
        return f"Prediction({printable(self.path)}: {self})"

    def _repr_html_(self) -> str:
        return html_table([self])

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "path": self.path,
            "status": self.status,
            "predictions": [{"label": p.label, "score": p.score} for p in self.predictions],
            "protocol": self.protocol,
            "frames": self.frames,
            "error": self.error or None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        predictions = tuple(LabelScore(p["label"], p["score"]) for p in data["predictions"])
        return cls(data["path"], data["status"], predictions, data["protocol"], data["frames"], data["error"] or "")


def best_labels(probabilities_K: npt.ArrayLike, labels: Sequence[str], *, k: int) -> tuple[LabelScore, ...]:
    """The `k` most likely classes by name."""
    values: list[float] = np.asarray(probabilities_K, np.float64).tolist()
    if len(values) != len(labels):
        raise ValueError(f"{len(values)} scores for {len(labels)} labels")
    return tuple(LabelScore(labels[i], min(values[i], 1.0)) for i in top_k(values, k=k))


def html_table(rows: Sequence[Prediction]) -> str:
    """Predictions as an HTML table, for notebooks: a row a video, a bar behind each score."""
    cell = '<td style="text-align:left;background:linear-gradient(90deg,#8884 {0:.0f}%,transparent {0:.0f}%)">{1}</td>'
    lines = []
    for row in rows:
        name = f'<th style="text-align:left">{html.escape(printable(row.path))}</th>'
        cells = "".join(cell.format(100 * p.score, html.escape(str(p))) for p in row.predictions)
        if row.error:
            cells += f'<td style="text-align:left">{html.escape(row.error)}</td>'
        lines.append(f"<tr>{name}{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"
