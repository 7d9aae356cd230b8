"""A 3D convolution that runs as a 2D one where its kernel allows it: the same numbers, faster on CPUs.

A (1, k, k) kernel works on each frame alone: it is a 2D convolution of N * T images. A (k, 1, 1) kernel of spatial
stride 1 works on each pixel alone: it is a (k, 1) convolution of the (T, H * W) plane. In channels-last memory both
are views, without a copy. In bfloat16 a 2D convolution also avoids a oneDNN fault (`Bf16ConvFp32WeightGradient`).

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i3d.utils.device import has_amx, has_bf16

# oneDNN's bfloat16 weight gradients are wrong on CPUs with AMX. They were measured to be right on CPUs with
# AVX512-BF16 alone. Other CPUs were not measured.
HAS_AMX: Final = has_amx()
TRUST_BF16_GRADIENT: Final = has_bf16() and not HAS_AMX
# Whether oneDNN has operators in bfloat16 on this CPU: not without AVX512 or AVX-NE-CONVERT. PyTorch's own are slow.
ONEDNN_HAS_BF16: Final = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

Triple = tuple[int, ...]  # along T, H and W; the type that `nn.Conv3d` declares for its kernel, stride and padding
Lowering = Literal["per_frame", "per_pixel", "none"]


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d` with the same state-dict keys and the same function; lowered to 2D on CPUs."""

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        kernel, stride, pads = self.kernel_size, self.stride, self.padding
        plain = self.groups == 1 and self.padding_mode == "zeros" and set(self.dilation) == {1}
        if not plain or isinstance(pads, str):
            raise NotImplementedError("Conv3d: supports one group, no dilation and zero padding only")
        if x_NCTHW.device.type != "cpu" or torch.compiler.is_exporting():
            return F.conv3d(x_NCTHW, self.weight, self.bias, stride, pads)
        if torch.is_grad_enabled() and self.weight.requires_grad:
            x_NCTHW, pads = pad_small_map(x_NCTHW, kernel, pads)
        lowering = choose_lowering(kernel, stride, pads)
        is_bf16 = x_NCTHW.dtype == torch.bfloat16 or is_bf16_autocast()
        if is_bf16 and (not ONEDNN_HAS_BF16 or is_wrong_in_bf16(x_NCTHW.shape[2:], kernel, stride, pads)):
            with torch.autocast("cpu", enabled=False):
                bias = None if self.bias is None else self.bias.float()
                return F.conv3d(x_NCTHW.float(), self.weight.float(), bias, stride, pads).bfloat16()
        if lowering != "none":
            flat, flat_stride, flat_pads = lower_input(x_NCTHW, lowering, kernel, stride, pads)
            flat_out = F.conv2d(flat, lower_weight(self.weight, lowering), self.bias, flat_stride, flat_pads)
            return restore_output(flat_out, lowering, x_NCTHW)
        if x_NCTHW.dtype == torch.float32 == self.weight.dtype and can_use_onednn():
            # For one small clip `F.conv3d` skips oneDNN and takes up to 15 times as long (16 channels).
            return torch.mkldnn_convolution(x_NCTHW, self.weight, self.bias, pads, stride, self.dilation, 1)
        if torch.is_grad_enabled() and self.weight.requires_grad and is_bf16_autocast() and not TRUST_BF16_GRADIENT:
            out: Tensor = Bf16ConvFp32WeightGradient.apply(x_NCTHW, self.weight, stride, pads)  # type: ignore[no-untyped-call]
            return out if self.bias is None else out + self.bias[:, None, None, None].bfloat16()
        return F.conv3d(x_NCTHW, self.weight, self.bias, stride, pads)


def pad_small_map(x_NCTHW: Tensor, kernel: Triple, padding: Triple) -> tuple[Tensor, Triple]:
    """Pad a map that is no larger than the kernel along some side; (the map, the padding that is left to do).

    If oneDNN pads such a map itself, its weight gradient can be wrong and can overwrite other memory: in bfloat16, and
    for 7x7x7 kernels also in float32 (PyTorch 2.13; `tests/test_conv.py` covers many shapes).
    """
    if not any(n <= k and p for n, k, p in zip(x_NCTHW.shape[2:], kernel, padding, strict=True)):
        return x_NCTHW, padding
    t, h, w = padding
    return F.pad(x_NCTHW, (w, w, h, h, t, t)), (0, 0, 0)


def is_wrong_in_bf16(sides: Sequence[int], kernel: Triple, stride: Triple, padding: Triple) -> bool:
    """Whether oneDNN may return uninitialized memory for a bfloat16 convolution on this CPU.

    On CPUs with AMX it does for some outputs of one row, column or frame (PyTorch 2.13: a column of 5 rows from a 3x3
    kernel of stride 2; one frame from 3x3x3 kernels). These small convolutions are computed in float32 instead.
    """
    outputs = ((n + 2 * p - k) // s for n, k, s, p in zip(sides, kernel, stride, padding, strict=True))
    return HAS_AMX and any(last == 0 and k > 1 for last, k in zip(outputs, kernel, strict=True))


def choose_lowering(kernel: Triple, stride: Triple, padding: Triple) -> Lowering:
    """How a 3D convolution can run as a 2D one."""
    if kernel[0] == 1 and padding[0] == 0 and (kernel[1:] != (1, 1) or padding[1:] == (0, 0)):
        return "per_frame"
    if kernel[1:] == (1, 1) and padding[1:] == (0, 0) and stride[1:] == (1, 1):
        return "per_pixel"
    return "none"


def lower_input(
    x_NCTHW: Tensor, lowering: Lowering, kernel: Triple, stride: Triple, padding: Triple
) -> tuple[Tensor, list[int], list[int]]:
    """The input of the lowered convolution with its stride and padding.

    Per frame it is (N * T, C, H, W), per pixel (N, C, T, H * W). A (1, 1, 1) kernel of a larger stride is lowered to
    stride 1 on the positions that it reads: oneDNN's backward pass of a strided 1x1 convolution crashes for few
    channels (PyTorch 2.13, 8 -> 16 channels at 56x56).
    """
    if lowering == "none":
        return x_NCTHW, list(stride), list(padding)
    if lowering == "per_pixel":
        return x_NCTHW.flatten(3), [stride[0], 1], [padding[0], 0]
    x_NCTHW, stride_HW = x_NCTHW[:, :, :: stride[0]], list(stride[1:])
    if kernel == (1, 1, 1):
        x_NCTHW, stride_HW = x_NCTHW[..., :: stride_HW[0], :: stride_HW[1]], [1, 1]
    return x_NCTHW.transpose(1, 2).flatten(0, 1), stride_HW, list(padding[1:])


def lower_weight(weight: Tensor, lowering: Lowering) -> Tensor:
    """The kernel of the lowered convolution: (K, C, h, w) per frame, (K, C, t, 1) per pixel."""
    return weight if lowering == "none" else weight.squeeze(2 if lowering == "per_frame" else 4)


def restore_output(out: Tensor, lowering: Lowering, x_NCTHW: Tensor) -> Tensor:
    """The output of the lowered convolution of x, as (N, C', T', H', W')."""
    if lowering == "none":
        return out
    if lowering == "per_pixel":
        return out.reshape(*out.shape[:3], *x_NCTHW.shape[3:])
    return out.reshape(len(x_NCTHW), -1, *out.shape[1:]).transpose(1, 2)


def can_use_onednn() -> bool:
    """Whether oneDNN is enabled, and neither a compiler nor autocast has to trace the call."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    onednn = torch.backends.mkldnn
    return bool(onednn.is_available()) and bool(onednn.enabled)  # type: ignore[no-untyped-call]


class Bf16ConvFp32WeightGradient(torch.autograd.Function):
    """A 3D convolution in bfloat16 whose weight gradient is computed in float32.

    On CPUs with AMX, oneDNN's bfloat16 weight gradient is wrong for some shapes, and differs from call to call
    (PyTorch 2.13: 256 -> 512 channels, 1x1x1 of stride 2).
    """

    @staticmethod
    def forward(ctx: Any, x_NCTHW: Tensor, weight: Tensor, stride: Triple, padding: Triple) -> Tensor:
        x_bf16_NCTHW = x_NCTHW.bfloat16()
        ctx.save_for_backward(x_bf16_NCTHW, weight)
        ctx.stride, ctx.padding, ctx.dtype = stride, padding, x_NCTHW.dtype
        return F.conv3d(x_bf16_NCTHW, weight.bfloat16(), None, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad_NCTHW: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x_NCTHW, weight = ctx.saved_tensors
        convolution = (None, ctx.stride, ctx.padding, (1, 1, 1), False, (0, 0, 0), 1)
        backward = torch.ops.aten.convolution_backward
        x_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = backward(grad_NCTHW, x_NCTHW, weight.bfloat16(), *convolution, [True, False, False])[0]
            x_grad = x_grad.to(ctx.dtype)
        if ctx.needs_input_grad[1]:
            weight_grad = backward(grad_NCTHW.float(), x_NCTHW.float(), weight, *convolution, [False, True, False])[1]
        return x_grad, weight_grad, None, None


def is_bf16_autocast() -> bool:
    """Whether CPU operations are cast to bfloat16 now."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
