"""`make tour`: from nothing to a tested classifier of motions, in commands that a user would type.

    python tools/tour.py build/tour         (from the root of the repository)

Stops at the first command that fails, and fails itself if fewer than 95 % of the held-out clips are recognised.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from i3d.utils.device import has_amx
from render_tour import CLASSES

LEAST_TOP1: Final = 0.95
CHANCE: Final = 1 / len(CLASSES)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    clips, run, cache, tested = out / "clips", out / "run", out / "cache", out / "test.json"
    for old in (clips, run, cache):  # features that are there already would make it look faster than it is
        shutil.rmtree(old, ignore_errors=True)
    data, model = clips / "clips.csv", run / "best.safetensors"
    twins = [clips / name / "test00.mp4" for name in ("moves_left", "moves_right")]
    precise = ["--precision", "auto" if has_amx() else "exact"]  # as `i3d train` chooses on a CPU
    begun = time.monotonic()
    _do("python", "tools/render_tour.py", clips)
    _do("i3d", "train", "--data", data, "--work-dir", run, "--cache", cache, "--yes")
    _do("i3d", "test", model, "--data", data, "--split", "test", *precise, "--out", tested)
    _do("i3d", "predict", *twins, "--model", model, "--top-k", "2", *precise)
    top1 = float(json.loads(tested.read_text(encoding="utf-8"))["figures"]["top1"])
    print("\nOne frame cannot tell: a clip and one of its opposite class have the same frames, and the middle one is")
    print(f"the same in all {len(CLASSES)} classes, so chance is {CHANCE:.1%} there.")
    print(f"Look at   {run / 'report.html'}")
    print(f"          {run / 'confusion.png'}")
    if top1 < LEAST_TOP1:
        sys.exit(f"error: {top1:.1%} of the held-out clips are recognised, fewer than {LEAST_TOP1:.0%}")
    print(f"{top1:.1%} of the held-out clips are recognised. The tour took {time.monotonic() - begun:.0f} s.")


def _do(program: str, *words: str | Path) -> None:
    """Show a command, run it with this Python, and say how long it took; a failure ends the tour."""
    told = shlex.join([program, *map(str, words)])
    print(f"\n$ {told}", flush=True)
    begun = time.monotonic()
    before = ["-m", "i3d"] if program == "i3d" else []
    done = subprocess.run([sys.executable, *before, *map(str, words)], check=False)
    if done.returncode:
        sys.exit(f"error: exit status {done.returncode} of: {told}")
    print(f"({time.monotonic() - begun:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
