"""Run an iterator in a background thread, some items ahead of its consumer."""

import atexit
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from threading import Event, Thread
from typing import Final, NoReturn, TypeVar

JOIN_SECONDS: Final = 5.0  # for the item that the producer is computing when its consumer stops
POLL_SECONDS: Final = 0.05  # between checks whether the consumer has stopped
T = TypeVar("T")
# One of each producer that has not ended, also if its consumer was left by an exception and is not closed yet.
# `Thread.is_alive` is False for a running thread whose `join` was interrupted.
_running: set[Event] = set()
_Entry = tuple[T] | BaseException | None  # an item; at the end, the exception of the iterator or None


def prefetch(items: Iterator[T], *, max_ahead: int) -> Generator[T, None, None]:
    """Yield the same items in the same order; a thread computes up to `max_ahead` of them in advance.

    An exception of the iterator is raised here, after the items before it. Close this generator to stop the thread;
    the thread then closes the iterator, if that is a generator.
    """
    queue: Queue[_Entry[T]] = Queue(maxsize=max_ahead)
    stop = Event()
    thread = Thread(target=_produce, args=(items, queue, stop), daemon=True)
    _running.add(stop)
    try:
        try:
            thread.start()
        except RuntimeError:  # no more threads
            _running.discard(stop)
            raise
        while isinstance(item := queue.get(), tuple):
            yield item[0]
        if item is not None:
            raise item
    finally:
        stop.set()
        if thread.is_alive():
            thread.join(JOIN_SECONDS)


@contextmanager
def counts_as_producer() -> Iterator[None]:
    """Inside the block, the calling thread is one that `exit_without_join` must not wait for."""
    _running.add(entry := Event())
    try:
        yield
    finally:
        _running.discard(entry)


def has_running_producer() -> bool:
    """Whether a producer is still computing an item, such as one whose consumer has stopped."""
    return bool(_running)


def exit_without_join(exit_request: SystemExit) -> NoReturn:
    """Raise `exit_request`; while a producer still runs, end the process without waiting for its thread.

    At exit Python stops daemon threads. A thread that is stopped inside compiled code aborts the whole process.
    """
    if has_running_producer():
        exit_now(exit_request)
    raise exit_request


def exit_now(exit_request: SystemExit) -> NoReturn:
    """End the process: exit functions run and streams are flushed, but no thread is joined and no object freed."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_request.code if isinstance(exit_request.code, int) else int(exit_request.code is not None))


def _produce(items: Iterator[T], queue: Queue[_Entry[T]], stop: Event) -> None:
    end: BaseException | None = None
    try:
        for value in items:
            if not _put((value,), queue, stop):
                break
    except BaseException as error:
        end = error
    finally:
        try:
            if isinstance(items, Generator):
                items.close()
            _put(end, queue, stop)
        finally:
            _running.discard(stop)


def _put(item: _Entry[T], queue: Queue[_Entry[T]], stop: Event) -> bool:
    """Wait for room in the queue; False if the consumer stops first."""
    while not stop.is_set():
        try:
            queue.put(item, timeout=POLL_SECONDS)
        except Full:
            continue
        return True
    return False
