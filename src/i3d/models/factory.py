"""From settings to a network."""

from i3d.models.inception import InceptionI3D
from i3d.models.resnet import ResNetI3D
from i3d.recipes.settings import InceptionNetwork, Network, ResNetNetwork

I3D = InceptionI3D | ResNetI3D


def build_network(settings: Network) -> I3D:
    """A network with fresh weights, in training mode."""
    match settings:
        case InceptionNetwork():
            return InceptionI3D(settings)
        case ResNetNetwork():
            return ResNetI3D(settings)
