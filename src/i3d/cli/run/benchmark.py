"""`i3d benchmark data` and `i3d benchmark model`."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

from i3d.cli import output
from i3d.cli.benchmark import Configurations
from i3d.cli.messages import log
from i3d.cli.options import DatasetOptions, ModalityOptions
from i3d.cli.run.setup import clip_dataset, read_dataset
from i3d.diagnostics.benchmark_data import measure_data
from i3d.diagnostics.benchmark_model import Configuration, measure_model
from i3d.utils.atomic_files import write_atomically


def run_data(
    source: Path,
    dataset: DatasetOptions,
    frames: ModalityOptions,
    *,
    num_clips: int,
    phase: str,
    recipe: str,
    batch_size: int,
    workers: Sequence[int],
    json: bool,
) -> None:
    """Measure the loading of clips and print the result."""
    annotations = read_dataset(source, dataset, split=dataset.split, need_labels=False)
    clips = clip_dataset(annotations, phase, recipe, frames)
    speed = measure_data(
        clips, num_clips=num_clips, batch_size=batch_size if phase == "train" else 1, workers=tuple(workers)
    )
    for reason in speed.bad:
        log.warning(reason)
    if json:
        extra = {"clip_ms": speed.clip_ms, "bottleneck": speed.bottleneck}
        print(json_format.dumps({**asdict(speed), **extra}, indent=2))
    else:
        output.print_data_speed(speed)


def run_model(
    name: str,
    options: Configurations,
    *,
    recipe: str | None,
    protocol: str | None,
    video: Path | None,
    out: Path | None,
    json: bool,
) -> None:
    """Measure a network, print and write the result."""
    configurations = [
        Configuration(precision, batch=batch_size, threads=threads, runtime=runtime)
        for precision, batch_size, threads, runtime in product(*options.axes)
    ]
    with output.ProgressBar("measure", len(configurations) * (options.rounds + 1)) as bar:
        speed = measure_model(
            name,
            configurations,
            recipe=recipe,
            protocol=protocol,
            video=video,
            device=options.device,
            rounds=options.rounds,
            max_seconds=options.max_seconds,
            on_progress=bar,
        )
    text = json_format.dumps(speed.as_dict(), indent=2)
    if out is not None:
        write_atomically(out, f"{text}\n".encode())
    if json:
        print(text)
    else:
        output.print_model_speed(speed)
