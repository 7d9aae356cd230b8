"""A curve over time: how much the score of a label falls when a window of frames is hidden.

Frames are hidden by a fade from the frame before the window to the frame after it, which leaves scenery and takes
motion and what appears in between. Frames of flow become "no motion".

Letters in names: T frames, H rows, W columns, C channels, N clips, S windows, P parts of a view.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from i3d.errors import InputError
from i3d.evaluation.intervals import Interval, mean_intervals
from i3d.video.base import FrameHWC
from i3d.video.flow import flow_to_bytes

Clip = npt.NDArray[np.uint8]  # (T, H, W, C)
Scorer = Callable[[Iterator[Clip], int], npt.NDArray[np.float64]]  # clips and their number -> scores (N)
SHARE: Final = 8  # the default window is an eighth of the view
FLAT: Final = 0.05  # of the score: a curve that falls less has no moment that matters
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
    def drops_P(self) -> npt.NDArray[np.float64]:
        """The same for each eighth of the view: the mean of its frames, of which the ends may be fractions."""
        ends_P1 = np.linspace(0, self.num_frames, SHARE + 1)
        sums_P1 = np.interp(ends_P1, np.arange(self.num_frames + 1), [0.0, *np.cumsum(self.drops_T)])
        drops_P: npt.NDArray[np.float64] = np.diff(sums_P1) / np.diff(ends_P1)
        return drops_P

    @property
    def peak(self) -> int:
        """The number of the window without which the score is lowest."""
        return int(self.drops_S.argmax())


@dataclass(frozen=True, eq=False)
class MeanOcclusion:
    """How much the probability of the true label falls, on average over clips, without each eighth of a view."""

    num_clips: int
    score: float  # of the whole views, the mean
    drops_P: npt.NDArray[np.float64]
    intervals_P: tuple[Interval | None, ...]  # 95 %, over the clips; None: too few clips

    @classmethod
    def from_curves(cls, curves_N: Sequence[OcclusionCurve]) -> Self:
        """The mean of at least one curve."""
        drops_NP = np.stack([curve.drops_P for curve in curves_N])
        score = float(np.mean([curve.score for curve in curves_N]))
        return cls(len(curves_N), score, drops_NP.mean(axis=0), mean_intervals(drops_NP))

    @property
    def parts(self) -> tuple[tuple[float, float], ...]:
        """Where each eighth begins and ends, as fractions of the view."""
        return tuple((part / SHARE, (part + 1) / SHARE) for part in range(SHARE))

    @property
    def peak(self) -> int:
        """The number of the eighth without which the probability is lowest."""
        return int(self.drops_P.argmax())

    @property
    def conclusion(self) -> str:
        """The peak in words."""
        drop, interval = float(self.drops_P[self.peak]), self.intervals_P[self.peak]
        start, stop = self.parts[self.peak]
        if drop < FLAT * self.score or (interval is not None and interval[0] <= 0):
            most = f"falls by at most {drop:.3f}" if drop > 0 else "falls nowhere"
            return f"no part of the view matters by itself: the true label's probability {most} without any of them"
        where = f"{100 * start:g} to {100 * stop:g} % of the view"
        fall = f"the true label's probability falls by {drop:.3f} from {self.score:.3f}"
        return f"of all parts, {where} matters most: without it, {fall}"

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "clips": self.num_clips,
            "probability": self.score,
            "parts": [list(part) for part in self.parts],
            "drops": self.drops_P.tolist(),
            "drop_intervals": list(self.intervals_P),
            "peak": list(self.parts[self.peak]),
        }


def default_length(num_frames: int) -> int:
    """Frames of a window: an eighth of a view."""
    return max(1, num_frames // SHARE)


def occlusion_windows(num_frames: int, *, length: int) -> tuple[tuple[int, int], ...]:
    """Windows of `length` frames that overlap by half and cover a view.

    16 frames, 8 a window -> (0, 8), (4, 12), (8, 16)
    """
    if not 1 <= length < num_frames:
        raise InputError(f"hide_frames {length}: must be at least 1 and below the frames of the view, {num_frames}")
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
