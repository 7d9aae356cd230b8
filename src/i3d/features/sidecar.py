"""Features on disk: an array, and beside it a JSON that records how it was made, row by row.

    out/run/clip.npy      (rows, channels) float32
    out/run/clip.json     weights, settings, versions, the video; of each row its frames and seconds

The JSON has "unfinished" until the array is written; unfinished features are extracted again.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from i3d.data.content import file_signature
from i3d.data.resume import TODO, check_settings, is_current, read_record
from i3d.errors import InputError, printable
from i3d.features.array_formats import FORMATS, FileFormat, array_bytes
from i3d.features.extractor import VideoFeatures
from i3d.utils.atomic_files import write_atomically
from i3d.utils.outputs import file_sha256

FORMAT: Final = "i3d features"
VERSION: Final = 1

TYPES: Final[dict[str, Any]] = {"video": str, "signature": list, "sha256": str}  # of what is read back

EDITED: Final = "edited or damaged since it was written"
AGAIN: Final = "it is extracted again"

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class FeatureFile:
    """The output files of a video."""

    video: str
    base: Path  # without a suffix
    format: FileFormat

    @property
    def values(self) -> Path:
        return self.base.with_name(f"{self.base.name}.{self.format}")

    @property
    def sidecar(self) -> Path:
        return self.base.with_name(f"{self.base.name}.json")


def is_complete(target: FeatureFile, made_with: Mapping[str, Any], *, force: bool, is_quiet: bool = False) -> bool:
    """Whether the features of the video, as it is now, exist completely and were made with these settings.

    An array or a sidecar with another content than was written is reported, unless `is_quiet`, and counts as missing.
    Foreign files, and features of other settings or of another video, are an InputError, unless `force` replaces them.
    """
    record = read_sidecar(target.sidecar)
    if record is None:
        foreign = next((path for path in (target.sidecar, target.values) if path.exists()), None)
        if foreign is not None and not force:
            what = "exists, and is damaged or was not written by i3d"
            raise InputError(f"{foreign}: {what}; move it away, or replace it with --force")
        return False
    if not record.get("unfinished") and not has_digest(record):
        if not is_quiet:
            log.warning("%s: %s (its digest is wrong); %s", printable(str(target.sidecar)), EDITED, AGAIN)
        return False
    if record.get("made_with") != made_with:
        if force:
            return False
        check_settings(record.get("made_with"), made_with, where=str(target.sidecar))
    other = record.get("video", target.video)
    if not force and Path(other).absolute() != Path(target.video).absolute() and Path(other).exists():
        raise InputError(f"{target.sidecar}: is of another video, {other}; {TODO}")
    if not is_current(record, made_with, file_signature(target.video)) or not target.values.exists():
        return False
    is_intact: bool = record.get("sha256") == file_sha256(target.values)
    if not is_intact and not is_quiet:
        log.warning("%s: %s (its SHA-256 is wrong); %s", printable(str(target.values)), EDITED, AGAIN)
    return is_intact


def write_features(
    target: FeatureFile, features: VideoFeatures, made_with: Mapping[str, Any], signature: Sequence[str]
) -> None:
    """Write the array between two versions of its sidecar, each atomically. `signature`: of the video that was read."""
    content = array_bytes(features, target.format)
    before = ((read_sidecar(target.sidecar) or {}).get("made_with") or {}).get("file_format", target.format)
    if before in (*FORMATS, "csv") and before != target.format:  # the array of the old sidecar
        target.base.with_name(f"{target.base.name}.{before}").unlink(missing_ok=True)
    header = {"format": FORMAT, "version": VERSION}
    unfinished = {**header, "made_with": made_with, "unfinished": True}
    write_atomically(target.sidecar, (json.dumps(unfinished) + "\n").encode())
    write_atomically(target.values, content)
    record = {
        **header,
        "video": str(target.video),
        "signature": list(signature),
        "made_with": made_with,
        "shape": list(features.values.shape),
        "sha256": hashlib.sha256(content).hexdigest(),
        "num_frames": features.num_frames,
        "runtimes": {name: metadata.version("torch" if name == "compile" else name) for name in features.used_runtimes},
        "notes": list(features.notes),
        "rows": [
            {"first": row.first, "stop": row.stop, "start_seconds": start, "end_seconds": end}
            for row, (start, end) in zip(features.rows, features.seconds, strict=True)
        ],
    }
    record = {**record, "digest": _digest(record)}
    write_atomically(target.sidecar, (json.dumps(record, indent=1) + "\n").encode("utf-8", "surrogateescape"))


def has_digest(record: Mapping[str, Any]) -> bool:
    """Whether a sidecar is as it was written, by the digest in it."""
    return record.get("digest") == _digest({name: value for name, value in record.items() if name != "digest"})


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """The content of a sidecar; None if the file is missing, damaged or no sidecar."""
    record = read_record(path) or {}
    has_types = all(isinstance(record.get(name, kind()), kind) for name, kind in TYPES.items())
    is_ours = (record.get("format"), record.get("version")) == (FORMAT, VERSION) and "made_with" in record
    return record if is_ours and has_types else None
