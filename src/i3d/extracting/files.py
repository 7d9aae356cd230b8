"""Features on disk: an array, and beside it a JSON that says of what it was made, row by row.

    out/run/clip.npy      (rows, channels) float32
    out/run/clip.json     weights, settings, versions, the video; of each row its frames and seconds

The JSON says "unfinished" until the array is there whole; what is unfinished is made again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from i3d.errors import InputError, printable
from i3d.extracting.arrays import FileFormat, array_bytes
from i3d.extracting.extractor import Extracted
from i3d.files import write_atomically
from i3d.results.journal import signature

FORMAT: Final = "i3d features"
VERSION: Final = 1


@dataclass(frozen=True)
class Target:
    """Where the features of a video go."""

    video: str
    base: Path  # without a suffix
    kind: FileFormat

    @property
    def values(self) -> Path:
        return self.base.with_name(f"{self.base.name}.{self.kind}")

    @property
    def sidecar(self) -> Path:
        return self.base.with_name(f"{self.base.name}.json")


def is_done(target: Target, made_with: dict[str, Any], *, force: bool) -> bool:
    """Whether the features of the video, as it is now, are there whole, made with the same.

    Files that are not ours, or were made otherwise, are an InputError, unless `force` makes them anew.
    """
    if not target.sidecar.exists():
        if target.values.exists() and not force:
            raise InputError(f"{printable(str(target.values))}: is there already and not ours; move it, or say --force")
        return False
    told = read_sidecar(target.sidecar)
    if told is None:
        if force:
            return False
        raise InputError(f"{printable(str(target.sidecar))}: is there already and not ours; move it, or say --force")
    if told.get("made_with") != made_with:
        if force:
            return False
        changed = ", ".join(key for key in made_with if told.get("made_with", {}).get(key) != made_with[key])
        where = printable(str(target.sidecar))
        raise InputError(f"{where}: made otherwise ({changed}); choose another --out, or say --force")
    return told.get("signature") == signature(target.video) != [] and told.get("sha256") == _sha256(target.values)


def write(target: Target, found: Extracted, made_with: dict[str, Any]) -> None:
    """The array between two versions of its sidecar; each file whole or not at all."""
    content = array_bytes(found, target.kind)
    target.base.parent.mkdir(parents=True, exist_ok=True)
    for left in (path for path in target.base.parent.iterdir() if _is_left_of(path, target)):
        left.unlink(missing_ok=True)
    told: dict[str, Any] = {"format": FORMAT, "version": VERSION, "made_with": made_with, "unfinished": True}
    write_atomically(target.sidecar, (json.dumps(told) + "\n").encode())
    write_atomically(target.values, content)
    told = {
        "format": FORMAT,
        "version": VERSION,
        "video": target.video,
        "signature": signature(target.video),
        "made_with": made_with,
        "shape": list(found.values.shape),
        "sha256": hashlib.sha256(content).hexdigest(),
        "num_frames": found.num_frames,
        "notes": list(found.notes),
        "rows": [
            {"first": row.first, "stop": row.stop, "start_seconds": start, "end_seconds": end}
            for row, (start, end) in zip(found.rows, found.seconds, strict=True)
        ],
    }
    write_atomically(target.sidecar, (json.dumps(told, indent=1) + "\n").encode("utf-8", "surrogateescape"))


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """What a sidecar says; None if it is none."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("format") == FORMAT and told.get("version") == VERSION else None


def _is_left_of(path: Path, target: Target) -> bool:
    """Whether a file is what `files.replacing` had begun when a run of this video was killed."""
    begun = f".{target.base.name[:60]}-"
    name, suffixes = path.name, (target.values.suffix, target.sidecar.suffix)
    return name.startswith(begun) and path.suffix in suffixes and len(path.stem) == len(begun) + 8


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
