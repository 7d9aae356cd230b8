"""The interface of a network: all that training, testing, features, weights and engine know about it.

Letters in names: N clips, C channels, T frames, H rows, W columns, K classes.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import NetworkSettings, Preprocessing


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
    min_frames: int
    """The shortest clip that can be classified."""

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
    def num_features(self) -> int:
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
        """The input of the classifier for each clip, averaged over time and space: (N, C) float32."""
        return self.pool(self.features(clips_NCTHW, endpoint=self.endpoints[-1]))

    def endpoints_up_to(self, endpoint: str) -> tuple[str, ...]:
        """The endpoints from the first to the given one. An unknown endpoint is a ValueError."""
        if endpoint not in self.endpoints:
            raise ValueError(f"endpoint must be one of {', '.join(self.endpoints)}, got {endpoint!r}")
        return self.endpoints[: self.endpoints.index(endpoint) + 1]

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
