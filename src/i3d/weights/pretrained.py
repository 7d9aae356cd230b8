"""The pretrained networks that come with the package: where their file lies and what its hash is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from i3d.weights.checkpoint import Card, load_checkpoint

if TYPE_CHECKING:
    import torch

    from i3d.models.inception import InceptionI3D

ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class Pretrained:
    """A weights file in the package. Its card, inside the file, holds source, licence, input and class names."""

    file: str
    sha256: str

    @property
    def path(self) -> Path:
        return ASSETS / self.file


INCEPTION_RGB_KINETICS400 = Pretrained(
    file="inception_rgb_kinetics400.safetensors",
    sha256="0b3967260dca06bde7bec699188e6ab4dcdb47d2b282346e1c80bc7ac418601e",
)


def load_pretrained(weights: Pretrained = INCEPTION_RGB_KINETICS400) -> tuple[InceptionI3D, Card]:
    """The network in eval mode, in float32, and its card. Raises WeightsError if the file is damaged."""
    import torch

    from i3d.models.inception import InceptionI3D

    state, card = load_checkpoint(weights.path, sha256=weights.sha256)
    network = card.recipe.network
    with torch.device("meta"):
        model = InceptionI3D(in_channels=network.in_channels, num_classes=network.num_classes, dropout=network.dropout)
    model.load_state_dict({name: _widened(tensor) for name, tensor in state.items()}, assign=True)
    return model.eval().requires_grad_(False), card


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """float16, in which the file keeps its numbers, to float32, in which they are used."""
    return tensor.float() if tensor.is_floating_point() else tensor
