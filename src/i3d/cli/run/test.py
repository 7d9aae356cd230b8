"""`i3d test`: the networks score every clip; metrics, files and report follow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i3d.cli import output
from i3d.cli.messages import log
from i3d.cli.options import ComputeOptions, DatasetOptions, FrameOptions, StreamOptions
from i3d.cli.run.score import check_report, finish
from i3d.cli.run.setup import compute_config, frame_naming, is_first_rank, read_dataset
from i3d.cli.run.two_streams import average_of_streams, beside, check_same, fused_evaluations, load_networks
from i3d.cli.streams import Fusion
from i3d.cli.test import TestOptions
from i3d.data.annotations import SPLITS, Annotations
from i3d.data.resume import Resume
from i3d.errors import InputError
from i3d.evaluation.evaluate import evaluate_protocols, select_protocols
from i3d.evaluation.exports import check_out
from i3d.evaluation.scorer import EvaluationOptions, EvaluationProtocol
from i3d.weights.load import Weights


def run_test(
    model: str,
    data: Path,
    dataset: DatasetOptions,
    frames: FrameOptions,
    options: TestOptions,
    streams: StreamOptions,
    fusion: Fusion,
    compute: ComputeOptions,
    *,
    workers: int,
    force: bool,
    json: bool,
) -> int:
    """Test one network, or one of RGB and one of flow; the exit code."""
    out, protocols, saves_views = options.out, options.protocol_names, options.saves_views
    check_out(out, options.out_format, num_protocols=len(protocols) or 1, keep_views=saves_views)
    check_report(options.report, force=force)
    networks = load_networks(model, options.recipe, streams)
    average: str | None = None if saves_views else options.average_clips
    if len(networks) == 2:
        average = average_of_streams(options, fusion, frames, force=force)
    is_multiple = networks[0].weights.card.recipe.multi_label
    if options.bad_as_wrong and is_multiple:
        raise InputError("--bad-as-wrong: is for single-label classes; leave it out")
    clips = choose_split(
        read_dataset(data, dataset, split=dataset.split, multi_label=is_multiple, need_labels=False), dataset.split
    )
    tested = []
    for network in networks:
        place = beside(out, network.stream) if len(networks) == 2 else out
        settings = [*(options.settings or []), *network.flow_settings(streams.flow_method)]
        selected = select_protocols(network.weights, protocols=protocols, average=average, settings=settings)
        with _interruptible(out), output.Testing(len(clips)) as bar:
            evaluations = evaluate_protocols(
                network.weights,
                clips,
                evaluation_options(network.weights, selected, options, frames),
                compute=compute_config(compute, workers=workers),
                resume=None if place is None else Resume(place, force, options.out_format),
                model_name=network.name,
                on_progress=bar,
            )
        tested.append(evaluations)
    is_bad = any(evaluations[0].bad for evaluations in tested)
    if not is_first_rank():  # of several processes, one that fails would end the others
        return 0
    result = tested[0]
    if len(tested) == 2:
        result = fused_evaluations(tested, networks, fusion, out, bad_as_wrong=options.bad_as_wrong, json=json)
        check_same(result, out, force=force)
    finish(
        result, out, out_format=options.out_format, report=options.report, bad_as_wrong=options.bad_as_wrong, json=json
    )
    return 3 if is_bad else 0


@contextmanager
def _interruptible(out: Path | None) -> Iterator[None]:
    """After Ctrl-C, log whether the same command resumes the test."""
    try:
        yield
    except KeyboardInterrupt:
        resumes = "the same command resumes the test" if out is not None else "with --out it could be resumed"
        _log(f"interrupted; {resumes}")
        raise


def evaluation_options(
    weights: Weights,
    protocols: tuple[EvaluationProtocol, ...],
    options: TestOptions,
    frames: FrameOptions,
    *,
    seed: int = 0,
) -> EvaluationOptions:
    """What a test of these weights computes."""
    is_flow = weights.card.recipe.network.in_channels == 2
    return EvaluationOptions(
        protocols=protocols,
        max_views=options.max_views,
        keep_views=options.saves_views,
        max_bad=options.max_bad_fraction,
        seed=seed,
        frame_naming=frame_naming(frames, "flow" if is_flow else "rgb"),
    )


def choose_split(clips: Annotations, split: str | None) -> Annotations:
    """The split to test on, if the data has splits and no option chooses one."""
    if split is not None or (clips.splits_N < 0).all():
        return clips
    for name in ("test", "val"):
        if (clips.splits_N == SPLITS.index(name)).any():
            chosen = clips.select_split(name)
            _log(f"tested is the split {name}, {len(chosen)} of {len(clips)} clips (--split selects another)")
            return chosen
    _log(f"there is no split test or val: all {len(clips)} clips are tested, those of train too")
    return clips


def _log(message: str) -> None:
    if is_first_rank():
        log.info(message)
