"""Inflation: the weights of a 2D network become those of its 3D version (Carreira & Zisserman 2017, section 2).

A kernel is repeated along time and divided by its length, so that a video of one still image gives the features of
the image. A 2D network has no non-local blocks: theirs start as the identity.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from i3d.utils.arguments import checks_types


@checks_types
def inflate_weights(weights_2d: Mapping[str, Tensor], shapes_3d: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """2D weights under the state-dict keys of the 3D network -> weights of the 3D shapes.

    Kernels (out, in, H, W) become (out, in, T, H, W). A linear classifier (K, C) becomes a 1x1x1 convolution if the
    network has one. A stem for other channels than RGB repeats the mean over RGB. Unknown keys, and weights that cannot
    get the shape, stay unchanged: the caller compares them.
    """
    return {
        name: inflate_kernel(weight, shapes_3d[name]) if name in shapes_3d else weight
        for name, weight in weights_2d.items()
    }


def inflate_kernel(weight: Tensor, shape: torch.Size) -> Tensor:
    """One weight in the 3D shape; unchanged if it has that shape, or cannot get it."""
    if weight.shape == shape or len(shape) != 5:
        return weight
    if weight.dim() == 2:
        return weight[:, :, None, None, None]
    if weight.dim() != 4:
        return weight
    if weight.shape[1] != shape[1] and weight.shape[1] == 3:
        weight = channels_from_rgb(weight, in_channels=shape[1])
    return weight[:, :, None].repeat(1, 1, shape[2], 1, 1) / shape[2]


def channels_from_rgb(weight: Tensor, *, in_channels: int) -> Tensor:
    """A stem (out, 3, ...) for other inputs, such as the two channels of optical flow: the mean over RGB, repeated."""
    return weight.mean(dim=1, keepdim=True).repeat(1, in_channels, *([1] * (weight.dim() - 2)))
