"""`i3d test --frame-order`: how much accuracy depends on frame order.

The same test with the frames of each view shuffled, reversed, or replaced by the middle frame. The drop against the
true order measures what the model takes from frame order, from the direction of time, and from motion. "occluded" hides
one window of frames after the other: a curve of which part of the views matters.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from i3d.data.annotations import Annotations
from i3d.errors import InputError, counted
from i3d.evaluation.evaluate import evaluate_protocols, select_protocols
from i3d.evaluation.intervals import Interval, format_interval, paired_interval
from i3d.evaluation.occlusion import MeanOcclusion, default_length, occlusion_windows
from i3d.evaluation.result import Evaluation, compute_metrics
from i3d.evaluation.scorer import EvaluationOptions, EvaluationProtocol, FrameOrder
from i3d.models.flops import view_shape
from i3d.utils.arguments import checks_types
from i3d.utils.device import ComputeConfig
from i3d.utils.progress import ProgressCallback, ignore_progress
from i3d.weights.load import Weights, load_weights

MEANING: Final[Mapping[FrameOrder, str]] = {  # of each order: what it takes away
    "shuffled": "the order of the frames",
    "reversed": "the direction of time",
    "frozen": "motion",
}
CHANGED_ORDERS: Final = tuple(MEANING)
OCCLUDED: Final = "occluded"

log = logging.getLogger("i3d")


@dataclass(frozen=True, eq=False)
class FrameOrderComparison:
    """The accuracy of a model with its frames in the true order ("forward") and in others."""

    evaluations: Mapping[FrameOrder, Evaluation]
    accuracy: Mapping[FrameOrder, float]  # top-1, or the mean average precision of multi-label classes
    drop_intervals: Mapping[FrameOrder, Interval | None]  # 95 %, of the drop against forward; None for multi-label
    recall_K: Mapping[FrameOrder, list[float]]  # NaN: no clips; empty for multi-label classes
    occlusion: MeanOcclusion | None = None  # None: nothing was hidden

    @property
    def classes(self) -> tuple[str, ...]:
        return self.evaluations["forward"].classes

    @property
    def conclusions(self) -> list[str]:
        """A sentence for each changed order, and one for the occlusion."""
        sentences = [self._conclusion(order) for order in self.drop_intervals if order != "forward"]
        return sentences if self.occlusion is None else [*sentences, self.occlusion.conclusion]

    def _conclusion(self, order: FrameOrder) -> str:
        interval, drop = self.drop_intervals[order], 100 * (self.accuracy["forward"] - self.accuracy[order])
        if interval is None:
            return f"without {MEANING[order]}, accuracy drops by {drop:.1f} points"
        if interval[0] <= 0:
            return f"no significant dependence on {MEANING[order]} on these clips"
        return (
            f"the model depends on {MEANING[order]}: without it, accuracy drops by {drop:.1f} points "
            f"(95 % interval {format_interval(interval, factor=100, digits=1)})"
        )

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        forward = self.evaluations["forward"]
        counts_K = np.bincount([labels[0] for labels in forward.labels_N], minlength=len(self.classes))
        return {
            "protocols": {order: e.protocol for order, e in self.evaluations.items()},
            "metric": "mean_average_precision" if forward.multi_label else "top1",
            "clips": len(forward.files_N),
            "unreadable": len(forward.bad),
            "accuracy": dict(self.accuracy),
            "drop_intervals": dict(self.drop_intervals),
            "by_class": [
                {"class": name, "clips": int(counts_K[k]), **{order: rows[k] for order, rows in self.recall_K.items()}}
                for k, name in enumerate(self.classes)
                if self.recall_K and counts_K[k]
            ],
            "occlusion": None if self.occlusion is None else self.occlusion.as_dict(),
            "conclusions": self.conclusions,
        }


@checks_types
def compare_frame_orders(
    model: str | os.PathLike[str] | Weights,
    annotations: Annotations,
    options: EvaluationOptions | None = None,
    *,
    orders: Sequence[str] = CHANGED_ORDERS,
    recipe: str | None = None,
    compute: ComputeConfig | None = None,
    model_name: str = "",
    on_progress: ProgressCallback = ignore_progress,
) -> FrameOrderComparison:
    """Test with the frames of each view in the true order, and in each of `orders`; each clip is decoded once.

    "shuffled" draws an order by `options.seed`, "frozen" repeats the middle frame, and "occluded" adds the curve of
    `MeanOcclusion`, which takes about 16 forward passes a clip. The options have at most one protocol. The rest,
    and the errors, are those of `evaluate_protocols`.
    """
    if not orders or set(orders) - {*CHANGED_ORDERS, OCCLUDED}:
        raise InputError(f"frame order {','.join(orders)!r}: choose from {', '.join((*CHANGED_ORDERS, OCCLUDED))}")
    all_orders: tuple[FrameOrder, ...] = ("forward", *(order for order in CHANGED_ORDERS if order in orders))
    options = options or EvaluationOptions()
    if len(options.protocols) > 1:
        raise InputError(f"frame orders: are compared by one protocol, {len(options.protocols)} are given; choose one")
    weights = model if isinstance(model, Weights) else load_weights(model, recipe=recipe, takes_exports=True)
    (protocol,) = options.protocols or select_protocols(weights)
    protocols = tuple(EvaluationProtocol(order, protocol.recipe, order) for order in all_orders)
    if OCCLUDED in orders:
        _log_cost(protocol, len(annotations))
    evaluations = evaluate_protocols(
        weights,
        annotations,
        replace(options, protocols=protocols, occlude=OCCLUDED in orders),
        compute=compute,
        model_name=model_name or ("" if isinstance(model, Weights) else str(model)),
        on_progress=on_progress,
    )
    return summarize_frame_orders(dict(zip(all_orders, evaluations, strict=True)))


def _log_cost(protocol: EvaluationProtocol, num_clips: int) -> None:
    num_frames = view_shape(protocol.recipe)[2]
    number = 1 + len(occlusion_windows(num_frames, length=default_length(num_frames)))
    clips = counted(num_clips, "clip")
    what = f"{number} more forward passes of the middle view for each clip, {number * num_clips:,} for {clips}"
    log.info("frames occluded: %s (fewer of shorter views)", what)


def summarize_frame_orders(evaluations: Mapping[FrameOrder, Evaluation]) -> FrameOrderComparison:
    """The accuracies, and intervals of the drops clip by clip, of evaluations of the same clips."""
    forward = evaluations["forward"]
    metrics = {order: compute_metrics(e) for order, e in evaluations.items()}
    drops: dict[FrameOrder, Interval | None] = {
        order: None if e.multi_label else paired_interval(forward.is_correct_N, e.is_correct_N)
        for order, e in evaluations.items()
    }
    return FrameOrderComparison(
        evaluations=evaluations,
        accuracy={order: m.accuracy for order, m in metrics.items()},
        drop_intervals=drops,
        recall_K={order: m.by_class.recall_K.tolist() for order, m in metrics.items() if m.by_class is not None},
        occlusion=MeanOcclusion.from_curves(forward.curves_N) if forward.curves_N else None,
    )
