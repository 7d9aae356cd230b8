"""Processes that work through a list of jobs, and outlive a job that kills one of them.

    for number, answer in each_job(partial(extract, settings=settings), jobs, num_workers=4):
        ...                                            # in the order in which they are done; `Died` if a process did

A pool of the standard library does not tell which of its jobs was at fault when a process dies, and gives up all.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import cv2

from i3d.errors import I3DError, InputError

J = TypeVar("J")
A = TypeVar("A")


@dataclass(frozen=True)
class Died:
    """The process that had this job came to an end: by a crash, or because the system ran out of memory."""

    how: str  # SIGSEGV, SIGKILL, exit code 1 ...


def each_job(
    run: Callable[[J], A], jobs: Sequence[J], *, num_workers: int
) -> Generator[tuple[int, A | Died], None, None]:
    """(number, `run(job)`) of all jobs, in processes that are started afresh ("spawn"); with 0 workers, in this one.

    Each process has one job at a time, so one that dies takes only that job with it, and another takes its place. An
    I3DError of `run` is raised here; any other error is printed and ends its process. Close the generator to end all.
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
            for pipe in wait(list(workers)):
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

    def give(self, number: int, job: J) -> None:
        self.number = number
        with suppress(OSError):  # if it has died, `recv` will tell
            self.pipe.send(job)

    def died(self) -> Died:
        self.end()
        code = self.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if self.number < 0:
            todo = "call from under `if __name__ == '__main__'`, or with num_workers=0"
            raise InputError(f"worker processes do not start ({how}); {todo}")
        return Died(how)

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
