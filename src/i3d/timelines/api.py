"""From Python: the timeline of one video, or of each of many."""

import os
from collections.abc import Sequence

from i3d.errors import check_not_empty
from i3d.inference.predictor import Predictor
from i3d.inference.sources import VideoInput, expand, is_many, to_source
from i3d.timelines.find import Timeline, TimelineFinder, TimelineOptions, find_timelines
from i3d.timelines.segmentation import SegmentSettings
from i3d.utils.arguments import checks_types
from i3d.utils.device import ComputeConfig, Precision
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import Limits
from i3d.weights.pretrained import DEFAULT


@checks_types
def timeline(
    videos: VideoInput,
    *,
    model: str | os.PathLike[str] = DEFAULT,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    only_labels: Sequence[str] = (),
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    settings: SegmentSettings | None = None,
    device: str = "auto",
    precision: Precision | None = None,
    frames_fps: float | None = None,
    time_limit: float = 60.0,
    on_progress: ProgressCallback = ignore_progress,
) -> Timeline | list[Timeline]:
    """When things happen in a video, or in each of many: segments with start and stop in seconds.

    `videos`, `model`, `recipe` and `labels` are those of `predict`; a list, a folder of videos, a pattern and a list
    file give a list, where a video that cannot be read has an `error`. `only_labels` restricts the labels, whose scores
    stay those among all. `settings`: thresholds and smoothing; what is not set in it is as `tune_timeline` chose it for
    this model, else the default. Raises VideoError if a single video cannot be read,
    WeightsError if the weights cannot, InputError for a bad option.
    """
    check_not_empty(videos=videos, model=model)
    predictor = Predictor(
        model, recipe=recipe, labels=labels, compute=ComputeConfig(device=device, precision=precision)
    )
    options = TimelineOptions(window_seconds, stride_seconds, tuple(only_labels), settings or SegmentSettings())
    finder = TimelineFinder(predictor, options)
    limits = Limits(max_seconds=time_limit)
    if isinstance(videos, list | tuple) or (isinstance(videos, str | os.PathLike) and is_many(videos)):
        each = find_timelines(finder, expand(videos), frames_fps=frames_fps, limits=limits, on_progress=on_progress)
        return list(each)
    return finder(to_source(videos), frames_fps=frames_fps, limits=limits, on_progress=on_progress)
