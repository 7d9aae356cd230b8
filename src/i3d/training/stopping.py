"""Signals that end a run: the step that is being made is finished, saved, and then the run ends.

A second signal ends it at once: Ctrl-C as an interrupt, which leaves the terminal as it was, a third one without that.
"""

import ctypes
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Final, Self

PR_SET_PDEATHSIG: Final = 1  # of prctl(2)


class Stopping:
    """While it is entered, SIGTERM, SIGINT and SIGUSR1 set `signal`, which is checked between steps."""

    def __init__(self) -> None:
        self.signal = 0
        self._is_interrupted = False
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
        if self.signal and number == signal.SIGINT and not self._is_interrupted:
            self._is_interrupted = True
            raise KeyboardInterrupt
        if self.signal:
            os._exit(128 + number)
        self.signal = number


def die_with_launcher() -> None:
    """A process that torchrun started ends when torchrun is killed, instead of waiting for the others for ever."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # it was killed before
        os._exit(128 + signal.SIGKILL)
