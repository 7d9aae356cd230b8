"""`i3d fvd`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import check_videos
from i3d.cli.limits import SIDE, WEEK, Within
from i3d.cli.usage import command

Protocol = Literal[
    "original", "stylegan-v", "stylegan-v-128", "stylegan-v-128-by-8", "videogpt", "common-metrics", "cd-fvd"
]
SetOfVideos = Annotated[shared.FileOrName, Parameter(group=shared.INPUT, required=True)]
LENGTH = shared.whole(1, 10_000)


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True)
class ProtocolOptions:
    """How the distance is computed. What is left open is that of --fvd-protocol."""

    fvd_protocol: Protocol = "original"
    """Published protocol by name."""

    frames: Annotated[int | None, LENGTH] = None
    """Frames of a clip (16; stylegan-v-128: 128)."""

    stride: Annotated[int | None, LENGTH] = None
    """Frames of the video from one frame of a clip to the next."""

    clips: Literal["first", "random", "all"] | None = None
    """Which clips of each video."""

    max_clips: Annotated[int | None, shared.whole(2, 10_000_000)] = None
    """Use only the first clips of each set."""

    resize: Literal["stretch-tf1", "stretch", "short-side", "twice"] | None = None
    """How frames become 224 x 224 (docs/fvd.md)."""

    resolution: Annotated[int | None, shared.whole(1, SIDE)] = None
    """Pixels of the first resize of cd-fvd."""

    covariance: Literal["n-1", "n"] | None = None
    """Divisor of the covariance."""

    features: Literal["logits", "pooled"] | None = None
    """Logits, or pooled features, which are another metric."""


@Parameter(name="*")
@dataclass(frozen=True)
class FvdOptions:
    """What is computed, and how it is printed."""

    protocol: ProtocolOptions = ProtocolOptions()

    model: Annotated[shared.FileOrName | None, shared.WEIGHTS, Parameter(alias="-m")] = None
    """Weights of another network, whose distance is not FVD (default: shipped)."""

    mixed_sizes: Annotated[bool, Parameter(group=shared.INPUT)] = False
    """Accept clips of different heights and widths."""

    max_decode_lag: Annotated[float, Parameter(group=shared.INPUT, validator=Within(0, WEEK))] = 60.0
    """Stop decoding a video that takes so many seconds longer than playing it."""

    control: Annotated[bool, Parameter(group=shared.COMPUTED)] = False
    """Add the distance with generated frames shuffled, and frozen: how much of it is motion."""

    bootstrap: Annotated[int, Parameter(group=shared.COMPUTED), shared.whole(0, 100_000)] = 0
    """Draws for a 95 % interval; 0: none."""

    runs: Annotated[int, Parameter(group=shared.COMPUTED), shared.whole(1, 1000)] = 1
    """Draws of random clips, each by the next seed."""

    seed: shared.Seed = 0
    json: shared.Json = False

    compute: shared.ComputeOptions = shared.ComputeOptions()


def fvd(
    real: Annotated[
        SetOfVideos,
        Parameter(help="Real videos: a folder, pattern or list, a .npy or .npz of clips, or a file of features."),
    ],
    generated: Annotated[SetOfVideos, Parameter(help="Generated videos, as any of these.")],
    /,
    *,
    options: FvdOptions = FvdOptions(),
) -> int:
    """Compute the Frechet Video Distance between two sets of videos.

    The network is the one of the original FVD, inside the package. One line prints the whole protocol; warnings name
    what makes the value incomparable. Features are cached: the same command resumes an interrupted run. Exit code 3:
    some video could not be read.

    Examples:
      i3d fvd real/ generated/
      i3d fvd real/ generated/ --fvd-protocol stylegan-v --control
      i3d fvd real.npy generated.npy --frames 30 --bootstrap 200 --json
    """
    sets = check_videos([real]), check_videos([generated])
    return run.fvd.run_fvd(sets[0][0], sets[1][0], options)


app = command(fvd, "fvd")
