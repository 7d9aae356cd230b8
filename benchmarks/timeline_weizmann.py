"""Segments of long videos of persons who are not in training: clips of Weizmann with gaps between them.

python benchmarks/timeline_weizmann.py results weizmann/index.csv

The clips of each person (four actions, each also mirrored) become one video, in an order drawn by a seed. In gaps of
2 to 5 s, before the first clip and behind the last too, the person stands still: the last frame of one clip, then the
first one of the next. All frames have noise of a camera. Nobody labels the gaps. The persons are divided:

- train: p0, p1, p3, p4. `i3d train --data train.json --background --flip off`, with windows of 16 x 4 frames of 200 x
  200 pixels: a fifth of the time of 64 frames of 224 x 224. Mirror images are among the clips already.
- tune: p6, p7. `i3d timeline --tune tune.json`.
- test: p2, p5, p8, whose windows are scored once; segments by default settings and by the tuned ones.

Results: timeline-weizmann-MACHINE.csv. The exit code is 1 if the first metric is below 0.9.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from result_files import machine_name, result_path, write_csv

from i3d.data.resume import ResumeLog
from i3d.data.segments.read import read_segments
from i3d.data.segments.segment import VideoSegments
from i3d.data.segments.write import write_segments
from i3d.evaluation import score_segments
from i3d.inference import Predictor
from i3d.recipes.segments import SegmentSettings
from i3d.timelines.find import BETWEEN, Block, ScoredVideo, TimelineFinder, TimelineOptions
from i3d.timelines.segmentation import find_segments
from i3d.video.base import FrameHWC
from i3d.video.reader import open_video
from i3d.video.writer import write_video
from i3d.weights.checkpoint import load_checkpoint

PERSONS: Final = {"train": ("p0", "p1", "p3", "p4"), "tune": ("p6", "p7"), "test": ("p2", "p5", "p8")}
FPS: Final = 25
GAP: Final = (2.0, 5.0)  # seconds
NOISE: Final = 2.0  # standard deviation, of 255
METRICS: Final = ("mean_average_precision@0.5", "mean_average_precision", "f1@50", "event_f1", "frame_accuracy")
LEAST: Final = 0.9  # of the first metric; below it, the exit code is 1
SETTINGS: Final = {
    "preprocessing.short_side": 200,
    "preprocessing.crop": 200,
    "protocol.clip_len": 16,
    "protocol.frame_interval": 4,
}
Clip = tuple[str, npt.NDArray[np.uint8]]  # label and frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("list", type=Path, help="the list of the clips: file, label, group")
    parser.add_argument("--work-dir", type=Path, help="folder of videos and model, which a second run reuses")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    out = result_path(asked.out, "timeline-weizmann", threads=torch.get_num_threads()).with_suffix(".csv")
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.work_dir or Path(temporary)
        for split, persons in PERSONS.items():
            render_split(folder, split, persons, asked.list, seed=asked.seed)
        rows = []
        for row in measure(folder):
            rows.append(row)
            write_csv(out, rows)
            print(row, flush=True)
    print(f"{machine_name(torch.get_num_threads())}: {out}")
    if worst := [row for row in rows if row.get(METRICS[0], 0.0) < LEAST]:
        sys.exit(f"{METRICS[0]} below {LEAST}: {', '.join(row['settings'] for row in worst)}")


def measure(folder: Path) -> Iterator[dict[str, Any]]:
    """Train, test, tune and test by the commands of a user; a row of metrics for each settings."""
    model, tuned = folder / "model", folder / "tuned.safetensors"
    flags = ["--flip", "off", *(word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}"))]
    i3d("train", "--data", folder / "train.json", "--background", "--work-dir", model, "--yes", *flags)
    scored, labels = score_test(folder), load_checkpoint(model / "best.safetensors")[1].labels
    yield row_of(folder, "default", SegmentSettings(), scored, labels)
    if not tuned.exists():
        videos = sorted((folder / "tune").glob("*.mp4"))
        i3d("timeline", *videos, "--model", model, "--tune", folder / "tune.json", "--tune-out", tuned)
    chosen = load_checkpoint(tuned)[1].timeline
    assert chosen is not None
    yield row_of(folder, "tuned", chosen.settings, scored, labels)


def row_of(
    folder: Path, name: str, settings: SegmentSettings, scored: Sequence[ScoredVideo], labels: Sequence[str]
) -> dict[str, Any]:
    """The metrics of the tested videos; their segments are written to the folder."""
    predicted = []
    for one in scored:
        scores_WK = one.scores_WK.astype(np.float64)
        segments = find_segments(scores_WK, labels, settings, step=one.windows.step, seconds=one.seconds)
        predicted.append(VideoSegments(one.path, segments, one.seconds))
    write_segments(folder / f"{name}.json", predicted, force=True)
    scores = score_segments(predicted, read_segments(folder / "test.json"))
    values = {metric: round(value, 4) for metric in METRICS if (value := scores.value(metric)) is not None}
    counts = {"videos": scores.num_videos, "segments": scores.num_true}
    return {"settings": name, **counts, **values, **dict(settings)}


def score_test(folder: Path) -> list[ScoredVideo]:
    """The windows of the tested videos; their scores are logged in the folder, and reused."""
    finder = TimelineFinder(Predictor(folder / "model"), TimelineOptions())
    paths = [str(path) for path in sorted((folder / "test").glob("*.mp4"))]
    with ResumeLog[Block](
        folder / "scores", finder.settings, paths,
        encode=dict, decode=dict, item_of=lambda key: key.partition(BETWEEN)[0],
    ) as log:  # fmt: skip
        return [finder.score(path, log=log) for path in paths]


def i3d(*words: str | Path) -> None:
    """Run a command of i3d; what it prints is printed."""
    print("i3d", *words, flush=True)
    subprocess.run([sys.executable, "-m", "i3d", *map(str, words)], check=True)


def render_split(folder: Path, split: str, persons: Sequence[str], index: Path, *, seed: int) -> None:
    """A video of each person below `folder/split`, and `folder/split.json` with their segments."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    database = {}
    for person in persons:
        path, random = folder / split / f"{person}.mp4", np.random.default_rng((seed, int(person[1:])))
        clips = list(clips_of(index, person))
        frames, segments = strung_together([clips[place] for place in random.permutation(len(clips))], random)
        if not path.exists():
            write_video(path, frames, fps=FPS)
        annotations = [{"segment": [start / FPS, stop / FPS], "label": label} for start, stop, label in segments]
        database[f"{split}/{path.name}"] = {"duration": len(frames) / FPS, "annotations": annotations}
    (folder / f"{split}.json").write_text(json.dumps({"database": database}, indent=1) + "\n")


def clips_of(index: Path, person: str) -> Iterator[Clip]:
    """The clips of a person."""
    with index.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] == person]
    for row in rows:
        with open_video(index.parent / row["file"]) as video:
            yield row["label"], np.stack(list(video.stream()))


def strung_together(
    clips: Sequence[Clip], random: np.random.Generator
) -> tuple[list[FrameHWC], list[tuple[int, int, str]]]:
    """The frames of a long video, and its segments: first frame, frame behind the last, label."""
    frames: list[FrameHWC] = []
    segments = []
    ends = [clip_THWC[[0, -1]] for _, clip_THWC in clips]
    for number in range(len(clips) + 1):
        length = int(random.uniform(*GAP) * FPS)
        before = ends[max(number - 1, 0)][1 if number else 0]
        after = ends[min(number, len(clips) - 1)][0 if number < len(clips) else 1]
        frames += [noisy(before, random) for _ in range(length // 2)]
        frames += [noisy(after, random) for _ in range(length - length // 2)]
        if number < len(clips):
            label, clip_THWC = clips[number]
            segments.append((len(frames), len(frames) + len(clip_THWC), label))
            frames += [noisy(frame_HWC, random) for frame_HWC in clip_THWC]
    return frames, segments


def noisy(frame_HWC: FrameHWC, random: np.random.Generator) -> FrameHWC:
    """A frame with the noise of a camera."""
    noise_HWC = random.normal(0, NOISE, frame_HWC.shape)
    return np.clip(frame_HWC + noise_HWC, 0, 255).round().astype(np.uint8)


if __name__ == "__main__":
    main()
