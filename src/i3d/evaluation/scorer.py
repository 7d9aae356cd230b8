"""From the views of a clip to its scores, by one protocol or several.

Letters in names: N clips, V views, R rows (one, or one per view), K classes, T frames, H rows, W columns, C channels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
import torch

from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.batch import Views
from i3d.errors import InputError
from i3d.evaluation.metrics import Scores
from i3d.evaluation.occlusion import Clip, OcclusionCurve, default_length, occlusion_curve
from i3d.evaluation.result import ViewLogits
from i3d.evaluation.scoring import sigmoid, softmax
from i3d.exporting.engines import create_engine
from i3d.models.engine.forward import forward_views, views_at_once
from i3d.models.flops import view_shape
from i3d.models.network import check_crop
from i3d.recipes.protocols import middle_view
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol
from i3d.utils.arguments import check_fields
from i3d.utils.device import ComputeConfig
from i3d.video.sampling import looped_indices
from i3d.weights.load import Weights

FrameOrder = Literal["forward", "shuffled", "reversed", "frozen"]


@dataclass(frozen=True)
class EvaluationProtocol:
    """How clips are scored: the recipe's views and preprocessing, with the frames of each view in some order."""

    name: str  # 10x3: 10 clips x 3 crops
    recipe: Recipe
    order: FrameOrder = "forward"

    @property
    def is_random(self) -> bool:
        """Whether the frames are drawn, by the seed of the test."""
        protocol = self.recipe.protocol
        return isinstance(protocol, ClipProtocol) and protocol.placement == "scattered"

    @property
    def line(self) -> str:
        """The protocol in words."""
        orders = {"shuffled": "frames shuffled", "reversed": "frames reversed", "frozen": "the middle frame repeated"}
        return self.recipe.protocol_line + (f", {orders[self.order]}" if self.order != "forward" else "")


@dataclass(frozen=True)
class EvaluationOptions:
    """What a test computes. `ComputeConfig` is where it runs."""

    protocols: tuple[EvaluationProtocol, ...] = ()  # of one pass over the clips; empty: the recipe's protocol
    max_views: int | None = None  # that run at once; None: views of 256 frames in all
    save_views: bool = False  # put the logits of every view into the result
    max_bad: float = 0.01  # the fraction of clips that may be unreadable, as in training
    seed: int = 0  # of shuffled frames, and of frames that a protocol draws
    occlude: bool = False  # also score the middle view of each clip with each window of its frames hidden
    frame_naming: FrameNaming | None = None  # of frame folders; None: inferred from the file names

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_views is not None and self.max_views < 1:
            raise InputError(f"max_views must be at least 1, got {self.max_views}")


@dataclass(frozen=True, eq=False)
class ClipScores:
    """The scores of one clip by one protocol: averaged over its views (one row), or the logits of each view."""

    values_RK: Scores
    num_frames_V: tuple[int, ...]
    note: str = ""  # of its video: truncated, damaged
    curve: OcclusionCurve | None = None  # with `occlude`, by the first protocol


ProtocolScores = dict[str, ClipScores]  # of one clip, by protocol name


class Scorer:
    """A network on its device that scores clips by the protocols of the options, of which there is at least one."""

    def __init__(
        self, weights: Weights, options: EvaluationOptions, *, compute: ComputeConfig, device: torch.device
    ) -> None:
        self.options = options
        self.protocols = tuple(dict.fromkeys(p.recipe.protocol for p in options.protocols))  # as in the view groups
        longest = max(p.clip_len if isinstance(p, ClipProtocol) else p.max_window_frames for p in self.protocols)
        self.max_views = options.max_views or views_at_once(longest)
        clip_CTHW = view_shape(options.protocols[0].recipe)[1:]
        self.engine = create_engine(weights, compute, device=device, clip_CTHW=clip_CTHW)
        for protocol in options.protocols:
            check_crop(self.engine.net, protocol.recipe.preprocessing)

    def __call__(
        self,
        views: Views,
        name: str,
        *,
        index: int,
        labels: Sequence[int] = (),
        on_part: Callable[[float], None] = lambda _: None,
    ) -> ProtocolScores:
        """The scores of one clip by each protocol. `index`: of the clip in its list, for the seed of shuffles.

        `labels` are the classes whose probability the occlusion curve has. `on_part` gets the fraction of the clip that
        is done.
        """
        logits_by_order: dict[FrameOrder, Scores] = {}
        orders = dict.fromkeys(p.order for p in self.options.protocols)
        num_stages = len(orders) + self.options.occlude

        def stage(number: int) -> Callable[[float], None]:
            return lambda part: on_part((number + part) / num_stages)

        for number, order in enumerate(orders):
            reordered = _reorder(views, order, seed=self.options.seed, index=index)
            logits_by_order[order] = self._logits(reordered, name, stage(number))
        scores = {p.name: self._scores(p, logits_by_order[p.order], views) for p in self.options.protocols}
        if self.options.occlude:
            first = self.options.protocols[0].name
            curve = self._curve(views, name, labels, stage(len(orders)))
            scores[first] = replace(scores[first], curve=curve)
        return scores

    def _curve(
        self, views: Views, name: str, labels: Sequence[int], on_part: Callable[[float], None]
    ) -> OcclusionCurve:
        """How far the mean probability of the classes falls with each window of the middle view hidden."""
        recipe, chosen = self.options.protocols[0].recipe, views.groups[0]
        view = chosen[middle_view(recipe.protocol, len(chosen))]
        clip_THWC = views.clips(view, view + 1)[0].cpu().numpy()
        if len(clip_THWC) < self.engine.min_frames:
            clip_THWC = clip_THWC[looped_indices(len(clip_THWC), length=self.engine.min_frames)]
        to_probabilities = sigmoid if recipe.multi_label else softmax

        def score_of(clips: Iterator[Clip], total: int) -> Scores:
            means: list[float] = []
            while batch := list(islice(clips, self.max_views)):
                logits_NK = self._logits(Views.from_clips(batch), name, lambda _: None)
                means += to_probabilities(logits_NK)[:, list(labels)].mean(axis=1).tolist()
                on_part(len(means) / total)
            return np.array(means)

        (score,) = score_of(iter([clip_THWC]), 1)
        return occlusion_curve(clip_THWC, score_of, score=float(score), length=default_length(len(clip_THWC)))

    def _scores(self, protocol: EvaluationProtocol, logits_VK: Scores, views: Views) -> ClipScores:
        recipe = protocol.recipe
        chosen = list(views.groups[self.protocols.index(recipe.protocol)])
        frames = tuple(views.num_frames_V[view] for view in chosen)
        if self.options.save_views:
            return ClipScores(logits_VK[chosen], frames)
        average, multi_label = recipe.protocol.average, recipe.multi_label
        return ClipScores(ViewLogits(logits_VK[chosen], frames).average(average, multi_label=multi_label)[None], frames)

    def _logits(self, views: Views, name: str, on_part: Callable[[float], None]) -> Scores:
        """The logits (V, K) of all views of one clip."""
        preprocessing, device = self.options.protocols[0].recipe.preprocessing, self.engine.device
        try:
            logits_tensor = forward_views(
                self.engine, views, preprocessing, device=device, max_views=self.max_views, on_part=on_part
            )
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{name}: {self.max_views} views at once are too many for the memory of {device}; "
                "use a smaller --max-views"
            ) from error
        logits_VK = logits_tensor.numpy()
        if not np.isfinite(logits_VK).all():
            arithmetic = self.engine.arithmetic
            remedy = "the weights are damaged" if arithmetic == "fp32" else "use --precision fp32"
            raise InputError(f"{name}: the network gave NaN or infinity in {arithmetic}; {remedy}")
        return logits_VK.astype(np.float64)


def _reorder(views: Views, order: FrameOrder, *, seed: int, index: int) -> Views:
    def frames(view: int, length: int) -> Sequence[int]:
        match order:
            case "shuffled":
                return np.random.default_rng((seed, index, view)).permutation(length).tolist()  # type: ignore[no-any-return]
            case "reversed":
                return range(length - 1, -1, -1)
            case _:
                return [length // 2] * length

    return views if order == "forward" else views.reordered(frames)
