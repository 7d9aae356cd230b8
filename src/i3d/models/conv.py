"""3D convolutions that run as 2D ones where their kernels allow it: the same numbers, faster on CPUs.

A (1, k, k) kernel sees one frame at a time: it is a 2D convolution of N * T images. A (k, 1, 1) kernel of stride 1 in
space sees one place at a time: it is a (k, 1) convolution of the (T, H * W) plane. With the channels last in memory
both are views, without a copy. In bfloat16 they also go around a fault of oneDNN on CPUs with AMX (`LearningInBf16`).

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i3d.utils.device import has_amx, has_bf16

HAS_AMX: Final = has_amx()
IS_CHECKED: Final = has_bf16() and not HAS_AMX  # this processor's weight gradients in bfloat16
Triple = tuple[int, ...]  # along T, H and W; PyTorch's own layers promise no more about theirs
Way = Literal["frames", "places", "whole"]


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` with the same entries and the same function; lowered on CPUs."""

    def forward(self, x_NCTHW: Tensor, *, padding: Triple | None = None) -> Tensor:
        """`padding`: another than that of the layer."""
        kernel, stride, pads = self.kernel_size, self.stride, padding or self.padding
        plain = self.groups == 1 and self.padding_mode == "zeros" and set(self.dilation) == {1}
        if not plain or isinstance(pads, str):
            raise NotImplementedError("convolutions of one group, without dilation, with zeros for padding")
        if x_NCTHW.device.type != "cpu" or torch.compiler.is_exporting():
            return F.conv3d(x_NCTHW, self.weight, self.bias, stride, pads)
        if torch.is_grad_enabled() and self.weight.requires_grad:
            x_NCTHW, pads = padded_where_small(x_NCTHW, kernel, pads)
        way = way_of(kernel, stride, pads)
        if is_wrong_in_bf16(x_NCTHW.shape[2:], kernel, stride, pads) and (
            x_NCTHW.dtype == torch.bfloat16 or is_bf16_autocast()
        ):
            with torch.autocast("cpu", enabled=False):
                bias = None if self.bias is None else self.bias.float()
                return F.conv3d(x_NCTHW.float(), self.weight.float(), bias, stride, pads).bfloat16()
        if way != "whole":
            flat, flat_stride, flat_pads = flattened(x_NCTHW, way, kernel, stride, pads)
            flat_out = F.conv2d(flat, flat_weight(self.weight, way), self.bias, flat_stride, flat_pads)
            return unflattened(flat_out, way, x_NCTHW)
        if x_NCTHW.dtype == torch.float32 == self.weight.dtype and may_call_onednn():
            # PyTorch itself takes a slow path of its own for one small clip (up to 15 times as long, 16 channels).
            return torch.mkldnn_convolution(x_NCTHW, self.weight, self.bias, pads, stride, self.dilation, 1)
        if torch.is_grad_enabled() and self.weight.requires_grad and is_bf16_autocast() and not IS_CHECKED:
            out: Tensor = LearningInBf16.apply(x_NCTHW, self.weight, stride, pads)  # type: ignore[no-untyped-call]
            return out if self.bias is None else out + self.bias[:, None, None, None].bfloat16()
        return F.conv3d(x_NCTHW, self.weight, self.bias, stride, pads)


def padded_where_small(x_NCTHW: Tensor, kernel: Triple, padding: Triple) -> tuple[Tensor, Triple]:
    """A map that is no larger than the kernel along some side, with its zeros; and the padding that is left to do.

    Where oneDNN pads such maps itself its weight gradient may be wrong, and write over its neighbours in memory: in
    bfloat16 and, of 7x7x7 kernels, in float32 (PyTorch 2.13; `tests/test_conv.py` looks at many others).
    """
    if not any(n <= k and p for n, k, p in zip(x_NCTHW.shape[2:], kernel, padding, strict=True)):
        return x_NCTHW, padding
    t, h, w = padding
    return F.pad(x_NCTHW, (w, w, h, h, t, t)), (0, 0, 0)


def is_wrong_in_bf16(sides: Sequence[int], kernel: Triple, stride: Triple, padding: Triple) -> bool:
    """Whether oneDNN on this processor may return memory that nobody wrote, for a convolution in bfloat16.

    On processors with AMX it does for some outputs of one row, column or frame (PyTorch 2.13: a column of 5 rows from a
    3x3 kernel of stride 2; one frame from 3x3x3 kernels). All of them are computed in float32 instead: they are small.
    """
    outputs = ((n + 2 * p - k) // s for n, k, s, p in zip(sides, kernel, stride, padding, strict=True))
    return HAS_AMX and any(last == 0 and k > 1 for last, k in zip(outputs, kernel, strict=True))


def way_of(kernel: Triple, stride: Triple, padding: Triple) -> Way:
    """Whether a convolution sees frames by themselves, places by themselves, or neither."""
    if kernel[0] == 1 and padding[0] == 0 and (kernel[1:] != (1, 1) or padding[1:] == (0, 0)):
        return "frames"
    if kernel[1:] == (1, 1) and padding[1:] == (0, 0) and stride[1:] == (1, 1):
        return "places"
    return "whole"


def flattened(
    x_NCTHW: Tensor, way: Way, kernel: Triple, stride: Triple, padding: Triple
) -> tuple[Tensor, list[int], list[int]]:
    """What the convolution sees, with its stride and padding there: frames (N * T, C, H, W) or planes (N, C, T, H * W).

    What a (1, 1, 1) kernel strides over it never sees, so that is left out beforehand: the backward pass of
    oneDNN's strided 1x1 convolution crashes for few channels (PyTorch 2.13, 8 -> 16 at 56x56).
    """
    if way == "whole":
        return x_NCTHW, list(stride), list(padding)
    if way == "places":
        return x_NCTHW.flatten(3), [stride[0], 1], [padding[0], 0]
    x_NCTHW, stride_HW = x_NCTHW[:, :, :: stride[0]], list(stride[1:])
    if kernel == (1, 1, 1):
        x_NCTHW, stride_HW = x_NCTHW[..., :: stride_HW[0], :: stride_HW[1]], [1, 1]
    return x_NCTHW.transpose(1, 2).flatten(0, 1), stride_HW, list(padding[1:])


def flat_weight(weight: Tensor, way: Way) -> Tensor:
    """The kernels of such a convolution."""
    return weight if way == "whole" else weight.squeeze(2 if way == "frames" else 4)


def unflattened(out: Tensor, way: Way, x_NCTHW: Tensor) -> Tensor:
    """(N, C', T', H', W') of what such a convolution gave for x."""
    if way == "whole":
        return out
    if way == "places":
        return out.reshape(*out.shape[:3], *x_NCTHW.shape[3:])
    return out.reshape(len(x_NCTHW), -1, *out.shape[1:]).transpose(1, 2)


def may_call_onednn() -> bool:
    """Whether oneDNN is there and wanted, and nobody is to see through the call: no compiler, no autocast."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    onednn = torch.backends.mkldnn
    return bool(onednn.is_available()) and bool(onednn.enabled)  # type: ignore[no-untyped-call]


class LearningInBf16(torch.autograd.Function):
    """A 3D convolution in bfloat16 whose weight gradient is computed in float32.

    On CPUs with AMX that of oneDNN in bfloat16 is wrong, and another each time, for some (PyTorch 2.13: 256 -> 512
    channels, 1x1x1 of stride 2). On those with AVX512-BF16 alone it was looked at and is right; others are not trusted.
    """

    @staticmethod
    def forward(ctx: Any, x_NCTHW: Tensor, weight: Tensor, stride: Triple, padding: Triple) -> Tensor:
        rough_NCTHW = x_NCTHW.bfloat16()
        ctx.save_for_backward(rough_NCTHW, weight)
        ctx.stride, ctx.padding, ctx.dtype = stride, padding, x_NCTHW.dtype
        return F.conv3d(rough_NCTHW, weight.bfloat16(), None, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad_NCTHW: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x_NCTHW, weight = ctx.saved_tensors
        like = (None, ctx.stride, ctx.padding, (1, 1, 1), False, (0, 0, 0), 1)
        backward = torch.ops.aten.convolution_backward
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = backward(grad_NCTHW, x_NCTHW, weight.bfloat16(), *like, [True, False, False])[0].to(ctx.dtype)
        if ctx.needs_input_grad[1]:
            of_weight = backward(grad_NCTHW.float(), x_NCTHW.float(), weight, *like, [False, True, False])[1]
        return of_x, of_weight, None, None


def is_bf16_autocast() -> bool:
    """Whether operations on CPUs are cast to bfloat16 now."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
