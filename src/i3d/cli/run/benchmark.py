"""`i3d benchmark data` and `i3d benchmark model`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from i3d.cli import output
from i3d.cli.benchmark import Axes, LoadingOptions, ModelSpeedOptions
from i3d.cli.messages import log
from i3d.cli.run.setup import clip_dataset, read_dataset
from i3d.diagnostics.benchmark_data import measure_data
from i3d.diagnostics.benchmark_model import Configuration, measure_model
from i3d.utils.atomic_files import write_atomically


def run_data(source: Path, options: LoadingOptions, workers: Sequence[int]) -> None:
    """Measure the loading of clips and print the result."""
    annotations = read_dataset(source, options.dataset, need_labels=False)
    clips = clip_dataset(annotations, options.phase, options.recipe, options.frames)
    batch_size = options.batch_size if options.phase == "train" else 1
    speed = measure_data(clips, num_clips=options.num_clips, batch_size=batch_size, workers=tuple(workers))
    for reason in speed.bad:
        log.warning(reason)
    output.print_result(speed, output.print_data_speed, json=options.json)


def run_model(name: str, options: ModelSpeedOptions, axes: Axes) -> None:
    """Measure a network, print and write the result."""
    configurations = [
        Configuration(precision, batch=batch_size, threads=threads, runtime=runtime)
        for precision, batch_size, threads, runtime in product(*axes)
    ]
    with output.ProgressBar("measure", len(configurations) * (options.rounds + 1)) as bar:
        speed = measure_model(
            name,
            configurations,
            recipe=options.recipe,
            protocol=options.protocol,
            video=options.video,
            device=options.device,
            rounds=options.rounds,
            max_seconds=options.max_seconds,
            on_progress=bar,
        )
    if options.out is not None:
        write_atomically(options.out, f"{json.dumps(speed.as_dict(), indent=2)}\n".encode())
    output.print_result(speed, output.print_model_speed, json=options.json)
