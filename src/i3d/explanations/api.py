"""From Python: why a network gives a video its label."""

import os
from collections.abc import Sequence

from i3d.errors import InputError, check_not_empty
from i3d.explanations.explainer import Explainer, ExplainOptions
from i3d.explanations.explanation import Explanation
from i3d.explanations.perturbation import NUM_RANDOM
from i3d.inference.predictor import Predictor
from i3d.inference.sources import VideoInput, is_many, to_source
from i3d.utils.arguments import checks_types
from i3d.utils.device import ComputeConfig, Precision, Runtime
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.video.base import Limits
from i3d.weights.pretrained import DEFAULT


@checks_types
def explain(
    video: VideoInput,
    *,
    model: str | os.PathLike[str] = DEFAULT,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    label: str | None = None,
    layer: str | None = None,
    view: int | None = None,
    hide_frames: int | None = None,
    curve_only: bool = False,
    random_maps: int = NUM_RANDOM,
    seed: int = 0,
    device: str = "auto",
    precision: Precision | None = None,
    runtime: Runtime = "torch",
    frames_fps: float | None = None,
    time_limit: float = 60.0,
    on_progress: ProgressCallback = ignore_progress,
) -> Explanation:
    """Which frames and which places of a layer a label of one video rests on, and how far the map can be trusted.

    `video`, `model`, `recipe` and `labels` are those of `predict`. `label` is explained, by default the one that the
    video gets; `view` is the number, from 1, of the view that is explained, by default the middle one. The curve hides
    `hide_frames` frames at a time, by default an eighth of the view, and is computed by `runtime` in `precision`. The
    map is that of `layer`, computed in float32 by captum; `curve_only` leaves it out. Its deletion and insertion scores
    stand beside those of `random_maps` others.

    Raises VideoError if the video cannot be read, WeightsError if the weights cannot, InputError for a bad option, and
    for a map without captum.
    """
    check_not_empty(video=video, model=model, label=label, layer=layer)
    if isinstance(video, str | os.PathLike) and is_many(video):
        raise InputError(f"{os.fspath(video)}: stands for many videos; name one")
    options = ExplainOptions(label, layer, view, hide_frames, not curve_only, random_maps, seed)
    compute = ComputeConfig(device=device, precision=precision, runtime=runtime)
    explainer = Explainer(Predictor(model, recipe=recipe, labels=labels, compute=compute), options)
    limits = Limits(max_seconds=time_limit)
    return explainer(to_source(video), frames_fps=frames_fps, limits=limits, on_progress=on_progress)
