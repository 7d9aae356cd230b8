"""The logs of a run: `log.jsonl` has the metrics, which a rerun gives to the bit; `timing.jsonl` has the speed.

{"step": 20, "epoch": 0, "loss": 5.99, "top1": 0.01, "lr": 0.01}
{"step": 400, "epoch": 0, "validation": {"top1": 0.12, "top5": 0.31, "mean_class": 0.11}, "clips": 1980, "bad": 0}
"""

import errno
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

from i3d.errors import InputError
from i3d.training.log_reader import read_lines
from i3d.training.run_folder import LOG, TIMING, RunFolder
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import write_atomically

B = TypeVar("B")


class MetricsLogger:
    """Appends to the logs. Lines after `step` are removed first: the run resumes there and writes them again."""

    def __init__(self, folder: RunFolder, *, step: int, validated_step: int, tensorboard: bool = False) -> None:
        for name in (LOG, TIMING):
            lines = [
                line
                for line in read_log(folder / name)
                if line["step"] <= step and ("validation" not in line or line["step"] <= validated_step)
            ]
            write_atomically(folder / name, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
        self._unwritten: list[bytes] = []
        self._tensorboard: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise InputError("--tensorboard: tensorboard is not installed; pip install 'i3d[track]'") from error
            self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._log, self._timing = ((folder / name).open("ab", buffering=0) for name in (LOG, TIMING))

    def write(self, line: dict[str, Any]) -> None:
        """Append a line of metrics. If the disk is full, a later call writes it, or `sync` raises."""
        self._unwritten.append((json.dumps(line) + "\n").encode())
        with suppress(OSError):
            self._flush()
        self._to_tensorboard(line)

    def sync(self) -> None:
        """Flush the log to the disk. It precedes every state: one newer than the log would lose lines."""
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
        """Append a line of speed. A full disk loses it."""
        with suppress(OSError):
            self._timing.write((json.dumps(line) + "\n").encode())
        self._to_tensorboard(line)

    def close(self) -> None:
        for file in (self._log, self._timing):
            with suppress(OSError):
                file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _to_tensorboard(self, line: dict[str, Any]) -> None:
        if self._tensorboard is None:
            return
        metrics = {f"validation/{name}": value for name, value in line.get("validation", {}).items()}
        metrics |= {f"train/{name}": value for name, value in line.items() if isinstance(value, float)}
        with suppress(OSError):
            for name, value in metrics.items():
                self._tensorboard.add_scalar(name, value, line["step"])


@checks_types
def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; none if there is no file. A last line that was cut off is left out."""
    lines = read_lines(path) if path.is_file() else []
    return [line for line in lines if isinstance(line.get("step"), int)]


Mark = tuple[float, float, int, int]  # until a moment: seconds, those waited for data, clips, steps


class Stopwatch:
    """Measures the speed of a run between two moments."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waited, self._clips, self._steps = 0.0, 0, 0
        self._start = self.mark()

    def mark(self) -> Mark:
        """The present moment, for `speed(since=)`."""
        return time.perf_counter(), self._waited, self._clips, self._steps

    def restart(self) -> None:
        """Measure from now on."""
        self._start = self.mark()

    def time_waits(self, batches: Iterator[B]) -> Iterator[B]:
        """Pass batches on, and add up how long each is waited for."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def add_step(self, num_clips: int) -> None:
        self._clips += num_clips
        self._steps += 1

    def speed(self, world_size: int, *, since: Mark | None = None) -> dict[str, float]:
        """Seconds per step, clips per second of all ranks, the fraction of time spent waiting for data, peak memory."""
        start, now = since or self._start, self.mark()
        seconds, waited, num_clips, num_steps = (after - before for before, after in zip(start, now, strict=True))
        seconds = max(seconds, 1e-9)
        return {
            "step_seconds": seconds / max(num_steps, 1),
            "clips_per_second": world_size * num_clips / seconds,
            "data_wait": waited / seconds,
            "memory_gib": peak_memory(self._device) / 2**30,
        }


def peak_memory(device: torch.device) -> int:
    """Bytes: on CUDA what PyTorch allocated, else the resident memory of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
