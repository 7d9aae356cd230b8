"""The layers of which a map can be made, and the one that is taken by default.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import torch
from torch import nn

from i3d.errors import InputError, quoted
from i3d.models.factory import build_meta_network
from i3d.models.network import VideoNetwork
from i3d.recipes.settings import NetworkSettings

Shape = tuple[int, int, int]  # T, H, W of a map
MIN_SHARE: Final = 16  # the map of the default layer has at least a sixteenth of the side: 14 of 224


@cache
def map_shapes(network: NetworkSettings, view_NCTHW: tuple[int, ...]) -> Mapping[str, Shape]:
    """T, H and W of the map after each endpoint of a network, for a view of a shape."""
    net = build_meta_network(network).eval()
    with torch.inference_mode():
        maps = net.maps(torch.empty(view_NCTHW, device="meta"), net.endpoints)
    return {name: _sides(each.shape) for name, each in zip(net.endpoints, maps, strict=True)}


def choose_layer(shapes: Mapping[str, Shape], asked: str | None, *, side: int) -> str:
    """The layer of a map: the asked one, or the last whose map has a sixteenth of the side of a view.

    An unknown layer, and one whose map is a single place, are an InputError that lists the others.
    """
    usable = {name: shape for name, shape in shapes.items() if shape[1] * shape[2] > 1}
    names = ", ".join(f"{name} ({'x'.join(map(str, shape))})" for name, shape in usable.items())
    if not usable:
        raise InputError(f"a map: no layer of this network has one for frames of {side} x {side}; leave it out")
    if asked is None:
        fine = [name for name, shape in usable.items() if min(shape[1:]) * MIN_SHARE >= side]
        return (fine or list(usable))[-1]
    if asked not in shapes:
        raise InputError(f"layer {quoted(asked)}: this network has no such layer; choose from {names}")
    if asked not in usable:
        raise InputError(f"layer {quoted(asked)}: its map is one place for the whole frame; choose from {names}")
    return asked


def layer_module(net: VideoNetwork, layer: str) -> nn.Module:
    """The module whose output is the map of an endpoint. Of a stage of blocks it is the last block."""
    try:
        module = net.get_submodule(layer)
    except AttributeError as error:
        raise InputError(f"layer {quoted(layer)}: is no module of this network; choose another") from error
    return module[-1] if isinstance(module, nn.Sequential) and len(module) else module


def _sides(shape: Sequence[int]) -> Shape:
    return shape[2], shape[3], shape[4]
