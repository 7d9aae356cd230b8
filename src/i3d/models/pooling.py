"""Max pooling in channels-last memory, without the copies and the index tensor of PyTorch's own.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Pair = tuple[int, int]  # (before, after) along one side


def is_cpu_inference(x_NCTHW: Tensor) -> bool:
    """Whether an operation on this map needs neither a gradient nor a trace for a compiler, and runs on a CPU."""
    return x_NCTHW.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def max_pool_by_axis(x_NCTHW: Tensor, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[Pair]) -> Tensor:
    """Max pooling along H, then W, then T. `pads` along T, H and W are -infinity, as in PyTorch.

    For inference only: among equal values, frequent after a ReLU, its gradient would choose another one than PyTorch.
    """
    for side in (1, 2, 0):
        if (kernel[side], stride[side]) != (1, 1):
            x_NCTHW = max_pool_along(x_NCTHW, side + 2, kernel[side], stride[side], pads[side])
    return x_NCTHW


def max_pool_nonnegative_bf16(
    x_NCTHW: Tensor, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[Pair]
) -> Tensor:
    """`max_pool_by_axis` of bfloat16 maps without negative values and NaN, such as the output of a ReLU.

    The order of such values is that of their bits, and CPUs compare integers much faster than bfloat16.
    """
    return max_pool_by_axis(x_NCTHW.view(torch.int16), kernel, stride, pads).view(torch.bfloat16)


def max_pool_along(x: Tensor, dim: int, kernel: int, stride: int, pad: Pair) -> Tensor:
    """Max pooling of (N, C, T, H, W) along one dimension."""
    outputs = (x.shape[dim] + sum(pad) - kernel) // stride + 1
    n, c, *sides = (outputs if i == dim else length for i, length in enumerate(x.shape))
    out = x.new_empty(n, *sides, c).permute(0, 4, 1, 2, 3)

    def read_tap(tap: int) -> tuple[Tensor, slice]:
        """The values at one tap of all windows, and the outputs for which the tap lies inside the map."""
        first = -(-max(pad[0] - tap, 0) // stride)
        stop = max(min((x.shape[dim] - 1 + pad[0] - tap) // stride + 1, outputs), first)
        begin = first * stride + tap - pad[0]
        return slice_along(x, dim, slice(begin, begin + (stop - first) * stride, stride)), slice(first, stop)

    # The tap at `pad[0]` lies inside the map for every window. The first maximum is written with `out=`, which saves
    # filling the output; the windows that lack the second tap are copied.
    second_tap = 0 if pad[0] else kernel - 1
    center, _ = read_tap(pad[0])
    other, inside = read_tap(second_tap)
    torch.maximum(slice_along(center, dim, inside), other, out=slice_along(out, dim, inside))
    for outside in (slice(0, inside.start), slice(inside.stop, outputs)):
        if outside.start < outside.stop:
            slice_along(out, dim, outside).copy_(slice_along(center, dim, outside))
    for tap in set(range(kernel)) - {pad[0], second_tap}:
        other, inside = read_tap(tap)
        maxima = slice_along(out, dim, inside)
        torch.maximum(maxima, other, out=maxima)
    return out


def slice_along(x: Tensor, dim: int, part: slice) -> Tensor:
    """`x[part]` along a dimension other than the first."""
    return x[(slice(None),) * dim + (part,)]


class MaxPoolFramePairs(nn.Module):
    """`MaxPool3d((2, 1, 1))`: the maximum of each two frames; an odd last frame is dropped.

    Values and gradients are the same, without the copies that PyTorch makes of channels-last maps.
    """

    layer_kind = "max pool 2x1x1 / 2x1x1"  # for the table of layers

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x_NCTHW.requires_grad and not torch.compiler.is_compiling():
            maxima: Tensor = MaxPoolFramePairsFunction.apply(x_NCTHW)  # type: ignore[no-untyped-call]
            return maxima
        first_NCTHW, second_NCTHW = split_frame_pairs(x_NCTHW)
        if not torch.is_grad_enabled():
            return torch.maximum(first_NCTHW, second_NCTHW)
        return torch.where(takes_second(first_NCTHW, second_NCTHW), second_NCTHW, first_NCTHW)


class MaxPoolFramePairsFunction(torch.autograd.Function):
    """`MaxPoolFramePairs` with a backward pass that writes each gradient once. It has no second derivative."""

    @staticmethod
    def forward(ctx: Any, x_NCTHW: Tensor) -> Tensor:
        first_NCTHW, second_NCTHW = split_frame_pairs(x_NCTHW)
        ctx.save_for_backward(takes_second(first_NCTHW, second_NCTHW))
        ctx.num_frames = x_NCTHW.shape[2]
        return torch.maximum(first_NCTHW, second_NCTHW)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NCTHW: Tensor) -> Tensor:
        (takes_second_NCTHW,) = ctx.saved_tensors
        n, c, num_pairs, h, w = grad_NCTHW.shape
        x_grad_NCTHW = grad_NCTHW.new_empty(n, ctx.num_frames, h, w, c).permute(0, 4, 1, 2, 3)  # channels last
        first_grad_NCTHW, second_grad_NCTHW = split_frame_pairs(x_grad_NCTHW)
        zero = grad_NCTHW.new_zeros(())
        torch.where(takes_second_NCTHW, grad_NCTHW, zero, out=second_grad_NCTHW)
        torch.where(takes_second_NCTHW, zero, grad_NCTHW, out=first_grad_NCTHW)
        x_grad_NCTHW[:, :, 2 * num_pairs :] = 0  # an odd last frame
        return x_grad_NCTHW


def split_frame_pairs(x_NCTHW: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second frame of each pair; an odd last frame is dropped."""
    num_pairs = x_NCTHW.shape[2] // 2
    return x_NCTHW[:, :, 0 : 2 * num_pairs : 2], x_NCTHW[:, :, 1 : 2 * num_pairs : 2]


def takes_second(first_NCTHW: Tensor, second_NCTHW: Tensor) -> Tensor:
    """Where PyTorch's pooling takes the second value: it is larger, or NaN. Equal values give the first."""
    return (second_NCTHW > first_NCTHW) | second_NCTHW.isnan()
