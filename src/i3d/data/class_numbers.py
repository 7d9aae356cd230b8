"""Convert labels, which are names or numbers, to class numbers."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from i3d.data.labels import clean_label, is_visible, numbered_labels
from i3d.data.rows import Label, Rows
from i3d.errors import InputError, printable, quoted
from i3d.utils.text import is_number

SECOND_LABEL: Final = "a second label; pass --multi-label if clips can have several"
_NUMERIC: Final = re.compile(
    r"-?\d{1,9}(\.\d+)?", re.ASCII
)  # also numbers that are not allowed: their error names them


def assign_class_numbers(
    rows: Rows, classes: tuple[str, ...] | None, *, source: Path, multi_label: bool
) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """Class names, and the class numbers of each clip.

    Labels are names if the first one is no number, or is the name of a class; else they are class numbers.
    """

    def wrong(index: int, label: Label, why: str) -> InputError:
        return InputError(f"{rows.where(index, source)}: {quoted(label)}: {why}")

    normalized: set[str] = set()
    for name in classes or ():
        if not is_visible(name) or clean_label(name) in normalized:
            where = f"{printable(str(source))}: {quoted(ascii(name)[1:-1])}"
            raise InputError(f"{where}: a class name that looks like another, or has invisible characters; rename it")
        normalized.add(clean_label(name))
    known: dict[Label, int] = {}
    by_number = all(isinstance(label, int) or _NUMERIC.fullmatch(label) for label in _first_labels(rows))
    if classes is not None:
        known = {clean_label(name): i for i, name in enumerate(classes)}
        by_number = by_number and not any(str(label) in known for label in _first_labels(rows))
    if by_number:
        return _by_number(rows, classes, wrong, multi_label=multi_label)
    if classes is None:
        kinds = dict.fromkeys(rows.labels)
        names = sorted({clean_label(str(label)) for labels in kinds for label in labels})
        known = {name: i for i, name in enumerate(names)}
        for labels in kinds:
            for label in labels:
                if not is_visible(str(label)):
                    why = "a class name with invisible characters; type it again"
                    raise wrong(rows.labels.index(labels), label, why)
        classes = tuple(names)
    ids: dict[tuple[Label, ...], tuple[int, ...]] = {}
    for labels in dict.fromkeys(rows.labels):
        try:
            ids[labels] = tuple([known[label if type(label) is int else clean_label(str(label))] for label in labels])
        except KeyError as error:
            why = f"is not one of the {len(known)} classes{_near(known, error)}"
            raise wrong(rows.labels.index(labels), error.args[0], why) from None
        if len(labels) > 1 and not multi_label:
            raise wrong(rows.labels.index(labels), labels[1], SECOND_LABEL)
    return classes, [ids[labels] for labels in rows.labels]


def _by_number(
    rows: Rows, classes: tuple[str, ...] | None, wrong: Any, *, multi_label: bool
) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    ids: dict[tuple[Label, ...], tuple[int, ...]] = {}
    for labels in dict.fromkeys(rows.labels):
        try:
            ids[labels] = tuple([label if isinstance(label, int) else _number(label) for label in labels])
        except ValueError:
            bad = next(x for x in labels if not isinstance(x, int) and not is_number(x.removeprefix("-")))
            why = "not a class number (whole, from 0); correct it"
            raise wrong(rows.labels.index(labels), bad, why) from None
        if len(labels) > 1 and not multi_label:
            raise wrong(rows.labels.index(labels), labels[1], SECOND_LABEL)
    ids_N = [ids[labels] for labels in rows.labels]
    highest = max((label for labels in ids_N for label in labels), default=-1)
    lowest = min((label for labels in ids_N for label in labels), default=0)
    if lowest < 0:
        index = next(i for i, labels in enumerate(ids_N) if min(labels, default=0) < 0)
        raise wrong(index, min(ids_N[index]), "class numbers count from 0; correct it")
    if classes is not None and highest >= len(classes):
        index = next(i for i, labels in enumerate(ids_N) if max(labels, default=0) >= len(classes))
        hint = (
            "; the list seems to count from 1, class numbers count from 0"
            if lowest == 1 and highest == len(classes)
            else ""
        )
        allowed = f"there are {len(classes)} classes, 0 to {len(classes) - 1}"
        raise wrong(index, max(ids_N[index]), f"{allowed}{hint or '; correct the line, or give the right class file'}")
    if classes is None and highest > 1_000_000:
        index = next(i for i, labels in enumerate(ids_N) if max(labels, default=0) == highest)
        raise wrong(index, highest, "more than a million classes; correct the line")
    return classes or numbered_labels(highest + 1), ids_N


def _number(text: str) -> int:
    if not is_number(text.removeprefix("-")):
        raise ValueError
    return int(text)


def _first_labels(rows: Rows) -> tuple[Label, ...]:
    return next((labels for labels in rows.labels if labels), ())


def _near(known: dict[Label, int], error: KeyError) -> str:
    near = get_close_matches(str(error.args[0]), [str(name) for name in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else "; correct it, or give the right class file"
