"""The batches of a loader: uint8 clips with their labels, and the clips that could not be read.

Workers allocate clips in memory that they share with the main process, so that batches are not copied.

Letters in names: N clips of a batch, V views, T frames, D distinct frames, H rows, W columns, C channels, K classes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch

from i3d.errors import InputError

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 (only its free space is read)

Box = tuple[int, int, bool]  # top, left, mirrored


@dataclass(frozen=True)
class UnreadableClip:
    """A clip that could not be read."""

    index: int
    reason: str


@dataclass(frozen=True)
class ClipNote:
    """What its video notes of a clip that was read: truncated, damaged."""

    index: int
    note: str


@dataclass(frozen=True, repr=False)
class Views:
    """All test views of one video. They share its frames, of which there is one copy."""

    frames_DHWC: torch.Tensor  # uint8
    indices_VT: torch.Tensor  # int64: the frames of each view; the rows of shorter views are padded
    num_frames_V: tuple[int, ...]  # of each view
    boxes_V: tuple[Box, ...]
    size: int  # height and width of the boxes
    groups: tuple[tuple[int, ...], ...] = ()  # the views of each protocol; a view that one has twice is in it twice

    @classmethod
    def from_protocols(
        cls,
        frames_DHWC: torch.Tensor,
        protocols: Sequence[tuple[Sequence[Sequence[int]], Sequence[Box]]],
        *,
        size: int,
    ) -> Self:
        """The views of several protocols, each given as (frames of its clips, its boxes). Equal views are merged."""
        numbers: dict[tuple[tuple[int, ...], Box], int] = {}
        groups = []
        for clips, boxes in protocols:
            keys = [(tuple(int(frame) for frame in clip), box) for clip in clips for box in boxes]
            groups.append(tuple(numbers.setdefault(key, len(numbers)) for key in keys))
        num_frames_V = tuple(len(clip) for clip, _ in numbers)
        indices_VT = torch.zeros(len(numbers), max(num_frames_V), dtype=torch.int64)
        for row_T, (clip, _) in zip(indices_VT, numbers, strict=True):
            row_T[: len(clip)] = torch.tensor(clip)
        return cls(frames_DHWC, indices_VT, num_frames_V, tuple(box for _, box in numbers), size, tuple(groups))

    @classmethod
    def from_clips(cls, clips_V: Sequence[npt.NDArray[np.uint8]]) -> Self:
        """Views of their own frames (T, H, W, C), of one shape and square."""
        num_frames, size = clips_V[0].shape[:2]
        indices_VT = torch.arange(len(clips_V) * num_frames).reshape(len(clips_V), num_frames)
        frames_DHWC, boxes_V = torch.from_numpy(np.concatenate(clips_V)), ((0, 0, False),) * len(clips_V)
        return cls(frames_DHWC, indices_VT, (num_frames,) * len(clips_V), boxes_V, size)

    def __len__(self) -> int:
        return len(self.indices_VT)

    def __repr__(self) -> str:
        return f"Views({len(self)} of {len(self.frames_DHWC)} frames {tuple(self.frames_DHWC.shape[1:])})"

    def clips(self, first: int = 0, stop: int | None = None) -> torch.Tensor:
        """Views first..stop as uint8 (V, T, size, size, C) on the device of the frames.

        They must have the same number of frames: see `runs`.
        """
        clips = []
        for view in range(first, len(self) if stop is None else min(stop, len(self))):
            top, left, mirrored = self.boxes_V[view]
            region_DHWC = self.frames_DHWC[:, top : top + self.size, left : left + self.size]
            clip_THWC = region_DHWC[self.indices_VT[view, : self.num_frames_V[view]]]
            clips.append(_mirrored(clip_THWC) if mirrored else clip_THWC)
        return torch.stack(clips)

    def runs(self, max_views: int) -> Iterator[tuple[int, int]]:
        """(first, stop) of consecutive views of the same length, at most `max_views`: one batch for the network.

        views of 4 4 4 2 2 frames, at most 2 -> (0, 2) (2, 3) (3, 5)
        """
        lengths_V, first = self.num_frames_V, 0
        for stop in range(1, len(self) + 1):
            if stop == len(self) or stop - first == max_views or lengths_V[stop] != lengths_V[first]:
                yield first, stop
                first = stop

    def reordered(self, order: Callable[[int, int], Sequence[int]]) -> Self:
        """The same views with their frames permuted by `order(view, number of frames)`."""
        indices_VT = self.indices_VT.clone()
        for view, length in enumerate(self.num_frames_V):
            indices_VT[view, :length] = self.indices_VT[view, torch.as_tensor(order(view, length))]
        return replace(self, indices_VT=indices_VT)

    def to(self, device: torch.device) -> Self:
        """The same views on another device."""
        frames_DHWC = self.frames_DHWC.to(device, non_blocking=True)
        return replace(self, frames_DHWC=frames_DHWC, indices_VT=self.indices_VT.to(device))

    def pin_memory(self) -> Self:
        return replace(self, frames_DHWC=self.frames_DHWC.pin_memory())


@dataclass(frozen=True)
class Batch:
    """The clips of a batch that could be read, and the others."""

    clips_NVTHWC: torch.Tensor  # uint8; of training, else empty
    views_N: tuple[Views, ...]  # of validation and testing, else empty
    labels_N: torch.Tensor  # int64 (N), -1 where unknown; for multi-label data float32 (N, K) of 0 and 1
    indices_N: torch.Tensor  # int64: places in the annotations; of a replaced clip, that of its replacement
    bad: tuple[UnreadableClip, ...]
    notes: tuple[ClipNote, ...] = ()  # of those that could be read

    def __len__(self) -> int:
        return len(self.indices_N)

    def pin_memory(self) -> Self:
        """Called by DataLoader with `pin_memory=True`."""
        views_N = tuple(views.pin_memory() for views in self.views_N)
        return replace(self, clips_NVTHWC=self.clips_NVTHWC.pin_memory(), views_N=views_N)


def _mirrored(clip_THWC: torch.Tensor) -> torch.Tensor:
    """Flipped left to right; of flow, x changes its sign."""
    flipped_THWC = clip_THWC.flip(2)
    if flipped_THWC.shape[-1] == 2:
        flipped_THWC[..., 0] = 255 - flipped_THWC[..., 0]
    return flipped_THWC


def allocate_uint8(shape: tuple[int, ...]) -> torch.Tensor:
    """An uninitialised uint8 tensor; in a worker, in shared memory."""
    if torch.utils.data.get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))  # type: ignore[no-untyped-call]
    tensor: torch.Tensor = torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
    return tensor


def to_shared(column: Any) -> Any:
    """A copy of an array in shared memory."""
    return torch.from_numpy(np.array(column)).share_memory_()  # type: ignore[no-untyped-call]


def check_free_shared_memory(needed_bytes: int) -> None:
    """An InputError if the shared memory has less than this free; containers often have 64 MiB in all."""
    try:
        stat = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return  # not Linux
    free = stat.f_bavail * stat.f_frsize
    if free < needed_bytes:
        what = f"{free / 2**20:,.0f} MiB are free, the workers' batches take {needed_bytes / 2**20:,.0f}"
        todo = "use fewer workers or smaller batches, or start the container with a larger --shm-size"
        raise InputError(f"{SHARED_MEMORY}: {what}; {todo}")
