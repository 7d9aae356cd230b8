"""Folders below a folder, and files by a pattern. One that cannot be listed is an OSError, and never left out."""

import errno
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

MAX_NAME: Final = 255  # letters in the name of a file, on all usual disks
FEW: Final = 16  # look-ups in a folder, which are faster than its listing


def refuse(error: OSError) -> NoReturn:
    """Raise the error of a folder that cannot be listed."""
    raise error


def walk_folders(
    folder: Path | str, *, on_error: Callable[[OSError], None] = refuse
) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` that follows symbolic links and visits each folder once, as links can form cycles.

    `on_error` gets the error of each folder that cannot be listed.
    """
    visited: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=on_error):
        stat = os.stat(place)  # noqa: PTH116 (many folders, fast)
        if (stat.st_dev, stat.st_ino) in visited:
            folders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        for name in files:
            check_link(os.path.join(place, name))  # noqa: PTH118 (many files, fast)
        yield place, folders, files


def check_link(path: str) -> None:
    """A FileNotFoundError for a link without a suffix that leads nowhere, as to a folder of a disk that is gone."""
    if not os.path.splitext(path)[1] and os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114, PTH122
        raise FileNotFoundError(errno.ENOENT, "a link that leads nowhere: a disk that is not mounted?", path)


def is_folder(path: Path | str) -> bool:
    """Whether a path is a folder; not if it cannot be looked up, which reading it reports."""
    return os.path.isdir(path)  # noqa: PTH112 (`Path.is_dir` raises a PermissionError)


def is_missing(path: Path | str) -> bool:
    """Whether there is no such file; not of one that cannot be looked up, which reading it reports."""
    try:
        os.stat(path)  # noqa: PTH116 (many paths, fast)
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    except ValueError:  # a zero byte
        return True
    return False


def may_exist(path: Path | str) -> bool:
    """Whether there is a file, a folder or a link, or a path that cannot be looked up."""
    return os.path.lexists(path) or not is_missing(path)


class PathLookup:
    """Finds the longest path that exists of many that differ in their last name, as `a`, `a 1`, `a 1 17`.

    The first few of a folder are looked up one by one; for more of them, in this path and others, it is listed once.
    """

    def __init__(self, exists: Callable[[str], bool] = os.path.lexists) -> None:
        self._exists = exists
        self._names: dict[str, frozenset[str] | None] = {}  # None: the folder cannot be listed
        self._num_lookups: Counter[str] = Counter()  # in each folder

    def first(self, text: str, ends: Sequence[int], *, folder: str) -> int | None:
        """The number of the first of `ends` up to which `text` is a path below `folder`; None: there is none."""
        name_start = text.rfind("/", 0, min(ends)) + 1
        possible = [number for number, end in enumerate(ends) if end - name_start <= MAX_NAME]
        place = os.path.join(folder, text[:name_start])  # noqa: PTH118
        self._num_lookups[place] += len(possible)
        if self._num_lookups[place] > FEW and (names := self._names_in(place)) is not None:
            possible = [number for number in possible if text[name_start : ends[number]] in names]
        paths = ((number, os.path.join(folder, text[: ends[number]])) for number in possible)  # noqa: PTH118
        return next((number for number, path in paths if self._exists(path)), None)

    def _names_in(self, folder: str) -> frozenset[str] | None:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder or os.curdir))  # noqa: PTH208 (many names, fast)
            except PermissionError:
                self._names[folder] = None
            except (OSError, ValueError):  # it does not exist
                self._names[folder] = frozenset()
        return self._names[folder]


def paths_matching(pattern: str) -> list[str]:
    """The paths that match a pattern (`glob.glob`, with `**`)."""
    parts = Path(pattern).parts
    first = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    for number in range(first, len(parts)):
        above = os.path.join(*parts[:number]) if number else os.curdir  # noqa: PTH118
        for place in glob.glob(above, recursive=True) if number else [above]:  # noqa: PTH207 (absolute patterns)
            _check_part(place, parts[number])
    return glob.glob(pattern, recursive=True)  # noqa: PTH207


def _check_part(place: str, part: str) -> None:
    """An OSError if what `part` of a pattern matches in a folder cannot be found out, which `glob` leaves out."""
    check_link(place)
    if part == "**":
        for _ in walk_folders(place):
            pass
    elif not glob.has_magic(part):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(os.path.join(place, part))  # noqa: PTH118
    elif is_folder(place):
        os.scandir(place).close()
