"""The result of one video, and of many: a list with a table, files and a figure."""

import html
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError, printable
from i3d.evaluation.scoring import top_k
from i3d.utils.atomic_files import write_atomically
from i3d.utils.outputs import PNG_METADATA, is_drawing, new_file
from i3d.utils.text import csv_text, encode_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ROWS_SHOWN: Final = 20  # of a repr
MIN_FAMILIARITY: Final = 0.05  # one of twenty clips like those of training is below it
LOW_SCORE, FAR = "below the minimum score", "far from the training clips"
IMAGE_SUFFIXES: Final = (".png", ".pdf", ".svg")


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


@dataclass(frozen=True)
class Thresholds:
    """A video below one of these is "unsure"."""

    min_score: float = 0.0  # of the most likely class
    min_familiarity: float = MIN_FAMILIARITY

    def __post_init__(self) -> None:
        for name in ("min_score", "min_familiarity"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InputError(f"{name} {value:g}: must be from 0 to 1")


@dataclass(frozen=True, repr=False)
class Prediction:
    """The most likely classes of one video, best first, or the reason why there are none."""

    path: str
    status: Literal["ok", "error"]
    predictions: tuple[LabelScore, ...]
    protocol: str  # how the scores were computed
    frames: int  # decoded from the video
    error: str = ""  # why there is no prediction; with status "ok", "warning: ..." about the file
    coverage: float = 1.0  # the fraction of the video's length that was scored
    looped: bool = False  # its frames were repeated: it is shorter than what the network takes
    unsure: str = ""  # why no class is to be relied on; "": one is
    familiarity: float | None = None  # the fraction of held-out clips that are as far from the training clips

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

    def judged(self, thresholds: Thresholds) -> Self:
        """The prediction, with the reason if it is unsure."""
        if not self.predictions:
            return self
        reasons, familiarity = [], self.familiarity
        if self.top1.score < thresholds.min_score:
            reasons.append(f"{LOW_SCORE}, {100 * thresholds.min_score:g} %")
        if familiarity is not None and familiarity < thresholds.min_familiarity:
            share = f"only {100 * familiarity:.2g} %" if familiarity else "none"
            reasons.append(f"{FAR}: {share} of the held-out clips are as far")
        return replace(self, unsure="; ".join(reasons))

    @property
    def drawn_labels(self) -> tuple[LabelScore, ...]:
        """The classes as they are drawn on a video: the first is marked if the prediction is unsure."""
        if not self.unsure:
            return self.predictions
        return (replace(self.top1, label=f"{self.top1.label} (unsure)"), *self.predictions[1:])

    def __str__(self) -> str:
        if not self.predictions:
            return f"error: {self.error}"
        return ("unsure: " if self.unsure else "") + ", ".join(map(str, self.predictions))

    def __repr__(self) -> str:
        return f"Prediction({printable(self.path)}: {self})"

    def _repr_html_(self) -> str:
        return html_table([self])

    def to_csv(self, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> str:
        """A table of one row, as that of several `Predictions`."""
        return Predictions([self]).to_csv(path, force=force)

    def plot(self, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> "Figure":
        """Bars of the scores, as those of several `Predictions`."""
        return Predictions([self]).plot(path, force=force)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        scores = [asdict(p) for p in self.predictions]
        coverage = round(self.coverage, 4)
        return {**asdict(self), "predictions": scores, "coverage": coverage, "error": self.error or None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        predictions = tuple(LabelScore(**p) for p in data["predictions"])
        return cls(**{**data, "predictions": predictions, "error": data["error"] or ""})


class Predictions(list[Prediction]):
    """A list of the predictions of several videos, in their order; those that could not be read have status "error".

    predictions = i3d.predict(["a.mp4", "b.mp4"])
    predictions[0].top1, predictions.to_dicts(), predictions.to_csv("actions.csv"), predictions.plot()
    """

    @overload
    def __getitem__(self, index: SupportsIndex) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Prediction | Self:
        chosen = super().__getitem__(index)
        return chosen if isinstance(chosen, Prediction) else type(self)(chosen)

    def __add__(self, other: list[Prediction]) -> Self:  # type: ignore[override]
        return type(self)(super().__add__(other))

    def copy(self) -> Self:
        return type(self)(self)

    def __repr__(self) -> str:
        names = [printable(row.path) for row in self[:MAX_ROWS_SHOWN]]
        width = max((len(name) for name in names), default=0)
        lines = [
            f"  {name:<{width}}  {'unsure: ' * bool(row.unsure)}{row.top1 if row.predictions else row}"
            for name, row in zip(names, self, strict=False)
        ]
        if len(self) > len(lines):
            lines.append(f"  ... and {len(self) - len(lines)} more")
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return "\n".join([f"Predictions of {len(self)} {'video' if len(self) == 1 else 'videos'}{failed}", *lines])

    def _repr_html_(self) -> str:
        return html_table(self)

    @property
    def failed(self) -> tuple[Prediction, ...]:
        """The videos that could not be read."""
        return tuple(row for row in self if row.status == "error")

    def to_dicts(self) -> list[dict[str, Any]]:
        """The JSON form of each prediction."""
        return [row.to_dict() for row in self]

    def to_csv(self, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> str:
        """A row a video, with as many columns as the longest has classes; also written to `path`, if it is given.

        A name that does not end in .csv, and an existing file unless `force` replaces it, are an InputError.
        """
        text = to_csv(self, top_k=max((len(row.predictions) for row in self), default=1))
        if path is not None:
            out = new_file(path, (".csv",), force=force)
            write_atomically(out, encode_names(text, out))
        return text

    def plot(self, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> "Figure":
        """Bars of the scores of each video as a matplotlib figure; also written to `path`, if it is given.

        A name that does not end in .png, .pdf or .svg is an InputError, and so is an existing file that i3d did not
        draw, unless `force` replaces it.
        """
        from matplotlib.figure import Figure

        out = None if path is None else new_file(path, IMAGE_SUFFIXES, force=force, is_own=is_drawing)

        rows = [row for row in self if row.predictions]
        height = 0.6 + 0.25 * sum(len(row.predictions) + 2 for row in rows)
        figure = Figure(figsize=(7, max(height, 1)), layout="constrained")
        ratios = [len(row.predictions) for row in rows] or [1]
        axes = figure.subplots(len(rows) or 1, squeeze=False, sharex=True, height_ratios=ratios)[:, 0]
        for axis, row in zip(axes, rows, strict=False):
            labels, scores = [p.label for p in row.predictions], [p.score for p in row.predictions]
            bars = axis.barh(range(len(labels)), scores)
            axis.set_yticks(range(len(labels)), labels)
            axis.bar_label(bars, fmt="{:.2f}", padding=3)
            axis.invert_yaxis()
            axis.set_title(printable(row.path), loc="left", fontsize="medium")
            axis.spines[["top", "right"]].set_visible(False)
        axes[-1].set(xlim=(0, 1.08), xlabel="score")
        if out is not None:
            content, suffix = io.BytesIO(), out.suffix.lower()
            figure.savefig(content, format=suffix[1:], dpi=150, metadata=PNG_METADATA if suffix == ".png" else None)
            write_atomically(out, content.getvalue())
        return figure


def to_csv(rows: Iterable[Prediction], *, top_k: int) -> str:
    """A row a video: path, status, `top_k` labels and scores, error, and what is known of the result."""
    ranks = range(1, top_k + 1)
    scores = [f"{word}{rank}" for rank in ranks for word in ("top", "score")]
    table: list[list[object]] = [["path", "status", *scores, "error", "coverage", "looped", "unsure", "familiarity"]]
    for row in rows:
        cells: list[object] = [cell for p in row.predictions for cell in (p.label, p.score)]
        cells += [""] * (2 * top_k - len(cells))
        extent = [f"{row.coverage:.4g}", "yes" if row.looped else ""] if row.predictions else ["", ""]
        familiarity = "" if row.familiarity is None else f"{row.familiarity:.4g}"
        table.append([row.path, row.status, *cells, row.error, *extent, row.unsure, familiarity])
    return csv_text(table)


def write_predictions(path: Path, rows: Sequence[Prediction], *, top_k: int) -> None:
    """Write all predictions to `path`, as .json, .jsonl or else .csv, whole or not at all."""
    match path.suffix.lower():
        case ".json":
            text = json.dumps([row.to_dict() for row in rows], indent=2) + "\n"
        case ".jsonl":
            text = "".join(json.dumps(row.to_dict()) + "\n" for row in rows)
        case _:
            text = to_csv(rows, top_k=top_k)
    write_atomically(path, encode_names(text, path))


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
        if row.unsure:
            cells += f'<td style="text-align:left">unsure: {html.escape(row.unsure)}</td>'
        if row.error:
            cells += f'<td style="text-align:left">{html.escape(row.error)}</td>'
        lines.append(f"<tr>{name}{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"
