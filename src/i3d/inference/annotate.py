"""Draw the predicted labels on a video: a copy of the same size, with its sound and the times of its frames."""

import logging
from fractions import Fraction
from os import PathLike

from i3d.errors import InputError, counted, printable
from i3d.inference.drawn_video import SUFFIXES, draw_on_video
from i3d.inference.label_box import LabelBox
from i3d.inference.prediction import Prediction
from i3d.utils.arguments import checks_types
from i3d.utils.outputs import new_file
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import FrameHWC, Limits, Source

log = logging.getLogger("i3d")


@checks_types
def annotate_video(
    source: Source,
    prediction: Prediction,
    out: str | PathLike[str],
    *,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    force: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[str, ...]:
    """Write a copy of a video with its labels and their scores in the upper left corner; notes on what is left out.

    The name decides. An .mp4 has the size of the video as it is displayed, the times of its frames, and its sound; AAC,
    MP3, AC-3, Opus, FLAC and ALAC are copied, other sound becomes AAC. A .gif has the first 10 seconds, at most 480
    pixels wide and high. All labels of the prediction are drawn that fit into half of the height.

    An existing file is an InputError, unless `force` replaces it; the video itself always is. A prediction without
    labels is an InputError.
    """
    out = new_file(out, SUFFIXES, force=force)
    if not prediction.predictions:
        raise InputError(f"{printable(prediction.path)}: it has no labels to draw ({prediction.error})")
    drawing = PredictionDrawing(prediction)
    return draw_on_video(
        source, drawing, out, frames_fps=frames_fps, limits=limits, force=force, on_progress=on_progress
    )


class PredictionDrawing:
    """The labels of a prediction, the same on every frame. The box is as large as the first frame needs."""

    needs_times = False

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction
        self.box: LabelBox | None = None

    @property
    def lines(self) -> list[list[str]]:
        """Each label, and its score in per cent."""
        return [[label.label, f"{100 * label.score:.0f}"] for label in self.prediction.drawn_labels]

    def draw(self, frame_HWC: FrameHWC, _: Fraction) -> None:
        """Draw the box, in place."""
        if self.box is None:
            self.box = LabelBox.draw(self.prediction.drawn_labels, height=len(frame_HWC), width=frame_HWC.shape[1])
            self._log_missing(self.box)
        self.box.blend(frame_HWC)

    def notes(self) -> tuple[str, ...]:
        """The letters that no font has."""
        return () if self.box is None else missing_letters(self.box.missing)

    def _log_missing(self, box: LabelBox) -> None:
        asked = len(self.prediction.predictions)
        if box.num_lines < asked:
            name = printable(self.prediction.path)
            log.info("%s: %d of %s fit into half of the frame", name, box.num_lines, counted(asked, "label"))


def missing_letters(letters: str) -> tuple[str, ...]:
    """A note on letters that no installed font has."""
    if not letters:
        return ()
    some = "".join(dict.fromkeys(letters))[:20]
    return (f"no installed font has the letters {some!r}: install one, such as Noto Sans CJK",)
