"""The view of a video that is explained: the middle one, or a given one.

Letters in names: V views, T frames, H rows, W columns, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from i3d.data.loading.view_stream import EndOfVideo, View, ViewSampler
from i3d.errors import InputError, VideoError, counted
from i3d.inference.predictor import Predictor, VideoLogits, source_name
from i3d.recipes.protocols import middle_view, name_of_middle
from i3d.utils.progress import ProgressCallback
from i3d.video.base import Limits, Source
from i3d.video.reader import open_video
from i3d.video.sampling import looped_indices


@dataclass(frozen=True, eq=False)
class ChosenView:
    """One view as the network takes it, and where in the video it is."""

    clip_THWC: npt.NDArray[np.uint8]
    number: int  # from 1
    num_views: int
    which: str  # of a video of several: "the middle crop of the middle clip", "the middle window"; empty: it was named
    seconds_T: npt.NDArray[np.float64] | None  # None: the frames have no times
    num_repeated: int  # of its frames: the video is shorter than what the network takes


def choose_view(
    predictor: Predictor,
    source: Source,
    number: int | None,
    *,
    frames_fps: float | None,
    limits: Limits,
    on_progress: ProgressCallback,
) -> tuple[VideoLogits, ChosenView]:
    """The logits of all views of a video, and the view of a number (from 1), by default the middle one.

    The video is decoded once, or twice if its header states another length. A number that the video does not have is an
    InputError.
    """
    sampler, view_at = predictor.sampler, dict[int, View]()

    def views() -> Iterator[View | EndOfVideo]:
        return sampler.views(source, frames_fps=frames_fps, limits=limits, on_progress=on_progress)

    def watched() -> Iterator[View | EndOfVideo]:
        for place, view in enumerate(views()):
            if isinstance(view, View) and view.num_views is not None:
                wanted = middle_view(sampler.protocol, view.num_views) if number is None else number - 1
                if place == wanted:
                    view_at.clear()
                    view_at[place] = view
            yield view

    name = source_name(source)
    logits = predictor.logits_of_views(watched(), name=name, on_progress=on_progress)
    num_views = len(logits.logits_VK)
    place = middle_view(sampler.protocol, num_views) if number is None else number - 1
    if not 0 <= place < num_views:
        raise InputError(f"view {number}: {name} has {counted(num_views, 'view')}; choose one from 1 to {num_views}")
    view = view_at.get(place) or next((view for n, view in enumerate(views()) if n == place), None)
    if not isinstance(view, View):
        raise VideoError(name, "was changed while it was read", "run it again when it is complete")
    seconds = _seconds(sampler, source, view.numbers_T, frames_fps=frames_fps, limits=limits)
    which = name_of_middle(sampler.protocol, num_views) if number is None else ""
    return logits, _looped(view, place + 1, num_views, seconds, predictor.engine.min_frames, which=which)


def _looped(
    view: View,
    number: int,
    num_views: int,
    seconds_T: npt.NDArray[np.float64] | None,
    min_frames: int,
    *,
    which: str,
) -> ChosenView:
    """The view with its frames repeated where the network takes more."""
    clip_THWC, num_frames = view.clip_THWC, len(view.clip_THWC)
    if num_frames < min_frames:
        indices_T = looped_indices(num_frames, length=min_frames)
        clip_THWC, seconds_T = clip_THWC[indices_T], None if seconds_T is None else seconds_T[indices_T]
    num_repeated = len(clip_THWC) - len(np.unique(view.numbers_T))
    return ChosenView(np.ascontiguousarray(clip_THWC), number, num_views, which, seconds_T, num_repeated)


def _seconds(
    sampler: ViewSampler,
    source: Source,
    numbers_T: npt.NDArray[np.int64],
    *,
    frames_fps: float | None,
    limits: Limits,
) -> npt.NDArray[np.float64] | None:
    """When the frames of these numbers are shown, in seconds since the first frame of the video."""
    if sampler.frame_rate is not None:
        return numbers_T / sampler.frame_rate
    with open_video(source, frames_fps=frames_fps, limits=limits) as video:
        if not video.timed:
            return None
        times = video.timetable()
        if times is not None:
            return np.array([float(times[number]) for number in numbers_T])
        return None if video.fps is None else numbers_T / video.fps
