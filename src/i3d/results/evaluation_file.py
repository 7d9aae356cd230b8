"""An evaluation as a JSON file that says itself what it is: every clip with its scores, and the figures.

Scores have all their digits: reading gives the numbers that were written. The figures are for readers without this
package; `figures_of` makes them anew of the scores.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from i3d.errors import InputError, first_line, printable
from i3d.files import write_atomically
from i3d.results.evaluation import BadClip, Evaluation, Figures

FORMAT: Final = "i3d evaluation"
VERSION: Final = 1


def write_evaluation(path: Path, evaluation: Evaluation, figures: Figures) -> None:
    """Write it to `path`, whole or not at all; each clip is a line."""
    e = evaluation
    head = {
        "format": FORMAT,
        "version": VERSION,
        "model": e.model,
        "sha256": e.weights_sha256,
        "recipe": e.recipe,
        "protocol": e.protocol,
        "data": e.data,
        "classes": e.classes,
        "are_probabilities": e.are_probabilities,
        "multi_label": e.multi_label,
        "figures": figures_as_dict(e, figures),
    }
    clips = [
        {"file": file, "labels": labels, "scores": scores_K.tolist()}
        for file, labels, scores_K in zip(e.files_N, e.labels_N, e.scores_NK, strict=True)
    ]
    fields = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in head.items()]
    fields += [f'"clips": {_lines(clips)}', f'"bad": {_lines([asdict(bad) for bad in e.bad])}']
    write_atomically(path, ("{" + ",\n".join(fields) + "}\n").encode())


def read_evaluation(path: Path) -> Evaluation:
    """What `write_evaluation` wrote. Any other file is an InputError."""
    where = printable(str(path))
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); give a file of `i3d test --out`") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({first_line(error)}); write it anew with `i3d test --out`") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{where}: not an evaluation; give a file of `i3d test --out`")
    if data.get("version") != VERSION:
        raise InputError(f"{where}: version {str(data.get('version'))[:20]!r}, read is {VERSION}; test again")
    try:
        return _evaluation(data)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        why = f"no {first_line(error)}" if isinstance(error, KeyError) else first_line(error)
        raise InputError(f"{where}: damaged ({why}); write it anew with `i3d test --out`") from error


def figures_as_dict(evaluation: Evaluation, figures: Figures) -> dict[str, Any]:
    """The figures with their protocol, as JSON has them; what there is not is left out or null."""
    plain = {k: v for k, v in vars(figures).items() if v is not None and k not in ("by_class", "confusion_KK")}
    told: dict[str, Any] = {"protocol": evaluation.protocol, **plain}
    if figures.by_class is not None:
        by = figures.by_class
        columns = (by.num_clips_K, by.precision_K, by.recall_K, by.f1_K)
        rows = zip(evaluation.classes, *columns, strict=True)
        keys = ("precision", "recall", "f1")
        told["by_class"] = [
            {"class": name, "clips": int(clips), **{k: _finite(v) for k, v in zip(keys, values, strict=True)}}
            for name, clips, *values in rows
        ]
    if figures.confusion_KK is not None:
        told["confusion"] = figures.confusion_KK.tolist()
    return told


def _evaluation(data: dict[str, Any]) -> Evaluation:
    classes = tuple(_text(name) for name in data["classes"])
    clips = data["clips"]
    scores = [clip["scores"] for clip in clips]
    return Evaluation(
        model=_text(data["model"]),
        weights_sha256=_text(data["sha256"]),
        recipe=_text(data["recipe"]),
        protocol=_text(data["protocol"]),
        data=_text(data["data"]),
        classes=classes,
        files_N=tuple(_text(clip["file"]) for clip in clips),
        labels_N=tuple(_labels(clip["labels"], len(classes)) for clip in clips),
        scores_NK=np.array(scores, np.float64).reshape(len(clips), len(classes)),
        are_probabilities=_truth(data["are_probabilities"]),
        multi_label=_truth(data["multi_label"]),
        bad=tuple(
            BadClip(_text(bad["file"]), _labels(bad["labels"], len(classes)), _text(bad["reason"]))
            for bad in data["bad"]
        ),
    )


def _labels(values: Any, num_classes: int) -> tuple[int, ...]:
    if not values or any(type(value) is not int or not 0 <= value < num_classes for value in values):
        raise ValueError(f"labels {str(values)[:40]} of {num_classes} classes")
    return tuple(values)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} is neither true nor false")
    return value


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _lines(rows: list[dict[str, Any]]) -> str:
    return "[" + ",".join(f"\n{json.dumps(row, allow_nan=False)}" for row in rows) + "]"
