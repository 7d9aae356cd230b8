"""Results that are expensive to compute, stored under a hash of all that they depend on and shared by all runs.

    cache = Cache.default()
    cache.load_array(key), cache.save_array(key, values)

Files are written atomically. A damaged file counts as missing, so that its content is computed again.
"""

import hashlib
import io
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError
from i3d.utils.atomic_files import write_atomically

VARIABLE = "I3D_CACHE"  # environment variable with the folder


@dataclass(frozen=True)
class Cache:
    """A folder of cached files."""

    folder: Path

    @classmethod
    def default(cls) -> Self:
        """$I3D_CACHE, or `i3d` in the user's cache folder."""
        if folder := os.environ.get(VARIABLE):
            return cls(Path(folder))
        return cls(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "i3d")

    def load_array(self, key: str) -> npt.NDArray[np.float32] | None:
        """The float32 array of a key; None if it is missing, damaged or not finite."""
        try:
            content = self.path(key, ".npy").read_bytes()
            values: npt.NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return values if values.dtype == np.float32 and np.isfinite(values).all() else None

    def save_array(self, key: str, values: npt.NDArray[np.float32]) -> None:
        content = io.BytesIO()
        np.save(content, values, allow_pickle=False)
        self._write(self.path(key, ".npy"), content.getvalue())

    def load_json(self, key: str) -> Any:
        """The JSON value of a key; None if it is missing or damaged."""
        try:
            return json.loads(self.path(key, ".json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return None

    def save_json(self, key: str, value: Any) -> None:
        self._write(self.path(key, ".json"), json.dumps(value).encode())

    def load_bytes(self, key: str) -> bytes | None:
        """The bytes of a key; None if they are missing or their checksum differs."""
        try:
            content = self.path(key, ".bin").read_bytes()
        except OSError:
            return None
        checksum, values = content[:32], content[32:]
        return values if hashlib.sha256(values).digest() == checksum else None

    def save_bytes(self, key: str, values: bytes) -> None:
        self._write(self.path(key, ".bin"), hashlib.sha256(values).digest() + values)

    def path(self, key: str, suffix: str) -> Path:
        """The file of a key, which may not exist."""
        path = self.folder / key[:2] / f"{key[2:]}{suffix}"
        logging.getLogger("i3d").debug("cache: %s, %s", path, "exists" if path.exists() else "does not exist")
        return path

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        except (OSError, InputError) as error:
            todo = f"free disk space, or choose another folder with --cache or ${VARIABLE}"
            raise InputError(f"{self.folder}: the cache cannot be written ({error}); {todo}") from error


def cache_key(**parts: Any) -> str:
    """A hash of named JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
