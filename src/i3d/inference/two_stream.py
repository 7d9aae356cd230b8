"""Two networks as one: RGB frames and the optical flow between them (Simonyan & Zisserman 2014).

    two = TwoStreams(Predictor("rgb.safetensors"), Predictor("flow.safetensors"), weights=(1, 1))
    two("clip.mp4").top1

Letters in names: K classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from i3d.errors import InputError, quoted
from i3d.evaluation.scoring import Average, average_views, sigmoid, softmax
from i3d.inference.prediction import Prediction
from i3d.inference.predictor import Predictor, VideoClassifier, VideoLogits
from i3d.utils.arguments import checks_types
from i3d.video.base import Source


class TwoStreams(VideoClassifier):
    """Predictors whose scores are fused: logits are added ("score", the paper), or probabilities averaged ("prob").

    Classes are matched by name. Networks with different classes, and weights that are not two numbers of at least 0,
    are an InputError.
    """

    @checks_types
    def __init__(
        self, rgb: Predictor, flow: Predictor, *, weights: Sequence[float] = (1.0, 1.0), average: Average = "score"
    ) -> None:
        if len(weights) != 2 or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise InputError(f"weights {list(weights)}: give two numbers of at least 0, not both 0")
        if rgb.flow is not None or flow.flow is None:
            raise InputError("two streams are one network of RGB and one of flow, in this order")
        if rgb.card.recipe.multi_label != flow.card.recipe.multi_label:
            raise InputError("one of the networks is multi-label, the other is not; take two of one kind")
        other = [label for label in rgb.card.labels if label not in set(flow.card.labels)]
        if other or len(rgb.card.labels) != len(flow.card.labels):
            name = quoted(other[0]) if other else quoted(flow.card.labels[-1])
            raise InputError(f"the two networks have different classes: {name} is in one only")
        self.streams = (rgb, flow)
        self.rgb, self.flow, self.average = rgb, flow, average
        self.weights = tuple(float(weight) for weight in weights)
        order = [flow.card.labels.index(label) for label in rgb.card.labels]
        self._class_order = (np.arange(len(order)), np.array(order))
        self.card = rgb.card

    @property
    def protocol_line(self) -> str:
        how = "logits added" if self.average == "score" else "probabilities averaged"
        lines = [predictor.describe_protocol(self.average) for predictor in self.streams]
        terms = (f"{weight:g} x ({line})" for weight, line in zip(self.weights, lines, strict=True))
        return f"two streams, {how}: {' + '.join(terms)}"

    @property
    def settings(self) -> dict[str, str]:
        """What the scores depend on, besides the video."""
        both = self.rgb.settings, self.flow.settings
        return {"protocol": self.protocol_line, "weights": "+".join(s["weights"] for s in both)} | {
            key: both[0][key] for key in ("labels", "device")
        }

    def make_prediction(self, source: Source, logits_of_streams: Sequence[VideoLogits], *, top_k: int) -> Prediction:
        fused_K, multi_label = np.zeros(len(self.card.labels)), self.card.recipe.multi_label
        to_probabilities = sigmoid if multi_label else softmax
        streams = zip(self.streams, logits_of_streams, self.weights, self._class_order, strict=True)
        for predictor, logits, weight, order_K in streams:
            scores_K = predictor.scores(logits, source).probabilities_K
            if self.average == "score":
                scores_K = average_views(logits.logits_VK, average="score", weights_V=logits.num_frames_V).scores_K
            fused_K += weight * scores_K[order_K]
        probabilities_K = fused_K / sum(self.weights) if self.average == "prob" else to_probabilities(fused_K)
        coverage = min(one.coverage for one in logits_of_streams)
        logits = replace(logits, coverage=coverage, looped=any(one.looped for one in logits_of_streams))
        known = [stream.familiarity(one) for stream, one in zip(self.streams, logits_of_streams, strict=True)]
        return self.rgb.prediction(
            source,
            probabilities_K,
            logits,
            top_k=top_k,
            protocol_line=self.protocol_line,
            familiarity=min((value for value in known if value is not None), default=None),
        )
