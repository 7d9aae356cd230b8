"""The frames of a moving explanation: the view, the view with its map, and the curve with a mark at the moment.

Letters in names: T frames, H rows, W columns, C = 3 colours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, inf, log10, trunc
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from i3d.errors import counted, printable
from i3d.evaluation.occlusion import FLAT, Clip, OcclusionCurve
from i3d.explanations.explanation import Explanation
from i3d.utils.fonts import font_for, shorten
from i3d.video.base import FrameHWC

MIN_SIDE: Final = 192  # smaller views are enlarged by a whole factor
GAP, MARGIN, LINE, CURVE = 4, 6, 18, 72  # pixels
SCALE: Final = 40  # pixels beside the curve, for its numbers
MIN_WIDTH: Final = 388
TEXT: Final = 12  # pixels of letters
WHITE, INK, SOFT, BAR, MARK = (255, 255, 255), (31, 41, 51), (102, 114, 127), (74, 123, 171), (180, 95, 6)
GRID, PEAK = (227, 231, 235), (248, 238, 226)
Line = tuple[str, tuple[int, int, int]]  # words and their colour


def moving_frames(explanation: Explanation, frames_THWC: Clip, drawn_THWC: Clip | None) -> Iterator[FrameHWC]:
    """One image for each frame of the view; all have one size, with even sides."""
    factor = max(1, -(-MIN_SIDE // frames_THWC.shape[2]))
    panels = [frames_THWC] if drawn_THWC is None else [frames_THWC, drawn_THWC]
    height, width = (side * factor for side in frames_THWC.shape[1:3])
    total_width = max(MIN_WIDTH, len(panels) * (width + GAP) - GAP)
    total_width += total_width % 2
    head = _head(explanation, total_width - 2 * MARGIN)
    top = len(head) * LINE + MARGIN
    below = top + height + MARGIN
    total_height = below + 2 * LINE + CURVE + MARGIN
    total_height += total_height % 2
    base = Image.new("RGB", (total_width, total_height), WHITE)
    pen = ImageDraw.Draw(base)
    for place, (line, colour) in enumerate(head):
        _write(pen, line, (MARGIN, MARGIN // 2 + place * LINE), colour)
    axes = CurveAxes(explanation.curve, curve_times(explanation), SCALE, total_width - MARGIN, below + LINE)
    axes.draw(pen, caption_top=below)
    for place in range(len(frames_THWC)):
        image = base.copy()
        for column, each_THWC in enumerate(panels):
            large_HWC = each_THWC[place].repeat(factor, axis=0).repeat(factor, axis=1)
            image.paste(Image.fromarray(large_HWC), (column * (width + GAP), top))
        axes.draw_moment(ImageDraw.Draw(image), place)
        yield np.asarray(image).copy()


def small_print(explanation: Explanation) -> tuple[str, str]:
    """What the map is, and whether it can be trusted."""
    if explanation.map is None:
        return printable(explanation.view_line), ""
    size = " x ".join(map(str, explanation.map.values_THW.shape))
    verdict = "the map is empty" if explanation.trust is None else explanation.trust.verdict
    return f"{explanation.map.layer}: a map of {size}, interpolated", verdict


def curve_times(explanation: Explanation) -> tuple[npt.NDArray[np.float64], bool]:
    """Where the frames of the view are on the axis (T), and whether in seconds: else by number, from 1."""
    seconds_T = explanation.view.seconds_T
    if seconds_T is not None and bool((np.diff(seconds_T) > 0).all()):
        return seconds_T, True
    return np.arange(1.0, explanation.curve.num_frames + 1), False


def curve_caption(curve: OcclusionCurve) -> str:
    """What the height of the curve is."""
    start, stop = curve.windows[curve.peak]
    return f"fall of the score, in points of 100, with {counted(stop - start, 'frame')} hidden"


def curve_limits(curve: OcclusionCurve) -> tuple[float, float]:
    """The lowest and the highest fall of the axis. It has at least the height from which a fall counts: `FLAT`."""
    low, high = float(curve.drops_T.min()), float(curve.drops_T.max())
    low, high = min(0.0, low), max(FLAT * curve.score, high, 0.001)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


@dataclass(frozen=True, eq=False)
class CurveAxes:
    """Where the curve of an explanation is on an image, in pixels."""

    curve: OcclusionCurve
    times: tuple[npt.NDArray[np.float64], bool]
    left: int
    right: int
    top: int

    @property
    def bottom(self) -> int:
        """The lowest row of the curve; times are below it."""
        return self.top + CURVE

    def x(self, place: int) -> float:
        """The column of a frame of the view."""
        times_T, _ = self.times
        return self.left + float((times_T[place] - times_T[0]) / (times_T[-1] - times_T[0])) * (self.right - self.left)

    def y(self, drop: float) -> float:
        """The row of a fall of the score."""
        low, high = curve_limits(self.curve)
        return self.bottom - (drop - low) / (high - low) * CURVE

    def draw(self, pen: ImageDraw.ImageDraw, *, caption_top: int) -> None:
        """The curve with its scale, its peak and the times of the first and the last frame."""
        start, stop = self.curve.windows[self.curve.peak]
        _write(pen, curve_caption(self.curve), (MARGIN, caption_top), SOFT, self.right - MARGIN)
        pen.rectangle([self.x(start), self.top, self.x(stop - 1), self.bottom], fill=PEAK)
        for drop in self._ticks():
            pen.line([(self.left, self.y(drop)), (self.right, self.y(drop))], fill=GRID)
            pen.text((self.left - 5, self.y(drop)), f"{100 * drop:.3g}", font=_font(""), fill=SOFT, anchor="rm")
        pen.line([(self.x(place), self.y(drop)) for place, drop in enumerate(self.curve.drops_T)], fill=BAR, width=2)
        for place, anchor in ((0, "la"), (self.curve.num_frames - 1, "ra")):
            pen.text((self.x(place), self.bottom + 2), self._moment(place), font=_font(""), fill=SOFT, anchor=anchor)

    def draw_moment(self, pen: ImageDraw.ImageDraw, place: int) -> None:
        """A mark at a frame of the view, with its time below where that does not cover the first or the last one."""
        x, words = self.x(place), self._moment(place)
        pen.line([(x, self.top), (x, self.bottom)], fill=MARK, width=2)
        half, font = _font("").getlength(words) / 2, _font("")
        middle = min(max(x, self.left + half), self.right - half)
        pen.rectangle([middle - half - 4, self.bottom + 1, middle + half + 4, self.bottom + LINE], fill=WHITE)
        pen.text((middle, self.bottom + 2), words, font=font, fill=MARK, anchor="ma")

    def _ticks(self) -> list[float]:
        """Falls at round numbers: 0, and the greatest that the axis has room for on each side, far enough from 0."""
        low, high = curve_limits(self.curve)
        ends = [_rounded_towards_zero(end) for end in (low, high)]
        return [0.0, *(end for end in ends if abs(self.y(end) - self.y(0.0)) >= TEXT)]

    def _moment(self, place: int) -> str:
        times_T, is_in_seconds = self.times
        return f"{times_T[place]:.2f} s" if is_in_seconds else f"frame {place + 1}"


def _rounded_towards_zero(value: float) -> float:
    """With one significant digit. 0.078 -> 0.07"""
    if value == 0:
        return 0.0
    unit = 10.0 ** floor(log10(abs(value)))
    return unit * trunc(value / unit)


def _head(explanation: Explanation, room: float) -> list[Line]:
    """The label, what the map is, and whether it can be trusted."""
    title = f"{printable(explanation.label)}  {100 * explanation.view_score:.1f} %"
    what, verdict = small_print(explanation)
    is_doubtful = explanation.map is not None and (explanation.trust is None or not explanation.trust.is_better)
    return [
        (shorten(title, _font(title), room), INK),
        *((line, SOFT) for line in _wrapped(what, room)),
        *((line, MARK if is_doubtful else SOFT) for line in _wrapped(verdict, room)),
    ]


def _wrapped(text: str, room: float) -> list[str]:
    """Lines of a text that are at most `room` pixels wide, cut between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and _font(text).getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(shorten(word, _font(text), room))
    return lines


def _font(text: str) -> ImageFont.FreeTypeFont:
    return font_for(text, TEXT)[0]


def _write(
    pen: ImageDraw.ImageDraw, text: str, at: tuple[int, int], colour: tuple[int, int, int], room: float = inf
) -> None:
    pen.text(at, shorten(text, _font(text), room), font=_font(text), fill=colour)
