"""A server that forks processes of `i3d`: modules are imported once, and a process starts in 0.05 s instead of 3 s.

`processes.start` uses it. A process is as if a shell had started it: with a group, a folder, an environment and streams
of its own. Several ranks have the variables that torchrun sets; their parent passes signals on and ends them together.
"""

import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
from pathlib import Path

import i3d
from i3d.cli.main import main

IMPORTED_LATE = ("torch._dynamo", "matplotlib.backends.backend_agg", "matplotlib.projections")  # by `i3d train`


def serve():
    names = [module.name for module in pkgutil.walk_packages(i3d.__path__, "i3d.")]
    for name in {*names, *IMPORTED_LATE} - {"i3d.__main__"}:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "other threads are not copied by a fork"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            watch(json.loads(line))


def watch(request):
    """Start the process and wait for it; its exit code becomes a file."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        become(request)
        run(request["words"], request["ranks"])
    code = wait_for(pid)
    unfinished = Path(request["status"] + ".part")
    unfinished.write_text(str(code))
    unfinished.rename(request["status"])
    os._exit(0)


def become(request):
    """Be the process that was asked for, before it runs."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(os.getpid(), flush=True)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["terminal"]:
        stdin = log = os.open(request["terminal"], os.O_RDWR)  # the terminal of the new session: its Ctrl-C arrives
    else:
        stdin = os.open(os.devnull, os.O_RDONLY)
        log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for target, source in ((0, stdin), (1, log), (2, log)):
        os.dup2(source, target)
    if request["terminal"]:  # the server's own streams are of a pipe and a file
        for number, (name, mode) in enumerate([("stdin", "r"), ("stdout", "w"), ("stderr", "w")]):
            setattr(sys, name, os.fdopen(number, mode, buffering=1, closefd=False))


def run(words, num_ranks):
    if num_ranks > 1:
        start_ranks(num_ranks)
    sys.argv = words if words[0] == "i3d" else words[1:]
    if words[0] == "i3d":
        main()
    else:
        runpy.run_path(words[1], run_name="__main__")
    sys.exit()


def start_ranks(num_ranks):
    """Return in each rank. The parent ends with the code of the first rank that fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(num_ranks):
        pid = os.fork()
        if pid == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_ranks)}
            os.environ |= {"LOCAL_WORLD_SIZE": str(num_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            return
        ranks.append(pid)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: [os.kill(pid, number) for pid in ranks])
    first_failure = 0
    while ranks:
        pid, status = os.wait()
        ranks.remove(pid)
        code = os.waitstatus_to_exitcode(status)
        if code and not first_failure:
            first_failure = code
            for other in ranks:
                os.kill(other, signal.SIGTERM)
    os._exit(first_failure % 256)


def wait_for(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    serve()
