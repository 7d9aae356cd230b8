"""Convolutions at rest on a CPU: their weights lie as oneDNN wants them, and the sum and ReLU behind are part of them.

The operators are those that PyTorch's own compiler puts into the code that it writes for CPUs.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i3d.models.conv import Conv3d, Triple, flat_weight, flattened, may_call_onednn, unflattened, way_of


def pack(net: nn.Module) -> None:
    """Pack every convolution of a folded network, in place, where this PyTorch can."""
    if not may_call_onednn() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv3d):
                setattr(parent, name, PackedConv3d(child))


def convolved(
    conv: nn.Module,
    norm: nn.Module,
    x_NCTHW: Tensor,
    *,
    plus_NCTHW: Tensor | None = None,
    relu: bool = True,
    padding: Triple | None = None,
) -> Tensor:
    """Convolution, batch norm, sum with a shortcut, ReLU: in one step where the convolution is packed."""
    if isinstance(conv, PackedConv3d):
        return conv(x_NCTHW, plus_NCTHW=plus_NCTHW, relu=relu, padding=padding)  # type: ignore[no-any-return]
    out_NCTHW: Tensor = norm(conv(x_NCTHW, padding=padding))
    if plus_NCTHW is not None:
        out_NCTHW = out_NCTHW + plus_NCTHW
    return F.relu(out_NCTHW, inplace=True) if relu else out_NCTHW


class PackedConv3d(nn.Module):
    """A convolution at rest on a CPU: its weights lie as oneDNN wants them, and sum and ReLU are part of it.

    It is packed for the first clip that it sees; other shapes give the same function.
    """

    def __init__(self, conv: Conv3d) -> None:
        super().__init__()
        assert not isinstance(conv.padding, str)
        self.kernel_size, self.stride, self.padding = conv.kernel_size, conv.stride, conv.padding
        self.bias, weight = conv.bias, conv.weight.detach()
        # bfloat16 is multiplied in pairs: three channels cost as much as four.
        self.is_paired = weight.dtype == torch.bfloat16 and weight.shape[1] % 2 == 1 and conv.stride[2] == 2
        self.way = "whole" if self.is_paired else way_of(self.kernel_size, self.stride, self.padding)
        self._weight = paired_weight(weight, self.padding[2]) if self.is_paired else flat_weight(weight, self.way)

    def forward(
        self,
        x_NCTHW: Tensor,
        *,
        plus_NCTHW: Tensor | None = None,
        relu: bool = False,
        padding: Triple | None = None,
    ) -> Tensor:
        """`plus_NCTHW`: a shortcut of the shape of the output, added before the ReLU."""
        flat, stride, pads = flattened(x_NCTHW, self.way, self.kernel_size, self.stride, padding or self.padding)
        if self.is_paired:
            flat = paired(flat, self.kernel_size[2], pads[2])
            stride, pads = [*stride[:2], 1], [*pads[:2], 0]
        if not self._weight.is_mkldnn:
            self._weight = packed(self._weight, stride, pads, flat.shape)
        around = self._weight, self.bias, pads, stride, [1] * len(pads), 1
        operator, last = torch.ops.mkldnn._convolution_pointwise, "relu" if relu else "none"
        if plus_NCTHW is None:
            out: Tensor = operator(flat, *around, last, [], "")
        else:
            plus, *_ = flattened(plus_NCTHW, self.way, (1, 1, 1), (1, 1, 1), (0, 0, 0))
            out = operator.binary(flat, plus, *around, "add", 1.0, last, [], None)
        return unflattened(out, self.way, x_NCTHW)


def packed(weight: Tensor, stride: list[int], padding: list[int], shape: Sequence[int]) -> Tensor:
    """Weights as oneDNN wants them for an input of this shape."""
    ways: Any = torch._C._nn  # whose types know fewer arguments than it takes
    reorder = ways.mkldnn_reorder_conv3d_weight if weight.dim() == 5 else ways.mkldnn_reorder_conv2d_weight
    found: Tensor = reorder(weight.to_mkldnn(), padding, stride, [1] * len(padding), 1, list(shape))
    return found


def paired(x_NCTHW: Tensor, kernel: int, padding: int) -> Tensor:
    """Columns, padded with zeros, two by two along the channels: (N, 2 C, T, H, W / 2 + ...).

    With the channels last they lie so in memory. A convolution of stride 2 along W is one of stride 1 there.
    """
    width = x_NCTHW.shape[4]
    num_pairs = (width + 2 * padding - kernel) // 2 + num_taps(kernel, padding)
    before = padding + padding % 2
    x_NCTHW = F.pad(x_NCTHW, (before, 2 * num_pairs - width - before))
    x_NTHWC = x_NCTHW.permute(0, 2, 3, 4, 1).contiguous()
    return x_NTHWC.reshape(*x_NTHWC.shape[:3], num_pairs, -1).permute(0, 4, 1, 2, 3)


def paired_weight(weight: Tensor, padding: int) -> Tensor:
    """The kernels of such a convolution: (K, 2 C, T, H, taps)."""
    kernel, before = weight.shape[4], padding % 2
    taps = num_taps(kernel, padding)
    padded = F.pad(weight, (before, 2 * taps - kernel - before))
    of_pairs = padded.reshape(*padded.shape[:4], taps, 2)
    return of_pairs.permute(0, 5, 1, 2, 3, 4).flatten(1, 2).contiguous()


def num_taps(kernel: int, padding: int) -> int:
    """Pairs that a kernel sees."""
    return (kernel + padding % 2 + 1) // 2
