"""Translate the validation and the hooks of a config: the best checkpoint, an early stop."""

from typing import Any, Final

from i3d.recipes.mmaction2.section import Section

HOOKS: Final = {  # of 1.x, about logs and order; of each the type that MMAction2 gives it
    "runtime_info": "RuntimeInfoHook", "timer": "IterTimerHook", "logger": "LoggerHook",
    "param_scheduler": "ParamSchedulerHook", "checkpoint": "CheckpointHook", "sampler_seed": "DistSamplerSeedHook",
    "sync_buffers": "SyncBuffersHook", "visualization": "VisualizationHook", "early_stopping": "EarlyStoppingHook",
}  # fmt: skip
MEAN_AP: Final = "mean_average_precision"  # chooses the best checkpoint for several labels a clip
NAMES: Final = (  # of the metrics of the best in 0.x and in 1.x: for several labels, for one
    (MEAN_AP, ("top1_acc", "mean_class_accuracy")),
    (f"acc/{MEAN_AP}", ("acc/top1", "acc/mean1")),
)


def read_evaluation(part: Section, *, multi_label: bool) -> dict[str, Any]:
    """0.x validates every `interval` epochs; all its metrics are always computed here."""
    part.only("start", 0, None)
    part.only("by_epoch", True)
    part.ignore("topk", "metric_options", "gpu_collect")
    metrics = part.any("metrics")
    first = metrics[0] if isinstance(metrics, list) and metrics else metrics
    key = "key_indicator" if "key_indicator" in part else "save_best"
    part.ignore("key_indicator", "key_indicators", "save_best")
    return {"validate_every": part.take("interval", 1)} | _best(part, key, first, version=0, multi_label=multi_label)


def _best(part: Section, key: str, first: Any, *, version: int, multi_label: bool) -> dict[str, Any]:
    """The metric that the best checkpoint is chosen by. "auto" is the `first` that is computed, top-1 by default."""
    part.only("rule", None, "greater")
    value, (mean_ap, names) = part.any(key), NAMES[version]
    is_auto = value in (True, "auto")
    if value in (None, False):
        return {}
    if multi_label:
        if (is_auto and first != f"mmit_{MEAN_AP}") or value in (MEAN_AP, f"acc/{MEAN_AP}"):
            return {}
        why = "does not choose the best here: clips have several labels"
        raise part.wrong(key, why, f"write {key}={mean_ap!r}")
    chosen = first if is_auto else value
    if chosen in (None, "top1_acc", "top_k_accuracy", "acc/top1"):
        return {}
    if chosen in ("mean_class_accuracy", "acc/mean1"):
        return {"best_by": "mean_class"}
    if is_auto:
        why = f"stands for {chosen}, the first of the metrics, which is not supported for clips of one label"
        raise part.wrong(key, why, f"use {names[0]!r} or {names[1]!r}")
    raise part.wrong(key, "is not supported", f"use 'auto', {names[0]!r} or {names[1]!r}")


def check_checkpoints(part: Section) -> None:
    """When checkpoints are saved is decided by i3d, where to by --work-dir."""
    part.only("out_dir", None, why="saves elsewhere than in the folder of the run (--work-dir), where ours are")
    part.ignore(*part.table)


def read_hooks(config: Section, first: Any = None, *, multi_label: bool) -> dict[str, Any]:
    """1.x's default_hooks, of which all but the best checkpoint and the early stop are about logs; and custom_hooks.

    `first`: of the metrics.
    """
    part = config.sub("default_hooks")
    for name, kind in HOOKS.items():
        part.sub(name).only_class("type", kind)
        if name not in ("checkpoint", "early_stopping"):
            part.sub(name).ignore(*part.sub(name).table)
    checkpoint = part.sub("checkpoint")
    check_checkpoints(checkpoint)
    fields = _best(checkpoint, "save_best", first, version=1, multi_label=multi_label)
    mean_ap, (top_1, mean_class) = NAMES[1]
    monitor = mean_ap if multi_label else mean_class if fields.get("best_by") == "mean_class" else top_1
    stop = read_custom_hooks(config, monitor)
    if "early_stopping" in part:
        if stop:
            raise config.wrong("custom_hooks", "has a second EarlyStoppingHook beside default_hooks", "leave out one")
        stop = _early_stop(part.sub("early_stopping"), monitor)
    return fields | stop


def read_custom_hooks(config: Section, monitor: str) -> dict[str, Any]:
    """The early stop of 1.x in `custom_hooks`; any other hook is refused. `monitor`: its metric, "" in 0.x."""
    fields = dict[str, Any]()
    for hook in config.each("custom_hooks"):
        match hook.kind:
            case "EarlyStoppingHook" if fields:
                raise hook.wrong("type", "is there twice", "leave out one")
            case "EarlyStoppingHook" if monitor:
                fields = _early_stop(hook, monitor)
            case "EMAHook":  # MMEngine's copies the statistics of batch norms, ours averages them too
                todo = "remove it, and use `i3d train --recipe CONFIG --set training.ema_decay=0.9998` for our average"
                raise hook.wrong("type", "averages the weights in another way than i3d", todo)
            case _:
                todo = "remove it" + "; EarlyStoppingHook is supported" * bool(monitor)
                raise hook.wrong("type", "is a hook of the config's own, which is not run", todo)
    return fields


def _early_stop(stop: Section, monitor: str) -> dict[str, Any]:
    stop.ignore("priority", "strict")  # its place among the hooks; whether a missing metric ends the run
    stop.only("monitor", monitor)
    stop.only("rule", None, "greater")
    stop.only("check_finite", True)
    todo = "write min_delta=0, so that every improvement counts"
    if "min_delta" not in stop.table:
        raise stop.wrong("min_delta", "is missing, and 0.1 by default", todo)
    if stop.take("min_delta", 0.1):
        raise stop.wrong("min_delta", "must be 0 here", todo)
    return {"patience": stop.take("patience", 5)}
