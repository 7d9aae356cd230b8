"""Translate the optimiser, schedule and runner of a 0.x or 1.x config into `Training`."""

from typing import Any

from i3d.recipes.mmaction2.section import Section

DEVICES = 8  # published configs are for eight, unless they set auto_scale_lr


def read_training_0(config: Section) -> dict[str, Any]:
    """The fields of `Training` that a 0.x config sets outside `data`."""
    runner = config.sub("runner")
    runner.choose("the runner", "EpochBasedRunner", default="EpochBasedRunner")
    epochs = runner.take("max_epochs", config.take("total_epochs", 0))
    if not epochs:
        raise config.wrong("total_epochs", "is missing", "write total_epochs=100")
    optimizer = read_optimizer(config.sub("optimizer"))
    fields: dict[str, Any] = {"epochs": epochs, "optimizer": optimizer}
    fields |= _schedule_0(config.sub("lr_config"), epochs=epochs, lr=optimizer["lr"])
    hook = config.sub("optimizer_config")
    kinds = ("OptimizerHook", "GradientCumulativeOptimizerHook")
    if hook.choose("the optimiser's hook", *kinds, default="OptimizerHook") == "GradientCumulativeOptimizerHook":
        fields["accumulate"] = hook.take("cumulative_iters", 1)
    fields["clip_grad_norm"] = _clip(hook.sub("grad_clip"))
    fields |= _evaluation(config.sub("evaluation"))
    if "fp16" in config:
        fields |= {"precision": "fp16", **_loss_scale(config.sub("fp16"))}
    return fields


def read_training_1(config: Section) -> dict[str, Any]:
    """The fields of `Training` that a 1.x config sets outside its data loaders."""
    loop = config.sub("train_cfg")
    if loop.kind not in ("", "EpochBasedTrainLoop") or loop.any("by_epoch") is False:
        raise loop.unknown("the loop", "EpochBasedTrainLoop")
    epochs = loop.take("max_epochs", 0)
    if not epochs:
        raise loop.wrong("max_epochs", "is missing", "write max_epochs=100")
    loop.only("val_begin", 1, 0)
    wrapper = config.sub("optim_wrapper")
    optimizer = read_optimizer(wrapper.sub("optimizer"))
    fields: dict[str, Any] = {"epochs": epochs, "optimizer": optimizer}
    fields["validate_every"] = loop.take("val_interval", 1)
    fields["clip_grad_norm"] = _clip(wrapper.sub("clip_grad"))
    fields["accumulate"] = wrapper.take("accumulative_counts", 1)
    wrapper.only("paramwise_cfg", None)
    kinds = ("OptimWrapper", "AmpOptimWrapper")
    if wrapper.choose("the optimiser's wrapper", *kinds, default="OptimWrapper") == "AmpOptimWrapper":
        wrapper.only("dtype", "float16", "bfloat16")
        scale = _loss_scale(wrapper)
        is_fp16 = wrapper.take("dtype", "float16") == "float16"
        fields |= {"precision": "fp16", **scale} if is_fp16 else {"precision": "bf16"}
    for scheduler in config.each("param_scheduler"):
        fields |= _scheduler(scheduler, epochs=epochs, lr=optimizer["lr"])
    return {"schedule": {"kind": "step", "epochs": (), "gamma": 0.1}, **fields, **_hooks(config.sub("default_hooks"))}


def read_optimizer(optimizer: Section) -> dict[str, Any]:
    """SGD or AdamW, with PyTorch's defaults."""
    if "lr" not in optimizer:
        raise optimizer.wrong("lr", "is missing", "write optimizer = dict(type='SGD', lr=0.01, momentum=0.9)")
    optimizer.only("paramwise_cfg", None)
    if optimizer.choose("the optimizer", "SGD", "AdamW") == "SGD":
        optimizer.only("dampening", 0, 0.0)
        return {"kind": "sgd", **optimizer.fields(lr=0.0, momentum=0.0, weight_decay=0.0, nesterov=False)}
    optimizer.only("eps", 1e-8)
    optimizer.only("amsgrad", False)
    betas = optimizer.pair("betas", (0.9, 0.999))
    return {"kind": "adamw", "betas": betas, **optimizer.fields(lr=1e-3, weight_decay=0.01)}


def _clip(part: Section) -> float:
    part.only("norm_type", 2, 2.0)
    return part.take("max_norm", 0.0)


def _loss_scale(part: Section) -> dict[str, float]:
    """0 is a dynamic loss scale."""
    value = part.any("loss_scale")
    if value is None or value == "dynamic":
        return {"loss_scale": 0.0}
    if type(value) not in (int, float):
        raise part.wrong("loss_scale", "must be a number or 'dynamic'")
    return {"loss_scale": float(value)}


def _schedule_0(part: Section, *, epochs: int, lr: float) -> dict[str, Any]:
    part.only("by_epoch", True)
    fields: dict[str, Any]
    match part.any("policy"):
        case "step" | "Step":
            value = part.any("step")
            steps = list(range(value, epochs, value)) if type(value) is int and value > 0 else value
            if not isinstance(steps, list):
                raise part.wrong("step", "must be epochs, such as [40, 80]")
            fields = {"schedule": {"kind": "step", "epochs": tuple(steps), "gamma": part.take("gamma", 0.1)}}
            part.only("min_lr", None)
        case "CosineAnnealing":
            fields = {"schedule": {"kind": "cosine", "end": _cosine_end(part, "min_lr", "min_lr_ratio", lr)}}
        case "fixed" | "Fixed" | None:
            fields = {"schedule": {"kind": "step", "epochs": ()}}
        case _:
            raise part.wrong("policy", "is not supported", "use 'step', 'CosineAnnealing' or 'fixed'")
    if "warmup" in part:
        part.only("warmup", "linear")
        if not part.take("warmup_by_epoch", False):
            raise part.wrong("warmup_iters", "is counted in steps", "count epochs: warmup_by_epoch=True")
        fields |= {
            "warmup_epochs": part.take("warmup_iters", 0.0),
            "warmup_start": part.take("warmup_ratio", 0.1),
        }
    part.ignore("warmup", "warmup_iters", "warmup_ratio", "warmup_by_epoch")
    return fields


def _cosine_end(part: Section, minimum: str, ratio: str, lr: float) -> float:
    if ratio in part:
        part.ignore(minimum)
        return part.take(ratio, 0.0)
    part.ignore(ratio)
    return part.take(minimum, 0.0) / lr


def _scheduler(part: Section, *, epochs: int, lr: float) -> dict[str, Any]:
    part.only("by_epoch", True)
    part.ignore("convert_to_iter_based", "verbose", "last_step")  # the learning rate changes after every step here
    match part.kind:
        case "MultiStepLR" | "StepLR" as kind:
            part.only("begin", 0)
            part.ignore("end")
            size = part.take("step_size", 0) if kind == "StepLR" else 0
            steps = list(range(size, epochs, size)) if size > 0 else [int(step) for step in part.numbers("milestones")]
            return {"schedule": {"kind": "step", "epochs": tuple(steps), "gamma": part.take("gamma", 0.1)}}
        case "CosineAnnealingLR":
            if (part.take("begin", 0), part.take("T_max", epochs), part.take("end", epochs)) != (0, epochs, epochs):
                raise part.wrong("T_max", "must be the whole run: the cosine begins at 0 here and ends with the run")
            return {"schedule": {"kind": "cosine", "end": _cosine_end(part, "eta_min", "eta_min_ratio", lr)}}
        case "LinearLR":
            part.only("begin", 0)
            part.only("end_factor", 1, 1.0)
            return {"warmup_epochs": part.take("end", 0.0), "warmup_start": part.take("start_factor", 1 / 3)}
    raise part.unknown("the schedule", "MultiStepLR, StepLR, CosineAnnealingLR, LinearLR")


def _evaluation(part: Section) -> dict[str, Any]:
    """0.x validates every `interval` epochs; all its metrics are always computed here."""
    part.only("start", 0, None)
    part.only("by_epoch", True)
    part.ignore("metrics", "topk", "metric_options", "gpu_collect", "rule", "key_indicator", "key_indicators")
    return {"validate_every": part.take("interval", 1)} | _best(part)


def _best(part: Section) -> dict[str, Any]:
    value = part.any("save_best")
    if value in (None, True, False, "auto", "top1_acc", "top_k_accuracy", "acc/top1"):
        return {}
    if value in ("mean_class_accuracy", "acc/mean1"):
        return {"best_by": "mean_class"}
    raise part.wrong("save_best", "is not supported", "use 'auto', 'top1_acc' or 'mean_class_accuracy'")


def _hooks(part: Section) -> dict[str, Any]:
    """1.x's default_hooks: all but the best checkpoint and the early stop are about logs."""
    checkpoint = part.sub("checkpoint")
    checkpoint.ignore(*checkpoint.table)
    fields = _best(checkpoint)
    if "early_stopping" in part:
        stop = part.sub("early_stopping")
        fields["patience"] = stop.take("patience", 5)
        stop.only("type", "EarlyStoppingHook")
        stop.only("monitor", "acc/top1", "acc/mean1")
        stop.only("rule", None, "greater")
    part.ignore("runtime_info", "timer", "logger", "param_scheduler", "sampler_seed", "sync_buffers", "visualization")
    part.ignore("early_stopping")
    return fields
