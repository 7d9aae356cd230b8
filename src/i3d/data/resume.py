"""What a command with `--out` has done so far, line by line, in a hidden file beside the output."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from i3d.errors import InputError, first_line, printable
from i3d.utils.atomic_files import write_atomically
from i3d.video.images import images_in

SUFFIX: Final = ".resume"
Row = dict[str, Any]


@dataclass(frozen=True)
class Resume:
    """The output beside which is noted what is done, so that the same command goes on."""

    out: Path
    force: bool = False  # replace what is there of others
    form: str = "i3d"  # of the output


class ResumeLog:
    """Rows by their keys, from which an interrupted run goes on.

    It stays when the run is over, so that the same command later computes only what is new or changed. Its first line
    holds the settings that made the rows; with other settings, or with rows that the new run would drop, nothing is
    touched unless `force` is given. Of several processes (ranks) each has a file; `wait` returns once all are there.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        keys: Collection[str],
        *,
        force: bool,
        rank: int = 0,
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = out.with_name(f".{out.name}{f'.{rank}' if rank else ''}{SUFFIX}")
        header = json.dumps({"i3d": 2, "settings": settings}, sort_keys=True)
        of_ranks = out.parent.glob(f".{_literal(out.name)}.[0-9]*{SUFFIX}")
        files = [out.with_name(f".{out.name}{SUFFIX}"), *sorted(of_ranks)]
        found = [] if force else [(file, lines) for file in files if (lines := _lines(file))]
        if not force and not found and out.exists():
            raise InputError(f"--out {out}: the file exists; choose another name, or replace it with --force")
        self._done: dict[str, Any] = {}
        for file, lines in found:
            self._done |= _entries(file, lines[1:])
            _check(out, file, lines[0] == header, self._done.keys() - set(keys))
        wait()  # all have read before one writes
        if rank == 0:
            kept = [header, *(json.dumps(entry) for entry in self._done.values())]
            write_atomically(self.path, "".join(f"{line}\n" for line in kept).encode())
            for file in files:
                if file != self.path:
                    file.unlink(missing_ok=True)
        wait()
        if rank:
            write_atomically(self.path, f"{header}\n".encode())
        self._file = self.path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def done(self, key: str, signature_now: Callable[[], Sequence[int]]) -> Row | None:
        """A row that was made with the same settings, if the signature of its file is still the same."""
        entry = self._done.get(key)
        if entry is None or not (now := signature_now()):
            return None
        return entry["row"] if entry["signature"] == list(now) else None

    def add(self, key: str, signature: Sequence[int], row: Row) -> None:
        """Keep a row. One without a signature is not kept: whether its file has changed could not be told."""
        if signature:
            self._file.write(json.dumps({"key": key, "signature": list(signature), "row": row}) + "\n")
            self._file.flush()


def file_signature(path: str) -> list[int]:
    """By what a changed video is noticed: size and time of its last change (of a folder: of all its images).

    Empty for what is no file (the standard input), which is never taken as unchanged.
    """
    try:
        files = images_in(Path(path)) if Path(path).is_dir() else [Path(path)]
        stats = [file.stat() for file in files]
    except OSError:
        return []
    return [len(stats), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)]


def _lines(path: Path) -> list[str]:
    """The whole lines of an earlier journal; a last one that was cut off by a kill is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it to start again") from error
    return text.split("\n")[:-1]


def _entries(path: Path, lines: Sequence[str]) -> dict[str, Any]:
    try:
        entries = {entry["key"]: entry for entry in map(json.loads, lines)}
        if any(not isinstance(e["signature"], list) or not isinstance(e["row"], dict) for e in entries.values()):
            raise ValueError("a row is none")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({first_line(error)}); delete it, or start again with --force") from error
    return entries


def _check(out: Path, file: Path, same_settings: bool, dropped: Collection[str]) -> None:
    """Refuse to drop earlier results in silence."""
    todo = "choose another --out, or replace them with --force"
    if not same_settings:
        raise InputError(f"--out {out}: {file.name} holds results made with other settings; {todo}")
    if dropped:
        name = printable(min(dropped))
        raise InputError(f"--out {out}: {file.name} holds results of {name}, which is not in this run; {todo}")


def _literal(name: str) -> str:
    """A name as a pattern that only it matches."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)
