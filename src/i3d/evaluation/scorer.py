"""From the views of a clip to its scores, by one protocol or several.

Letters in names: N clips, V views, R rows (one, or one a view), K classes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import torch

from i3d.data.loading.batch import Views
from i3d.errors import InputError, printable
from i3d.evaluation.metrics import Scores
from i3d.evaluation.scoring import average_views
from i3d.models.engine.engine import Engine
from i3d.models.engine.forward import forward_views, views_at_once
from i3d.models.flops import view_shape
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, Protocol
from i3d.utils.device import ComputeConfig
from i3d.weights.load import Weights, build_model

Order = Literal["forward", "shuffled", "reversed", "frozen"]


@dataclass(frozen=True)
class Variant:
    """One way to test: by a protocol, with the frames of each view in some order."""

    name: str
    recipe: Recipe
    order: Order = "forward"

    @property
    def line(self) -> str:
        """The protocol in words."""
        orders = {"shuffled": "frames shuffled", "reversed": "frames reversed", "frozen": "the middle frame repeated"}
        return self.recipe.protocol_line + (f", {orders[self.order]}" if self.order != "forward" else "")


@dataclass(frozen=True, eq=False)
class Scored:
    """What one variant gave for one clip: the averaged scores, or the logits of each view."""

    values_RK: Scores
    num_frames_V: tuple[int, ...]

    def as_row(self) -> dict[str, Any]:
        """As JSON has it, with all bits."""
        values = base64.b64encode(self.values_RK.astype("<f8").tobytes()).decode()
        return {"values": values, "rows": len(self.values_RK), "frames": list(self.num_frames_V)}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        values_RK = np.frombuffer(base64.b64decode(row["values"], validate=True), "<f8").reshape(row["rows"], -1)
        return cls(values_RK.astype(np.float64), tuple(int(frames) for frames in row["frames"]))


@dataclass(frozen=True, eq=False)
class Scorer:
    """A network on its device, and what it is asked for."""

    engine: Engine
    variants: tuple[Variant, ...]
    protocols: tuple[Protocol, ...]  # each once, as the dataset lays their views out
    max_views: int
    keep_views: bool
    seed: int  # of the shuffles

    @classmethod
    def create(
        cls,
        weights: Weights,
        variants: Sequence[Variant],
        *,
        compute: ComputeConfig,
        device: torch.device,
        max_views: int | None = None,
        keep_views: bool = False,
        seed: int = 0,
    ) -> Self:
        if max_views is not None and max_views < 1:
            raise InputError(f"max_views must be at least 1, got {max_views}")
        protocols = tuple(dict.fromkeys(variant.recipe.protocol for variant in variants))
        longest = max(p.clip_len if isinstance(p, ClipProtocol) else p.max_window_frames for p in protocols)
        clip_CTHW = view_shape(variants[0].recipe)[1:]
        engine = Engine.create(build_model(weights), compute, device=device, clip_CTHW=clip_CTHW)
        most = max_views or views_at_once(longest)
        return cls(engine, tuple(variants), protocols, most, keep_views, seed)

    def __call__(self, views: Views, name: str, *, index: int) -> dict[str, Scored]:
        """What each variant gives for one clip."""
        logits_of_order = {
            order: self._logits(_in_order(views, order, seed=self.seed, index=index), name)
            for order in dict.fromkeys(variant.order for variant in self.variants)
        }
        return {v.name: self._scored(v, logits_of_order[v.order], views) for v in self.variants}

    def _scored(self, variant: Variant, logits_VK: Scores, views: Views) -> Scored:
        recipe = variant.recipe
        chosen = list(views.groups[self.protocols.index(recipe.protocol)])
        frames = tuple(views.num_frames_V[view] for view in chosen)
        if self.keep_views:
            return Scored(logits_VK[chosen], frames)
        return Scored(averaged(logits_VK[chosen], frames, recipe)[None], frames)

    def _logits(self, views: Views, name: str) -> Scores:
        """The logits (V, K) of all views of one clip."""
        pre, device = self.variants[0].recipe.preprocessing, self.engine.device
        try:
            logits_VK = forward_views(self.engine, views, pre, device=device, max_views=self.max_views).numpy()
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{printable(name)}: {self.max_views} views at once are too many for the memory of {device}; "
                "use a smaller --max-views"
            ) from error
        if not np.isfinite(logits_VK).all():
            arithmetic = self.engine.arithmetic
            todo = "its weights are damaged" if arithmetic == "fp32" else "use --precision fp32"
            raise InputError(f"{printable(name)}: the network gave NaN or infinity in {arithmetic}; {todo}")
        return logits_VK.astype(np.float64)


def averaged(logits_VK: Scores, num_frames_V: Sequence[int], recipe: Recipe) -> Scores:
    """The scores (K) of a clip, averaged over its views as the protocol says; longer windows weigh more."""
    return average_views(
        logits_VK, average=recipe.protocol.average, weights_V=num_frames_V, multi_label=recipe.multi_label
    ).scores_K


def _in_order(views: Views, order: Order, *, seed: int, index: int) -> Views:
    if order == "forward":
        return views
    orders: dict[str, Callable[[int, int], Sequence[int]]] = {
        "shuffled": partial(_shuffled, seed, index),
        "reversed": lambda _, length: range(length - 1, -1, -1),
        "frozen": lambda _, length: [length // 2] * length,
    }
    return views.reordered(orders[order])


def _shuffled(seed: int, index: int, view: int, length: int) -> Sequence[int]:
    return np.random.default_rng((seed, index, view)).permutation(length).tolist()  # type: ignore[no-any-return]
