"""Overlapping windows at one layer: the positions in time that they share, and those that are each window's own.

Near its two ends a window has values of its own, because a layer pads there with zeros. The positions between are the
same as in any other window over the same frames.

Positions are counted from the start of the first window.

Letters in names: B windows, C channels, T frames or positions in time, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from i3d.models.inception import ReceptiveField, same_padding


class BoundaryPositions(NamedTuple):
    """The length of a window at one layer, and how many of its first and last positions are its own."""

    length: int
    before: int
    after: int

    @property
    def num_shared(self) -> int:
        return self.length - self.before - self.after

    @property
    def after_start(self) -> int:
        """The first of the window's own last positions."""
        return self.length - self.after


@dataclass(frozen=True, eq=False)
class SharedSpan:
    """The shared positions of a stream from `start` on: maps (1, C, T, H, W)."""

    start: int
    maps_1CTHW: Tensor

    @property
    def stop(self) -> int:
        return self.start + self.maps_1CTHW.shape[2]

    def slice(self, start: int, stop: int) -> Tensor:
        """Positions start..stop: (1, C, stop - start, H, W)."""
        assert self.start <= start <= stop <= self.stop
        return self.maps_1CTHW[:, :, start - self.start : stop - self.start]

    def append(self, maps_1CTHW: Tensor) -> SharedSpan:
        """The span and the positions that follow it."""
        return SharedSpan(self.start, concat_time(self.maps_1CTHW, maps_1CTHW))

    def rebase(self, origin: int, *, min_start: int) -> SharedSpan:
        """The same positions counted from `origin`, without those before `min_start` in the new count."""
        start = max(min_start + origin, self.start)
        maps_1CTHW = self.slice(start, self.stop)
        if 2 * maps_1CTHW.shape[2] < self.maps_1CTHW.shape[2]:  # a view would hold the memory of the whole span
            maps_1CTHW = maps_1CTHW.clone()
        return SharedSpan(start - origin, maps_1CTHW)


@dataclass(frozen=True, eq=False)
class WindowGroup:
    """Overlapping windows at one layer, each `step` positions after the one before.

    A window is its own first positions, a slice of the shared span, and its own last positions.
    """

    boundary: BoundaryPositions
    step: int
    shared: SharedSpan
    before_BCTHW: Tensor
    after_BCTHW: Tensor

    def __len__(self) -> int:
        return len(self.before_BCTHW)

    def slice_shared(self, start: int, stop: int) -> Tensor:
        """Shared positions start..stop of each window, counted from its own start: (B, C, stop - start, H, W)."""
        return gather_windows(self.shared, start, stop, step=self.step, num_windows=len(self))

    def windows(self) -> Tensor:
        """The whole windows: (B, C, T, H, W)."""
        middle_BCTHW = self.slice_shared(self.boundary.before, self.boundary.after_start)
        return concat_time(self.before_BCTHW, middle_BCTHW, self.after_BCTHW)

    def every_nth(self, n: int, first: int) -> WindowGroup:
        """Every nth window from the first on, with the part of the span that they cover."""
        before_BCTHW, step = self.before_BCTHW[first::n], n * self.step
        start, stop = self.shared.start, self.boundary.after_start + first * self.step + (len(before_BCTHW) - 1) * step
        return replace(
            self,
            step=step,
            shared=SharedSpan(start - first * self.step, self.shared.slice(start, stop)),
            before_BCTHW=before_BCTHW,
            after_BCTHW=self.after_BCTHW[first::n],
        )


def gather_windows(span: SharedSpan, start: int, stop: int, *, step: int, num_windows: int) -> Tensor:
    """Positions start..stop of windows that are `step` positions apart: (B, C, stop - start, H, W)."""
    shifts = range(0, num_windows * step, step)
    return torch.cat([span.slice(start + shift, stop + shift) for shift in shifts])


def concat_time(*parts_BCTHW: Tensor) -> Tensor:
    """Maps that follow each other in time, in channels-last memory; empty ones are left out."""
    parts = [part_BCTHW for part_BCTHW in parts_BCTHW if part_BCTHW.shape[2]]
    return torch.cat(parts, dim=2).contiguous(memory_format=torch.channels_last_3d)


def boundary_after(boundary: BoundaryPositions, field: ReceptiveField) -> BoundaryPositions:
    """The boundary behind a layer. A position is a window's own if its field reaches padding or such a position.

    64 frames, kernel 7, stride 2 -> 32 positions, of which the first 1 and the last 2 are the window's own. 3
    positions, kernel 3, of which the first and the last are its own -> all are.
    """
    length = -(-boundary.length // field.stride)
    pad = same_padding(boundary.length, kernel=field.kernel, stride=field.stride)[0]
    first = -(-(boundary.before + pad) // field.stride)
    last = (boundary.after_start - field.kernel + pad) // field.stride
    return (
        BoundaryPositions(length, first, length - 1 - last) if last >= first else BoundaryPositions(length, length, 0)
    )
