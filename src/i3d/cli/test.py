"""`i3d test` and `i3d probe`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from i3d.cli import output
from i3d.cli.options import (
    AllowOutside,
    Classes,
    Device,
    FirstIndex,
    Fold,
    Format,
    Json,
    MultiLabel,
    PrecisionName,
    RecipeName,
    Root,
    RuntimeName,
    Seed,
    SplitName,
    Template,
    Workers,
    frame_names,
    is_first,
    read_dataset,
    share,
)
from i3d.cli.results import check_report, finish
from i3d.cli.streams import (
    CacheFolder,
    FlowChoice,
    FlowModel,
    FlowRecipe,
    FuseOf,
    Streams,
    StreamWeights,
    cache_of,
    stream_fusion,
)
from i3d.cli.test_streams import average_of_streams, beside, check_same, fused_evaluations, loaded, networks
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.data.annotations import Annotations
    from i3d.data.frame_folders import FrameNaming
    from i3d.utils.device import ComputeConfig, Precision, Runtime
    from i3d.weights.load import Weights

ModelArgument = Annotated[
    str,
    typer.Argument(help="Shipped weights by name, or a weights file: ours or anybody's.", show_default=False),
]
DataOption = Annotated[
    Path,
    typer.Option("--data", help="What to test on: any list, or a folder of classes.", show_default=False),
]
MaxViews = Annotated[
    int | None,
    typer.Option(min=1, help="Views that run at once (default: 256 frames); fewer take less memory."),
]
MaxBad = Annotated[str, typer.Option(help="The share of clips that may be unreadable: 5%, or 0.")]
BadAsWrong = Annotated[bool, typer.Option("--bad-as-wrong", help="Count unreadable clips as wrong.")]
Protocols = Annotated[
    str | None,
    typer.Option(help="Clips x crops, all from one pass: 1x1,3x1,10x1,10x3 (default: what the model's recipe says)."),
]
ProtocolName = Annotated[str | None, typer.Option("--protocol", help="Clips x crops, such as 1x1.")]
AverageClips = Annotated[
    str | None,
    typer.Option(help="Average prob(abilities) or score(s, logits) of the views; none keeps each view's in --out."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the protocol or preprocessing, such as protocol.clip_len=16. Repeatable."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Write all scores and figures to this .json, .yaml or .csv; an interrupted test goes on."),
]
OutFormat = Annotated[str, typer.Option(help="i3d, or mmaction2: a list of score vectors in the order of the list.")]
Report = Annotated[Path | None, typer.Option(help="Write figures, confusion, worst clips to this one .html file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what --out holds from other tests.")]


def run_test(
    model: ModelArgument,
    data: DataOption,
    recipe: RecipeName = None,
    protocols: Protocols = None,
    average_clips: AverageClips = None,
    set_: Settings = None,
    streams: Streams = None,
    flow_model: FlowModel = None,
    flow_recipe: FlowRecipe = None,
    flow: FlowChoice = None,
    fuse_of: FuseOf = None,
    weights: StreamWeights = None,
    cache: CacheFolder = None,
    split: SplitName = None,
    root: Root = None,
    classes: Classes = None,
    format: Format = "auto",  # noqa: A002
    fold: Fold = 1,
    multi_label: MultiLabel = False,
    allow_outside: AllowOutside = False,
    template: Template = None,
    first_index: FirstIndex = 1,
    device: Device = "auto",
    precision: PrecisionName = "fp32",
    runtime: RuntimeName = "torch",
    workers: Workers = 2,
    max_views: MaxViews = None,
    max_bad: MaxBad = "1%",
    bad_as_wrong: BadAsWrong = False,
    out: Out = None,
    out_format: OutFormat = "i3d",
    report: Report = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Test a model on labelled clips: how many it recognises, of which class, by which protocol.

    Every clip is scored as `i3d predict` scores it. Without --split, the split test is taken, else val, else all. Under
    torchrun each process scores its share. A network of flow beside that of RGB (--flow-model) makes two streams, whose
    scores are fused; those of each are kept beside --out. Exit code 3: some clip could not be read.

    Example: i3d test run/best.safetensors --data actions/clips.csv --out result.json --report report.html

    Example: i3d test run/best.safetensors --data actions/clips.csv --protocols 1x1,3x1,10x1

    Example: i3d test epoch_100.pth --recipe i3d_r50_32x2x1_100e_kinetics400_rgb --data val.txt --classes kinetics400
    """
    from i3d.data.resume import Resume
    from i3d.evaluation.evaluate import evaluate_each, variants_of
    from i3d.evaluation.exports import check_out

    keeps_views, bad_share = average_clips == "none", share(max_bad)
    names = [name.strip() for name in protocols.split(",")] if protocols is not None else []
    check_out(out, out_format, num_protocols=len(names) or 1, keeps_views=keeps_views)
    _check_report(report, out, keeps_views=keeps_views, force=force)
    how = stream_fusion(weights, fuse_of, flow_model=flow_model, flow_recipe=flow_recipe, may_sweep=True)
    nets = networks(streams, [(model, recipe), (flow_model, flow_recipe)], flow)
    average = None if keeps_views else average_clips
    if len(nets) == 2:
        average = average_of_streams(average_clips, out_format, template, how, len(names), out, force=force)
    is_multiple = nets[0].weights.card.recipe.multi_label
    if bad_as_wrong and is_multiple:
        raise InputError("--bad-as-wrong: is for classes that exclude each other; leave it out")
    options = (format, fold, multi_label or is_multiple, allow_outside)
    clips = _chosen(read_dataset(data, root, split, classes, *options, need_labels=False), split)
    tested, compute = [], _compute(device, precision, runtime, workers, cache)
    for net in nets:
        place = beside(out, net.stream) if len(nets) == 2 else out
        with _going_on(out), output.Testing(len(clips)) as bar:
            found = evaluate_each(
                net.weights,
                clips,
                variants=variants_of(
                    net.weights, protocols=names, average=average, settings=[*(set_ or []), *net.method(flow)]
                ),
                compute=compute,
                max_views=max_views,
                naming=_frame_names(net.weights, template, first_index),
                max_bad=bad_share,
                keep_views=keeps_views,
                resume=None if place is None else Resume(place, force, out_format),
                called=net.name,
                on_clip=bar.clip,
                on_known=partial(_tell_known, len(clips), place),
            )
        tested.append(found)
    if is_first():
        made = tested[0]
        if len(tested) == 2:
            made = fused_evaluations(tested, nets, how, out, bad_as_wrong=bad_as_wrong, json=json)
            check_same(made, out, force=force)
        finish(made, out, form=out_format, report=report, bad_as_wrong=bad_as_wrong, json=json)
    is_bad = any(found[0].bad for found in tested)
    if is_bad and is_first():  # of several processes, one that fails would end the others
        raise typer.Exit(3)


def _compute(device: str, precision: str, runtime: str, workers: int, cache: Path | None) -> ComputeConfig:
    from i3d.utils.device import ComputeConfig

    return ComputeConfig(device, cast("Precision", precision), cast("Runtime", runtime), workers, cache_of(cache))


def run_probe(
    model: ModelArgument,
    data: DataOption,
    recipe: RecipeName = None,
    protocol: ProtocolName = None,
    split: SplitName = None,
    root: Root = None,
    classes: Classes = None,
    format: Format = "auto",  # noqa: A002
    fold: Fold = 1,
    multi_label: MultiLabel = False,
    allow_outside: AllowOutside = False,
    template: Template = None,
    first_index: FirstIndex = 1,
    device: Device = "auto",
    precision: PrecisionName = "fp32",
    runtime: RuntimeName = "torch",
    cache: CacheFolder = None,
    workers: Workers = 2,
    max_views: MaxViews = None,
    max_bad: MaxBad = "1%",
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Ask whether a model sees motion, or scenery: the same test with the frames of each view in other orders.

    Frames are shuffled (by --seed), reversed, and the middle one repeated. What is lost is what the model had from
    their order, from the direction of time, and from motion.

    Example: i3d probe run/best.safetensors --data actions/clips.csv --protocol 1x1
    """
    from json import dumps

    from i3d.evaluation.probe import probe

    bad_share = share(max_bad)
    weights = loaded(model, recipe)
    options = (format, fold, multi_label or weights.card.recipe.multi_label, allow_outside)
    clips = _chosen(read_dataset(data, root, split, classes, *options, need_labels=False), split)
    with output.Testing(len(clips)) as bar:
        found = probe(
            weights,
            clips,
            protocol=protocol,
            max_views=max_views,
            compute=_compute(device, precision, runtime, workers, cache),
            naming=_frame_names(weights, template, first_index),
            max_bad=bad_share,
            seed=seed,
            called=model,
            on_clip=bar.clip,
        )
    bad = found.evaluations["forward"].bad
    if is_first():
        for clip in bad:
            output.say(f"error: {clip.reason}")
        if json:
            typer.echo(dumps(found.as_dict(), indent=2))
        else:
            output.tell_probe(found)
    if bad and is_first():
        raise typer.Exit(3)


def _check_report(report: Path | None, out: Path | None, *, keeps_views: bool, force: bool) -> None:
    check_report(report, force=force)
    if keeps_views and (out is None or report is not None):
        raise InputError("--average-clips none: keeps the logits of every view; say --out, and leave --report out")


@contextmanager
def _going_on(out: Path | None) -> Iterator[None]:
    """Somebody who ends a test is told what becomes of it."""
    try:
        yield
    except KeyboardInterrupt:
        goes_on = "the same command goes on where it was" if out is not None else "with --out it could go on"
        _say(f"interrupted; {goes_on}")
        raise


def _tell_known(num_clips: int, out: Path | None, num_known: int) -> None:
    if num_known and out is not None:
        _say(f"{num_known} of {num_clips} clips were done before ({printable(out.name)})")


def _frame_names(weights: Weights, template: str | None, first_index: int) -> FrameNaming | None:
    return frame_names("flow" if weights.card.recipe.network.in_channels == 2 else "rgb", template, first_index)


def _chosen(clips: Annotations, split: str | None) -> Annotations:
    """The split to test on, if the data has splits and the user did not say."""
    from i3d.data.annotations import SPLITS

    if split is not None or (clips.splits_N < 0).all():
        return clips
    for name in ("test", "val"):
        if (clips.splits_N == SPLITS.index(name)).any():
            found = clips.select_split(name)
            _say(f"tested is the split {name}, {len(found)} of {len(clips)} clips (--split takes another)")
            return found
    _say(f"there is no split test or val: all {len(clips)} clips are tested, those of train too")
    return clips


def _say(message: str) -> None:
    if is_first():
        output.say(message)
