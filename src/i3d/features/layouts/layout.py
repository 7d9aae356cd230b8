"""What each layout fixes: settings, format and shape of the arrays, names.

Letters in names: R rows, V crops, C channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Literal, get_args

from i3d.errors import InputError, quoted
from i3d.features.array_formats import FileFormat
from i3d.features.extractor import Row, VideoFeatures, row_at
from i3d.features.layouts.rescale import rescale
from i3d.recipes.features import FeatureSettings, feature_preset
from i3d.utils.arguments import checks_types

Layout = Literal["actionformer", "opentad", "rtfm", "mmaction2-localizer"]
LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)
# Those of the published configurations: docs/features.md names the source of each.
SETTINGS: Final[Mapping[Layout, FeatureSettings]] = {
    "actionformer": FeatureSettings(window=16, stride=4, fps=30.0),
    "opentad": FeatureSettings(window=16, stride=4, fps=30.0),
    "rtfm": feature_preset("anomaly-10crop-16"),
    "mmaction2-localizer": FeatureSettings(window=16, stride=16, fps=25.0),
}
ARRAYS: Final = "features"  # the folder of the arrays
PREFIX: Final = "v_"  # MMAction2 removes the first two characters of each name when it evaluates


@checks_types
def layout_settings(layout: str) -> FeatureSettings:
    """The settings of features for a layout, as its published configuration has them."""
    for name, settings in SETTINGS.items():
        if name == layout:
            return settings
    raise InputError(f"layout {quoted(layout)}: there are {', '.join(LAYOUTS)}")


def check_layout(layout: Layout, settings: FeatureSettings) -> None:
    """An InputError for settings whose rows a layout cannot hold, or would place at another time."""
    if settings.grid:
        raise InputError(f"--layout {layout}: a row is one vector; leave --grid out")
    if layout == "rtfm":
        if settings.align != "start" or settings.window != settings.stride:
            what = f"its row r is frames r x {settings.stride} to r x {settings.stride} + {settings.stride - 1}"
            todo = f"set --window {settings.stride} and --stride {settings.stride}, without centring"
            raise InputError(f"--layout rtfm: {what}; {todo}")
        return
    if settings.crops != "center" or settings.flip:
        raise InputError(f"--layout {layout}: has one crop in a row; leave --crops and --mirror-crops out")
    if settings.fps is None:
        what = "needs one frame rate of all videos, by which it turns rows into seconds"
        raise InputError(f"--layout {layout}: {what}; give a number, such as --fps {SETTINGS[layout].fps:g}")


def array_format(layout: Layout) -> FileFormat:
    """The format of the arrays."""
    return "csv" if layout == "mmaction2-localizer" else "npy"


def name_in_layout(layout: Layout, stem: str) -> str:
    """The name of a video, by its file name without suffix."""
    return f"{PREFIX}{stem}" if layout == "mmaction2-localizer" and not stem.startswith(PREFIX) else stem


def arrangement(layout: Layout, settings: FeatureSettings) -> Callable[[VideoFeatures, str], VideoFeatures]:
    """What changes the features of a video, and its name for errors, to those that the layout holds."""
    match layout:
        case "mmaction2-localizer":
            assert settings.fps is not None
            return partial(rescale, fps=settings.fps)
        case "rtfm":
            return _with_crops
        case _:
            return lambda features, _: features


def first_row(settings: FeatureSettings) -> Row:
    """The first row of a video that is long enough; row r is r x stride frames later."""
    number = 0
    while settings.padding == "none" and row_at(number, settings).first < 0:
        number += 1
    return row_at(number, settings)


def _with_crops(features: VideoFeatures, _: str) -> VideoFeatures:
    """(R, V, C), of one crop too."""
    values = features.values
    return replace(features, values=values[:, None] if values.ndim == 2 else values)
