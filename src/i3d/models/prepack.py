"""Convolutions for inference: batch norms folded, and on CPUs weights in oneDNN's own layout.

A prepacked convolution adds a residual and applies a ReLU in the same call. The operators are those that PyTorch's
compiler generates for CPUs.

Letters in names: N clips, C channels, T frames, H rows, W columns, K output channels.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from i3d.models.conv import (
    ONEDNN_HAS_BF16,
    Conv3d,
    Triple,
    can_use_onednn,
    choose_lowering,
    is_wrong_in_bf16,
    lower_input,
    lower_weight,
    restore_output,
)


@torch.no_grad()
def fold_norms(net: nn.Module) -> int:
    """Fold every batch norm that follows a convolution in its module into it, in place; how many were folded.

    The network must be in eval mode, else that is a ValueError.
    """
    num_folded = 0
    for parent in list(net.modules()):
        for (_, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
                if conv.training or norm.training:
                    raise ValueError("batch norms are folded in eval mode only: call .eval() first")
                assert norm.running_mean is not None
                assert norm.running_var is not None
                conv.weight, conv.bias = fuse_conv_bn_weights(  # `fuse_conv_bn_eval` copies the module first
                    conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                )
                setattr(parent, norm_name, nn.Identity())
                num_folded += 1
    return num_folded


def prepack(net: nn.Module) -> None:
    """Prepack every `Conv3d` of a folded network, in place, if this PyTorch has oneDNN's fused operators.

    Modules with an attribute `is_prepacked` get it set to True.
    """
    if not can_use_onednn() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv3d):
                setattr(parent, name, PrepackedConv3d.from_conv(child))
            elif hasattr(child, "is_prepacked"):
                child.is_prepacked = True  # type: ignore[assignment]


def conv_bn_act(
    conv: nn.Module,
    norm: nn.Module,
    x_NCTHW: Tensor,
    *,
    residual_NCTHW: Tensor | None = None,
    relu: bool = True,
) -> Tensor:
    """Convolution, batch norm, sum with a residual, ReLU: one operator if the convolution is prepacked.

    `residual_NCTHW` has the shape of the output.
    """
    if isinstance(conv, PrepackedConv3d):
        return conv(x_NCTHW, residual_NCTHW=residual_NCTHW, relu=relu)  # type: ignore[no-any-return]
    out_NCTHW: Tensor = norm(conv(x_NCTHW))
    if residual_NCTHW is not None:
        out_NCTHW = out_NCTHW + residual_NCTHW
    return F.relu(out_NCTHW, inplace=True) if relu else out_NCTHW


def slice_taps(conv: nn.Module, norm: nn.Module, first: int, stop: int, *, bias: bool) -> nn.Module:
    """An inference convolution with the temporal taps first..stop of another, its norm folded, unpadded in time.

    The slices of a convolution sum up to it if one of them has the bias.
    """
    if isinstance(conv, PrepackedConv3d):
        return conv.slice_taps(first, stop, bias=bias)
    assert isinstance(conv, Conv3d)
    if isinstance(norm, nn.BatchNorm3d):
        conv = fuse_conv_bn_eval(conv, norm)
    sliced = copy.deepcopy(conv)
    sliced.kernel_size = (stop - first, *conv.kernel_size[1:])
    sliced.padding = (0, *conv.padding[1:])
    sliced.weight = nn.Parameter(conv.weight.detach()[:, :, first:stop].clone(), requires_grad=False)
    sliced.bias = conv.bias if bias else None
    return sliced


class PrepackedConv3d(nn.Module):
    """A convolution for CPU inference, with its weight in oneDNN's layout, a fused residual and a fused ReLU.

    The layout is chosen for the first input. Inputs of other shapes give the same function, possibly slower.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        *,
        kernel: Triple,
        stride: Triple,
        padding: Triple,
        pairs_columns: bool,
    ) -> None:
        super().__init__()
        self.bias, self.kernel_size, self.stride, self.padding = bias, kernel, stride, padding
        self.pairs_columns = pairs_columns
        self.lowering = "none" if pairs_columns else choose_lowering(kernel, stride, padding)
        self.packed_weight = lower_weight(weight, self.lowering)

    @classmethod
    def from_conv(cls, conv: Conv3d) -> Self:
        """Prepack a convolution."""
        assert not isinstance(conv.padding, str)
        weight = conv.weight.detach()
        # Bfloat16 instructions multiply channels in pairs: three channels of RGB cost as much as four. Two columns of
        # three channels make six channels, of which none is wasted.
        pairs_columns = weight.dtype == torch.bfloat16 and weight.shape[1] % 2 == 1 and conv.stride[2] == 2
        if pairs_columns:
            weight = pair_weight_columns(weight, conv.padding[2])
        geometry = {"kernel": conv.kernel_size, "stride": conv.stride, "padding": conv.padding}
        return cls(weight, conv.bias, **geometry, pairs_columns=pairs_columns)

    def slice_taps(self, first: int, stop: int, *, bias: bool) -> "PrepackedConv3d":
        """The convolution of the temporal taps first..stop, unpadded in time. The kernel must not be lowered."""
        assert self.lowering == "none"
        weight = self.packed_weight.to_dense() if self.packed_weight.is_mkldnn else self.packed_weight
        return PrepackedConv3d(
            weight[:, :, first:stop],
            self.bias if bias else None,
            kernel=(stop - first, *self.kernel_size[1:]),
            stride=self.stride,
            padding=(0, *self.padding[1:]),
            pairs_columns=self.pairs_columns,
        )

    def forward(self, x_NCTHW: Tensor, *, residual_NCTHW: Tensor | None = None, relu: bool = False) -> Tensor:
        """`residual_NCTHW`, of the shape of the output, is added before the ReLU."""
        flat, stride, pads = lower_input(x_NCTHW, self.lowering, self.kernel_size, self.stride, self.padding)
        if self.pairs_columns:
            flat = pair_columns(flat, self.kernel_size[2], pads[2])
            stride, pads = [*stride[:2], 1], [*pads[:2], 0]
        kernel = tuple(self.packed_weight.shape[2:])
        if flat.dtype == torch.bfloat16 and (
            not ONEDNN_HAS_BF16 or is_wrong_in_bf16(flat.shape[2:], kernel, tuple(stride), tuple(pads))
        ):
            out: Tensor = restore_output(self._convolve_in_fp32(flat, stride, pads), self.lowering, x_NCTHW)
            out = out if residual_NCTHW is None else out + residual_NCTHW
            return F.relu(out, inplace=True) if relu else out
        if not self.packed_weight.is_mkldnn:
            self.packed_weight = reorder_weight(self.packed_weight, stride, pads, flat.shape)
        arguments = self.packed_weight, self.bias, pads, stride, [1] * len(pads), 1
        operator = torch.ops.mkldnn._convolution_pointwise
        if residual_NCTHW is None:
            out = operator(flat, *arguments, "relu" if relu else "none", [], "")
        else:
            residual, *_ = lower_input(residual_NCTHW, self.lowering, (1, 1, 1), (1, 1, 1), (0, 0, 0))
            out = operator.binary(flat, residual, *arguments, "add", 1.0, "relu" if relu else None, [], None)
        return restore_output(out, self.lowering, x_NCTHW)

    def _convolve_in_fp32(self, flat: Tensor, stride: list[int], pads: list[int]) -> Tensor:
        weight = self.packed_weight.to_dense() if self.packed_weight.is_mkldnn else self.packed_weight
        convolve = F.conv3d if weight.dim() == 5 else F.conv2d
        bias = None if self.bias is None else self.bias.float()
        return convolve(flat.float(), weight.float(), bias, stride, pads).bfloat16()


def reorder_weight(weight: Tensor, stride: list[int], padding: list[int], shape: Sequence[int]) -> Tensor:
    """A weight in the layout that oneDNN prefers for an input of this shape."""
    operators: Any = torch._C._nn  # its type stubs lack the last two arguments
    reorder = operators.mkldnn_reorder_conv3d_weight if weight.dim() == 5 else operators.mkldnn_reorder_conv2d_weight
    reordered: Tensor = reorder(weight.to_mkldnn(), padding, stride, [1] * len(padding), 1, list(shape))
    return reordered


def pair_columns(x_NCTHW: Tensor, kernel: int, padding: int) -> Tensor:
    """Zero-padded columns, two by two along the channels: (N, 2 C, T, H, about W / 2).

    A convolution of stride 2 along W becomes one of stride 1. In channels-last memory the pairs are contiguous already.
    """
    width = x_NCTHW.shape[4]
    num_pairs = (width + 2 * padding - kernel) // 2 + num_pair_taps(kernel, padding)
    before = padding + padding % 2
    x_NCTHW = F.pad(x_NCTHW, (before, 2 * num_pairs - width - before))
    x_NTHWC = x_NCTHW.permute(0, 2, 3, 4, 1).contiguous()
    return x_NTHWC.reshape(*x_NTHWC.shape[:3], num_pairs, -1).permute(0, 4, 1, 2, 3)


def pair_weight_columns(weight: Tensor, padding: int) -> Tensor:
    """The kernel for `pair_columns`: (K, C, T, H, W) -> (K, 2 C, T, H, pairs)."""
    kernel, before = weight.shape[4], padding % 2
    num_pairs = num_pair_taps(kernel, padding)
    padded = F.pad(weight, (before, 2 * num_pairs - kernel - before))
    paired = padded.reshape(*padded.shape[:4], num_pairs, 2)
    return paired.permute(0, 5, 1, 2, 3, 4).flatten(1, 2).contiguous()


def num_pair_taps(kernel: int, padding: int) -> int:
    """How many pairs of columns a kernel covers."""
    return (kernel + padding % 2 + 1) // 2
