"""Predictions as files: CSV, JSON, JSON lines; and kept for a run that goes on."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from i3d.data.resume import ResumeLog, file_signature
from i3d.errors import InputError, printable
from i3d.inference.prediction import LabelScore, Prediction
from i3d.utils.atomic_files import write_atomically

SUFFIXES: Final = (".csv", ".json", ".jsonl")


def as_dict(row: Prediction) -> dict[str, Any]:
    """The JSON form of a prediction."""
    return {
        "path": row.path,
        "status": row.status,
        "predictions": [{"label": p.label, "score": p.score} for p in row.predictions],
        "protocol": row.protocol,
        "frames": row.frames,
        "error": row.error or None,
    }


def from_dict(data: Mapping[str, Any]) -> Prediction:
    """The inverse of `as_dict`."""
    predictions = tuple(LabelScore(p["label"], p["score"]) for p in data["predictions"])
    return Prediction(data["path"], data["status"], predictions, data["protocol"], data["frames"], data["error"] or "")


def as_json(rows: Iterable[Prediction]) -> str:
    """A JSON list of predictions. File names that are not UTF-8 are escaped as Python does (surrogates)."""
    return json.dumps([as_dict(row) for row in rows], indent=2)


def check_suffix(path: Path) -> None:
    """An InputError if the name of a results file does not say which format it is to have."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {printable(str(path))}: the name must end in {', '.join(SUFFIXES)}")


def write_predictions(path: Path, rows: Sequence[Prediction], *, top_k: int) -> None:
    """Write all predictions to `path`, in the format that its suffix names, whole or not at all."""
    check_suffix(path)
    match path.suffix.lower():
        case ".json":
            text = as_json(rows) + "\n"
        case ".jsonl":
            text = "".join(json.dumps(as_dict(row)) + "\n" for row in rows)
        case _:
            text = _csv(rows, top_k=top_k)
    write_atomically(path, text.encode("utf-8", "surrogateescape"))


def _csv(rows: Iterable[Prediction], *, top_k: int) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(1, top_k + 1)
    writer.writerow(["path", "status", *(f"{what}{k}" for k in ranks for what in ("top", "score")), "error"])
    for row in rows:
        cells: list[object] = [cell for p in row.predictions for cell in (p.label, p.score)]
        cells += [""] * (2 * top_k - len(cells))
        writer.writerow([row.path, row.status, *cells, row.error])
    return text.getvalue()


class PredictionLog(ResumeLog):
    """The predictions of a run. Videos that failed are not kept: they are tried again."""

    def prediction(self, path: str) -> Prediction | None:
        """The prediction of a video that was made with the same settings, if the file has not changed since."""
        row = self.done(path, lambda: file_signature(path))
        return None if row is None else from_dict(row)

    def keep(self, row: Prediction) -> None:
        if row.status == "ok":
            self.add(row.path, file_signature(row.path), as_dict(row))
