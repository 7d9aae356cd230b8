"""The command line. Each command is one function that calls one verb; heavy imports wait until it runs.

Exit codes: 0 all went well, 1 failure, 2 bad usage, 3 some video could not be read, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from i3d.errors import I3DError, InputError, VideoError, printable

if TYPE_CHECKING:
    from i3d.predict import Predictor
    from i3d.results.prediction import Prediction
    from i3d.results.tables import Journal
    from i3d.video.reader import Limits

MAX_STDIN_BYTES = 1 << 30

app = typer.Typer(
    help="Recognise human actions in video with Inflated 3D ConvNets (I3D).",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from i3d import __version__

        typer.echo(f"i3d {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


@app.command()
def predict(
    videos: Annotated[
        list[str],
        typer.Argument(
            help="Video files, folders (of videos, or of the frames of one), patterns, or lists (.txt: one path a "
            "line; .csv: a column path, file or video). '-' reads one video from the standard input.",
            show_default=False,
        ),
    ],
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to tell.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Write all results to this .csv, .json or .jsonl; an interrupted run goes on.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what --out holds from other runs.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    annotate: Annotated[
        Path | None, typer.Option(help="Draw the labels on the video: an .mp4, or its first 10 s as .gif.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32 (exact), bf16 (faster) or fp16 (CUDA).")] = "fp32",
    frames_fps: Annotated[
        float | None, typer.Option(help="How fast the images of a folder were taken (default: as the network expects).")
    ] = None,
    time_limit: Annotated[
        float, typer.Option(min=0, help="Seconds by which decoding may lag behind the playing time of a video.")
    ] = 60.0,
) -> None:
    """Tell the action in each video, by the pretrained Kinetics-400 network.

    Example: i3d predict clip.mp4

    Example: i3d predict holiday/ --out actions.csv
    """
    from i3d.data.inputs import expand
    from i3d.results.annotate import check_annotate
    from i3d.results.tables import Journal, as_json, check_suffix, write_predictions
    from i3d.video.reader import Limits

    paths = ["-"] if videos == ["-"] else expand(videos)
    limits = Limits(max_seconds=time_limit)
    if out is not None:
        _check_folder("--out", out)
        check_suffix(out)
    if annotate is not None:
        _check_folder("--annotate", annotate)
        check_annotate(annotate)
        if len(paths) > 1:
            raise InputError(f"--annotate draws on one video, {len(paths)} were given; name one")
    if frames_fps is not None and not 0 < frames_fps <= 1000:
        raise InputError(f"--frames-fps must be above 0 and at most 1000, got {frames_fps:g}")
    predictor = _loaded(device, precision)
    journal = None
    if out is not None:
        settings = {"protocol": predictor.protocol_line, "weights": predictor.weights_sha256, "top_k": top_k}
        settings |= {"device": predictor.device.type, "frames_fps": frames_fps}
        journal = Journal(out, settings, paths, force=force)
    rows = _predict_all(paths, predictor, journal, top_k=top_k, frames_fps=frames_fps, limits=limits, show=not json)
    if out is not None:
        write_predictions(out, rows, top_k=top_k)
    if json:
        typer.echo(as_json(rows))
    elif any(row.status == "ok" for row in rows):
        typer.echo(f"protocol: {rows[0].protocol if len(rows) == 1 else predictor.protocol_line}")
    bad = sum(row.status == "error" for row in rows)
    if len(rows) > 1 or out is not None:
        _say(f"{len(rows) - bad} of {len(rows)} videos recognised" + (f", in {printable(str(out))}" if out else ""))
    if annotate is not None and not bad:
        _annotate(paths[0], rows[0], annotate, frames_fps=frames_fps, limits=limits)
    if bad:
        raise typer.Exit(3)


@app.command()
def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Check this installation: versions, devices, decoder, weights, and a computation with a known answer.

    Example: i3d doctor
    """
    from dataclasses import asdict
    from json import dumps

    from i3d.doctor import doctor as examine

    checks = examine()
    if json:
        typer.echo(dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            typer.echo(f"{ {True: 'ok', False: 'BAD', None: ''}[check.ok]:4}{check.name:<12}{check.found}")
    if any(check.ok is False for check in checks):
        _say("error: this installation is not sound; install i3d again, or show these lines when you ask for help")
        raise typer.Exit(1)


def _check_folder(option: str, path: Path) -> None:
    if not path.parent.is_dir():
        where = printable(str(path.parent))
        raise InputError(f"{option} {printable(str(path))}: there is no folder {where}; make it first")


def _loaded(device: str, precision: str) -> Predictor:
    from typing import cast

    from i3d.predict import Precision, Predictor

    return Predictor(device=device, precision=cast(Precision, precision))


def _predict_all(
    paths: list[str],
    predictor: Predictor,
    journal: Journal | None,
    *,
    top_k: int,
    frames_fps: float | None,
    limits: Limits,
    show: bool,
) -> list[Prediction]:
    """One row a path, in order. What is wrong with a video is told on stderr as soon as it is known."""
    from i3d.predict import failed

    rows: list[Prediction] = []
    with _Progress(len(paths)) as progress, journal or nullcontext():
        for path in paths:
            progress.begin(path)
            row = journal.done(path) if journal else None
            if row is None:
                try:
                    row = predictor(
                        _source(path), top_k=top_k, frames_fps=frames_fps, limits=limits, on_window=progress.window
                    )
                except VideoError as error:
                    row = failed(path, error, predictor.protocol_line)
                if journal:
                    journal.add(row)
            rows.append(row)
            progress.end()
            if row.error:
                _say(f"error: {row.error}" if row.status == "error" else f"{printable(path)}: {row.error}")
            if show and row.status == "ok":
                _print_table(row) if len(paths) == 1 else _print_line(row, width=min(60, max(map(len, paths))))
    return rows


class _Progress:
    """A bar on stderr, if that is a terminal."""

    def __init__(self, num_videos: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._bar = Progress(
            *columns,
            console=console,
            disable=not console.is_terminal,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("", total=num_videos)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, path: str) -> None:
        self._name = printable(path)
        self._bar.update(self._task, description=self._name)

    def window(self, num_windows: int, seconds: float) -> None:
        self._bar.update(self._task, description=f"{self._name}: {num_windows} windows, {seconds:.0f} s of video")

    def end(self) -> None:
        self._bar.advance(self._task)


def _source(path: str) -> str | bytes:
    """A path as it is; "-" is the standard input, read whole."""
    if path != "-":
        return path
    content = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(content) > MAX_STDIN_BYTES:
        raise InputError(f"the standard input holds over {MAX_STDIN_BYTES >> 20} MiB; give a file")
    return content


def _print_table(row: Prediction) -> None:
    typer.echo(printable(row.path))
    width = max(len(p.label) for p in row.predictions)
    for rank, p in enumerate(row.predictions, start=1):
        typer.echo(f"{rank:3}  {p.label:<{width}}  {100 * p.score:6.2f} %")


def _print_line(row: Prediction, *, width: int) -> None:
    labels = ", ".join(f"{p.label} {100 * p.score:.1f} %" for p in row.predictions[:3])
    typer.echo(f"{printable(row.path):<{width}}  {labels}")


def _annotate(path: str, row: Prediction, out: Path, *, frames_fps: float | None, limits: Limits) -> None:
    from i3d.results.annotate import annotate

    annotate(_source(path), row, out, frames_fps=frames_fps, limits=limits)
    _say(f"labels drawn on the video: {printable(str(out))}")


def _say(message: str) -> None:
    typer.echo(message, err=True)


def main() -> None:
    """Entry point of the command `i3d`: errors become one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    try:
        app(standalone_mode=True)
    except I3DError as error:
        _end(f"error: {error}", code=3 if isinstance(error, VideoError) else 2)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        where = f"{printable(str(error.filename))}: " if error.filename else ""
        _end(f"error: {where}reading or writing failed ({error.strerror or error}); check disk and rights", code=1)


def _end(message: str, *, code: int) -> NoReturn:
    _say(message)
    sys.exit(code)


if __name__ == "__main__":
    main()
