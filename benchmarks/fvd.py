"""Time and memory of `i3d fvd`, and of `i3d features` on the same clips.

python benchmarks/fvd.py benchmarks/results               # time
python benchmarks/fvd.py benchmarks/results --alone fvd   # memory of `i3d fvd`, without the other command
python benchmarks/fvd.py results --alone fvd --stand-in   # the same in minutes: no network, blocks of its sizes

Clips of 16 frames, 256 x 256, H.264, rendered here, all different; one thread for the network. Both commands run in
this process on the whole set, and take turns after each `--block` clips: other work on the machine slows both down.
Times leave out loading the network; CPU seconds are those of the process. A row has one tenth of the clips. glibc
has a heap for each thread, and blocks of one do not serve the other, so that memory is measured without turns:
--alone runs one command in the first thread, as the command line does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

import numpy as np
import numpy.typing as npt
import torch
from result_files import Row, result_path, write_csv

from i3d.features import extract_features, load_extractor
from i3d.recipes import FeatureSettings
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig
from i3d.utils.progress import Progress
from i3d.video import write_video
from i3d.video_distance import fvd_protocol
from i3d.video_distance.clips import ClipReader
from i3d.video_distance.embed_set import SizeCheck, embed_set
from i3d.video_distance.embedding import Embedder, load_embedder
from i3d.video_distance.sources import open_set
from i3d.weights.pretrained import DEFAULT

FRAMES, SIDE = 16, 256
NUM_ROWS = 10
MAPS = (  # channels, frames, side
    (64, 8, 112), (64, 8, 56), (192, 8, 56), (192, 8, 28), (256, 8, 28), (480, 8, 28), (480, 4, 14), (512, 4, 14),
    (832, 4, 14), (1024, 2, 7),
)  # fmt: skip
Work = Callable[[Callable[[], None]], None]  # calls its argument after each clip


@dataclass
class Turns:
    """Lets two threads run in turns, and adds up the time that each of them takes."""

    block: int  # clips of a turn
    condition: threading.Condition = field(default_factory=threading.Condition)
    names: list[str] = field(default_factory=list)  # of the threads that run; the first one has its turn
    cpu: dict[str, list[float]] = field(default_factory=dict)  # seconds of each turn
    wall: dict[str, list[float]] = field(default_factory=dict)

    def run(self, works: dict[str, Work]) -> None:
        """Run each work, which calls its argument after each clip."""
        self.names = [*works]
        self.cpu, self.wall = {name: [] for name in works}, {name: [] for name in works}
        threads = [threading.Thread(target=self._run, args=(name, work)) for name, work in works.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _run(self, name: str, work: Work) -> None:
        number, last = 0, self._begin(name)

        def count() -> None:
            nonlocal number, last
            number += 1
            if number % self.block == 0:
                self._end(name, last)
                last = self._begin(name)

        try:
            work(count)
        finally:
            with self.condition:
                self.names.remove(name)
                self.condition.notify_all()

    def _begin(self, name: str) -> tuple[float, float]:
        with self.condition:
            self.condition.wait_for(lambda: self.names[0] == name)
        return time.process_time(), time.perf_counter()

    def _end(self, name: str, last: tuple[float, float]) -> None:
        self.cpu[name].append((time.process_time() - last[0]) / self.block)
        self.wall[name].append((time.perf_counter() - last[1]) / self.block)
        if name == "fvd":
            times = (f"{command} {1000 * seconds[-1]:.0f} ms" for command, seconds in self.cpu.items())
            print(len(self.cpu[name]) * self.block, *times, flush=True)
        with self.condition:
            self.names.append(self.names.pop(0))
            self.condition.notify_all()

    def rows(self) -> list[Row]:
        """A row of each tenth of the turns, and one of all: medians of the turns."""
        number = len(self.cpu["fvd"])
        size = max(1, number // NUM_ROWS)
        parts = [range(first, first + size) for first in range(0, number - size + 1, size)]
        return [self._row(part) for part in parts] + [{**self._row(range(number)), "clips": "all"}]

    def _row(self, part: range) -> Row:
        row: Row = {"clips": part.stop * self.block}
        for name in ("features", "fvd"):
            row |= {f"{name}_cpu_ms": round(1000 * statistics.median(self.cpu[name][k] for k in part), 1)}
            row |= {f"{name}_wall_ms": round(1000 * statistics.median(self.wall[name][k] for k in part), 1)}
        ratio = statistics.median(self.cpu["fvd"][k] / self.cpu["features"][k] for k in part)
        return {**row, "fvd_by_features": round(ratio, 3)}


def memory_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def render(folder: Path, number: int) -> None:
    """Textures that move, one random seed a clip."""
    folder.mkdir()
    for clip in range(number):
        rng = np.random.default_rng(clip)
        noise = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        speed = int(rng.integers(1, 9))
        write_video(folder / f"{clip:05}.mp4", [np.roll(noise, speed * k, axis=1) for k in range(FRAMES)], fps=25)


def commands(folder: Path, precision: str) -> dict[str, Work]:
    """Both commands on the clips of a folder."""
    compute = ComputeConfig(device="cpu", precision=precision, cache=Cache(folder / "cache"))  # type: ignore[arg-type]
    extractor = load_extractor(DEFAULT, FeatureSettings(window=FRAMES, stride=FRAMES, fps=None), compute=compute)
    protocol = fvd_protocol(frames=FRAMES)
    reader = ClipReader("real", protocol, load_embedder(DEFAULT, protocol, compute), compute.cache)
    print(f"both in {reader.embedder.engine.description}", flush=True)

    def features(count: Callable[[], None]) -> None:
        for _ in extract_features([str(folder / "clips")], folder / "out", extractor):
            count()

    def fvd(count: Callable[[], None]) -> None:
        def on_progress(progress: Progress) -> None:
            if progress.completed:
                count()

        embed_set(open_set(folder / "clips", "real"), reader, SizeCheck(), on_progress=on_progress)

    return {"features": features, "fvd": fvd}


def stand_in(_: Embedder, frames_THWC: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Random logits, beside maps of the sizes of Inception-I3D's that are allocated and freed."""
    scaled = torch.from_numpy(frames_THWC) * 2
    for channels, frames, side in MAPS:
        branches = [torch.empty(channels * frames * side * side // part, dtype=torch.bfloat16) for part in (1, 2, 2, 4)]
    logits_K: npt.NDArray[np.float32] = torch.rand(1, 400)[0].float().cpu().numpy()
    del scaled, branches
    return logits_K


def memory_rows(work: Work, number: int) -> list[Row]:
    """Memory after each tenth of the clips."""
    rows: list[Row] = []
    count = iter(range(1, number + 1))

    def on_clip() -> None:
        clips = next(count)
        if clips % max(1, number // NUM_ROWS) == 0:
            rows.append({"clips": clips, "memory_mb": round(memory_mb(), 1)})
            print(rows[-1], flush=True)

    work(on_clip)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of the table")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--block", type=int, default=10, help="clips of a turn")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--stand-in", action="store_true", help="allocate what the network does, and compute nothing")
    parser.add_argument("--alone", choices=("features", "fvd"), help="memory of one command")
    arguments = parser.parse_args()
    if arguments.stand_in and arguments.alone != "fvd":
        parser.error("--stand-in is for --alone fvd")
    name, alone = "fvd", arguments.alone
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder, "clips"), arguments.clips)
        works = commands(Path(folder), arguments.precision)
        if alone:
            name = f"memory-{alone}{'-stand-in' if arguments.stand_in else ''}"
            if arguments.stand_in:
                Embedder.__call__ = stand_in  # type: ignore[method-assign]
            rows = memory_rows(works[alone], arguments.clips)
        else:
            turns = Turns(arguments.block)
            turns.run(works)
            rows = turns.rows()
    table = result_path(arguments.results, name, threads=torch.get_num_threads()).with_suffix(".csv")
    write_csv(table, rows)
    for row in rows:
        print(row)
    print(f"wrote {table}")


if __name__ == "__main__":
    main()
