"""Settings of features: layer, windows, frame rate, crops; presets under known names."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from i3d.errors import InputError, quoted
from i3d.recipes.named import RECIPES
from i3d.recipes.settings import NetworkSettings, Settings
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
INCEPTION: Final = ("inception",)
BASELINE: Final = "i3d_baseline_32x2_IN_pretrain_400k"
# The numbers of a row of their authors' files, the networks that gave them (of each stream), and those in words.
AUTHORS: Final[Mapping[str, tuple[int, tuple[str, ...], str]]] = {
    "video-features-i3d": (1024, INCEPTION, "an Inception-I3D"),
    "anomaly-10crop-16": (2048, (BASELINE,), "the I3D-ResNet-50 of pytorch-resnet3d"),
    "segmentation-21-centred": (2048, INCEPTION * 2, "two Inception-I3D, of RGB and of flow"),
    "localisation-16-25fps": (2048, INCEPTION * 2, "two Inception-I3D, of RGB and of flow"),
    "charades-24": (1024, INCEPTION, "an Inception-I3D"),
}
NOT_IN_MAPS: Final = {  # settings of a network that do not change its features
    "num_classes", "dropout", "head_pooling", "activation_checkpointing", "frozen_stages", "norm_eval",
    "zero_init_residual",
}  # fmt: skip


def describe_other_network(preset: str, networks: Sequence[NetworkSettings], num_channels: int) -> str:
    """How a preset's authors' networks differ from `networks`, whose rows have `num_channels`; "" if they do not."""
    width, authors, words = AUTHORS[preset]
    is_same = len(networks) == len(authors) and all(map(_is_network, networks, authors))
    if num_channels == width and is_same:
        return ""
    theirs = f"preset {preset}: its authors' rows have {width} numbers, of {words}"
    if num_channels != width:
        return f"{theirs}; these have {num_channels}, and cannot replace them"
    own = " and ".join(network.description for network in networks)
    return f"{theirs}; these are of {own}, and cannot replace them"


def _is_network(network: NetworkSettings, author: str) -> bool:
    """Whether a network is of a kind, or computes the features of a published recipe."""
    if author == network.kind:
        return True
    known = RECIPES[author].network if author in RECIPES else None
    return known is not None and known.model_dump(exclude=NOT_IN_MAPS) == network.model_dump(exclude=NOT_IN_MAPS)


@checks_types
def feature_preset(name: str) -> FeatureSettings:
    """The settings of a preset by its name."""
    if name not in PRESETS:
        raise InputError(f"preset {quoted(name)}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
