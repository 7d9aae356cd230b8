"""Which existing files an output may replace, and a lock, so that two commands never write one output."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from i3d.errors import InputError
from i3d.utils.atomic_files import try_lock_for_process, writing_to

PNG_METADATA: Final = {"Software": "i3d"}
PNG_MARK: Final = b"tEXtSoftware\0i3d"
REPORT_MARK: Final = b'<meta name="generator" content="i3d">'
RESUME: Final = ".resume"
POLL_SECONDS: Final = 0.1
HEAD: Final = 2000  # bytes of a file in which its mark is


def is_drawing(path: Path) -> bool:
    """Whether a file is a PNG that i3d drew: it can be drawn again at any time."""
    return PNG_MARK in _head(path)


def is_report(path: Path) -> bool:
    """Whether a file is a report of i3d: it can be written again from the scores."""
    return REPORT_MARK in _head(path)


def check_new(where: str, path: Path, *, force: bool, is_own: Callable[[Path], bool] = lambda _: False) -> None:
    """An InputError if there is a file that must not be replaced. `where` begins the message: --out x.csv."""
    if os.path.lexists(path) and not force and not is_own(path):
        raise InputError(f"{where}: the file exists; choose another name, or replace it with --force")


def resume_log(out: Path, rank: int = 0) -> Path:
    """The hidden log of the finished items of an output (`data/resume.py`)."""
    return out.with_name(f".{out.name}{f'.{rank}' if rank else ''}{RESUME}")


def check_resumable(where: str, out: Path, *, force: bool) -> None:
    """An InputError for an existing output without a resume log; with one, `ResumeLog` decides."""
    if not resume_log(out).exists():
        check_new(where, out, force=force)


def is_open_file(path: Path, handle: int) -> bool:
    """Whether a path is still the file that was opened: the holder of a lock removes the file of the lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


@contextmanager
def locked_output(where: str, path: Path, *, waits: bool = False) -> Iterator[None]:
    """A lock on an output file until the block ends. If another process has it, wait for it, or raise an InputError."""
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with writing_to(f"{where}:", "choose another place"):
            file = lock.open("ab")
        with file:
            is_locked = try_lock_for_process(file.fileno()) and is_open_file(lock, file.fileno())
            if is_locked:
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return
        if not waits:
            raise InputError(f"{where}: another run is writing it; wait for that run, or choose another name")
        time.sleep(POLL_SECONDS)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
