"""`i3d flow VIDEO...` and `i3d flow show`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from i3d import console
from i3d.cli_options import WithDefault, Workers
from i3d.cli_streams import flow_method
from i3d.errors import InputError, VideoError, printable

if TYPE_CHECKING:
    from i3d.data.annotations import Annotations


flow = typer.Typer(
    cls=WithDefault,
    help="Compute the optical flow of videos: `i3d flow VIDEO... --out DIR` is `i3d flow of ...` (its options: "
    "`i3d flow of --help`); or show it.",
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
    from i3d.data.extract_frames import extract_frames
    from i3d.data.frame_jobs import FlowSettings

    settings = FlowSettings(flow_method(method, "--method") or "tvl1", bound, cast(Any, align), cast(Any, format))
    found = _annotations(videos)
    with console.Steps("computing flow", len(found)) as steps:
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
    console.tell_extraction(done)
    if done.bad:
        raise typer.Exit(3)


@flow.command()
def show(
    source: Annotated[Path, typer.Argument(help="A video, or a folder that `i3d flow` wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The .mp4 or .gif to write.")],
    method: Method = "dis",
    bound: Annotated[float, typer.Option(min=0.1, help="Pixels at which a colour is full.")] = 8.0,
) -> None:
    """Draw flow in colours: the colour is the direction, its strength the speed, white is no movement.

    Example: i3d flow show clip.mp4 --out flow.mp4
    """
    from fractions import Fraction

    from i3d.data.frame_folders import names_in, open_frames
    from i3d.video.flow import flow_colours, flow_of_bytes, flows_of
    from i3d.video.reader import open_video
    from i3d.video.writer import SUFFIXES, write_video

    chosen = flow_method(method, "--method") or "dis"
    if out.suffix.lower() not in SUFFIXES or not out.parent.is_dir():
        raise InputError(f"--out {printable(str(out))}: must be a {' or '.join(SUFFIXES)} in a folder that is there")
    if source.is_dir():
        with open_frames(source, names_in(source, modality="flow")) as video:
            flows = [flow_of_bytes(frame_HW2) for frame_HW2 in video.stream()]
        fps = Fraction(25)
    else:
        with open_video(source) as video:
            fps = Fraction(video.fps or 25).limit_denominator(1000)
            flows = list(flows_of(video.stream(), method=chosen))
    if not flows:
        raise VideoError(str(source), "it has one frame, and flow is between two", "give a longer one")
    height, width = (side - side % 2 for side in flows[0].shape[:2])
    write_video(out, (flow_colours(f, bound=bound)[:height, :width] for f in flows), fps=fps)
    console.say(f"flow in colours: {printable(str(out))}")


def _annotations(videos: list[str]) -> Annotations:
    """The videos as clips without classes, by their paths below what they have in common."""
    from i3d.data.annotations import Rows, build
    from i3d.data.inputs import expand

    paths = [os.path.abspath(path) for path in expand(videos)]  # noqa: PTH100 (links stay)
    root = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))  # noqa: PTH120
    rows = Rows()
    for path in dict.fromkeys(paths):
        rows.add(os.path.relpath(path, root), ())
    return build(rows, source=root, root=root)


def _rate(fps: str) -> float | None:
    try:
        return None if fps == "native" else float(fps)
    except ValueError as error:
        raise InputError(f"--fps {fps!r}: write a number, or native") from error
