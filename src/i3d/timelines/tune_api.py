"""Choose how segments are found, on videos with known segments, and write the choice into the checkpoint."""

import os
from collections.abc import Sequence
from dataclasses import replace

from i3d.data.resume import ResumeLog
from i3d.data.segments.read import read_segments
from i3d.data.segments.segment import VideoSegments
from i3d.errors import check_not_empty
from i3d.inference.predictor import Predictor
from i3d.inference.sources import expand
from i3d.recipes.names import SegmentMetric
from i3d.recipes.segments import TunedSegments
from i3d.timelines.find import Block, TimelineFinder, TimelineOptions
from i3d.timelines.known_segments import known_segments
from i3d.timelines.tune import Tuning, check_by, tune_settings
from i3d.utils.arguments import checks_types
from i3d.utils.device import ComputeConfig, Precision
from i3d.utils.outputs import locked_output
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import Limits, Source
from i3d.weights.tuned import checkpoint_to_write, new_checkpoint, save_tuned


@checks_types
def tune_timeline(
    videos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    truth: str | os.PathLike[str] | Sequence[VideoSegments],
    *,
    model: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    by: SegmentMetric = "f1@50",
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    window_seconds: float | None = None,
    stride_seconds: float | None = None,
    device: str = "auto",
    precision: Precision | None = None,
    frames_fps: float | None = None,
    time_limit: float = 60.0,
    force: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> Tuning:
    """Choose thresholds and smoothing on videos with known segments, and write them into the checkpoint `model`.

    `truth`: a file that `read_segments` reads, or its content, with each of the `videos`. `by`: the metric of
    `score_segments` that is maximised. With `out`, `model` may be any weights and stays as it is: a copy is written.
    The other options are those of `timeline`, which uses the chosen values from then on. Raises VideoError if a video
    cannot be read, InputError for annotations that do not fit and for a checkpoint that cannot be written.
    """
    check_not_empty(videos=videos, truth=truth, model=model)
    if out is None:
        path = checkpoint_to_write(model, recipe=recipe, has_labels=labels is not None)
    else:
        path = new_checkpoint(out, force=force)
    if isinstance(truth, str | os.PathLike):
        known, where = read_segments(os.fspath(truth)), os.fspath(truth)
    else:
        known, where = tuple(truth), "truth"
    with locked_output(str(path), path):
        predictor = Predictor(
            model, recipe=recipe, labels=labels, compute=ComputeConfig(device=device, precision=precision)
        )
        options = TimelineOptions(window_seconds, stride_seconds, use_tuned=False)
        tuning = tune_finder(
            TimelineFinder(predictor, options), list(expand(videos)), known,
            by=by, where=where, frames_fps=frames_fps,
            limits=Limits(max_seconds=time_limit), on_progress=on_progress,
        )  # fmt: skip
        save_tuned(predictor.weights, tuned_segments(tuning, options), path, in_place=out is None)
    return tuning


def tune_finder(
    finder: TimelineFinder,
    sources: Sequence[Source],
    truth: Sequence[VideoSegments],
    *,
    by: SegmentMetric = "f1@50",
    where: str = "truth",
    log: ResumeLog[Block] | None = None,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> Tuning:
    """Score the windows of all videos, then choose. `where` names the annotations in messages, `log` has scores."""
    labels, multi_label = finder.predictor.card.labels, finder.predictor.card.recipe.multi_label
    known = known_segments(sources, truth, labels, where=where)
    check_by(by, known, multi_label=multi_label)
    scored = [
        finder.score(source, log=log, frames_fps=frames_fps, limits=limits, on_progress=on_progress)
        for source in sources
    ]
    tuning = tune_settings(scored, known, labels, by=by, multi_label=multi_label, on_progress=on_progress)
    return replace(tuning, protocol=finder.scores_line(scored[0].windows))


def tuned_segments(tuning: Tuning, options: TimelineOptions) -> TunedSegments:
    """The choice as a checkpoint holds it."""
    return TunedSegments(
        settings=tuning.settings,
        metric=tuning.metric,
        value=min(tuning.value, 1.0),  # a mean of fractions may be above by the last digit
        held_out=None if tuning.held_out is None else min(tuning.held_out, 1.0),
        num_videos=tuning.num_videos,
        window_seconds=options.span,
        stride_seconds=options.step,
    )
