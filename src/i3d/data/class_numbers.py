"""Convert labels, which are names or numbers, to class numbers."""

import re
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from i3d.data.labels import clean_label, is_class_name, numbered_labels
from i3d.data.rows import Label, Rows
from i3d.errors import InputError, quoted
from i3d.utils.text import is_number

MAX_CLASSES: Final = 1_000_001
SECOND_LABEL: Final = "a second label; pass --multi-label if clips can have several"
NO_NUMBER: Final = "not a class number (whole, from 0)"
COLUMN_TODO: Final = "rename the column label_id or label_name"
# Also numbers that are not allowed: their error names them.
_NUMERIC: Final = re.compile(r"-?\d{1,9}(\.\d+)?", re.ASCII)


def is_numeric(label: str) -> bool:
    """Whether a label looks like a number, allowed or not."""
    return _NUMERIC.fullmatch(label) is not None


def assign_class_numbers(
    rows: Rows, classes: tuple[str, ...] | None, *, source: Path, multi_label: bool
) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """Class names, and the class numbers of each clip. Whether labels are names or numbers: `Rows.label_kind`."""

    def wrong(labels: tuple[Label, ...], label: Label, why: str) -> InputError:
        return InputError(f"{rows.where(rows.labels.index(labels), source)}: {quoted(label)}: {why}")

    _check_classes(classes or (), source)
    distinct = dict.fromkeys(rows.labels)
    are_numbers = _are_numbers(rows, distinct, wrong)
    names = classes or ()
    if classes is None and not are_numbers:
        names = tuple(sorted({clean_label(str(label)) for labels in distinct for label in labels}))
        for labels in distinct:
            if hidden := next((str(label) for label in labels if not is_class_name(str(label))), None):
                raise wrong(labels, hidden, "a class name with invisible characters, or blanks around it; rename it")
    known = {clean_label(name): number for number, name in enumerate(names)}
    ids: dict[tuple[Label, ...], tuple[int, ...]] = {}
    for labels in distinct:
        numbers = [_number(label) if are_numbers else known.get(clean_label(str(label))) for label in labels]
        ids[labels] = tuple(number for number in numbers if number is not None)
        if None in numbers:
            bad = labels[numbers.index(None)]
            raise wrong(labels, bad, f"{NO_NUMBER}; correct it" if are_numbers else not_a_class(known, bad))
        if are_numbers and rows.label_column and (unclear := _unclear(labels, ids[labels], known)):
            raise wrong(labels, unclear, f"a class number, or the class of this name; {COLUMN_TODO}")
        if len(labels) > 1 and not multi_label:
            raise wrong(labels, labels[1], SECOND_LABEL)
        if len(set(ids[labels])) < len(labels):
            raise wrong(labels, labels[-1], f"the clip has a label twice, {' '.join(map(str, labels))}; remove one")
    used = [number for of_clip in ids.values() for number in of_clip]
    num_classes = MAX_CLASSES if classes is None else len(classes)
    for labels, of_clip in ids.items():
        if (number := next((n for n in of_clip if not 0 <= n < num_classes), None)) is not None:
            raise wrong(labels, number, _out_of_range(number, used, classes))
    names = names if classes is not None or not are_numbers else numbered_labels(max(used, default=-1) + 1)
    return names, [ids[labels] for labels in rows.labels]


def _check_classes(classes: tuple[str, ...], source: Path) -> None:
    normalized: set[str] = set()
    for name in classes:
        if not is_class_name(name) or clean_label(name) in normalized:
            why = "a class name that looks like another, or has invisible characters, or blanks around it; rename it"
            raise InputError(f"{source}: {quoted(ascii(name)[1:-1])}: {why}")
        normalized.add(clean_label(name))


def _are_numbers(rows: Rows, distinct: Iterable[tuple[Label, ...]], wrong: Callable[..., InputError]) -> bool:
    """Whether labels are class numbers. All must be, or none."""
    if rows.label_kind == "numbers":
        return True
    first: bool | None = None
    for labels in distinct:
        for label in labels:
            numeric = isinstance(label, int) or (rows.label_kind == "either" and is_numeric(label))
            first = numeric if first is None else first
            if numeric != first:
                kinds = (f"{NO_NUMBER}, as" if first else "a number, unlike") + " the labels before it"
                raise wrong(labels, label, f"{kinds}; {COLUMN_TODO if rows.label_column else 'write one kind'}")
    return bool(first)


def _unclear(labels: tuple[Label, ...], numbers: tuple[int, ...], known: dict[str, int]) -> Label | None:
    """A label of a table that is the number of one class, and the name of another."""
    pairs = ((label, number) for label, number in zip(labels, numbers, strict=True) if isinstance(label, str))
    return next((label for label, number in pairs if known.get(label, number) != number), None)


def _number(label: Label) -> int | None:
    return int(label) if isinstance(label, int) or is_number(label.removeprefix("-")) else None


def _out_of_range(number: int, used: list[int], classes: tuple[str, ...] | None) -> str:
    if number < 0:
        return "class numbers count from 0; correct it"
    if classes is None:
        return "more than a million classes; correct the line"
    from_1 = min(used) == 1 and max(used) == len(classes)
    hint = "the list seems to count from 1, class numbers count from 0"
    hint = hint if from_1 else "correct the line, or give the right class file"
    return f"there are {len(classes)} classes, 0 to {len(classes) - 1}; {hint}"


def not_a_class(known: Collection[str], label: Label) -> str:
    """Why a label is none of the known classes, and the next step."""
    near = get_close_matches(str(label), known, n=1)
    todo = f"did you mean {near[0]!r}?" if near else "correct it, or give the right class file"
    return f"is not one of the {len(known)} classes; {todo}"
