"""Logs of training as curves: ours, and those of MMAction2 0.x and 1.x."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError, printable

Curve = tuple[list[float], list[float]]  # steps, values
Curves = dict[str, dict[str, Curve]]  # kind, name, curve
TRAINING: Final = {"loss": "loss", "top1": "accuracy", "top1_acc": "accuracy", "top5_acc": "accuracy", "lr": "lr"}
OTHERS: Final = ("top1_acc", "top5_acc", "mean_class_accuracy")  # names of MMAction2 0.x


def read_curves(path: Path) -> Curves:
    """The curves in a log of JSON lines: "loss", "accuracy" and "lr" of training, "validation".

    Ours have the key `validation`; MMAction2's have `mode` "train" or "val" (0.x, with `epoch` and `iter`), or none
    (1.x: training lines have a loss, `acc/top1` lines are of validation).
    """
    curves: Curves = {}
    per_epoch = 0
    for number, text in enumerate(_lines(path), start=1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise InputError(f"{printable(str(path))}:{number}: not a line of JSON; is this a log?") from error
        if not isinstance(line, dict):
            raise InputError(f"{printable(str(path))}:{number}: not an object; is this a log?")
        if line.get("mode") == "train" and isinstance(line.get("iter"), int):
            per_epoch = max(per_epoch, line["iter"])
        _add(curves, line, per_epoch)
    return curves


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{printable(str(path))}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(str(path))}: not a text file; is this a log?") from error


def _add(curves: Curves, line: dict[str, Any], per_epoch: int) -> None:
    step = line.get("step", line.get("iter"))
    if line.get("mode") in ("train", "val") and isinstance(line.get("epoch"), int):  # MMAction2 0.x counts in epochs
        step = (line["epoch"] - 1) * per_epoch + line["iter"] if line["mode"] == "train" else line["epoch"] * per_epoch
    if not isinstance(step, int | float):
        return  # the head of a log, which holds versions
    figures = line.get("validation")
    if not isinstance(figures, dict):
        figures = {key.removeprefix("acc/"): v for key, v in line.items() if key.startswith("acc/")}
        figures |= {key: line[key] for key in OTHERS if key in line} if line.get("mode") == "val" else {}
    for name, value in figures.items():
        _append(curves, "validation", name, step, value)
    if figures or line.get("mode") == "val":
        return
    for key, kind in TRAINING.items():
        _append(curves, kind, key, step, line.get(key))


def _append(curves: Curves, kind: str, name: str, step: float, value: Any) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        steps, values = curves.setdefault(kind, {}).setdefault(name, ([], []))
        steps.append(step)
        values.append(value)
