"""Resume interrupted commands: reuse what was made with the same settings from unchanged files.

Two kinds of output need it:

- Many items go to one file (predictions, scores). `ResumeLog` is a hidden log of the finished items beside that file.
- Each item is a file or folder of its own (features, frames). A JSON record beside or in it names the settings and the
  source; `read_record`, `check_settings` and `is_current` read, compare and accept it.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, Self, TypeVar

from i3d.errors import InputError, abridged, counted, first_line, printable
from i3d.utils.atomic_files import try_lock_for_process, write_atomically, writing_to
from i3d.utils.outputs import COMPLETE, RESUME, check_new, file_sha256, is_open_file, resume_log
from i3d.utils.text import parse_json, refuse_endless

DIGEST: Final = ', "digest": "'  # before the digest, at the end of a line
WRITTEN: Final = "written"  # key of a line with the SHA-256 of the output
MAX_CHANGES: Final = 5  # that a message names
TODO: Final = "choose another --out, or replace them with --force"
Entry = dict[str, Any]  # key, signature, row
T = TypeVar("T")
logger = logging.getLogger("i3d")


@dataclass(frozen=True)
class Resume:
    """An output file, beside which finished items are logged."""

    out: Path
    force: bool = False  # replace an output of other settings
    form: str = "i3d"  # of the output; it is one of the settings


class ResumeLog(Generic[T]):
    """The finished items of one output file, a JSON line each, in a hidden file beside it.

    The first line holds the settings. Each further line holds the key of an item, the signature of its source file
    (`data/content.py`) and the item, as `encode` makes it a JSON object and `decode` reads it. Each ends in a digest of
    itself: a damaged or edited one is dropped with a warning, so that its item is computed again, and a first line of
    that kind is refused. A last line that a kill has cut is ignored. When the output is written, `finish_log` removes
    the log, or keeps it if items are missing.

    Before anything is written, an InputError refuses a log of other settings, a log with items that are not in `keys`,
    a log that another run is writing, and an output that is not the one which a run with this log wrote. With `force`
    the log starts empty. An item in several parts has a key for each, from which `item_of` makes that of the item. Of
    several ranks each writes a log of its own; `all_gather` exchanges their refusals, so that
    all ranks raise the same error.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        keys: Collection[str],
        *,
        encode: Callable[[T], dict[str, Any]],
        decode: Callable[[dict[str, Any]], T],
        force: bool = False,
        rank: int = 0,
        all_gather: Callable[[list[str]], list[str]] = list,
        item_of: Callable[[str], str] = str,
    ) -> None:
        self.path = resume_log(out, rank)
        self._encode, self._decode, self._item_of = encode, decode, item_of
        self._file: BinaryIO | None = None
        self._entries: dict[str, Entry] = {}
        self._stored: set[str] = set()  # keys of what is in the log
        self._header = _with_digest({"i3d": 3, "settings": settings}, sort_keys=True)
        refusals: list[str] = []
        try:
            lines = self._read_logs(out, keys, force=force)
        except InputError as error:
            refusals = [str(error)]
        if refusals := all_gather(refusals):
            self._remove_empty()
            raise InputError(refusals[0])
        if self._file is not None:
            try:
                self._merge_logs(self._file, out, lines)
            except InputError:
                self.close()
                raise
        all_gather([])  # rank 0 has merged the logs of earlier ranks: the others may replace them
        if rank > 0:
            write_atomically(self.path, f"{self._header}\n".encode())
            self._file = self.path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, *__: object) -> None:
        self.close()
        if isinstance(error, KeyboardInterrupt):
            stored = counted(len(self._stored), "result is", "results are")
            error.add_note(f"{stored} stored in {printable(str(self.path))}")

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # each line is flushed: only one that failed is left
                self._file.close()

    def get(self, key: str, signature: Callable[[], Sequence[Any]]) -> T | None:
        """A finished item, if the signature of its source is still the same; it is computed only for logged items."""
        entry = self._entries.get(key)
        if entry is None or not (current := list(signature())) or entry["signature"] != current:
            return None
        with _reading(self.path):
            return self._decode(entry["row"])

    def add(self, key: str, signature: Sequence[Any], item: T) -> None:
        """Log a finished item. A source without a signature is not logged: a change of it would go unnoticed."""
        if signature and self._file is not None:
            entry = {"key": key, "signature": list(signature), "row": self._encode(item)}
            with writing_to(f"{self.path}:", "free disk space; the same command resumes"):
                self._file.write(f"{_with_digest(entry)}\n".encode())
                self._file.flush()
            self._stored.add(key)

    def _read_logs(self, out: Path, keys: Collection[str], *, force: bool) -> dict[Path, list[str]]:
        """Lock this log, if it is the first rank's, and read those of all ranks of the last run: their lines."""
        logs = _logs(out)
        if not any(one.exists() for one in logs):
            check_new(f"--out {out}", out, force=force, note=COMPLETE)
        if self.path == logs[0]:
            self._file = _open_locked(self.path, out)
        lines_of: dict[Path, list[str]] = {}
        for log in [] if force else logs:
            if lines := _complete_lines(log, self._file if log == self.path else None):
                self._check_header(out, log, lines[0])
                lines_of[log] = [lines[0], *_intact_lines(log, lines[1:])]
                entries = _entries(lines_of[log])
                if removed := set(map(self._item_of, entries)) - set(keys):
                    what = f"{log.name} holds results of {min(removed)}, which is not in this run"
                    raise InputError(f"--out {out}: {what}; {TODO}")
                self._entries |= entries
                self._stored |= entries.keys()
        check_new(
            f"--out {out}",
            out,
            force=force,
            is_own=lambda path: any(_written_line(path) in lines for lines in lines_of.values()),
        )
        return lines_of

    def _check_header(self, out: Path, log: Path, line: str) -> None:
        """An InputError if the first line of a log names other settings, or is not as it was written."""
        if line == self._header:
            return
        if (before := _record_of(line)) is None:
            what = "its first line, the settings, was edited or is of another version; delete it, or start again with "
            raise InputError(f"{log}: {what}--force")
        changes = describe_changes(before.get("settings"), json.loads(self._header)["settings"]) or "its format"
        what = f"{log.name} holds results made with other settings ({changes})"
        raise InputError(f"--out {out}: {what}; {TODO}")

    def _remove_empty(self) -> None:
        """Close the log; remove it if it was made only now."""
        if self._file is not None:
            if not os.fstat(self._file.fileno()).st_size:
                self.path.unlink(missing_ok=True)
            self._file.close()

    def _merge_logs(self, file: BinaryIO, out: Path, lines_of: dict[Path, list[str]]) -> None:
        """Add the items of the other logs to this one, and remove those logs."""
        own = lines_of.pop(self.path, [])
        content = "".join(f"{line}\n" for line in own).encode()
        file.seek(0, os.SEEK_SET)
        if file.read(len(content)) == content:
            file.truncate(len(content))  # without a last line that was cut
        else:  # without lines that were dropped
            file.truncate(0)
            file.write(content)
        new = [] if own else [self._header]
        for lines in lines_of.values():
            new += lines[1:]
        with writing_to(f"{self.path}:", "free disk space"):
            file.write("".join(f"{line}\n" for line in new).encode())
            file.flush()
        for log in _logs(out)[1:]:
            log.unlink(missing_ok=True)


def finish_log(out: Path, *others: Path, is_complete: bool) -> None:
    """After an output is written: remove its logs, or keep them if items are missing, so that a rerun adds these.

    A rerun replaces the output, and the `others` that were written with it, only while they have the content that is
    logged here.
    """
    if is_complete:
        for log in _logs(out):
            log.unlink(missing_ok=True)
        return
    lines = "".join(f"{_written_line(path)}\n" for path in (out, *others))
    with writing_to(f"{resume_log(out)}:", "free disk space"), resume_log(out).open("ab") as file:
        file.write(lines.encode())


def is_logged(path: Path, out: Path) -> bool:
    """Whether the log of `out` names the content that the file `path` has now."""
    log = resume_log(out)
    return path.is_file() and log.exists() and _written_line(path) in _complete_lines(log, None)


def read_record(path: Path) -> dict[str, Any] | None:
    """The JSON record of an output: None if there is none; empty if it is damaged, or its settings are no mapping."""
    try:
        refuse_endless(path)
        record = parse_json(path.read_text(encoding="utf-8"), where=str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, InputError, UnicodeDecodeError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("made_with", {}), dict) else {}


def is_current(record: Mapping[str, Any] | None, made_with: Mapping[str, Any], signature: object) -> bool:
    """Whether a record names these settings and the signature of its source, which must not be empty."""
    if not record or not signature:
        return False
    return record.get("made_with") == made_with and record.get("signature") == signature


def check_settings(before: Any, now: Any, *, where: str, todo: str = TODO) -> None:
    """An InputError that names what differs, if an output was made with other settings than now."""
    if changes := describe_changes(before, now):
        raise InputError(f"{where}: made with other settings ({changes}); {todo}")


def describe_changes(before: Any, now: Any) -> str:
    """What differs between two trees of settings, in words: "fps was 20.0, now 24.0". Empty if nothing does."""
    changes = [describe_change(*change) for change in changed_settings(before, now)]
    more = f"; and {len(changes) - MAX_CHANGES} more" if len(changes) > MAX_CHANGES else ""
    return "; ".join(changes[:MAX_CHANGES]) + more


def describe_change(name: str, before: Any, now: Any) -> str:
    old, new = ("not set" if value in (None, "") else value for value in (before, now))
    return f"{name or 'it'} was {old}, now {new}"


def changed_settings(before: Any, now: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted name, value before, value now) of all that differs between two trees of settings."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            change
            for key in keys
            for change in changed_settings(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
        ]
    are_lists = isinstance(before, list | tuple) and isinstance(now, list | tuple) and len(before) == len(now)
    if are_lists and all(isinstance(one, Mapping) for one in (*before, *now)):
        numbered = zip(before, now, range(len(before)), strict=True)
        return [change for old, new, n in numbered for change in changed_settings(old, new, f"{name}[{n}]")]
    return [] if before == now else [(name, before, now)]


def _logs(out: Path) -> list[Path]:
    """The log of the first rank, and those of the others that exist."""
    return [resume_log(out), *sorted(out.parent.glob(f".{escape(out.name)}.[0-9]*{RESUME}"))]


def _written_line(path: Path) -> str:
    return _with_digest({WRITTEN: file_sha256(path)})


def _with_digest(record: Mapping[str, Any], *, sort_keys: bool = False) -> str:
    """A record as a line of JSON that ends in a digest of the line."""
    text = json.dumps(record, sort_keys=sort_keys)
    return f'{text[:-1]}{DIGEST}{hashlib.sha256(text.encode()).hexdigest()[:16]}"}}'


def _record_of(line: str) -> dict[str, Any] | None:
    """The record of a line; None if its digest is wrong or missing."""
    text, mark, digest = line.rpartition(DIGEST)
    expected = hashlib.sha256(f"{text}}}".encode()).hexdigest()[:16]
    return json.loads(f"{text}}}") if mark and digest == f'{expected}"}}' else None


def _open_locked(path: Path, out: Path) -> BinaryIO:
    """The log, open to read and append, for this process alone."""
    with writing_to(f"{path}:", "choose another --out"):
        file = path.open("a+b")
    if not try_lock_for_process(file.fileno()) or not is_open_file(path, file.fileno()):
        file.close()
        raise InputError(f"--out {out}: another run is writing it; wait for that run, or choose another --out")
    return file


def _complete_lines(path: Path, file: BinaryIO | None) -> list[str]:
    """The lines of a log without a last one that a kill has cut.

    A log that this process has locked is read from its open file: to open and close it again would release the lock.
    """
    try:
        if file is None:
            content = path.read_bytes() if path.exists() else b""
        else:
            file.seek(0, os.SEEK_SET)
            content = file.read()
        return content.decode(errors="replace").split("\n")[:-1]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it to start again") from error


def _intact_lines(log: Path, lines: Sequence[str]) -> list[str]:
    """The lines with the right digest; a warning counts and names the others."""
    intact = [_record_of(line) is not None for line in lines]
    wrong = [_name_of(number, line) for number, line in enumerate(lines, start=2) if not intact[number - 2]]
    if wrong:
        what = f"{counted(len(wrong), 'line')} damaged or edited ({abridged(wrong, MAX_CHANGES)})"
        logger.warning("%s: %s; dropped, and what they held is done again", printable(str(log)), what)
    return [line for line, is_intact in zip(lines, intact, strict=True) if is_intact]


def _name_of(number: int, line: str) -> str:
    """Of a line that cannot be believed: its number, and its key as far as it can be read."""
    key = re.search(r'"key": ("(?:[^"\\]|\\.)*")', line)
    with suppress(ValueError):
        return f"line {number}: {printable(json.loads(key[1]))}" if key else f"line {number}"
    return f"line {number}"


def _entries(lines: Sequence[str]) -> dict[str, Entry]:
    """The items of intact lines by their keys; of one key, the last."""
    return {record["key"]: record for line in lines if (record := _record_of(line)) and "key" in record}


@contextmanager
def _reading(log: Path) -> Iterator[None]:
    """An InputError for content that is not ours."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        why = f"damaged ({first_line(error)}); delete it, or start again with --force"
        raise InputError(f"{log}: {why}") from error
