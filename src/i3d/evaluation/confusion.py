"""Which classes are taken for which: a picture of the confusion matrix, and lists of what is confused most.

Letters in names: K classes, S classes that are shown, H rows, W columns, C channels.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.errors import printable
from i3d.evaluation.metrics import Labels, Scores
from i3d.evaluation.result import Evaluation, Metrics, compute_metrics
from i3d.utils.drawing import INK, LINE, MARGIN, SOFT, Page, Pixels, open_page

MOST_CLASSES: Final = 20  # in the picture; of more, those that are confused most
MIN_NAME, MAX_NAME = 84, 200  # pixels of a class beside its row
MIN_WIDTH: Final = 700
RIGHT: Final = (36, 87, 143)  # the colour of a row whose clips are all recognised; blue and orange differ for all eyes
WRONG: Final = (180, 95, 6)
EMPTY: Final = (243, 244, 246)
HEAD: Final = 84  # title and subtitle
LEGEND: Final = "Numbers are clips, shades their share of all clips of the true class: blue right, orange wrong."
COUNTS: Final = 96  # room for the number of clips behind a row


@dataclass(frozen=True)
class Confusion:
    """Clips of one class that are taken for another."""

    true: int
    said: int
    num_clips: int
    share: float  # of all clips of the true class


def confusions(confusion_KK: Labels) -> list[Confusion]:
    """Every pair of true and said class that occurs, the commonest first; of equal ones that of the larger share."""
    wrong_KK = confusion_KK - np.diag(np.diag(confusion_KK))
    there_K = confusion_KK.sum(axis=1)
    found = [
        Confusion(int(true), int(said), int(wrong_KK[true, said]), float(wrong_KK[true, said] / there_K[true]))
        for true, said in np.argwhere(wrong_KK)
    ]
    return sorted(found, key=lambda pair: (-pair.num_clips, -pair.share, pair.true, pair.said))


def most_confused(confusion_KK: Labels, *, most: int) -> Labels:
    """The classes that are confused most with each other, at most so many; pairs stand beside each other.

    Pairs are taken by their clips in both directions, the commonest first. If nothing is confused, it is the classes
    with most clips.

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


def row_shares(confusion_KK: Labels) -> Scores:
    """(K, K): the shares of the clips of each class; 0 in the row of a class without clips."""
    there_K1 = confusion_KK.sum(axis=1, keepdims=True)
    shares_KK: Scores = confusion_KK / np.maximum(there_K1, 1)
    return shares_KK


def draw_confusion(out: Path, evaluation: Evaluation) -> None:
    """Draw the confusion matrix into a PNG: rows are true classes, shades shares of their clips, numbers clips.

    Of more than 20 classes only the 20 that are confused most with each other are drawn. Classes that go together
    have no confusion: a ValueError.
    """
    figures = compute_metrics(evaluation)
    if figures.confusion_KK is None:
        raise ValueError("classes that go together have no confusion matrix")
    num_classes = len(evaluation.classes)
    chosen_S = (
        most_confused(figures.confusion_KK, most=MOST_CLASSES) if num_classes > MOST_CLASSES else np.arange(num_classes)
    )
    names = [evaluation.classes[k] for k in chosen_S]
    cell = _cell(len(names))
    side, rows_room = cell * len(names), _room(names)
    flat = rows_room <= cell - 8
    columns_room = 24 if flat else int(rows_room * 0.71) + 22
    left, top = MARGIN + rows_room + 10, HEAD + columns_room
    width = max(MIN_WIDTH, left + side + max(COUNTS, 0 if flat else columns_room) + MARGIN)
    print_lines = _small_print(evaluation, width)
    with open_page(out, width, top + side + 24 + LINE * len(print_lines) + MARGIN) as page:
        page.head(_title(figures, len(names), num_classes), [LEGEND], room=width - 2 * MARGIN)
        page.text(left - 10, top - LINE - 2, "true ↓  said →", points=8, colour=SOFT, right=True)
        page.image(_cells(figures.confusion_KK, chosen_S, cell), left, top)
        _write_counts(page, figures.confusion_KK, chosen_S, left, top, cell)
        for i, name in enumerate(names):
            middle = top + i * cell + cell // 2
            page.text(left - 10, middle - 8, name, points=9, room=rows_room, right=True)
            num_clips = int(figures.confusion_KK[chosen_S[i]].sum())
            page.text(left + side + 10, middle - 7, _clips(num_clips), points=8, colour=SOFT)
            _write_column(page, name, left + i * cell + cell / 2, top - 8, rows_room, flat=flat)
        for i, line in enumerate(print_lines):
            page.text(MARGIN, top + side + 24 + LINE * i, line, points=7.5, colour=SOFT, room=width - 2 * MARGIN)


def _title(figures: Metrics, num_shown: int, num_classes: int) -> str:
    title = f"Top-1 {100 * (figures.top1 or 0):.1f} % of {_clips(figures.num_clips)}"
    if num_shown == num_classes:
        return title
    return f"{title}: the {num_shown} of {num_classes:,} classes most confused with each other"


def _small_print(evaluation: Evaluation, width: int) -> list[str]:
    words = f"{evaluation.model} (SHA-256 {evaluation.weights_sha256[:12]}), {evaluation.recipe}, on {evaluation.data}"
    num_bad = len(evaluation.bad)
    bad = f" {_clips(num_bad)} that could not be read {'is' if num_bad == 1 else 'are'} left out." if num_bad else ""
    lines = (f"Protocol: {evaluation.protocol}.{bad}", printable(words))
    letters = int((width - 2 * MARGIN) / 5.8)
    return [part for line in lines for part in textwrap.wrap(line, letters, max_lines=3, placeholder=" …")]


def _clips(number: int) -> str:
    return f"{number:,} clip{'' if number == 1 else 's'}"


def _cell(num_classes: int) -> int:
    """The side of a cell: 2 -> 112, 12 -> 52, 20 -> 42."""
    return next(
        side for most, side in ((3, 112), (6, 80), (9, 64), (14, 52), (MOST_CLASSES, 42)) if num_classes <= most
    )


def _room(names: Sequence[str]) -> int:
    """About how many pixels the longest name takes at 9 points, and no more than there is."""
    wide = max(sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in printable(name)) for name in names)
    return min(max(8 * wide + 8, MIN_NAME), MAX_NAME)


def _cells(confusion_KK: Labels, chosen_S: Labels, cell: int) -> Pixels:
    """Squares with white lines between them."""
    counts_SS = confusion_KK[np.ix_(chosen_S, chosen_S)]
    shares_SS = row_shares(confusion_KK)[np.ix_(chosen_S, chosen_S)]
    is_right_SS1 = np.eye(len(chosen_S), dtype=bool)[..., None]
    full_SSC = np.where(is_right_SS1, np.array(RIGHT), np.array(WRONG))
    shade_SS1 = (0.1 + 0.9 * shares_SS)[..., None]
    colour_SSC = np.where(counts_SS[..., None] > 0, 255 + (full_SSC - 255) * shade_SS1, np.array(EMPTY))
    pixels_HWC: npt.NDArray[np.uint8] = colour_SSC.round().astype(np.uint8).repeat(cell, axis=0).repeat(cell, axis=1)
    for line in (0, 1):
        pixels_HWC[line::cell] = 255
        pixels_HWC[:, line::cell] = 255
    return pixels_HWC


def _write_counts(page: Page, confusion_KK: Labels, chosen_S: Labels, left: int, top: int, cell: int) -> None:
    shares_KK = row_shares(confusion_KK)
    for i, true in enumerate(chosen_S):
        for j, said in enumerate(chosen_S):
            if count := int(confusion_KK[true, said]):
                text = f"{count:,}" if count < 100_000 else f"{count / 1000:,.0f}k"
                page.figure.text(
                    (left + j * cell + cell / 2 + 1) / page.width,
                    1 - (top + i * cell + cell / 2 + 1) / page.height,
                    text,
                    fontsize=min(12, max(8, cell / 8)) if len(text) < 6 else 6.5,
                    color="white" if shares_KK[true, said] > 0.7 else INK,
                    ha="center",
                    va="center_baseline",
                )


def _write_column(page: Page, name: str, middle: float, bottom: float, room: int, *, flat: bool) -> None:
    """The name of a column above it; along a slope if it is wider than the column."""
    line = page.figure.text(
        (middle if flat else middle - 3) / page.width,
        1 - bottom / page.height,
        printable(name),
        fontsize=9,
        color=INK,
        ha="center" if flat else "left",
        va="bottom" if flat else "baseline",
        parse_math=False,
    )
    page.fit(line, room)
    if not flat:
        line.set_rotation(45)
        line.set_rotation_mode("anchor")
