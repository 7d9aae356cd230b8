"""`i3d test`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from i3d import console
from i3d.cli_options import (
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
    SplitName,
    Template,
    Workers,
    frame_names,
    read_dataset,
    share,
)
from i3d.errors import InputError, printable

if TYPE_CHECKING:
    from i3d.data.annotations import Annotations
    from i3d.predict import Precision
    from i3d.results.evaluation import Evaluation

ModelArgument = Annotated[
    str,
    typer.Argument(help="Shipped weights by name, or a weights file: ours or anybody's.", show_default=False),
]
DataOption = Annotated[
    Path,
    typer.Option("--data", help="What to test on: any list, or a folder of classes.", show_default=False),
]
MaxViews = Annotated[
    int | None, typer.Option(min=1, help="Views that run at once (default: 8 clips, or 1 window); less takes less.")
]
MaxBad = Annotated[str, typer.Option(help="How many clips may be unreadable: 5%, or 0.")]
BadAsWrong = Annotated[bool, typer.Option("--bad-as-wrong", help="Count unreadable clips as wrong.")]
Out = Annotated[Path | None, typer.Option(help="Write all scores and figures to this .json.")]


def run_test(
    model: ModelArgument,
    data: DataOption,
    recipe: RecipeName = None,
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
    workers: Workers = 2,
    max_views: MaxViews = None,
    max_bad: MaxBad = "1%",
    bad_as_wrong: BadAsWrong = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Test a model on labelled clips: how many it recognises, of which class, by which protocol.

    Every clip is scored as `i3d predict` scores it. Without --split, the split test is taken, else val, else all.
    Exit code 3: some clip could not be read.

    Example: i3d test run/best.safetensors --data actions/clips.csv --out result.json

    Example: i3d test epoch_100.pth --recipe i3d_r50_32x2x1_100e_kinetics400_rgb --data val.txt --classes kinetics400
    """
    from dataclasses import replace

    from i3d.evaluate import evaluate
    from i3d.weights.load import load_weights

    _check_out(out)
    bad_share = share(max_bad)
    weights = load_weights(model, recipe=recipe)
    if weights.gaps:
        console.say(f"warning: the weights are not whole: {weights.gaps}")
    chosen = weights.card.recipe
    if bad_as_wrong and chosen.multi_label:
        raise InputError("--bad-as-wrong: is for classes that exclude each other; leave it out")
    options = (format, fold, multi_label or chosen.multi_label, allow_outside)
    clips = _chosen(read_dataset(data, root, split, classes, *options, need_labels=False), split)
    names = frame_names("flow" if chosen.network.in_channels == 2 else "rgb", template, first_index)
    with console.Testing(len(clips)) as bar:
        found = evaluate(
            weights,
            clips,
            device=device,
            precision=cast("Precision", precision),
            num_workers=workers,
            max_views=max_views,
            names=names,
            max_bad=bad_share,
            on_clip=bar.clip,
        )
    _tell(replace(found, model=model), out, bad_as_wrong=bad_as_wrong, json=json)


def _tell(found: Evaluation, out: Path | None, *, bad_as_wrong: bool, json: bool) -> None:
    """Write the file, name the bad clips, tell the figures; exit code 3 if a clip was bad."""
    from json import dumps

    from i3d.results.evaluation import figures_of
    from i3d.results.evaluation_file import figures_as_dict, write_evaluation

    figures = figures_of(found, bad_as_wrong=bad_as_wrong)
    if out is not None:
        write_evaluation(out, found, figures)
    for bad in found.bad:
        console.say(f"error: {bad.reason}")
    if json:
        typer.echo(dumps(figures_as_dict(found, figures), indent=2))
    else:
        console.tell_evaluation(found, figures)
    if out is not None:
        console.say(f"scores and figures: {printable(str(out))}")
    if found.bad:
        raise typer.Exit(3)


def _check_out(out: Path | None) -> None:
    """Find out before the work, not after it, that its results could not be written."""
    if out is None:
        return
    if out.suffix.lower() != ".json" or not out.parent.is_dir() or out.is_dir():
        raise InputError(f"--out {printable(str(out))}: must be a .json in a folder that is there")


def _chosen(clips: Annotations, split: str | None) -> Annotations:
    """The split to test on, if the data has splits and the user did not say."""
    from i3d.data.annotations import SPLITS

    if split is not None or (clips.splits_N < 0).all():
        return clips
    for name in ("test", "val"):
        if (clips.splits_N == SPLITS.index(name)).any():
            found = clips.of_split(name)
            console.say(f"tested is the split {name}, {len(found)} of {len(clips)} clips (--split takes another)")
            return found
    console.say(f"there is no split test or val: all {len(clips)} clips are tested, those of train too")
    return clips
