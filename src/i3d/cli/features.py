"""`i3d features`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from i3d.cli import output
from i3d.cli.options import Device, Json, PrecisionName, RecipeName, RuntimeName, WithDefault, is_first
from i3d.cli.streams import (
    CacheFolder,
    FlowChoice,
    FlowModel,
    FlowRecipe,
    Streams,
    cache_of,
    chosen_streams,
    flow_method,
)
from i3d.errors import InputError, printable
from i3d.utils.device import ComputeConfig

if TYPE_CHECKING:
    from i3d.features.compare import Cause
    from i3d.recipes.features import FeatureSettings

Videos = Annotated[
    list[str],
    typer.Argument(
        help="Video files, folders, patterns, or lists (.txt, .csv with a column path).", show_default=False
    ),
]
Out = Annotated[
    Path, typer.Option(help="The folder to write to: for each video an array, and a .json that explains it.")
]
Model = Annotated[
    str | None, typer.Option(help="The network of RGB: a name or a weights file (default: the shipped one).")
]
Preset = Annotated[str | None, typer.Option(help="Settings by a name that people know (those above).")]
Layer = Annotated[str | None, typer.Option(help="pooled (default), or an endpoint such as Mixed_5c or layer4.")]
Grid = Annotated[bool, typer.Option("--grid", help="Keep the map (T, H, W) of an endpoint instead of its mean.")]
Window = Annotated[int | None, typer.Option(min=1, help="Frames of a row (default: 64).")]
Stride = Annotated[int | None, typer.Option(min=1, help="Frames from one row to the next (default: 64).")]
Fps = Annotated[str | None, typer.Option(help="The rate of these frames, or native (default: 25).")]
Align = Annotated[str | None, typer.Option(help="start: row r begins with frame r x stride; centre: it is its middle.")]
Padding = Annotated[str | None, typer.Option(help="none: rows that fit; repeat: the first and last frame fill others.")]
Crops = Annotated[str | None, typer.Option(help="1 (default), 3, 5 or 10.")]
Flip = Annotated[bool, typer.Option("--flip", help="With the mirror image of each crop.")]
Dense = Annotated[bool, typer.Option("--dense", help="A row for each frame: stride 1, centred, ends repeated.")]
FileFormat = Annotated[str, typer.Option("--format", help="npy; npz, h5 or parquet with frames and seconds.")]
Force = Annotated[bool, typer.Option("--force", help="Make anew what is there otherwise.")]

CROPS = {"1": "center", "3": "three", "5": "five", "10": "ten"}


features_commands = typer.Typer(
    cls=WithDefault,
    help="Extract features of videos, or compare two files of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@features_commands.command("of")
def run_features(
    videos: Videos,
    out: Out,
    model: Model = None,
    recipe: RecipeName = None,
    streams: Streams = None,
    flow_model: FlowModel = None,
    flow_recipe: FlowRecipe = None,
    flow: FlowChoice = None,
    preset: Preset = None,
    layer: Layer = None,
    grid: Grid = False,
    window: Window = None,
    stride: Stride = None,
    fps: Fps = None,
    align: Align = None,
    padding: Padding = None,
    crops: Crops = None,
    flip: Flip = False,
    dense: Dense = False,
    format: FileFormat = "npy",  # noqa: A002
    device: Device = "auto",
    precision: PrecisionName = "fp32",
    runtime: RuntimeName = "torch",
    cache: CacheFolder = None,
    force: Force = False,
) -> None:
    """Write features of videos: for each an array with a row for every window of frames, and a .json that explains it.

    The .json has the SHA-256 of the weights, all settings, versions, and of each row its frames and seconds. What is
    there already is kept; an interrupted run goes on. Presets: video-features-i3d, anomaly-10crop-16,
    segmentation-21-centred, localisation-16-25fps, charades-24 (docs/features.md). Exit code 3: some video has none.

    Example: i3d features clips/ --out features --window 16 --stride 16

    Example: i3d features match.mp4 --out features --preset localisation-16-25fps
    """
    from i3d.features.extract import extractor_of, features, targets_of
    from i3d.weights.pretrained import DEFAULT

    given = {"layer": layer, "window": window, "stride": stride, "align": align, "padding": padding}
    settings = _settings(preset, given, fps, crops, grid=grid, flip=flip, dense=dense)
    num_videos = len(targets_of(videos, out, cast(Any, format)))
    model, flow_model = chosen_streams(streams, model, flow_model, default=DEFAULT)
    source = extractor_of(
        model,
        settings,
        flow_model=flow_model,
        flow=flow_method(flow),
        recipe=recipe,
        flow_recipe=flow_recipe,
        compute=ComputeConfig(device, cast(Any, precision), cast(Any, runtime), cache=cache_of(cache)),
    )
    made = kept = bad = 0
    with output.Steps("features", num_videos, quiet=not is_first()) as bar:
        rows = lambda count: bar.says(f"features, {count} rows of a video")  # noqa: E731
        for done in features(videos, out, source, file_format=cast(Any, format), force=force, on_row=rows):
            bar.one()
            kept += done.kept
            made += not done.kept and not done.error
            bad += bool(done.error)
            if done.error:
                output.say(f"error: {done.error}")
            for note in done.notes:
                output.say(f"warning: {printable(done.target.video)}: {note}")
    made, kept, bad = _of_all(made, kept, bad)
    if not is_first():  # of several processes, one that fails would end the others
        return
    there = f", {kept} were there" if kept else ""
    output.say(f"features of {made + kept} of {made + kept + bad} videos{there}, in {printable(str(out))}")
    if bad:
        raise typer.Exit(3)


@features_commands.command("compare")
def compare_features(
    one: Annotated[Path, typer.Argument(help="Features of ours, with their .json.", show_default=False)],
    other: Annotated[Path, typer.Argument(help="Features of the same video, of any tool.", show_default=False)],
    video: Annotated[
        Path | None, typer.Option(help="The video, to search for what made them differ (default: that of the .json).")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The network of RGB that made the first, for the search.")] = None,
    recipe: RecipeName = None,
    flow_model: FlowModel = None,
    flow_recipe: FlowRecipe = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Tell how alike two files of features are, row by row; with a network also what may have made them differ.

    Tried are: what the .json of the other says, if it has one, colours in the order BGR, one frame later or earlier,
    other rates, windows, sizes and ranges of values, and of flow other methods and bounds.

    Example: i3d features compare ours/clip.npy theirs/clip.npy --model inception_rgb_kinetics400
    """
    from json import dumps

    from i3d.features.compare import compare

    found = compare(one, other)
    networks = {"model": model, "recipe": recipe, "flow_model": flow_model, "flow_recipe": flow_recipe}
    causes = _causes(one, other, video, networks, device) if model or flow_model else []
    if json:
        told: dict[str, Any] = {"cosines": found.cosines_R.tolist(), "rows": found.num_rows, "same": found.is_same}
        told |= {"shifted": found.shifted, "differ": found.differ}
        typer.echo(dumps(told | {"causes": [{"what": c.what, "cosine": c.cosine} for c in causes]}, indent=2))
    else:
        output.tell_comparison(found, causes)


def _causes(one: Path, other: Path, video: Path | None, networks: dict[str, str | None], device: str) -> list[Cause]:
    """What is tried, with the settings that the explanation of the first file has."""
    from pydantic import ValidationError

    from i3d.features.compare import likely_causes
    from i3d.features.extract import extractor_of
    from i3d.features.sidecar import read_sidecar
    from i3d.recipes.features import FeatureSettings

    sidecar = one.with_suffix(".json")
    told = read_sidecar(sidecar)
    if told is None or "video" not in told:
        raise InputError(f"{printable(str(sidecar))}: is not there whole; the search needs what it says")
    try:
        made = told["made_with"]
        flows = [weights["flow"] for weights in made["weights"] if weights["flow"]]
        settings, precision = FeatureSettings(**made["settings"]), made["precision"]
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{printable(str(sidecar))}: is damaged; make the features anew (--force)") from error
    source = extractor_of(
        networks.pop("model"),
        settings,
        flow=flow_method(flows[0]) if flows else None,
        compute=ComputeConfig(device, precision),
        **cast(dict[str, Any], networks),
    )
    if [w["sha256"] for w in source.made_with["weights"]] != [w["sha256"] for w in made["weights"]]:
        raise InputError(f"{printable(str(sidecar))}: was made with other weights than --model and --flow-model say")
    return likely_causes(source.extractor, video or Path(told["video"]), other)


def _of_all(*counts: int) -> list[int]:
    """The sums over all processes; each waits here for the others."""
    from torch import device

    from i3d.utils.distributed import init_world

    lines = init_world(device("cpu")).all_gather([" ".join(map(str, counts))])
    return [sum(column) for column in zip(*(map(int, line.split()) for line in lines), strict=True)]


def _settings(
    preset: str | None,
    given: dict[str, Any],
    fps: str | None,
    crops: str | None,
    *,
    grid: bool,
    flip: bool,
    dense: bool,
) -> FeatureSettings:
    """The settings of a preset, or the plain ones, with what was said changed."""
    from pydantic import ValidationError

    from i3d.recipes.features import FeatureSettings, feature_preset
    from i3d.recipes.settings import first_error

    if dense and (given["stride"] not in (None, 1) or given["padding"] or given["align"]):
        raise InputError("--dense: is stride 1, centred, with repeated ends; leave --stride, --align, --padding out")
    if flip and crops == "10":
        raise InputError("--flip: ten crops have the mirror images already; leave it out")
    fields: dict[str, Any] = (feature_preset(preset) if preset else FeatureSettings()).model_dump()
    if dense:
        fields |= {"stride": 1, "align": "centre", "padding": "repeat"}
    fields |= {name: value for name, value in given.items() if value is not None}
    if crops is not None:
        if crops not in CROPS:
            raise InputError(f"--crops {crops!r}: is none of {', '.join(CROPS)}")
        fields["crops"] = CROPS[crops]
    if fps is not None:
        try:
            fields["fps"] = None if fps == "native" else float(fps)
        except ValueError as error:
            raise InputError(f"--fps {fps!r}: write a number, or native") from error
    try:
        return FeatureSettings(**fields | {"grid": grid or fields["grid"], "flip": flip or fields["flip"]})
    except ValidationError as error:
        raise InputError(f"features: {first_error(error)}") from error
