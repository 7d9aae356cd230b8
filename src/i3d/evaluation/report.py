"""A test as one HTML file that needs nothing else: figures, confusion, calibration, classes and the worst clips.

The page is in `assets/report`; here is what stands on it. Letters in names: N clips, K classes, B bins, S shown.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from i3d._version import __version__
from i3d.errors import printable
from i3d.evaluation.calibration import calibration_of, percent
from i3d.evaluation.confusion import confusions, most_confused, row_shares
from i3d.evaluation.hardest_clips import unsure_clips, worst_clips, wrong_clips
from i3d.evaluation.metrics import Labels, average_precisions
from i3d.evaluation.result import Evaluation, Metrics, cheapest, compute_metrics
from i3d.utils.atomic_files import ASSETS, write_atomically

if TYPE_CHECKING:
    from jinja2 import Template

PAGE: Final = ASSETS / "report"
FULL_MATRIX: Final = 60  # classes that the whole matrix is shown of; of more, those that are confused most
MOST_CLASSES: Final = 20
MOST_PAIRS: Final = 20
MOST_CLIPS: Final = 24
PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Number:
    """A figure in the headline and what it says."""

    name: str
    value: float
    what: str


@dataclass(frozen=True)
class Cell:
    """Clips of one class that were said to be of the same or another."""

    said: str
    num_clips: int
    share: float  # of all clips of the true class
    kind: str  # "right" or "wrong"


@dataclass(frozen=True)
class MatrixRow:
    """A true class: a cell for each said class; None where there is no clip."""

    name: str
    num_clips: int
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix as it is shown."""

    names: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    size: str  # the name of the style that its cells have
    has_numbers: bool
    words: str


@dataclass(frozen=True)
class ProtocolRow:
    """A protocol with what it gives and costs."""

    name: str
    words: str
    views: float  # of a clip, on average
    gflops: str
    value: float | None
    interval: tuple[float, float] | None
    is_cheapest: bool  # within half a point of the best


@dataclass(frozen=True)
class ClassRow:
    """A class with its figures; NaN where there is nothing to divide by."""

    name: str
    num_clips: int
    values: tuple[float, ...]


def write_report(
    out: Path,
    evaluation: Evaluation,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    pictures: Mapping[str, bytes] | None = None,
    others: Sequence[Evaluation] = (),
    bad_as_wrong: bool = False,
) -> None:
    """Write the report of a test into one HTML file. `pictures` are PNGs by their names, put at its end.

    `others`: the same clips by other protocols, for a table. Without a single clip with scores, and with a picture
    that is no PNG, that is a ValueError.
    """
    page = report_html(
        evaluation, title=title, notes=notes, pictures=pictures or {}, others=others, bad_as_wrong=bad_as_wrong
    )
    write_atomically(out, page.encode())


def is_report(path: Path) -> bool:
    """Whether a file is a report of ours, which may be replaced."""
    with path.open("rb") as file:
        return b'<meta name="generator" content="i3d">' in file.read(2000)


def report_html(
    evaluation: Evaluation,
    *,
    title: str | None,
    notes: Sequence[str],
    pictures: Mapping[str, bytes],
    others: Sequence[Evaluation] = (),
    bad_as_wrong: bool = False,
) -> str:
    """The report as text. The stills of the worst clips are read from their files."""

    if not_png := [name for name, content in pictures.items() if not content.startswith(PNG)]:
        raise ValueError(f"pictures must be PNG files, {printable(not_png[0])} is not")
    figures = compute_metrics(evaluation, bad_as_wrong=bad_as_wrong)
    is_single = figures.confusion_KK is not None
    pairs = confusions(figures.confusion_KK) if figures.confusion_KK is not None else []
    return _page().render(
        title=title or f"Test of {evaluation.model}",
        version=__version__,
        script_hash=_script_hash(),
        sha256=evaluation.weights_sha256,
        classes=evaluation.classes,
        figures=figures,
        main_name="Top-1 accuracy" if is_single else "Mean average precision",
        main=figures.top1 if is_single else figures.mean_average_precision,
        facts=_facts(evaluation),
        numbers=_numbers(figures),
        recognised=_recognised(evaluation, figures),
        warnings=_warnings(figures),
        notes=[line for note in notes for line in note.splitlines() if line.strip()],
        protocols=_protocols([evaluation, *others], bad_as_wrong=bad_as_wrong) if others else [],
        pairs=pairs[:MOST_PAIRS],
        pairs_words=_pairs_words(len(pairs)),
        matrix=matrix_of(evaluation.classes, figures.confusion_KK) if figures.confusion_KK is not None else None,
        calibration=calibration_of(evaluation, figures) if is_single else None,
        class_columns=("Precision", "Recall", "F1") if is_single else ("Average precision",),
        class_words=_class_words(is_single),
        class_rows=class_rows(evaluation, figures),
        worst=worst_clips(evaluation, most=MOST_CLIPS),
        worst_words=_worst_words(len(wrong_clips(evaluation)), len(unsure_clips(evaluation))),
        bad=evaluation.bad,
        pictures=list(pictures.items()),
    )


def matrix_of(classes: Sequence[str], confusion_KK: Labels) -> Matrix:
    """The whole matrix of up to 60 classes; of more, the 20 that are confused most with each other."""
    is_whole = len(classes) <= FULL_MATRIX
    chosen_S = np.arange(len(classes)) if is_whole else most_confused(confusion_KK, most=MOST_CLASSES)
    if not is_whole:
        chosen_S = chosen_S[(confusion_KK.sum(axis=0) + confusion_KK.sum(axis=1))[chosen_S] > 0]
    shares_KK, pairs_there = row_shares(confusion_KK), bool(np.triu(confusion_KK + confusion_KK.T, k=1).any())
    rows = []
    for true in chosen_S:
        cells = [
            Cell(classes[said], int(count), float(shares_KK[true, said]), "right" if said == true else "wrong")
            if (count := confusion_KK[true, said])
            else None
            for said in chosen_S
        ]
        rows.append(MatrixRow(classes[true], int(confusion_KK[true].sum()), tuple(cells)))
    sizes = ((4, "m4"), (12, "m12"), (20, "m20"), (40, "m40"), (FULL_MATRIX, "m60"))
    words = "Shades are shares of all clips of the true class, blue right and orange wrong. Behind a row are its clips."
    if not is_whole:
        which = "that are confused most with each other" if pairs_there else "with most clips"
        words = f"The {len(rows)} of {len(classes):,} classes {which}. {words}"
    return Matrix(
        names=tuple(classes[k] for k in chosen_S),
        rows=tuple(rows),
        size=next(name for most, name in sizes if len(rows) <= most),
        has_numbers=len(rows) <= MOST_CLASSES,
        words=words,
    )


def class_rows(evaluation: Evaluation, figures: Metrics) -> list[ClassRow]:
    """Every class, the weakest first by F1 or average precision; those without one last."""
    if figures.by_class is not None:
        found = figures.by_class
        values_KV = np.stack([found.precision_K, found.recall_K, found.f1_K], axis=1)
        num_clips_K = found.num_clips_K
    else:
        targets_NK = np.zeros(evaluation.scores_NK.shape)
        for row_K, labels in zip(targets_NK, evaluation.labels_N, strict=True):
            row_K[list(labels)] = 1
        values_KV = average_precisions(evaluation.scores_NK, targets_NK)[:, None]
        num_clips_K = targets_NK.sum(axis=0).astype(np.int64)
    order = np.argsort(values_KV[:, -1], kind="stable")  # NaN goes last
    if len(order) > FULL_MATRIX:  # of many classes, those that occur or are said
        order = np.array([k for k in order if num_clips_K[k] or not np.isnan(values_KV[k]).all()])
    return [ClassRow(evaluation.classes[k], int(num_clips_K[k]), tuple(float(v) for v in values_KV[k])) for k in order]


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    num_bad = len(evaluation.bad)
    clips = _count(len(evaluation.files_N), "clip") + (f"; {num_bad:,} more could not be read" if num_bad else "")
    return [
        ("Protocol", evaluation.protocol),
        ("Recipe", evaluation.recipe),
        ("Weights", evaluation.model),
        ("Data", evaluation.data),
        ("Clips", clips),
        ("Classes", f"{len(evaluation.classes):,}{', which go together' if evaluation.multi_label else ''}"),
    ]


def _protocols(evaluations: Sequence[Evaluation], *, bad_as_wrong: bool) -> list[ProtocolRow]:
    """The same clips by each protocol, the cheapest of the good ones marked."""
    tested = [(e, compute_metrics(e, bad_as_wrong=bad_as_wrong)) for e in evaluations]
    cheap = cheapest(tested)
    return [
        ProtocolRow(
            name=e.name,
            words=e.protocol,
            views=float(np.mean(e.num_views_N)),
            gflops="–" if e.gflops is None else f"{e.gflops:,.1f}",
            value=f.top1 if f.top1 is not None else f.mean_average_precision,
            interval=f.top1_interval or f.precision_interval,
            is_cheapest=e is cheap,
        )
        for e, f in tested
    ]


def _numbers(figures: Metrics) -> list[Number]:
    found = [
        ("Top-5 accuracy", figures.top5, "the class is among the five highest scores"),
        ("Mean-class accuracy", figures.mean_class, "every class counts the same"),
        ("Calibration error", figures.calibration, "how far probabilities are from the truth; 0 is best"),
    ]
    return [Number(name, value, what) for name, value, what in found if value is not None]


def _recognised(evaluation: Evaluation, figures: Metrics) -> str:
    """What the main figure counts."""
    if figures.top1 is None:
        num_there = len({label for labels in evaluation.labels_N for label in labels})
        return f"over the {_count(num_there, 'class', 'classes')} that {'occurs' if num_there == 1 else 'occur'}"
    return f"{round(figures.top1 * figures.num_clips):,} of {_count(figures.num_clips, 'clip')} recognised"


def _warnings(figures: Metrics) -> list[str]:
    """What must be known beside the figures."""
    words = []
    if figures.top1_interval and figures.largest_class and figures.top1_interval[0] <= figures.largest_class:
        words.append("These clips do not show that the network is better than always naming the largest class.")
    if num_bad := figures.num_bad:
        what = "counted as wrong" if figures.bad_as_wrong else "left out"
        words.append(f"{_count(num_bad, 'clip')} could not be read and {'is' if num_bad == 1 else 'are'} {what}.")
    return words


def _pairs_words(num_pairs: int) -> str:
    first = f"The first {MOST_PAIRS} of " if num_pairs > MOST_PAIRS else ""
    return f"{first}{_count(num_pairs, 'kind')} of mistakes, the commonest first."


def _class_words(is_single: bool) -> str:
    if not is_single:
        return "All classes, the weakest first. Average precision is that of the clips in the order of their scores."
    return (
        "All classes, the weakest by F1 first. Precision: of the clips that are said to be of the class, those that "
        "are. Recall: of the clips of the class, those that are found. F1: their harmonic mean."
    )


def _worst_words(num_wrong: int, num_right: int) -> str:
    right = "those that are recognised, the lowest probability first"
    if not num_wrong:
        return f"No clip has its highest score at a wrong class. These are {right}."
    first = f"The first {MOST_CLIPS} of " if num_wrong > MOST_CLIPS else ""
    more = f"; then {right}" if num_right and num_wrong < MOST_CLIPS else ""
    return (
        f"{first}{_count(num_wrong, 'clip')} whose highest score is that of a wrong class, "
        f"the highest probability first: true mistakes, and clips whose label is wrong{more}."
    )


def _page() -> Template:
    """The template. All that is put into it is escaped, and put on one line."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    page = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_on_one_line,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters.update(
        percent=percent,
        interval=_interval,
        width=lambda share: f"{0 if math.isnan(share) else 100 * share:.2f}",
        plain=lambda value: "" if math.isnan(value) else f"{value:.6f}",
        count=lambda number: f"{number:,}",
        base64=lambda content: base64.b64encode(content).decode(),
        tail=lambda file: "/".join(file.replace("\\", "/").split("/")[-3:]),
    )
    return page.get_template("page.html")


def _on_one_line(value: object) -> object:
    """Text with what cannot be printed made visible; what the template itself made stays as it is."""
    return printable(value) if type(value) is str and not value.isprintable() else value


def _script_hash() -> str:
    """By which a browser knows the one script that it may run."""
    script = (PAGE / "sort.js").read_text(encoding="utf-8").removesuffix("\n")
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _interval(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
