"""Parameters and GFLOPs of a network and its layers for one view, counted on the meta device.

Letters in names: N clips, C channels, T frames, H rows, W columns; V views of a clip.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from i3d.errors import InputError, first_line
from i3d.models.factory import build_meta_network
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, NetworkSettings
from i3d.utils.arguments import checks_types


@dataclass(frozen=True)
class Cost:
    """The cost of a network for one view. A multiply-add counts as two operations."""

    view_NCTHW: tuple[int, ...]
    parameters: int
    gflops: float


@dataclass(frozen=True)
class Layer:
    """One layer of a network for one view."""

    name: str
    kind: str
    output_NCTHW: tuple[int, ...]
    parameters: int
    gflops: float


def view_shape(recipe: Recipe) -> tuple[int, ...]:
    """The shape (N, C, T, H, W) of one view of a recipe."""
    protocol, crop = recipe.protocol, recipe.preprocessing.crop
    frames = protocol.clip_len if isinstance(protocol, ClipProtocol) else protocol.max_window_frames
    return 1, recipe.network.in_channels, frames, crop, crop


@checks_types
def network_cost(recipe: Recipe, view_NCTHW: tuple[int, ...] | None = None) -> Cost:
    """Parameters, and GFLOPs for one view, by default of the recipe's protocol.

    A shape that the network does not take is an InputError.
    """
    view_NCTHW = view_NCTHW or view_shape(recipe)
    try:
        return trace_layers(recipe.network, view_NCTHW)[0]
    except (ValueError, RuntimeError) as error:
        raise InputError(f"a view of {'x'.join(map(str, view_NCTHW[1:]))}: {first_line(error)}") from error


def view_gflops(recipe: Recipe, *, num_frames: int) -> float:
    """GFLOPs for a view of `num_frames` frames; one that is too short for the network is looped."""
    batch, channels, _, height, width = view_shape(recipe)
    frames = max(num_frames, _min_frames(recipe.network))
    return trace_layers(recipe.network, (batch, channels, frames, height, width))[0].gflops


def mean_gflops(recipe: Recipe, num_frames_NV: Sequence[Sequence[int]]) -> float:
    """GFLOPs for all views of a clip, averaged over clips. `num_frames_NV`: the frames of each view of each clip."""
    counts = Counter(frames for num_frames_V in num_frames_NV for frames in num_frames_V)
    total = sum(count * view_gflops(recipe, num_frames=frames) for frames, count in counts.items())
    return total / len(num_frames_NV)


@lru_cache
def _min_frames(network: NetworkSettings) -> int:
    return build_meta_network(network).min_frames


@lru_cache
def trace_layers(network: NetworkSettings, view_NCTHW: tuple[int, ...]) -> tuple[Cost, tuple[Layer, ...]]:
    """Run a network on the meta device, which computes shapes only, and record each layer."""
    model = build_meta_network(network).eval()
    root = type(model).__name__
    names = {module: name for name, module in model.named_modules()}
    shapes: dict[str, tuple[int, ...]] = {}

    def record(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            shapes[names[module]] = tuple(output.shape)

    for module in names:
        module.register_forward_hook(record)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.empty(view_NCTHW, device="meta"))
    flops = {name.removeprefix(f"{root}."): sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    layers: list[Layer] = []
    for name, shape in shapes.items():  # in execution order
        module = model.get_submodule(name)
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if isinstance(module, nn.BatchNorm3d) and layers:  # one row with the convolution before it
            conv = layers[-1]
            layers[-1] = replace(conv, kind=f"{conv.kind} + BN", parameters=conv.parameters + own)
        elif kind := _kind(module):
            inner = sum(flops.get(f"{name}.{child}", 0) for child, _ in module.named_children())
            layers.append(Layer(name, kind, shape, own, (flops.get(name, 0) - inner) / 1e9))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(view_NCTHW, parameters, counter.get_total_flops() / 1e9), tuple(layers)


def _kind(module: object) -> str:
    """A layer in a few words; "" for containers, and for layers without a cost at inference."""
    match module:
        case nn.Conv3d():
            return f"conv {_sides(module.kernel_size)} / {_sides(module.stride)}"
        case nn.MaxPool3d():
            return f"max pool {_sides(module.kernel_size)} / {_sides(module.stride)}"
        case nn.Linear():
            return "linear"
    return getattr(module, "layer_kind", "")


def _sides(sizes: object) -> str:
    return "x".join(map(str, sizes)) if isinstance(sizes, tuple) else str(sizes)
