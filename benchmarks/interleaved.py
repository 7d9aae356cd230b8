"""Time several contenders in interleaved rounds: this package's in one process, set up as the command `i3d` is, its
peers' in another, with PyTorch's defaults.

    with Processes(prepare, threads=2) as processes:         # prepare(name) -> the function to time
        seconds, _ = processes.interleave({"MMAction2": THEIRS, "i3d": OURS}, rounds=7)

All contenders stay in memory until the last round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

OURS: Final = "ours"
THEIRS: Final = "theirs"
WARM_UP: Final = 3  # rounds; memory that is freed is then reused
Prepare = Callable[[str], Callable[[], Any]]

_prepare: Prepare
_ready: dict[str, Callable[[], Any]] = {}


class Processes:
    """A process for this package, and one for its peers."""

    def __init__(self, prepare: Prepare, *, threads: int) -> None:
        self._processes = {
            side: ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=(prepare, threads, side))
            for side in (OURS, THEIRS)
        }

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.shutdown()

    def interleave(self, sides: Mapping[str, str], rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
        """The seconds of each in each round after the warm-up, and the value that each returned in the last."""
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        returned: dict[str, Any] = {}
        for number in range(WARM_UP + rounds):
            for name, side in sides.items():
                taken, returned[name] = self._processes[side].submit(_timed, name).result()
                if number >= WARM_UP:
                    seconds[name].append(taken)
        return seconds, returned


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
    value = _ready[name]()
    taken = time.perf_counter() - start
    return taken, value if isinstance(value, bool | float) else None
