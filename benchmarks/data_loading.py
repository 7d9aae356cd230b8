"""Clip loading against MMAction2's: the same videos, the same random starts, one core, interleaved in one run.

    pip install --no-deps --target DIR -r benchmarks/requirements.txt
    PYTHONPATH=DIR:benchmarks python benchmarks/data_loading.py VIDEOS... [--rounds 20] [--out table.md]

This package's time ends with the uint8 batch of its loader (the device normalises); MMAction2's with its collated
batch. `+ normalise` adds our normalisation on the same core. Freed memory is reused, by both.
Raw frames are extracted from the same videos first: short side 256, JPEG quality 95.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import peers_data
import torch

from i3d.data.annotations import Annotations, build_annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.rows import Rows
from i3d.models.engine.forward import normalize
from i3d.recipes.augmentation import Augmentation, TrainSampling
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import ClipProtocol
from i3d.utils.allocator import disable_malloc_trim
from i3d.video.reader import open_video
from i3d.video.transforms import resize_frame, short_side_size

RECIPE = named_recipe("i3d_r50_32x2x1_100e_kinetics400_rgb")
NAMES = FrameNaming("img_{:05d}.jpg", 1)
Run = Callable[[int, int], object]  # (video, round)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=20, help="random clips of each video")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    disable_malloc_trim()  # as the command `i3d` does; here for both
    os.sched_setaffinity(0, {options.core})
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for video in options.videos:
        with open_video(video) as opened:
            theirs, ours = len(peers_data._decord().VideoReader(str(video))), opened.num_frames
        if theirs != ours:  # an edit list hides frames from players, not from decord
            sys.exit(f"{video}: decord counts {theirs} frames, we {ours}: the random starts would not be the same")
    with tempfile.TemporaryDirectory() as folder:
        folders = [extract(video, Path(folder) / str(i)) for i, video in enumerate(options.videos)]
        lines = [*header(options.videos, options.rounds), *table(options.videos, folders, options.rounds)]
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if options.out is not None:
        options.out.write_text(text)


def extract(video: Path, folder: Path) -> Path:
    """The frames of a video as MMAction2 saves them."""
    folder.mkdir()
    with open_video(video) as opened:
        for i, frame_HWC in enumerate(opened.stream()):
            height, width = short_side_size(*frame_HWC.shape[:2], short_side=256)
            frame_HWC = resize_frame(frame_HWC, height=height, width=width)
            cv2.imwrite(str(folder / NAMES.name(i)), frame_HWC[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder


def table(videos: list[Path], folders: list[Path], rounds: int) -> list[str]:
    """One line for each kind of clip: both medians, and the ratio for each video with their geometric mean."""
    pre, protocol = RECIPE.preprocessing, RECIPE.protocol
    assert isinstance(protocol, ClipProtocol)
    sampling = TrainSampling(clip_len=protocol.clip_len, frame_interval=protocol.frame_interval)
    two_steps, fused = (TrainView(sampling, Augmentation(fused=value)) for value in (False, True))
    train = ClipDataset(of(videos), two_steps)
    lazy = ClipDataset(of(videos), fused)
    raw = ClipDataset(of(folders, is_frames=True), fused, naming=NAMES)
    test = ClipDataset(of(videos), TestView(protocol, pre))
    counts = [len(list(folder.iterdir())) for folder in folders]

    def normalized(dataset: ClipDataset) -> Run:
        return lambda v, r: normalize(dataset[r, v].clips_NVTHWC[:, 0], mean=pre.mean, std=pre.std)

    def their_train(v: int, r: int) -> object:
        return np.stack([peers_data.decord_train(videos[v], np.random.default_rng((0, r, v)))])

    def their_raw(v: int, r: int) -> object:
        return np.stack([peers_data.turbojpeg_lazy_train(folders[v], counts[v], np.random.default_rng((0, r, v)))])

    def our_test(v: int, r: int) -> object:
        return test[r, v].views_N[0]

    def our_test_views(v: int, r: int) -> object:
        return test[r, v].views_N[0].clips()

    def our_test_floats(v: int, r: int) -> object:
        views = test[r, v].views_N[0]
        return [normalize(views.clips(i, i + 1), mean=pre.mean, std=pre.std) for i in range(len(views))]

    few = max(rounds // 5, 2)
    rows = [
        ("training clip, video", their_train, [("two resamplings, as theirs", lambda v, r: train[r, v], rounds),
                                               ("fused resampling", lambda v, r: lazy[r, v], rounds),
                                               ("fused + normalise", normalized(lazy), rounds)]),
        ("training clip, raw frames, lazy", their_raw, [("fused resampling", lambda v, r: raw[r, v], rounds),
                                                        ("fused + normalise", normalized(raw), rounds)]),
        ("test video, 30 views", lambda v, _: np.stack([peers_data.decord_test(videos[v])]),
            [("frames and where the views lie", our_test, few), ("30 views written out", our_test_views, few),
             ("30 views + normalise", our_test_floats, few)]),
    ]  # fmt: skip
    lines = ["| clip | ours | MMAction2 ms | ours ms | ratio | of each video |", "|---|---|--:|--:|--:|--:|"]
    for name, theirs, variants in rows:
        for variant, ours, number in variants:
            pairs = compare(theirs, ours, len(videos), number)
            a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratios = [ratio(pairs[v :: len(videos)]) for v in range(len(videos))]
            mean = statistics.geometric_mean(ratios)
            each = ", ".join(f"{value:.2f}" for value in ratios)
            lines.append(f"| {name} | {variant} | {a:.1f} | {b:.1f} | **{mean:.2f}x** | {each} |")
    return lines


def of(paths: list[Path], *, is_frames: bool = False) -> Annotations:
    """Annotations of these files."""
    rows = Rows(is_frames=is_frames)
    for path in paths:
        frames = len(list(path.iterdir())) if is_frames else -1
        rows.add(str(path.resolve()), ("clip",), num_frames=frames)
    return build_annotations(rows, source=Path("benchmark"), root=Path("/"), allow_outside=True)


def ratio(pairs: list[tuple[float, float]]) -> float:
    """How many times as long theirs takes: of the medians, which one interruption does not move."""
    theirs, ours = zip(*pairs, strict=True)
    return statistics.median(theirs) / statistics.median(ours)


def compare(theirs: Run, ours: Run, num_videos: int, rounds: int) -> list[tuple[float, float]]:
    """(theirs, ours) in milliseconds for each video and round; who goes first alternates."""
    for v in range(num_videos):  # warm up
        theirs(v, 0)
        ours(v, 0)
    pairs = []
    for r in range(rounds):
        for v in range(num_videos):
            if (r + v) % 2:
                a, b = timed(theirs, v, r), timed(ours, v, r)
            else:
                b, a = timed(ours, v, r), timed(theirs, v, r)
            pairs.append((a, b))
    return pairs


def timed(run: Run, v: int, r: int) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    run(v, r)
    return 1000 * (time.perf_counter() - start)


def header(videos: list[Path], rounds: int) -> list[str]:
    """The hardware, the versions and the videos."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    cpu = names[0] if names else platform.machine()
    shapes = []
    for path in videos:
        with open_video(path) as video:
            height, width = video.frames_at([0]).frames_THWC.shape[1:3]
            shapes.append(f"{path.name} ({width}x{height}, {video.num_frames} frames)")
    return [
        f"One core of {cpu}; Python {platform.python_version()}, OpenCV {cv2.__version__}, torch {torch.__version__}; "
        f"{rounds} random clips of each video, 32 frames of stride 2, 224x224; videos: {', '.join(shapes)}.",
        "",
    ]


if __name__ == "__main__":
    main()
