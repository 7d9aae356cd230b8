"""Worker processes: a job that kills its worker fails alone, and no script is run again by its workers."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from i3d.data.check.clip import ResourceLimits, run_limited
from i3d.errors import InputError
from i3d.utils import process_pool
from i3d.utils.process_pool import WorkerDied, run_jobs
from support.dying_jobs import exit_at_once, work


@pytest.mark.slow
def test_jobs_in_processes():
    results = dict(run_jobs(work, ["a", "die", "b", "c", "die", "exit"], num_workers=2))
    assert results[1] == results[4] == WorkerDied("exit code 7")
    assert results[5] == WorkerDied("exit code 0")
    assert [results[i][0] for i in (0, 2, 3)] == ["A", "B", "C"]
    assert os.getpid() not in {results[i][1] for i in (0, 2, 3)}
    with pytest.raises(InputError, match="raised for the caller"):
        list(run_jobs(work, ["a", "wrong", "b"], num_workers=1))
    assert list(run_jobs(work, ["a"], num_workers=0)) == [(0, ("A", os.getpid()))]
    assert list(run_jobs(work, [], num_workers=2)) == []


@pytest.mark.slow
@pytest.mark.parametrize("source", ["file", "standard input", "module"])
def test_workers_of_a_script_without_a_guard(tmp_path, source):
    code = """
        import multiprocessing
        import sys

        from support.dying_jobs import work
        from i3d.utils.process_pool import run_jobs

        print("started")
        print(sorted((index, result[0]) for index, result in run_jobs(work, ["a", "b", "c"], num_workers=2)))
        print(sys.modules["__main__"].__dict__ is globals(), multiprocessing.active_children())
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    arguments, stdin = {
        "file": ([str(script)], ""), "standard input": (["-"], script.read_text()), "module": (["-m", "script"], "")
    }[source]  # fmt: skip
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, *arguments],
        input=stdin, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["started", "[(0, 'A'), (1, 'B'), (2, 'C')]", "True []"]


@pytest.mark.slow
def test_workers_that_do_not_start(monkeypatch):
    monkeypatch.setattr(process_pool, "run_worker", exit_at_once)
    with pytest.raises(InputError, match=r"worker processes do not start \(exit code 3\); read their error above"):
        list(run_jobs(work, ["a"], num_workers=2))


def test_limits_of_a_job_are_those_of_a_worker():
    """Without workers, they would stay with the process of the caller."""
    before = [resource.getrlimit(kind) for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CORE)]
    handler = signal.getsignal(signal.SIGALRM)
    assert run_limited(1, str, limits=ResourceLimits(seconds=100.0, memory_bytes=1 << 30)) == "1"
    assert [resource.getrlimit(kind) for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CORE)] == before
    assert signal.getsignal(signal.SIGALRM) is handler
