"""Which existing files an output may replace, and a lock, so that two commands never write one output."""

import glob
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError, check_not_empty
from i3d.utils.atomic_files import naming_file, try_lock_for_process, unfinished_folder, write_atomically, writing_to

PNG_METADATA: Final = {"Software": "i3d"}
PNG_MARK: Final = b"tEXtSoftware\0i3d"
REPORT_MARK: Final = b'<meta name="generator" content="i3d">'
LOCK: Final = ".i3d-lock"  # the suffix of files that are locked, and removed then: no user has such a file
RESUME: Final = ".resume"
WRITTEN: Final = "written"  # in a record: of each file, the digests of the last two contents
COMPLETE: Final = " (nothing is left to resume: its run is complete, or it is of another command)"
POLL_SECONDS: Final = 0.1
HEAD: Final = 2000  # bytes of a file in which its mark is


def is_drawing(path: Path) -> bool:
    """Whether a file is a PNG that i3d drew: it can be drawn again at any time."""
    return PNG_MARK in _head(path)


def is_report(path: Path) -> bool:
    """Whether a file is a report of i3d: it can be written again from the scores."""
    return REPORT_MARK in _head(path)


def is_ours(_: Path) -> bool:
    """No file is: for outputs that cannot be made again."""
    return False


def check_new(
    where: str,
    path: Path,
    *,
    force: bool,
    is_own: Callable[[Path], bool] = is_ours,
    flag: str = "--force",
    note: str = "",
) -> None:
    """An InputError if there is a file that must not be replaced. `where` begins the message: --out x.csv.

    A link is never replaced: files are renamed when they are complete, which would leave its target as it is.
    """
    if os.path.lexists(path) and not force and not is_own(path):
        raise InputError(f"{where}: the file exists; choose another name, or replace it with {flag}{note}")
    if path.is_symlink():
        what = f"is a link to {os.readlink(path)}, which would become a file of its own"  # noqa: PTH115 (text)
        raise InputError(f"{where}: {what}; name the file itself, or remove the link")


def new_file(
    path: str | os.PathLike[str],
    suffixes: Sequence[str] = (),
    *,
    force: bool,
    is_own: Callable[[Path], bool] = is_ours,
) -> Path:
    """The path of a file that a function of the Python API writes, checked by the same rule as outputs of commands.

    The name must end in one of the suffixes, if there are any, and the folder must exist.
    """
    out = Path(path)
    if out == Path():
        raise InputError("the path of the output: is empty; give a value")
    if suffixes and out.suffix.lower() not in suffixes:
        raise InputError(f"{os.fspath(path)!r}: the name must end in {' or '.join(suffixes)}")
    if out.is_dir():
        raise InputError(f"{os.fspath(path)!r}: is a folder; name a file in it")
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; create it first")
    check_new(str(out), out, force=force, is_own=is_own, flag="force=True")
    return out


def output_folder(name: str, folder: str | os.PathLike[str]) -> Path:
    """The path of a folder that a function of the Python API fills. An empty one is an InputError, as is ".".

    `Path("")`, as of an unset variable, is `Path(".")`.
    """
    check_not_empty(**{name: os.fspath(folder)})
    if Path(folder) == Path():
        raise InputError(f"{name}: is empty; give a folder; for the current one, Path.cwd()")
    return Path(folder)


def check_outside(out: Path, source: str | os.PathLike[str]) -> None:
    """An InputError for an output folder in the folder that is read: the next run would read it with the clips."""
    if os.path.isdir(source) and out.resolve().is_relative_to(Path(source).resolve()):  # noqa: PTH112 (no PermissionError)
        what = f"lies in {os.fspath(source)}, which is read: the next run would take it for clips"
        raise InputError(f"{out}: {what}; choose a folder beside it")


def check_recorded(path: Path, digests: Collection[str], *, todo: str) -> None:
    """An InputError for an existing file whose content is none of those that a run recorded before it wrote them."""
    if path.exists() and file_sha256(path) not in digests:
        raise InputError(f"{path}: was edited since it was written, or is of another run; {todo}")


def recorded(record: Mapping[str, Any] | None, name: str) -> list[str]:
    """The digests of a file in a record, under "written"."""
    written = (record or {}).get(WRITTEN)
    digests = written.get(name) if isinstance(written, dict) else None
    return [digest for digest in digests if isinstance(digest, str)] if isinstance(digests, list) else []


@contextmanager
def recorded_files(folder: Path, record: Path) -> Iterator[Path]:
    """A temporary folder for files: at the end they replace those of `folder`, with their digests in the record before.

    A file that has this content already stays as it is. The record, a JSON object, must exist.
    """
    with unfinished_folder(folder) as temporary:
        yield temporary
        names = sorted(path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file())
        digests = {name: file_sha256(temporary / name) for name in names}
        before = json.loads(record.read_bytes())
        written = dict(before.get(WRITTEN, {}))
        for name, digest in digests.items():
            written[name] = [*(other for other in recorded(before, name) if other != digest), digest][-2:]
        if written != before.get(WRITTEN):
            write_atomically(record, (json.dumps({**before, WRITTEN: written}, indent=1) + "\n").encode())
        for name, digest in digests.items():
            if not (folder / name).is_file() or file_sha256(folder / name) != digest:
                (temporary / name).replace(folder / name)


def content_hash(content: bytes) -> str:
    """As a record holds it."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal, as `content_hash` of its content; it is read in blocks."""
    with naming_file(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resume_log(out: Path, rank: int = 0) -> Path:
    """The hidden log of the finished items of an output (`data/resume.py`)."""
    return out.with_name(f".{out.name}{f'.{rank}' if rank else ''}{RESUME}")


def check_resumable(where: str, out: Path, *, force: bool) -> None:
    """An InputError for an existing output without a resume log; with one, `ResumeLog` decides."""
    if not resume_log(out).exists():
        check_new(where, out, force=force, note=COMPLETE)


def is_open_file(path: Path, handle: int) -> bool:
    """Whether a path is still the file that was opened: the holder of a lock removes the file of the lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def remove_abandoned_locks(path: Path) -> None:
    """Remove the lock files that killed processes left of an output, and of files beside it such as its class names.

    Call it before this process locks one of them, which would be released.
    """
    for lock in path.parent.glob(f".{glob.escape(path.stem)}.*{LOCK}"):
        with suppress(OSError), lock.open("ab") as file:
            if try_lock_for_process(file.fileno()) and is_open_file(lock, file.fileno()):
                lock.unlink()


@contextmanager
def locked_output(where: str, path: Path, *, waits: bool = False) -> Iterator[None]:
    """A lock on an output file until the block ends. If another process has it, wait for it, or raise an InputError."""
    lock = path.with_name(f".{path.name}{LOCK}")
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
