"""Commands as a shell runs them, in this process: PyTorch is loaded once, not for each."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from unittest import mock

from i3d.cli.main import main
from support.paths import ROOT

I3D = [sys.executable, "-m", "i3d"]


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def run_here(words):
    """`i3d ...` or `python tools/....py ...`: its exit code and what it prints."""
    words = [str(word) for word in words]
    out, err = io.StringIO(), io.StringIO()
    if words[0] == "i3d":
        argv, start = words, main
    else:
        argv, start = words[1:], lambda: runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    code = 0
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            start()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return Done(code, out.getvalue(), err.getvalue())


def run(*args, **options):
    """`i3d ...` in a process of its own."""
    env = {**os.environ, "COLUMNS": "120", **options.pop("env", {})}
    return subprocess.run([*I3D, *map(str, args)], capture_output=True, text=True, env=env, timeout=120, **options)
