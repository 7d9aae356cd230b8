"""Work that is done ahead: an iterator runs in a thread of its own, some items before they are wanted."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import Final, Generic, NoReturn, TypeVar

PATIENCE_SECONDS: Final = 5.0  # for an item that is being made when nobody wants it any more
T = TypeVar("T")
_left: list[Thread] = []


@dataclass(frozen=True)
class _Over:
    error: BaseException | None


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


def prefetch(items: Iterator[T], *, most: int) -> Generator[T, None, None]:
    """The same items in the same order, up to `most` of them made before they are asked for.

    What the iterator raises is raised here, after the items before it. Close this generator to stop it; the iterator,
    if it is a generator, is closed in its thread.
    """
    made: Queue[_Item[T] | _Over] = Queue(maxsize=most)
    unwanted = Event()
    thread = Thread(target=_make, args=(items, made, unwanted), daemon=True)
    thread.start()
    try:
        while isinstance(item := made.get(), _Item):
            yield item.value
        if item.error is not None:
            raise item.error
    finally:
        unwanted.set()
        thread.join(PATIENCE_SECONDS)
        if thread.is_alive():
            _left.append(thread)


def has_running_producer() -> bool:
    """Whether some item that nobody wants is still being made."""
    return any(thread.is_alive() for thread in _left)


def exit_without_join(ended: SystemExit) -> NoReturn:
    """End the process; if an item is left, without the end of its thread.

    Python would end that in the middle of compiled code, which aborts the process.
    """
    if has_running_producer():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    raise ended


def _make(items: Iterator[T], made: Queue[_Item[T] | _Over], unwanted: Event) -> None:
    over = _Over(None)
    try:
        for value in items:
            if not _put(_Item(value), made, unwanted):
                break
    except BaseException as error:
        over = _Over(error)
    finally:
        if isinstance(items, Generator):
            items.close()
        _put(over, made, unwanted)


def _put(item: _Item[T] | _Over, made: Queue[_Item[T] | _Over], unwanted: Event) -> bool:
    """Whether it was wanted."""
    while not unwanted.is_set():
        try:
            made.put(item, timeout=0.05)
        except Full:
            continue
        return True
    return False
