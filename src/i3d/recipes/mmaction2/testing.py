"""Translate what a config has computed and written after a test: evaluators of 1.x, `eval_config` of 0.x."""

from dataclasses import dataclass
from typing import Final

from i3d.recipes.mmaction2.section import Section
from i3d.recipes.mmaction2.training import METRICS, read_evaluators

OF_MULTI_LABEL: Final = ("mean_average_precision", "mmit_mean_average_precision")


@dataclass(frozen=True)
class TestOutput:
    """The results of a test that a config requests."""

    metrics: tuple[str, ...] = ()  # (): those that the classes have
    top_k: tuple[int, ...] = ()
    out: str = ""  # the file of the scores


def read_test_output(
    config: Section, version: int, *, multi_label: bool, for_training: bool, notes: list[str]
) -> TestOutput:
    """The metrics and the output of a test. Metrics that do not go with the classes are an InputError in a test."""
    if version == 0:
        return TestOutput() if for_training else _read_0(config, multi_label=multi_label)
    evaluators = config.each("test_evaluator")
    metrics, top_k = read_evaluators(evaluators)
    if for_training:
        return TestOutput()
    for evaluator in evaluators:
        _check_classes(evaluator, "metric_list", multi_label=multi_label)
    if multi_label and evaluators and all(evaluator.any("metric_list") is None for evaluator in evaluators):
        notes.append("AccMetric without metric_list is of one label a clip: mean_average_precision is computed instead")
        metrics = [OF_MULTI_LABEL[0]]
    return TestOutput(tuple(metrics), tuple(top_k))


def _read_0(config: Section, *, multi_label: bool) -> TestOutput:
    """`eval_config` and `output_config`, for which tools/test.py of 0.x has --eval and --out."""
    evaluation, output = config.sub("eval_config"), config.sub("output_config")
    options = evaluation.sub("metric_options").sub("top_k_accuracy")
    evaluation.ignore("logger")
    output.ignore("output_format")  # of localisation
    metrics = evaluation.any("metrics") or ["top_k_accuracy"] * bool(evaluation.table)
    metrics = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(metrics, list) or any(name not in METRICS for name in metrics):
        raise evaluation.wrong("metrics", "is not supported", f"choose from {', '.join(METRICS)}")
    _check_classes(evaluation, "metrics", multi_label=multi_label)
    top_k = options.numbers("topk") or evaluation.numbers("topk")
    return TestOutput(tuple(METRICS[name] for name in metrics), tuple(map(int, top_k)), output.take("out", ""))


def _check_classes(part: Section, key: str, *, multi_label: bool) -> None:
    listed = part.any(key) or []
    for name in [listed] if isinstance(listed, str) else listed:
        if (name in OF_MULTI_LABEL) != multi_label:
            classes = ("one label", "several labels")
            why = f"has {name}, which is for clips of {classes[not multi_label]}; these have {classes[multi_label]}"
            others = [metric for metric in METRICS if (metric in OF_MULTI_LABEL) == multi_label]
            raise part.wrong(key, why, f"choose from {', '.join(others)}")
