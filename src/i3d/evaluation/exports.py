"""Evaluations for other programs: a table of clips, and MMAction2's list of score vectors. They are not read back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from i3d.errors import InputError, printable
from i3d.evaluation.result import Evaluation
from i3d.evaluation.result_file import YAML, Tested, as_yaml, write_evaluations
from i3d.utils.atomic_files import write_atomically

SUFFIXES: Final = (".json", *YAML, ".csv")
FORMATS: Final = ("i3d", "mmaction2")
PICKLES: Final = (".pkl", ".pickle", ".p")


def check_out(
    out: Path | None,
    form: str = "i3d",
    *,
    num_protocols: int = 1,
    keeps_views: bool = False,
    option: str = "--out",
) -> None:
    """Find out before the work, not after it, that its results could not be written."""
    if form not in FORMATS:
        raise InputError(f"--out-format {form!r}: is neither {' nor '.join(FORMATS)}")
    if out is None:
        return
    suffix, where = out.suffix.lower(), f"{option} {printable(str(out))}"
    if suffix in PICKLES:
        raise InputError(
            f"{where}: a pickle can run any code when it is read, so none is written; take .json or .yaml"
            + ("" if form == "mmaction2" else ", or .csv (--out-format mmaction2 has the content of MMAction2's)")
        )
    if suffix not in SUFFIXES or not out.parent.is_dir() or out.is_dir():
        raise InputError(f"{where}: must be a {', '.join(SUFFIXES)} in a folder that is there")
    if suffix == ".csv" and keeps_views:
        raise InputError(f"{where}: a table has no room for the logits of every view; take .json or .yaml")
    if form == "mmaction2" and suffix == ".csv":
        raise InputError(f"{where}: MMAction2's form is a list of lists; take .json or .yaml")
    if form == "mmaction2" and num_protocols > 1:
        raise InputError("--out-format mmaction2: holds the scores of one protocol; choose one, or the format i3d")


def write_results(out: Path, tested: Sequence[Tested], *, form: str = "i3d") -> None:
    """Write what was tested in the format that the suffix and `form` name, whole or not at all."""
    if form == "mmaction2":
        rows = mmaction2_list(tested[0][0])
        text = (
            as_yaml(rows)
            if out.suffix.lower() in YAML
            else "[" + ",".join(f"\n{json.dumps(row, allow_nan=False)}" for row in rows) + "]\n"
        )
        write_atomically(out, text.encode())
    elif out.suffix.lower() == ".csv":
        write_atomically(out, as_csv([e for e, _ in tested]).encode("utf-8", "surrogateescape"))
    else:
        write_evaluations(out, tested)


def mmaction2_list(evaluation: Evaluation) -> list[Any]:
    """A vector of scores for each clip in the order of the list, or, if views were kept, one for each view.

    None (null) stands for a clip that could not be read, so that the others keep their places.
    """
    found = iter([v.logits_VK for v in evaluation.views_N] or evaluation.scores_NK)
    bad = {clip.place for clip in evaluation.bad}
    num_clips = len(evaluation.files_N) + len(bad)
    return [None if place in bad else next(found).tolist() for place in range(num_clips)]


def as_csv(evaluations: Sequence[Evaluation]) -> str:
    """A line for each clip and protocol: what it is, what it was taken for, and the score of every class."""
    one, text = evaluations[0], io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "status", "protocol", "labels", "recognised_as", "views", *one.classes, "error"])
    for e in evaluations:
        for n, name in enumerate(e.names_N):
            labels = "|".join(e.classes[k] for k in e.labels_N[n])
            said = e.classes[int(np.argmax(e.scores_NK[n]))]
            scores = [repr(float(score)) for score in e.scores_NK[n]]
            writer.writerow([name, "ok", e.protocol, labels, said, e.num_views_N[n], *scores, ""])
        for bad in e.bad:
            labels = "|".join(e.classes[k] for k in bad.labels)
            writer.writerow([bad.name, "error", e.protocol, labels, "", 0, *([""] * len(e.classes)), bad.reason])
    return text.getvalue()
