"""`make tour`: renders clips of six motions, fine-tunes on them, tests and predicts, by the commands of a user.

    python tools/tour.py build/tour         (from the root of the repository)

It stops at the first command that fails, and fails if the test accuracy is below 95 %.
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

MIN_TOP1: Final = 0.95
CHANCE: Final = 1 / len(CLASSES)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    clips, run, cache, tested = out / "clips", out / "run", out / "cache", out / "test.json"
    for old in (clips, run, cache):  # cached features would make the tour look faster than it is
        shutil.rmtree(old, ignore_errors=True)
    data, model = clips / "clips.csv", run / "best.safetensors"
    opposites = [clips / name / "test00.mp4" for name in ("moves_left", "moves_right")]
    precise = ["--precision", "auto" if has_amx() else "fp32"]  # as `i3d train` chooses on a CPU
    started_at = time.monotonic()
    _do("python", "tools/render_tour.py", clips)
    _do("i3d", "train", "--data", data, "--work-dir", run, "--cache", cache, "--yes")
    _do("i3d", "test", model, "--data", data, "--split", "test", *precise, "--out", tested)
    _do("i3d", "predict", *opposites, "--model", model, "--top-k", "2", *precise)
    (protocol,) = json.loads(tested.read_text(encoding="utf-8"))["protocols"].values()
    top1 = float(protocol["metrics"]["top1"])
    print("\nNo single frame shows the class: opposite classes have the same frames in reverse order, and the middle")
    print(f"frame is the same in all {len(CLASSES)} classes. From one frame, chance is {CHANCE:.1%}.")
    print(f"Open {run / 'report.html'}")
    print(f"     {run / 'confusion.png'}")
    if top1 < MIN_TOP1:
        sys.exit(f"error: the test accuracy is {top1:.1%}, below {MIN_TOP1:.0%}")
    print(f"The test accuracy is {top1:.1%}. The tour took {time.monotonic() - started_at:.0f} s.")


def _do(program: str, *words: str | Path) -> None:
    """Print a command, run it with this Python, and print its duration. A failure ends the tour."""
    command = shlex.join([program, *map(str, words)])
    print(f"\n$ {command}", flush=True)
    started_at = time.monotonic()
    module = ["-m", "i3d"] if program == "i3d" else []
    result = subprocess.run([sys.executable, *module, *map(str, words)], check=False)
    if result.returncode:
        sys.exit(f"error: exit status {result.returncode} of: {command}")
    print(f"({time.monotonic() - started_at:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
