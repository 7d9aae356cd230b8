"""What a test found, on stdout."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isnan
from statistics import fmean
from typing import Final

from i3d.cli.output.tables import gflops, print_table
from i3d.errors import counted, printable
from i3d.evaluation.confusion import confusions
from i3d.evaluation.frame_orders import FrameOrderComparison
from i3d.evaluation.fuse import WeightSweep
from i3d.evaluation.intervals import Interval, format_interval
from i3d.evaluation.occlusion import FLAT, MeanOcclusion
from i3d.evaluation.result import Evaluation, Metrics, cheapest_protocol

MOST: Final = 20  # classes that are all shown
BAR: Final = 20  # characters of the longest bar
WORST: Final = 10  # of more classes, those with the lowest F1


def print_evaluation(evaluation: Evaluation, metrics: Metrics) -> None:
    """A table of classes, then the metrics, each a line, and how they were made."""
    if metrics.mean_average_precision is not None:
        print(f"mean average precision {metrics.mean_average_precision:.4f} {_interval_and_clips(metrics)}")
    else:
        print_classes(evaluation, metrics)
        _print_accuracy(evaluation, metrics)
    print(f"protocol: {printable(evaluation.protocol)}")


def print_protocols(tested: Sequence[tuple[Evaluation, Metrics]]) -> None:
    """A line for each protocol with its cost, which is the cheapest of the good ones, and how each was made."""
    rows = []
    for e, metrics in tested:
        views = f"{fmean(e.num_views_N):.1f}".removesuffix(".0")
        cost = "-" if e.gflops is None else gflops(e.gflops)
        rows.append((printable(e.name), views, cost, *_accuracy(metrics).values()))
    print_table(("protocol", "views", "GFLOPs a video", *_accuracy(tested[0][1])), rows, one_line=True)
    print(f"of {counted(tested[0][1].num_clips, 'clip')}{_bad(tested[0][1])}")
    cheap = cheapest_protocol(tested)
    if cheap is not None and len(tested) > 1:
        print(f"the cheapest within half a point of the best: {printable(cheap.name)}")
    for e, _ in tested:
        print(printable(f"{e.name}: {e.protocol}"))


def print_metrics(evaluation: Evaluation, metrics: Metrics, names: Sequence[str], values: Mapping[str, float]) -> None:
    if "per_class" in names:
        print_classes(evaluation, metrics, every=True)
    if "confusion" in names and metrics.confusion_KK is not None:
        print_confusion(evaluation, metrics)
    for name, value in values.items():
        print(f"{name} {value:.4f}")
    print(f"of {counted(metrics.num_clips, 'clip')}{_bad(metrics)}")
    print(f"protocol: {printable(evaluation.protocol)}")


def print_classes(evaluation: Evaluation, metrics: Metrics, *, every: bool = False) -> None:
    """Precision, recall and F1 of each class that occurs; of many, the weakest."""
    by = metrics.by_class
    assert by is not None
    rows = [k for k in range(len(evaluation.classes)) if by.num_clips_K[k] or not isnan(by.precision_K[k])]
    shown = rows
    if len(rows) > MOST and not every:
        shown = sorted(rows, key=lambda k: (by.f1_K[k], k))[:WORST]
        print(f"the {WORST} classes with the lowest F1, of {len(rows)} (--out writes all)")
    table = []
    for k in shown:
        values = (by.precision_K[k], by.recall_K[k], by.f1_K[k])
        numbers = ("-" if isnan(value) else f"{value:.3f}" for value in values)
        table.append((printable(evaluation.classes[k]), by.num_clips_K[k], *numbers))
    print_table(("class", "clips", "precision", "recall", "F1"), table, one_line=True)


def print_confusion(evaluation: Evaluation, metrics: Metrics) -> None:
    """The confused classes, the most frequent pair first."""
    assert metrics.confusion_KK is not None
    names, pairs = [*map(printable, evaluation.classes)], confusions(metrics.confusion_KK)[:MOST]
    rows = [(names[p.true], names[p.predicted], p.num_clips, f"{p.fraction:.3f}") for p in pairs]
    print_table(("class", "predicted", "clips", "fraction of the class"), rows)


def print_frame_orders(comparison: FrameOrderComparison) -> None:
    """Accuracy with the frames in each order, of all and of each class, and the conclusions."""
    forward = comparison.evaluations["forward"]
    counts_K = Counter(labels[0] for labels in forward.labels_N)
    rows = [k for k in range(len(comparison.classes)) if comparison.recall_K and counts_K[k]]
    shown = rows
    last = [*comparison.evaluations][-1]
    if len(rows) > MOST and last == "forward":
        shown = []
    elif len(rows) > MOST:
        shown = sorted(rows, key=lambda k: comparison.recall_K[last][k] - comparison.recall_K["forward"][k])[:WORST]
        print(f"the {WORST} classes that lose most with {last} frames, of {len(rows)} (--json: all)")
    table = []
    for k in shown:
        recalls = (f"{recall_K[k]:.3f}" for recall_K in comparison.recall_K.values())
        table.append((printable(comparison.classes[k]), counts_K[k], *recalls))
    name = "mean average precision" if forward.multi_label else "all"
    every = (name, len(forward.files_N), *(f"{value:.3f}" for value in comparison.accuracy.values()))
    print_table(("class", "clips", *comparison.accuracy), table, last=every)
    if comparison.occlusion is not None:
        _print_occlusion(comparison.occlusion)
    for sentence in comparison.conclusions:
        print(sentence)
    print(f"protocol: {printable(forward.protocol)}")


def _print_occlusion(occlusion: MeanOcclusion) -> None:
    """The mean fall of the true label's probability around each hidden eighth of the view, and a bar of it."""
    highest = max(float(occlusion.drops_P.max()), FLAT * occlusion.score, 1e-9)
    rows = []
    drops_P, intervals_P = occlusion.drops_P.tolist(), occlusion.intervals_P
    for (start, stop), drop, interval in zip(occlusion.parts, drops_P, intervals_P, strict=True):
        part, bar = f"{100 * start:g} to {100 * stop:g} %", "#" * round(BAR * drop / highest) if round(drop, 3) else ""
        rows.append((part, f"{round(drop, 3) + 0.0:.3f}", format_interval(interval), bar))
    print(f"probability of the true label {occlusion.score:.3f}, and its mean fall with frames hidden:")
    print_table(("part of the view", "fall", "95 % interval", ""), rows)


def print_fusion(tested: Sequence[tuple[Evaluation, Metrics]], names: Sequence[str], swept: WeightSweep | None) -> None:
    """The streams alone and together, on the same clips."""
    rows = [(printable(name), *_accuracy(m).values()) for name, (_, m) in zip(names, tested, strict=True)]
    print_table(("scores", *_accuracy(tested[0][1])), rows)
    fused, metrics = tested[-1]
    if swept is not None:
        weights = ", ".join(f"{weight:g}" for weight in swept.weights)
        print(f"weights {weights}: the best on {swept.num_clips} held-out clips, which are not in the table")
    print(f"of {counted(metrics.num_clips, 'clip')}{_bad(metrics)}")
    print(f"protocol: {printable(fused.protocol)}")


def _print_accuracy(evaluation: Evaluation, metrics: Metrics) -> None:
    f = metrics
    assert f.top1 is not None and f.top1_interval is not None and f.largest_class is not None  # noqa: PT018
    print(f"top-1 {f.top1:.4f} {_interval_and_clips(f)}")
    if f.top5 is not None:
        print(f"top-5 {f.top5:.4f}")
    print(f"mean recall {f.mean_recall:.4f}{_as_mmaction2(f)}")
    print(f"calibration error {f.calibration:.4f}")
    assert f.by_class is not None
    largest = printable(evaluation.classes[int(f.by_class.num_clips_K.argmax())])
    print(f'always "{largest}" would give {f.largest_class:.4f}')
    if f.top1 <= f.largest_class:
        print(f'the model is no better than always naming "{largest}"')
    elif f.top1_interval[0] <= f.largest_class:
        print(f'these clips do not show that the model is better than always naming "{largest}"')


def _as_mmaction2(metrics: Metrics) -> str:
    """MMAction2's number, where it is another."""
    if metrics.mean_class_accuracy == metrics.mean_recall:
        return ""
    why = "where classes without clips that are predicted count as 0"
    return f" (mean_class_accuracy of MMAction2 {metrics.mean_class_accuracy:.4f}, {why})"


def _interval_and_clips(metrics: Metrics) -> str:
    interval = format_interval(metrics.interval)
    return f"(95 % interval {interval}) of {counted(metrics.num_clips, 'clip')}{_bad(metrics)}"


def _bad(metrics: Metrics) -> str:
    left_out = "counted as wrong" if metrics.bad_as_wrong else "left out"
    return f" ({metrics.num_bad} unreadable, {left_out})" if metrics.num_bad else ""


def _accuracy(metrics: Metrics) -> dict[str, str]:
    """The cells of a table by their columns."""
    m = metrics
    if m.top1 is None:
        values = {"mean average precision": m.mean_average_precision, "95 % interval": m.interval}
    else:
        values = {"top-1": m.top1, "95 % interval": m.interval, "top-5": m.top5, "mean recall": m.mean_recall}
    return {column: _number(value) for column, value in values.items()}


def _number(value: float | Interval | None) -> str:
    if value is None:
        return "-"
    return format_interval(value) if isinstance(value, tuple) else f"{value:.4f}"
