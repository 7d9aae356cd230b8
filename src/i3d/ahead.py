"""Work that is done ahead: an iterator runs in a thread of its own, some items before they are wanted."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import Final, Generic, TypeVar

PATIENCE_SECONDS: Final = 5.0  # for an item that is being made when nobody wants it any more
T = TypeVar("T")


@dataclass(frozen=True)
class _Over:
    error: BaseException | None


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


def ahead(items: Iterator[T], *, most: int) -> Generator[T, None, None]:
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
