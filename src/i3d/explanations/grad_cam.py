"""Grad-CAM of a layer (Selvaraju et al. 2017, arXiv:1610.02391), by captum's `LayerGradCam`.

Each channel of the layer is weighted by the mean over time and space of the gradient of the label's logit; the map is
their sum where it is positive, divided by its maximum.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from i3d.errors import InputError, first_line
from i3d.explanations.layers import layer_module
from i3d.models.engine.engine import full_float32
from i3d.models.network import VideoNetwork

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ActivationMap:
    """How much each place of a layer speaks for a label: 1 is the most, 0 nothing or against it."""

    layer: str
    values_THW: Floats  # at the resolution of the layer
    view_THW: tuple[int, int, int]  # frames, rows and columns of the view

    @property
    def is_empty(self) -> bool:
        """No place speaks for the label."""
        return not self.values_THW.any()

    @property
    def cell_THW(self) -> tuple[float, ...]:
        """How many frames, rows and columns of the view a number of the map stands for."""
        return tuple(size / cells for size, cells in zip(self.view_THW, self.values_THW.shape, strict=True))

    @property
    def line(self) -> str:
        """Its resolution in words."""
        frames, rows, columns = (f"{side:.3g}" for side in self.cell_THW)
        small, large = ("x".join(map(str, shape)) for shape in (self.values_THW.shape, self.view_THW))
        return (
            f"Grad-CAM of {self.layer}, {small} for a view of {large}: a number stands for {frames} frames "
            f"of {rows} x {columns} pixels, and what is drawn between is interpolated"
        )

    def enlarged(self) -> Floats:
        """The map at the resolution of the view (T, H, W), interpolated."""
        small = torch.from_numpy(self.values_THW)[None, None]
        large: Floats = F.interpolate(small, self.view_THW, mode="trilinear", align_corners=False)[0, 0].numpy()
        return large


def import_captum() -> Any:
    """The module of captum's attributions. Without captum it is an InputError with the command that installs it."""
    try:
        return importlib.import_module("captum.attr")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == "captum":
            why, todo = "needs captum, which is not installed", "pip install 'i3d[explain]'"
        else:
            why, todo = f"captum cannot be imported ({first_line(error)})", "pip install --upgrade 'i3d[explain]'"
    except ImportError as error:
        why, todo = f"captum cannot be imported ({first_line(error)})", "pip install --upgrade 'i3d[explain]'"
    raise InputError(f"a map by Grad-CAM: {why}; {todo}, or leave the map out (--curve-only)")


def grad_cam(net: VideoNetwork, clip_1CTHW: Tensor, *, layer: str, target: int) -> ActivationMap:
    """The map of a layer for a class, by its number. The network must be in eval mode and float32.

    Its parameters are set to need no gradient: only what comes after the layer is stored for the gradient.
    """
    captum = import_captum()
    net.requires_grad_(False)
    with full_float32(clip_1CTHW.device):
        method = captum.LayerGradCam(net, layer_module(net, layer))
        map_THW = method.attribute(clip_1CTHW, target=target, relu_attributions=True)[0, 0]
    values_THW: Floats = map_THW.detach().float().cpu().numpy()
    frames, rows, columns = clip_1CTHW.shape[2:]
    if not np.isfinite(values_THW).all():
        raise InputError(f"layer {layer}: its gradient is NaN or infinite for this clip; choose another layer")
    highest = float(values_THW.max())
    values_THW = values_THW / np.float32(highest) if highest > 0 else values_THW
    return ActivationMap(layer, values_THW, (frames, rows, columns))
