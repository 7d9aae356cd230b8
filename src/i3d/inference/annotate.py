"""Draw the predicted labels on a video."""

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from i3d.errors import InputError
from i3d.inference.prediction import Prediction
from i3d.utils.arguments import checks_types
from i3d.utils.outputs import new_file
from i3d.video.base import FrameHWC, Limits, Source
from i3d.video.reader import open_video
from i3d.video.transforms import resize_frame, short_side_size
from i3d.video.writer import write_video

MAX_LINES: Final = 5
FORMATS: Final = {  # short side, frames per second, number of frames: a GIF has the beginning, an mp4 everything
    ".mp4": (360, Fraction(25), None),
    ".gif": (240, Fraction(10), 100),
}


@checks_types
def annotate(
    source: Source,
    prediction: Prediction,
    out: Path,
    *,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    force: bool = False,
) -> None:
    """Write the video to `out` (.mp4, or the first 10 s as .gif) with the predicted labels and their scores on it.

    An existing file is an InputError, unless `force` replaces it; the video itself always is.
    """
    out = new_file(out, tuple(FORMATS), force=force)
    if isinstance(source, str | PathLike) and out.exists() and Path(source).exists() and out.samefile(source):
        raise InputError(f"{out}: is the video itself; choose another name")
    short_side, fps, num_frames = FORMATS[out.suffix.lower()]
    with open_video(source, frames_fps=frames_fps, limits=limits or Limits()) as video:
        frames = video.stream(fps=float(fps), transform=partial(_scale, short_side=short_side))
        write_video(out, _draw(islice(frames, num_frames), prediction), fps=fps, force=True)


def _scale(frame_HWC: FrameHWC, *, short_side: int) -> FrameHWC:
    """Resize to `short_side`, or less where the long side would exceed that of 16:9; both sides even."""
    height, width = frame_HWC.shape[:2]
    longest = short_side * 16 // 9
    short_side = max(2, min(short_side, longest * min(height, width) // max(height, width)))
    height, width = short_side_size(height, width, short_side=short_side)
    return resize_frame(frame_HWC, height=height + height % 2, width=width + width % 2)


def _draw(frames: Iterator[FrameHWC], prediction: Prediction) -> Iterator[FrameHWC]:
    overlay_HW4: npt.NDArray[np.uint16] | None = None
    for frame_HWC in frames:
        if overlay_HW4 is None:
            height, width = frame_HWC.shape[:2]
            overlay_HW4 = _overlay(height, width, prediction).astype(np.uint16)
        alpha = overlay_HW4[..., 3:]
        yield ((frame_HWC * (255 - alpha) + overlay_HW4[..., :3] * alpha + 127) // 255).astype(np.uint8)


def _overlay(height: int, width: int, prediction: Prediction) -> npt.NDArray[np.uint8]:
    """An RGBA panel over at most the lower third: a line a label, on a bar of its score."""
    image = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(image)
    step = max(height // 15, 14)
    font = ImageFont.load_default(step * 5 // 8)
    lines = prediction.predictions[: max(1, min(MAX_LINES, height // 3 // step))]
    top = height - step * len(lines) - 4
    draw.rectangle((0, top, width, height), fill=(0, 0, 0, 170))
    left, right = min(6, width // 4), width - min(6, width // 4)
    for row, line in enumerate(lines):
        upper, lower = top + 3 + row * step, top + row * step + step
        bar, ink = (
            ((214, 140, 0, 230), (255, 255, 255, 255)) if row == 0 else ((90, 110, 130, 230), (225, 225, 225, 255))
        )
        draw.rectangle((left, upper, left + round((right - left) * line.score), lower), fill=bar)
        score = f"{100 * line.score:.1f} %"
        middle = (upper + lower) // 2
        draw.text((right - 4, middle), score, font=font, fill=ink, anchor="rm")
        room = right - left - 20 - draw.textlength(score, font=font)
        draw.text((left + 4, middle), _shorten(draw, line.label, font, room), font=font, fill=ink, anchor="lm")
    return np.asarray(image)


def _shorten(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float
) -> str:
    """`text`, cut with an ellipsis if it is wider than `room`."""
    shown = text
    while text and draw.textlength(shown, font=font) > room:
        text = text[:-1]
        shown = f"{text}..."
    return shown
