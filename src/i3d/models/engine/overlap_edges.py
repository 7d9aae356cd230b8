"""Windows of a stream at some layer: the middle that they share, and the two ends that are each window's own.

Positions are counted from the first of the first window; so are those of a stretch.

Letters in names: B windows, C channels, T frames or positions in time, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from i3d.models.inception import ReceptiveField, same_padding


class BoundaryPositions(NamedTuple):
    """Of a window at some layer: all its positions, and how many of them at each end are its own."""

    length: int
    before: int
    after: int

    @property
    def between(self) -> int:
        return self.length - self.before - self.after

    @property
    def last(self) -> int:
        """Where the positions after begin."""
        return self.length - self.after


@dataclass(frozen=True, eq=False)
class SharedSpan:
    """Positions of a stream from the first on: (1, C, T, H, W)."""

    first: int
    maps_1CTHW: Tensor

    @property
    def stop(self) -> int:
        return self.first + self.maps_1CTHW.shape[2]

    def part(self, start: int, stop: int) -> Tensor:
        """(1, C, stop - start, H, W)."""
        assert self.first <= start <= stop <= self.stop
        return self.maps_1CTHW[:, :, start - self.first : stop - self.first]

    def and_then(self, maps_1CTHW: Tensor) -> SharedSpan:
        """What follows, put behind."""
        return SharedSpan(self.first, joined(self.maps_1CTHW, maps_1CTHW))

    def counted_from(self, zero: int, *, keep: int) -> SharedSpan:
        """As another position counts, from `keep` on; what lies before it is forgotten."""
        start = max(keep + zero, self.first)
        kept_1CTHW = self.part(start, self.stop)
        if 2 * kept_1CTHW.shape[2] < self.maps_1CTHW.shape[2]:  # else a part would hold the memory of the whole
            kept_1CTHW = kept_1CTHW.clone()
        return SharedSpan(start - zero, kept_1CTHW)


@dataclass(frozen=True, eq=False)
class Group:
    """Windows at some layer, each `step` positions behind the one before it.

    A window is its own `before`, a part of the shared stretch, and its own `after`.
    """

    ends: BoundaryPositions
    step: int
    shared: SharedSpan
    before_BCTHW: Tensor
    after_BCTHW: Tensor

    def __len__(self) -> int:
        return len(self.before_BCTHW)

    def parts(self, start: int, stop: int) -> Tensor:
        """Positions start..stop of every window, of the stretch: (B, C, stop - start, H, W)."""
        return of_windows(self.shared, start, stop, step=self.step, num_windows=len(self))

    def whole(self) -> Tensor:
        """The windows: (B, C, T, H, W)."""
        return joined(self.before_BCTHW, self.parts(self.ends.before, self.ends.last), self.after_BCTHW)

    def every(self, nth: int, first: int) -> Group:
        """Every nth window from the first on, with as much of the stretch as these reach."""
        before_BCTHW, step = self.before_BCTHW[first::nth], nth * self.step
        start, stop = self.shared.first, self.ends.last + first * self.step + (len(before_BCTHW) - 1) * step
        return replace(
            self,
            step=step,
            shared=SharedSpan(start - first * self.step, self.shared.part(start, stop)),
            before_BCTHW=before_BCTHW,
            after_BCTHW=self.after_BCTHW[first::nth],
        )


def of_windows(stretch: SharedSpan, start: int, stop: int, *, step: int, num_windows: int) -> Tensor:
    """Positions start..stop of windows `step` apart: (B, C, stop - start, H, W)."""
    shifts = range(0, num_windows * step, step)
    return torch.cat([stretch.part(start + shift, stop + shift) for shift in shifts])


def joined(*parts_BCTHW: Tensor) -> Tensor:
    """Parts that follow each other in time, with the channels last in memory."""
    there = [part_BCTHW for part_BCTHW in parts_BCTHW if part_BCTHW.shape[2]]
    return torch.cat(there, dim=2).contiguous(memory_format=torch.channels_last_3d)


def ends_after(ends: BoundaryPositions, reach: ReceptiveField) -> BoundaryPositions:
    """Which positions are a window's own after a layer: those that see its end, or a position that is its own.

    64 frames, kernel 7, stride 2 -> 32 positions, of which 1 at the beginning and 2 at the end. 3 positions, kernel 3
    -> all are.
    """
    length = -(-ends.length // reach.stride)
    pad = same_padding(ends.length, kernel=reach.kernel, stride=reach.stride)[0]
    first = -(-(ends.before + pad) // reach.stride)
    last = (ends.length - ends.after - reach.kernel + pad) // reach.stride
    return (
        BoundaryPositions(length, first, length - 1 - last) if last >= first else BoundaryPositions(length, length, 0)
    )
