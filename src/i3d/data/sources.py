"""Which clips come from one source (a video, a scene, a person), as far as their names show it."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

END: Final = r"(?:\.\w+)?$"  # of the path of a file, or of a folder of frames
KNOWN_SOURCES: Final = tuple(  # of the names of public datasets
    re.compile(pattern + END)
    for pattern in (
        r"(v_[^/]+_g\d+)_c\d+",  # UCF101
        r"([^/]+)_[ufhl]_[cn]m_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+",  # HMDB51
        r"(?:^|/)([\w-]{11})_\d{6}_\d{6}",  # Kinetics: the ID of a video before a time range
        r"(person\d+)_[a-z]+_d\d(?:_uncomp)?",  # KTH
    )
)
DERIVED: Final = re.compile(r"(.+?)(?:[_\-. ]*(?:mirror(?:ed)?|h?flip(?:ped)?|copy)|[_\-. ]*\(\d+\))$", re.IGNORECASE)
BEGINNINGS: Final = (  # of names, that may be a source: before a last number, and before the first separator
    r"(?:^|/)([^/.]*[^\W\d_][^/.]*?)[_\- ]*\d+" + END,
    r"(?:^|/)([^/_\-. ]+)[_\- ][^/]*$",
)


def known_source(path: str) -> str:
    """The source in a name of a public dataset; "" in other names."""
    return next((match[1] for pattern in KNOWN_SOURCES if (match := pattern.search(path))), "")


def derived_pairs(paths: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of clips of one folder where one name is the other's with a suffix, such as `_mirror` or `copy`."""
    stems = [str(PurePath(path).with_suffix("")) if path else "" for path in paths]
    first = {stem: index for index, stem in reversed([*enumerate(stems)])}
    matches = [(index, DERIVED.fullmatch(stem)) for index, stem in enumerate(stems)]
    return [(index, first[match[1]]) for index, match in matches if match and match[1] in first]


@dataclass(frozen=True)
class NameGroups:
    """Beginnings of names that several clips share: perhaps their sources."""

    pattern: str  # for --group-by
    names_N: tuple[str, ...]

    @property
    def hint(self) -> str:
        name, number = Counter(self.names_N).most_common(1)[0]
        return (
            f"their names share a beginning, such as {name!r} of {number} clips; if that is a source, pass "
            f"--group-by {shlex.quote(self.pattern)}"
        )


def guess_sources(paths: Sequence[str], labels: Sequence[object]) -> NameGroups | None:
    """Beginnings that group all clips and are not just the names of their classes; None: there are none."""
    for pattern in BEGINNINGS:
        matches = [re.search(pattern, path) for path in paths]
        names = tuple(match[1] for match in matches if match)
        if len(names) < len(paths):
            continue
        counts, of_class = Counter(names), {*zip(labels, names, strict=True)}
        if len(counts) < len(paths) and 2 * max(counts.values()) <= len(paths) and len(of_class) > len(set(labels)):
            return NameGroups(pattern, names)
    return None
