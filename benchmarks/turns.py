"""Runs of several contenders in turns, each side in a process of its own: ours as the command `i3d` sets itself up, a
peer's as PyTorch finds it.

    with Sides(prepare, threads=2) as sides:                 # prepare(name) -> what is run, called in the process
        seconds = sides.in_turns({"MMAction2": THEIRS, "i3d": OURS}, rounds=7)

A contender is thrown away after its last turn only: all stay in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

OURS: Final = "ours"
THEIRS: Final = "theirs"
WARM_UP: Final = 3  # rounds, until the kept memory fits
Prepare = Callable[[str], Callable[[], Any]]

_prepare: Prepare
_ready: dict[str, Callable[[], Any]] = {}


class Sides:
    """The two processes."""

    def __init__(self, prepare: Prepare, *, threads: int) -> None:
        self._of = {
            side: ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=(prepare, threads, side))
            for side in (OURS, THEIRS)
        }

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._of.values():
            process.shutdown()

    def in_turns(self, sides: Mapping[str, str], rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
        """The seconds of each in each round, after some to warm up; and what each gave in the last."""
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        given: dict[str, Any] = {}
        for number in range(WARM_UP + rounds):
            for name, side in sides.items():
                taken, given[name] = self._of[side].submit(_timed, name).result()
                if number >= WARM_UP:
                    seconds[name].append(taken)
        return seconds, given


def _begin(prepare: Prepare, threads: int, side: str) -> None:
    global _prepare
    import torch

    from i3d.utils.allocator import disable_malloc_trim

    _prepare = prepare
    torch.set_num_threads(threads)
    if side == OURS:
        disable_malloc_trim()


def _timed(name: str) -> tuple[float, Any]:
    import torch

    if name not in _ready:
        torch.manual_seed(0)
        _ready[name] = _prepare(name)
    start = time.perf_counter()
    given = _ready[name]()
    taken = time.perf_counter() - start
    return taken, given if isinstance(given, bool | float) else None
