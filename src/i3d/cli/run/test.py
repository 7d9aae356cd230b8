"""`i3d test`: one network, or one of RGB and one of flow, scores every clip; metrics, files and report follow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from i3d.cli import output
from i3d.cli.checks import refuse
from i3d.cli.messages import if_interrupted, is_first_rank, log, unreadable_code
from i3d.cli.run.score import check_bad_as_wrong, finish, with_metrics
from i3d.cli.run.setup import compute_config, frame_naming, read_dataset, warn_if_incomplete
from i3d.cli.streams import Fusion, check_flow_method
from i3d.cli.test import TestOptions
from i3d.data.annotations import SPLITS, Annotations
from i3d.data.class_files import class_names
from i3d.data.labels import is_numbered
from i3d.data.resume import Resume, finish_log, is_logged
from i3d.errors import InputError, counted, printable
from i3d.evaluation.evaluate import evaluate_protocols, select_protocols
from i3d.evaluation.exports import check_out, write_results
from i3d.evaluation.frame_orders import compare_frame_orders
from i3d.evaluation.fuse import align_evaluations, fuse_scores, hold_out, sweep_weights
from i3d.evaluation.result import Evaluation
from i3d.evaluation.result_file import read_evaluations
from i3d.evaluation.scorer import EvaluationOptions, EvaluationProtocol
from i3d.finetuning.record import clips_of_run
from i3d.utils.outputs import check_new
from i3d.weights.load import Weights, load_weights
from i3d.weights.runs import BEST, FINETUNE, LAST

STREAMS: Final = ("rgb", "flow")


@dataclass(frozen=True)
class Network:
    name: str
    weights: Weights

    @property
    def stream(self) -> str:
        return "rgb" if self.weights.card.recipe.flow is None else "flow"


def run_test(model: str, options: TestOptions, fusion: Fusion) -> int:
    """Test one network, or one of RGB and one of flow; the exit code."""
    out, protocols, saves_views, force = options.out, options.protocol_names, options.saves_views, options.force
    check_out(out, options.out_format, num_protocols=len(protocols) or 1, save_views=saves_views)
    networks = _load_networks(model, options)
    average: str | None = None if saves_views else options.average_clips
    if len(networks) == 2:
        average = _average_of_streams(options, fusion)
    is_multiple = networks[0].weights.card.recipe.multi_label
    check_bad_as_wrong(options, multi_label=is_multiple)
    clips = _read_clips(options, multi_label=is_multiple)
    tested = []
    for network in networks:
        place = out if out is None or len(networks) == 1 else _beside(out, network.stream)
        settings = [*(options.settings or [])]
        if network.stream == "flow" and options.streams.flow_method is not None:
            settings.append(f"preprocessing.flow={options.streams.flow_method}")
        selected = select_protocols(network.weights, protocols=protocols, average=average, settings=settings)
        saved = "nothing is saved without --out" if out is None else "results so far are stored beside --out"
        interrupted = if_interrupted(saved, resumes=out is not None)
        with interrupted, output.ProgressBar("test") as bar:
            evaluations = evaluate_protocols(
                network.weights,
                clips,
                _evaluation_options(network.weights, selected, options),
                compute=compute_config(options.compute, workers=options.workers),
                resume=None if place is None else Resume(place, force, options.out_format),
                model_name=network.name,
                on_progress=bar,
            )
        tested.append(evaluations)
    num_bad = max(len(evaluations[0].bad) for evaluations in tested)
    if not is_first_rank():
        return 0
    result = tested[0]
    if len(tested) == 2:
        result = _fused_evaluations(tested, networks, fusion, options)
        _check_same(result, out, force=force)
    finish(result, options)
    if out is not None:
        places = [out] if len(tested) == 1 else [*(_beside(out, name) for name in STREAMS), out]
        for place in places:
            finish_log(place, *places, is_complete=not num_bad)
    return unreadable_code(num_bad, "clip")


def run_frame_orders(model: str, options: TestOptions) -> int:
    """Test with the frames of each view in several orders, print a table; the exit code."""
    weights = _load(model, options.recipe, options.dataset.classes)
    clips = _read_clips(options, multi_label=weights.card.recipe.multi_label)
    with if_interrupted("nothing is saved", resumes=False), output.ProgressBar("test") as bar:
        protocols = select_protocols(weights, protocols=options.protocol_names)
        result = compare_frame_orders(
            weights,
            clips,
            _evaluation_options(weights, protocols, options),
            orders=options.frame_orders,
            compute=compute_config(options.compute, workers=options.workers),
            model_name=model,
            on_progress=bar,
        )
    if not is_first_rank():
        return 0
    bad = result.evaluations["forward"].bad
    output.log_unreadable(clip.reason for clip in bad)
    output.log_notes(result.evaluations["forward"].clip_notes)
    output.print_result(result, output.print_frame_orders, json=options.json)
    return unreadable_code(len(bad), "clip")


def with_data_of_run(model: str, options: TestOptions) -> TestOptions:
    """The options with the clips of the fine-tuning in the folder MODEL, if --data is not given.

    It is an InputError if the model was trained on all of them.
    """
    if options.data is not None:
        _warn_of_training_clips(model, options.data)
        return options
    folder = Path(model)
    if not (folder / FINETUNE).is_file():
        raise InputError(
            "--data: is missing; only the folder of a fine-tuning (`i3d train` without --recipe) has clips"
        )
    clips = clips_of_run(folder)
    if clips.trained_on_all:
        raise InputError(f"{model}: {clips.trained_on_all}; name other clips with --data")
    root = options.dataset.root or clips.root
    if root is None:
        raise InputError(f"{model}: the folder of its clips is neither where it was nor beside it; give it as --root")
    log.info("testing on the clips of this run, %s, below %s", printable(str(clips.path)), printable(str(root)))
    if options.dataset.split == "train":
        log.warning("--split train: the model was trained on these clips; new ones are recognised worse")
    return replace(options, data=clips.path, dataset=replace(options.dataset, root=root))


def _warn_of_training_clips(model: str, data: Path) -> None:
    """A warning if the list is that of the run of this model, which was trained on all of its clips."""
    run = data.resolve().parent
    if (run / FINETUNE).is_file() and Path(model).resolve() in (run, run / BEST, run / LAST):
        clips = clips_of_run(run)
        if clips.trained_on_all and data.name == clips.path.name:
            log.warning("--data %s: %s; new ones are recognised worse", printable(str(data)), clips.trained_on_all)


def _evaluation_options(
    weights: Weights, protocols: tuple[EvaluationProtocol, ...], options: TestOptions
) -> EvaluationOptions:
    is_flow = weights.card.recipe.network.in_channels == 2
    return EvaluationOptions(
        protocols=protocols,
        max_views=options.max_views,
        save_views=options.saves_views,
        max_bad=options.max_bad,
        seed=options.seed,
        frame_naming=frame_naming(options.frames, "flow" if is_flow else "rgb"),
    )


def _read_clips(options: TestOptions, *, multi_label: bool) -> Annotations:
    """The clips of a dataset; of the split to test on, if it has splits and no option chooses one."""
    assert options.data is not None  # `with_data_of_run`
    clips = read_dataset(options.data, options.dataset, multi_label=multi_label, need_labels=False)
    if options.dataset.split is not None or (clips.splits_N < 0).all():
        return clips
    for name in ("test", "val"):
        if (clips.splits_N == SPLITS.index(name)).any():
            chosen = clips.select_split(name)
            num_clips = counted(len(clips), "clip")
            log.info("testing on the split %s, %d of %s (--split selects another)", name, len(chosen), num_clips)
            return chosen
    tested = "1 clip is" if len(clips) == 1 else f"all {len(clips):,} clips are"
    log.info("there is no split test or val: %s tested, those of train too", tested)
    return clips


def _load(model: str, recipe: str | None, classes: str | None) -> Weights:
    """The weights. Where their classes have no names, those of `classes` are theirs, by number."""
    weights = load_weights(model, recipe=recipe, takes_exports=True)
    if classes is not None and is_numbered(weights.card.labels):
        names = class_names(classes)
        if len(names) == len(weights.card.labels):
            log.info("%s: its classes have no names; they get those of --classes, by number", printable(model))
            weights = load_weights(model, recipe=recipe, labels=names, takes_exports=True)
    warn_if_incomplete(weights)
    return weights


def _load_networks(model: str, options: TestOptions) -> list[Network]:
    """The networks of a test: one, or one of RGB and one of flow."""
    streams, classes = options.streams, options.dataset.classes
    named = ((model, options.recipe), (streams.flow_model, streams.flow_recipe))
    networks = [Network(name, _load(name, its_recipe, classes)) for name, its_recipe in named if name is not None]
    check_flow_method(streams.flow_method, has_flow=networks[-1].stream == "flow")
    given = ",".join(network.stream for network in networks)
    if len(networks) == 2 and given != "rgb,flow":
        first, second = (network.stream for network in networks)
        raise InputError(
            f"MODEL is a network of {first}, --flow-model of {second}; give that of RGB, then that of flow"
        )
    if streams.streams not in (None, given):
        raise InputError(
            f"--streams {streams.streams}: the networks that are named are of {given}; name those of {streams.streams}"
        )
    return networks


def _average_of_streams(options: TestOptions, fusion: Fusion) -> str | None:
    """How the views of each stream are averaged: as logits if these are added, else as each network has it.

    Options that two streams do not take, and existing files, are refused before the work.
    """
    given = {
        "--average-clips": options.average_clips,
        "--template": options.frames.template,
        f"--out-format {options.out_format}": options.out_format != "i3d",
    }
    refuse(given, ": is for one network; test each, then `i3d fuse` their results")
    if fusion.weights is None and len(options.protocol_names) > 1:
        raise InputError("--stream-weights sweep: is for one protocol; name one")
    out = options.out
    if out is not None and not options.force:
        first, *_ = of_streams = [_beside(out, name) for name in STREAMS]
        for place in (out, *of_streams):
            check_new(f"--out {place}", place, force=False, is_own=lambda path: is_logged(path, first))
    return "score" if fusion.average == "score" else None


def _fused_evaluations(
    tested: Sequence[tuple[Evaluation, ...]], networks: Sequence[Network], fusion: Fusion, options: TestOptions
) -> tuple[Evaluation, ...]:
    """The fused evaluation of each protocol; those of the streams are written beside --out, and printed."""
    for network, evaluations in zip(networks, tested, strict=True):
        if options.out is not None:
            place = _beside(options.out, network.stream)
            write_results(place, with_metrics(evaluations, options), out_format="i3d")
            log.info("scores of %s: %s", network.stream, printable(str(place)))
    results = []
    for each in zip(*tested, strict=True):
        streams, swept = list(each), None
        if fusion.weights is None:
            held_out, streams = hold_out(streams)
            swept = sweep_weights(held_out, average=fusion.average)
        weights = fusion.weights or (swept.weights if swept else None)
        fused = fuse_scores(streams, weights=weights, average=fusion.average)
        results.append(replace(fused, name=each[0].name))
        if not options.json:
            pairs = with_metrics((*align_evaluations(streams), fused), options)
            output.print_fusion(pairs, [*(network.stream for network in networks), "fused"], swept)
    return tuple(results)


def _check_same(result: Sequence[Evaluation], out: Path | None, *, force: bool) -> None:
    """The file of another fusion is not replaced."""
    if out is None or force or not out.exists():
        return
    for before, now in zip(read_evaluations(out), result, strict=False):
        if (before.weights_sha256, before.protocol) != (now.weights_sha256, now.protocol):
            what = f"holds another test ({before.protocol})"
            raise InputError(f"--out {out}: {what}; choose another --out, or use --force")


def _beside(out: Path, stream: str) -> Path:
    """Where the scores of one of two streams are written."""
    return out.with_name(f"{out.stem}.{stream}{out.suffix}")
