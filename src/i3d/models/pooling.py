"""Max pooling with the channels last in memory, without the copies and indices of PyTorch's own.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Pair = tuple[int, int]


def is_at_rest(x_NCTHW: Tensor) -> bool:
    """Whether nobody learns from a map or sees through what is done with it, on a CPU."""
    return x_NCTHW.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def max_pooled(x_NCTHW: Tensor, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[Pair]) -> Tensor:
    """The maxima along one side after the other. `pads`: along T, H and W, what there is not, before and after.

    It has no gradient: of equal values, of which there are many after a ReLU, it would not be that of the pooling.
    """
    for side in (1, 2, 0):
        if (kernel[side], stride[side]) != (1, 1):
            x_NCTHW = max_along(x_NCTHW, side + 2, kernel[side], stride[side], pads[side])
    return x_NCTHW


def max_pooled_bits(x_NCTHW: Tensor, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[Pair]) -> Tensor:
    """The same of bfloat16 maps without negative values and NaN, as packed convolutions with a ReLU give them.

    Their bits are compared as whole numbers, which processors do much faster.
    """
    return max_pooled(x_NCTHW.view(torch.int16), kernel, stride, pads).view(torch.bfloat16)


def max_along(x: Tensor, dim: int, kernel: int, stride: int, pad: Pair) -> Tensor:
    """The maxima along one side of (N, C, T, H, W)."""
    outputs = (x.shape[dim] + sum(pad) - kernel) // stride + 1
    n, c, *sides = (outputs if i == dim else length for i, length in enumerate(x.shape))
    out = x.new_empty(n, *sides, c).permute(0, 4, 1, 2, 3)

    def seen_by(tap: int) -> tuple[Tensor, slice]:
        """What a tap of the windows sees, and the outputs whose window has something there."""
        first = -(-max(pad[0] - tap, 0) // stride)
        stop = max(min((x.shape[dim] - 1 + pad[0] - tap) // stride + 1, outputs), first)
        begin = first * stride + tap - pad[0]
        return part_of(x, dim, slice(begin, begin + (stop - first) * stride, stride)), slice(first, stop)

    middle, _ = seen_by(pad[0])  # which all windows have
    other, seeing = seen_by(0 if pad[0] else kernel - 1)
    torch.maximum(part_of(middle, dim, seeing), other, out=part_of(out, dim, seeing))
    for rest in (slice(0, seeing.start), slice(seeing.stop, outputs)):
        if rest.start < rest.stop:
            part_of(out, dim, rest).copy_(part_of(middle, dim, rest))
    for tap in set(range(kernel)) - {pad[0], 0 if pad[0] else kernel - 1}:
        other, seeing = seen_by(tap)
        part = part_of(out, dim, seeing)
        torch.maximum(part, other, out=part)
    return out


def part_of(x: Tensor, dim: int, part: slice) -> Tensor:
    """A part along one side."""
    return x[(slice(None),) * dim + (part,)]


class MaxOfPairs(nn.Module):
    """`MaxPool3d((2, 1, 1))`: the larger of each two frames, the first if they are equal, without a last odd one.

    The same numbers and gradients, without the copies that PyTorch makes of maps with the channels last.
    """

    layer_kind = "max pool 2x1x1 / 2x1x1"  # for the table of layers

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x_NCTHW.requires_grad and not torch.compiler.is_compiling():
            larger: Tensor = LargerOfPairs.apply(x_NCTHW)  # type: ignore[no-untyped-call]
            return larger
        one_NCTHW, two_NCTHW = pairs_of(x_NCTHW)
        if not torch.is_grad_enabled():
            return torch.maximum(one_NCTHW, two_NCTHW)
        return torch.where(is_second(one_NCTHW, two_NCTHW), two_NCTHW, one_NCTHW)


class LargerOfPairs(torch.autograd.Function):
    """The larger of each two frames, whose gradient is written once, where it belongs; it has no second one."""

    @staticmethod
    def forward(ctx: Any, x_NCTHW: Tensor) -> Tensor:
        one_NCTHW, two_NCTHW = pairs_of(x_NCTHW)
        ctx.save_for_backward(is_second(one_NCTHW, two_NCTHW))
        ctx.num_frames = x_NCTHW.shape[2]
        return torch.maximum(one_NCTHW, two_NCTHW)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NCTHW: Tensor) -> Tensor:
        (is_two_NCTHW,) = ctx.saved_tensors
        n, c, num_pairs, h, w = grad_NCTHW.shape
        of_x_NCTHW = grad_NCTHW.new_empty(n, ctx.num_frames, h, w, c).permute(0, 4, 1, 2, 3)  # channels last
        of_one_NCTHW, of_two_NCTHW = pairs_of(of_x_NCTHW)
        nothing = grad_NCTHW.new_zeros(())
        torch.where(is_two_NCTHW, grad_NCTHW, nothing, out=of_two_NCTHW)
        torch.where(is_two_NCTHW, nothing, grad_NCTHW, out=of_one_NCTHW)
        of_x_NCTHW[:, :, 2 * num_pairs :] = 0  # the last odd frame
        return of_x_NCTHW


def pairs_of(x_NCTHW: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second of each two frames, without a last odd one."""
    num_pairs = x_NCTHW.shape[2] // 2
    return x_NCTHW[:, :, 0 : 2 * num_pairs : 2], x_NCTHW[:, :, 1 : 2 * num_pairs : 2]


def is_second(one_NCTHW: Tensor, two_NCTHW: Tensor) -> Tensor:
    """Where a pooling takes the second: it is larger, or NaN."""
    return (two_NCTHW > one_NCTHW) | two_NCTHW.isnan()
