"""The files of a cache: how many there are of each kind, and how they are removed.

Only names that `Cache` gives, in the places where it puts them, count as files of the cache. All others stay.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from i3d.errors import InputError
from i3d.utils.atomic_files import unlocked_files

Kind = Literal["flow", "features", "networks", "reports", "unfinished"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
ABOUT: Final[dict[Kind, str]] = {
    "flow": "optical flow of videos",
    "features": "features of clips, for training and FVD",
    "networks": "compiled networks",
    "reports": "checks of data and of compiled networks",
    "unfinished": "left by runs that were killed",
}
SUFFIXES: Final[dict[str, Kind]] = {
    ".flow.mkv": "flow", ".array": "features", ".bin": "networks", ".record": "reports"
}  # fmt: skip
FOLDER: Final = re.compile(r"[0-9a-f]{2}")
FILE: Final = re.compile(r"([0-9a-f]{62})(\.flow\.mkv|\.array|\.bin|\.record)")
UNFINISHED: Final = re.compile(r"\.[0-9a-f]{40}-[0-9a-f]{8}-[0-9a-f]{8}\.\w+")  # as `replacing` names them
DAY: Final = 86_400  # seconds


VARIABLE: Final = "I3D_CACHE"  # environment variable with the folder


def default_folder() -> Path:
    """$I3D_CACHE, or `i3d` in the user's cache folder."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "i3d"


@dataclass(frozen=True)
class CacheFile:
    """A file of the cache."""

    path: Path
    kind: Kind
    num_bytes: int
    last_used: float  # seconds since 1970: when it was last read or written, as far as the disk stores that


@dataclass(frozen=True)
class CacheContent:
    """The files of a cache, and how many other files its folder has."""

    folder: Path
    files: tuple[CacheFile, ...]
    num_others: int


@dataclass(frozen=True)
class Removal:
    """What was removed."""

    num_files: int
    num_bytes: int
    in_use: tuple[Path, ...]  # files that a process has open, which stay
    failed: tuple[str, ...]  # files that could not be removed, and why


def cache_content(folder: Path) -> CacheContent:
    """The files of a cache; none if there is no such folder. A file in its place is an InputError."""
    if not os.path.lexists(folder):
        return CacheContent(folder, (), 0)
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; name the folder of the cache")
    files: list[CacheFile] = []
    num_others = 0
    for place in sorted(folder.iterdir()):
        if FOLDER.fullmatch(place.name) is None or place.is_symlink() or not place.is_dir():
            num_others += 1
            continue
        entries = list(_entries(place))
        of_flow = {path.name.removesuffix(".flow.mkv") for path, _ in entries if path.name.endswith(".flow.mkv")}
        for path, status in entries:
            kind = _kind(path.name, of_flow) if stat.S_ISREG(status.st_mode) else None
            num_others += kind is None
            if kind is not None:
                used = max(status.st_atime, status.st_mtime)
                files.append(CacheFile(path, kind, status.st_size, used))
    return CacheContent(folder, tuple(files), num_others)


def select_files(
    content: CacheContent, kinds: Collection[Kind] = (), *, older_than_days: float = 0.0, now: float
) -> list[CacheFile]:
    """The files of these kinds (none: all) that were not used for so many days."""
    return [
        file
        for file in content.files
        if file.kind in (kinds or KINDS) and now - file.last_used >= older_than_days * DAY
    ]


def remove_files(files: Collection[CacheFile]) -> Removal:
    """Remove files of a cache, but those that a process reads or writes; what they held is computed again."""
    open_files = _open_files()
    num_files = num_bytes = 0
    in_use: list[Path] = []
    failed: list[str] = []
    for file in files:
        is_written = file.kind == "unfinished" and file.path.exists() and not list(unlocked_files([file.path]))
        if is_written or os.path.realpath(file.path) in open_files:
            in_use.append(file.path)
            continue
        try:
            file.path.unlink()
        except FileNotFoundError:  # another process was faster
            continue
        except OSError as error:
            failed.append(f"{file.path}: cannot be removed ({error.strerror}); check its rights")
            continue
        num_files += 1
        num_bytes += file.num_bytes
    return Removal(num_files, num_bytes, tuple(in_use), tuple(failed))


def _entries(place: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in sorted(place.iterdir()):
        with suppress(FileNotFoundError):  # a process has just removed it
            yield path, path.lstat()


def _kind(name: str, of_flow: Collection[str]) -> Kind | None:
    """The kind of a file by its name; None: it is not of the cache. A record beside a flow belongs to it."""
    if UNFINISHED.fullmatch(name):
        return "unfinished"
    match = FILE.fullmatch(name)
    if match is None:
        return None
    return "flow" if match[1] in of_flow else SUFFIXES[match[2]]


def _open_files() -> frozenset[str]:
    """The files that processes of this user have open, where the system lists them (Linux)."""
    open_files: set[str] = set()
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            open_files.add(os.readlink(handle))  # noqa: PTH115 (text)
    return frozenset(open_files)
