"""From settings to a network."""

from typing import Final

import torch

from i3d.models.inception import InceptionI3D
from i3d.models.network import VideoNetwork
from i3d.models.resnet import ResNetI3D
from i3d.recipes.settings import InceptionSettings, NetworkSettings, ResNetSettings, Settings
from i3d.utils.arguments import checks_types

NETWORKS: Final[dict[type[Settings], type[VideoNetwork]]] = {
    InceptionSettings: InceptionI3D,
    ResNetSettings: ResNetI3D,
}


@checks_types
def build_network(settings: NetworkSettings) -> VideoNetwork:
    """A network with fresh weights, in training mode."""
    return NETWORKS[type(settings)](settings)


def build_meta_network(settings: NetworkSettings) -> VideoNetwork:
    """A network on PyTorch's meta device: shapes without values, and no memory."""
    with torch.device("meta"):
        return build_network(settings)
