"""`i3d flow VIDEO...` and `i3d flow show`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import check_videos, frame_rate
from i3d.cli.data import FlowFileOptions
from i3d.cli.limits import SIDE, Within
from i3d.cli.usage import command


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True, kw_only=True)
class FlowOptions:
    """How flow is computed, and where it is written."""

    out: shared.OutFolder

    flow_method: shared.FlowMethod = "tvl1"
    """How flow is computed: tvl1 (the paper's), dis (fast) or farneback."""

    short_side: Annotated[int, shared.whole(0, SIDE)] = 256
    """Resize frames to this short side first; 0: not at all."""

    fps: str = "25"
    """Frames a second, or native."""

    files: FlowFileOptions = FlowFileOptions()
    workers: shared.Workers = 2
    force: shared.Force = False


def compute(*videos: shared.Videos, options: FlowOptions) -> int:
    """Compute the optical flow of videos, or draw it in colours.

    The defaults are those of the paper: TV-L1 on grey frames of 25 fps at a short side of 256. Each video gets a folder
    with a record of method, bound, frame rate and size. The same command resumes an interrupted run. Labelled clips
    become a list to train on with `i3d data extract-frames --flow-method`. Exit code 3: some video could not be read.

    Examples:
      i3d flow clips/ --out flow --flow-method dis --workers 8
      i3d flow show clip.mp4 --out flow.mp4
    """
    names, fps = check_videos(videos), frame_rate(options.fps)
    return run.flow.run_flow(names, options, fps)


def show(
    source: Annotated[Path, shared.in_file("A video, or a folder that `i3d flow` wrote.")],
    /,
    *,
    out: Annotated[Path, shared.out_file(".mp4", ".gif"), Parameter(help="The .mp4 or .gif to write.")],
    flow_method: Annotated[
        shared.FlowMethod | None,
        Parameter(group=shared.COMPUTED, help="How the flow of a video is computed (default: dis)."),
    ] = None,
    max_displacement: Annotated[
        float,
        Parameter(group=shared.COMPUTED, validator=Within(0.1, 100_000), help="Displacement in pixels of full colour."),
    ] = 8.0,
    force: shared.Force = False,  # noqa: ARG001 (`guarded`)
) -> None:
    """Draw optical flow in colours.

    The colour is the direction, its strength the speed; white is no movement.

    Examples:
      i3d flow show clip.mp4 --out flow.mp4
    """
    run.flow.run_show(source, out, flow_method, max_displacement=max_displacement)


app = command(compute, "flow")
app.command(command(show, "show"))
