"""Time and memory of reading lists of 250,000 clips, each format in its own process.

python benchmarks/lists.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from i3d.data.formats.read import read_annotations
from i3d.data.labels import dataset_labels

N = 250_000
UCF101 = dataset_labels("ucf101") or ()
KINETICS = "label,youtube_id,time_start,time_end,split\n"
# name of the list, first line, line i, number of lines
LISTS: list[tuple[str, str, Callable[[int], str], int]] = [
    ("videos.txt", "", lambda i: f"class_{i % 400}/video_{i:07d}.mp4 {i % 400}\n", N),
    ("frames.txt", "", lambda i: f"class_{i % 400}/video_{i:07d} {100 + i % 200} {i % 400}\n", N),
    ("multi.txt", "", lambda i: f"class_{i % 400}/video_{i:07d} {100 + i % 200} {i % 400} {i * 7 % 400}\n", N),
    ("groups.csv", "path,label,split,group\n", lambda i: f"c/{i:07d}.mp4,class {i % 400},train,g{i // 4}\n", N),
    ("lines.jsonl", "", lambda i: json.dumps({"path": f"c/{i:07d}.mp4", "label": f"class {i % 400}"}) + "\n", N),
    ("kinetics.csv", KINETICS, lambda i: f"class {i % 400},abc{i:08d},{i % 100},{i % 100 + 10},train\n", N),
    (
        "trainlist01.txt",
        "",
        lambda i: f"{UCF101[i % 101]}/v_{UCF101[i % 101]}_g{i // 7:02d}_c{i}.avi {i % 101 + 1}\n",
        N,
    ),
    ("something-v1-train.csv", "", lambda i: f"{i};Holding something {i % 174}\n", N),
    ("million.csv", "path,label\n", lambda i: f"c/{i:07d}.mp4,class {i % 400}\n", 1_000_000),
]


def main() -> None:
    if len(sys.argv) > 1:
        return read(Path(sys.argv[1]))
    print(f"{'list':<24}{'lines':>10}{'CPU seconds':>14}{'peak MB':>10}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, header, line, number in LISTS:
            path = Path(folder, name)
            path.write_text(header + "".join(line(i) for i in range(number)))
            subprocess.run([sys.executable, __file__, str(path)], check=True)
    return None


def read(path: Path) -> None:
    several = path.name == "multi.txt"
    start = time.process_time()
    annotations = read_annotations(path, multi_label=several, format="frames" if several else "auto")
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{path.name:<24}{len(annotations):>10,}{seconds:>14.2f}{peak:>10.0f}", flush=True)


if __name__ == "__main__":
    main()
