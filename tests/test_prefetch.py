"""A prefetched iterator gives the same items and errors, and its thread ends with its consumer."""

import subprocess
import sys
import threading
import time

import pytest

from i3d.utils.prefetch import prefetch


def test_the_items_and_their_order():
    assert list(prefetch(iter(range(100)), max_ahead=3)) == list(range(100))
    assert list(prefetch(iter(()), max_ahead=1)) == []


def test_the_producer_waits_for_its_consumer():
    produced = []

    def items():
        for number in range(10):
            produced.append(number)
            yield number

    fetched = prefetch(items(), max_ahead=2)
    assert next(fetched) == 0
    time.sleep(0.3)
    assert produced == [0, 1, 2, 3]  # one consumed, two in the queue, one waiting to be queued
    assert list(fetched) == list(range(1, 10))


def test_an_error_follows_the_items_before_it():
    def items():
        yield 1
        raise ValueError("broken")

    fetched = prefetch(items(), max_ahead=5)
    assert next(fetched) == 1
    with pytest.raises(ValueError, match="broken"):
        next(fetched)


def test_closing_ends_the_thread_and_closes_the_iterator():
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    before = threading.active_count()
    fetched = prefetch(items(), max_ahead=2)
    next(fetched)
    fetched.close()
    assert threading.active_count() == before
    assert closed
    assert closed[0] != threading.current_thread().name


INTERRUPTED_JOIN = """
import os, signal, time
from i3d.utils import prefetch
def items():
    yield 0
    time.sleep(1000)
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
fetched = prefetch.prefetch(items(), max_ahead=1)
next(fetched)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    fetched.close()
except KeyboardInterrupt:
    print(prefetch.has_running_producer(), flush=True)
os._exit(0)
"""


def test_a_producer_whose_join_was_interrupted_still_runs():
    """Python takes the thread for ended then, and would stop it inside compiled code at its own end."""
    result = subprocess.run([sys.executable, "-c", INTERRUPTED_JOIN], capture_output=True, text=True, timeout=60)
    assert result.stdout == "True\n", result.stderr


RUNNING_PRODUCER = """
import atexit, sys, time
from i3d.cli.main import run_cli
from i3d.utils import prefetch
prefetch.JOIN_SECONDS = 0.1
atexit.register(lambda: print("at the end"))
def items():
    yield 0
    time.sleep(1000)
def command():
    fetched = prefetch.prefetch(items(), max_ahead=1)
    next(fetched)
    fetched.close()
    assert prefetch.has_running_producer()
    sys.exit(130)
run_cli(command)
"""


def test_a_running_producer_does_not_change_the_exit_code():
    run = subprocess.run([sys.executable, "-c", RUNNING_PRODUCER], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (130, "at the end\n"), run.stderr
