"""Class names: of public datasets, and from files of users."""

import unicodedata
from pathlib import Path
from typing import Final

from i3d.errors import InputError
from i3d.utils.atomic_files import ASSETS
from i3d.utils.text import read_text

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


def clean_label(name: str) -> str:
    """A class name in Unicode's normal form C, so that composed and decomposed letters are equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def scripts_in(name: str) -> set[str]:
    """Which of the alphabets with letters that look alike occur in a name."""
    alphabets = {unicodedata.name(letter, "").split(" ")[0] for letter in name}
    return alphabets & {"LATIN", "CYRILLIC", "GREEK"}


def is_visible(name: str) -> bool:
    """Whether a class name has no invisible characters, except for the joiners that some scripts need."""
    return name.replace("\u200c", "").replace("\u200d", "").isprintable()


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names from a file, one a line, or `name index` on every line as in MMAction2's `kinetics_class2ind.txt`.

    Empty lines at the end, Windows line ends and a byte order mark are ignored. An empty or repeated name, and numbers
    other than 0, 1, 2 ... are an InputError with the line.
    """
    where = str(path)
    names = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not names:
        raise InputError(f"{where}: contains no class names; write one a line")
    numbered = [name.rsplit(maxsplit=1) for name in names]
    has_numbers = all(len(parts) == 2 and parts[1].isascii() and parts[1].isdigit() for parts in numbered)
    if has_numbers and len({name for name, _ in numbered}) == len(names):  # not "class 0", "class 1" ...
        indices = [int(index) for _, index in numbered]
        if sorted(indices) != list(range(len(names))):
            what = f"the numbers behind the names must be 0 to {len(names) - 1}, each once"
            raise InputError(f"{where}: {what}; correct them, or write names alone")
        names = [name for _, (name, _) in sorted(zip(indices, numbered, strict=True))]
    elif all(name.split(maxsplit=1)[0].isdigit() for name in names if name) and len(names) > 1:
        raise InputError(f"{where}: a number stands before each name; write `name number`, or names alone")
    first_line: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name or not is_visible(name):
            raise InputError(f"{where}:{number}: {name!r}: not a class name; write one a line")
        if name in first_line:
            raise InputError(f"{where}:{number}: {name!r}: also on line {first_line[name]}; rename one")
        first_line[name] = number
    return tuple(names)
