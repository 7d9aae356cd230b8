"""Folders below a folder, and files by a pattern. One that cannot be listed is an OSError, and never left out."""

import errno
import glob
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


def walk_folders(folder: Path | str) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` that follows symbolic links and visits each folder once, as links can form cycles."""
    visited: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
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


def _refuse(error: OSError) -> NoReturn:
    raise error
