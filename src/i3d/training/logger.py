"""What a run writes down as it goes: figures that a rerun gives again to the bit, and apart from them, its speed.

{"step": 20, "epoch": 0, "loss": 5.99, "top1": 0.01, "lr": 0.01}
{"step": 400, "epoch": 0, "validation": {"top1": 0.12, "top5": 0.31, "mean_class": 0.11}, "clips": 1980, "bad": 0}
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from i3d.errors import InputError, printable
from i3d.training.run_folder import LOG, TIMING, RunFolder
from i3d.utils.atomic_files import write_atomically

B = TypeVar("B")


class Watcher(Protocol):
    """Who is told of a run as it goes, a terminal for instance."""

    def step(self, step: int, total: int, figures: dict[str, float], *, epoch: int) -> None: ...
    def told(self, message: str) -> None: ...


class MetricsLogger:
    """The logs of a run. Lines after `step` are taken out: the run goes on from there and writes them anew."""

    def __init__(self, folder: RunFolder, *, step: int, validated: int, tensorboard: bool = False) -> None:
        for name in (LOG, TIMING):
            kept = [
                line
                for line in read_log(folder / name)
                if line["step"] <= step and ("validation" not in line or line["step"] <= validated)
            ]
            write_atomically(folder / name, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
        self._unwritten: list[bytes] = []
        self._board = _board(folder.path, step) if tensorboard else None
        self._log, self._timing = ((folder / name).open("ab", buffering=0) for name in (LOG, TIMING))

    def write(self, line: dict[str, Any]) -> None:
        """One line of figures. What a full disk does not take is written once there is room, or raised by `sync`."""
        self._unwritten.append((json.dumps(line) + "\n").encode())
        with suppress(OSError):
            self._flush()
        self._to_board(line)

    def sync(self) -> None:
        """Everything is on the disk: a state that is newer than its log would lose lines."""
        self._flush()
        os.fsync(self._log.fileno())

    def _flush(self) -> None:
        while self._unwritten:
            end = os.fstat(self._log.fileno()).st_size
            try:
                written = self._log.write(self._unwritten[0])
                if written != len(self._unwritten[0]):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._log.name)
            except OSError:
                self._log.truncate(end)
                raise
            del self._unwritten[0]

    def write_timing(self, line: dict[str, Any]) -> None:
        """One line of speed. A disk that is full does not stop the run for that."""
        with suppress(OSError):
            self._timing.write((json.dumps(line) + "\n").encode())
        self._to_board(line)

    def close(self) -> None:
        for file in (self._log, self._timing):
            with suppress(OSError):
                file.close()
        if self._board is not None:
            self._board.close()

    def _to_board(self, line: dict[str, Any]) -> None:
        if self._board is None:
            return
        figures = {f"validation/{name}": value for name, value in line.get("validation", {}).items()}
        figures |= {f"train/{name}": value for name, value in line.items() if isinstance(value, float)}
        with suppress(OSError):
            for name, value in figures.items():
                self._board.add_scalar(name, value, line["step"])


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, if it is there; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
            if not isinstance(line, dict):
                raise ValueError("not an object")
        except ValueError as error:
            if number == len(texts):
                break
            raise InputError(
                f"{printable(str(path))}:{number}: not a line of a log; restore or remove the file"
            ) from error
        lines.append(line)
    return [line for line in lines if isinstance(line.get("step"), int)]


@dataclass(frozen=True)
class Mark:
    """A moment of a stopwatch: what had been done until then."""

    time: float
    waited: float
    num_clips: int
    num_steps: int


class Stopwatch:
    """How fast a run is from one moment to another."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waited, self._clips, self._steps = 0.0, 0, 0
        self.last = self.mark()

    def mark(self) -> Mark:
        """This moment."""
        return Mark(time.perf_counter(), self._waited, self._clips, self._steps)

    def restart(self) -> None:
        """What comes now is measured from here."""
        self.last = self.mark()

    def waiting(self, batches: Iterator[B]) -> Iterator[B]:
        """Pass batches on, and add up how long each took to come."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def stepped(self, num_clips: int) -> None:
        self._clips += num_clips
        self._steps += 1

    def figures(self, world_size: int, *, since: Mark | None = None) -> dict[str, float]:
        """Seconds a step, clips a second (of all ranks), the share of the time that data was waited for, memory."""
        first = since or self.last
        seconds = max(time.perf_counter() - first.time, 1e-9)
        return {
            "step_seconds": seconds / max(self._steps - first.num_steps, 1),
            "clips_per_second": world_size * (self._clips - first.num_clips) / seconds,
            "data_wait": (self._waited - first.waited) / seconds,
            "memory_gib": peak_memory(self._device) / 2**30,
        }


def peak_memory(device: torch.device) -> int:
    """Bytes at the most: of the GPU what PyTorch took, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("--tensorboard: tensorboard is not installed; pip install 'i3d[track]'") from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
