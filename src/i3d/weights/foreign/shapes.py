"""The settings of a network, as far as the keys and shapes of its state dict show them."""

from collections.abc import Mapping
from typing import Any, Final

from i3d.errors import WeightsError
from i3d.recipes.settings import RESNET_BLOCKS, InceptionSettings, NetworkSettings, ResNetSettings

Shape = tuple[int, ...]
INCEPTION_STEM: Final = "Conv3d_1a_7x7.conv3d.weight"
INCEPTION_HEAD: Final = "logits.conv3d.weight"
RESNET_HEAD: Final = "fc.weight"
STORED_NAMES: Final = ("type", "depth", "conv1_kernel", "inflate", "inflate_style", "non_local", "non_local_cfg")

ONLY_IN_TRAINING: Final = frozenset({
    "dropout", "frozen_stages", "norm_eval", "activation_checkpointing", "zero_init_residual",
})  # fmt: skip


def network_from_shapes(shapes: Mapping[str, Shape]) -> NetworkSettings:
    """The settings that a state dict with our keys shows; the others have their defaults and are not set."""
    if INCEPTION_STEM in shapes:
        stem, head = _kernel(shapes, INCEPTION_STEM, (4, 5)), _classes(shapes, INCEPTION_HEAD, (2, 5))
        return InceptionSettings.model_validate({"in_channels": stem[1], **head})
    stem, head = _kernel(shapes, "conv1.conv.weight", (4, 5)), _classes(shapes, RESNET_HEAD, (2,))
    stages = tuple(len({key.split(".")[1] for key in shapes if key.startswith(f"layer{n}.")}) for n in range(1, 5))
    bottleneck = "layer1.0.conv3.conv.weight" in shapes
    depth = next((d for d, blocks in RESNET_BLOCKS.items() if blocks == stages and (d >= 50) == bottleneck), None)
    if depth is None:
        raise WeightsError(f"a ResNet with {stages} blocks; supported are {', '.join(map(str, RESNET_BLOCKS))} layers")
    return ResNetSettings.model_validate(
        {
            "depth": depth,
            "in_channels": stem[1],
            "base_channels": stem[0],
            "conv1_kernel_t": stem[2] if len(stem) == 5 else 5,
            **head,
            **_inflation(shapes, stages, "conv1"),
            **_inflation(shapes, stages, "conv2" if bottleneck else "conv1"),
            **_non_local(shapes, stages),
        }
    )


def _classes(shapes: Mapping[str, Shape], name: str, dimensions: tuple[int, ...]) -> dict[str, int]:
    """The number of classes; empty for a state dict without a classifier."""
    return {"num_classes": _kernel(shapes, name, dimensions)[0]} if name in shapes else {}


def _kernel(shapes: Mapping[str, Shape], name: str, dimensions: tuple[int, ...]) -> Shape:
    """The shape of a kernel that every network has."""
    if name not in shapes:
        raise WeightsError(f"its {name} is missing, which identifies the network")
    if len(shapes[name]) not in dimensions:
        raise WeightsError(
            f"{name} has the shape {shapes[name]}, expected {' or '.join(map(str, dimensions))} dimensions"
        )
    return shapes[name]


def stored_settings(network: NetworkSettings) -> tuple[Any, ...]:
    """The settings that a state dict shows, except widths and classes; of ResNets those of STORED_NAMES."""
    if not isinstance(network, ResNetSettings):
        return network.kind, network.in_channels
    s = network
    style = s.inflate_style if s.depth >= 50 else ""
    embedded = "" if s.non_local_mode in ("embedded_gaussian", "dot_product") else s.non_local_mode
    block = (embedded, s.non_local_sub_sample) if any(map(any, s.non_local_at)) else ()
    return s.kind, s.depth, s.conv1_kernel_t, s.inflated, style, s.non_local_at, block


def computed_settings(network: NetworkSettings) -> tuple[Any, ...]:
    """The settings that decide what a network computes, except widths, classes and weights."""
    if isinstance(network, InceptionSettings):
        return *stored_settings(network), network.bn_eps
    if not isinstance(network, ResNetSettings):
        return stored_settings(network)
    s = network
    block = (s.non_local_mode, s.non_local_use_scale) if any(map(any, s.non_local_at)) else ()
    strides = (s.conv1_stride_t, s.pool1, s.pool1_stride_t, s.pool2, s.temporal_strides)
    return *stored_settings(s), *strides, block


def differing_settings(own: NetworkSettings, wanted: NetworkSettings) -> str:
    """In which settings two networks compute different things or have other widths; "" if in none."""
    if computed_settings(own) == computed_settings(wanted) and _widths(own) == _widths(wanted):
        return ""
    if own.kind != wanted.kind:
        return f"{own.description}, not {wanted.description}"
    equal = set(ONLY_IN_TRAINING)
    if isinstance(own, ResNetSettings) and isinstance(wanted, ResNetSettings):  # patterns may be written differently
        equal |= {"inflate"} if own.inflated == wanted.inflated else set()
        equal |= {"non_local"} if own.non_local_at == wanted.non_local_at else set()
    before, after = own.model_dump(exclude=equal), wanted.model_dump(exclude=equal)
    return ", ".join(f"{key} {value}, not {after[key]}" for key, value in before.items() if value != after[key])


def _widths(network: NetworkSettings) -> tuple[int, ...]:
    base = network.base_channels if isinstance(network, ResNetSettings) else 0
    return network.in_channels, network.num_classes, base


def _inflation(shapes: Mapping[str, Shape], stages: tuple[int, ...], conv: str) -> dict[str, Any]:
    """The pattern of blocks whose `conv` spans 3 frames, if any does."""
    kernels = [[shapes.get(f"layer{s}.{i}.{conv}.conv.weight", ()) for i in range(n)] for s, n in enumerate(stages, 1)]
    if not all(len(shape) == 5 for stage in kernels for shape in stage):
        return {}
    pattern = tuple(tuple(int(shape[2] == 3) for shape in stage) for stage in kernels)
    style = {"conv1": "3x1x1", "conv2": "3x3x3"}[conv]
    is_shown = any(map(any, pattern)) or conv == "conv1"
    return {"inflate": pattern, "inflate_style": style} if is_shown else {}


def _non_local(shapes: Mapping[str, Shape], stages: tuple[int, ...]) -> dict[str, Any]:
    pattern = tuple(
        tuple(int(f"layer{s}.{i}.non_local.g.weight" in shapes) for i in range(n)) for s, n in enumerate(stages, 1)
    )
    if not any(map(any, pattern)):
        return {}
    mode = "embedded_gaussian"
    if not any(".non_local.theta." in name for name in shapes):
        mode = "gaussian"
    elif any(".non_local.project." in name for name in shapes):
        mode = "concatenation"
    return {"non_local": pattern, "non_local_mode": mode}
