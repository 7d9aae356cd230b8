"""`i3d test --frame-order`: how much accuracy depends on the order of frames."""

from __future__ import annotations

import json as json_format
from pathlib import Path

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.options import ComputeOptions, DatasetOptions, FrameOptions
from i3d.cli.run.setup import compute_config, is_first_rank, read_dataset
from i3d.cli.run.test import choose_split, evaluation_options
from i3d.cli.run.two_streams import load
from i3d.cli.test import TestOptions
from i3d.evaluation.evaluate import select_protocols
from i3d.evaluation.frame_orders import compare_frame_orders


def run_frame_orders(
    model: str,
    data: Path,
    dataset: DatasetOptions,
    frames: FrameOptions,
    options: TestOptions,
    compute: ComputeOptions,
    *,
    workers: int,
    seed: int,
    json: bool,
) -> int:
    """Test with the frames of each view in several orders, print a table; the exit code."""
    weights = load(model, options.recipe)
    clips = read_dataset(
        data, dataset, split=dataset.split, multi_label=weights.card.recipe.multi_label, need_labels=False
    )
    clips = choose_split(clips, dataset.split)
    with output.Testing(len(clips)) as bar:
        protocols = select_protocols(weights, protocols=options.protocol_names)
        result = compare_frame_orders(
            weights,
            clips,
            evaluation_options(weights, protocols, options, frames, seed=seed),
            orders=options.frame_orders,
            compute=compute_config(compute, workers=workers),
            model_name=model,
            on_progress=bar,
        )
    if not is_first_rank():
        return 0
    bad = result.evaluations["forward"].bad
    for clip in bad:
        log.error(clip.reason)
    if json:
        print(json_format.dumps(result.as_dict(), indent=2))
    else:
        output.print_frame_orders(result)
    return 3 if bad else 0
