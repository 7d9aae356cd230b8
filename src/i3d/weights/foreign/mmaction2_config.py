"""What the config says that MMAction2 keeps in its checkpoints; `i3d.recipes.mmaction2.parse` reads it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from i3d.errors import WeightsError, printable
from i3d.recipes.settings import ResNetSettings

CROPS: Final = {"CenterCrop": "center", "ThreeCrop": "three", "TenCrop": "ten"}


def network_of_config(config: Mapping[str, Any], seen: ResNetSettings) -> ResNetSettings | None:
    """`seen`, which the entries show, completed by what the config says; None if it describes no network."""
    model = config.get("model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    if not isinstance(backbone, dict):
        return None
    kind = printable(str(backbone.get("type", "ResNet3d"))[:40]).rsplit(".", 1)[-1]
    if kind != "ResNet3d":
        raise WeightsError(f"its config is of a {kind}, which is not an I3D network")
    _refuse_others(backbone, _dict(_dict(model).get("cls_head")))
    # Until 0.13 the stem's strides were 2 by default, with a kernel of 5 frames; later 1, with a kernel of 3.
    stride = 2 if "conv1_kernel" not in backbone and seen.conv1_kernel_t == 5 else 1
    non_local = _dict(backbone.get("non_local_cfg"))
    changes = {
        "conv1_stride_t": backbone.get("conv1_stride_t", stride),
        "pool1_stride_t": backbone.get("pool1_stride_t", stride),
        "pool2": bool(backbone.get("with_pool2", True)),
        "temporal_strides": tuple(backbone.get("temporal_strides", (1, 1, 1, 1))),
        "dropout": float(_dict(_dict(model).get("cls_head")).get("dropout_ratio", seen.dropout)),
    }
    if any(map(any, seen.non_local_at)):
        changes["non_local_mode"] = non_local.get("mode", "embedded_gaussian")
        changes["non_local_use_scale"] = bool(non_local.get("use_scale", True))
    return ResNetSettings.model_validate({**seen.model_dump(), **changes})


def _refuse_others(backbone: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """Settings that would make another function of the same entries must be what our networks have."""
    for name, only in [
        ("style", "pytorch"),
        ("num_stages", 4),
        ("stage_blocks", None),
        ("spatial_strides", [1, 2, 2, 2]),
        ("dilations", [1, 1, 1, 1]),
        ("conv1_stride_s", 2),
        ("pool1_stride_s", 2),
        ("with_pool1", True),
        ("out_indices", [3]),
    ]:
        if backbone.get(name, only) != only:
            raise WeightsError(f"its config sets {name} to another value than {only}, which is not supported")
    norm, activation = _dict(backbone.get("norm_cfg")), _dict(backbone.get("act_cfg"))
    if norm.get("type", "BN3d") not in ("BN", "BN3d", "SyncBN") or norm.get("eps", 1e-5) != 1e-5:
        raise WeightsError("its config has another normalisation than batch norms of epsilon 1e-5")
    if activation.get("type", "ReLU") != "ReLU" or head.get("spatial_type", "avg") != "avg":
        raise WeightsError("its config has another activation than ReLU, or another pooling than the average")


def testing_of_config(config: Mapping[str, Any], *, version_1: bool) -> dict[str, dict[str, Any]]:
    """{"protocol": ..., "preprocessing": ...}: the fields that the test pipeline of a config sets."""
    protocol: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    steps = config.get("test_pipeline")
    for step in steps if isinstance(steps, Sequence) and not isinstance(steps, str) else []:
        step = _dict(step)
        match step.get("type"):
            case "SampleFrames" | "DenseSampleFrames" as kind:
                protocol = {key: step[key] for key in ("clip_len", "frame_interval", "num_clips") if key in step}
                uniform = "end_to_end" if version_1 else "centred"
                protocol["placement"] = "dense" if kind == "DenseSampleFrames" else uniform
            case "Resize":
                scale = step.get("scale")
                sides = (
                    [side for side in scale if isinstance(side, int) and side > 0] if isinstance(scale, list) else []
                )
                preprocessing |= {"short_side": min(sides)} if sides else {}
            case "CenterCrop" | "ThreeCrop" | "TenCrop" as kind:
                protocol["crops"] = CROPS[kind]
                preprocessing |= {"crop": step["crop_size"]} if isinstance(step.get("crop_size"), int) else {}
            case "Normalize":
                preprocessing |= _normalisation(step)
    model = _dict(config.get("model"))
    preprocessing |= _normalisation(_dict(model.get("data_preprocessor")))
    average = _dict(model.get("test_cfg")).get("average_clips", _dict(model.get("cls_head")).get("average_clips"))
    if average in ("prob", "score"):
        protocol["average"] = average
    return {"protocol": protocol, "preprocessing": preprocessing}


def _normalisation(step: Mapping[str, Any]) -> dict[str, Any]:
    if step.get("to_bgr"):
        raise WeightsError("its config feeds the network BGR frames, which is not supported; swap its first channels")
    return {key: tuple(float(v) for v in step[key]) for key in ("mean", "std") if isinstance(step.get(key), list)}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
