"""The results of many videos: a list with a table, files and a picture of it; and the log by which a run resumes."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

from i3d.data.resume import ResumeLog
from i3d.errors import InputError, printable
from i3d.inference.prediction import Prediction, html_table
from i3d.utils.atomic_files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES: Final = (".csv", ".json", ".jsonl")
MAX_ROWS_SHOWN: Final = 20  # of a repr


class Predictions(Sequence[Prediction]):
    """The predictions of several videos, in their order; those that could not be read have status "error".

    predictions = i3d.predict(["a.mp4", "b.mp4"])
    predictions[0].top1, predictions.to_dicts(), predictions.to_csv("actions.csv"), predictions.plot()
    """

    def __init__(self, rows: Iterable[Prediction]) -> None:
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> Predictions: ...
    def __getitem__(self, index: int | slice) -> Prediction | Predictions:
        return Predictions(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Predictions) and self._rows == other._rows

    def __hash__(self) -> int:
        return hash(self._rows)

    def __repr__(self) -> str:
        names = [printable(row.path) for row in self._rows[:MAX_ROWS_SHOWN]]
        width = max((len(name) for name in names), default=0)
        lines = [
            f"  {name:<{width}}  {row.top1 if row.predictions else row}"
            for name, row in zip(names, self._rows, strict=False)
        ]
        if len(self) > len(lines):
            lines.append(f"  ... and {len(self) - len(lines)} more")
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return "\n".join([f"Predictions of {len(self)} videos{failed}", *lines])

    def _repr_html_(self) -> str:
        return html_table(self._rows)

    @property
    def failed(self) -> tuple[Prediction, ...]:
        """The videos that could not be read."""
        return tuple(row for row in self._rows if row.status == "error")

    def to_dicts(self) -> list[dict[str, Any]]:
        """The JSON form of each prediction."""
        return [row.to_dict() for row in self._rows]

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """A row a video, with as many columns as the longest has classes; also written to `path`, if it is given."""
        text = to_csv(self._rows, top_k=max((len(row.predictions) for row in self._rows), default=1))
        if path is not None:
            write_atomically(Path(path), text.encode("utf-8", "surrogateescape"))
        return text

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Bars of the scores of each video as a matplotlib figure; also written to `path`, if it is given."""
        from matplotlib.figure import Figure

        rows = [row for row in self._rows if row.predictions]
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


def check_suffix(path: Path) -> None:
    """An InputError if the suffix of a results file names no format."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {printable(str(path))}: the name must end in {', '.join(SUFFIXES)}")


def write_predictions(path: Path, rows: Sequence[Prediction], *, top_k: int) -> None:
    """Write all predictions to `path`, in the format that its suffix names, whole or not at all."""
    check_suffix(path)
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
