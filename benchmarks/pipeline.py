"""Prediction over many clips against its two halves: decoding alone, and the network alone, in interleaved rounds.

python benchmarks/pipeline.py results [CLIPS...]      # else eight rendered ones of 10 s, 340 x 256

It writes results/pipeline-MACHINE.csv and .png.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from result_files import BLUE, GREY, Row, draw_bars, machine_name, result_path, write_csv

from i3d.data.formats.inputs import expand_inputs
from i3d.data.loading.view_stream import EndOfVideo
from i3d.diagnostics.benchmark_model import render_clip
from i3d.inference.predict_many import predict_each
from i3d.inference.predictor import Predictor
from i3d.utils.allocator import disable_malloc_trim
from i3d.utils.device import PRECISIONS, ComputeConfig

ROUNDS = 3
COLOURS = {"decoding": GREY, "network": GREY, "predict": BLUE}


def main() -> None:
    disable_malloc_trim()  # as the command `i3d` does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("clips", nargs="*", default=[])
    options = parser.parse_args()
    clips = options.clips
    with tempfile.TemporaryDirectory() as folder:
        rendered = [str(render_clip(Path(folder) / f"{number}.mp4")) for number in range(0 if clips else 8)]
        paths = expand_inputs(clips or rendered)
        rows = [
            measure(Predictor(compute=ComputeConfig(device="cpu", precision=precision)), paths)
            for precision in PRECISIONS
        ]
    threads = torch.get_num_threads()
    table = result_path(options.out, "pipeline", threads=threads)
    write_csv(table.with_suffix(".csv"), rows)
    parts = {f"{row['arithmetic']}: {name}": row[name] for row in rows for name in COLOURS}
    labels = [f"{value} s" for value in parts.values()]
    title = f"{len(paths)} clips: {machine_name(threads)}"
    draw_bars(table.with_suffix(".png"), parts, labels, [*COLOURS.values()] * len(rows), title=title, axis="seconds")


def measure(predictor: Predictor, paths: list[str]) -> Row:
    views = [view for path in paths for view in predictor.sampler.views(path) if not isinstance(view, EndOfVideo)]
    predictor._forward(views[0].clip_THWC[None])
    seconds: dict[str, list[float]] = {"decoding": [], "network": [], "predict": []}
    for _ in range(ROUNDS):
        with took(seconds["decoding"]):
            for path in paths:
                list(predictor.sampler.views(path))
        with took(seconds["network"]):
            for view in views:
                predictor._forward(view.clip_THWC[None])
        with took(seconds["predict"]):
            list(predict_each(predictor, paths))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    slower = max(median["decoding"], median["network"])
    row = {
        "arithmetic": predictor.engine.arithmetic,
        "clips": len(paths),
        "views": len(views),
        **{name: round(value, 2) for name, value in median.items()},
        "times_the_slower_half": round(median["predict"] / slower, 2),
        "torch": torch.__version__,
    }
    print(row, flush=True)
    return row


class took:  # noqa: N801 (reads as a verb)
    """Appends how long its block takes."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds.append(time.perf_counter() - self._start)


if __name__ == "__main__":
    main()
