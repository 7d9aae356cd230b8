"""Evaluations for other programs: a CSV of clips, and MMAction2's list of score vectors. They are not read back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from i3d.errors import InputError
from i3d.evaluation.result import Evaluation
from i3d.evaluation.result_file import YAML, Tested, as_yaml, json_lines, write_evaluations
from i3d.utils.atomic_files import write_atomically
from i3d.utils.text import csv_text, encode_names

SUFFIXES: Final = (".json", *YAML, ".csv")


def check_out(
    out: Path | None,
    out_format: str = "i3d",
    *,
    num_protocols: int = 1,
    save_views: bool = False,
    option: str = "--out",
) -> None:
    """An InputError if a file of this name cannot hold results of this kind."""
    if out is None:
        return
    suffix, where = out.suffix.lower(), f"{option} {out}"
    if suffix == ".csv" and save_views:
        raise InputError(f"{where}: a .csv cannot hold the logits of every view; use .json or .yaml")
    if out_format == "mmaction2" and suffix == ".csv":
        raise InputError(f"{where}: MMAction2's format is a list of lists; use .json or .yaml")
    if out_format == "mmaction2" and num_protocols > 1:
        raise InputError("--out-format mmaction2: holds the scores of one protocol; choose one, or --out-format i3d")


def write_results(out: Path, tested: Sequence[Tested], *, out_format: str = "i3d") -> None:
    """Write evaluations in the format of the suffix and `out_format`, atomically."""
    if out_format == "mmaction2":
        rows = mmaction2_list(tested[0][0])
        text = as_yaml(rows) if out.suffix.lower() in YAML else f"{json_lines(rows)}\n"
        write_atomically(out, text.encode())
    elif out.suffix.lower() == ".csv":
        write_atomically(out, encode_names(as_csv([e for e, _ in tested]), out))
    else:
        write_evaluations(out, tested)


def mmaction2_list(evaluation: Evaluation) -> list[Any]:
    """The scores of each clip in the order of the list, or of each of its views with `save_views`.

    None (null) stands for an unreadable clip, so that the others have their list indices.
    """
    scores = iter([v.logits_VK for v in evaluation.views_N] or evaluation.scores_NK)
    bad = {clip.place for clip in evaluation.bad}
    num_clips = len(evaluation.files_N) + len(bad)
    return [None if place in bad else next(scores).tolist() for place in range(num_clips)]


def as_csv(evaluations: Sequence[Evaluation]) -> str:
    """A line for each clip and protocol: its labels, the predicted class, and the score of every class."""
    classes = evaluations[0].classes
    rows: list[list[object]] = [["clip", "status", "protocol", "labels", "predicted", "views", *classes, "error"]]
    for e in evaluations:
        for n, name in enumerate(e.names_N):
            labels = "|".join(e.classes[k] for k in e.labels_N[n])
            predicted = e.classes[int(np.argmax(e.scores_NK[n]))]
            scores = [repr(float(score)) for score in e.scores_NK[n]]
            warning = f"warning: {e.notes_N[n]}" if e.notes_N and e.notes_N[n] else ""
            rows.append([name, "ok", e.protocol, labels, predicted, e.num_views_N[n], *scores, warning])
        for bad in e.bad:
            labels = "|".join(e.classes[k] for k in bad.labels)
            rows.append([bad.name, "error", e.protocol, labels, "", 0, *([""] * len(e.classes)), bad.reason])
    return csv_text(rows)
