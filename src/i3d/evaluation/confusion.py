"""The confusion matrix: a figure of it, and the most frequent confusions.

Letters in names: K classes, S classes of the figure.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from i3d.errors import counted, printable
from i3d.evaluation.metrics import Labels, Scores
from i3d.evaluation.result import Evaluation, compute_metrics
from i3d.utils.drawing import INK, SOFT, Pixels, fit, open_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CLASSES: Final = 20  # in the figure; of more, the most confused ones
MAX_NAME: Final = 200  # pixels of a class beside its row
MIN_WIDTH: Final = 700
RIGHT: Final = (36, 87, 143)  # correct; blue and orange differ for colour-blind readers
WRONG: Final = (180, 95, 6)
EMPTY: Final = (243, 244, 246)
LEGEND: Final = (
    "Numbers are clips; shades are fractions of the clips of the true class: blue is right, orange is wrong."
)


@dataclass(frozen=True)
class Confusion:
    """Clips of one class with another predicted class."""

    true: int
    predicted: int
    num_clips: int
    fraction: float  # of all clips of the true class


def confusions(confusion_KK: Labels) -> list[Confusion]:
    """The confusions of all pairs of classes, the most frequent first; of equal ones the larger fraction first."""
    wrong_KK = confusion_KK - np.diag(np.diag(confusion_KK))
    fractions_KK = row_fractions(confusion_KK)
    indices = np.argwhere(wrong_KK).tolist()
    pairs = [Confusion(i, j, int(wrong_KK[i, j]), float(fractions_KK[i, j])) for i, j in indices]
    return sorted(pairs, key=lambda pair: (-pair.num_clips, -pair.fraction, pair.true, pair.predicted))


def most_confused(confusion_KK: Labels, *, most: int) -> Labels:
    """At most `most` classes that are most often confused with each other; confused pairs are neighbours.

    Pairs are ordered by their clips in both directions. Without confusions, it is the classes with most clips.

    [[5, 0, 2, 0], [0, 9, 0, 0], [3, 0, 7, 0], [1, 0, 0, 8]], most=2 -> 0 2
    """
    both_KK = np.triu(confusion_KK + confusion_KK.T, k=1)
    pairs = np.argwhere(both_KK)
    order = np.argsort(-both_KK[pairs[:, 0], pairs[:, 1]], kind="stable")
    chosen: dict[int, None] = {}
    for pair in pairs[order]:
        new = [int(k) for k in pair if int(k) not in chosen]
        if len(chosen) + len(new) <= most:
            chosen.update(dict.fromkeys(new))
    return np.array(list(chosen) or np.argsort(-confusion_KK.sum(axis=1), kind="stable")[:most], np.int64)


def row_fractions(confusion_KK: Labels) -> Scores:
    """(K, K): the fractions of the clips of each class; the row of a class without clips is 0."""
    num_clips_K1 = confusion_KK.sum(axis=1, keepdims=True)
    fractions_KK: Scores = confusion_KK / np.maximum(num_clips_K1, 1)
    return fractions_KK


def draw_confusion(out: Path, evaluation: Evaluation) -> None:
    """Draw the confusion matrix as PNG: rows are true classes, shades the fraction of their clips, numbers clips.

    Of more than 20 classes only the 20 that are most often confused with each other are drawn. Multi-label classes
    have no confusion matrix: a ValueError.
    """
    metrics = compute_metrics(evaluation)
    if metrics.confusion_KK is None:
        raise ValueError("multi-label classes have no confusion matrix")
    title = f"Top-1 {100 * metrics.accuracy:.1f} % of {counted(metrics.num_clips, 'clip')}"
    num_classes, chosen_S = len(evaluation.classes), np.arange(len(evaluation.classes))
    if num_classes > MAX_CLASSES:
        chosen_S = most_confused(metrics.confusion_KK, most=MAX_CLASSES)
        title += f": the {len(chosen_S)} of {num_classes:,} classes most confused with each other"
    side = _cell(len(chosen_S)) * len(chosen_S)
    width, height = max(side + 500, MIN_WIDTH), side + 420  # with room for names, title and small print
    with open_figure(out, width, height, layout="compressed") as figure:
        figure.suptitle(textwrap.fill(title, width // 13), x=0.03, ha="left", size=15, weight="bold")
        figure.supxlabel("\n".join(_small_print(evaluation, width)), x=0.03, ha="left", size=7.5, color=SOFT)
        axes = figure.add_subplot()
        names = [fit(figure, evaluation.classes[k], MAX_NAME, size=9) for k in chosen_S]
        _draw_matrix(axes, metrics.confusion_KK, chosen_S, names)


def _draw_matrix(axes: "Axes", confusion_KK: Labels, chosen_S: Labels, names: Sequence[str]) -> None:
    """Squares with their counts, the names of true classes on the left, those of predicted classes above."""
    shown_SS = np.ix_(chosen_S, chosen_S)
    counts_SS, fractions_SS = confusion_KK[shown_SS], row_fractions(confusion_KK)[shown_SS]
    places = range(len(chosen_S))
    axes.imshow(_shades(counts_SS, fractions_SS))
    for i, j in np.argwhere(counts_SS):
        count = int(counts_SS[i, j])
        text = f"{count:,}" if count < 100_000 else f"{count / 1000:,.0f}k"
        size = min(12.0, max(8.0, _cell(len(chosen_S)) / 8)) if len(text) < 6 else 6.5
        axes.text(j, i, text, size=size, ha="center", va="center", color="white" if fractions_SS[i, j] > 0.7 else INK)
    axes.set_yticks(places, names, size=9)
    axes.set_xticks(places, names, size=9, rotation=45, ha="left", rotation_mode="anchor")
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False)
    right = axes.secondary_yaxis("right")
    right.set_yticks(places, [counted(int(confusion_KK[k].sum()), "clip") for k in chosen_S], size=8, color=SOFT)
    right.tick_params(length=0)
    for part in (axes, right):
        part.spines[:].set_visible(False)
    edges = np.arange(len(chosen_S) + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)


def _small_print(evaluation: Evaluation, width: int) -> list[str]:
    words = f"{evaluation.model} (SHA-256 {evaluation.weights_sha256[:12]}), {evaluation.recipe}, on {evaluation.data}"
    num_bad = len(evaluation.bad)
    bad = f" {counted(num_bad, 'clip')} could not be read and {'is' if num_bad == 1 else 'are'} left out."
    lines = (LEGEND, f"Protocol: {evaluation.protocol}.{bad if num_bad else ''}", printable(words))
    return [part for line in lines for part in textwrap.wrap(line, width // 6, max_lines=3, placeholder=" …")]


def _cell(num_classes: int) -> int:
    """About how many pixels a square is wide: 2 -> 112, 12 -> 52, 20 -> 42."""
    return next(side for most, side in ((3, 112), (6, 80), (9, 64), (14, 52), (MAX_CLASSES, 42)) if num_classes <= most)


def _shades(counts_SS: Labels, fractions_SS: Scores) -> Pixels:
    """RGB (S, S, 3) of the squares: blue on the diagonal, orange elsewhere, grey where there is no clip."""
    is_correct_SS1 = np.eye(len(counts_SS), dtype=bool)[..., None]
    full_SS3 = np.where(is_correct_SS1, np.array(RIGHT), np.array(WRONG))
    shade_SS1 = (0.1 + 0.9 * fractions_SS)[..., None]
    colour_SS3 = np.where(counts_SS[..., None] > 0, 255 + (full_SS3 - 255) * shade_SS1, np.array(EMPTY))
    rgb_SS3: Pixels = colour_SS3.round().astype(np.uint8)
    return rgb_SS3
