"""Features on disk: an array, and beside it a JSON that says of what it was made, row by row.

    out/run/clip.npy      (rows, channels) float32
    out/run/clip.json     weights, settings, versions, the video; of each row its frames and seconds

The JSON says "unfinished" until the array is there whole; what is unfinished is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from i3d.data.resume import file_signature
from i3d.errors import InputError, printable
from i3d.features.array_formats import FORMATS, FileFormat, array_bytes
from i3d.features.extractor import Extracted
from i3d.utils.atomic_files import remove_abandoned, write_atomically

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
    if force and told.get("made_with") != made_with:
        return False
    where, again = printable(str(target.sidecar)), "choose another --out, or say --force"
    if changed := differences(told.get("made_with"), made_with, between=", now "):
        raise InputError(f"{where}: made otherwise ({printable('; '.join(changed))}); {again}")
    other = told.get("video", target.video)
    if not force and Path(other).absolute() != Path(target.video).absolute() and Path(other).exists():
        raise InputError(f"{where}: is of another video, {printable(str(other))}; {again}")
    return told.get("signature") == file_signature(target.video) != [] and told.get("sha256") == _sha256(target.values)


def write(target: Target, found: Extracted, made_with: dict[str, Any]) -> None:
    """The array between two versions of its sidecar; each file whole or not at all."""
    content = array_bytes(found, target.kind)
    target.base.parent.mkdir(parents=True, exist_ok=True)
    for path in (target.sidecar, target.values):
        remove_abandoned(path)
    for other in (target.base.with_name(f"{target.base.name}.{kind}") for kind in FORMATS):
        if other != target.values and read_sidecar(target.sidecar) is not None:
            other.unlink(missing_ok=True)  # what the sidecar told of, in another format
    told: dict[str, Any] = {"format": FORMAT, "version": VERSION, "made_with": made_with, "unfinished": True}
    write_atomically(target.sidecar, (json.dumps(told) + "\n").encode())
    write_atomically(target.values, content)
    told = {
        "format": FORMAT,
        "version": VERSION,
        "video": str(target.video),
        "signature": file_signature(target.video),
        "made_with": made_with,
        "shape": list(found.values.shape),
        "sha256": hashlib.sha256(content).hexdigest(),
        "num_frames": found.num_frames,
        "ran_by": {name: metadata.version("torch" if name == "compile" else name) for name in found.ran_by},
        "notes": list(found.notes),
        "rows": [
            {"first": row.first, "stop": row.stop, "start_seconds": start, "end_seconds": end}
            for row, (start, end) in zip(found.rows, found.seconds, strict=True)
        ],
    }
    write_atomically(target.sidecar, (json.dumps(told, indent=1) + "\n").encode("utf-8", "surrogateescape"))


def differences(one: Any, other: Any, *, between: str = ", ") -> list[str]:
    """In what two records differ: "settings.fps: 20.0, 24.0"."""
    flat = dict(_flattened(one)), dict(_flattened(other))
    names = dict.fromkeys((*flat[0], *flat[1]))
    return [f"{n}: {flat[0].get(n)}{between}{flat[1].get(n)}" for n in names if flat[0].get(n) != flat[1].get(n)]


def _flattened(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield name, value
        return
    for key, inner in items:
        yield from _flattened(inner, f"{name}.{key}" if name else str(key))


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """What a sidecar says; None if it is none."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("format") == FORMAT and told.get("version") == VERSION else None


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
