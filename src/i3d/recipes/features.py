"""Settings of features: layer, windows, frame rate, crops; presets under known names."""

from collections.abc import Mapping
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from i3d.errors import InputError, quoted
from i3d.recipes.settings import Settings
from i3d.utils.arguments import checks_types

POOLED: Final = "pooled"


class FeatureSettings(Settings):
    """Windows of frames slide over a video; of each, one layer of the network is a row."""

    layer: str = POOLED  # input of the classifier, averaged over time and space; or an endpoint of the network
    grid: bool = False  # an endpoint's map (T, H, W, C) is stored; else it is averaged
    window: int = Field(default=64, ge=1, le=10_000)  # frames of a row
    stride: int = Field(default=64, ge=1, le=1_000_000)  # frames from one row to the next
    fps: float | None = Field(default=25.0, gt=0, le=1000)  # the rate of these frames; None: the video's own
    align: Literal["start", "centre"] = "start"  # row r begins with frame r * stride, or has it in its middle
    padding: Literal["none", "repeat"] = "none"  # only rows that fit, or also those that the first or last frame fills
    crops: Literal["center", "three", "five", "ten"] = "center"
    flip: bool = False  # each crop is followed by its mirror image ("ten" has them already)

    @model_validator(mode="after")
    def _mirrored_once(self) -> Self:
        if self.flip and self.crops == "ten":
            raise ValueError("ten crops have the mirror images already; leave flip out")
        return self


# docs/features.md names the source of each, and what differs from it. No numbers were compared.
PRESETS: Final[Mapping[str, FeatureSettings]] = {
    "video-features-i3d": FeatureSettings(window=64, stride=64, fps=None),
    "anomaly-10crop-16": FeatureSettings(window=16, stride=16, fps=None, crops="ten"),
    "segmentation-21-centred": FeatureSettings(window=21, stride=1, fps=None, align="centre", padding="repeat"),
    "localisation-16-25fps": FeatureSettings(window=16, stride=16, fps=25.0),
    "charades-24": FeatureSettings(window=64, stride=8, fps=24.0),
}
# The numbers of a row of their authors' files, and the network that gave them.
AUTHORS: Final[Mapping[str, tuple[int, str]]] = {
    "video-features-i3d": (1024, "an Inception-I3D"),
    "anomaly-10crop-16": (2048, "an I3D-ResNet-50, pytorch-resnet3d's"),
    "segmentation-21-centred": (2048, "two Inception-I3D, of RGB and of flow"),
    "localisation-16-25fps": (2048, "two Inception-I3D, of RGB and of flow"),
    "charades-24": (1024, "an Inception-I3D"),
}


def describe_other_network(preset: str, num_channels: int) -> str:
    """How the rows of a preset's authors differ in length from rows of `num_channels`; "" if they do not."""
    width, network = AUTHORS[preset]
    if num_channels == width:
        return ""
    theirs = f"preset {preset}: its authors' rows have {width} numbers, of {network}"
    return f"{theirs}; these have {num_channels}, and cannot replace them"


@checks_types
def feature_preset(name: str) -> FeatureSettings:
    """The settings of a preset by its name."""
    if name not in PRESETS:
        raise InputError(f"preset {quoted(name)}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
