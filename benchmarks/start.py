"""What `i3d predict` costs beside PyTorch's import and the network, for one short clip.

python benchmarks/start.py results [clip.mp4] --rounds 7

In each round, one after another, each in a new process: `import torch`; the network of `i3d predict` on the frames of
the clip, timed inside the process, its first call, as in the command; `i3d predict`. Without a clip, two seconds of
25 frames a second are rendered. The rest is everything else of the command: its other imports, options, weights,
decoding, table.

Results: start-MACHINE.csv.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from result_files import result_path, write_csv

from i3d.video.writer import write_video

TIMED_NETWORK = """
import sys, time
from unittest import mock
from i3d.inference.predictor import Predictor
from i3d.models.engine.engine import Engine
predictor, seconds, call = Predictor("inception_rgb_kinetics400"), [], Engine.__call__
def timed(engine, clips):
    start = time.perf_counter()
    logits = call(engine, clips)
    seconds.append(time.perf_counter() - start)
    return logits
with mock.patch.object(Engine, "__call__", timed):
    predictor(sys.argv[1])
print(sum(seconds))
"""


def main() -> None:
    """Measure in turns, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("clip", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = args.clip or _render(Path(folder) / "clip.mp4")
        rounds = [_round(clip) for _ in range(args.rounds + 1)][1:]  # the first one fills the cache of files
    parts = zip(("import torch", "network", "i3d predict", "rest"), zip(*rounds, strict=True), strict=True)
    rows = [{"part": part, **_spread(values)} for part, values in parts]
    write_csv(result_path(args.results, "start", threads=torch.get_num_threads()).with_suffix(".csv"), rows)


def _round(clip: Path) -> tuple[float, float, float, float]:
    """Seconds of the import, the network and the command, and what the command takes beside both."""
    imported, _ = _seconds("-c", "import torch")
    _, printed = _seconds("-c", TIMED_NETWORK, str(clip))
    network = float(printed.splitlines()[-1])
    command, _ = _seconds("-m", "i3d", "predict", str(clip), "--device", "cpu")
    return imported, network, command, command - imported - network


def _seconds(*words: str) -> tuple[float, str]:
    start = time.perf_counter()
    result = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, result.stdout


def _spread(values: tuple[float, ...]) -> dict[str, float]:
    numbers = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 2) for name, value in numbers.items()}


def _render(path: Path) -> Path:
    """A moving texture of 340 x 256 pixels."""
    texture = np.random.default_rng(0).integers(0, 256, (32, 43, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    frames = [np.roll(texture, 3 * k, axis=1)[:, :340] for k in range(50)]
    write_video(path, frames, fps=25)
    return path


if __name__ == "__main__":
    main()
