"""`i3d predict`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import accepted, check_protocols, check_videos, refuse
from i3d.cli.limits import RATE, WEEK, Within
from i3d.cli.streams import choose_streams, parse_fusion
from i3d.cli.usage import command


@Parameter(name="*")
@dataclass(frozen=True)
class PredictOptions:
    """What is predicted, and where it is written."""

    model: shared.ModelOptions = shared.ModelOptions()

    classes: Annotated[shared.Classes, Parameter(group=shared.MODEL)] = None
    """Class names: a file, kinetics400, kinetics600, ucf101 or hmdb51."""

    frames_fps: Annotated[float | None, Parameter(group=shared.INPUT, validator=RATE)] = None
    """Frame rate of folders of images (default: as the network expects)."""

    max_decode_lag: Annotated[float, Parameter(group=shared.INPUT, validator=Within(0, WEEK))] = 60.0
    """Stop decoding a video that takes so many seconds longer than playing it."""

    top_k: Annotated[int, Parameter(group=shared.COMPUTED, alias="-k"), shared.COUNT] = 5
    """Classes to print for each video."""

    min_score: Annotated[float, Parameter(group=shared.COMPUTED, validator=Within(0, 1))] = 0.0
    """A video whose best score is lower is unsure (0 to 1)."""

    min_familiarity: Annotated[float | None, Parameter(group=shared.COMPUTED, validator=Within(0, 1))] = None
    """So is one as far from the training clips as fewer held-out clips than this fraction (default: 0.05)."""

    protocol: Annotated[
        str | None, Parameter(group=shared.COMPUTED, validator=accepted(check_protocols, "--protocol"))
    ] = None
    """Clips x crops, e.g. 10x3, or windows: all frames (default: the network's)."""

    num_clips: Annotated[int | None, Parameter(group=shared.COMPUTED), shared.whole(1, 9999)] = None
    """Clips of a video, with the network's own crops."""

    out: Annotated[Path | None, shared.out_file(".csv", ".json", ".jsonl", resumes=True)] = None
    """Write results to this .csv, .json or .jsonl; resumes a stopped run."""

    annotate: Annotated[Path | None, shared.out_file(".mp4", ".gif", option="--annotate", or_folder=True)] = None
    """Draw the labels on a copy of each video below this folder, or of one: NAME.mp4, or its first 10 s as NAME.gif."""

    streams: shared.StreamOptions = shared.StreamOptions()
    fusion: shared.FusionOptions = shared.FusionOptions()
    compute: shared.ComputeOptions = shared.ComputeOptions()
    force: shared.Force = False
    json: shared.Json = False


def predict(*videos: shared.Videos, options: PredictOptions = PredictOptions()) -> int:
    """Recognise the action in each video.

    The network is the pretrained one of Kinetics-400, or --model. Networks of clips score the clips of their own test;
    the fraction of the video that these cover is printed. '-' reads one video from the standard input. Exit code 3:
    some video could not be read (under torchrun 0, with a warning).

    Examples:
      i3d predict clip.mp4
      i3d predict holiday/ --out actions.csv --annotate labelled
      i3d predict clip.mp4 --model epoch_100.pth --recipe i3d_r50_32x2x1_100e_kinetics400_rgb
    """
    names = check_videos(videos)
    if options.protocol is not None:
        refuse({f"--num-clips {options.num_clips}": options.num_clips}, ": --protocol sets it; leave one out")
    fusion = parse_fusion(options.fusion, options.streams)
    networks = choose_streams(options.model.model, options.model.recipe, options.streams)
    return run.predict.run_predict(names, options, networks, fusion)


app = command(predict, "predict")
