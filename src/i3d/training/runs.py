"""Runs of training side by side: what each is, how far it came, how good it was, in what they differ."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i3d.errors import InputError, abridged
from i3d.training.logger import read_log
from i3d.training.run_folder import DONE, LOG, RUN
from i3d.utils.arguments import checks_types
from i3d.utils.folders import walk_folders
from i3d.weights.runs import FINETUNE

FOLD = "fold_"  # begin of the names of folders in that of a fine-tuning
HEAD_RECIPE = "finetune_head"  # of a fine-tuning that trains no layers
INIT = "training.init"  # of a start: the configuration has the content of the weights instead


@dataclass(frozen=True)
class RunSummary:
    """One run."""

    folder: str
    kind: str  # recipe, finetune, fold (of a fine-tuning in the folder above)
    state: str  # done, unfinished, damaged
    recipe: str = ""
    steps: int = 0  # 0: only a classifier was fitted
    best: float | None = None  # of the validations, by the recipe's `best_by`
    best_step: int = 0
    loss: float | None = None  # of the last line of the log
    tested: float | None = None  # of fine-tuning: the accuracy (multi-label: mean average precision) of its test
    tested_on: str = ""  # "test", "val", "5 folds"
    in_folds: float | None = None  # the same of the classifier of a small set, by cross-validation
    started: str = ""
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)  # those in which the runs differ
    note: str = ""  # what is damaged


@dataclass(frozen=True)
class _Records:
    """The records in the folder of a run: of training by steps, and of fine-tuning."""

    training: dict[str, Any] | None
    finetuning: dict[str, Any] | None

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = (self.training or self.finetuning or {})["config"]
        return config


@checks_types
def list_runs(folder: Path) -> list[RunSummary]:
    """The runs in a folder and below it, by name. A damaged one has a note; if none is intact, it is an InputError.

    So is a folder without runs.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that holds runs")
    paths = sorted(Path(place) for place, _, files in walk_folders(folder) if RUN in files or FINETUNE in files)
    if not paths:
        raise InputError(f"{folder}: holds no run; give the --work-dir of `i3d train`, or a folder of such")
    records, faults = dict[Path, _Records](), dict[Path, str]()
    for path in paths:
        try:
            records[path] = _read_records(path)
            _ = read_log(path / LOG)
        except InputError as error:
            records.pop(path, None)
            faults[path] = str(error)
    if not records:
        raise InputError(faults[paths[0]])
    settings = {path: _settings(record) for path, record in records.items()}
    keys = sorted({key for entry in settings.values() for key in entry} - {"name"})
    differ = [key for key in keys if len({json.dumps(entry.get(key)) for entry in settings.values()}) > 1]
    rows = []
    for path in paths:
        name, kind = str(path.relative_to(folder)) if path != folder else path.name, _kind(path)
        if path in faults:
            rows.append(RunSummary(name, kind, "damaged", note=faults[path]))
        else:
            chosen = {key: settings[path].get(key) for key in differ}
            rows.append(_summary(path, name, kind, records[path], chosen))
    return rows


def no_log(folder: Path) -> InputError:
    """The error of a folder without a training log, by what it holds."""
    if (folder / FINETUNE).is_file():
        if folds := [path.name for path in sorted(folder.glob(f"{FOLD}*")) if (path / LOG).is_file()]:
            what = f"has no {LOG} yet, but its folds have ({abridged(folds, 3)}); name them"
            return InputError(f"{folder}: {what}, or resume the run")
        if _trains_layers(folder / FINETUNE):
            return InputError(f"{folder}: has no {LOG} yet; the run writes it when it trains layers")
        return InputError(f"{folder}: has no {LOG}; a run that only fits a classifier writes none")
    if (folder / RUN).is_file():
        return InputError(f"{folder}: has no {LOG} yet; the run writes it after its first steps")
    inside = sorted(folder.iterdir())
    if runs := [path.name for path in inside if (path / RUN).is_file() or (path / LOG).is_file()]:
        return InputError(f"{folder}: is no run, but holds runs ({abridged(runs, 3)}); name them")
    if logs := [path.name for path in inside if path.name.endswith((".log.json", ".json", ".jsonl"))]:
        return InputError(f"{folder}: has no {LOG}; name a log in it ({abridged(logs, 3)})")
    return InputError(f"{folder}: has no {LOG}, and no other log; give the --work-dir of a run")


def _trains_layers(file: Path) -> bool:
    """Whether the record of a fine-tuning is of one that trains layers."""
    return bool(_record(file)["config"]["recipe"]["name"] != HEAD_RECIPE)


def _read_records(path: Path) -> _Records:
    training = _record(path / RUN) if (path / RUN).exists() else None
    return _Records(training, _record(path / FINETUNE) if (path / FINETUNE).exists() else None)


def _record(file: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(file.read_text())
        recipe = record["config"]["recipe"]
        texts = [recipe["name"], recipe["training"]["best_by"]]
        texts += [record["starts"][0]["time"]] if file.name == RUN else []
        if not all(isinstance(text, str) for text in texts) or not isinstance(record["config"]["seed"], int):
            raise TypeError("a value of another type")
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise InputError(f"{file}: not the record of a run; restore it or move it away") from error
    return record


def _kind(path: Path) -> str:
    if (path / FINETUNE).exists():
        return "finetune"
    return "fold" if path.name.startswith(FOLD) and (path.parent / FINETUNE).exists() else "recipe"


def _settings(records: _Records) -> dict[str, Any]:
    settings = _flat(records.config["recipe"])
    starts = (records.training or {}).get("starts", [{}])
    return settings | ({INIT: starts[0]["init"]} if "init" in starts[0] else {})


def _summary(path: Path, name: str, kind: str, records: _Records, differ: dict[str, Any]) -> RunSummary:
    log, config, finetuning = read_log(path / LOG), records.config, records.finetuning or {}
    chosen = config["recipe"]
    best_by = "mean_average_precision" if chosen.get("multi_label") else chosen["training"]["best_by"]
    validated = [(line["validation"], line["step"]) for line in log if isinstance(line.get("validation"), dict)]
    scored = [(metrics[best_by], step) for metrics, step in validated if isinstance(metrics.get(best_by), int | float)]
    best, best_step = max(scored, key=lambda entry: (entry[0], -entry[1]), default=(None, 0))
    losses = [line["loss"] for line in log if "loss" in line]
    metric = "mean_average_precision" if chosen.get("multi_label") else "top1"
    tested, in_folds = (_number(finetuning.get(part), metric) for part in ("metrics", "cross_validation"))
    starts = (records.training or {}).get("starts", [{}])
    return RunSummary(
        folder=name,
        kind=kind,
        recipe=chosen["name"],
        state="done" if (records.finetuning or records.training or {}).get(DONE) else "unfinished",
        steps=max((line["step"] for line in log), default=0),
        best=best,
        best_step=best_step,
        loss=losses[-1] if losses else None,
        tested=tested,
        in_folds=in_folds,
        tested_on=str(finetuning.get("config", {}).get("tested_on", "")),
        started=starts[0].get("time", "") or str(finetuning.get("started", "")),
        seed=config["seed"],
        settings=differ,
    )


def _number(metrics: Any, name: str) -> float | None:
    """A metric of a record, if it has it."""
    value = metrics.get(name) if isinstance(metrics, dict) else None
    return value if isinstance(value, int | float) else None


def _flat(tree: Any, name: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    if not isinstance(tree, dict):
        return {name: tree}
    flat: dict[str, Any] = {}
    for part, below in tree.items():
        flat |= _flat(below, f"{name}.{part}".strip("."))
    return flat
