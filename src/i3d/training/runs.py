"""Runs of training side by side: what each is, how far it came, how good it was, in what they differ."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i3d.errors import InputError
from i3d.training.logger import read_log
from i3d.training.run_folder import DONE, LOG, RUN
from i3d.utils.arguments import checks_types
from i3d.utils.folders import walk_folders


@dataclass(frozen=True)
class RunSummary:
    """One run."""

    folder: str
    recipe: str
    state: str  # done, unfinished
    steps: int
    best: float | None  # of the validations, by the recipe's `best_by`
    best_step: int
    loss: float | None  # of the last line of the log
    started: str
    seed: int
    settings: dict[str, Any]  # those in which the runs differ


@checks_types
def list_runs(folder: Path) -> list[RunSummary]:
    """The runs in a folder and below it, by name. None is an InputError; a damaged one, too, with its name."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that holds runs")
    paths = sorted(Path(place) for place, _, files in walk_folders(folder) if RUN in files)
    if not paths:
        raise InputError(f"{folder}: holds no training log; a run that only fits a classifier writes none")
    records = {path: _record(path) for path in paths}
    settings = {path: _flat(record["config"]["recipe"]) for path, record in records.items()}
    keys = sorted({key for entry in settings.values() for key in entry} - {"name"})
    differ = [key for key in keys if len({json.dumps(entry.get(key)) for entry in settings.values()}) > 1]
    return [
        _summary(path, folder, record, {key: settings[path].get(key) for key in differ})
        for path, record in records.items()
    ]


def _record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((path / RUN).read_text())
        recipe = record["config"]["recipe"]
        texts = recipe["name"], recipe["training"]["best_by"], record["starts"][0]["time"]
        if not all(isinstance(text, str) for text in texts) or not isinstance(record["config"]["seed"], int):
            raise TypeError("a value of another type")
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise InputError(f"{path / RUN}: not the record of a run; restore it or move it away") from error
    return record


def _summary(path: Path, folder: Path, record: dict[str, Any], differ: dict[str, Any]) -> RunSummary:
    log = read_log(path / LOG)
    chosen = record["config"]["recipe"]
    best_by = "mean_average_precision" if chosen.get("multi_label") else chosen["training"]["best_by"]
    validated = [(line["validation"], line["step"]) for line in log if isinstance(line.get("validation"), dict)]
    scored = [(metrics[best_by], step) for metrics, step in validated if isinstance(metrics.get(best_by), int | float)]
    best, best_step = max(scored, key=lambda entry: (entry[0], -entry[1]), default=(None, 0))
    losses = [line["loss"] for line in log if "loss" in line]
    name = str(path.relative_to(folder)) if path != folder else path.name
    return RunSummary(
        folder=name,
        recipe=chosen["name"],
        state="done" if record.get(DONE) else "unfinished",
        steps=max((line["step"] for line in log), default=0),
        best=best,
        best_step=best_step,
        loss=losses[-1] if losses else None,
        started=record["starts"][0]["time"],
        seed=record["config"]["seed"],
        settings=differ,
    )


def _flat(tree: Any, name: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    if not isinstance(tree, dict):
        return {name: tree}
    flat: dict[str, Any] = {}
    for part, below in tree.items():
        flat |= _flat(below, f"{name}.{part}".strip("."))
    return flat
