"""What loaders hand over: uint8 clips with their labels, and what could not be read.

Letters in names: N clips of a batch, V views, T frames, D different frames, H rows, W columns, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True)
class Bad:
    """A clip that could not be read."""

    index: int
    reason: str


@dataclass(frozen=True, repr=False)
class Views:
    """All views of one video, without a copy of the frames that they share."""

    frames_DHWC: torch.Tensor  # uint8
    indices_VT: torch.Tensor  # int64, which frames a clip shows; rows of shorter clips are filled up
    num_frames_V: tuple[int, ...]  # of each clip
    boxes: tuple[tuple[int, int, bool], ...]  # top, left, mirrored
    size: int

    def __len__(self) -> int:
        return len(self.indices_VT) * len(self.boxes)

    def __repr__(self) -> str:
        return f"Views({len(self)} of {len(self.frames_DHWC)} frames {tuple(self.frames_DHWC.shape[1:])})"

    def clips(self, first: int = 0, stop: int | None = None) -> torch.Tensor:
        """Views first..stop as uint8 (V, T, size, size, C), on the device of the frames: clip by clip, each crop.

        They must be of one length, as `runs` gives them.
        """
        chosen = []
        for view in range(first, len(self) if stop is None else min(stop, len(self))):
            clip, (top, left, mirrored) = view // len(self.boxes), self.boxes[view % len(self.boxes)]
            region_DHWC = self.frames_DHWC[:, top : top + self.size, left : left + self.size]
            clip_THWC = region_DHWC[self.indices_VT[clip, : self.num_frames_V[clip]]]
            chosen.append(_mirrored(clip_THWC) if mirrored else clip_THWC)
        return torch.stack(chosen)

    @property
    def lengths_V(self) -> npt.NDArray[np.int64]:
        """How many frames each view has, by which its scores are weighed."""
        return np.repeat(np.array(self.num_frames_V, np.int64), len(self.boxes))

    def runs(self, most: int) -> Iterator[tuple[int, int]]:
        """(first, stop) of neighbours of one length, at most so many: views that go through a network together.

        views of 4 4 4 2 2 frames, at most 2 -> (0, 2) (2, 3) (3, 5)
        """
        lengths_V, first = self.lengths_V, 0
        for stop in range(1, len(self) + 1):
            if stop == len(self) or stop - first == most or lengths_V[stop] != lengths_V[first]:
                yield first, stop
                first = stop

    def to(self, device: torch.device) -> Views:
        """The same on another device."""
        frames_DHWC = self.frames_DHWC.to(device, non_blocking=True)
        return Views(frames_DHWC, self.indices_VT.to(device), self.num_frames_V, self.boxes, self.size)

    def pin_memory(self) -> Views:
        return Views(self.frames_DHWC.pin_memory(), self.indices_VT, self.num_frames_V, self.boxes, self.size)


@dataclass(frozen=True)
class Batch:
    """Clips that were read, and those that were not."""

    clips_NVTHWC: torch.Tensor  # uint8; of a training view
    views_N: tuple[Views, ...]  # of a test view
    labels_N: torch.Tensor  # int64 (N), -1 where unknown; float32 (N, K) of 0 and 1 if classes go together
    indices_N: torch.Tensor  # int64: which clips these are, replacements by their own index
    bad: tuple[Bad, ...]

    def __len__(self) -> int:
        return len(self.indices_N)

    def pin_memory(self) -> Batch:
        """For DataLoader's `pin_memory`."""
        views_N = tuple(views.pin_memory() for views in self.views_N)
        return Batch(self.clips_NVTHWC.pin_memory(), views_N, self.labels_N, self.indices_N, self.bad)


def _mirrored(clip_THWC: torch.Tensor) -> torch.Tensor:
    flipped_THWC = clip_THWC.flip(2)
    if flipped_THWC.shape[-1] == 2:
        flipped_THWC[..., 0] = 255 - flipped_THWC[..., 0]
    return flipped_THWC
