"""An explanation as an image: a strip of frames with the curve below (PNG), or the moving view (GIF, MP4).

Letters in names: T frames, H rows, W columns, C = 3 colours.
"""

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from i3d.errors import printable
from i3d.evaluation.occlusion import FLOW_CHANNELS, Clip
from i3d.explanations.animation import curve_caption, curve_limits, curve_times, moving_frames, small_print
from i3d.explanations.explanation import Explanation
from i3d.utils.arguments import checks_types
from i3d.utils.drawing import BAR, GRID, MARK, SOFT, film_strip, fit, open_figure
from i3d.utils.outputs import is_drawing, new_file
from i3d.video.flow import bytes_to_flow, flow_to_rgb
from i3d.video.writer import write_video

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES: Final = (".png", ".gif", ".mp4")
OPACITY: Final = 0.7  # of the map where it is 1
STRIP_FRAMES: Final = 8
MIN_WIDTH, MARGIN, GAP = 700, 44, 4  # pixels of the strip
HEAD, CURVE_HEAD, CURVE, FOOT = 92, 34, 130, 44
MAX_FPS, UNTIMED_FPS = 50, 10  # of an animation; a GIF shows at most 50 frames a second


@checks_types
def draw_explanation(explanation: Explanation, out: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write the strip (.png), or the moving view with its map and curve (.gif, .mp4).

    The map is drawn on the view as the network takes it: resized and cropped. An existing file is an InputError, unless
    `force` replaces it or i3d drew it (.png).
    """
    path = new_file(out, SUFFIXES, force=force, is_own=is_drawing)
    frames_THWC, drawn_THWC = displayed(explanation.view.clip_THWC), with_map(explanation)
    if path.suffix.lower() == ".png":
        _draw_strip(path, explanation, frames_THWC, drawn_THWC)
        return
    rate = Fraction(animation_fps(explanation)).limit_denominator(1000)
    write_video(path, moving_frames(explanation, frames_THWC, drawn_THWC), fps=rate, force=True)


def animation_fps(explanation: Explanation) -> float:
    """Frames a second of an animation: those of the view, at most 50; 10 if they have no times."""
    return min(explanation.fps or UNTIMED_FPS, MAX_FPS)


def displayed(view_THWC: Clip) -> Clip:
    """A view as RGB: flow becomes colours, as those of `i3d flow show`."""
    if view_THWC.shape[-1] != FLOW_CHANNELS:
        return view_THWC
    flow_THW2 = bytes_to_flow(view_THWC)
    fastest = max(float(np.linalg.norm(flow_THW2, axis=-1).max()), 1.0)
    return np.stack([flow_to_rgb(flow_HW2, bound=fastest) for flow_HW2 in flow_THW2])


def with_map(explanation: Explanation) -> Clip | None:
    """The frames of the view with the map on them: the brighter, the more a place speaks for the label."""
    if explanation.map is None:
        return None
    frames_THWC = displayed(explanation.view.clip_THWC)
    return np.stack(
        [
            _blended(frame_HWC, values_HW)
            for frame_HWC, values_HW in zip(frames_THWC, explanation.map.enlarged(), strict=True)
        ]
    )


def _blended(frame_HWC: npt.NDArray[np.uint8], values_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    levels_HW = np.rint(255 * values_HW.clip(0, 1)).astype(np.uint8)
    colours_HWC = cv2.cvtColor(cv2.applyColorMap(levels_HW, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    opacity_HW1 = OPACITY * values_HW[..., None]
    grey_HW1 = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY)[..., None]  # colours of the map differ from those below it
    drawn_HWC: npt.NDArray[np.uint8] = np.rint((1 - opacity_HW1) * grey_HW1 + opacity_HW1 * colours_HWC)
    return drawn_HWC.astype(np.uint8)


def _draw_strip(path: Path, explanation: Explanation, frames_THWC: Clip, drawn_THWC: Clip | None) -> None:
    """Frames of the view in order, the same with the map, and the curve over all of them."""
    num_frames = len(frames_THWC)
    shown = np.unique(np.linspace(0, num_frames - 1, min(STRIP_FRAMES, num_frames)).round().astype(int))
    strips = [film_strip(each[shown]) for each in (frames_THWC, drawn_THWC) if each is not None]
    height, width = strips[0].shape[:2]
    total_width = max(MIN_WIDTH, width + 2 * MARGIN)
    total_height = HEAD + len(strips) * (height + GAP) + CURVE_HEAD + CURVE + FOOT
    room = total_width - 2 * MARGIN
    with open_figure(path, total_width, total_height, layout=None) as figure:
        title = f"{printable(explanation.label)} {100 * explanation.view_score:.1f} %"
        for row, line in enumerate((title, *small_print(explanation))):
            style: dict[str, Any] = {"color": SOFT} if row else {"size": 12, "weight": "bold"}
            y = 1 - (12 + 20 * row) / total_height
            figure.text(MARGIN / total_width, y, fit(figure, line, room, **style), va="top", **style)
        for column, place in enumerate(shown.tolist()):
            x = (MARGIN + (column + 0.5) * width / len(shown)) / total_width
            figure.text(x, 1 - (HEAD - 6) / total_height, _moment(explanation, place), color=SOFT, ha="center")
        for row, strip_HWC in enumerate(strips):
            figure.figimage(strip_HWC, MARGIN, total_height - HEAD - (row + 1) * height - row * GAP)
        sides = (MARGIN / total_width, FOOT / total_height, room / total_width, CURVE / total_height)
        _draw_curve(figure.add_axes(sides), explanation)


def _draw_curve(axes: "Axes", explanation: Explanation) -> None:
    """The fall of the score for each frame, and the window with the largest."""
    curve, (times_T, is_in_seconds) = explanation.curve, curve_times(explanation)
    start, stop = curve.windows[curve.peak]
    axes.axhline(0, color=SOFT, linewidth=0.8)
    axes.axvspan(times_T[start], times_T[stop - 1], color=MARK, alpha=0.15, linewidth=0)
    axes.plot(times_T, curve.drops_T, color=BAR, drawstyle="steps-mid")
    axes.set_xlim(times_T[0], times_T[-1])
    axes.set_ylim(*curve_limits(curve))
    axes.yaxis.set_major_formatter(lambda drop, _: f"{100 * drop:.3g}")
    axes.set_xlabel("seconds" if is_in_seconds else "frame of the view")
    axes.grid(axis="y", color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(curve_caption(curve), size=8.5)


def _moment(explanation: Explanation, place: int) -> str:
    seconds_T = explanation.view.seconds_T
    return f"frame {place + 1}" if seconds_T is None else f"{seconds_T[place]:.2f} s"
