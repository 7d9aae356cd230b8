"""Rows of labels with score bars, as a half-transparent box in the upper left corner of frames.

The box of a video is as wide as its widest label, so that it does not move when the label changes.

Letters in names: H rows, W columns, 4 channels RGBA.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from i3d.data.segments.segment import UNKNOWN, Segment
from i3d.errors import printable
from i3d.inference.label_box import (
    BACKGROUND,
    FIRST,
    MAX_HEIGHT,
    MAX_WIDTH,
    NARROW,
    OTHERS,
    VERY_NARROW,
    LabelBox,
    line_height,
    wrap,
)
from i3d.utils.fonts import font_for

SHORTEST: Final = 8  # of a row, in heights of letters: a shorter bar could not be read
BAR: Final = (58, 110, 165, 230)  # behind the text, as long as the score is high


class RowLayout:
    """Where rows of labels are in frames of one size. `num_rows`: as many as fit into half of the height."""

    def __init__(self, labels: Sequence[str], num_rows: int, *, height: int, width: int) -> None:
        self._step, size = line_height(-(-5 * num_rows // 4), height, width)  # with a quarter of each for padding
        self._margin = min(self._step // 2, height // 16, width // 16)
        self._padding = max(1, self._step // 4)
        fitting = max(1, int(height * MAX_HEIGHT // (self._step + self._padding)))
        self.num_rows = min(num_rows, fitting)
        self._score_font, _ = font_for("0 %", size)
        self._gap = size / 2
        self._column = self._score_font.getlength("100 %") + self._gap if width >= VERY_NARROW else 0.0
        spaces = 2 * self._margin + 2 * self._padding + self._column
        room = (width if width < NARROW else width * MAX_WIDTH) - spaces
        fonts = {label: font_for(printable(label), size) for label in labels}
        self._texts: dict[str, tuple[list[str], ImageFont.FreeTypeFont]] = {
            label: (wrap(printable(label), font, room, most=fitting // self.num_rows), font)
            for label, (font, _) in fonts.items()
        }
        self._lines = max(len(parts) for parts, _ in self._texts.values())  # of a row
        self.missing = "".join(lacks for _, lacks in fonts.values())
        widest = max(font.getlength(part) for parts, font in self._texts.values() for part in parts)
        text = max(widest, min(room, SHORTEST * size))
        self._width = max(1, min(width - self._margin, round(self._column + text) + 2 * self._padding))
        self._max_height = max(1, height - self._margin)

    def draw(self, rows: Sequence[Segment | None]) -> LabelBox:
        """The box of what is on; of nothing, a row of "unknown"."""
        shown = list(rows[: self.num_rows]) or [None]
        row_height = self._step * self._lines + self._padding
        height = min(self._max_height, row_height * len(shown))
        image = Image.new("RGBA", (self._width, height), BACKGROUND)
        for number, segment in enumerate(shown):
            self._draw_row(ImageDraw.Draw(image), segment, number * row_height, is_only=not any(rows))
        pixels_HW4 = np.asarray(image).astype(np.uint16)
        alpha_HW1 = pixels_HW4[..., 3:]
        return LabelBox(pixels_HW4[..., :3] * alpha_HW1, 255 - alpha_HW1, self._margin, len(shown), "")

    def _draw_row(self, draw: ImageDraw.ImageDraw, segment: Segment | None, top: int, *, is_only: bool) -> None:
        """A bar, and score and label on it. An unknown label has neither bar nor score."""
        if segment is None and not is_only:
            return
        label = UNKNOWN if segment is None else segment.label
        parts, font = self._texts[label]
        if segment is not None and label != UNKNOWN:
            bottom, end = top + self._step * self._lines + self._padding - 2, round(segment.score * self._width) - 1
            if end >= 0:
                draw.rectangle((0, top, end, bottom), fill=BAR)
            if self._column:
                place = self._padding + self._column - self._gap, top + self._middle(0)
                draw.text(place, f"{100 * segment.score:.0f} %", font=self._score_font, fill=FIRST, anchor="rm")
        ink = OTHERS if label == UNKNOWN else FIRST
        for line, part in enumerate(parts):
            draw.text((self._padding + self._column, top + self._middle(line)), part, font=font, fill=ink, anchor="lm")

    def _middle(self, line: int) -> float:
        """The middle of a line of a row."""
        return self._padding / 2 + self._step * (line + 0.5)
