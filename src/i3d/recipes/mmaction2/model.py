"""Translate the `model` of a config into the settings of a network."""

import re
from dataclasses import dataclass
from typing import Any

from i3d.recipes.mmaction2.pipelines import normalisation
from i3d.recipes.mmaction2.section import Section
from i3d.recipes.settings import BOTTLENECK_DEPTHS, RESNET_BLOCKS

TORCHVISION = re.compile(r"torchvision://(resnet(?:18|34|50|101))")
BLENDING = {"MixupBlending": "mixup_alpha", "CutmixBlending": "cutmix_alpha"}
LOSSES = ("CrossEntropyLoss", "BCELossWithLogits")
TRAINING_KEYS = {  # of the parts of a model, which only training reads
    "": ("train_cfg", "init_cfg"),
    "backbone": ("pretrained", "pretrained2d", "init_cfg"),
    "cls_head": ("init_std", "label_smooth_eps", "multi_class"),
    "data_preprocessor": ("blending",),
}
OUR_HUB = re.compile(r"timm/(resnet(?:18|34|50|101))\.tv_in1k")


@dataclass
class Model:
    network: dict[str, Any]  # fields of ResNetSettings
    init: str
    average: str  # of views
    multi_label: bool
    loss: dict[str, Any]  # fields of Loss
    sync_norms: bool
    norm: dict[str, tuple[float, ...]]  # 1.x: mean and standard deviation
    mixup: dict[str, float]  # fields of Mixup


def read_model(model: Section, *, version: int, notes: list[str], for_training: bool = True) -> Model:
    """The settings in `model`. An unsupported network or setting is an InputError with its line.

    Not `for_training`, initial weights, loss and other keys of training are not checked.
    """
    if not for_training:
        for part, keys in TRAINING_KEYS.items():
            (model.sub(part) if part else model).ignore(*keys)
    model.choose(f"the recognizer {model.kind}", "Recognizer3D")
    backbone, head = model.sub("backbone"), model.sub("cls_head")
    if backbone.kind != "ResNet3d":
        raise backbone.unknown("the network", "ResNet3d, which is I3D")
    head.choose("the classifier", "I3DHead")
    network, sync_norms = _network(backbone, version=version, notes=notes, for_training=for_training)
    network |= {"num_classes": head.take("num_classes", 400), "dropout": head.take("dropout_ratio", 0.5)}
    multi_label, loss = _head(head, network, for_training=for_training)
    if loss.get("label_smoothing") and version == 0 and not head.take("multi_class", False):
        notes.append(
            f"{head.place('label_smooth_eps')}: label_smooth_eps without multi_class=True is ignored, as in 0.x"
        )
        loss["label_smoothing"] = 0.0
    preprocessor, testing = model.sub("data_preprocessor"), model.sub("test_cfg")
    norm: dict[str, tuple[float, ...]] = {}
    mixup: dict[str, float] = {}
    for blended in (preprocessor, model.sub("train_cfg")) if for_training else ():
        mixup |= read_blending(blended, num_classes=network["num_classes"])
    if "data_preprocessor" in model:
        preprocessor.only_class("type", "ActionDataPreprocessor")
        preprocessor.only("format_shape", "NCTHW")
        norm = normalisation(preprocessor)
    averages = [average_clips(part) for part in (testing, head) if "average_clips" in part]
    head.ignore("average_clips")
    testing.ignore("average_clips", "max_testing_views")
    return Model(
        network,
        _init(backbone) if for_training else "",
        averages[0] if averages else "",
        multi_label,
        loss,
        sync_norms,
        norm,
        mixup,
    )


def read_blending(part: Section, *, num_classes: int) -> dict[str, float]:
    """The fields of `Mixup` that `blending` sets: Mixup, CutMix, or one of the two for each batch."""
    blending, alphas = part.sub("blending"), dict[str, float]()
    if not blending.table:
        return alphas
    parts = [blending]
    if blending.choose("the blending", *BLENDING, "RandomBatchAugment") == "RandomBatchAugment":
        parts = blending.each("augments")
        blending.only("probs", None)
    for one in parts:
        key = BLENDING[one.choose("the blending", *BLENDING)]
        if key in alphas:
            raise one.wrong("type", "is there twice")
        if one.take("num_classes", num_classes) != num_classes:
            why = f"is not the {num_classes} of the classifier (cls_head)"
            raise one.wrong("num_classes", why, f"write num_classes={num_classes}, or correct cls_head.num_classes")
        alphas[key] = one.take("alpha", 0.2)
    return alphas


def average_clips(part: Section) -> str:
    """How the views of a video are averaged; "" if the config does not set it."""
    value = part.any("average_clips")
    if value not in (None, "prob", "score"):
        raise part.wrong("average_clips", "must be 'prob' or 'score'")
    return value or ""


def _network(backbone: Section, *, version: int, notes: list[str], for_training: bool) -> tuple[dict[str, Any], bool]:
    for key, values in [
        ("num_stages", (4,)), ("out_indices", ([3],)), ("spatial_strides", ([1, 2, 2, 2],)),
        ("dilations", ([1, 1, 1, 1],)), ("conv1_stride_s", (2,)), ("pool1_stride_s", (2,)), ("with_pool1", (True,)),
        ("style", ("pytorch",)),
    ]:  # fmt: skip
        backbone.only(key, *values)
    for key, kinds in [("conv_cfg", ("Conv3d",)), ("act_cfg", ("ReLU",)), ("norm_cfg", ("BN", "BN3d", "SyncBN"))]:
        part = backbone.sub(key)
        if part.table:
            part.choose(key, *kinds)
        part.only("eps", 1e-5)
        if for_training:
            part.only("requires_grad", True)
        part.ignore("inplace", "type", "requires_grad")
    sync = backbone.sub("norm_cfg").kind == "SyncBN"
    depth = backbone.take("depth", 50)
    if depth not in RESNET_BLOCKS:
        raise backbone.wrong("depth", f"must be one of {', '.join(map(str, RESNET_BLOCKS))}")
    kernel, stride = _stem(backbone, version=version, notes=notes)
    patterns = {key: _patterns(backbone, key, depth) for key in ("inflate", "non_local")}
    network: dict[str, Any] = {
        "kind": "resnet",
        "depth": depth,
        "conv1_kernel_t": kernel,
        "pool2": backbone.take("with_pool2", True),
        "temporal_strides": tuple(int(v) for v in backbone.numbers("temporal_strides", 4) or (1, 1, 1, 1)),
        "inflate": patterns["inflate"] or ((1,),) * 4,
        "non_local": patterns["non_local"] or ((0,),) * 4,
        "activation_checkpointing": backbone.take("with_cp", False),
        **backbone.fields(conv1_stride_t=stride, pool1_stride_t=stride, in_channels=3, base_channels=64),
        **backbone.fields(inflate_style="3x1x1", frozen_stages=-1, norm_eval=False, zero_init_residual=True),
    }
    return network | _non_local(backbone, patterns["non_local"], for_training=for_training), sync


def _stem(backbone: Section, *, version: int, notes: list[str]) -> tuple[int, int]:
    """Frames of the first kernel, and the default strides for it."""
    kernel = [int(v) for v in backbone.numbers("conv1_kernel", 3)]
    if kernel[1:] not in ([], [7, 7]):
        raise backbone.wrong("conv1_kernel", "must be (frames, 7, 7)")
    if kernel:
        return kernel[0], 1
    if version == 0:  # the default until 0.13, which configs of that time omit
        notes.append(f"{backbone.place('type')}: no conv1_kernel: taken as (5, 7, 7) with strides 2, as until 0.13")
        return 5, 2
    return 3, 1


def _patterns(backbone: Section, key: str, depth: int) -> tuple[tuple[int, ...], ...]:
    """(1, 0, 1, 0) becomes (1, 0), which is repeated; a number is for all blocks of a stage."""
    value = backbone.any(key)
    if value is None:
        return ()
    if type(value) is int:
        value = [value] * 4
    stages = [[stage] if type(stage) is int else stage for stage in value] if isinstance(value, list) else []
    if len(stages) != 4 or not all(isinstance(s, list) and s and all(one in (0, 1) for one in s) for s in stages):
        raise backbone.wrong(key, "must be 0 and 1 for the blocks of four stages")
    return tuple(_shortest(stage[:blocks]) for stage, blocks in zip(stages, RESNET_BLOCKS[depth], strict=True))


def _shortest(stage: list[int]) -> tuple[int, ...]:
    """The shortest prefix of a pattern whose repetition gives the whole of it."""
    lengths = range(1, len(stage) + 1)
    fits = (n for n in lengths if all(value == stage[i % n] for i, value in enumerate(stage)))
    return tuple(stage[: next(fits)])


def _non_local(backbone: Section, non_local: tuple[tuple[int, ...], ...], *, for_training: bool) -> dict[str, Any]:
    part = backbone.sub("non_local_cfg")
    norm = part.sub("norm_cfg")
    norm.only_class("type", "BN3d", "BN")
    if for_training:
        norm.only("requires_grad", True)
    norm.ignore("requires_grad")
    part.only_class("type", "NonLocal3d")
    if not any(map(any, non_local)):
        part.ignore(*part.table)
        return {}
    if for_training and not norm.table:  # else the tensors show it
        raise backbone.wrong(
            "non_local_cfg", "has no norm_cfg", "ours have batch norms: write norm_cfg=dict(type='BN3d')"
        )
    settings = part.fields(mode="embedded_gaussian", sub_sample=False, use_scale=True)
    return {f"non_local_{key}": value for key, value in settings.items()}


def _head(head: Section, network: dict[str, Any], *, for_training: bool) -> tuple[bool, dict[str, Any]]:
    """(several classes go together, the fields of the loss)."""
    head.only("spatial_type", "avg")
    head.ignore("topk")  # top-1 and top-5 are always reported
    channels = 8 * network["base_channels"] * (4 if network["depth"] in BOTTLENECK_DEPTHS else 1)
    if head.take("in_channels", channels) != channels:
        why = f"is not the {channels} of the last stage of the backbone (depth {network['depth']})"
        raise head.wrong("in_channels", why, f"write in_channels={channels}, or leave it out")
    loss = head.sub("loss_cls")
    if not for_training:
        loss.ignore(*loss.table)
        return loss.kind == "BCELossWithLogits", {}
    head.only("init_std", 0.01)
    loss.only("loss_weight", 1.0, 1)
    kind = loss.choose("the loss", *LOSSES, default="CrossEntropyLoss")
    multi_label = kind == "BCELossWithLogits"
    if head.take("multi_class", multi_label) is not multi_label:
        raise head.wrong("multi_class", f"does not go with {kind}", "use BCELossWithLogits with multi_class=True")
    fields: dict[str, Any] = {"label_smoothing": head.take("label_smooth_eps", 0.0)}
    if weights := loss.numbers("class_weight"):
        if multi_label:
            raise loss.wrong("class_weight", "is for CrossEntropyLoss here")
        fields["class_weights"] = weights
    return multi_label, fields


def _init(backbone: Section) -> str:
    """Initial weights: a file, an address, or those of torchvision by timm's name, as recipes have it."""
    backbone.only("pretrained2d", True, False, None)  # the shapes in the file show whether it is 2D
    part, key = backbone, "pretrained"
    if "init_cfg" in backbone:
        part, key = backbone.sub("init_cfg"), "checkpoint"
        part.only_class("type", "Pretrained")
    backbone.ignore("init_cfg", "pretrained")
    name = part.take(key, "")
    if match := TORCHVISION.fullmatch(name):
        return f"timm/{match[1]}.tv_in1k"
    return name
