"""Explain the label of a video: all views are scored, and one of them is explained.

    explainer = Explainer(Predictor(), ExplainOptions(label="archery"))
    explainer("clip.mp4").curve.drops_T

Letters in names: V views, K classes, N clips, T frames, H rows, W columns, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.labels import class_number
from i3d.errors import InputError, VideoError, quoted
from i3d.evaluation.occlusion import Clip, default_length, occlusion_curve, occlusion_windows
from i3d.evaluation.scoring import sigmoid, softmax
from i3d.explanations.explanation import Explanation
from i3d.explanations.grad_cam import ActivationMap, grad_cam, import_captum
from i3d.explanations.layers import choose_layer, map_shapes
from i3d.explanations.perturbation import NUM_RANDOM, perturbation_scores
from i3d.explanations.views import choose_view
from i3d.inference.predictor import Predictor, source_name
from i3d.models.engine.forward import forward, network_input
from i3d.models.flops import view_shape
from i3d.models.network import VideoNetwork
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.base import Limits, Source
from i3d.weights.load import build_model

MAX_RANDOM: Final = 1000


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained, and how."""

    label: str | None = None  # None: the label that the video gets
    layer: str | None = None  # of the map; None: the last whose map has a sixteenth of the side
    view: int | None = None  # from 1; None: the middle one
    length: int | None = None  # frames that the curve hides at a time; None: an eighth of the view
    has_map: bool = True  # False: only the curve
    num_random: int = NUM_RANDOM  # maps beside which deletion and insertion are shown
    seed: int = 0

    def __post_init__(self) -> None:
        if self.view is not None and self.view < 1:
            raise InputError(f"view {self.view}: views are numbered from 1")
        if self.length is not None and self.length < 1:
            raise InputError(f"hide_frames {self.length}: must be at least 1")
        if not 1 <= self.num_random <= MAX_RANDOM:
            raise InputError(f"random_maps {self.num_random}: must be from 1 to {MAX_RANDOM:,}")
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: must be at least 0")
        if not self.has_map and self.layer is not None:
            raise InputError(f"layer {quoted(self.layer)}: is of the map, which is left out; give one of both")
        if not self.has_map and self.num_random != NUM_RANDOM:
            raise InputError(f"random_maps {self.num_random}: are beside the map, which is left out; give one of both")
        if not self.has_map and self.seed:
            raise InputError(f"seed {self.seed}: is of random maps, which are left out; give one of both")


class Explainer:
    """A network and options, for any number of videos. What no video could change is refused here."""

    def __init__(self, predictor: Predictor, options: ExplainOptions) -> None:
        self.predictor, self.options = predictor, options
        recipe, shape = predictor.card.recipe, view_shape(predictor.card.recipe)
        self.target = (
            None if options.label is None else class_number(options.label, predictor.card.labels, option="label")
        )
        if options.length is not None:
            occlusion_windows(shape[2], length=options.length)
        self._net: VideoNetwork | None = None
        if options.has_map:
            import_captum()
            choose_layer(map_shapes(recipe.network, shape), options.layer, side=recipe.preprocessing.crop)
            net = build_model(predictor.weights).eval()  # float32, and not prepared for inference: it has gradients
            self._net = net.to(predictor.device)

    def __call__(
        self,
        source: Source,
        *,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Explanation:
        """The explanation of one video. Raises VideoError if it cannot be read."""
        predictor, options, name = self.predictor, self.options, source_name(source)
        logits, view = choose_view(
            predictor, source, options.view,
            frames_fps=frames_fps, limits=limits or Limits(), on_progress=on_progress,
        )  # fmt: skip
        labels = predictor.card.labels
        prediction = predictor.make_prediction(source, [logits], top_k=1)
        probabilities_K = predictor.scores(logits, source).probabilities_K
        target = int(np.argmax(probabilities_K)) if self.target is None else self.target
        scorer = ViewScorer(predictor, target, name, on_progress)
        view_scores_K = scorer.probabilities([view.clip_THWC])[0]
        score = float(view_scores_K[target])
        length = options.length or default_length(len(view.clip_THWC))
        curve = occlusion_curve(view.clip_THWC, scorer.for_stage("hide frames"), score=score, length=length)
        activation = self._map(view.clip_THWC, target)
        trust = None
        if activation is not None and not activation.is_empty:
            trust = perturbation_scores(
                activation, view.clip_THWC, scorer.for_stage("compare with random maps"),
                score=score, num_random=options.num_random, seed=options.seed,
            )  # fmt: skip
        return Explanation(
            path=name,
            label=labels[target],
            score=float(probabilities_K[target]),
            top1=prediction.top1.label,
            view=view,
            view_score=score,
            view_top1=labels[int(np.argmax(view_scores_K))],
            curve=curve,
            map=activation,
            trust=trust,
            protocol=prediction.protocol,
            notes=logits.notes,
        )

    def _map(self, view_THWC: Clip, target: int) -> ActivationMap | None:
        if self._net is None:
            return None
        recipe, shape = self.predictor.card.recipe, (1, view_THWC.shape[-1], *view_THWC.shape[:3])
        layer = choose_layer(map_shapes(recipe.network, shape), self.options.layer, side=recipe.preprocessing.crop)
        on_device = torch.from_numpy(view_THWC[None]).to(self.predictor.device)
        clip_1CTHW = network_input(self._net, on_device, recipe.preprocessing)
        return grad_cam(self._net, clip_1CTHW, layer=layer, target=target)


@dataclass(frozen=True, eq=False)
class ViewScorer:
    """The probability of a class for changed copies of a view, by the runtime and precision of a predictor."""

    predictor: Predictor
    target: int
    name: str
    on_progress: ProgressCallback
    stage: str = "explain"

    def for_stage(self, stage: str) -> "ViewScorer":
        """The same, whose progress has another name."""
        return ViewScorer(self.predictor, self.target, self.name, self.on_progress, stage)

    def __call__(self, clips: Iterator[Clip], total: int) -> npt.NDArray[np.float64]:
        """The probability of the class for each clip (T, H, W, C) of one shape."""
        scores: list[npt.NDArray[np.float64]] = []
        num_done = 0
        self.on_progress(Progress(self.stage, 0, total, "view", name=self.name))
        while batch := list(islice(clips, self.predictor.views_at_once)):
            scores.append(self.probabilities(batch)[:, self.target])
            num_done += len(batch)
            self.on_progress(Progress(self.stage, num_done, total, "view", name=self.name))
        return np.concatenate(scores)

    def probabilities(self, clips: list[Clip]) -> npt.NDArray[np.float64]:
        """Probabilities (N, K) of clips."""
        recipe, engine = self.predictor.card.recipe, self.predictor.engine
        on_device = torch.from_numpy(np.stack(clips)).to(self.predictor.device)
        logits_NK = forward(engine, on_device, recipe.preprocessing).cpu().numpy().astype(np.float64)
        if not np.isfinite(logits_NK).all():
            what = f"the network gave NaN or infinity in {engine.arithmetic} for a changed copy"
            raise VideoError(self.name, what, "use --precision fp32")
        return sigmoid(logits_NK) if recipe.multi_label else softmax(logits_NK)
