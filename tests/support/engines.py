"""A stand-in for a network, for tests of the code around it."""

from dataclasses import dataclass
from typing import Any


@dataclass
class FakeEngine:
    """Logits (N, K) of normalised clips (N, C, T, H, W) are those of `compute`."""

    compute: Any
    min_frames: int = 9
    requested: str = "fp32"
    description: str = "fp32"
    arithmetic: str = "fp32"

    def __call__(self, clips_NCTHW):
        return self.compute(clips_NCTHW)

    def reset_used_runtimes(self):
        pass
