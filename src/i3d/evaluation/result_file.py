"""Evaluations as a file that says itself what it is: every clip with its scores by each protocol, and the figures.

Scores have all their digits: reading gives the numbers that were written. The figures are for readers without this
package; `figures_of` makes them anew of the scores. Other formats, which are not read back: `evaluation/exports.py`.
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
from i3d.evaluation.result import BadClip, Evaluation, Metrics, Part, ViewLogits
from i3d.evaluation.scoring import Average, average_views
from i3d.recipes.recipe import AVERAGED
from i3d.recipes.yaml import read_yaml
from i3d.utils.atomic_files import write_atomically

FORMAT: Final = "i3d evaluation"
VERSION: Final = 1
YAML: Final = (".yaml", ".yml")
Tested = tuple[Evaluation, Metrics]


def write_evaluations(path: Path, tested: Sequence[Tested]) -> None:
    """Write what several protocols gave for the same clips to a .json or .yaml, whole or not at all."""
    data = as_dict(tested)
    if path.suffix.lower() in YAML:
        text = as_yaml(data)
    else:
        rows = {name: data.pop(name) for name in ("clips", "bad")}
        fields = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in data.items()]
        fields += [f'"{name}": {_lines(found)}' for name, found in rows.items()]
        text = "{" + ",\n".join(fields) + "}\n"
    write_atomically(path, text.encode())


def as_yaml(data: Any) -> str:
    """As YAML. Names that are not UTF-8 are escaped, which only the slow writer can."""
    plain = json.loads(json.dumps(data, allow_nan=False))
    how: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 1 << 30}
    try:
        text: str = yaml.dump(plain, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), **how)
    except UnicodeEncodeError:
        text = yaml.dump(plain, Dumper=yaml.SafeDumper, **how)
    return text


def as_dict(tested: Sequence[Tested]) -> dict[str, Any]:
    """All of it as what JSON has. The evaluations are of the same clips and model."""
    one = tested[0][0]
    if any(
        (e.files_N, e.classes, e.weights_sha256) != (one.files_N, one.classes, one.weights_sha256) for e, _ in tested
    ):
        raise ValueError("the evaluations are not of the same clips and model")
    is_whole = bool(one.views_N)
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": one.model,
        "sha256": one.weights_sha256,
        "recipe": one.recipe,
        "data": one.data,
        "classes": list(one.classes),
        "multi_label": one.multi_label,
        "pictures": None if one.pictures is None else asdict(one.pictures),
        "counts": {"clips": len(one.files_N), "unreadable": len(one.bad)},
        "protocols": {
            e.name: {
                "protocol": e.protocol,
                "average": e.average,
                "gflops_per_video": e.gflops,
                "figures": None if is_whole else metrics_as_dict(e, figures),
            }
            for e, figures in tested
        },
        "clips": [_clip([e for e, _ in tested], n) for n in range(len(one.files_N))],
        "bad": [asdict(bad) for bad in one.bad],
    }


def read_evaluations(path: Path, *, average: Average | None = None) -> tuple[Evaluation, ...]:
    """What `write_evaluations` wrote. Any other file is an InputError.

    `average`: how the views are to be averaged, if the file has the logits of each view (else that is an InputError).
    """
    where = printable(str(path))
    if path.suffix.lower() == ".csv":
        raise InputError(f"{where}: a table is not read back; give the .json or .yaml of `i3d test --out`")
    data = _read(path, where)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{where}: not an evaluation; give a .json or .yaml of `i3d test --out`")
    if data.get("version") != VERSION:
        raise InputError(f"{where}: version {str(data.get('version'))[:20]!r}, read is {VERSION}; test again")
    try:
        found = tuple(_evaluation(data, name, told, average) for name, told in data["protocols"].items())
        if not found:
            raise ValueError("no protocols")
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        why = f"no {first_line(error)}" if isinstance(error, KeyError) else first_line(error)
        raise InputError(f"{where}: damaged ({why}); write it anew with `i3d test --out`") from error
    if average is not None and not found[0].views_N and any(e.average != average for e in found):
        raise InputError(
            f"{where}: holds scores that are averaged already ({AVERAGED[found[0].average]}); test again with "
            f"--average-clips {average}, or with none, which keeps the logits of every view"
        )
    return found


def read_evaluation(path: Path, *, protocol: str | None = None, average: Average | None = None) -> Evaluation:
    """One evaluation of a file: the only one, or that of a protocol by its short name."""
    found = {e.name: e for e in read_evaluations(path, average=average)}
    if protocol is None and len(found) == 1:
        return next(iter(found.values()))
    if protocol not in found:
        what = f"has no protocol {protocol!r}" if protocol else "has several protocols"
        raise InputError(f"{printable(str(path))}: {what}; it has {', '.join(found)}, choose one (--protocol)")
    return found[protocol]


def metrics_as_dict(evaluation: Evaluation, figures: Metrics) -> dict[str, Any]:
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


def _clip(evaluations: Sequence[Evaluation], n: int) -> dict[str, Any]:
    one = evaluations[0]
    row: dict[str, Any] = {"file": one.files_N[n], "name": one.names_N[n], "labels": list(one.labels_N[n])}
    if one.parts_N and one.parts_N[n] != Part():
        row["part"] = asdict(one.parts_N[n])
    row["views"] = {e.name: e.num_views_N[n] for e in evaluations}
    if one.views_N:
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
        raise InputError(f"{where}: not {kind} ({first_line(error)}); write it anew with `i3d test --out`") from error


def _evaluation(data: dict[str, Any], name: str, told: dict[str, Any], average: Average | None) -> Evaluation:
    classes, clips = tuple(_text(label) for label in data["classes"]), data["clips"]
    shape, multi_label = (len(clips), len(classes)), _truth(data["multi_label"])
    own: Average = told["average"]
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
        protocol=_text(told["protocol"]),
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
        gflops=None if told["gflops_per_video"] is None else _finite_number(told["gflops_per_video"]),
        views_N=views_N,
        parts_N=tuple(_part(clip.get("part")) for clip in clips),
        pictures=_pictures(data["pictures"]),
    )
    if chosen == "prob" and not multi_label and np.abs(evaluation.scores_NK.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("probabilities that do not add up to 1")
    return replace(evaluation, protocol=evaluation.protocol.replace(AVERAGED[own], AVERAGED[chosen]))


def _views(clip: dict[str, Any], name: str, num_classes: int) -> ViewLogits:
    logits_VK: Scores = np.array(clip["logits"][name], np.float64)
    frames = tuple(int(frames) for frames in clip["frames"][name])
    if logits_VK.shape != (len(frames), num_classes) or not np.isfinite(logits_VK).all():
        raise ValueError(f"logits of {str(clip['name'])[:60]!r}")
    return ViewLogits(logits_VK, frames)


def _part(told: dict[str, Any] | None) -> Part:
    if told is None:
        return Part()
    start, end = (
        None if (value := told[key]) is None else _finite_number(value) for key in ("start_seconds", "end_seconds")
    )
    return Part(start, end, int(told["first_frame"]), None if told["num_frames"] is None else int(told["num_frames"]))


def _pictures(told: dict[str, Any] | None) -> FrameNaming | None:
    if told is None:
        return None
    if told["modality"] not in ("rgb", "flow"):
        raise ValueError(f"pictures {str(told)[:60]}")
    return FrameNaming(_text(told["template"]), int(told["first"]), told["modality"])


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
        raise TypeError(f"{str(value)[:40]!r} is no text")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} is neither true nor false")
    return value


def _finite_number(value: Any) -> float:
    if type(value) not in (int, float) or not np.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return float(value)


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _lines(rows: list[dict[str, Any]]) -> str:
    return "[" + ",".join(f"\n{json.dumps(row, allow_nan=False)}" for row in rows) + "]"
