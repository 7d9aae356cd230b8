"""The frames of a moving explanation: the view, the view with its map, and the curve with a mark at the moment.

Letters in names: T frames, H rows, W columns, C = 3 colours.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from i3d.errors import counted, printable
from i3d.evaluation.occlusion import FLAT, Clip, OcclusionCurve
from i3d.explanations.explanation import Explanation
from i3d.utils.fonts import font_for, shorten
from i3d.video.base import FrameHWC

MIN_SIDE: Final = 192  # smaller views are enlarged by a whole factor
GAP, MARGIN, LINE, CURVE = 4, 6, 18, 72  # pixels
MIN_WIDTH: Final = 388
TEXT: Final = 12  # pixels of letters
WHITE, INK, SOFT, BAR, MARK = (255, 255, 255), (31, 41, 51), (102, 114, 127), (74, 123, 171), (180, 95, 6)


def moving_frames(explanation: Explanation, frames_THWC: Clip, drawn_THWC: Clip | None) -> Iterator[FrameHWC]:
    """One image for each frame of the view; all have one size, with even sides."""
    factor = max(1, -(-MIN_SIDE // frames_THWC.shape[2]))
    panels = [frames_THWC] if drawn_THWC is None else [frames_THWC, drawn_THWC]
    height, width = (side * factor for side in frames_THWC.shape[1:3])
    total_width = max(MIN_WIDTH, len(panels) * (width + GAP) - GAP)
    total_width += total_width % 2
    top = 2 * LINE + MARGIN
    total_height = top + height + 2 * MARGIN + LINE + CURVE
    total_height += total_height % 2
    base = Image.new("RGB", (total_width, total_height), WHITE)
    pen = ImageDraw.Draw(base)
    for place, (line, colour) in enumerate(_head(explanation)):
        _write(pen, line, (MARGIN, MARGIN // 2 + place * LINE), colour, total_width - 2 * MARGIN)
    below = top + height + MARGIN
    length = explanation.curve.windows[0][1] - explanation.curve.windows[0][0]
    caption = f"fall of the score with {counted(length, 'frame')} hidden"
    _write(pen, caption, (MARGIN, below), SOFT, total_width - 2 * MARGIN)
    points = _points(explanation.curve, total_width, below + LINE, below + LINE + CURVE)
    zero = points[-1][1]
    pen.line([(MARGIN, zero), (total_width - MARGIN, zero)], fill=(227, 231, 235))
    pen.line(points[:-1], fill=BAR, width=2)
    for place in range(len(frames_THWC)):
        image = base.copy()
        for column, each_THWC in enumerate(panels):
            large_HWC = each_THWC[place].repeat(factor, axis=0).repeat(factor, axis=1)
            image.paste(Image.fromarray(large_HWC), (column * (width + GAP), top))
        at = points[place][0]
        ImageDraw.Draw(image).line([(at, below + LINE), (at, below + LINE + CURVE)], fill=MARK, width=2)
        yield np.asarray(image).copy()


def _head(explanation: Explanation) -> list[tuple[str, tuple[int, int, int]]]:
    """Two lines: the label, and what the map is."""
    title = f"{printable(explanation.label)}  {100 * explanation.view_score:.1f} %"
    if explanation.map is None:
        return [(title, INK)]
    size = " x ".join(map(str, explanation.map.values_THW.shape))
    doubt = "" if explanation.trust is not None and explanation.trust.is_better else "; no better than random"
    return [(title, INK), (f"{explanation.map.layer}, a map of {size}{doubt}", SOFT if not doubt else MARK)]


def _write(pen: ImageDraw.ImageDraw, text: str, at: tuple[int, int], colour: tuple[int, int, int], room: float) -> None:
    font, _ = font_for(text, TEXT)
    pen.text(at, shorten(text, font, room), font=font, fill=colour)


def curve_limits(curve: OcclusionCurve) -> tuple[float, float]:
    """The lowest and the highest fall of the axis. It has at least the height from which a fall counts: `FLAT`."""
    low, high = float(curve.drops_T.min()), float(curve.drops_T.max())
    low, high = min(0.0, low), max(FLAT * curve.score, high, 0.001)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _points(curve: OcclusionCurve, width: int, top: int, bottom: int) -> list[tuple[float, float]]:
    """The points of the curve; one more at the height of 0."""
    low, high = curve_limits(curve)
    across = np.linspace(MARGIN, width - MARGIN, curve.num_frames)
    heights = bottom - (np.append(curve.drops_T, 0.0) - low) / (high - low) * (bottom - top)
    return list(zip([*across.tolist(), float(MARGIN)], heights.tolist(), strict=True))
