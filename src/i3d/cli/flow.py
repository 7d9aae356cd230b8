"""`i3d flow VIDEO...` and `i3d flow show`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from i3d.cli import output
from i3d.cli.options import WithDefault, Workers
from i3d.cli.streams import flow_method
from i3d.errors import InputError, VideoError, printable

if TYPE_CHECKING:
    from fractions import Fraction

    from i3d.data.annotations import Annotations
    from i3d.video.flow import Flow


flow = typer.Typer(
    cls=WithDefault,
    help="Compute the optical flow of videos, or show it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Videos = Annotated[list[str], typer.Argument(help="Video files, folders, patterns, or lists.", show_default=False)]
Out = Annotated[Path, typer.Option(help="The folder to write to: a folder for each video, and list.txt.")]
FlowFormat = Annotated[str, typer.Option("--format", help="jpg (two pictures each), npz or packed-video.")]
Method = Annotated[str, typer.Option("--method", help="tvl1 (the paper's), dis (fast) or farneback.")]
Bound = Annotated[float, typer.Option(help="The pixels that 0 and 255 stand for; what moves farther is clipped.")]
ShortSide = Annotated[int, typer.Option(min=0, help="Frames are resized to this short side first; 0: not at all.")]
Fps = Annotated[str, typer.Option(help="Frames a second, or native.")]
Align = Annotated[str, typer.Option(help="N frames give N-1 flows (between) or N, the first twice (frames).")]
Force = Annotated[bool, typer.Option("--force", help="Make anew what has other settings.")]


@flow.command("of")
def compute(
    videos: Videos,
    out: Out,
    format: FlowFormat = "jpg",  # noqa: A002
    method: Method = "tvl1",
    bound: Bound = 20.0,
    short_side: ShortSide = 256,
    fps: Fps = "25",
    align: Align = "between",
    workers: Workers = 2,
    force: Force = False,
) -> None:
    """Write the optical flow of videos, as the paper made it: TV-L1 on grey frames of 25 fps at a short side of 256.

    An interrupted run goes on. Method, bound, rate and size stand in the record of each folder. Labelled clips become
    a list to train on with `i3d data extract-frames --flow`. Exit code 3: some video could not be read.

    Example: i3d flow clips/ --out flow --method dis --workers 8
    """
    from i3d.data.frame_extraction.extract import extract_frames
    from i3d.data.frame_extraction.jobs import FlowSettings

    settings = FlowSettings(flow_method(method, "--method") or "tvl1", bound, cast(Any, align), cast(Any, format))
    found, missing = _annotations(videos)
    with output.Steps("computing flow", len(found)) as steps:
        done = extract_frames(
            found,
            out,
            short_side=short_side or None,
            jpeg_quality=100,
            fps=_rate(fps),
            flow=settings,
            num_workers=workers,
            on_clip=steps.done,
            force=force,
        )
    for path in missing:
        output.say(f"error: {printable(path)}: no such file; check the path")
    output.tell_extraction(done, num_missing=len(missing))
    if done.bad or missing:
        raise typer.Exit(3)


@flow.command()
def show(
    source: Annotated[Path, typer.Argument(help="A video, or a folder that `i3d flow` wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The .mp4 or .gif to write.")],
    method: Annotated[str | None, typer.Option(help="Of a video: tvl1, dis (default) or farneback.")] = None,
    bound: Annotated[float, typer.Option(min=0.1, help="Pixels at which a colour is full.")] = 8.0,
    force: Annotated[bool, typer.Option("--force", help="Replace --out.")] = False,
) -> None:
    """Draw flow in colours: the colour is the direction, its strength the speed, white is no movement.

    Example: i3d flow show clip.mp4 --out flow.mp4
    """
    from fractions import Fraction

    from i3d.data.flow_files import FILES
    from i3d.video.reader import open_video
    from i3d.video.writer import SUFFIXES

    where = f"--out {printable(str(out))}"
    chosen = flow_method(method, "--method")
    if out.suffix.lower() not in SUFFIXES or not out.parent.is_dir():
        raise InputError(f"{where}: must be a {' or '.join(SUFFIXES)} in a folder that is there")
    if out.exists() and (not force or out.samefile(source)):
        raise InputError(f"{where}: is there already; choose another name{'' if force else ', or say --force'}")
    source = source.parent if source.name in FILES.values() else source
    if not source.is_dir():
        from i3d.video.flow import consecutive_flows

        with open_video(source) as video:
            fps = Fraction(video.fps or 25).limit_denominator(1000)
            _draw(out, source, consecutive_flows(video.stream(), method=chosen or "dis"), fps=fps, bound=bound)
            notes = video.notes
    elif chosen is not None:
        raise InputError(f"--method {method}: {printable(str(source))} holds flow already; leave it out")
    else:
        notes = _draw_folder(out, source, bound=bound)
    for note in notes:
        output.say(f"warning: {printable(str(source))}: {note}")
    output.say(f"flow in colours: {printable(str(out))}")


def _draw(out: Path, source: Path, flows: Iterator[Flow], *, fps: Fraction, bound: float) -> None:
    """Flow after flow: no more than two are in memory."""
    from itertools import chain

    from i3d.video.flow import flow_to_rgb
    from i3d.video.writer import write_video

    first_HW2 = next(flows, None)
    if first_HW2 is None:
        raise VideoError(str(source), "it has one frame, and flow is between two", "give a longer one")
    height, width = (side - side % 2 for side in first_HW2.shape[:2])
    pictures = (flow_to_rgb(f, bound=bound)[:height, :width] for f in chain([first_HW2], flows))
    write_video(out, pictures, fps=fps)


def _draw_folder(out: Path, folder: Path, *, bound: float) -> tuple[str, ...]:
    """Stored flow, of which the record of its folder tells what its bytes stand for."""
    from fractions import Fraction

    from i3d.data.frame_extraction.jobs import RECORD
    from i3d.data.frame_folders import infer_naming, open_frames
    from i3d.data.resume import read_record
    from i3d.video.flow import BOUND, bytes_to_flow

    settings = (read_record(folder / RECORD) or {}).get("made_with", {})
    if settings.get("flow") is None or "video" not in settings:
        inner = next((path.parent for path in sorted(folder.glob(f"*/**/{RECORD}"))), None)
        if inner is not None:
            what = f"holds a folder for each video; name one, such as {printable(str(inner))}"
            raise InputError(f"{printable(str(folder))}: {what}")
    stored = float((settings.get("flow") or {}).get("bound", BOUND))
    rate = Fraction(settings.get("fps") or 25).limit_denominator(1000)
    try:
        names = infer_naming(folder, modality="flow")
    except InputError as error:
        what = "holds no flow; name a video, or a folder that `i3d flow` wrote"
        raise InputError(f"{printable(str(folder))}: {what}") from error
    with open_frames(folder, names) as video:
        flows = (bytes_to_flow(frame_HW2, bound=stored) for frame_HW2 in video.stream())
        _draw(out, folder, flows, fps=rate, bound=bound)
        return video.notes


def _annotations(videos: list[str]) -> tuple[Annotations, list[str]]:
    """The videos as clips without classes, by their paths below what they have in common; those that are missing."""
    from i3d.data.annotations import build_annotations
    from i3d.data.formats.inputs import expand_inputs
    from i3d.data.rows import Rows

    named = list(dict.fromkeys(expand_inputs(videos)))
    missing = [path for path in named if not os.path.exists(path)]  # noqa: PTH110
    paths = [os.path.abspath(path) for path in named if path not in missing]  # noqa: PTH100 (links stay)
    if not paths:
        raise InputError(f"{printable(missing[0])}: no such file; check the path")
    root = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))  # noqa: PTH120
    rows = Rows()
    for path in dict.fromkeys(paths):
        rows.add(os.path.relpath(path, root), ())
    return build_annotations(rows, source=root, root=root), missing


def _rate(fps: str) -> float | None:
    try:
        return None if fps == "native" else float(fps)
    except ValueError as error:
        raise InputError(f"--fps {fps!r}: write a number, or native") from error
