"""`i3d features VIDEO...` and `i3d features compare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from i3d.cli import options as shared
from i3d.cli import run
from i3d.cli.checks import check_videos, exists, frame_rate
from i3d.cli.streams import choose_streams
from i3d.cli.usage import command
from i3d.errors import InputError

Preset = Literal[
    "video-features-i3d", "anomaly-10crop-16", "segmentation-21-centred", "localisation-16-25fps", "charades-24"
]
Layout = Literal["actionformer", "opentad", "rtfm", "mmaction2-localizer"]
ArrayFormat = Literal["npy", "npz", "h5", "parquet"]
ARRAYS: Final = {"mmaction2-localizer": "csv"}  # the formats of layouts but npy
CROPS: Final = {"1": "center", "3": "three", "5": "five", "10": "ten"}


@Parameter(name="*", group=shared.COMPUTED)
@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """What a row of features is, and where it is written."""

    out: shared.OutFolder
    model: shared.ModelOptions = shared.ModelOptions()
    streams: shared.StreamOptions = shared.StreamOptions()

    preset: Preset | None = None
    """Published settings by name."""

    layout: Annotated[Layout | None, Parameter(group=shared.OUTPUT)] = None
    """Arrays, names and annotations as this code base reads them."""

    segments: Annotated[Path | None, Parameter(group=shared.INPUT, validator=exists("--segments"))] = None
    """With --layout: a file of segments of the videos, its ground truth."""

    layer: str | None = None
    """pooled (default), or an endpoint such as Mixed_5c or layer4."""

    grid: bool = False
    """Save the map (T, H, W) of an endpoint instead of its mean."""

    window: Annotated[int | None, shared.whole(1, 10_000)] = None
    """Frames of a row (default: 64)."""

    stride: Annotated[int | None, shared.COUNT] = None
    """Frames from one row to the next (default: 64)."""

    fps: str | None = None
    """Frames a second, or native (default: 25)."""

    align: Annotated[Literal["start", "centre"] | None, Parameter(name="--window-align")] = None
    """Row r begins at frame r x stride (start), or is centred there."""

    padding: Literal["none", "repeat"] | None = None
    """Only whole windows (none), or repeat the first and last frame."""

    crops: Literal["1", "3", "5", "10"] | None = None
    """Crops of each frame (default: 1)."""

    flip: Annotated[bool, Parameter(name="--mirror-crops")] = False
    """Add the mirror image of each crop."""

    dense: bool = False
    """A row for each frame: stride 1, centred, ends repeated."""

    array_format: Annotated[ArrayFormat | None, Parameter(group=shared.OUTPUT)] = None
    """File format (default: npy); others hold frames and seconds too."""

    compute: shared.ComputeOptions = shared.ComputeOptions()
    force: shared.Force = False

    def check(self) -> None:
        """An InputError for options that contradict each other."""
        if self.dense and (self.stride not in (None, 1) or self.padding or self.align):
            raise InputError(
                "--dense: is stride 1, centred, with repeated ends; leave --stride, --window-align, --padding out"
            )
        if self.flip and self.crops == "10":
            raise InputError("--mirror-crops: ten crops have the mirror images already; leave it out")
        if self.fps is not None:
            frame_rate(self.fps)
        if self.segments is not None and self.layout is None:
            raise InputError("--segments: is the ground truth of a layout; name that with --layout, or leave it out")
        if self.layout is not None and self.array_format not in (None, ARRAYS.get(self.layout, "npy")):
            has = f"has arrays as .{ARRAYS.get(self.layout, 'npy')}"
            raise InputError(f"--array-format {self.array_format}: the layout {self.layout} {has}; leave it out")


def features(*videos: shared.Videos, options: FeatureOptions) -> int:
    """Extract features of videos, or compare two files of them.

    Each video gets an array with a row for every window of frames, and a .json with the SHA-256 of the weights, all
    settings, and the frames and seconds of each row. Existing output of the same video and settings is reused; the same
    command resumes an interrupted run. Exit code 3: some video could not be read (under torchrun 0, with a warning).

    Examples:
      i3d features clips/ --out features --window 16 --stride 16
      i3d features match.mp4 --out features --preset localisation-16-25fps
      i3d features videos/ --out tad --layout actionformer --segments annotations.json
      i3d features compare ours/clip.npy theirs/clip.npy
    """
    names = check_videos(videos)
    options.check()
    networks = choose_streams(options.model.model, options.model.recipe, options.streams)
    return run.features.run_features(names, networks, options)


@Parameter(name="*", group=shared.MODEL)
@dataclass(frozen=True)
class CompareOptions:
    """With which networks the causes of differences are searched for."""

    video: Annotated[Path | None, Parameter(group=shared.INPUT)] = None
    """The video, to search for causes (default: that of the .json)."""

    model: shared.ModelOptions = shared.ModelOptions()
    flow: shared.FlowModelOptions = shared.FlowModelOptions()
    device: shared.Device = "auto"
    json: shared.Json = False


def compare(
    ours: Annotated[Path, shared.in_file("Features that i3d wrote, with their .json.")],
    theirs: Annotated[Path, shared.in_file("Features of the same video, of any tool.")],
    /,
    *,
    options: CompareOptions = CompareOptions(),
) -> None:
    """Compare two files of features row by row, and search for causes.

    With --model or --flow-model, the first file is recomputed with changes: the settings of the other's .json, channel
    order BGR, one frame later or earlier, other frame rates, windows, sizes and value ranges, and other flow.

    Examples:
      i3d features compare ours/clip.npy theirs/clip.npy --model inception_rgb_kinetics400
    """
    run.features.run_compare(ours, theirs, options)


app = command(features, "features")
app.command(command(compare, "compare"))
