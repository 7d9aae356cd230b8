"""A network at rest, made ready to run: batch norms folded, channels last in memory, in one arithmetic.

    engine = Engine.of(net, device=torch.device("cpu"), precision="fast")
    forward(engine, clips_VTHWC, preprocessing)         # logits (V, K) float32

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from i3d.device import Arithmetic, Precision, Runtime, arithmetic_of
from i3d.models.build import I3D
from i3d.models.fold import fold_norms
from i3d.models.packed import pack

DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, eq=False)
class Engine:
    """A network that answers and does not learn. Its classifier is always in float32."""

    net: I3D = field(repr=False)
    device: torch.device
    arithmetic: Arithmetic
    run: Callable[[Tensor], Tensor] = field(repr=False)  # to the logits

    @classmethod
    def of(cls, net: I3D, *, device: torch.device, precision: Precision, runtime: Runtime = "torch") -> Engine:
        """The network itself is changed: it is in evaluation mode, folded, on the device."""
        arithmetic = arithmetic_of(precision, device)
        fold_norms(net.eval())
        net = net.to(device, DTYPES[arithmetic], memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        net.classifier.float()
        if device.type == "cpu" and runtime == "torch":
            pack(net)
        return cls(net, device, arithmetic, torch.compile(net) if runtime == "compile" else net)

    @property
    def dtype(self) -> torch.dtype:
        """Of all activations before the classifier."""
        return DTYPES[self.arithmetic]

    @property
    def min_frames(self) -> int:
        """The shortest clip that can be classified."""
        return self.net.min_frames

    @torch.inference_mode()
    def __call__(self, clips_NCTHW: Tensor) -> Tensor:
        """Logits (N, K) float32 of float clips."""
        return self.run(clips_NCTHW.to(self.dtype))

    @torch.inference_mode()
    def features(self, clips_NCTHW: Tensor, *, endpoint: str) -> Tensor:
        """The feature map (N, C', T', H', W') after an endpoint of the network."""
        return self.net.features(clips_NCTHW.to(self.dtype), endpoint=endpoint)

    @torch.inference_mode()
    def pooled(self, clips_NCTHW: Tensor) -> Tensor:
        """What the classifier sees of each clip, averaged over time and space: (N, C) float32."""
        return self.net.pooled(clips_NCTHW.to(self.dtype))
