"""The network of FVD: from the resized frames of a clip to its feature.

Letters in names: T frames, H rows, W columns, C channels, D numbers of a feature.
"""

import os
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from i3d.errors import InputError
from i3d.models.engine.engine import Engine
from i3d.utils.device import ComputeConfig, pick_device
from i3d.video_distance.protocols import SIZE, FvdProtocol
from i3d.weights.load import build_model, load_weights
from i3d.weights.pretrained import DEFAULT, SHA256

MEAN = 127.5  # and standard deviation: values from -1 to 1


@dataclass(frozen=True)
class Embedder:
    """A network and the layer whose output is the feature."""

    engine: Engine = field(repr=False)
    protocol: FvdProtocol
    name: str
    sha256: str  # of the weights file

    @property
    def is_reference(self) -> bool:
        """Whether it is the shipped network, which the reference code uses too."""
        return self.sha256 == SHA256

    @property
    def num_features(self) -> int:
        """The numbers of a feature."""
        net = self.engine.net
        return net.settings.num_classes if self.protocol.features == "logits" else net.num_features

    def __call__(self, frames_THWC: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The feature (D) of a clip with values from 0 to 255. One at a time: no feature depends on its batch."""
        frames = torch.from_numpy(frames_THWC).to(self.engine.device)
        clip_1CTHW = (2 * frames).div_(255).sub_(1)[None].permute(0, 4, 1, 2, 3)
        run = self.engine if self.protocol.features == "logits" else self.engine.pooled
        feature_D: npt.NDArray[np.float32] = run(clip_1CTHW)[0].float().cpu().numpy()
        if not np.isfinite(feature_D).all():
            remedy = "the weights are damaged" if self.engine.arithmetic == "fp32" else "use --precision fp32"
            raise InputError(f"the network gave NaN or infinity in {self.engine.arithmetic}; {remedy}")
        return feature_D


def load_embedder(model: str | os.PathLike[str], protocol: FvdProtocol, compute: ComputeConfig) -> Embedder:
    """The network of a weights file. One that takes flow, other values or longer clips is an InputError."""
    weights = load_weights(model)
    recipe, name = weights.card.recipe, os.fspath(model)
    pre = recipe.preprocessing
    if recipe.network.in_channels != len(pre.mean) or len(pre.mean) != 3:
        raise InputError(f"{name}: its network does not take RGB; FVD is of RGB frames, use {DEFAULT}")
    if {*pre.mean, *pre.std} != {MEAN}:
        raise InputError(f"{name}: its network does not take values from -1 to 1, as FVD gives them; use {DEFAULT}")
    net = build_model(weights)
    if protocol.frames < net.min_frames:
        raise InputError(f"frames {protocol.frames}: the network takes at least {net.min_frames}; take longer clips")
    shape = (3, protocol.frames, SIZE, SIZE)
    engine = Engine.create(net, compute, device=pick_device(compute.device), clip_CTHW=shape)
    return Embedder(engine, protocol, name, weights.sha256)
