"""A small half-transparent box of labels in the upper left corner of frames.

    box = LabelBox.draw(prediction, height=720, width=1280)
    for frame_HWC in frames:
        box.blend(frame_HWC)

Letters in names: H rows, W columns, 4 channels RGBA.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from i3d.errors import printable
from i3d.inference.prediction import LabelScore
from i3d.utils.fonts import font_for, shorten
from i3d.video.base import FrameHWC

FONT_SHARE: Final = 0.04  # of the short side: 43 pixels of 1080
MIN_FONT: Final = 9  # pixels; below, letters cannot be read
MAX_HEIGHT: Final = 0.5  # of the frame that the box may cover
MAX_WIDTH: Final = 0.7
VERY_NARROW: Final = 120  # pixels: below, a score would leave no room for the label
NARROW: Final = 240  # pixels: in narrower frames the box may be as wide as the frame
BACKGROUND, FIRST, OTHERS = (0, 0, 0, 150), (255, 255, 255, 255), (215, 215, 215, 255)


@dataclass(frozen=True)
class LabelBox:
    """The pixels of a box, and where it begins in the frame."""

    colours_HW3: npt.NDArray[np.uint16]  # times their opacity
    clear_HW1: npt.NDArray[np.uint16]  # how much of the frame is visible, of 255
    margin: int
    num_lines: int  # of the labels: those that fit
    missing: str  # letters that no installed font has

    @classmethod
    def draw(cls, labels: Sequence[LabelScore], *, height: int, width: int) -> Self:
        """The box of as many labels as fit into half of a frame, best first. Very narrow frames have no scores."""
        step, size = line_height(len(labels), height, width)
        margin = min(step // 2, height // 16, width // 16)
        padding = max(1, step // 4)
        labels = labels[: max(1, int(height * MAX_HEIGHT // step))]
        scores = [f"{100 * label.score:.0f} %" if width >= VERY_NARROW else "" for label in labels]
        fonts = [font_for(printable(label.label), size) for label in labels]
        score_font, _ = font_for("0 %", size)
        column = max(map(score_font.getlength, scores)) + size / 2 if any(scores) else 0.0
        room = (width if width < NARROW else width * MAX_WIDTH) - 2 * margin - 2 * padding - column
        spare = max(0, int(height * MAX_HEIGHT // step) - len(labels))
        lines: list[tuple[int, str]] = []  # the number of the label, and a part of it
        for number, (label, (font, _)) in enumerate(zip(labels, fonts, strict=True)):
            parts = wrap(printable(label.label), font, room, most=1 + spare)
            spare -= len(parts) - 1
            lines += [(number, part) for part in parts]
        text_width = column + max(fonts[number][0].getlength(part) for number, part in lines)
        box_width = max(1, min(width - margin, round(text_width) + 2 * padding))
        box_height = max(1, min(height - margin, step * len(lines) + padding))
        image = Image.new("RGBA", (box_width, box_height), BACKGROUND)
        draw, before = ImageDraw.Draw(image), -1
        for row, (number, part) in enumerate(lines):
            middle, ink = padding / 2 + step * (row + 0.5), FIRST if number == 0 else OTHERS
            if number > before:
                end = padding + column - size / 2
                draw.text((end, middle), scores[number], font=score_font, fill=ink, anchor="rm")
            draw.text((padding + column, middle), part, font=fonts[number][0], fill=ink, anchor="lm")
            before = number
        pixels_HW4 = np.asarray(image).astype(np.uint16)
        alpha_HW1 = pixels_HW4[..., 3:]
        missing = "".join(lacks for _, lacks in fonts)
        return cls(pixels_HW4[..., :3] * alpha_HW1, 255 - alpha_HW1, margin, len(labels), missing)

    def blend(self, frame_HWC: FrameHWC) -> None:
        """Draw the box on a frame, in place."""
        (height, width), begin = self.clear_HW1.shape[:2], self.margin
        under_HWC = frame_HWC[begin : begin + height, begin : begin + width]
        under_HWC[...] = (under_HWC * self.clear_HW1 + self.colours_HW3 + 127) // 255


def line_height(num_lines: int, height: int, width: int) -> tuple[int, int]:
    """The height of a line, and the size of its font: smaller where many lines would cover too much."""
    size = max(MIN_FONT, round(FONT_SHARE * min(height, width)))
    fitting = int(MAX_HEIGHT * height / max(1, num_lines) / 1.3)
    size = max(MIN_FONT, min(size, fitting))
    size = min(size, max(4, int(height / 1.3)))
    return round(1.3 * size), size


def wrap(text: str, font: ImageFont.FreeTypeFont, room: float, *, most: int) -> list[str]:
    """`text` in at most so many lines, divided at spaces where it has them; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < most - 1 and font.getlength(rest) > room:
        fitting = next((end for end in range(len(rest), 0, -1) if font.getlength(rest[:end]) <= room), 1)
        space = rest[: fitting + 1].rfind(" ")
        end = space if space > 0 else fitting
        lines.append(rest[:end])
        rest = rest[end:].lstrip()
    return [*lines, shorten(rest, font, room)]
