"""Dense features (windows of 64 frames, stride 1) of the middle of a 2-minute clip, in interleaved rounds:

- shared: as `i3d features` runs them: overlapping windows share their work,
- engine: each window read, resized and run alone, on the same engine in the same process,
- plain: the same loop with the network of `load_model`, in its own process with PyTorch's defaults.

python benchmarks/dense_features.py results          # results/dense-features-MACHINE.csv and .png
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from result_files import BLUE, GREY, Row, draw_bars, machine_name, result_path, write_csv

import i3d
from i3d.data.loading.preprocess import resize_checked
from i3d.features.extract import load_extractor
from i3d.features.extractor import FeatureExtractor
from i3d.models.engine.forward import normalize
from i3d.models.engine.overlap import NETWORK_STRIDE_T
from i3d.models.network import VideoNetwork
from i3d.recipes.features import FeatureSettings
from i3d.recipes.settings import Preprocessing
from i3d.utils.allocator import disable_malloc_trim
from i3d.video.reader import open_video
from i3d.video.transforms import center_crop
from i3d.video.writer import write_video

NETWORK = "inception_rgb_kinetics400"
NUM_FRAMES, WINDOW, HEIGHT, WIDTH = 3000, 64, 256, 340
ROWS, ROUNDS = 8 * NETWORK_STRIDE_T, 3
FIRST = ROWS // 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    disable_malloc_trim()  # as the command `i3d` does
    extractor = load_extractor(NETWORK, FeatureSettings(window=WINDOW, stride=1))
    seconds: dict[str, list[float]] = {"shared": [], "engine": [], "plain": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as other_process,
    ):
        clip = Path(folder) / "clip.mp4"
        write_video(clip, (frame(number) for number in range(NUM_FRAMES)), fps=Fraction(25))
        other_process.submit(plain, clip).result()  # to load and warm up
        for _ in range(ROUNDS):
            features_RC, of_row = shared(extractor, clip)
            alone, of_window = engine(extractor, clip)
            for name, value in (("shared", of_row), ("engine", of_window)):
                seconds[name].append(value)
            seconds["plain"].append(other_process.submit(plain, clip).result())
            print({name: round(values[-1], 3) for name, values in seconds.items()}, flush=True)
    apart = np.abs(alone - features_RC[FIRST : FIRST + NETWORK_STRIDE_T]).max() / np.abs(alone).max()
    print(f"rows are {apart:.1e} of their largest number apart")
    rows = [row_of(name, seconds) for name in seconds]
    for row in rows:
        print(row)
    threads = torch.get_num_threads()
    table = result_path(out, "dense-features", threads=threads)
    write_csv(table.with_suffix(".csv"), rows)
    values = {row["what"]: row["seconds_a_row"] for row in rows}
    labels = [f"{row['seconds_a_row']} s, {row['times_shared']} times" for row in rows]
    title = f"Windows of {WINDOW} frames, stride 1: {machine_name(threads)}"
    draw_bars(table.with_suffix(".png"), values, labels, [BLUE, GREY, GREY], title=title, axis="seconds a row")


def row_of(name: str, seconds: dict[str, list[float]]) -> Row:
    """Medians; the ratio is the median of those of the rounds."""
    median = statistics.median(seconds[name])
    return {
        "what": name,
        "seconds_a_row": round(median, 3),
        "times_shared": round(
            statistics.median(b / a for a, b in zip(seconds["shared"], seconds[name], strict=True)), 2
        ),
        "minutes_of_2_minutes": round(median * (NUM_FRAMES - WINDOW + 1) / 60, 1),
        "torch": torch.__version__,
    }


def shared(extractor: FeatureExtractor, clip: Path) -> tuple[np.ndarray, float]:
    """Rows, and seconds of each but the first, whose windows have nothing to share."""
    marks: list[float] = []
    with open_video(clip) as video:
        rows = extractor(video, max_rows=ROWS, on_progress=lambda _: marks.append(time.perf_counter())).values
    return rows, (marks[-1] - marks[2]) / (ROWS - 2 * NETWORK_STRIDE_T)


def engine(extractor: FeatureExtractor, clip: Path) -> tuple[np.ndarray, float]:
    (stream,) = extractor.streams
    return by_themselves(clip, stream.engine.pooled, stream.preprocessing)


def plain(clip: Path) -> float:
    net = network()
    with torch.inference_mode():
        return by_themselves(clip, net.pooled, net.preprocessing)[1]


@cache
def network() -> VideoNetwork:
    return i3d.load_model(NETWORK)


def by_themselves(
    clip: Path, pooled: Callable[[torch.Tensor], torch.Tensor], pre: Preprocessing
) -> tuple[np.ndarray, float]:
    """Rows of some windows, and seconds of each."""
    start, rows = time.perf_counter(), []
    for first in range(FIRST, FIRST + NETWORK_STRIDE_T):
        with open_video(clip) as video:
            small = partial(resize_checked, video, short_side=pre.short_side)
            frames_THWC = video.frames_at(list(range(first, first + WINDOW)), transform=small).frames_THWC
        clip_1THWC = torch.from_numpy(center_crop(frames_THWC, size=pre.crop).copy())[None]
        rows.append(pooled(normalize(clip_1THWC, mean=pre.mean, std=pre.std))[0].numpy())
    return np.stack(rows), (time.perf_counter() - start) / NETWORK_STRIDE_T


def frame(number: int) -> np.ndarray:
    """A texture that moves by two pixels a frame."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    shades = 128 + 60 * np.sin((columns + 2 * number) / 9) * np.cos(rows / 13)
    return np.repeat(shades.astype(np.uint8)[..., None], 3, axis=2)


if __name__ == "__main__":
    main()
