"""Files written whole or not at all."""

import glob
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from i3d.errors import InputError

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

ASSETS: Final = Path(__file__).parent.parent / "assets"  # what comes with the package


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it is flushed to the disk and renamed to `path` at the end.

    If the block fails, the temporary file is removed and `path` is as it was.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=path.suffix)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    temporary, is_held = Path(name), try_lock(handle)  # as long as this process lives and writes
    if not is_held:
        os.close(handle)  # no locks here; elsewhere than on POSIX an open file could not be renamed
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if is_held:
            os.close(handle)


def remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed had begun to write in the place of `path`; live ones hold theirs."""
    for left in unlocked_files(path.parent.glob(f"{glob.escape(_prefix(path))}*{glob.escape(path.suffix)}")):
        left.unlink(missing_ok=True)


def unlocked_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Those of these files that no process holds; each is held here until the next is asked for."""
    for path in paths:
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            if try_lock(handle):
                yield path
        finally:
            os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`, or leave `path` as it was."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _prefix(path: Path) -> str:
    """Of the temporary names of a path, and of no other's."""
    return f".{path.stem[:40]}-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"


def try_lock(handle: int) -> bool:
    """Hold an open file until it is closed; whether nobody else does. False where the system has no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """The new name survives a loss of power, too; where folders cannot be synced, the system sees to it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
