"""Runs that are killed in any step end as runs that were not: weights, EMA, optimiser and log are bit-identical."""

import json
import random
import time

import pytest

from support.processes import kill_running, start, wait_until
from support.training_runs import command, digests, finish, make_clips, newest_step

pytestmark = pytest.mark.slow
EPOCHS = ("--epochs", "8")  # each has three steps, two with two ranks
PARTS_TO_KILL_IN = ((0.05, 0.25), (0.35, 0.55), (0.65, 0.8))  # of all steps; one kill in each


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def uninterrupted(clips, tmp_path_factory):
    """(steps, digests of the outputs) of a run that is not killed, with one and with two processes."""
    results = {}
    for num_processes in (1, 2):
        work_dir = tmp_path_factory.mktemp("uninterrupted") / "run"
        finish(command(clips, work_dir, *EPOCHS, "--workers", "2"), ranks=num_processes)
        results[num_processes] = newest_step(work_dir), digests(work_dir)
    return results


@pytest.mark.parametrize(("num_processes", "workers", "kills"), [(1, 0, 1), (1, 3, 3), (2, 1, 2)])
def test_killed_in_random_steps(clips, uninterrupted, tmp_path, num_processes, workers, kills):
    """A state is saved after each step; kills hit an instant of the step after it: loading, computing, saving."""
    rng = random.Random(f"{num_processes} {workers}")
    num_steps, expected = uninterrupted[num_processes]
    run, log = tmp_path / "run", tmp_path / "log"
    arguments = command(clips, run, *EPOCHS, "--workers", str(workers))
    killed_after = 0
    for part in PARTS_TO_KILL_IN[-kills:]:
        step = max(int(rng.uniform(*part) * num_steps), killed_after + 1)
        process = start(arguments, log, ranks=num_processes)
        wait_until(lambda at_least=step: newest_step(run) >= at_least, process, log=log)
        time.sleep(rng.uniform(0, 0.1))
        kill_running(process)
        assert killed_after < newest_step(run) < num_steps
        assert not json.loads((run / "run.json").read_text())["done"]
        killed_after = newest_step(run)
    assert f"resuming from step {killed_after} of {num_steps}" in finish(arguments, ranks=num_processes)
    assert digests(run) == expected
