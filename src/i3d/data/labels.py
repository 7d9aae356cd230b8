"""Class names: those of public datasets, and which names are allowed."""

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from i3d.errors import InputError, abridged, quoted
from i3d.utils.atomic_files import ASSETS
from i3d.utils.text import is_json_object

SHIPPED: Final = {name: f"{name}_labels.txt" for name in ("kinetics400", "kinetics600", "ucf101", "hmdb51")}
CLASSES_SUFFIX: Final = ".classes.txt"  # of the file of class names beside a list
LOOK_ALIKE: Final = dict(zip("аеорсухАВЕКМНОРСТХαορυ", "aeopcyxABEKMHOPCTXaopu", strict=True))


def dataset_labels(dataset: str) -> tuple[str, ...] | None:
    """The class names of a public dataset in the order of its class numbers, or None if they are not shipped."""
    file = SHIPPED.get(dataset)
    return None if file is None else tuple((ASSETS / file).read_text(encoding="utf-8").splitlines())


def numbered_labels(num_classes: int) -> tuple[str, ...]:
    """Names for classes that have none: 3 -> class 0, class 1, class 2."""
    return tuple(f"class {i}" for i in range(num_classes))


def is_numbered(classes: tuple[str, ...]) -> bool:
    """Whether classes have no names but those of `numbered_labels`."""
    return classes == numbered_labels(len(classes))


def clean_label(name: str) -> str:
    """A class name in Unicode's normal form C, so that composed and decomposed letters are equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def class_number(label: str, labels: Sequence[str], *, option: str) -> int:
    """The number of a class by its name. One that no class or several classes have is an InputError.

    `option`: where the name was given, which the message begins with.
    """
    number = labels.count(label)
    if number == 1:
        return labels.index(label)
    if number:
        raise InputError(f"{option} {quoted(label)}: {number} classes of the network have this name")
    alike = names_alike(label, labels)
    what = "did you mean" if alike else "it has"
    names = abridged([*map(quoted, alike or labels)], 10)
    raise InputError(f"{option} {quoted(label)}: the network has no such class; {what} {names}")


def names_alike(label: str, labels: Sequence[str]) -> list[str]:
    """The class names that a name may stand for: those that contain it, else those that are spelled much like it."""
    alike = [name for name in labels if label.casefold() in name.casefold()]
    return alike or get_close_matches(label, labels, n=5, cutoff=0.6)


def scripts_in(name: str) -> set[str]:
    """Which of the alphabets with letters that look alike occur in a name."""
    alphabets = {unicodedata.name(letter, "").split(" ")[0] for letter in name}
    return alphabets & {"LATIN", "CYRILLIC", "GREEK"}


def is_visible(name: str) -> bool:
    """Whether a class name has no invisible characters, except for the joiners that some scripts need."""
    return name.replace("\u200c", "").replace("\u200d", "").isprintable()


def is_class_name(name: str) -> bool:
    """Whether a name can stand in every list and file of classes: visible, without blanks around it, and not JSON."""
    return is_visible(name) and name == name.strip() != "" and not is_json_object(name)


def check_numbers(where: str, classes: Sequence[str]) -> None:
    """An InputError where a list has class numbers, and a class is named by the number of another one."""
    for number, name in enumerate(classes):
        if name.isdecimal() and name != str(number) and int(name) < len(classes):
            what = f"its labels are numbers, and class {number} is named {name!r}: which of the two is meant is unknown"
            raise InputError(f"{where}: {what}; give names, in a column label_name, or the class file (--classes)")
