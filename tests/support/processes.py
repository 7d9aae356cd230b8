"""Processes that a test starts, waits for and kills."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from i3d.utils.outputs import locked_output
from support.paths import ROOT

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def start(words, log=None, *, ranks=1, terminal=""):
    """Start a process in a group of its own; what it prints goes to the end of `log`, or to a terminal.

    `i3d ...` and `python FILE ...` are forked from a server that has imported PyTorch; other commands are executed.
    """
    words, log = [str(word) for word in words], log or Path(os.devnull)
    environment = {**os.environ, **ENVIRONMENT}
    if words[0] in ("i3d", "python"):
        if sys.platform == "linux":
            return _Forked(words, log, environment, ranks, terminal)
        launcher = [*TORCHRUN, "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else [sys.executable]
        words = [*launcher, *(["-m", *words] if words[0] == "i3d" else words[1:])]
    with log.open("ab") as out:
        return subprocess.Popen(words, stdout=out, stderr=out, env=environment, start_new_session=True)


class _Forked:
    """A process of the fork server, with the methods of `Popen` that tests use."""

    def __init__(self, words, log, environment, ranks, terminal):
        server, folder = _fork_server()
        self._status = Path(tempfile.mkdtemp(dir=folder)) / "code"
        request = {"words": words, "ranks": ranks, "environment": environment, "folder": os.getcwd()}
        request["terminal"] = terminal
        print(json.dumps(request | {"log": str(log.absolute()), "status": str(self._status)}), file=server.stdin)
        self.pid = int(server.stdout.readline())
        self.returncode = None

    def poll(self):
        if self.returncode is None and self._status.exists():
            self.returncode = int(self._status.read_text())
        return self.returncode

    def wait(self, timeout):
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)


@lru_cache
def _fork_server():
    """The server, which ends with this process, and a folder of exit codes."""
    command = [sys.executable, ROOT / "tests" / "support" / "fork_server.py"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    server, folder = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, **pipes), tempfile.mkdtemp()
    atexit.register(_end, server, folder)
    return server, folder


def _end(server, folder):
    with server:
        server.stdin.close()
    shutil.rmtree(folder, ignore_errors=True)


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


@contextmanager
def locked_in_another_process(out):
    """Another process holds the lock of an output."""
    ready, ends = os.pipe()
    child = os.fork()
    if child == 0:
        with locked_output("", out):
            os.write(ends, b"1")
            signal.pause()
    os.read(ready, 1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(ends)
