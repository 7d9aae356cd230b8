"""Signals that end a run: the step that is being made is finished, saved, and then the run ends.

A second signal ends it at once.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self


class Stopping:
    """While it is entered, SIGTERM, SIGINT and SIGUSR1 set `signal`, to be looked at between steps."""

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number
