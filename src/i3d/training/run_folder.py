"""The folder of a run: what it is made of, who works in it, what it has written.

recipe.json         the recipe with all that was decided
run.json            what a resumed run must agree with, and each start: command, versions, machine, time
log.jsonl           loss, accuracy and rate at every interval, and each validation: the same bit for bit in a rerun
timing.jsonl        how fast it went
curves.png          both as pictures
checkpoints/        the last two states
best.safetensors, last.safetensors   weights for predict, test and further training
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from i3d._version import __version__
from i3d.data.annotations import COLUMNS, PIECES, Annotations
from i3d.errors import InputError, printable
from i3d.utils.atomic_files import write_atomically

RECIPE, RUN, LOG, TIMING, CURVES = "recipe.json", "run.json", "log.jsonl", "timing.jsonl", "curves.png"
BEST, LAST = "best.safetensors", "last.safetensors"
CHECKPOINTS: Final = "checkpoints"
LOCK: Final = ".lock"
LISTS: Final = {"clips": "the clips of training", "validation": "the clips of validation"}
DONE: Final = "done"  # key in run.json


class RunFolder:
    """A folder that one run at a time may use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Any = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    def take(self) -> None:
        """Make it, and hold it until this process ends. Held by another, it is an InputError."""
        where = printable(str(self.path))
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / LOCK).open("a+")
        except OSError as error:
            raise InputError(f"{where}: cannot be written ({error.strerror}); choose another --work-dir") from error
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # processes that it forks do not hold it
        except OSError:
            self._lock.seek(0)
            holder = printable(self._lock.read(200).strip() or "unknown")
            self._lock.close()
            raise InputError(
                f"{where}: another run is at work in it ({holder}); wait for it, or choose another --work-dir"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._lock.flush()

    def take_and_release(self) -> None:
        """Find out before the work that the folder can be used."""
        self.take()
        self.release()

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def agree(self, contract: dict[str, Any]) -> dict[str, Any] | None:
        """What `run.json` says of an earlier start; an InputError if that start had another contract."""
        path = self.path / RUN
        if not path.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text())
            before = record["contract"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{printable(str(path))}: cannot be read; restore it, or start anew in another --work-dir"
            ) from error
        if changed := changes_between(before, contract):
            told = "; ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
            raise InputError(
                f"{printable(str(self.path))}: its run was started with other settings ({printable(told)}); "
                "give the same, or another --work-dir"
            )
        return record

    def record_start(self, contract: dict[str, Any], before: dict[str, Any] | None, start: dict[str, Any]) -> None:
        """Add this start to `run.json`."""
        starts = [*(before or {}).get("starts", []), start]
        self._write_run({"contract": contract, "starts": starts, DONE: False})

    def differs(self, before: dict[str, Any], machine: dict[str, Any]) -> list[str]:
        """How this start computes otherwise than the last one: the rest of the run is then not the same to the bit."""
        return changes_between(before["starts"][-1].get("machine", {}), machine)

    def record_end(self, position: dict[str, Any]) -> None:
        record = json.loads((self.path / RUN).read_text())
        self._write_run({**record, DONE: True, "position": position})

    def _write_run(self, record: dict[str, Any]) -> None:
        write_atomically(self.path / RUN, (json.dumps(record, indent=1) + "\n").encode())


def fingerprint(annotations: Annotations) -> str:
    """A hash of the clips, their labels and the classes: not of where they lie, nor of their files' content."""
    digest = hashlib.sha256()
    for name in (*PIECES, *(column for column in COLUMNS if column not in ("lines_N", "files_N"))):
        digest.update(getattr(annotations, name).tobytes())
    digest.update("\0".join((*annotations.classes, *annotations.group_names)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def this_start(seed: int, machine: dict[str, Any]) -> dict[str, Any]:
    """The command, the versions, the machine and the time."""

    packages = ("torch", "accelerate", "numpy", "av", "opencv-contrib-python-headless", "safetensors")
    return {
        "command": sys.argv,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": seed,
        "i3d": __version__,
        "git": _git_state(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "machine": machine,
        "host": {"name": socket.gethostname(), "system": platform.platform(), "cores": os.cpu_count()},
        "environment": {name: os.environ[name] for name in sorted(os.environ) if _is_telling(name)},
    }


def _version(package: str) -> str:

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed under this name"


def _is_telling(name: str) -> bool:
    beginnings = ("CUDA", "NCCL", "GLOO", "OMP", "MKL", "ONEDNN", "TORCH", "PYTORCH", "ACCELERATE")
    return name.startswith(beginnings) or name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "SLURM_JOB_ID")


def _git_state() -> str:
    """The commit of this checkout and whether it has changes; "" outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def changes_between(before: Any, now: Any, name: str = "") -> list[str]:
    """What differs between two trees of settings, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [c for key in keys for c in changes_between(before.get(key), now.get(key), f"{name}.{key}".strip("."))]
    if before == now:
        return []
    if name in LISTS:
        return [f"{LISTS[name]} are others"]
    return [f"{name.removeprefix('recipe.')} was {_shown(before)}, now {_shown(now)}"]


def _shown(value: Any) -> str:
    return "not set" if value in (None, "") else str(value)
