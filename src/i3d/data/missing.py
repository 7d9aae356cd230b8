"""Find listed clips that do not exist."""

from __future__ import annotations

import os

from i3d.data.annotations import Annotations
from i3d.data.shards import Shards


def check_present(annotations: Annotations, shards: Shards | None) -> None:
    """An InputError if any clip is missing, with their number, the first of them, and the root."""
    missing, root = missing_clips(annotations, shards), annotations.root
    if not missing:
        return
    num_clips = len(annotations)
    if len(missing) == num_clips:
        why = f"none of the {num_clips} clips is below {root}; give their folder as --root"
    else:
        why = f"no such file below {root}; {len(missing)} of {num_clips} clips are missing: restore them, or list them "
        why += "by `i3d data check`"
    raise annotations.error(missing[0], why)


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
