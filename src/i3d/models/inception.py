"""Inception-I3D: BN-Inception v1 with filters inflated to 3D (Carreira & Zisserman 2017, arXiv:1705.07750).

The function is that of DeepMind's kinetics-i3d (TensorFlow, `SAME` padding). The state-dict keys are those of
pytorch-i3d, the most used port, so that its files load unchanged.

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i3d.models.conv import Conv3d, Triple
from i3d.models.network import VideoNetwork
from i3d.models.pooling import Pair, is_cpu_inference, max_pool_by_axis, max_pool_nonnegative_bf16
from i3d.models.prepack import conv_bn_act
from i3d.recipes.settings import InceptionSettings

NUM_FEATURES: Final = 1024
HEAD_POOL_THW: Final = (2, 7, 7)
MIN_FRAMES: Final = 9  # halved three times, rounding up, it leaves the 2 frames that the head pools
MIN_SIDE: Final = 193  # halved five times, rounding up, it leaves the 7 pixels that the head pools


class ReceptiveField(NamedTuple):
    """The extent of a layer in time: input positions for one output, and input positions between two outputs."""

    kernel: int
    stride: int


def same_padding(size: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's `SAME` padding (before, after); an odd total pads more after. 224, kernel 7, stride 2 -> (2, 3).

    It gives ceil(size / stride) outputs. PyTorch's own padding is symmetric and differs for even sizes and stride 2.
    A size that an export leaves open gives padding that the exported graph computes.
    """
    total = max(-size % stride + kernel - stride, 0)
    return total // 2, total - total // 2


def full_precision(device: str) -> AbstractContextManager[None]:
    """Disable autocast, on devices that have it."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


class Unit3D(nn.Module):
    """Convolution, batch norm and ReLU, padded as TensorFlow's `SAME`."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.receptive_field_T = ReceptiveField(kernel, stride)
        # With stride 1 and an odd kernel `SAME` is symmetric: the convolution pads, without a copy of its input.
        padding = (kernel - 1) // 2 if stride == 1 else 0
        self.conv3d = Conv3d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, momentum=0.001)

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        if self.stride > 1:
            t, h, w = (same_padding(n, kernel=self.kernel, stride=self.stride) for n in x_NCTHW.shape[2:])
            x_NCTHW = F.pad(x_NCTHW, (*w, *h, *t))
        return conv_bn_act(self.conv3d, self.bn, x_NCTHW)


class MaxPool3dSame(nn.Module):
    """Max pooling with TensorFlow's `SAME` padding, which counts as -infinity, without a copy of its input.

    PyTorch's padding is symmetric. Where `SAME` pads one more at the end, `ceil_mode` lets the last window extend
    beyond the edge instead.
    """

    def __init__(self, *, kernel_THW: Triple, stride_THW: Triple) -> None:
        super().__init__()
        self.kernel_THW, self.stride_THW = kernel_THW, stride_THW
        self.receptive_field_T = ReceptiveField(kernel_THW[0], stride_THW[0])
        kernel, stride = ("x".join(map(str, sizes)) for sizes in (kernel_THW, stride_THW))
        self.layer_kind = f"max pool {kernel} / {stride}"  # for the table of layers
        self.is_prepacked = False  # set by `prepack`: the input is then the output of a ReLU

    def forward(self, x_NCTHW: Tensor, *, pad_T: Pair | None = None) -> Tensor:
        """`pad_T`: padding (before, after) in time instead of `SAME`."""
        sides = zip(x_NCTHW.shape[2:], self.kernel_THW, self.stride_THW, strict=True)
        pads_THW = [same_padding(n, kernel=k, stride=s) for n, k, s in sides]
        if pad_T is not None:
            pads_THW[0] = pad_T
        if is_cpu_inference(x_NCTHW) and self.is_prepacked and x_NCTHW.dtype == torch.bfloat16:
            return max_pool_nonnegative_bf16(x_NCTHW, self.kernel_THW, self.stride_THW, pads_THW)
        if is_cpu_inference(x_NCTHW) and self.kernel_THW[0] > 1:
            return max_pool_by_axis(x_NCTHW, self.kernel_THW, self.stride_THW, pads_THW)
        if torch.compiler.is_exporting():
            # `ceil_mode` and padding as an attribute are for one T. The input is the output of a ReLU: 0 pads as well.
            x_NCTHW = F.pad(x_NCTHW, [pad for side in reversed(pads_THW) for pad in side])
            return F.max_pool3d(x_NCTHW, self.kernel_THW, self.stride_THW)
        before_THW = [before for before, _ in pads_THW]
        if pad_T is not None:
            x_NCTHW = F.pad(x_NCTHW, (0, 0, 0, 0, *pad_T), value=-math.inf) if any(pad_T) else x_NCTHW
            before_THW[0] = 0
        return F.max_pool3d(x_NCTHW, self.kernel_THW, self.stride_THW, padding=before_THW, ceil_mode=True)


class Mixed(nn.Module):
    """Inception module: 1x1x1 | 1x1x1, 3x3x3 | 1x1x1, 3x3x3 | pool, 1x1x1, concatenated along the channels.

    `widths`: output channels of b0, b1a, b1b, b2a, b2b, b3b.
    """

    receptive_field_T = ReceptiveField(3, 1)

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = Unit3D(in_channels, widths[0])
        self.b1a = Unit3D(in_channels, widths[1])
        self.b1b = Unit3D(widths[1], widths[2], kernel=3)
        self.b2a = Unit3D(in_channels, widths[3])
        self.b2b = Unit3D(widths[3], widths[4], kernel=3)
        self.b3a = MaxPool3dSame(kernel_THW=(3, 3, 3), stride_THW=(1, 1, 1))
        self.b3b = Unit3D(in_channels, widths[5])

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        branches = [
            self.b0(x_NCTHW),
            self.b1b(self.b1a(x_NCTHW)),
            self.b2b(self.b2a(x_NCTHW)),
            self.b3b(self.b3a(x_NCTHW)),
        ]
        return torch.cat(branches, dim=1)


class InceptionI3D(VideoNetwork):
    """Float clips (N, C, T, H, W) in, logits (N, num_classes) out, averaged over time and space.

    The published networks take RGB (3 channels) or optical flow (2), both scaled to [-1, 1], at 224 x 224. T may be
    9 or more, H and W 193 or more; a smaller clip is a ValueError.
    """

    endpoints = (
        "Conv3d_1a_7x7",
        "MaxPool3d_2a_3x3",
        "Conv3d_2b_1x1",
        "Conv3d_2c_3x3",
        "MaxPool3d_3a_3x3",
        "Mixed_3b",
        "Mixed_3c",
        "MaxPool3d_4a_3x3",
        "Mixed_4b",
        "Mixed_4c",
        "Mixed_4d",
        "Mixed_4e",
        "Mixed_4f",
        "MaxPool3d_5a_2x2",
        "Mixed_5b",
        "Mixed_5c",
    )
    stages = tuple(f"{name}." for name in endpoints if not name.startswith("MaxPool"))
    head_prefix = "logits."
    num_last_stages = 2  # Mixed_5b and Mixed_5c, which work at the last resolution, as layer4 of a ResNet
    fsdp_blocks = (Mixed,)
    min_frames = MIN_FRAMES
    min_pooled_side = MIN_SIDE
    maxima_of = ("Mixed_4f", "Mixed_5c")
    maxima_channels = (832, NUM_FEATURES)

    settings: InceptionSettings

    def __init__(self, settings: InceptionSettings) -> None:
        super().__init__(settings)
        self.min_side = 1 if self.reads_maxima else MIN_SIDE  # a classifier of maxima has no pooling window
        self.Conv3d_1a_7x7 = Unit3D(settings.in_channels, 64, kernel=7, stride=2)
        self.MaxPool3d_2a_3x3 = MaxPool3dSame(kernel_THW=(1, 3, 3), stride_THW=(1, 2, 2))
        self.Conv3d_2b_1x1 = Unit3D(64, 64)
        self.Conv3d_2c_3x3 = Unit3D(64, 192, kernel=3)
        self.MaxPool3d_3a_3x3 = MaxPool3dSame(kernel_THW=(1, 3, 3), stride_THW=(1, 2, 2))
        self.Mixed_3b = Mixed(192, (64, 96, 128, 16, 32, 32))
        self.Mixed_3c = Mixed(256, (128, 128, 192, 32, 96, 64))
        self.MaxPool3d_4a_3x3 = MaxPool3dSame(kernel_THW=(3, 3, 3), stride_THW=(2, 2, 2))
        self.Mixed_4b = Mixed(480, (192, 96, 208, 16, 48, 64))
        self.Mixed_4c = Mixed(512, (160, 112, 224, 24, 64, 64))
        self.Mixed_4d = Mixed(512, (128, 128, 256, 24, 64, 64))
        self.Mixed_4e = Mixed(512, (112, 144, 288, 32, 64, 64))
        self.Mixed_4f = Mixed(528, (256, 160, 320, 32, 128, 128))
        self.MaxPool3d_5a_2x2 = MaxPool3dSame(kernel_THW=(2, 2, 2), stride_THW=(2, 2, 2))
        self.Mixed_5b = Mixed(832, (256, 160, 320, 32, 128, 128))
        self.Mixed_5c = Mixed(832, (384, 192, 384, 48, 128, 128))
        self.dropout = nn.Dropout(settings.dropout)
        # The linear classifier as a 1x1x1 convolution, with the state-dict keys of pytorch-i3d.
        num_inputs = sum(self.maxima_channels) if self.reads_maxima else NUM_FEATURES
        self.logits = nn.Sequential(OrderedDict(conv3d=nn.Conv3d(num_inputs, settings.num_classes, 1)))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = settings.bn_eps

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        """Logits (N, K): the mean over the positions at which the head's 2x7x7 pooling window fits."""
        self._check_input(clips_NCTHW, side=self.min_side)
        if self.reads_maxima:
            return self.classify(self.classifier_input(clips_NCTHW))
        x_NCTHW = self._run(clips_NCTHW, last="Mixed_5c")
        with full_precision(x_NCTHW.device.type):  # on CPUs, PyTorch pools in float32 and float64 only
            x_NCTHW = F.avg_pool3d(x_NCTHW.to(next(self.logits.parameters()).dtype), HEAD_POOL_THW, stride=1)
            logits_NKTHW: Tensor = self.logits(self.dropout(x_NCTHW))
        return logits_NKTHW.mean(dim=(2, 3, 4))

    def classify(self, inputs_NC: Tensor) -> Tensor:
        """Logits (N, K) of `classifier_input`."""
        inputs_NC = inputs_NC.to(next(self.logits.parameters()).dtype)
        return self.logits(self.dropout(inputs_NC)[..., None, None, None]).flatten(1)  # type: ignore[no-any-return]

    def pooled(self, clips_NCTHW: Tensor) -> Tensor:
        self._check_input(clips_NCTHW, side=self.min_pooled_side)
        return self.pool(self._run(clips_NCTHW, last="Mixed_5c"))

    def pool(self, map_NCTHW: Tensor) -> Tensor:
        """The map of Mixed_5c, pooled as for the classifier and averaged over time and space: (N, 1024) float32."""
        with full_precision(map_NCTHW.device.type):
            return F.avg_pool3d(map_NCTHW.float(), HEAD_POOL_THW, stride=1).mean(dim=(2, 3, 4))

    def features(self, clips_NCTHW: Tensor, *, endpoint: str = "Mixed_5c") -> Tensor:
        """The feature map (N, C', T', H', W') after `endpoint`, one of `endpoints`; Mixed_5c has 1024 channels."""
        self.check_channels(clips_NCTHW)
        return self._run(clips_NCTHW, last=endpoint)

    def maps(self, clips_NCTHW: Tensor, endpoints: Sequence[str]) -> list[Tensor]:
        self.check_channels(clips_NCTHW)
        maps: dict[str, Tensor] = {}
        self._run(clips_NCTHW, last=self.endpoints_up_to(*endpoints)[-1], maps=maps)
        return [maps[name] for name in endpoints]

    def _run(self, x_NCTHW: Tensor, *, last: str, maps: dict[str, Tensor] | None = None) -> Tensor:
        for name in self.endpoints_up_to(last):
            x_NCTHW = self.get_submodule(name)(x_NCTHW)
            if maps is not None:
                maps[name] = x_NCTHW
        return x_NCTHW

    def _check_input(self, clips_NCTHW: Tensor, *, side: int) -> None:
        self.check_channels(clips_NCTHW)
        frames, height, width = clips_NCTHW.shape[2:]
        if frames < MIN_FRAMES or min(height, width) < side:
            raise ValueError(
                f"the smallest clip that Inception-I3D classifies has {MIN_FRAMES} frames of {side} x {side}, "
                f"got {frames} of {height} x {width}; repeat frames or resize"
            )
