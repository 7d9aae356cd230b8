"""Evaluations as a self-describing file: every clip with its scores by each protocol, and the metrics.

Scores have all digits: reading returns the numbers that were written, and a digest shows whether all is as written.
The metrics are for readers without this package; `compute_metrics` recomputes them. `evaluation/exports.py` writes
formats that are not read back.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, ValidationError

from i3d.data.frame_folders import FrameNaming
from i3d.errors import InputError, first_line
from i3d.evaluation.result import BadClip, ClipRange, Evaluation, Metrics, ViewLogits
from i3d.evaluation.scoring import Average
from i3d.recipes.recipe import AVERAGED
from i3d.recipes.settings import first_error
from i3d.recipes.yaml import read_yaml
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import write_atomically
from i3d.utils.text import refuse_endless

FORMAT: Final = "i3d evaluation"
VERSION: Final = 3
DIGEST: Final = "digest"
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
    key = first.files_N, first.classes, first.weights_sha256, first.bad_as_wrong
    if any((e.files_N, e.classes, e.weights_sha256, e.bad_as_wrong) != key for e, _ in tested):
        raise ValueError("the evaluations are not of the same clips and model, or count other clips")
    saves_views = bool(first.views_N)
    data: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        DIGEST: "",
        "model": first.model,
        "sha256": first.weights_sha256,
        "recipe": first.recipe,
        "data": first.data,
        "classes": list(first.classes),
        "multi_label": first.multi_label,
        "bad_as_wrong": first.bad_as_wrong,
        "frame_naming": None if first.frame_naming is None else asdict(first.frame_naming),
        "counts": {"clips": len(first.files_N), "unreadable": len(first.bad)},
        "protocols": {
            e.name: {
                "protocol": e.protocol,
                "average": e.average,
                "gflops_per_video": e.gflops,
                "metrics": None if saves_views else metrics_as_dict(e, metrics),
            }
            for e, metrics in tested
        },
        "clips": [_clip([e for e, _ in tested], n) for n in range(len(first.files_N))],
        "bad": [asdict(bad) for bad in first.bad],
    }
    return {**data, DIGEST: _digest_of([e for e, _ in tested], data)}


def _digest_of(evaluations: Sequence[Evaluation], data: Mapping[str, Any]) -> str:
    """A hash of clips, labels and scores, as they are in a file, and of all its other values."""
    first = evaluations[0]
    listed: list[Any] = [{key: value for key, value in data.items() if key not in (DIGEST, "clips", "bad")}]
    listed += [first.files_N, first.names_N, first.labels_N, [asdict(bad) for bad in first.bad]]
    listed += [[n, asdict(part)] for n, part in enumerate(first.ranges_N) if part != ClipRange()]
    listed += [[n, note] for n, note in enumerate(first.notes_N) if note]
    listed += [[e.name, e.num_views_N, [v.num_frames_V for v in e.views_N]] for e in evaluations]
    digest = hashlib.sha256(json.dumps(listed, sort_keys=True).encode())
    for e in evaluations:
        for values in [view.logits_VK for view in e.views_N] or [e.scores_NK]:
            digest.update(np.ascontiguousarray(values, "<f8").tobytes())
    return digest.hexdigest()


def _check_complete(file: "_File", evaluations: Sequence[Evaluation], data: Mapping[str, Any]) -> None:
    """A ValueError for a file that was edited or damaged after it was written."""
    for name, listed in (("clips", file.clips), ("unreadable", file.bad)):
        if len(listed) != file.counts[name]:
            raise ValueError(f"it has {len(listed)} {name}, and states {file.counts[name]}")
    if file.digest != _digest_of(evaluations, data):
        raise ValueError("its content is not what was written: its digest is of other clips, labels, scores or metrics")


@checks_types
def read_evaluations(path: Path, *, average: Average | None = None) -> tuple[Evaluation, ...]:
    """Read a file of `write_evaluations`. Any other file is an InputError.

    `average`: average the views as "prob" or "score"; a file without the logits of each view is then an InputError.
    """
    if path.suffix.lower() == ".csv":
        raise InputError(f"{path}: a .csv cannot be read; give the .json or .yaml of `i3d test --out`")
    data = _read(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{path}: not an evaluation; give a .json or .yaml of `i3d test --out`")
    if data.get("version") != VERSION:
        raise InputError(
            f"{path}: version {str(data.get('version'))[:20]!r} of the format, only {VERSION} is supported; test again"
        )
    if DIGEST not in data:
        what = "has no digest, so that nobody can check that its scores are those of a test"
        raise InputError(f"{path}: {what}; write it again with `i3d test --out`")
    try:
        file = _File.model_validate(data)
        _check_complete(file, [_evaluation(file, name, None) for name in file.protocols], data)
        evaluations = tuple(_evaluation(file, name, average) for name in file.protocols)
    except (KeyError, ValueError, TypeError) as error:  # keys and values of YAML that JSON does not have: a TypeError
        why = f"{first_line(error)} is missing" if isinstance(error, KeyError) else first_line(error)
        why = first_error(error) if isinstance(error, ValidationError) else why
        raise InputError(f"{path}: damaged ({why}); write it again with `i3d test --out`") from error
    if average is not None and not evaluations[0].views_N and any(e.average != average for e in evaluations):
        raise InputError(
            f"{path}: its scores are averaged already ({AVERAGED[evaluations[0].average]}); test again with "
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
        raise InputError(f"{path}: {what}; it has {', '.join(by_name)}, choose one (--protocol)")
    return by_name[protocol]


def metrics_as_dict(evaluation: Evaluation, metrics: Metrics) -> dict[str, Any]:
    """The metrics with their protocol as JSON values; undefined ones are left out, or null in a table."""
    plain = {k: v for k, v in vars(metrics).items() if v is not None and k not in ("by_class", "confusion_KK")}
    values: dict[str, Any] = {"protocol": evaluation.protocol, **plain}
    if (by := metrics.by_class) is not None:
        columns = (by.num_clips_K.tolist(), by.precision_K, by.recall_K, by.f1_K)
        values["by_class"] = [
            {"class": name, "clips": clips, "precision": _finite(p), "recall": _finite(r), "f1": _finite(f1)}
            for name, clips, p, r, f1 in zip(evaluation.classes, *columns, strict=True)
        ]
    if metrics.confusion_KK is not None:
        values["confusion"] = metrics.confusion_KK.tolist()
    return values


def _clip(evaluations: Sequence[Evaluation], n: int) -> dict[str, Any]:
    first = evaluations[0]
    row: dict[str, Any] = {"file": first.files_N[n], "name": first.names_N[n], "labels": list(first.labels_N[n])}
    if first.ranges_N and first.ranges_N[n] != ClipRange():
        row["range"] = asdict(first.ranges_N[n])
    if first.notes_N and first.notes_N[n]:
        row["note"] = first.notes_N[n]
    row["views"] = {e.name: e.num_views_N[n] for e in evaluations}
    if first.views_N:
        row["frames"] = {e.name: list(e.views_N[n].num_frames_V) for e in evaluations}
        row["logits"] = {e.name: e.views_N[n].logits_VK.tolist() for e in evaluations}
    else:
        row["scores"] = {e.name: e.scores_NK[n].tolist() for e in evaluations}
    return row


def _read(path: Path) -> Any:
    kind = "YAML" if path.suffix.lower() in YAML else "JSON"
    try:
        refuse_endless(path)
        content = path.read_bytes()
        return read_yaml(content.decode()) if kind == "YAML" else json.loads(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file of `i3d test --out`") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not {kind} ({first_line(error)}); write it again with `i3d test --out`") from error


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class _Clip(_Frozen, extra="forbid"):
    file: str
    name: str
    labels: tuple[StrictInt, ...]
    range: ClipRange = ClipRange()
    note: str = ""
    views: dict[str, StrictInt]
    scores: dict[str, list[StrictFloat]] = {}
    frames: dict[str, tuple[StrictInt, ...]] = {}  # these and the logits only with `save_views`
    logits: dict[str, list[list[StrictFloat]]] = {}


class _Protocol(_Frozen):
    protocol: str
    average: Average
    gflops_per_video: StrictFloat | None


class _File(_Frozen):
    """The parts of a file that are read back, by the name of the protocol where they differ."""

    model: str
    sha256: str
    recipe: str
    data: str
    classes: tuple[str, ...]
    multi_label: StrictBool
    bad_as_wrong: StrictBool
    frame_naming: FrameNaming | None
    digest: str
    counts: dict[str, StrictInt]
    protocols: dict[str, _Protocol] = Field(min_length=1)
    clips: list[_Clip] = Field(min_length=1)
    bad: tuple[BadClip, ...]


def _evaluation(file: _File, name: str, average: Average | None) -> Evaluation:
    entry, clips = file.protocols[name], file.clips
    for labels in (*(clip.labels for clip in clips), *(bad.labels for bad in file.bad)):
        is_known = [0 <= label < len(file.classes) for label in labels]
        if not labels or not all(is_known) or (len(labels) > 1 and not file.multi_label):
            raise ValueError(f"labels {str(labels)[:40]} of {len(file.classes)} classes")
    views_N: tuple[ViewLogits, ...] = ()
    chosen = entry.average
    if clips[0].logits:
        views_N = tuple(ViewLogits(np.array(clip.logits[name], np.float64), clip.frames[name]) for clip in clips)
        chosen = average or chosen
        scores: Any = [view.average(chosen, multi_label=file.multi_label) for view in views_N]
    else:
        scores = [clip.scores[name] for clip in clips]
    evaluation = Evaluation(
        name=name,
        model=file.model,
        weights_sha256=file.sha256,
        recipe=file.recipe,
        protocol=entry.protocol.replace(AVERAGED[entry.average], AVERAGED[chosen]),
        data=file.data,
        classes=file.classes,
        files_N=tuple(clip.file for clip in clips),
        names_N=tuple(clip.name for clip in clips),
        labels_N=tuple(clip.labels for clip in clips),
        scores_NK=np.array(scores, np.float64),
        average=chosen,
        num_views_N=tuple(clip.views[name] for clip in clips),
        multi_label=file.multi_label,
        bad=file.bad,
        gflops=entry.gflops_per_video,
        views_N=views_N,
        ranges_N=tuple(clip.range for clip in clips),
        frame_naming=file.frame_naming,
        notes_N=tuple(clip.note for clip in clips),
        bad_as_wrong=file.bad_as_wrong,
    )
    if chosen == "prob" and not file.multi_label and np.abs(evaluation.scores_NK.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("probabilities that do not sum to 1")
    return evaluation


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def json_lines(rows: Sequence[Any]) -> str:
    """A JSON list with one row per line."""
    return "[" + ",".join(f"\n{json.dumps(row, allow_nan=False)}" for row in rows) + "]"
