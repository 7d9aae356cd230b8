"""The folder of a run: its files, its lock and its record.

recipe.json         the resolved recipe
run.json            the configuration that a resumed run must match; of each start the command, versions, machine, time
log.jsonl           loss, accuracy and learning rate at each interval, and each validation; a rerun gives the same bits
timing.jsonl        the speed at each interval
curves.png          the log, drawn
checkpoints/        the newest two states
best.safetensors, last.safetensors   weights for predict, test and further training
"""

import hashlib
import json
import logging
import os
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from i3d._version import __version__
from i3d.data.annotations import COLUMNS, PIECES, Annotations
from i3d.data.resume import changed_settings, describe_change
from i3d.errors import InputError, abridged, printable
from i3d.recipes.recipe import Recipe
from i3d.utils.atomic_files import remove_abandoned_in, try_lock_for_process, write_atomically
from i3d.utils.outputs import LOCK, is_open_file
from i3d.weights.runs import BEST as BEST
from i3d.weights.runs import LAST as LAST
from i3d.weights.runs import RUN as RUN

RECIPE, LOG, TIMING, CURVES = "recipe.json", "log.jsonl", "timing.jsonl", "curves.png"
CHECKPOINTS: Final = "checkpoints"
OWN_FILES: Final = (RECIPE, LOG, TIMING, CURVES, BEST, LAST)  # of a run, beside its record and checkpoints
FINGERPRINTS: Final = {  # keys of hashes in the configuration
    "clips": "training clips", "validation": "validation clips", "contents": "contents of the clips",
    "weights": "initial weights",
}  # fmt: skip
RELEVANT: Final = re.compile(  # environment variables that a start records
    r"CUDA|NCCL|GLOO|OMP|MKL|ONEDNN|TORCH|PYTORCH|ACCELERATE|(WORLD_SIZE|LOCAL_WORLD_SIZE|MASTER_ADDR|SLURM_JOB_ID)$"
)
DONE: Final = "done"  # key in run.json
SAVED: Final = "saved"  # key in run.json: whether there ever was a state
log = logging.getLogger("i3d")
_HOLDERS: Final[dict[Path, int]] = {}  # of each folder that this process has locked, its own number: forks copy this


def check_outside(work_dir: Path, *sources: Annotations | None) -> None:
    """An InputError if a run would lie among clips: its folder would become a class, and its images a clip.

    A folder of clips that holds the list too is that of a project, where a run may have a folder of its own.
    """
    place = work_dir.resolve()
    for clips in filter(None, sources):
        home = None if Path(clips.source).is_dir() else Path(clips.source).resolve().parent
        for folder, what in _folders_of_clips(clips).items():
            is_inside = folder in place.parents and not (home is not None and home.is_relative_to(folder))
            if place == folder or is_inside:
                why = "its folder would become a class, its images a clip; choose a folder beside it"
                raise InputError(f"--work-dir {work_dir}: lies in {folder}, {what}: {why}")


def _folders_of_clips(clips: Annotations) -> dict[Path, str]:
    """The folders that hold clips, and those that hold a folder of clips for each of several classes."""
    labels: dict[str, set[tuple[int, ...]]] = {}
    for index in range(len(clips)):
        labels.setdefault(os.path.split(clips.file(index).rstrip("/"))[0], set()).add(clips.labels_of(index))
    folders = {Path(folder).resolve(): classes for folder, classes in labels.items()}
    inner: dict[Path, list[set[tuple[int, ...]]]] = {}
    for folder, classes in folders.items():
        inner.setdefault(folder.parent, []).append(classes)
    trees = [
        folder for folder, sets in inner.items()
        if 1 < len(sets) == sum(map(len, sets)) == len(set().union(*sets))
    ]  # fmt: skip
    return dict.fromkeys(trees, "which has a folder for each class") | dict.fromkeys(folders, "which has clips")


class RunFolder:
    """A folder that one run at a time may write to."""

    def __init__(self, path: Path) -> None:
        self.path, self.checkpoints = path, path / CHECKPOINTS
        self._lock: Any = None
        self._new_folders: list[Path] = []

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def lock(self) -> None:
        """Create and lock the folder, until `release` or the end of the process. A locked one is an InputError.

        What killed processes left in it is removed. A run that is a part of another in this process, as training is of
        fine-tuning, uses the lock of that run: to open and close the file again would release it.
        """
        if _HOLDERS.get(self.path.resolve()) == os.getpid():
            self.restore_checkpoints()
            return
        self._new_folders = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            lock = (self.path / LOCK).open("a+")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); choose another --work-dir") from error
        handle = lock.fileno()
        if not try_lock_for_process(handle) or not is_open_file(self.path / LOCK, handle):
            lock.seek(0)
            holder = lock.read(200).strip() or "unknown"
            lock.close()
            raise InputError(
                f"{self.path}: in use by another run ({holder}); wait for it, or choose another --work-dir"
            )
        self._lock = lock  # `release` removes it and what else is empty: not what another run has locked
        _HOLDERS[self.path.resolve()] = os.getpid()
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        for folder in (self.path, self.checkpoints):
            remove_abandoned_in(folder)

    def restore_checkpoints(self) -> bool:
        """Create the folder of states again if somebody removed it; whether it was removed."""
        is_gone = not self.checkpoints.is_dir()
        if is_gone:
            self.checkpoints.mkdir()
        return is_gone

    def check_own(self, record: str, names: Sequence[str]) -> None:
        """An InputError if one of the files that a run writes exists, but not the record of a run, its first file.

        A link among them is one always: it would be replaced, and its target would not.
        """
        for path in map(self.path.joinpath, (record, *names)):
            if path.is_symlink():
                raise InputError(
                    f"{path}: is a link, which a run would replace; choose another --work-dir, or remove it"
                )
        if not (self.path / record).exists():
            for path in map(self.path.joinpath, names):
                if os.path.lexists(path):
                    why = f"exists, and {self.path} has no {record} of a run that wrote it"
                    raise InputError(f"{path}: {why}; choose another --work-dir, or move the file away")
            if self._lock is not None and (others := self._others()):
                log.warning(f"{self.path} holds other files ({abridged(others, 3)}); those of the run go beside them")

    def _others(self) -> list[str]:
        """The names in a folder that are not of a run; hidden ones are not counted."""
        names: set[str] = set()
        with suppress(OSError):  # a folder that cannot be listed can hold a run
            names = {path.name for path in self.path.iterdir()} - {CHECKPOINTS, LOCK}
        return [printable(name) for name in sorted(names) if not name.startswith(".")]

    def release(self) -> None:
        """Unlock the folder. Of a run that was refused or saved no state, no empty folder stays."""
        if self._lock is None:
            return
        _HOLDERS.pop(self.path.resolve(), None)
        (self.path / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            self.checkpoints.rmdir()
            for folder in self._new_folders:
                folder.rmdir()
        self._lock.close()
        self._lock = None

    def record_start(
        self, config: dict[str, Any], before: dict[str, Any] | None, *, seed: int, compute: dict[str, Any], init: str
    ) -> list[str]:
        """Add this start to `run.json`; what differs in the compute settings, since when the bits are others."""
        starts = before["starts"] if before else []
        has_saved = before is not None and bool(before.get(SAVED))
        start = {**describe_start(seed, compute), "init": init}
        self._write_run({"config": config, "starts": [*starts, start], SAVED: has_saved, DONE: False})
        return diff_settings(starts[-1].get("compute", {}), compute) if starts else []

    def remove_record(self) -> None:
        """Remove what the start of a run writes that then trained no step."""
        for name in (LOG, TIMING, RECIPE, RUN):
            (self.path / name).unlink(missing_ok=True)

    def record_saved(self) -> None:
        """Note in `run.json` that the run has saved a state, without which it must not start again."""
        record = json.loads((self.path / RUN).read_text())
        if not record[SAVED]:
            self._write_run({**record, SAVED: True})

    def record_end(self, trainer_state: dict[str, Any]) -> None:
        """Mark the run in `run.json` as done."""
        record = json.loads((self.path / RUN).read_text())
        self._write_run({**record, DONE: True, "trainer_state": trainer_state})

    def _write_run(self, record: dict[str, Any]) -> None:
        write_atomically(self.path / RUN, (json.dumps(record, indent=1) + "\n").encode())


def check_same_run(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The record of a run, whose `config` must be the same; another one is an InputError."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        before = record["config"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read; restore it, or choose another --work-dir") from error
    if changes := diff_settings(before, json.loads(json.dumps(config))):
        text = "; ".join(changes[:5]) + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")
        raise InputError(
            f"{path.parent}: its run was started with other settings ({text}); give the same, or another --work-dir"
        )
    return record


def read_run(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The record of a training run with this `config`; one that is damaged or of another run is an InputError."""
    record = check_same_run(path, config)
    starts = record.get("starts")
    has_starts = isinstance(starts, list) and bool(starts) and all(isinstance(start, dict) for start in starts)
    if not has_starts or not isinstance(record.get(DONE), bool) or (record[DONE] and "trainer_state" not in record):
        raise InputError(f"{path}: is damaged; restore it, or choose another --work-dir")
    return record


def fingerprint(annotations: Annotations) -> str:
    """A hash of the list: paths, labels, classes and groups, but neither the root folder nor the content of files."""
    digest = hashlib.sha256()
    for name in (*PIECES, *(column for column in COLUMNS if column not in ("lines_N", "files_N"))):
        digest.update(getattr(annotations, name).tobytes())
    digest.update("\0".join((*annotations.classes, *annotations.group_names)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def without_init(recipe: Recipe) -> dict[str, Any]:
    """A recipe without the name of its initial weights: a resumed run must match their content, wherever they are."""
    settings: dict[str, Any] = recipe.model_dump(mode="json")
    (settings["training"] or {}).pop("init", None)
    return settings


def describe_start(seed: int, compute: dict[str, Any]) -> dict[str, Any]:
    """The command, versions, compute settings, host and time of a start."""
    packages = ("torch", "accelerate", "numpy", "av", "opencv-contrib-python-headless", "safetensors")
    return {
        "command": sys.argv,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": seed,
        "i3d": __version__,
        "git": _git_state(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "compute": compute,
        "host": {"name": socket.gethostname(), "system": platform.platform(), "cores": os.cpu_count()},
        "environment": {name: os.environ[name] for name in sorted(os.environ) if RELEVANT.match(name)},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed under this name"


def _git_state() -> str:
    """The commit of this checkout and whether it has changes; "" outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        git = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return git.stdout.strip()


def diff_settings(before: Any, now: Any) -> list[str]:
    """The differences between two trees of settings, as phrases for a message."""
    return [
        f"the {FINGERPRINTS[name]} differ"
        if name in FINGERPRINTS
        else describe_change(name.removeprefix("recipe."), *values)
        for name, *values in changed_settings(before, now)
    ]
