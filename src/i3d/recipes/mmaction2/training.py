"""Translate the optimiser, schedule and runner of a 0.x or 1.x config into `Training`."""

from typing import Any

from i3d.recipes.mmaction2.hooks import check_checkpoints, read_custom_hooks, read_evaluation, read_hooks
from i3d.recipes.mmaction2.section import Section
from i3d.recipes.mmaction2.table import Table

STAGES = ("conv1", "layer1", "layer2", "layer3", "layer4")
LAYERS = {  # of `custom_keys`, as prefixes of the names of parameters
    "backbone": "*", "cls_head": "fc.", "cls_head.fc_cls": "fc.", "fc_cls": "fc.",
    **{f"backbone.{stage}": f"{stage}." for stage in STAGES}, **{stage: f"{stage}." for stage in STAGES[1:]},
}  # fmt: skip
METRICS = {  # of AccMetric, and our names
    "top_k_accuracy": "top_k_accuracy", "mean_class_accuracy": "mean_class_accuracy",
    "mmit_mean_average_precision": "mmit_mean_average_precision", "mean_average_precision": "mean_average_precision",
}  # fmt: skip


def read_training_0(config: Section, *, multi_label: bool) -> dict[str, Any]:
    """The fields of `Training` that a 0.x config sets outside `data`."""
    runner = config.sub("runner")
    runner.choose("the runner", "EpochBasedRunner", default="EpochBasedRunner")
    place, key = (runner, "max_epochs") if "max_epochs" in runner else (config, "total_epochs")
    config.ignore("total_epochs")
    epochs = _epochs(place, key)
    optimizer = read_optimizer(config.sub("optimizer"), "optimizer = {}")
    fields: dict[str, Any] = {"epochs": epochs, "optimizer": optimizer}
    fields |= _paramwise(config.sub("optimizer").sub("paramwise_cfg"))
    fields |= _schedule_0(config.sub("lr_config"), epochs=epochs)
    hook = config.sub("optimizer_config")
    kinds = tuple(f"{lead}{kind}OptimizerHook" for kind in ("", "Fp16") for lead in ("", "GradientCumulative"))
    kind = hook.choose("the optimiser's hook", *kinds, default="OptimizerHook")
    if kind.startswith("GradientCumulative"):
        fields["accumulate"] = hook.take("cumulative_iters", 1)
    hook.ignore("detect_anomalous_params")  # only reports
    fields["clip_grad_norm"] = _clip(hook.sub("grad_clip"))
    fields |= read_evaluation(config.sub("evaluation"), multi_label=multi_label)
    check_checkpoints(config.sub("checkpoint_config"))
    read_custom_hooks(config, "")
    if "Fp16" in kind:
        if "fp16" in config:
            raise config.wrong("fp16", f"is there beside {kind}", "leave out one of the two")
        hook.ignore("coalesce", "bucket_size_mb", "distributed")  # how gradients are sent
        fields |= {"precision": "fp16", **_loss_scale(hook, 512.0)}
    if "fp16" in config:
        fields |= {"precision": "fp16", **_loss_scale(config.sub("fp16"), 512.0)}
    return fields | _ascend_amp(config)


def _epochs(part: Section, key: str) -> int:
    epochs = part.take(key, 0)
    if epochs < 1:
        raise part.wrong(key, "must be at least 1" if key in part else "is missing", f"write {key}=100")
    return epochs


def _ascend_amp(config: Section) -> dict[str, Any]:
    """Apex's mixed precision, which configs of the Ascend port set by three variables. `fp16`, even None, decides."""
    if not config.take("AMP", False) or "fp16" in config.table:
        return {}
    config.only("OPT_LEVEL", "O1")
    return {"precision": "fp16", "loss_scale": config.take("LOSS_SCALE", 0.0)}


def read_training_1(config: Section, *, multi_label: bool) -> dict[str, Any]:
    """The fields of `Training` that a 1.x config sets outside its data loaders."""
    loop = config.sub("train_cfg")
    if loop.kind not in ("", "EpochBasedTrainLoop") or loop.any("by_epoch") is False:
        raise loop.unknown("the loop", "EpochBasedTrainLoop")
    epochs = _epochs(loop, "max_epochs")
    loop.only("val_begin", 1, 0)
    wrapper = config.sub("optim_wrapper")
    optimizer = read_optimizer(wrapper.sub("optimizer"), "optim_wrapper = dict(optimizer={})")
    fields: dict[str, Any] = {"epochs": epochs, "optimizer": optimizer}
    fields["validate_every"] = loop.take("val_interval", 1)
    fields["clip_grad_norm"] = _clip(wrapper.sub("clip_grad"))
    fields["accumulate"] = wrapper.take("accumulative_counts", 1)
    wrapper.only_class("constructor", "DefaultOptimWrapperConstructor")
    fields |= _paramwise(wrapper.sub("paramwise_cfg"))
    kinds = ("OptimWrapper", "AmpOptimWrapper")
    if wrapper.choose("the optimiser's wrapper", *kinds, default="OptimWrapper") == "AmpOptimWrapper":
        wrapper.only("dtype", "float16", "bfloat16", None)
        scale = _loss_scale(wrapper)
        is_fp16 = wrapper.take("dtype", "float16") == "float16"
        fields |= {"precision": "fp16", **scale} if is_fp16 else {"precision": "bf16"}
    first = read_evaluators(config.each("val_evaluator"))[0][:1]
    fields |= _schedulers(config.each("param_scheduler"), epochs=epochs)
    return {
        "schedule": {"kind": "step", "epochs": (), "gamma": 0.1},
        **fields,
        **read_hooks(config, *first, multi_label=multi_label),
    }


def read_evaluators(parts: list[Section]) -> tuple[list[str], list[int]]:
    """(the metrics of the evaluators of 1.x, their numbers of top-k)."""
    names, top_k = list[str](), list[int]()
    for part in parts:
        part.choose("the evaluator", "AccMetric")
        part.ignore("collect_device", "prefix", "collect_dir")
        listed = part.any("metric_list")
        listed = [listed] if isinstance(listed, str) else listed or ["top_k_accuracy", "mean_class_accuracy"]
        if any(name not in METRICS for name in listed):
            raise part.wrong("metric_list", "is not supported", f"choose from {', '.join(METRICS)}")
        names += [METRICS[name] for name in listed]
        options = part.sub("metric_options").sub("top_k_accuracy")
        top_k += [int(k) for k in options.numbers("topk")]
    return names, top_k


def read_optimizer(optimizer: Section, assignment: str) -> dict[str, Any]:
    """SGD, Adam or AdamW, with PyTorch's defaults. `assignment`: how a config of its version sets it."""
    if "lr" not in optimizer:
        example = assignment.format("dict(type='SGD', lr=0.01, momentum=0.9)")
        raise optimizer.wrong("lr", "is missing", f"write {example}")
    optimizer.only_class("constructor", "DefaultOptimizerConstructor")
    kinds = ("SGD", "Adam", "AdamW")
    is_npus = optimizer.kind == "NpuFusedSGD"  # the Ascend port's, the same in one kernel
    kind = "SGD" if is_npus else optimizer.choose("the optimizer", *kinds)
    if kind == "SGD":
        optimizer.only("dampening", 0, 0.0)
        return {"kind": "sgd", **optimizer.fields(lr=0.0, momentum=0.0, weight_decay=0.0, nesterov=False)}
    optimizer.only("eps", 1e-8)
    optimizer.only("amsgrad", False)
    betas = optimizer.pair("betas", (0.9, 0.999))
    decay = 0.01 if kind == "AdamW" else 0.0
    return {"kind": kind.lower(), "betas": betas, **optimizer.fields(lr=1e-3, weight_decay=decay)}


def _paramwise(part: Section) -> dict[str, Any]:
    """Factors for norms, biases and layers. The last are substrings of names in MMEngine, whole layers here.

    Of several that a name has, MMEngine takes the longest substring, whatever layer it is.
    """
    part.ignore("bypass_duplicate")  # no parameter is there twice
    for key in ("dwconv_decay_mult", "dcn_offset_lr_mult", "flat_decay_mult"):
        part.only(key, 1, 1.0)
    names = {"norm_decay": "norm_decay_mult", "bias_decay": "bias_decay_mult", "bias_lr": "bias_lr_mult"}
    fields: dict[str, Any] = {name: part.take(key, 1.0) for name, key in names.items()}
    keys = part.sub("custom_keys")
    layers = [_layer(keys, key) for key in sorted(sorted(keys.table), key=len, reverse=True)]
    return {"factors": {**fields, "layers": layers}}


def _layer(keys: Section, key: str) -> dict[str, Any]:
    factors = keys.sub(key)
    prefix = LAYERS.get(key)
    if prefix is None:
        raise keys.wrong(key, "is no layer", f"known: {', '.join(LAYERS)}")
    return {
        "prefix": prefix,
        "lr": factors.take("lr_mult", 1.0),
        "weight_decay": factors.take("decay_mult", 1.0),
    }


def _clip(part: Section) -> float:
    part.only("norm_type", 2, 2.0)
    return part.take("max_norm", 0.0)


def _loss_scale(part: Section, default: float = 0.0) -> dict[str, float]:
    """0 is a dynamic loss scale; `default`: MMCV's or MMEngine's."""
    value = part.any("loss_scale")
    if value is None:
        return {"loss_scale": default}
    if isinstance(value, Table):
        scaler = part.sub("loss_scale")
        scaler.ignore("init_scale", "growth_interval")  # how soon a dynamic scale finds its value
        scaler.only("mode", "dynamic")
        scaler.only("growth_factor", 2, 2.0)
        scaler.only("backoff_factor", 0.5)
        scaler.only("enabled", True)
        return {"loss_scale": 0.0}
    if value == "dynamic":
        return {"loss_scale": 0.0}
    if type(value) not in (int, float):
        raise part.wrong("loss_scale", "must be a number, 'dynamic', or a dict of a dynamic scale")
    return {"loss_scale": float(value)}


def _schedule_0(part: Section, *, epochs: int) -> dict[str, Any]:
    fields: dict[str, Any]
    policy, by_epoch = part.any("policy"), part.take("by_epoch", True)
    if policy != "CosineAnnealing":
        part.only("by_epoch", True)
    match policy:
        case "step" | "Step":
            value = part.any("step")
            steps = list(range(value, epochs, value)) if type(value) is int and value > 0 else value
            if not isinstance(steps, list):
                raise part.wrong("step", "must be epochs, such as [40, 80]")
            fields = {"schedule": {"kind": "step", "epochs": tuple(steps), "gamma": part.take("gamma", 0.1)}}
            part.only("min_lr", None)
        case "CosineAnnealing":
            lowest = _cosine_end(part, "min_lr", "min_lr_ratio")
            fields = {"schedule": {"kind": "cosine", "by_epoch": by_epoch, **lowest}}
        case "fixed" | "Fixed" | None:
            fields = {"schedule": {"kind": "step", "epochs": ()}}
        case _:
            raise part.wrong("policy", "is not supported", "use 'step', 'CosineAnnealing' or 'fixed'")
    if "warmup" in part:
        part.only("warmup", "linear")
        key = "warmup_epochs" if part.take("warmup_by_epoch", False) else "warmup_steps"
        fields |= {key: part.take("warmup_iters", 0), "warmup_start": part.take("warmup_ratio", 0.1)}
    part.ignore("warmup", "warmup_iters", "warmup_ratio", "warmup_by_epoch")
    return fields


def _cosine_end(part: Section, minimum: str, ratio: str) -> dict[str, float]:
    """Where a cosine ends: a fraction of the learning rate, or one that is not scaled with it."""
    if ratio in part:
        part.ignore(minimum)
        return {"end": part.take(ratio, 0.0)}
    part.ignore(ratio)
    end_lr = part.take(minimum, 0.0)
    return {"end_lr": end_lr} if end_lr else {}


def _schedulers(parts: list[Section], *, epochs: int) -> dict[str, Any]:
    """A warm-up and one schedule. Two of a kind would be multiplied in MMEngine, and are refused."""
    fields: dict[str, Any] = {}
    for part in parts:
        read = _scheduler(part, epochs=epochs)
        if fields.keys() & read.keys():
            raise part.wrong(
                "type", "is a second one, by which MMEngine multiplies", "write one warm-up and one schedule"
            )
        fields |= read
    return fields


def _scheduler(part: Section, *, epochs: int) -> dict[str, Any]:
    """One scheduler of 1.x. Its milestones and its cosine count from `begin`, as in MMEngine."""
    part.ignore("verbose", "last_step")
    by_epoch = not part.take("convert_to_iter_based", False)  # else it changes after every step
    if part.kind == "LinearLR":
        return _warmup_1(part, by_epoch=by_epoch)
    part.only("by_epoch", True)
    begin, end = part.take("begin", 0), min(part.take("end", epochs), epochs)
    match part.kind:
        case "MultiStepLR" | "StepLR" as kind:
            size = part.take("step_size", 0) if kind == "StepLR" else 0
            steps = range(size, epochs, size) if size > 0 else [int(step) for step in part.numbers("milestones")]
            changes = tuple(begin + step for step in steps if begin + step < end)
            return {"schedule": {"kind": "step", "epochs": changes, "gamma": part.take("gamma", 0.1)}}
        case "CosineAnnealingLR":
            length = part.take("T_max", end - begin)
            if end < min(begin + length, epochs) or end > begin + length:
                raise part.wrong("T_max", f"must be end - begin, which is {end - begin}")
            of_run = {} if begin == 0 and length == epochs else {"begin": begin, "length": length}
            lowest = _cosine_end(part, "eta_min", "eta_min_ratio")
            return {"schedule": {"kind": "cosine", "by_epoch": by_epoch, **lowest, **of_run}}
    raise part.unknown("the schedule", "MultiStepLR, StepLR, CosineAnnealingLR, LinearLR")


def _warmup_1(part: Section, *, by_epoch: bool) -> dict[str, Any]:
    part.only("begin", 0)
    part.only("end_factor", 1, 1.0)
    if "end" not in part:
        raise part.wrong("end", "is missing: the warm-up would not end", "write end=10")
    fields = {"warmup_start": part.take("start_factor", 1 / 3), "warmup_within": True}
    if not part.take("by_epoch", True):
        return {"warmup_steps": part.take("end", 0), **fields}
    return {"warmup_epochs": part.take("end", 0), "warmup_by_epoch": by_epoch, **fields}
