"""`i3d predict`: the networks are loaded once, and each video is a row of results."""

import json
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch

from i3d.cli import output
from i3d.cli.messages import if_interrupted, unreadable_code
from i3d.cli.predict import PredictOptions
from i3d.cli.run.annotate import LabelDrawer
from i3d.cli.run.setup import compute_config, log_flow_cost, warn_if_incomplete
from i3d.cli.streams import Fusion, Streams, check_flow_method
from i3d.data.class_files import class_names
from i3d.data.formats.inputs import STDIN, expand_inputs
from i3d.data.resume import ResumeLog, finish_log
from i3d.errors import InputError, printable
from i3d.inference import predictor as predictors
from i3d.inference.annotate import PredictionDrawing
from i3d.inference.predict_many import predict_each
from i3d.inference.prediction import Prediction, write_predictions
from i3d.inference.two_stream import TwoStreams
from i3d.recipes.settings import WindowProtocol
from i3d.utils.distributed import World, init_world
from i3d.video.base import Limits


def run_predict(videos: Sequence[str], options: PredictOptions, networks: Streams, fusion: Fusion) -> int:
    """Predict each video, print and write the results; the exit code. Under torchrun each rank predicts its share."""
    out = options.out
    paths, labels = _labels_to_draw(videos, options)
    world = init_world(torch.device("cpu"))
    if world.size > 1 and STDIN in paths:
        raise InputError("-: the standard input is of one process; give files to several")
    predictor = _load(networks, fusion, options)
    saved = (
        "nothing is saved without --out" if out is None else f"results so far are stored beside {printable(str(out))}"
    )
    with (
        labels.locked() if labels and world.rank == 0 else nullcontext(),
        if_interrupted(saved, resumes=out is not None),
    ):
        rows, protocol_line = _predict_share(paths, options, predictor, world, labels)
    if world.rank > 0:
        return 0
    bad = sum(row.status == "error" for row in rows)
    if out is not None:
        write_predictions(out, rows, top_k=options.top_k)
        finish_log(out, is_complete=not bad)
    if options.json:
        output.print_json([row.to_dict() for row in rows])
    output.print_summary(rows, bad, out, protocol_line, json=options.json)
    if labels:
        labels.log_result()
    return unreadable_code(bad + (labels.num_failed if labels else 0), "video")


def _labels_to_draw(videos: Sequence[str], options: PredictOptions) -> tuple[list[str], LabelDrawer | None]:
    """The paths of all videos, and what draws their labels if --annotate names a place."""
    if options.annotate is None:
        return expand_inputs(videos), None
    labels = LabelDrawer(
        videos, options.annotate, frames_fps=options.frames_fps, limits=_limits(options), force=options.force
    )
    return labels.paths, labels


def _predict_share(
    paths: list[str],
    options: PredictOptions,
    predictor: predictors.Predictor | TwoStreams,
    world: World,
    labels: LabelDrawer | None,
) -> tuple[list[Prediction], str]:
    """The predictions of all videos, of which this rank computes its share, and the line of the protocol."""
    out, top_k, frames_fps = options.out, options.top_k, options.frames_fps
    resumed = nullcontext() if out is None else _resume_log(out, paths, options, predictor.settings, world)
    rows: dict[int, Prediction] = {}
    share = range(len(paths))[world.rank :: world.size]
    thresholds = predictor.thresholds(options.min_score, options.min_familiarity)
    can_be_unsure = options.min_score > 0 or any(stream.weights.familiarity for stream in predictor.streams)
    layout = (
        output.PredictionLines(paths, predictor.card.labels, can_be_unsure=can_be_unsure) if len(paths) > 1 else None
    )

    def show(index: int, row: Prediction) -> None:
        if world.rank > 0:
            return
        with bar.paused():
            output.print_prediction(row, json=options.json, lines=layout)
        if labels and row.status == "ok":  # else the row has the reason
            labels.draw(paths[index], PredictionDrawing(row), on_progress=bar)

    with output.ProgressBar("predict", len(share), "video") as bar, resumed as results_log:
        predictions = predict_each(
            predictor,
            [paths[index] for index in share],
            log=results_log,
            top_k=top_k,
            thresholds=thresholds,
            frames_fps=frames_fps,
            limits=_limits(options),
            stdin=labels.stdin if labels else None,
            on_progress=bar.within,
        )
        with closing(predictions):  # an interrupt here must end its thread too
            for index, row in zip(share, predictions, strict=True):
                rows[index] = row
                if world.size == 1:
                    show(index, row)
                bar.advance()
        if world.size > 1:
            lines = world.all_gather([json.dumps([index, row.to_dict()]) for index, row in rows.items()])
            rows = {index: Prediction.from_dict(row) for index, row in sorted(map(json.loads, lines))}
            for index, row in rows.items():
                show(index, row)
    return list(rows.values()), predictor.protocol_line


def _resume_log(
    out: Path, paths: list[str], options: PredictOptions, settings: dict[str, Any], world: World
) -> ResumeLog[Prediction]:
    return ResumeLog(
        out,
        {**settings, "top_k": options.top_k, "frames_fps": options.frames_fps},
        paths,
        encode=Prediction.to_dict,
        decode=Prediction.from_dict,
        force=options.force,
        rank=world.rank,
        all_gather=world.all_gather,
    )


def _limits(options: PredictOptions) -> Limits:
    return Limits(max_seconds=options.max_decode_lag)


def _load(networks: Streams, fusion: Fusion, options: PredictOptions) -> predictors.Predictor | TwoStreams:
    """The network, or both as one predictor."""
    loaded = [
        predictors.Predictor(
            name,
            recipe=recipe,
            labels=None if options.classes is None else class_names(options.classes),
            compute=compute_config(options.compute),
            flow=networks.flow_method,
            protocol=options.protocol,
            num_clips=options.num_clips,
        )
        for name, recipe in ((networks.rgb, networks.rgb_recipe), (networks.flow, networks.flow_recipe))
        if name is not None
    ]
    check_flow_method(networks.flow_method, has_flow=loaded[-1].flow is not None)
    for one in loaded:
        warn_if_incomplete(one.weights)
        if (flow := one.sampler.flow) is not None:
            protocol = one.card.recipe.protocol
            fps = protocol.fps if isinstance(protocol, WindowProtocol) else protocol.target_fps
            log_flow_cost(flow.method, flow.cache, short_side=flow.short_side, fps=fps)
    if len(loaded) == 1:
        return loaded[0]
    return TwoStreams(*loaded, weights=fusion.weights or (1.0, 1.0), average=fusion.average)
