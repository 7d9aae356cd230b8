"""Where the time of loading a clip goes. Off by default, and then it costs nothing that can be measured."""

from __future__ import annotations

import time
from typing import Final

NAMES: Final = ("open", "seek", "decode", "resize", "crop", "change", "collate")


class LoadTimer:
    """A stopwatch with laps: each lap is added to what is named."""

    def __init__(self, *, on: bool = False) -> None:
        self.on = on
        self.seconds = dict.fromkeys(NAMES, 0.0)
        self._last = 0.0

    def reset(self) -> None:
        """Forget the laps so far."""
        self.seconds = dict.fromkeys(NAMES, 0.0)

    def start(self) -> None:
        """The next lap begins now."""
        if self.on:
            self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What has passed since the last lap was spent on `name`."""
        if self.on:
            now = time.perf_counter()
            self.seconds[name] += now - self._last
            self._last = now
