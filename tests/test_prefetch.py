"""Work done ahead: the same items, the same errors, and an end."""

import subprocess
import sys
import threading
import time

import pytest

from i3d.utils.prefetch import prefetch


def test_items_and_their_order():
    assert list(prefetch(iter(range(100)), most=3)) == list(range(100))
    assert list(prefetch(iter(()), most=1)) == []


def test_no_more_than_asked_for_is_made_ahead():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    taken = prefetch(items(), most=2)
    assert next(taken) == 0
    time.sleep(0.3)
    assert made == [0, 1, 2, 3]  # one taken, two waiting, one in hand
    assert list(taken) == list(range(1, 10))


def test_an_error_comes_behind_the_items_before_it():
    def items():
        yield 1
        raise ValueError("broken")

    taken = prefetch(items(), most=5)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="broken"):
        next(taken)


def test_who_stops_ends_the_thread_and_closes_what_was_open():
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    before = threading.active_count()
    taken = prefetch(items(), most=2)
    next(taken)
    taken.close()
    assert threading.active_count() == before
    assert closed
    assert closed[0] != threading.current_thread().name


LEFT = """
import atexit, sys, time
from i3d.utils import prefetch as ahead
from i3d.cli.main import told
ahead.PATIENCE_SECONDS = 0.1
atexit.register(lambda: print("at the end"))
def items():
    yield 0
    time.sleep(1000)
def command():
    made = ahead.ahead(items(), most=1)
    next(made)
    made.close()
    assert ahead.is_left()
    sys.exit(130)
told(command)
"""


def test_an_item_that_nobody_wants_does_not_change_how_a_command_ends():
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, "at the end\n"), done.stderr
