"""The scores of sliding windows of a video, in blocks, with the same memory for any length.

Each window is centred on a multiple of the stride; where it reaches beyond the video, the first or the last frame is
repeated. Window w thus stands for the time around `w * step` seconds.

Letters in names: W windows, T frames, H rows, W columns, C channels, K classes.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.loading.preprocess import stated_num_frames, window_frames
from i3d.data.loading.view_stream import hash_of_source
from i3d.errors import InputError, VideoError
from i3d.evaluation.scoring import sigmoid, softmax
from i3d.features.extractor import windows_of_stream
from i3d.inference.predictor import Predictor
from i3d.models.engine.engine import Engine
from i3d.models.engine.forward import forward, views_at_once
from i3d.recipes.features import FeatureSettings
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import WindowProtocol
from i3d.utils.prefetch import prefetch
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.base import FrameHWC, Video
from i3d.video.transforms import center_crop

WINDOW: Final = 64  # frames of a window of a network that takes windows of any length, as in its training
STRIDES_PER_WINDOW: Final = 4
BLOCK: Final = 16  # windows whose scores are logged together
WINDOWS_AHEAD: Final = 4  # decoded windows that wait
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SlidingWindows:
    """Which frames the windows have: every `interval`-th of `frames * interval` at a rate."""

    fps: float  # at which frames are read, by their times
    frames: int  # that the network takes
    interval: int
    stride: int  # frames from one window to the next

    @property
    def step(self) -> float:
        """Seconds from one window to the next."""
        return self.stride / self.fps

    @property
    def span(self) -> float:
        """Seconds of a window."""
        return self.frames * self.interval / self.fps

    @property
    def line(self) -> str:
        """In words."""
        return f"windows of {self.span:.3g} s ({self.frames} x {self.interval} frames), every {self.step:.3g} s"

    def rounding(self, span: float | None) -> str:
        """How a window of `span` seconds became another one, in words; empty if it did by less than a frame."""
        if span is None or abs(self.span - span) < 1 / self.fps:
            return ""
        what = f"the network takes {self.frames} frames, at {self.fps / self.interval:g} a second"
        return f"window {span:g} s: is {self.span:.3g} s, as {what}"

    @property
    def rows(self) -> FeatureSettings:
        """The same as rows of features."""
        length = self.frames * self.interval
        return FeatureSettings(window=length, stride=self.stride, fps=self.fps, align="centre", padding="repeat")


class RatedSource(Protocol):
    """What windows are cut from: a video, or a live source."""

    @property
    def name(self) -> str:
        """As in messages."""

    @property
    def fps(self) -> float | None:
        """Its own frame rate; None: its frames have no times."""


def sliding_windows(
    recipe: Recipe, video: RatedSource, *, span: float | None = None, step: float | None = None
) -> SlidingWindows:
    """The windows of a recipe for a video; `span` and `step` in seconds replace its own.

    A network of clips takes as many frames as in its recipe; another span changes their interval.
    """
    protocol = recipe.protocol
    if isinstance(protocol, WindowProtocol):
        fps, interval = protocol.fps, 1
        frames = WINDOW if span is None else max(1, round(span * fps))
    else:
        if (rate := protocol.target_fps or video.fps) is None:
            raise VideoError(video.name, "its images have no times", "give their rate with --frames-fps")
        fps = float(rate)
        frames = protocol.clip_len
        interval = protocol.frame_interval if span is None else max(1, round(span * fps / frames))
    _check_step(step, fps)
    stride = frames * interval / STRIDES_PER_WINDOW if step is None else step * fps
    return SlidingWindows(fps, frames, interval, max(1, round(stride)))


def window_shape(recipe: Recipe, windows: SlidingWindows) -> tuple[int, int, int, int]:
    """Channels, frames, rows and columns of what the network takes of a window."""
    crop = recipe.preprocessing.crop
    return recipe.network.in_channels, windows.frames, crop, crop


def check_windows(recipe: Recipe, span: float | None, step: float | None, *, min_frames: int) -> None:
    """An InputError for a stride below the time of a frame, if the recipe sets the frame rate, and for a short window.

    A window with fewer frames than the network takes is short: they would be repeated.
    """
    protocol = recipe.protocol
    rate = protocol.fps if isinstance(protocol, WindowProtocol) else protocol.target_fps
    if rate is not None:
        _check_step(step, rate)
    if span is None or not isinstance(recipe.protocol, WindowProtocol):
        return
    if (frames := max(1, round(span * recipe.protocol.fps))) < min_frames:
        what = f"window {span:g} s: has {frames} of the {min_frames} frames that the network takes at least"
        raise InputError(f"{what}; give {min_frames / recipe.protocol.fps:g} s or more")


def _check_step(step: float | None, fps: float) -> None:
    if step is not None and step * fps < 0.5:
        raise InputError(f"stride {step:g} s: is below the time of a frame, {1 / fps:.3g} s; give a longer one")


def score_blocks(
    predictor: Predictor,
    video: Video,
    windows: SlidingWindows,
    *,
    first: int = 0,
    on_progress: ProgressCallback = ignore_progress,
) -> Generator[Scores, None, float]:
    """Yield probabilities (W, K) of the windows from number `first` on, 16 at a time; return the video's seconds.

    Earlier windows are decoded, and not scored. Raises VideoError if the video cannot be read.
    """
    rows, num_frames, number = windows.rows, 0, first
    stated = stated_num_frames(video, fps=windows.fps)

    def count(frames: Iterator[FrameHWC]) -> Iterator[FrameHWC]:
        nonlocal num_frames
        for frame_HWC in frames:
            num_frames += 1
            yield frame_HWC

    def report() -> None:
        completed = number * windows.step
        total = None if stated is None else max(stated / windows.fps, completed)
        on_progress(Progress("timeline", completed, total, "s", name=video.name))

    stream = windows_of_stream(count(_frames(predictor, video, windows)), rows)
    clips = (np.stack(frames[:: windows.interval]) for row, frames in stream if row_number(row, rows) >= first)
    with closing(prefetch(clips, max_ahead=WINDOWS_AHEAD)) as decoded:
        report()
        while block := list(islice(decoded, BLOCK)):
            scores_WK = score_windows(predictor.engine, predictor.card.recipe, block, name=video.name)
            number += len(block)
            report()
            yield scores_WK
    return num_frames / windows.fps


def _frames(predictor: Predictor, video: Video, windows: SlidingWindows) -> Iterator[FrameHWC]:
    """The frames, or the flow to them, cropped."""
    pre, flow = predictor.card.recipe.preprocessing, predictor.sampler.flow
    if flow is None:
        return window_frames(video, WindowProtocol(fps=windows.fps), pre)
    flows = flow.stream(video, hash_of_source(video.name), fps=windows.fps)
    return (center_crop(flow_HW2[None], size=pre.crop)[0].copy() for flow_HW2 in flows)


def score_windows(engine: Engine, recipe: Recipe, block: list[npt.NDArray[np.uint8]], *, name: str) -> Scores:
    """Probabilities (W, K) of some windows (T, H, W, C) uint8; NaN from the network is a VideoError with the name."""
    logits, at_once = [], views_at_once(len(block[0]))
    for first in range(0, len(block), at_once):
        on_device = torch.from_numpy(np.stack(block[first : first + at_once])).to(engine.device)
        logits.append(forward(engine, on_device, recipe.preprocessing).cpu().numpy())
    logits_WK = np.concatenate(logits).astype(np.float64)
    if not np.isfinite(logits_WK).all():
        raise VideoError(name, f"the network gave NaN or infinity in {engine.arithmetic}", "use --precision fp32")
    return (sigmoid(logits_WK) if recipe.multi_label else softmax(logits_WK)).astype(np.float32)


def row_number(row: tuple[int, int], rows: FeatureSettings) -> int:
    """The number of a centred row, by its first frame."""
    return (row[0] + rows.window // 2) // rows.stride
