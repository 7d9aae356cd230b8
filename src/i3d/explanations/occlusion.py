"""A curve over time: how much the score of a label falls when a window of frames is hidden.

Frames are hidden by a fade from the frame before the window to the frame after it, which leaves scenery and takes
motion and what appears in between. Frames of flow become "no motion".

Letters in names: T frames, H rows, W columns, C channels, N clips, S windows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError
from i3d.video.base import FrameHWC
from i3d.video.flow import flow_to_bytes

Clip = npt.NDArray[np.uint8]  # (T, H, W, C)
Scorer = Callable[[Iterator[Clip], int], npt.NDArray[np.float64]]  # clips and their number -> scores (N)
SHARE: Final = 8  # the default window is an eighth of the view
FLOW_CHANNELS: Final = 2


@dataclass(frozen=True, eq=False)
class OcclusionCurve:
    """The score of a label with each window of frames hidden."""

    score: float  # of the whole view
    windows: tuple[tuple[int, int], ...]  # first frame, and the one after the last, of the view
    scores_S: npt.NDArray[np.float64]
    num_frames: int

    @property
    def drops_S(self) -> npt.NDArray[np.float64]:
        """How much lower the score is without each window; negative: it is higher."""
        return self.score - self.scores_S

    @property
    def drops_T(self) -> npt.NDArray[np.float64]:
        """The same for each frame: the mean of the windows that hide it."""
        totals_T, counts_T = np.zeros(self.num_frames), np.zeros(self.num_frames)
        for (start, stop), drop in zip(self.windows, self.drops_S, strict=True):
            totals_T[start:stop] += drop
            counts_T[start:stop] += 1
        return totals_T / counts_T

    @property
    def peak(self) -> int:
        """The number of the window without which the score is lowest."""
        return int(self.drops_S.argmax())


def default_length(num_frames: int) -> int:
    """Frames of a window: an eighth of a view."""
    return max(1, num_frames // SHARE)


def occlusion_windows(num_frames: int, *, length: int) -> tuple[tuple[int, int], ...]:
    """Windows of `length` frames that overlap by half and cover a view.

    16 frames, 8 a window -> (0, 8), (4, 12), (8, 16)
    """
    if not 1 <= length < num_frames:
        raise InputError(f"windows of {length} frames: must be at least 1 and shorter than the view, {num_frames}")
    last = num_frames - length
    return tuple((start, start + length) for start in (*range(0, last, max(1, length // 2)), last))


def hidden(view_THWC: Clip, start: int, stop: int) -> Clip:
    """A copy of a view with the frames from `start` to before `stop` hidden."""
    copy_THWC = view_THWC.copy()
    if view_THWC.shape[-1] == FLOW_CHANNELS:
        copy_THWC[start:stop] = no_motion(view_THWC.shape[1:])
        return copy_THWC
    before_HWC = view_THWC[start - 1 if start else stop].astype(np.float32)
    after_HWC = view_THWC[stop if stop < len(view_THWC) else start - 1].astype(np.float32)
    for place in range(start, stop):
        share = (place - start + 1) / (stop - start + 1)
        copy_THWC[place] = np.rint((1 - share) * before_HWC + share * after_HWC)
    return copy_THWC


def no_motion(shape_HWC: tuple[int, ...]) -> FrameHWC:
    """A frame of flow as bytes without any movement."""
    return flow_to_bytes(np.zeros(shape_HWC, np.float32))


def occlusion_curve(view_THWC: Clip, score_of: Scorer, *, score: float, length: int) -> OcclusionCurve:
    """The curve of a view whose score is `score`, with windows of `length` frames."""
    windows = occlusion_windows(len(view_THWC), length=length)
    scores_S = score_of((hidden(view_THWC, *window) for window in windows), len(windows))
    return OcclusionCurve(score, windows, scores_S, len(view_THWC))
