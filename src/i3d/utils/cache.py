"""Results that cost time, kept on the disk under a hash of all that they depend on; runs share them.

    cache = Cache.default()
    cache.array(key), cache.keep_array(key, values)

An entry is written whole or not at all. One that is damaged is computed anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError, printable
from i3d.utils.atomic_files import write_atomically

VARIABLE = "I3D_CACHE"  # the environment's word on where


@dataclass(frozen=True)
class Cache:
    """A folder of entries."""

    folder: Path

    @classmethod
    def default(cls) -> Cache:
        """$I3D_CACHE, or `i3d` in the user's cache folder."""
        told = os.environ.get(VARIABLE)
        return cls(Path(told) if told else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "i3d")

    def array(self, key: str) -> npt.NDArray[np.float32] | None:
        """The numbers under a key, if they are there and whole."""
        try:
            content = self.path(key, ".npy").read_bytes()
            found: npt.NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found if found.dtype == np.float32 and np.isfinite(found).all() else None

    def keep_array(self, key: str, values: npt.NDArray[np.float32]) -> None:
        content = io.BytesIO()
        np.save(content, values, allow_pickle=False)
        self._write(self.path(key, ".npy"), content.getvalue())

    def record(self, key: str) -> Any:
        """What JSON lies under a key; None: nothing, or it is damaged."""
        try:
            return json.loads(self.path(key, ".json").read_bytes())
        except (OSError, ValueError):
            return None

    def keep_record(self, key: str, record: Any) -> None:
        self._write(self.path(key, ".json"), json.dumps(record).encode())

    def blob(self, key: str) -> bytes | None:
        """The bytes under a key, if they are there and whole."""
        try:
            content = self.path(key, ".bin").read_bytes()
        except OSError:
            return None
        digest, blob = content[:32], content[32:]
        return blob if hashlib.sha256(blob).digest() == digest else None

    def keep_blob(self, key: str, blob: bytes) -> None:
        self._write(self.path(key, ".bin"), hashlib.sha256(blob).digest() + blob)

    def path(self, key: str, suffix: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}{suffix}"

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        except (OSError, InputError) as error:
            raise InputError(
                f"{printable(str(self.folder))}: the cache cannot be written ({error}); make room, or say where with "
                f"--cache or ${VARIABLE}"
            ) from error


def cache_key(**parts: Any) -> str:
    """A hash of named parts, which JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
