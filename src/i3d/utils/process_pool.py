"""Processes that work through a list of jobs, and outlive a job that kills one of them.

    for number, answer in each_job(partial(extract, settings=settings), jobs, num_workers=4):
        ...                                            # in the order in which they are done; `Died` if a process did

A pool of the standard library does not tell which of its jobs was at fault when a process dies, and gives up all.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Generic, TypeVar

import cv2

from i3d.errors import I3DError, InputError

POLL_SECONDS: Final = 0.05  # how late a process may be found to be late
J = TypeVar("J")
A = TypeVar("A")


@dataclass(frozen=True)
class Died:
    """The process that had this job came to an end: by a crash, or because the system ran out of memory."""

    how: str  # SIGSEGV, SIGKILL, exit code 1 ...
    timed_out: bool = False  # it was killed because the job took longer than it may


def each_job(
    run: Callable[[J], A], jobs: Sequence[J], *, num_workers: int, time_limit: float | None = None
) -> Generator[tuple[int, A | Died], None, None]:
    """(number, `run(job)`) of all jobs, in processes that are started afresh ("spawn"); with 0 workers, in this one.

    Each process has one job at a time, so one that dies takes only that job with it, and another takes its place. An
    I3DError of `run` is raised here; any other error is printed and ends its process. A process whose job takes more
    than `time_limit` seconds is killed (not with 0 workers). Close the generator to end all.
    """
    if num_workers == 0:
        yield from ((number, run(job)) for number, job in enumerate(jobs))
        return
    left = deque(enumerate(jobs))
    workers: dict[Any, _Worker[J, A]] = {}
    try:
        while left or workers:
            while len(workers) < min(num_workers, len(left) + len(workers)):
                worker = _Worker(run)
                workers[worker.pipe] = worker
            for late in [worker for worker in workers.values() if time_limit and worker.has_worked > time_limit]:
                late.kill()
            for pipe in wait(list(workers), timeout=None if time_limit is None else POLL_SECONDS):
                worker = workers[pipe]
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    del workers[pipe]
                    yield worker.number, worker.died()
                    continue
                if isinstance(answer, I3DError):
                    raise answer
                if worker.number >= 0:
                    yield worker.number, answer
                if left:
                    worker.give(*left.popleft())
                else:
                    workers.pop(pipe).end()
    finally:
        for worker in workers.values():
            worker.end(at_once=True)


class _Worker(Generic[J, A]):
    def __init__(self, run: Callable[[J], A]) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, run), daemon=True)
        self.process.start()
        theirs.close()
        self.number = -1  # of its job; before the first, it only says that it is there
        self._since, self._timed_out = 0.0, False

    @property
    def has_worked(self) -> float:
        """Seconds since it was given its job."""
        return 0.0 if self.number < 0 else time.monotonic() - self._since

    def kill(self) -> None:
        """End it whatever it does; its pipe then tells that it died."""
        self._timed_out = True
        self.process.kill()

    def give(self, number: int, job: J) -> None:
        self.number, self._since = number, time.monotonic()
        with suppress(OSError):  # if it has died, `recv` will tell
            self.pipe.send(job)

    def died(self) -> Died:
        self.end()
        code = self.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if self.number < 0:
            todo = "call from under `if __name__ == '__main__'`, or with num_workers=0"
            raise InputError(f"worker processes do not start ({how}); {todo}")
        return Died(how, self._timed_out)

    def end(self, *, at_once: bool = False) -> None:
        self.pipe.close()
        if at_once:
            self.process.terminate()
        self.process.join()


def _work(pipe: Connection[Any, Any], run: Callable[[Any], Any]) -> None:
    """What a process runs until the other end of the pipe is closed, or gone with its own process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process sees to it
    cv2.setNumThreads(0)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send(None)
        while True:
            job = pipe.recv()
            try:
                answer = run(job)
            except I3DError as error:
                answer = error
            pipe.send(answer)
