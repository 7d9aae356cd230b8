"""Predictions as files: CSV, JSON, JSON lines; and the journal from which an interrupted run goes on."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from i3d.errors import InputError, printable
from i3d.files import write_atomically
from i3d.results.prediction import LabelScore, Prediction
from i3d.video.stills import images_in

SUFFIXES: Final = (".csv", ".json", ".jsonl")


def as_dict(row: Prediction) -> dict[str, Any]:
    """The JSON form of a prediction."""
    return {
        "path": row.path,
        "status": row.status,
        "predictions": [{"label": p.label, "score": p.score} for p in row.predictions],
        "protocol": row.protocol,
        "frames": row.frames,
        "error": row.error or None,
    }


def from_dict(data: Mapping[str, Any]) -> Prediction:
    """The inverse of `as_dict`."""
    predictions = tuple(LabelScore(p["label"], p["score"]) for p in data["predictions"])
    return Prediction(data["path"], data["status"], predictions, data["protocol"], data["frames"], data["error"] or "")


def as_json(rows: Iterable[Prediction]) -> str:
    """A JSON list of predictions. File names that are not UTF-8 are escaped as Python does (surrogates)."""
    return json.dumps([as_dict(row) for row in rows], indent=2)


def check_suffix(path: Path) -> None:
    """An InputError if the name of a results file does not say which format it is to have."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {printable(str(path))}: the name must end in {', '.join(SUFFIXES)}")


def write_predictions(path: Path, rows: Sequence[Prediction], *, top_k: int) -> None:
    """Write all predictions to `path`, in the format that its suffix names, whole or not at all."""
    check_suffix(path)
    match path.suffix.lower():
        case ".json":
            text = as_json(rows) + "\n"
        case ".jsonl":
            text = "".join(json.dumps(as_dict(row)) + "\n" for row in rows)
        case _:
            text = _csv(rows, top_k=top_k)
    write_atomically(path, text.encode("utf-8", "surrogateescape"))


def _csv(rows: Iterable[Prediction], *, top_k: int) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(1, top_k + 1)
    writer.writerow(["path", "status", *(f"{what}{k}" for k in ranks for what in ("top", "score")), "error"])
    for row in rows:
        cells: list[object] = [cell for p in row.predictions for cell in (p.label, p.score)]
        cells += [""] * (2 * top_k - len(cells))
        writer.writerow([row.path, row.status, *cells, row.error])
    return text.getvalue()


class Journal:
    """What a run with `--out` has done so far, line by line, in a hidden file beside the output.

    It stays when the run is over, so that the same command later computes only what is new or changed. Its first line
    holds the settings that made the numbers; with other settings, or with rows that the new run would drop, nothing
    is touched unless `force` is given.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], paths: Sequence[str], *, force: bool) -> None:
        self.path = out.with_name(f".{out.name}.resume")
        header = json.dumps({"i3d predict": 1, "settings": settings}, sort_keys=True)
        lines = [] if force else self._lines()
        if not force and not lines and out.exists():
            raise InputError(f"--out {out}: the file exists; choose another name, or replace it with --force")
        self._done = self._entries(lines[1:])
        if lines:
            self._check(out, lines[0] == header, paths)
        write_atomically(self.path, "".join(f"{line}\n" for line in [header, *lines[1:]]).encode())
        self._file = self.path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def done(self, path: str) -> Prediction | None:
        """The prediction of a video that was made with the same settings, if the file has not changed since."""
        entry, now = self._done.get(path), signature(path)
        return from_dict(entry["row"]) if entry is not None and now and entry["signature"] == now else None

    def add(self, row: Prediction) -> None:
        """Keep a prediction. Videos that failed are not kept: they are tried again."""
        if row.status == "ok" and (now := signature(row.path)):
            self._file.write(json.dumps({"row": as_dict(row), "signature": now}) + "\n")
            self._file.flush()

    def _lines(self) -> list[str]:
        """The whole lines of an earlier journal; a last one that was cut off by a kill is left out."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: cannot be read ({error}); delete it to start again") from error
        return text.split("\n")[:-1]

    def _entries(self, lines: Sequence[str]) -> dict[str, Any]:
        try:
            return {entry["row"]["path"]: entry for entry in map(json.loads, lines)}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path}: damaged ({error}); delete it, or start again with --force") from error

    def _check(self, out: Path, same_settings: bool, paths: Sequence[str]) -> None:
        """Refuse to drop earlier results in silence."""
        todo = "choose another --out, or replace them with --force"
        if not same_settings:
            raise InputError(f"--out {out}: {self.path.name} holds results made with other settings; {todo}")
        if missing := sorted(self._done.keys() - set(paths)):
            name = printable(missing[0])
            raise InputError(f"--out {out}: {self.path.name} holds results of {name}, which is not in this run; {todo}")


def signature(path: str) -> list[int]:
    """By what a changed video is noticed: size and time of its last change (of a folder: of all its images).

    Empty for what is no file (the standard input), which is never taken as unchanged.
    """
    try:
        files = images_in(Path(path)) if Path(path).is_dir() else [Path(path)]
        stats = [file.stat() for file in files]
    except OSError:
        return []
    return [len(stats), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)]
