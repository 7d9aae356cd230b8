"""Accuracies that others published for weights trained by a recipe. None was measured here."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Published(NamedTuple):
    """An accuracy in percent that others published for weights trained by a recipe, with how they tested."""

    top1: float
    top5: float
    protocol: str
    source: str


_V0, _V1 = "MMAction2 0.x", "MMAction2 1.x"
_10x3 = "10 clips x 3 crops"
_PAPER = "Carreira & Zisserman 2017"
PUBLISHED: Final[Mapping[str, Published]] = {
    "i3d_r50_32x2x1_100e_kinetics400_rgb": Published(72.68, 90.78, f"{_10x3}, frames 340x256", _V0),
    "i3d_r50_video_32x2x1_100e_kinetics400_rgb": Published(72.85, 90.75, f"{_10x3}, short side 256", _V0),
    "i3d_r50_dense_32x2x1_100e_kinetics400_rgb": Published(72.77, 90.57, f"{_10x3}, frames 340x256", _V0),
    "i3d_r50_lazy_32x2x1_100e_kinetics400_rgb": Published(72.32, 90.72, f"{_10x3}, frames 340x256", _V0),
    "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb": Published(
        74.71, 91.81, f"{_10x3}, short side 256", _V0
    ),
    "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb": Published(73.37, 91.26, f"{_10x3}, short side 256", _V0),
    "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb": Published(73.92, 91.59, f"{_10x3}, short side 256", _V0),
    "i3d_r34_32x2x1_100e_kinetics400_rgb": Published(68.37, 88.15, _10x3, f"{_V0}, earliest table"),
    **{
        f"i3d_imagenet-pretrained-{variant}32x2x1-100e_kinetics400-rgb": Published(top1, top5, _10x3, _V1)
        for variant, top1, top5 in [
            ("r50_8xb8-", 73.47, 91.27),
            ("r50_8xb8-dense-", 73.77, 91.35),
            ("r50-heavy_8xb8-", 76.21, 92.48),
            ("r50-nl-embedded-gaussian_8xb8-", 74.73, 91.80),
            ("r50-nl-gaussian_8xb8-", 73.97, 91.33),
            ("r50-nl-dot-product_8xb8-", 74.80, 92.07),
        ]
    },
    "inception_rgb_kinetics400": Published(71.1, 89.3, "all frames at 25 fps, centre crop 224", _PAPER),
    "inception_flow_kinetics400": Published(63.4, 84.9, "all frames at 25 fps, centre crop 224", _PAPER),
}
