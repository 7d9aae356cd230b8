"""Convolutions at rest on a CPU: their weights lie as oneDNN wants them, and the sum and ReLU behind are part of them.

The operators are those that PyTorch's own compiler puts into the code that it writes for CPUs.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from i3d.models.conv import (
    Conv3d,
    Triple,
    flat_weight,
    flattened,
    is_wrong_in_bf16,
    may_call_onednn,
    unflattened,
    way_of,
)


def prepack(net: nn.Module) -> None:
    """Pack every convolution of a folded network, in place, where this PyTorch can; poolings are told."""
    if not may_call_onednn() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv3d):
                setattr(parent, name, PackedConv3d.of(child))
            elif hasattr(child, "is_packed"):
                child.is_packed = True  # type: ignore[assignment]


def conv_bn_act(
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


def taps_of(conv: nn.Module, norm: nn.Module, first: int, stop: int, *, bias: bool) -> nn.Module:
    """A convolution at rest and its norm, with some of the taps along time alone; nothing is padded there."""
    if isinstance(conv, PackedConv3d):
        return conv.taps(first, stop, bias=bias)
    assert isinstance(conv, Conv3d)
    if isinstance(norm, nn.BatchNorm3d):
        conv = fuse_conv_bn_eval(conv, norm)
    part = copy.deepcopy(conv)
    part.kernel_size = (stop - first, *conv.kernel_size[1:])
    part.padding = (0, *conv.padding[1:])
    part.weight = nn.Parameter(conv.weight.detach()[:, :, first:stop].clone(), requires_grad=False)
    part.bias = conv.bias if bias else None
    return part


class PackedConv3d(nn.Module):
    """A convolution at rest on a CPU: its weights lie as oneDNN wants them, and sum and ReLU are part of it.

    It is packed for the first clip that it sees; other shapes give the same function.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, kernel: Triple, stride: Triple, padding: Triple, is_paired: bool
    ) -> None:
        super().__init__()
        self.bias, self.kernel_size, self.stride, self.padding = bias, kernel, stride, padding
        self.is_paired = is_paired
        self.way = "whole" if is_paired else way_of(kernel, stride, padding)
        self._weight = flat_weight(weight, self.way)

    @classmethod
    def of(cls, conv: Conv3d) -> Self:
        """A convolution, packed."""
        assert not isinstance(conv.padding, str)
        weight = conv.weight.detach()
        # bfloat16 is multiplied in pairs: three channels cost as much as four.
        is_paired = weight.dtype == torch.bfloat16 and weight.shape[1] % 2 == 1 and conv.stride[2] == 2
        if is_paired:
            weight = paired_weight(weight, conv.padding[2])
        shape = {"kernel": conv.kernel_size, "stride": conv.stride, "padding": conv.padding}
        return cls(weight, conv.bias, **shape, is_paired=is_paired)

    def taps(self, first: int, stop: int, *, bias: bool) -> PackedConv3d:
        """Some of its taps along time, where nothing is padded; for kernels that see time and space."""
        assert self.way == "whole"
        weight = self._weight.to_dense() if self._weight.is_mkldnn else self._weight
        kernel, padding = (stop - first, *self.kernel_size[1:]), (0, *self.padding[1:])
        shape = {"kernel": kernel, "stride": self.stride, "padding": padding}
        return PackedConv3d(weight[:, :, first:stop], self.bias if bias else None, **shape, is_paired=self.is_paired)

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
        if flat.dtype == torch.bfloat16:
            kernel = self._weight.shape[2:]
            if is_wrong_in_bf16(flat.shape[2:], kernel, tuple(stride), tuple(pads)):
                out: Tensor = unflattened(self._in_float32(flat, stride, pads), self.way, x_NCTHW)
                out = out if plus_NCTHW is None else out + plus_NCTHW
                return F.relu(out, inplace=True) if relu else out
        if not self._weight.is_mkldnn:
            self._weight = packed(self._weight, stride, pads, flat.shape)
        around = self._weight, self.bias, pads, stride, [1] * len(pads), 1
        operator = torch.ops.mkldnn._convolution_pointwise
        if plus_NCTHW is None:
            out = operator(flat, *around, "relu" if relu else "none", [], "")
        else:
            plus, *_ = flattened(plus_NCTHW, self.way, (1, 1, 1), (1, 1, 1), (0, 0, 0))
            out = operator.binary(flat, plus, *around, "add", 1.0, "relu" if relu else None, [], None)
        return unflattened(out, self.way, x_NCTHW)

    def _in_float32(self, flat: Tensor, stride: list[int], pads: list[int]) -> Tensor:
        weight = self._weight.to_dense() if self._weight.is_mkldnn else self._weight
        convolve = F.conv3d if weight.dim() == 5 else F.conv2d
        bias = None if self.bias is None else self.bias.float()
        return convolve(flat.float(), weight.float(), bias, stride, pads).bfloat16()


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
