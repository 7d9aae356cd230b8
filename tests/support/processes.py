"""Processes that a test starts, waits for and kills."""

import os
import signal
import subprocess
import time
from pathlib import Path

from support.paths import ROOT

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}


def start(arguments, log=None):
    """Start a process in a group of its own; what it prints goes to the end of `log`."""
    with (log or Path(os.devnull)).open("ab") as out:
        return subprocess.Popen(
            [str(word) for word in arguments],
            stdout=out,
            stderr=out,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )


def wait_until(condition, process, *, log=None, seconds=120):
    """Wait for a condition; fail if the process ends before it holds."""
    end = time.monotonic() + seconds
    while not condition():
        ended = process.poll() is not None
        assert not ended, f"it ended ({process.returncode}) too early: {log.read_text()[-3000:] if log else ''}"
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.005)


def kill_running(process, *, alone=False):
    """Kill a process and, unless `alone`, its group; fail if it had ended, because such a kill tests nothing."""
    (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL, f"the process had ended ({process.returncode}) before it was killed"
