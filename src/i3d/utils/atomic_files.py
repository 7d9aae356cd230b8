"""Files that are written completely or not at all, and locks on files."""

import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from i3d.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNFINISHED: Final = ".i3d-unfinished-"  # begin of the names of folders while they are written
LOCK: Final = ".lock"
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
TEMPORARY: Final = re.compile(r"\..*-[0-9a-f]{8}-[0-9a-f]{8}(\.\w+)?")  # names of the files of `replacing`
TODO: Final = {  # the next step after an error of the disk
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room on the disk"),
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or choose another disk",
    errno.EROFS: "the disk is read-only: mount it for writing",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check the rights"),
    errno.ENOENT: "restore the file or its folder",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "move away what is in the place of the folder"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "check the disk"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit (ulimit -n 1024), or use fewer --workers"),
}
ASSETS: Final = Path(__file__).parent.parent / "assets"  # files of the package


def disk_todo(error: Exception) -> str:
    """What to do about an error of reading or writing, by its kind. Errors of safetensors have its number as text."""
    in_text = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(in_text[1]) if in_text else None
    return TODO.get(number or 0, "check disk and rights")


@contextmanager
def writing_to(place: str, todo: str) -> Iterator[None]:
    """An OSError of the block becomes an InputError: `place` (`x.json:`) cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{place} cannot be written ({error.strerror or error}); {todo}") from error


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """An error of the disk, which has no file name where a file was open already, names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def read_bytes(path: Path) -> bytes:
    """The content of a file. An error of reading it has its name, which that of `Path.read_bytes` lacks."""
    with naming_file(path):
        return path.read_bytes()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; at the end it is flushed to the disk and renamed to `path`.

    If the block fails, the temporary file is removed and `path` is unchanged. Those that killed processes left of this
    path are removed first.
    """
    remove_abandoned(path)
    temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(4)}{path.suffix}")
    with writing_to(f"{path}:", "choose another place"):
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    is_locked = try_lock(handle)  # marks it for `remove_abandoned` as in use
    if not is_locked:
        os.close(handle)  # without locks: Windows cannot rename an open file
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error  # an error of `write` has no name
        raise
    finally:
        if is_locked:
            os.close(handle)


def remove_abandoned(path: Path) -> None:
    """Remove the temporary files of `path` that killed processes left; those of live processes are locked."""
    for left in unlocked_files(path.parent.glob(f"{glob.escape(_prefix(path))}*{glob.escape(path.suffix)}")):
        left.unlink(missing_ok=True)


def remove_abandoned_in(folder: Path) -> None:
    """Remove the temporary files of all paths in a folder that killed processes left."""
    for left in unlocked_files(path for path in folder.glob(".*") if TEMPORARY.fullmatch(path.name)):
        left.unlink(missing_ok=True)


@contextmanager
def unfinished_folder(place: Path) -> Iterator[Path]:
    """A temporary folder in `place`, locked by this process until the block ends; then what is still in it is removed.

    It is for files that are renamed when they are complete. Those of killed processes are removed first.
    """
    remove_abandoned_folders(place)
    handle, name = tempfile.mkstemp(dir=place, prefix=UNFINISHED, suffix=LOCK)
    try_lock(handle)
    folder = Path(name).with_suffix("")
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        Path(name).unlink(missing_ok=True)
        os.close(handle)


def remove_abandoned_folders(place: Path) -> None:
    """Remove the unfinished folders of killed processes; those of live processes are locked."""
    for lock_file in unlocked_files(place.glob(f"{UNFINISHED}*{LOCK}")):
        shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
        lock_file.unlink(missing_ok=True)


def unlocked_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Those of the files that no process has locked; each is locked here until the next one is requested."""
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
    """Write `content` to `path`; if that fails, `path` is unchanged."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing_together(path: Path) -> Iterator[Path]:
    """A temporary path of the same name to write to, with files beside it; at the end all get their names.

    `path` is the last, and an older one is removed before: after a kill it is never there with files of another run. If
    the block fails, everything is as before.
    """
    with unfinished_folder(path.parent) as folder:
        yield folder / path.name
        files = sorted(folder.iterdir(), key=lambda file: file.name == path.name)
        for file in files:
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
        if len(files) > 1:
            path.unlink(missing_ok=True)
        for file in files:
            file.replace(path.with_name(file.name))
        _sync_folder(path.parent)


def write_in_order(first: Path, first_content: bytes, second: Path, second_content: bytes) -> None:
    """Write two files, of which the second needs the first.

    After a kill, no second one is there without its first one, or with another. If writing fails, both are unchanged.
    """
    with replacing(second) as unfinished:
        unfinished.write_bytes(second_content)
        with replacing(first) as unfinished_first:
            unfinished_first.write_bytes(first_content)
            if first.exists() and read_bytes(first) != first_content:
                second.unlink(missing_ok=True)


def try_lock(handle: int) -> bool:
    """Lock an open file until all copies of its handle are closed; False if it is locked, or without locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def try_lock_for_process(handle: int) -> bool:
    """Lock an open file until this process closes it or ends; False if another process has locked it.

    Unlike with `try_lock`, forked processes do not inherit the lock: a killed run releases it although its workers
    still live. Where the system or file system has no locks, the answer is True.
    """
    if fcntl is None:
        return True
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _prefix(path: Path) -> str:
    """Of the temporary names of this path and of no other."""
    return f".{path.stem[:40]}-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power failure, on systems that can sync folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
