"""`i3d probe`: does a model see motion, or scenery? The same test with the frames of each view in other orders.

Letters in names: N clips, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming
from i3d.evaluation.evaluate import OnClip, evaluate_each, variants_of
from i3d.evaluation.metrics import bootstrap_interval
from i3d.evaluation.result import Evaluation, compute_metrics
from i3d.evaluation.scorer import Order, Variant
from i3d.utils.device import ComputeConfig
from i3d.weights.load import Weights, load_weights

ORDERS: Final[tuple[Order, ...]] = ("forward", "shuffled", "reversed", "frozen")


@dataclass(frozen=True, eq=False)
class Probe:
    """What a model recognises with its frames in other orders."""

    evaluations: Mapping[Order, Evaluation]
    accuracy: Mapping[Order, float]  # top-1, or the mean average precision of classes that go together
    lost: Mapping[Order, tuple[float, float] | None]  # 95 % interval of what is lost against forward, clip by clip
    recall_K: Mapping[Order, list[float]]  # of each class; NaN without clips. Empty for classes that go together

    @property
    def classes(self) -> tuple[str, ...]:
        return self.evaluations["forward"].classes

    @property
    def verdict(self) -> list[str]:
        """What the figures say, a sentence each."""
        said = []
        what = {
            "shuffled": "the order of the frames",
            "reversed": "the direction of time",
            "frozen": "motion",
        }
        for order in [order for order in self.evaluations if order != "forward"]:
            drop, interval = self.accuracy["forward"] - self.accuracy[order], self.lost[order]
            if interval is None:
                said.append(f"without {what[order]} it loses {100 * drop:.1f} points")
            elif interval[0] <= 0:
                said.append(f"these clips do not show that it uses {what[order]}")
            else:
                low, high = (100 * end for end in interval)
                said.append(
                    f"it uses {what[order]}: without, {100 * drop:.1f} points are lost (95 % interval {low:.1f} to "
                    f"{high:.1f})"
                )
        return said

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        forward = self.evaluations["forward"]
        counts_K = np.bincount([labels[0] for labels in forward.labels_N], minlength=len(self.classes))
        return {
            "protocols": {order: e.protocol for order, e in self.evaluations.items()},
            "metric": "mean_average_precision" if forward.multi_label else "top1",
            "clips": len(forward.files_N),
            "unreadable": len(forward.bad),
            "accuracy": dict(self.accuracy),
            "lost_interval": dict(self.lost),
            "by_class": [
                {"class": name, "clips": int(counts_K[k]), **{order: rows[k] for order, rows in self.recall_K.items()}}
                for k, name in enumerate(self.classes)
                if self.recall_K and counts_K[k]
            ],
            "verdict": self.verdict,
        }


def probe(
    model: str | os.PathLike[str] | Weights,
    annotations: Annotations,
    *,
    orders: Sequence[Order] = ORDERS[1:],
    recipe: str | None = None,
    protocol: str | None = None,
    compute: ComputeConfig | None = None,
    max_views: int | None = None,
    naming: FrameNaming | None = None,
    max_bad: float | None = None,
    seed: int = 0,
    called: str = "",
    on_clip: OnClip | None = None,
) -> Probe:
    """Test with the frames of each view as they are, shuffled (by the seed), reversed, and with the middle one alone.

    `protocol`: a short name such as 1x1, else the recipe's. The rest, and the errors, are those of `evaluate_each`.
    """

    weights = model if isinstance(model, Weights) else load_weights(model, recipe=recipe)
    (plain,) = variants_of(weights, protocols=[protocol] if protocol else [])
    variants = [Variant(order, plain.recipe, order) for order in dict.fromkeys(("forward", *orders))]
    found = evaluate_each(
        weights,
        annotations,
        variants=variants,
        compute=compute,
        max_views=max_views,
        naming=naming,
        max_bad=max_bad,
        seed=seed,
        called=called,
        on_clip=on_clip,
    )
    return compare({variant.order: evaluation for variant, evaluation in zip(variants, found, strict=True)})


def compare(evaluations: Mapping[Order, Evaluation]) -> Probe:
    """What the orders of the same clips say of the model."""
    figures = {order: compute_metrics(e) for order, e in evaluations.items()}
    forward = evaluations["forward"]
    accuracy: dict[Order, float] = {}
    lost: dict[Order, tuple[float, float] | None] = {}
    recall: dict[Order, list[float]] = {}
    for order, f in figures.items():
        accuracy[order] = float(f.top1 if f.top1 is not None else f.mean_average_precision or 0.0)
        lost[order] = None
        if f.by_class is not None:
            lost[order] = bootstrap_interval(_right(forward) - _right(evaluations[order]))
            recall[order] = [float(value) for value in f.by_class.recall_K]
    return Probe(evaluations, accuracy, lost, recall)


def _right(evaluation: Evaluation) -> Any:
    """1 for each clip that is recognised, else 0."""
    return (np.argmax(evaluation.scores_NK, axis=1) == evaluation.class_N).astype(float)
