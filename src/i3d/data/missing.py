"""Find listed clips that do not exist."""

from __future__ import annotations

import os

from i3d.data.annotations import Annotations
from i3d.data.shards import Shards
from i3d.errors import InputError, printable


def check_present(annotations: Annotations, shards: Shards | None) -> None:
    """An InputError if any clip is missing, with their number, the first of them, and the root."""
    missing = missing_clips(annotations, shards)
    if missing:
        raise InputError(_line(annotations, missing))


def missing_clips(annotations: Annotations, shards: Shards | None = None) -> list[int]:
    """The clips whose file or folder does not exist. Each parent folder is listed only once."""
    listed: dict[str, frozenset[str]] = {}
    missing = []
    for index in range(len(annotations)):
        path = annotations.path(index)
        if shards is not None:
            if path not in shards:
                missing.append(index)
            continue
        folder, name = os.path.split(os.path.join(annotations.root, path.rstrip("/")))  # noqa: PTH118
        if folder not in listed:
            try:
                listed[folder] = frozenset(entry.name for entry in os.scandir(folder or ".") if _exists(entry))
            except OSError:
                listed[folder] = frozenset()
        if name not in listed[folder]:
            missing.append(index)
    return missing


def _exists(entry: os.DirEntry[str]) -> bool:
    """False for a symbolic link to nothing."""
    return not entry.is_symlink() or os.path.exists(entry.path)  # noqa: PTH110


def _line(annotations: Annotations, missing: list[int]) -> str:
    where, first = annotations.where(missing[0]), printable(annotations.path(missing[0]))
    root = printable(annotations.root)
    if len(missing) == len(annotations):
        return f"{where}: {first!r}: none of the {len(missing)} clips is below {root}; give their folder as --root"
    return (
        f"{where}: {first!r}: no such file below {root}; {len(missing)} of {len(annotations)} clips are missing: "
        "restore them, or list them by `i3d data check`"
    )
