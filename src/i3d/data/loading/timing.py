"""Time a clip's loading by stages. Off by default; then a lap is one comparison."""

import time
from typing import Final

STAGES: Final = ("open", "seek", "decode", "resize", "crop", "change", "collate")


class LoadTimer:
    """A stopwatch: each lap adds the time since the last one to a stage."""

    def __init__(self) -> None:
        self.is_on = False
        self.reset()
        self._last = 0.0

    def reset(self) -> None:
        """Set all stages to 0."""
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def start(self) -> None:
        """Begin the first lap."""
        if self.is_on:
            self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to a stage, and begin the next lap."""
        if self.is_on:
            now = time.perf_counter()
            self.seconds[stage] += now - self._last
            self._last = now
