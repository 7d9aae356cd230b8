"""Folders below a folder, and files by a pattern. One that cannot be listed is an OSError, and never left out."""

import errno
import glob
import os
from collections.abc import Iterator
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


def paths_matching(pattern: str) -> list[str]:
    """The paths that match a pattern (`glob.glob`, with `**`)."""
    parts = Path(pattern).parts
    for number, part in enumerate(parts):
        if not glob.has_magic(part):
            continue
        above = os.path.join(*parts[:number]) if number else os.curdir  # noqa: PTH118
        for place in glob.glob(above, recursive=True) if number else [above]:  # noqa: PTH207 (absolute patterns)
            if part == "**":
                for _ in walk_folders(place):
                    pass
            elif os.path.isdir(place):  # noqa: PTH112
                os.scandir(place).close()
    return glob.glob(pattern, recursive=True)  # noqa: PTH207


def _refuse(error: OSError) -> NoReturn:
    raise error
