"""Metrics by the names that people ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from i3d.errors import InputError, quoted
from i3d.evaluation.metrics import top_k_accuracy
from i3d.evaluation.result import Evaluation, Metrics

TOP_K: Final = "top_k_accuracy"
TABLES: Final = ("per_class", "confusion")  # which are more than a number
EXCLUSIVE: Final = (TOP_K, "mean_class_accuracy", "calibration_error")
METRICS: Final = (*EXCLUSIVE, "mean_average_precision", *TABLES)


def check_metrics(names: Sequence[str], top_k: Sequence[int], *, multi_label: bool | None = None) -> None:
    """Whether there are such metrics, and if it is known, whether the classes have them."""
    for name in names:
        if name not in METRICS:
            raise InputError(f"metric {quoted(name)}: there are {', '.join(METRICS)}")
        if multi_label is not None and multi_label != (name == "mean_average_precision"):
            which = "exclude each other" if multi_label else "go together"
            raise InputError(f"metric {quoted(name)}: is for classes that {which}; these do not")
    if any(k < 1 for k in top_k):
        raise InputError(f"top k {min(top_k)}: must be at least 1")


def metrics_of(
    evaluation: Evaluation, figures: Metrics, names: Sequence[str], *, top_k: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """The numbers by their names, `top_k_accuracy` once for every k (top1, top5). Tables are in the figures."""
    check_metrics(names, top_k, multi_label=evaluation.multi_label)
    found: dict[str, float] = {}
    for name in names:
        if name == TOP_K:
            share = len(evaluation.files_N) / figures.num_clips  # those without scores are wrong, or do not count
            for k in top_k:
                found[f"top{k}"] = top_k_accuracy(evaluation.scores_NK, evaluation.class_N, k=k) * share
        else:
            value = {
                "mean_class_accuracy": figures.mean_class,
                "calibration_error": figures.calibration,
                "mean_average_precision": figures.mean_average_precision,
            }.get(name)
            if value is not None:
                found[name] = value
    return found
