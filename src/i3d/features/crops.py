"""The crops of a row of features, in their order in the array.

Five and ten crops lie as in torchvision's FiveCrop and TenCrop, which extractors of features use; tests of accuracy use
MMAction2's (`video.transforms`).
"""

from typing import Any, Final, NamedTuple

from i3d.recipes.features import FeatureSettings
from i3d.video.transforms import crop_boxes

CORNERS: Final = ("top left", "top right", "bottom left", "bottom right", "centre")
SWAPPED: Final = ("top right", "top left", "bottom right", "bottom left", "centre")  # after mirroring
ALONG: Final = ("start", "end", "centre")  # of the longer side
MIRRORED: Final = ", mirrored"


class Crop(NamedTuple):
    """A square of a frame by its upper left pixel."""

    top: int
    left: int
    mirrored: bool


def feature_crops(height: int, width: int, *, size: int, settings: FeatureSettings) -> list[Crop]:
    """The crops of frames of this size, in the order of `crop_names`."""
    match settings.crops:
        case "five":
            crops = five_crops(height, width, size=size)
        case "ten":  # five crops of the frame, then five of the mirrored frame
            crops = five_crops(height, width, size=size)
            crops += [Crop(top, width - size - left, True) for top, left, _ in crops]
        case kind:
            crops = [Crop(*box) for box in crop_boxes(height, width, size=size, crops=kind)]
    return [view for crop in crops for view in ((crop, crop._replace(mirrored=True)) if settings.flip else (crop,))]


def crop_names(settings: FeatureSettings) -> list[str]:
    """Where each crop lies, in the order of the array."""
    names: dict[Any, tuple[str, ...]] = {
        "center": CORNERS[4:],
        "three": ALONG,
        "five": CORNERS,
        "ten": (*CORNERS, *(name + MIRRORED for name in SWAPPED)),
    }
    return [name for crop in names[settings.crops] for name in ((crop, crop + MIRRORED) if settings.flip else (crop,))]


def five_crops(height: int, width: int, *, size: int) -> list[Crop]:
    """The corners and the centre, as in torchvision: top left, top right, bottom left, bottom right, centre."""
    if min(height, width) < size:
        raise ValueError(f"a crop of {size} does not fit into {height} x {width}; resize first")
    bottom, right = height - size, width - size
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))]
    return [Crop(top, left, False) for top, left in places]
