"""Results that are expensive to compute, stored under a hash of all that they depend on and shared by all runs.

    cache = Cache.default()
    cache.load_array(key), cache.save_array(key, values)

Files are written atomically and begin with their SHA-256. A damaged one counts as missing, which a warning reports, so
that its content is computed again.
"""

import hashlib
import io
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError
from i3d.utils.atomic_files import write_atomically
from i3d.utils.cache_files import VARIABLE, default_folder

INDUCTOR: Final = "TORCHINDUCTOR_CACHE_DIR"
DIGEST_BYTES: Final = hashlib.sha256().digest_size

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class Cache:
    """A folder of cached files."""

    folder: Path

    @classmethod
    def default(cls) -> Self:
        """$I3D_CACHE, or `i3d` in the user's cache folder."""
        return cls(default_folder())

    def load_array(self, key: str) -> npt.NDArray[np.float32] | None:
        """The float32 array of a key; None if it is missing, damaged or not finite."""
        content = self._read(self.path(key, ".array"))
        if content is None:
            return None
        values: npt.NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
        return values if values.dtype == np.float32 and np.isfinite(values).all() else None

    def save_array(self, key: str, values: npt.NDArray[np.float32]) -> None:
        content = io.BytesIO()
        np.save(content, values, allow_pickle=False)
        self._write(self.path(key, ".array"), content.getvalue())

    def load_json(self, key: str) -> Any:
        """The JSON value of a key; None if it is missing or damaged."""
        content = self._read(self.path(key, ".record"))
        return None if content is None else json.loads(content)

    def save_json(self, key: str, value: Any) -> None:
        self._write(self.path(key, ".record"), json.dumps(value).encode())

    def load_bytes(self, key: str) -> bytes | None:
        """The bytes of a key; None if they are missing or damaged."""
        return self._read(self.path(key, ".bin"))

    def save_bytes(self, key: str, values: bytes) -> None:
        self._write(self.path(key, ".bin"), values)

    def path(self, key: str, suffix: str) -> Path:
        """The file of a key, which may not exist."""
        path = self.folder / key[:2] / f"{key[2:]}{suffix}"
        log.debug("cache: %s, %s", path, "exists" if path.exists() else "does not exist")
        return path

    def _read(self, path: Path) -> bytes | None:
        try:
            stored = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            log.warning("%s: cannot be read (%s); it is computed again", path, error.strerror or error)
            return None
        digest, content = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            log.warning("%s: damaged since it was cached (its SHA-256 is wrong); it is computed again", path)
            return None
        return content

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, hashlib.sha256(content).digest() + content)
        except (OSError, InputError) as error:
            todo = f"free disk space, or choose another folder with --cache or ${VARIABLE}"
            raise InputError(f"{self.folder}: the cache cannot be written ({error}); {todo}") from error


def use_inductor_cache(cache: Cache) -> None:
    """Let `torch.compile` store compiled code in this cache, unless $TORCHINDUCTOR_CACHE_DIR names another folder.

    It is safe across processes; its keys include the machine and the versions.
    """
    if not os.environ.get(INDUCTOR):  # empty: PyTorch would write to the current folder
        os.environ[INDUCTOR] = str(cache.folder / "inductor")


def cache_key(**parts: Any) -> str:
    """A hash of named JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
