"""Runs that are killed at any instant end as runs that were not: weights, EMA, optimiser and log to the bit."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress

import pytest

from support.training_runs import command, digests, finish, make_clips, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    """(what an uninterrupted run leaves, its seconds), with one and with two processes."""
    found = {}
    for num_processes in (1, 2):
        work_dir = tmp_path_factory.mktemp("whole") / f"run{num_processes}"
        begin = time.monotonic()
        finish(command(clips, work_dir, "--workers", "2", num_processes=num_processes))
        found[num_processes] = digests(work_dir), time.monotonic() - begin
    return found


def kill(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(("num_processes", "workers", "num_kills"), [(1, 0, 6), (1, 3, 6), (1, 1, 4), (2, 1, 5)])
def test_killed_at_random_instants(clips, whole, tmp_path, num_processes, workers, num_kills):
    wanted, seconds = whole[num_processes]
    rng = random.Random(os.environ.get("I3D_KILL_SEED", f"{num_processes} {workers}"))
    arguments = command(clips, tmp_path / "run", "--workers", str(workers), num_processes=num_processes)
    num_done = 0
    while num_done < num_kills:
        process = start(arguments)
        time.sleep(rng.uniform(0.3, 0.95) * seconds)
        is_over = process.poll() is not None
        kill(process)
        num_done += 1
        if is_over:  # the machine was quicker than expected: once more from the start
            assert digests(tmp_path / "run") == wanted
            shutil.rmtree(tmp_path / "run")
    finish(arguments)
    assert digests(tmp_path / "run") == wanted
