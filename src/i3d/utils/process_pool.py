"""Worker processes that run a list of jobs; a job that kills its worker fails alone.

    for index, result in run_jobs(partial(extract, settings=settings), jobs, num_workers=4):
        ...                                   # in the order in which jobs finish; `WorkerDied` if the worker died

A job reports how far it is with `report_part`.

Executors of the standard library do not report which job killed a worker, and they fail all pending jobs with it.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Lock
from types import ModuleType
from typing import Any, Final, Generic, TypeVar

import cv2

from i3d.errors import I3DError, InputError

J = TypeVar("J")
R = TypeVar("R")
_MAIN_LOCK: Final = Lock()


class WorkerProcess(SpawnProcess):
    """A spawned process in which the user's script is not run again.

    `spawn` imports the file of `__main__` into each child to find functions that are defined there. A script without
    an `if __name__ == "__main__"` guard would start itself again in each worker, and a script on standard input has no
    file. What our workers run is defined in modules, so an empty `__main__` is put in place while a worker starts.
    """

    def start(self) -> None:
        with _MAIN_LOCK:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class WorkerContext(SpawnContext):
    """The multiprocessing context of all worker processes; also a `multiprocessing_context` of a DataLoader."""

    Process = WorkerProcess


WORKER_CONTEXT: Final = WorkerContext()


@dataclass(frozen=True)
class WorkerDied:
    """The result of a job whose worker crashed, was killed, or exited."""

    cause: str  # SIGSEGV, SIGKILL, exit code 1 ...


@dataclass(frozen=True)
class Part:
    """So much of a job is done: frames of a video, for example."""

    completed: float
    total: float


PartCallback = Callable[[int, Part], None]  # with the index of the job
PART_SECONDS: Final = 0.2  # between two reports of a job


@dataclass
class _Reporter:
    """Where the job that runs in this process reports its parts."""

    send: Callable[[Part], None] | None = None
    sent_at: float = 0.0


_reporter: Final = _Reporter()


def report_part(completed: float, total: float) -> None:
    """Report how much of the job that calls it is done. Only some reports reach the caller of `run_jobs`."""
    now = time.monotonic()
    if _reporter.send is not None and now - _reporter.sent_at >= PART_SECONDS:
        _reporter.sent_at = now
        _reporter.send(Part(completed, total))


def run_jobs(
    function: Callable[[J], R],
    jobs: Sequence[J],
    *,
    num_workers: int,
    on_part: PartCallback = lambda *_: None,
) -> Generator[tuple[int, R | WorkerDied], None, None]:
    """Yield (index of the job, `function(job)`) for all jobs, from worker processes; with 0 workers, from this one.

    `function` and the jobs must be picklable and defined in a module. Each worker has one job at a time, so one that
    dies fails only that job, and another worker takes its place. An I3DError of `function` is raised here; any other
    error is printed and ends its worker. Close the generator to end all workers at once. `on_part` gets what jobs
    report.
    """
    if num_workers == 0:
        yield from _run_here(function, jobs, on_part)
        return
    pending = deque(enumerate(jobs))
    workers: dict[Any, _Worker[J, R]] = {}
    try:
        while pending or workers:
            while len(workers) < min(num_workers, len(pending) + len(workers)):
                worker = _Worker(function)
                workers[worker.pipe] = worker
            for pipe in wait(list(workers)):
                worker = workers[pipe]
                try:
                    result = worker.pipe.recv()
                except (EOFError, OSError):
                    del workers[pipe]
                    yield worker.index, worker.death()
                    continue
                if isinstance(result, Part):
                    on_part(worker.index, result)
                    continue
                if isinstance(result, I3DError):
                    raise result
                if worker.index >= 0:
                    yield worker.index, result
                if pending:
                    worker.index, job = pending.popleft()
                    with suppress(OSError):  # a worker that has died is noticed by `recv`
                        worker.pipe.send(job)
                else:
                    workers.pop(pipe).close()
    finally:
        for worker in workers.values():
            worker.process.terminate()
        for worker in workers.values():
            worker.close()


def _run_here(
    function: Callable[[J], R], jobs: Sequence[J], on_part: PartCallback
) -> Generator[tuple[int, R], None, None]:
    for index, job in enumerate(jobs):
        _reporter.send, _reporter.sent_at = partial(on_part, index), time.monotonic()
        try:
            result = function(job)
        finally:
            _reporter.send = None
        yield index, result


class _Worker(Generic[J, R]):
    """One process and the pipe to it."""

    def __init__(self, function: Callable[[J], R]) -> None:
        self.pipe, child_pipe = WORKER_CONTEXT.Pipe()
        self.process = WORKER_CONTEXT.Process(target=run_worker, args=(child_pipe, function), daemon=True)
        self.process.start()
        child_pipe.close()
        self.index = -1  # of its job; -1 until its first message, which only reports that it has started

    def death(self) -> WorkerDied:
        self.close()
        code = self.process.exitcode or 0
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if self.index < 0:  # each replacement would die as well
            raise InputError(f"worker processes do not start ({cause}); read their error above, or check free memory")
        return WorkerDied(cause)

    def close(self) -> None:
        self.pipe.close()
        self.process.join()


def run_worker(pipe: Connection[Any, Any], function: Callable[[Any], Any]) -> None:
    """Run jobs until the other end of the pipe is closed, or gone with its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process ends the workers
    cv2.setNumThreads(0)
    _reporter.send = pipe.send
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(None)
        while True:
            job = pipe.recv()
            _reporter.sent_at = time.monotonic()
            try:
                result = function(job)
            except I3DError as error:
                result = error
            pipe.send(result)
