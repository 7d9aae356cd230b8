"""The results of many videos: a list with a table, files and a picture of it; and the log by which a run resumes."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, SupportsIndex, overload

from i3d.data.resume import ResumeLog
from i3d.errors import printable
from i3d.inference.prediction import Prediction, html_table
from i3d.utils.atomic_files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ROWS_SHOWN: Final = 20  # of a repr


class Predictions(tuple[Prediction, ...]):
    """The predictions of several videos, in their order; those that could not be read have status "error".

    predictions = i3d.predict(["a.mp4", "b.mp4"])
    predictions[0].top1, predictions.to_dicts(), predictions.to_csv("actions.csv"), predictions.plot()
    """

    @overload
    def __getitem__(self, index: SupportsIndex) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> Predictions: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Prediction | Predictions:
        chosen = super().__getitem__(index)
        return chosen if isinstance(chosen, Prediction) else Predictions(chosen)

    def __repr__(self) -> str:
        names = [printable(row.path) for row in self[:MAX_ROWS_SHOWN]]
        width = max((len(name) for name in names), default=0)
        lines = [
            f"  {name:<{width}}  {row.top1 if row.predictions else row}" for name, row in zip(names, self, strict=False)
        ]
        if len(self) > len(lines):
            lines.append(f"  ... and {len(self) - len(lines)} more")
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return "\n".join([f"Predictions of {len(self)} videos{failed}", *lines])

    def _repr_html_(self) -> str:
        return html_table(self)

    @property
    def failed(self) -> tuple[Prediction, ...]:
        """The videos that could not be read."""
        return tuple(row for row in self if row.status == "error")

    def to_dicts(self) -> list[dict[str, Any]]:
        """The JSON form of each prediction."""
        return [row.to_dict() for row in self]

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """A row a video, with as many columns as the longest has classes; also written to `path`, if it is given."""
        text = to_csv(self, top_k=max((len(row.predictions) for row in self), default=1))
        if path is not None:
            write_atomically(Path(path), text.encode("utf-8", "surrogateescape"))
        return text

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Bars of the scores of each video as a matplotlib figure; also written to `path`, if it is given."""
        from matplotlib.figure import Figure

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
        if path is not None:
            content = io.BytesIO()
            figure.savefig(content, format=Path(path).suffix[1:] or "png", dpi=150)
            write_atomically(Path(path), content.getvalue())
        return figure


def to_csv(rows: Iterable[Prediction], *, top_k: int) -> str:
    """A row a video: path, status, `top_k` labels and scores, error."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(1, top_k + 1)
    writer.writerow(["path", "status", *(f"{what}{k}" for k in ranks for what in ("top", "score")), "error"])
    for row in rows:
        cells: list[object] = [cell for p in row.predictions for cell in (p.label, p.score)]
        cells += [""] * (2 * top_k - len(cells))
        writer.writerow([row.path, row.status, *cells, row.error])
    return text.getvalue()


def to_json(rows: Iterable[Prediction]) -> str:
    """A JSON list of predictions. File names that are not UTF-8 are escaped as Python does (surrogates)."""
    return json.dumps([row.to_dict() for row in rows], indent=2)


def write_predictions(path: Path, rows: Sequence[Prediction], *, top_k: int) -> None:
    """Write all predictions to `path`, as .json, .jsonl or else .csv, whole or not at all."""
    match path.suffix.lower():
        case ".json":
            text = to_json(rows) + "\n"
        case ".jsonl":
            text = "".join(json.dumps(row.to_dict()) + "\n" for row in rows)
        case _:
            text = to_csv(rows, top_k=top_k)
    write_atomically(path, text.encode("utf-8", "surrogateescape"))


def prediction_log(
    out: Path, settings: Mapping[str, Any], paths: Collection[str], *, force: bool
) -> ResumeLog[Prediction]:
    """The log by which a run that writes predictions to `out` resumes."""
    return ResumeLog(out, settings, paths, encode=Prediction.to_dict, decode=Prediction.from_dict, force=force)
