"""Dense features (windows of 64 frames, one from each frame on) of the middle of a 2-minute clip: windows that share
their work against a plain loop that reads, resizes and runs each by itself, in turns.

python benchmarks/dense_features.py
"""

import os
import statistics
import tempfile
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command `i3d` has it

import numpy as np
import torch

from i3d.data.views import resized
from i3d.features import extractor_of
from i3d.models.overlapping import NUM_WINDOWS
from i3d.recipes.features import FeatureSettings
from i3d.video.reader import open_video
from i3d.video.transforms import center_crop, normalize
from i3d.video.writer import write_video

NUM_FRAMES, WINDOW, HEIGHT, WIDTH = 3000, 64, 256, 340
ROWS, ROUNDS = 8 * NUM_WINDOWS, 3


def main() -> None:
    source = extractor_of("inception_rgb_kinetics400", FeatureSettings(window=WINDOW, stride=1))
    (stream,) = source.extractor.streams
    engine, pre = stream.engine, stream.preprocessing

    def by_itself(clip: Path, first: int) -> np.ndarray:
        with open_video(clip) as video:
            small = partial(resized, video, short_side=pre.short_side)
            frames_THWC = video.frames_at(list(range(first, first + WINDOW)), transform=small).frames_THWC
            clip_1THWC = torch.from_numpy(center_crop(frames_THWC, size=pre.crop).copy())[None]
            return engine.pooled(normalize(clip_1THWC, mean=pre.mean, std=pre.std))[0].numpy()

    ratios, shared = [], []
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_video(clip, (frame(number) for number in range(NUM_FRAMES)), fps=Fraction(25))
        for _ in range(ROUNDS):
            marks: list[float] = []
            with open_video(clip) as video:
                tell = lambda _, marks=marks: marks.append(time.perf_counter())  # noqa: E731
                rows = source.extractor(video, max_rows=ROWS, on_row=tell).values
            shared.append((marks[-1] - marks[1]) / (ROWS - 2 * NUM_WINDOWS))  # the first windows have nothing to share
            start = time.perf_counter()
            alone = [by_itself(clip, first) for first in range(ROWS // 2, ROWS // 2 + NUM_WINDOWS)]
            plain = (time.perf_counter() - start) / NUM_WINDOWS
            ratios.append(plain / shared[-1])
            print(f"shared {shared[-1]:.3f} s a row, plain {plain:.3f}: {ratios[-1]:.2f} times as fast", flush=True)
    apart = max(np.abs(a - b).max() / np.abs(a).max() for a, b in zip(alone, rows[ROWS // 2 :], strict=False))
    minutes, ratio = statistics.median(shared) * (NUM_FRAMES - WINDOW + 1) / 60, statistics.median(ratios)
    print(f"median {ratio:.2f} times; rows are {apart:.1e} of their largest number apart")
    print(f"{NUM_FRAMES} frames: {minutes:.0f} minutes; by the plain loop {minutes * ratio:.0f}")


def frame(number: int) -> np.ndarray:
    """A texture that moves by two pixels a frame."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    shades = 128 + 60 * np.sin((columns + 2 * number) / 9) * np.cos(rows / 13)
    return np.repeat(shades.astype(np.uint8)[..., None], 3, axis=2)


if __name__ == "__main__":
    main()
