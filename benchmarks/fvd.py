"""Time and memory of `i3d fvd`, and of `i3d features` on the same clips, each number in its own process.

python benchmarks/fvd.py benchmarks/results --clips 100 1000 --rounds 3

Clips of 16 frames, 256 x 256, H.264, rendered here, all different; one thread for the network. Times leave out loading
the network and are CPU seconds of the process, which other work on the machine changes least. The peak is of the
whole process. The table has the median of the rounds, in which both commands take turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from i3d.features import extract_features, load_extractor
from i3d.recipes import FeatureSettings
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig
from i3d.video import write_video
from i3d.video_distance import fvd_protocol
from i3d.video_distance.clips import ClipReader
from i3d.video_distance.embed_set import SizeCheck, embed_set
from i3d.video_distance.embedding import load_embedder
from i3d.video_distance.sources import open_set
from i3d.weights.pretrained import DEFAULT

FRAMES, SIDE = 16, 256
COMMANDS = ("features", "fvd")
COLUMNS = ("command", "clips", "cpu_ms_per_clip", "wall_ms_per_clip", "peak_mb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of the table, or with --measure that of the clips")
    parser.add_argument("--clips", type=int, nargs="+", default=[100, 1000], help="numbers of clips")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=COMMANDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.results)))
        return
    rows = []
    for number in arguments.clips:
        with tempfile.TemporaryDirectory() as folder:
            render(Path(folder), number)
            rounds = [{one: in_child(one, folder) for one in COMMANDS} for _ in range(arguments.rounds)]
        for command in COMMANDS:
            medians = {key: statistics.median(one[command][key] for one in rounds) for key in COLUMNS[2:]}
            rows.append({"command": command, "clips": number} | {key: round(medians[key], 1) for key in medians})
            print(rows[-1], flush=True)
    table = arguments.results / "fvd-amd-epyc-1-threads.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {table}")


def render(folder: Path, number: int) -> None:
    """Textures that move, one random seed a clip."""
    for clip in range(number):
        rng = np.random.default_rng(clip)
        noise = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        speed = int(rng.integers(1, 9))
        write_video(folder / f"{clip:05}.mp4", [np.roll(noise, speed * k, axis=1) for k in range(FRAMES)], fps=25)


def in_child(command: str, folder: str) -> dict[str, float]:
    """The numbers of one command on all clips of a folder."""
    words = [sys.executable, __file__, folder, "--measure", command]
    child = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    numbers: dict[str, float] = json.loads(child.stdout.splitlines()[-1])
    return numbers


def measure(command: str, clips: Path) -> dict[str, float]:
    """CPU and wall milliseconds of each clip, and the peak memory of this process."""
    with tempfile.TemporaryDirectory() as folder:
        compute = ComputeConfig(device="cpu", cache=Cache(Path(folder, "cache")))
        if command == "features":
            extractor = load_extractor(
                DEFAULT, FeatureSettings(window=FRAMES, stride=FRAMES, fps=None), compute=compute
            )
            cpu, wall = time.process_time(), time.perf_counter()
            number = len(list(extract_features([str(clips)], Path(folder, "out"), extractor)))
        else:
            protocol = fvd_protocol(frames=FRAMES)
            reader = ClipReader("real", protocol, load_embedder(DEFAULT, protocol, compute), compute.cache)
            cpu, wall = time.process_time(), time.perf_counter()
            number = embed_set(open_set(clips, "real"), reader, SizeCheck()).number
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_ms_per_clip": 1000 * cpu / number, "wall_ms_per_clip": 1000 * wall / number, "peak_mb": peak}


if __name__ == "__main__":
    main()
