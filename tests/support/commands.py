"""Commands as a shell runs them: in this process, where PyTorch is loaded once, or in a process of their own."""

import contextlib
import importlib
import io
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from unittest import mock

from i3d.cli.main import main, run_cli
from support.paths import ROOT

I3D = [sys.executable, "-m", "i3d"]


@dataclass(frozen=True)
class Result:
    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self):
        return self.stdout + self.stderr


def run_here(words, *, env=None, stdin=b""):
    """`i3d ...`, `python tools/....py ...` or `python -m MODULE ...` in this process: exit code and what it prints."""
    words, path = [str(word) for word in words], sys.path
    if words[0] == "i3d":
        argv, start = words, main
    elif words[1] == "-m":
        argv, start = words[2:], lambda: run_cli(importlib.import_module(words[2]).main)
    else:
        script = ROOT / words[1]
        argv, start = words[1:], lambda: runpy.run_path(str(script), run_name="__main__")
        path = [str(script.parent), *path]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code = 0
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(sys, "path", path),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
        mock.patch.dict(os.environ, env or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            start()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return Result(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def run(*words, env=None, **options):
    """`i3d WORDS` in this process, 120 columns wide."""
    return run_here(["i3d", *words], env={"COLUMNS": "120", **(env or {})}, **options)


def run_process(*words, env=None, **options):
    """`i3d WORDS` in a process of its own, for tests of the process itself: its start, streams and exit code."""
    env = {**os.environ, "COLUMNS": "120", **(env or {})}
    return subprocess.run([*I3D, *map(str, words)], capture_output=True, text=True, env=env, timeout=120, **options)


def commands_below(parent, words=()):
    """(name, app) of each command that does something."""
    if words and parent.default_command is not None:
        yield " ".join(words), parent
    for name, child in parent.resolved_commands().items():
        if not name.startswith("-"):
            yield from commands_below(child, (*words, name))
