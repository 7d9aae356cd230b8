"""The interface of a network: all that training, testing, features, weights and engine know about it.

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from i3d.errors import InputError
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import FrameGeometry, NetworkSettings, Preprocessing

SETTING: Final = "preprocessing.crop"
SMALLEST: Final = 1e-4  # of which a root is taken: at 0 it has no gradient


class VideoNetwork(nn.Module, ABC):
    """Float clips (N, C, T, H, W) in, logits (N, K) out.

    The classifier is one linear layer: a weight (K, C) or (K, C, 1, 1, 1) and a bias (K).
    """

    endpoints: ClassVar[tuple[str, ...]]
    """Names of the feature maps, from first to last. The classifier reads the last one."""
    stages: ClassVar[tuple[str, ...]]
    """Prefixes of state-dict keys, from input to output. Each key has one of these or `head_prefix`."""
    head_prefix: ClassVar[str]
    """The prefix of the classifier's state-dict keys, such as "fc."."""
    num_last_stages: ClassVar[int] = 1
    """How many of the last stages fine-tuning trains with the classifier when it trains the last layers."""
    fsdp_blocks: ClassVar[tuple[type[nn.Module], ...]]
    """Modules that FSDP shards as a unit."""
    maxima_of: ClassVar[tuple[str, ...]] = ()
    """Endpoints whose maxima the classifier can read, by the setting `head_pooling`; none: it has only means."""
    maxima_channels: tuple[int, ...] = ()
    """The channels of these maps."""
    min_frames: int
    """The shortest clip that can be classified."""
    min_side: int = 1
    """The smallest height and width of a clip that can be classified."""
    min_pooled_side: int = 1
    """The same for `pooled`."""

    recipe: Recipe  # set by `load_model`
    labels: tuple[str, ...]  # set by `load_model`
    preprocessing: Preprocessing  # set by `load_model`

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings

    @property
    def classifier(self) -> nn.Module:
        """The linear layer at the end."""
        return self.get_submodule(self.head_prefix.removesuffix("."))

    @property
    def reads_maxima(self) -> bool:
        """Whether the classifier reads maxima of several maps instead of the mean of the last."""
        return getattr(self.settings, "head_pooling", "mean") == "maxima"

    @property
    def num_features(self) -> int:
        """The channels of the map of the last endpoint, which `pooled` averages."""
        return self.maxima_channels[-1] if self.reads_maxima else self.num_classifier_inputs

    @property
    def num_classifier_inputs(self) -> int:
        """The channels C that the classifier takes."""
        return next(self.classifier.parameters()).shape[1]

    @abstractmethod
    def forward(self, clips_NCTHW: Tensor) -> Tensor:
        """Logits (N, K), averaged over time and space. A clip that is too small is a ValueError."""

    @abstractmethod
    def features(self, clips_NCTHW: Tensor, *, endpoint: str) -> Tensor:
        """The feature map (N, C', T', H', W') after an endpoint. An unknown endpoint is a ValueError."""

    @abstractmethod
    def pool(self, map_NCTHW: Tensor) -> Tensor:
        """The map of the last endpoint, averaged over time and space as the classifier does: (N, C) float32."""

    def pooled(self, clips_NCTHW: Tensor) -> Tensor:
        """The map of the last endpoint, averaged over time and space: (N, C) float32."""
        return self.pool(self.features(clips_NCTHW, endpoint=self.endpoints[-1]))

    def maps(self, clips_NCTHW: Tensor, endpoints: Sequence[str]) -> list[Tensor]:
        """The feature maps after several endpoints, in their order."""
        return [self.features(clips_NCTHW, endpoint=endpoint) for endpoint in endpoints]

    def classifier_input(self, clips_NCTHW: Tensor) -> Tensor:
        """What the classifier takes of each clip: (N, C) float32.

        By `head_pooling` it is `pooled`; or of the maps `maxima_of`, one after the other, the square root of the mean
        over time of the maxima over space: what happens in a small part of the frame counts as much as what fills it,
        and an earlier map has more of the motion. The root keeps a few large values from deciding alone.
        """
        if not self.reads_maxima:
            return self.pooled(clips_NCTHW)
        return torch.cat([roots_of_maxima(map_NCTHW) for map_NCTHW in self.maps(clips_NCTHW, self.maxima_of)], dim=1)

    @abstractmethod
    def classify(self, inputs_NC: Tensor) -> Tensor:
        """Logits (N, K) of what the classifier takes, which `classifier_input` returns."""

    def logits_and_pooled(self, clips_NCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and `pooled` (N, C) of one pass over the clips."""
        if not self.reads_maxima:
            pooled_NC = self.pool(self.features(clips_NCTHW, endpoint=self.endpoints[-1]))
            return self.classify(pooled_NC), pooled_NC
        maps = self.maps(clips_NCTHW, self.maxima_of)
        inputs_NC = torch.cat([roots_of_maxima(map_NCTHW) for map_NCTHW in maps], dim=1)
        return self.classify(inputs_NC), self.pool(maps[-1])

    def endpoints_up_to(self, *endpoints: str) -> tuple[str, ...]:
        """The endpoints from the first to the last of the given ones. An unknown endpoint is a ValueError."""
        number = 0
        for endpoint in endpoints:
            if endpoint not in self.endpoints:
                raise ValueError(f"endpoint must be one of {', '.join(self.endpoints)}, got {endpoint!r}")
            number = max(number, self.endpoints.index(endpoint) + 1)
        return self.endpoints[:number]

    def check_channels(self, clips_NCTHW: Tensor) -> None:
        """Raise ValueError for clips of another shape than (N, C, T, H, W) with the channels of the settings."""
        channels = self.settings.in_channels
        if clips_NCTHW.dim() != 5 or clips_NCTHW.shape[1] != channels:
            raise ValueError(f"the network takes (N, {channels}, T, H, W), got shape {tuple(clips_NCTHW.shape)}")

    def stage_of(self, key: str) -> int:
        """The position in `stages` of a state-dict key; that of the classifier is `len(stages)`."""
        for number, prefix in enumerate((*self.stages, self.head_prefix)):
            if key.startswith(prefix):
                return number
        raise ValueError(f"{type(self).__name__}: {key} is in no stage; add its prefix to `stages`")


def check_crop(net: VideoNetwork, pre: FrameGeometry, *, is_pooled: bool = False, name: str = SETTING) -> None:
    """Raise InputError if the crops of a geometry are too small for a network to classify, or to pool.

    `name`: of the setting.
    """
    side = net.min_pooled_side if is_pooled else net.min_side
    if pre.crop < side:
        what = f"{name} {pre.crop}: the network takes frames of at least {side} x {side}"
        raise InputError(f"{what}{' for pooled features' if is_pooled else ''}; set {name} to {side} or more")


def roots_of_maxima(map_NCTHW: Tensor) -> Tensor:
    """The square root of the mean over time of the maxima over space of a map of no negative values: (N, C) float32."""
    return map_NCTHW.float().amax(dim=(3, 4)).mean(dim=2).clamp_min(SMALLEST).sqrt()
