"""A test as one self-contained HTML file: accuracy, confusion, calibration, classes and the most confident errors.

The page is the template `assets/report/page.html`; it reads an `Evaluation` and its `Metrics`. Pages of other
templates include the sections of a test: `render_page` with `sections_of_test`.
Letters in names: N clips, K classes, B bins, S classes in the confusion matrix.
"""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from i3d._version import __version__
from i3d.errors import counted, printable
from i3d.evaluation.confusion import confusions, most_confused
from i3d.evaluation.hardest_clips import select_hardest_clips
from i3d.evaluation.intervals import format_interval
from i3d.evaluation.metrics import Labels, Scores, accuracy_above, average_precisions, calibration_bins
from i3d.evaluation.result import Evaluation, Metrics, cheapest_protocol, compute_metrics
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import ASSETS, write_atomically
from i3d.utils.outputs import is_report, new_file

TEMPLATES: Final = ASSETS / "report"
FULL_MATRIX: Final = 60  # up to this many classes, the matrix shows all; of more, the most confused ones
MAX_CLASSES: Final = 20
MAX_PAIRS: Final = 20
MAX_CLIPS: Final = 24
PNG: Final = b"\x89PNG\r\n\x1a\n"


@checks_types
def write_report(
    out: Path,
    evaluation: Evaluation,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    images: Mapping[str, bytes] | None = None,
    others: Sequence[Evaluation] = (),
    force: bool = False,
) -> None:
    """Write the report of a test as one HTML file.

    `images`: PNG files by caption, shown at the end. `others`: evaluations of the same clips by other protocols,
    shown in a table. An existing file that is no report of i3d is an
    InputError, unless `force` replaces it. Raises ValueError if no clip has scores or an image is not a PNG.
    """
    out = new_file(out, force=force, is_own=is_report)
    values = sections_of_test(evaluation, others) | {
        "notes": [line for note in notes for line in note.splitlines() if line.strip()]
    }
    page = render_page("page.html", title or f"Test of {evaluation.model}", values, images or {})
    write_atomically(out, page.encode())


def render_page(template: str, title: str, values: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    """A page of a template that extends `base.html`. Raises ValueError for an image that is not a PNG."""
    if not_png := [name for name, content in images.items() if not content.startswith(PNG)]:
        raise ValueError(f"images must be PNG files, {printable(not_png[0])} is not")
    script = (TEMPLATES / "sort.js").read_text(encoding="utf-8").removesuffix("\n")  # the one that the page allows
    common = {
        "title": title,
        "version": __version__,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "images": images,
    }
    return _render(template, {**common, **values})


def sections_of_test(evaluation: Evaluation, others: Sequence[Evaluation] = ()) -> dict[str, Any]:
    """What the templates of a test read. It reads stills of the hardest clips from their files."""
    metrics = compute_metrics(evaluation)
    tested = [(evaluation, metrics), *((e, compute_metrics(e)) for e in others)]
    values: dict[str, Any] = {
        "evaluation": evaluation,
        "metrics": metrics,
        "tested": tested if others else [],
        "cheapest": cheapest_protocol(tested),
        "class_columns": class_columns(evaluation, metrics),
        "hardest_clips": select_hardest_clips(evaluation, max_clips=MAX_CLIPS),
        "num_wrong": int((~evaluation.is_correct_N).sum()),
        "limits": {"matrix": FULL_MATRIX, "classes": MAX_CLASSES, "pairs": MAX_PAIRS, "clips": MAX_CLIPS},
    }
    if metrics.confusion_KK is not None:
        probabilities_NK = evaluation.probabilities_NK
        values |= {
            "pairs": confusions(metrics.confusion_KK),
            "matrix_classes": matrix_classes(metrics.confusion_KK),
            "bins": calibration_bins(probabilities_NK, evaluation.class_N),
            "thresholds": accuracy_above(probabilities_NK, evaluation.class_N),
            "confidence": float(probabilities_NK.max(axis=1).mean()),
            "accuracy": evaluation.accuracy,  # of clips with scores
        }
    return values


def matrix_classes(confusion_KK: Labels) -> list[int]:
    """The classes of the matrix (S): all of up to 60; of more, the 20 that are most often confused with each other."""
    if len(confusion_KK) <= FULL_MATRIX:
        return list(range(len(confusion_KK)))
    num_clips_K = confusion_KK.sum(axis=0) + confusion_KK.sum(axis=1)
    return [int(k) for k in most_confused(confusion_KK, most=MAX_CLASSES) if num_clips_K[k]]


def class_columns(evaluation: Evaluation, metrics: Metrics) -> dict[str, Any]:
    """The table of classes: `order`, the classes with the weakest first, `num_clips_K`, and `values_K` by metric.

    The order is that of the last metric; classes without a value come last. Of more than 60 classes, those without
    clips and predictions are left out.
    """
    values_K: dict[str, Scores]
    if metrics.by_class is not None:
        by, num_clips_K = metrics.by_class, metrics.by_class.num_clips_K
        values_K = {"Precision": by.precision_K, "Recall": by.recall_K, "F1": by.f1_K}
    else:
        values_K = {"Average precision": average_precisions(evaluation.scores_NK, evaluation.targets_NK)}
        num_clips_K = evaluation.targets_NK.sum(axis=0).astype(np.int64)
    order = np.argsort(list(values_K.values())[-1], kind="stable").tolist()  # NaN goes last
    if len(order) > FULL_MATRIX:
        order = [k for k in order if num_clips_K[k] or not all(np.isnan(column[k]) for column in values_K.values())]
    return {"order": order, "num_clips_K": num_clips_K, "values_K": values_K}


def _render(template: str, values: Mapping[str, Any]) -> str:
    """The page. Every value is escaped and put on one line."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    page = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        # Control characters in text are escaped; markup of the template itself (another type) stays as it is.
        finalize=lambda value: printable(value) if type(value) is str and not value.isprintable() else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters.update(
        percent=lambda value: "–" if value is None or math.isnan(value) else f"{100 * value:.1f} %",
        interval=lambda ends: "unknown" if ends is None else f"{format_interval(ends, factor=100, digits=1)} %",
        width=lambda fraction: f"{0 if math.isnan(fraction) else 100 * fraction:.2f}",
        plain=lambda value: "" if math.isnan(value) else f"{value:.6f}",
        count=lambda number: f"{number:,}",
        counted=counted,
        after_colon=lambda text: text.partition(": ")[2] or text,
        base64=lambda content: base64.b64encode(content).decode(),
        tail=lambda file: "/".join(file.replace("\\", "/").split("/")[-3:]),
    )
    return page.get_template(template).render(values)
