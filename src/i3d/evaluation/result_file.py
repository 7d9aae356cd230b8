"""Evaluations as a self-describing file: every clip with its scores by each protocol, and the metrics.

Scores have all digits: reading returns the numbers that were written. The metrics are for readers without this
package; `compute_metrics` recomputes them. `evaluation/exports.py` writes formats that are not read back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from i3d.data.frame_folders import FrameNaming
from i3d.errors import InputError, first_line, printable
from i3d.evaluation.metrics import Scores
from i3d.evaluation.result import BadClip, ClipRange, Evaluation, Metrics, ViewLogits
from i3d.evaluation.scoring import Average, average_views
from i3d.recipes.recipe import AVERAGED
from i3d.recipes.yaml import read_yaml
from i3d.utils.atomic_files import write_atomically

FORMAT: Final = "i3d evaluation"
VERSION: Final = 1
YAML: Final = (".yaml", ".yml")
Tested = tuple[Evaluation, Metrics]


def write_evaluations(path: Path, tested: Sequence[Tested]) -> None:
    """Write the evaluations of the same clips by several protocols to a .json or .yaml, atomically."""
    data = as_dict(tested)
    if path.suffix.lower() in YAML:
        text = as_yaml(data)
    else:
        rows = {name: data.pop(name) for name in ("clips", "bad")}
        fields = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in data.items()]
        fields += [f'"{name}": {json_lines(values)}' for name, values in rows.items()]
        text = "{" + ",\n".join(fields) + "}\n"
    write_atomically(path, text.encode())


def as_yaml(data: Any) -> str:
    """YAML text. Names that are not UTF-8 are escaped, which only the slow writer supports."""
    plain = json.loads(json.dumps(data, allow_nan=False))
    options: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 1 << 30}
    try:
        text: str = yaml.dump(plain, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), **options)
    except UnicodeEncodeError:
        text = yaml.dump(plain, Dumper=yaml.SafeDumper, **options)
    return text


def as_dict(tested: Sequence[Tested]) -> dict[str, Any]:
    """The evaluations as JSON values. They must be of the same clips and model."""
    first = tested[0][0]
    key = first.files_N, first.classes, first.weights_sha256
    if any((e.files_N, e.classes, e.weights_sha256) != key for e, _ in tested):
        raise ValueError("the evaluations are not of the same clips and model")
    keeps_views = bool(first.views_N)
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": first.model,
        "sha256": first.weights_sha256,
        "recipe": first.recipe,
        "data": first.data,
        "classes": list(first.classes),
        "multi_label": first.multi_label,
        "frame_naming": None if first.frame_naming is None else asdict(first.frame_naming),
        "counts": {"clips": len(first.files_N), "unreadable": len(first.bad)},
        "protocols": {
            e.name: {
                "protocol": e.protocol,
                "average": e.average,
                "gflops_per_video": e.gflops,
                "metrics": None if keeps_views else metrics_as_dict(e, metrics),
            }
            for e, metrics in tested
        },
        "clips": [_clip([e for e, _ in tested], n) for n in range(len(first.files_N))],
        "bad": [asdict(bad) for bad in first.bad],
    }


def read_evaluations(path: Path, *, average: Average | None = None) -> tuple[Evaluation, ...]:
    """Read a file of `write_evaluations`. Any other file is an InputError.

    `average`: average the views as "prob" or "score"; a file without the logits of each view is then an InputError.
    """
    where = printable(str(path))
    if path.suffix.lower() == ".csv":
        raise InputError(f"{where}: a .csv cannot be read; give the .json or .yaml of `i3d test --out`")
    data = _read(path, where)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{where}: not an evaluation; give a .json or .yaml of `i3d test --out`")
    if data.get("version") != VERSION:
        raise InputError(
            f"{where}: version {str(data.get('version'))[:20]!r} of the format, only {VERSION} is supported; test again"
        )
    try:
        evaluations = tuple(_evaluation(data, name, entry, average) for name, entry in data["protocols"].items())
        if not evaluations:
            raise ValueError("no protocols")
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        why = f"{first_line(error)} is missing" if isinstance(error, KeyError) else first_line(error)
        raise InputError(f"{where}: damaged ({why}); write it again with `i3d test --out`") from error
    if average is not None and not evaluations[0].views_N and any(e.average != average for e in evaluations):
        raise InputError(
            f"{where}: its scores are averaged already ({AVERAGED[evaluations[0].average]}); test again with "
            f"--average-clips {average}, or none to store the logits of every view"
        )
    return evaluations


def read_evaluation(path: Path, *, protocol: str | None = None, average: Average | None = None) -> Evaluation:
    """One evaluation of a file: the only one, or that of the protocol with this short name."""
    by_name = {e.name: e for e in read_evaluations(path, average=average)}
    if protocol is None and len(by_name) == 1:
        return next(iter(by_name.values()))
    if protocol not in by_name:
        what = f"has no protocol {protocol!r}" if protocol else "has several protocols"
        raise InputError(f"{printable(str(path))}: {what}; it has {', '.join(by_name)}, choose one (--protocol)")
    return by_name[protocol]


def metrics_as_dict(evaluation: Evaluation, metrics: Metrics) -> dict[str, Any]:
    """The metrics with their protocol as JSON values; undefined ones are left out, or null in a table."""
    plain = {k: v for k, v in vars(metrics).items() if v is not None and k not in ("by_class", "confusion_KK")}
    values: dict[str, Any] = {"protocol": evaluation.protocol, **plain}
    if metrics.by_class is not None:
        by = metrics.by_class
        columns = (by.num_clips_K, by.precision_K, by.recall_K, by.f1_K)
        rows = zip(evaluation.classes, *columns, strict=True)
        keys = ("precision", "recall", "f1")
        values["by_class"] = [
            {"class": name, "clips": int(clips), **{k: _finite(v) for k, v in zip(keys, numbers, strict=True)}}
            for name, clips, *numbers in rows
        ]
    if metrics.confusion_KK is not None:
        values["confusion"] = metrics.confusion_KK.tolist()
    return values


def _clip(evaluations: Sequence[Evaluation], n: int) -> dict[str, Any]:
    first = evaluations[0]
    row: dict[str, Any] = {"file": first.files_N[n], "name": first.names_N[n], "labels": list(first.labels_N[n])}
    if first.ranges_N and first.ranges_N[n] != ClipRange():
        row["range"] = asdict(first.ranges_N[n])
    row["views"] = {e.name: e.num_views_N[n] for e in evaluations}
    if first.views_N:
        row["frames"] = {e.name: list(e.views_N[n].num_frames_V) for e in evaluations}
        row["logits"] = {e.name: e.views_N[n].logits_VK.tolist() for e in evaluations}
    else:
        row["scores"] = {e.name: e.scores_NK[n].tolist() for e in evaluations}
    return row


def _read(path: Path, where: str) -> Any:
    try:
        content = path.read_bytes()
        return read_yaml(content.decode()) if path.suffix.lower() in YAML else json.loads(content)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); give a file of `i3d test --out`") from error
    except (ValueError, RecursionError) as error:
        kind = "YAML" if path.suffix.lower() in YAML else "JSON"
        raise InputError(f"{where}: not {kind} ({first_line(error)}); write it again with `i3d test --out`") from error


def _evaluation(data: dict[str, Any], name: str, entry: dict[str, Any], average: Average | None) -> Evaluation:
    classes, clips = tuple(_text(label) for label in data["classes"]), data["clips"]
    shape, multi_label = (len(clips), len(classes)), _truth(data["multi_label"])
    own: Average = entry["average"]
    if own not in AVERAGED:
        raise ValueError(f"average {str(own)[:20]!r}")
    if not clips:
        raise ValueError("no clips")
    views_N = tuple(_views(clip, name, len(classes)) for clip in clips) if clips and "logits" in clips[0] else ()
    chosen = average if average and views_N else own
    scores = (
        [
            average_views(v.logits_VK, average=chosen, weights_V=v.num_frames_V, multi_label=multi_label).scores_K
            for v in views_N
        ]
        if views_N
        else [clip["scores"][name] for clip in clips]
    )
    evaluation = Evaluation(
        name=_text(name),
        model=_text(data["model"]),
        weights_sha256=_text(data["sha256"]),
        recipe=_text(data["recipe"]),
        protocol=_text(entry["protocol"]),
        data=_text(data["data"]),
        classes=classes,
        files_N=tuple(_text(clip["file"]) for clip in clips),
        names_N=tuple(_text(clip["name"]) for clip in clips),
        labels_N=tuple(_labels(clip["labels"], len(classes), several=multi_label) for clip in clips),
        scores_NK=np.array(scores, np.float64).reshape(shape),
        average=chosen,
        num_views_N=tuple(int(clip["views"][name]) for clip in clips),
        multi_label=multi_label,
        bad=tuple(_bad(bad, len(classes)) for bad in data["bad"]),
        gflops=None if entry["gflops_per_video"] is None else _finite_number(entry["gflops_per_video"]),
        views_N=views_N,
        ranges_N=tuple(_range(clip.get("range")) for clip in clips),
        frame_naming=_frame_naming(data["frame_naming"]),
    )
    if chosen == "prob" and not multi_label and np.abs(evaluation.scores_NK.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("probabilities that do not sum to 1")
    return replace(evaluation, protocol=evaluation.protocol.replace(AVERAGED[own], AVERAGED[chosen]))


def _views(clip: dict[str, Any], name: str, num_classes: int) -> ViewLogits:
    logits_VK: Scores = np.array(clip["logits"][name], np.float64)
    frames = tuple(int(frames) for frames in clip["frames"][name])
    if logits_VK.shape != (len(frames), num_classes) or not np.isfinite(logits_VK).all():
        raise ValueError(f"logits of {str(clip['name'])[:60]!r}")
    return ViewLogits(logits_VK, frames)


def _range(value: dict[str, Any] | None) -> ClipRange:
    if value is None:
        return ClipRange()
    start, end = (
        None if value[key] is None else _finite_number(value[key]) for key in ("start_seconds", "end_seconds")
    )
    num_frames = None if value["num_frames"] is None else int(value["num_frames"])
    return ClipRange(start, end, int(value["first_frame"]), num_frames)


def _frame_naming(value: dict[str, Any] | None) -> FrameNaming | None:
    if value is None:
        return None
    if value["modality"] not in ("rgb", "flow"):
        raise ValueError(f"frame naming {str(value)[:60]}")
    return FrameNaming(_text(value["template"]), int(value["first"]), value["modality"])


def _bad(bad: dict[str, Any], num_classes: int) -> BadClip:
    labels = _labels(bad["labels"], num_classes, several=True)
    return BadClip(_text(bad["file"]), _text(bad["name"]), labels, _text(bad["reason"]), int(bad["place"]))


def _labels(values: Any, num_classes: int, *, several: bool) -> tuple[int, ...]:
    is_wrong = any(type(value) is not int or not 0 <= value < num_classes for value in values)
    if not values or is_wrong or (len(values) > 1 and not several):
        raise ValueError(f"labels {str(values)[:40]} of {num_classes} classes")
    return tuple(values)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is not text")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} is neither true nor false")
    return value


def _finite_number(value: Any) -> float:
    if type(value) not in (int, float) or not np.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    return float(value)


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def json_lines(rows: Sequence[Any]) -> str:
    """A JSON list with one row per line."""
    return "[" + ",".join(f"\n{json.dumps(row, allow_nan=False)}" for row in rows) + "]"
