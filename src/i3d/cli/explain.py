"""`i3d explain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import check_videos
from i3d.cli.limits import RATE, WEEK, Within
from i3d.cli.usage import command
from i3d.utils.outputs import is_drawing


@Parameter(name="*")
@dataclass(frozen=True)
class ExplainOptions:
    """What is explained, and where it is written."""

    model: shared.ModelOptions = shared.ModelOptions()

    classes: Annotated[shared.Classes, Parameter(group=shared.MODEL)] = None
    """Class names: a file, kinetics400, kinetics600, ucf101 or hmdb51."""

    frames_fps: Annotated[float | None, Parameter(group=shared.INPUT, validator=RATE)] = None
    """Frame rate of folders of images."""

    max_decode_lag: Annotated[float, Parameter(group=shared.INPUT, validator=Within(0, WEEK))] = 60.0
    """Stop decoding a video that takes so many seconds longer than playing it."""

    label: Annotated[str | None, Parameter(group=shared.COMPUTED)] = None
    """Label to explain (default: the one that the video gets)."""

    view: Annotated[int | None, Parameter(group=shared.COMPUTED), shared.COUNT] = None
    """Number of the view to explain, from 1 (default: the middle one)."""

    layer: Annotated[str | None, Parameter(group=shared.COMPUTED)] = None
    """Layer of the map (default: the last with a sixteenth of the side, Mixed_4f or layer3)."""

    hide_frames: Annotated[int | None, Parameter(group=shared.COMPUTED), shared.COUNT] = None
    """Frames that the curve hides at a time (default: an eighth of the view)."""

    curve_only: Annotated[bool, Parameter(group=shared.COMPUTED)] = False
    """Only the curve over time, which needs no captum."""

    random_maps: Annotated[int, Parameter(group=shared.COMPUTED), shared.whole(1, 1000)] = 4
    """Random maps beside which the map is scored."""

    seed: shared.Seed = 0

    out: Annotated[Path | None, shared.out_file(".gif", ".mp4")] = None
    """Draw map and curve on the moving view, as .gif or .mp4."""

    plot: Annotated[Path | None, shared.out_file(".png", option="--plot", is_own=is_drawing)] = None
    """Draw a strip of frames with the map, and the curve, to this .png."""

    force: shared.Force = False
    json: shared.Json = False
    flow_method: shared.FlowMethod | None = None
    """Method of optical flow, for a network of flow."""

    compute: shared.ComputeOptions = shared.ComputeOptions()


def explain(
    video: Annotated[shared.FileOrName, Parameter(group=shared.INPUT, help="A video, or a folder of its frames.")],
    /,
    *,
    options: ExplainOptions = ExplainOptions(),
) -> int:
    """Explain the label of a video by a map and a curve over time.

    The map (Grad-CAM, needs `pip install 'i3d[explain]'`) shows which places of a layer speak for the label; its
    deletion and insertion scores stand beside those of random maps. The curve shows how much the score falls when a
    few frames are hidden. One network at a time: of two streams, explain each. Exit code 3: the video could not be
    read.

    Examples:
      i3d explain clip.mp4 --plot why.png
      i3d explain clip.mp4 --label archery --layer Mixed_5c --out why.gif
      i3d explain clip.mp4 --curve-only --runtime openvino
    """
    (name,) = check_videos([video])
    return run.explain.run_explain(name, options)


app = command(explain, "explain")
