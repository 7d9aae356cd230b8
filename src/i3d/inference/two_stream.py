"""Two networks as one: one sees the frames of a video, one the flow between them (Simonyan & Zisserman 2014).

    two = TwoStreams(Predictor("rgb.safetensors"), Predictor("flow.safetensors"), weights=(1, 1))
    two("clip.mp4").top1

Letters in names: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from i3d.errors import InputError, quoted
from i3d.evaluation.scoring import Average, average_views, sigmoid, softmax
from i3d.inference.prediction import Prediction
from i3d.inference.predictor import OnWindow, Predictor, VideoLogits
from i3d.video.base import Limits, Source


class TwoStreams:
    """Predictors whose scores are fused: logits are added ("score", the paper), or probabilities averaged ("prob").

    Classes are matched by name; other classes, and weights that are not two numbers of at least 0, are an InputError.
    """

    def __init__(
        self, rgb: Predictor, flow: Predictor, *, weights: Sequence[float] = (1.0, 1.0), of: Average = "score"
    ) -> None:
        if len(weights) != 2 or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise InputError(f"weights {list(weights)}: give two numbers of at least 0, not both 0")
        if of not in ("score", "prob"):
            raise InputError(f"fuse {of!r}: is neither score nor prob")
        if rgb.flow is not None or flow.flow is None:
            raise InputError("two streams are one network of RGB and one of flow, in this order")
        if rgb.card.recipe.multi_label != flow.card.recipe.multi_label:
            raise InputError("classes go together in one of the networks and exclude each other in the other")
        other = [label for label in rgb.card.labels if label not in set(flow.card.labels)]
        if other or len(rgb.card.labels) != len(flow.card.labels):
            named = quoted(other[0]) if other else quoted(flow.card.labels[-1])
            raise InputError(f"the two networks have other classes: {named} is in one only")
        self.streams = (rgb, flow)
        self.rgb, self.flow, self.weights, self.of = rgb, flow, tuple(float(weight) for weight in weights), of
        places = [flow.card.labels.index(label) for label in rgb.card.labels]
        self._places = (np.arange(len(places)), np.array(places))
        self.card = rgb.card

    @property
    def protocol_line(self) -> str:
        """How the scores are made, in words."""
        how = "logits added" if self.of == "score" else "probabilities averaged"
        lines = [predictor.line_of(self.of) for predictor in (self.rgb, self.flow)]
        each = (f"{weight:g} x ({line})" for weight, line in zip(self.weights, lines, strict=True))
        return f"two streams, {how}: {' + '.join(each)}"

    @property
    def settings(self) -> dict[str, str]:
        """What the numbers depend on, besides the video."""
        both = self.rgb.settings, self.flow.settings
        return {"protocol": self.protocol_line, "weights": "+".join(s["weights"] for s in both)} | {
            key: both[0][key] for key in ("labels", "device")
        }

    def __call__(
        self,
        source: Source,
        *,
        top_k: int = 5,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_window: OnWindow | None = None,
    ) -> Prediction:
        """The `top_k` most likely actions of one video. Raises VideoError if it cannot be read."""
        options: Any = {"frames_fps": frames_fps, "limits": limits, "on_window": on_window}
        return self.told(source, [stream.logits(source, **options) for stream in self.streams], top_k=top_k)

    def told(self, source: Source, seen_of_streams: Sequence[VideoLogits], *, top_k: int) -> Prediction:
        """What the logits of a video say, of RGB and of flow."""
        fused_K, multi_label = np.zeros(len(self.card.labels)), self.card.recipe.multi_label
        to_probabilities = sigmoid if multi_label else softmax
        each = zip(self.streams, seen_of_streams, self.weights, self._places, strict=True)
        for predictor, seen, weight, places_K in each:
            scores = predictor.scores_of(seen, source)
            if self.of == "prob":
                fused_K += weight * scores.probabilities_K[places_K]
                continue
            logits = average_views(seen.logits_VK, average="score", weights_V=seen.num_frames_V).scores_K
            fused_K += weight * logits[places_K]
        probabilities_K = fused_K / sum(self.weights) if self.of == "prob" else to_probabilities(fused_K)
        return self.rgb.prediction(source, probabilities_K, seen, top_k=top_k, protocol_line=self.protocol_line)
