"""Settings of features: layer, windows, frame rate, crops; presets under known names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from pydantic import Field

from i3d.errors import InputError, quoted
from i3d.recipes.settings import Settings

POOLED: Final = "pooled"


class FeatureSettings(Settings):
    """Windows of frames slide over a video; of each, one layer of the network is a row."""

    layer: str = POOLED  # what the classifier sees, averaged over time and space; or an endpoint of the network
    grid: bool = False  # an endpoint's map (T, H, W, C) is stored; else it is averaged
    window: int = Field(default=64, ge=1, le=10_000)  # frames of a row
    stride: int = Field(default=64, ge=1)  # frames from one row to the next
    fps: float | None = Field(default=25.0, gt=0)  # the rate of these frames; None: the video's own
    align: Literal["start", "centre"] = "start"  # row r begins with frame r * stride, or has it in its middle
    padding: Literal["none", "repeat"] = "none"  # only rows that fit, or also those that the first or last frame fills
    crops: Literal["center", "three", "five", "ten"] = "center"
    flip: bool = False  # each crop is followed by its mirror image ("ten" has them already)


class Preset(NamedTuple):
    """Settings by a name, where they come from, and what of it was compared."""

    settings: FeatureSettings
    source: str
    status: str


PRESETS: Final[Mapping[str, Preset]] = {
    "video-features-i3d": Preset(
        FeatureSettings(window=64, stride=64, fps=None),
        "v-iashin/video_features, models/i3d/extract_i3d.py: stacks of 64 frames at the video's own rate, short side "
        "256, centre crop 224",
        "read there: Pillow's resizing, which averages (here OpenCV's, as in training); a stack needs a 65th frame; "
        "the flow of frame k is that to frame k + 1, by RAFT or PWC (here it leads to frame k); numbers not compared",
    ),
    "anomaly-10crop-16": Preset(
        FeatureSettings(window=16, stride=16, fps=None, crops="ten"),
        "tianyu0207/RTFM, issues 2 and 33: 16 frames that do not overlap, PyTorch's ten crops, an I3D-ResNet-50 (2048 "
        "numbers)",
        "as its author describes; others could not reproduce his files (issue 95): size and rate are unknown; "
        "numbers not compared",
    ),
    "segmentation-21-centred": Preset(
        FeatureSettings(window=21, stride=1, fps=None, align="centre", padding="repeat"),
        "yabufarha/ms-tcn, issues 3, 19 and 34: for each frame t the 21 frames t - 10 to t + 10, RGB and flow",
        "by its author; the ends are filled with zeros there, with the first and last frame here; numbers not compared",
    ),
    "localisation-16-25fps": Preset(
        FeatureSettings(window=16, stride=16, fps=25.0),
        "temporal action localisation on THUMOS and ActivityNet: 16 frames at 25 fps that follow each other",
        "the common practice; Finspire13/CMCS (issue 29), whose files ActionFormer takes, has stride 4 at 30 fps: "
        "--stride 4 --fps 30; numbers not compared",
    ),
    "charades-24": Preset(
        FeatureSettings(window=64, stride=8, fps=24.0),
        "piergiaj/pytorch-i3d on Charades at 24 fps, whole videos at once, 8 frames a feature",
        "the rate as documented there; windows of 64 that share frames are ours; numbers not compared",
    ),
}


def feature_preset(name: str) -> FeatureSettings:
    """The settings of a preset by its name."""
    if name not in PRESETS:
        raise InputError(f"preset {quoted(name)}: there are {', '.join(PRESETS)}")
    return PRESETS[name].settings
