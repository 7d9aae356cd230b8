"""Logs of training as curves: ours, and those of MMAction2 0.x and 1.x."""

import json
from pathlib import Path
from typing import Any, Final, TypeGuard

from i3d.errors import InputError
from i3d.training.run_folder import TIMING
from i3d.utils.arguments import checks_types
from i3d.utils.text import refuse_endless

Curve = tuple[list[float], list[float]]  # steps, values
Curves = dict[str, dict[str, Curve]]  # kind, name, curve
TRAINING: Final = {"loss": "loss", "top1": "accuracy", "top1_acc": "accuracy", "top5_acc": "accuracy", "lr": "lr"}
OTHERS: Final = ("top1_acc", "top5_acc", "mean_class_accuracy")  # names of MMAction2 0.x


@checks_types
def read_curves(path: Path) -> Curves:
    """The curves in a log of JSON lines: "loss", "accuracy" and "lr" of training, "validation".

    Ours have the key `validation`; MMAction2's have `mode` "train" or "val" (0.x, with `epoch` and `iter`), or none
    (1.x: training lines have a loss, `acc/top1` lines are of validation).
    """
    lines = read_lines(path)
    per_epoch = max(
        (line["iter"] for line in lines if line.get("mode") == "train" and _is_number(line.get("iter"))), default=0
    )
    curves: Curves = {}
    last = 0.0
    for line in lines:
        step = _step_of(line, per_epoch, last)
        if step is not None:
            last = step
            _add(curves, line, step)
    return curves


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines, without a last line that a kill has cut off."""
    lines = []
    try:
        refuse_endless(path)
        texts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file; is this a log?") from error
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            if number == len(texts) and text.startswith("{"):
                break
            raise InputError(f"{path}:{number}: not a line of JSON; is this a log?") from error
        if not isinstance(line, dict):
            raise InputError(f"{path}:{number}: not an object; is this a log?")
        lines.append(line)
    return lines


def _step_of(line: dict[str, Any], per_epoch: int, last: float) -> float | None:
    """The step of a line; None for the first line of a log of MMAction2, which has versions."""
    if line.get("mode") in ("train", "val") and _is_number(line.get("epoch")):  # MMAction2 0.x counts in epochs
        before = (line["epoch"] - 1) * per_epoch
        return float(before + line.get("iter", 0) if line["mode"] == "train" else before + per_epoch)
    if any(key.startswith("acc/") for key in line):  # MMAction2 1.x gives the epoch for the step of a validation
        return last
    step = line.get("step", line.get("iter"))
    return float(step) if _is_number(step) else None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _add(curves: Curves, line: dict[str, Any], step: float) -> None:
    metrics = line.get("validation")
    if not isinstance(metrics, dict):
        metrics = {key.removeprefix("acc/"): v for key, v in line.items() if key.startswith("acc/")}
        metrics |= {key: line[key] for key in OTHERS if key in line} if line.get("mode") == "val" else {}
    for name, value in metrics.items():
        _append(curves, "validation", name, step, value)
    if metrics or line.get("mode") == "val":
        return
    for key, kind in TRAINING.items():
        _append(curves, kind, key, step, line.get(key))


def _append(curves: Curves, kind: str, name: str, step: float, value: Any) -> None:
    if _is_number(value):
        steps, values = curves.setdefault(kind, {}).setdefault(name, ([], []))
        steps.append(step)
        values.append(value)


def read_step_seconds(path: Path) -> dict[int, list[float]]:
    """Seconds a step by epoch: "time" in MMAction2's logs, "step_seconds" in our `timing.jsonl` (or a run's folder)."""
    log = path / TIMING if path.is_dir() else path
    epochs: dict[int, list[float]] = {}
    for line in read_lines(log):
        seconds = line.get("step_seconds", line.get("time"))
        if line.get("mode") != "val" and _is_number(line.get("epoch")) and _is_number(seconds):
            first = 1 if "step_seconds" in line else 0  # ours count from 0
            epochs.setdefault(int(line["epoch"]) + first, []).append(float(seconds))
    if not epochs:
        raise InputError(f"{log}: has no step times; give MMAction2's log.json, or the folder of a run")
    return epochs
