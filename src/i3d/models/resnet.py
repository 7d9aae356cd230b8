"""I3D-ResNet: a 2D ResNet with kernels inflated to 3D, as in MMAction2's I3D recipes.

He et al. 2016 (arXiv:1512.03385), inflated as in Carreira & Zisserman 2017 and Wang et al. 2018 (arXiv:1711.07971).
Which blocks are inflated, the strides and the non-local blocks are settings (`recipes.settings.ResNetSettings`).

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from i3d.models.conv import Conv3d
from i3d.models.network import VideoNetwork
from i3d.models.non_local import NonLocal
from i3d.models.pooling import MaxPoolFramePairs
from i3d.models.prepack import conv_bn_act
from i3d.recipes.settings import BOTTLENECK_DEPTHS, ResNetSettings

Triple = tuple[int, int, int]


class ConvBN(nn.Module):
    """Convolution, batch norm, sum with an optional residual, ReLU. At stride 1 the padding keeps the size."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: Triple, stride: Triple = (1, 1, 1)) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = Conv3d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm3d(out_channels)

    def forward(self, x_NCTHW: Tensor, *, residual_NCTHW: Tensor | None = None, relu: bool = True) -> Tensor:
        return conv_bn_act(self.conv, self.bn, x_NCTHW, residual_NCTHW=residual_NCTHW, relu=relu)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18, 34): 3x3x3 if inflated, else 1x3x3."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, *, stride: Triple, inflate: bool, inflate_style: str) -> None:  # noqa: ARG002
        super().__init__()
        kernel = (3 if inflate else 1, 3, 3)
        self.conv1 = ConvBN(in_channels, width, kernel=kernel, stride=stride)
        self.conv2 = ConvBN(width, width, kernel=kernel)
        self.downsample = build_shortcut(in_channels, width, stride=stride)
        self.non_local: nn.Module = nn.Identity()

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        out_NCTHW = self.conv2(self.conv1(x_NCTHW), residual_NCTHW=run_shortcut(self.downsample, x_NCTHW))
        mixed_NCTHW: Tensor = self.non_local(out_NCTHW)
        return mixed_NCTHW


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 (ResNet-50, 101). Inflation makes the first 3x1x1 (style "3x1x1") or the second 3x3x3."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, *, stride: Triple, inflate: bool, inflate_style: str) -> None:
        super().__init__()
        first = 3 if inflate and inflate_style == "3x1x1" else 1
        second = 3 if inflate and inflate_style == "3x3x3" else 1
        self.conv1 = ConvBN(in_channels, width, kernel=(first, 1, 1))
        self.conv2 = ConvBN(width, width, kernel=(second, 3, 3), stride=stride)
        self.conv3 = ConvBN(width, width * self.expansion, kernel=(1, 1, 1))
        self.downsample = build_shortcut(in_channels, width * self.expansion, stride=stride)
        self.non_local: nn.Module = nn.Identity()

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        out_NCTHW = self.conv2(self.conv1(x_NCTHW))
        out_NCTHW = self.conv3(out_NCTHW, residual_NCTHW=run_shortcut(self.downsample, x_NCTHW))
        mixed_NCTHW: Tensor = self.non_local(out_NCTHW)
        return mixed_NCTHW


def build_shortcut(in_channels: int, out_channels: int, *, stride: Triple) -> nn.Module:
    """The shortcut of a block: the identity, or a 1x1x1 projection where the shape changes."""
    if stride == (1, 1, 1) and in_channels == out_channels:
        return nn.Identity()
    return ConvBN(in_channels, out_channels, kernel=(1, 1, 1), stride=stride)


def run_shortcut(downsample: nn.Module, x_NCTHW: Tensor) -> Tensor:
    """The residual of a block from its input, without a ReLU."""
    return downsample(x_NCTHW, relu=False) if isinstance(downsample, ConvBN) else x_NCTHW


class ResNetI3D(VideoNetwork):
    """Float clips (N, C, T, H, W) in, logits (N, num_classes) out: mean over time and space, dropout, linear.

    The published networks take RGB, normalised by the ImageNet mean and standard deviation, of any H and W. T must be
    at least `settings.min_frames`; fewer frames are a ValueError.
    """

    endpoints = ("conv1", "layer1", "layer2", "layer3", "layer4")
    stages = tuple(f"{name}." for name in endpoints)
    head_prefix = "fc."
    fsdp_blocks = (BasicBlock, Bottleneck)
    maxima_of = ("layer3", "layer4")

    settings: ResNetSettings

    def __init__(self, settings: ResNetSettings) -> None:
        super().__init__(settings)
        s, width = settings, settings.base_channels
        self.min_frames = s.min_frames
        self.conv1 = ConvBN(s.in_channels, width, kernel=(s.conv1_kernel_t, 7, 7), stride=(s.conv1_stride_t, 2, 2))
        kernel, padding = ((1, 3, 3), (0, 1, 1)) if s.pool1 == "1x3x3" else ((2, 3, 3), (0, 0, 0))
        self.pool1 = nn.MaxPool3d(kernel, stride=(s.pool1_stride_t, 2, 2), padding=padding)
        self.pool2: nn.Module = MaxPoolFramePairs() if s.pool2 else nn.Identity()
        block = Bottleneck if s.depth in BOTTLENECK_DEPTHS else BasicBlock
        self.layer1 = self._stage(0, width, block=block)
        self.layer2 = self._stage(1, width * block.expansion, block=block)
        self.layer3 = self._stage(2, 2 * width * block.expansion, block=block)
        self.layer4 = self._stage(3, 4 * width * block.expansion, block=block)
        self.dropout = nn.Dropout(s.dropout)
        self.maxima_channels = (4 * width * block.expansion, 8 * width * block.expansion)
        num_inputs = sum(self.maxima_channels) if self.reads_maxima else self.maxima_channels[-1]
        self.fc = nn.Linear(num_inputs, s.num_classes)
        if not self.fc.weight.is_meta:  # it has no values; to draw none, PyTorch would import its compiler (1 s)
            self.reset_parameters()
        self.train()

    def _stage(self, stage: int, in_channels: int, *, block: type[BasicBlock | Bottleneck]) -> nn.Sequential:
        """The residual blocks of one stage. A non-local block follows the residual block of the same number."""
        s, layers = self.settings, nn.Sequential()
        width = s.base_channels * 2**stage
        for i, (inflate, non_local) in enumerate(zip(s.inflated[stage], s.non_local_at[stage], strict=True)):
            stride = (s.temporal_strides[stage], 2 if stage else 1, 2 if stage else 1) if i == 0 else (1, 1, 1)
            unit = block(in_channels, width, stride=stride, inflate=inflate, inflate_style=s.inflate_style)
            in_channels = width * block.expansion
            if non_local:
                unit.non_local = NonLocal(
                    in_channels,
                    mode=s.non_local_mode,
                    sub_sample=s.non_local_sub_sample,
                    use_scale=s.non_local_use_scale,
                )
            layers.append(unit)
        return layers

    def reset_parameters(self) -> None:
        """He initialisation; the classifier's weight from N(0, 0.01^2)."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, NonLocal):
                module.reset_parameters()
            elif isinstance(module, BasicBlock | Bottleneck) and self.settings.zero_init_residual:
                last = module.conv3 if isinstance(module, Bottleneck) else module.conv2
                nn.init.zeros_(last.bn.weight)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for what the settings freeze: the first stages; with `norm_eval` all batch norms."""
        super().train(mode)
        for name in self.endpoints[: self.settings.frozen_stages + 1]:
            self.get_submodule(name).eval().requires_grad_(False)
        if self.settings.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.eval()
        return self

    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        """Logits (N, K)."""
        if self.reads_maxima:
            return self.classify(self.classifier_input(clips_NCTHW))
        x_NCTHW = self.features(clips_NCTHW)
        logits_NK: Tensor = self.fc(self.dropout(x_NCTHW.mean(dim=(2, 3, 4), dtype=self.fc.weight.dtype)))
        return logits_NK

    def classify(self, inputs_NC: Tensor) -> Tensor:
        """Logits (N, K) of `classifier_input`."""
        return self.fc(self.dropout(inputs_NC.to(self.fc.weight.dtype)))  # type: ignore[no-any-return]

    def pool(self, map_NCTHW: Tensor) -> Tensor:
        """The map of layer4, averaged over time and space: (N, C) float32."""
        return map_NCTHW.float().mean(dim=(2, 3, 4))

    def features(self, clips_NCTHW: Tensor, *, endpoint: str = "layer4") -> Tensor:
        """The feature map (N, C', T', H', W') after `endpoint`, one of `endpoints`."""
        return self.maps(clips_NCTHW, [endpoint])[0]

    def maps(self, clips_NCTHW: Tensor, endpoints: Sequence[str]) -> list[Tensor]:
        names = self.endpoints_up_to(*endpoints)
        self._check_input(clips_NCTHW)
        x_NCTHW: Tensor = self.conv1(clips_NCTHW)
        maps = {names[0]: x_NCTHW}
        for name in names[1:]:
            if name == "layer1":
                x_NCTHW = self.pool1(x_NCTHW)
            elif name == "layer2":
                x_NCTHW = self.pool2(x_NCTHW)
            for block in self.get_submodule(name).children():
                x_NCTHW = self._run(block, x_NCTHW)
            if name in endpoints:
                maps[name] = x_NCTHW
        return [maps[name] for name in endpoints]

    def _run(self, block: nn.Module, x_NCTHW: Tensor) -> Tensor:
        if self.settings.activation_checkpointing and self.training and torch.is_grad_enabled():
            contexts = lambda: (nullcontext(), restore_statistics(block))  # forward, recomputation  # noqa: E731
            x_NCTHW = checkpoint(block, x_NCTHW, use_reentrant=False, context_fn=contexts)
        else:
            x_NCTHW = block(x_NCTHW)
        return x_NCTHW

    def _check_input(self, clips_NCTHW: Tensor) -> None:
        self.check_channels(clips_NCTHW)
        if clips_NCTHW.shape[2] < self.min_frames:
            raise ValueError(
                f"the shortest clip that this network classifies has {self.min_frames} frames, "
                f"got {clips_NCTHW.shape[2]}; repeat frames"
            )


@contextmanager
def restore_statistics(block: nn.Module) -> Iterator[None]:
    """Undo the update of the running statistics when activation checkpointing runs a block a second time."""
    buffers = [(buffer, buffer.clone()) for buffer in block.buffers()]
    try:
        yield
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
