"""The passes of the network of a stream, in a thread of their own: the stream reports each second also during one."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from math import ceil
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from i3d.streaming.budget import HEADROOM
from i3d.streaming.names import Policy
from i3d.streaming.results import LagLog
from i3d.streaming.scorer import WindowScorer
from i3d.timelines.scores import Scores, SlidingWindows
from i3d.utils.prefetch import counts_as_producer
from i3d.video.live import Clock

MIN_PASSES: Final = 3  # whose median is compared with the stride
BUDGET_UNIT, MAX_BUDGET = 0.1, 60.0  # seconds: a recommended budget is rounded up; the command takes no longer one
T = TypeVar("T")


class Passes:
    """One pass at a time. Call `close` at the end."""

    def __init__(self, scorer: WindowScorer, clock: Clock = time.monotonic) -> None:
        self._scorer, self._clock = scorer, clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._running: Future[tuple[Scores, float]] | None = None
        self._seconds, self._num_passes = LagLog(), 0

    @property
    def median_seconds(self) -> float | None:
        """Of the newest 1,000 passes; None before the third."""
        return self._seconds.quantile(0.5) if self._num_passes >= MIN_PASSES else None

    def warm_up(self, *, batch: int, frames: int) -> None:
        """Run `batch` windows of noise, in the same thread."""
        self._submit(lambda: self._scorer.warm_up(batch=batch, frames=frames)).result()

    def start(self, clips: Sequence[npt.NDArray[np.uint8]], *, name: str) -> None:
        """Begin a pass of windows (T, H, W, C)."""

        def run() -> tuple[Scores, float]:
            start = self._clock()
            scores_WK = self._scorer(list(clips), name=name)
            end = self._clock()
            self._seconds.add(end - start)
            self._num_passes += 1
            return scores_WK, end

        self._running = self._submit(run)

    def is_done(self, *, until: float) -> bool:
        """Whether the pass has ended; waits for it until the time `until`."""
        assert self._running is not None
        return bool(wait([self._running], max(0.0, until - self._clock())).done)

    def result(self) -> tuple[Scores, float]:
        """Probabilities (W, K) of the windows, and when the pass ended. Its error, if it failed."""
        assert self._running is not None
        return self._running.result()

    def close(self, *, is_abandoned: bool = False) -> None:
        """Wait for the pass that runs, unless the process ends."""
        self._executor.shutdown(wait=not is_abandoned, cancel_futures=True)

    def _submit(self, function: Callable[[], T]) -> "Future[T]":
        def run() -> T:
            with counts_as_producer():
                return function()

        return self._executor.submit(run)


def slow_network(pass_seconds: float, windows: SlidingWindows, policy: Policy, *, speed: float = 1.0) -> str:
    """What a machine that needs longer than the stride leads to, and what helps; "" for one that keeps up.

    `speed`: of the source; at twice its pace, the stride passes in half the time.
    """
    step = windows.step / speed
    if pass_seconds <= step:
        return ""
    so = "windows are skipped" if policy == "newest" else "the source waits"
    what = f"a pass takes {pass_seconds:.2g} s, longer than the stride of {step:.2g} s, and {so}"
    if pass_seconds <= windows.step:
        return f"{what}; give a lower --speed than {speed:g}"
    slot = windows.interval / windows.fps
    budget = min(BUDGET_UNIT * ceil(((1 + HEADROOM) * pass_seconds + slot) / BUDGET_UNIT), MAX_BUDGET)
    return f"{what}; `i3d stream --budget-ms {1000 * budget:.0f}` measures, and chooses stride, precision and runtime"
