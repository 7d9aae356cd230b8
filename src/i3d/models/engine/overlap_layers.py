"""Layers of Inception-I3D over windows that overlap: the middle of all windows at once, and the two ends of each.

A convolution is a sum over its taps along time. Taps that see zeros are left out. At the last positions of a window
those taps that see the shared stretch are among the sums that the stretch itself needs, and only what the others see
is added. Each output is the same sum in another order.

Letters in names: B windows, C channels, T positions in time, H rows, W columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i3d.models.engine.overlap_edges import BoundaryPositions, Group, SharedSpan, ends_after, joined, of_windows
from i3d.models.inception import MaxPool3dSame, Mixed, ReceptiveField, Unit3D, same_padding
from i3d.models.prepack import conv_bn_act, taps_of

Seen = tuple[int, int, int]


class Sums:
    """What the convolutions of a layer have added up of a stream, by convolution and number of taps."""

    def __init__(self) -> None:
        self.stretches: dict[tuple[int, int], SharedSpan] = {}

    def forget(self, num_positions: int, *, keep: int) -> None:
        """Count from a later position on, and keep what follows another."""
        for key, stretch in self.stretches.items():
            self.stretches[key] = stretch.counted_from(num_positions, keep=keep)


class SharedLayer(ABC):
    """A layer that sees several positions, over windows of given ends; `now`: their ends behind it."""

    def __init__(self, reach: ReceptiveField, ends: BoundaryPositions) -> None:
        self.reach, self.ends, self.now = reach, ends, ends_after(ends, reach)
        self.pads = same_padding(ends.length, kernel=reach.kernel, stride=reach.stride)

    def begins(self, position: int) -> int:
        """The first position that is seen for one behind the layer."""
        return position * self.reach.stride - self.pads[0]

    def stops(self, position: int) -> int:
        """Where that ends."""
        return self.begins(position) + self.reach.kernel

    def seen_before(self, group: Group) -> Tensor:
        """What the positions before see, without zeros: (B, C, T, H, W)."""
        return joined(group.before_BCTHW, group.parts(self.ends.before, self.stops(self.now.before - 1)))

    def seen_after(self, group: Group) -> Tensor:
        """What the positions after see, without zeros: (B, C, T, H, W)."""
        return joined(group.parts(self.begins(self.now.last), self.ends.last), group.after_BCTHW)

    @abstractmethod
    def middle(self, shared: SharedSpan, start: int, sums: Sums) -> Tensor:
        """The positions from `start` on for which the stretch is long enough: (1, C', T', H', W')."""

    @abstractmethod
    def before(self, group: Group) -> Tensor:
        """The first positions of each window: (B, C', now.before, H', W')."""

    @abstractmethod
    def after(self, group: Group, step: int, sums: Sums) -> Tensor:
        """The last positions of each window, which are `step` apart behind the layer: (B, C', now.after, H', W')."""


@dataclass(frozen=True)
class TapGroup:
    """Neighbouring positions behind a convolution whose taps are told apart in the same way."""

    start: int
    count: int
    num_summed: int  # taps whose sum is there already
    first_tap: int
    taps: nn.Module | None  # what is to be added; None: nothing


class SharedConv(SharedLayer):
    """A convolution over time and space."""

    def __init__(self, unit: Unit3D, ends: BoundaryPositions, number: int = 0) -> None:
        super().__init__(unit.reach_T, ends)
        self.unit, self.number = unit, number
        self.first = self._pieces(0, self.now.before, self._taps_before)
        self.last = self._pieces(self.now.last, self.now.length, self._taps_after)
        cuts = {0, self.reach.kernel, *(piece.num_summed for piece in self.last)}
        self.stages = [(begin, stop, self._taps(begin, stop, bias=not begin)) for begin, stop in pairwise(sorted(cuts))]

    def new_from(self, start: int, sums: Sums) -> int:
        """The first position that `middle` sees."""
        return min(self.begins(self._start(stop, start, sums)) + begin for begin, stop, _ in self.stages)

    def middle(self, shared: SharedSpan, start: int, sums: Sums) -> Tensor:
        below: SharedSpan | None = None
        for begin, stop, taps in self.stages:
            first = self._start(stop, start, sums)
            end = (shared.stop - stop + self.pads[0]) // self.reach.stride + 1
            x_1CTHW = shared.part(self.begins(first) + begin, self.begins(end - 1) + stop)
            plus_1CTHW = below.part(first, end) if below else None
            out_1CTHW = self._added(taps, x_1CTHW, plus_1CTHW, relu=stop == self.reach.kernel)
            held = sums.stretches.get((self.number, stop))
            below = held.and_then(out_1CTHW) if held else SharedSpan(first, out_1CTHW)
            if stop < self.reach.kernel:
                sums.stretches[self.number, stop] = below
        return out_1CTHW

    def before(self, group: Group) -> Tensor:
        return self.before_of(self.seen_before(group))

    def before_of(self, x_BCTHW: Tensor) -> Tensor:
        """Of what these positions see."""
        found = []
        for piece in self.first:
            begin, stop = self.begins(piece.start) + piece.first_tap, self.stops(piece.start + piece.count - 1)
            found.append(self._added(piece.taps, x_BCTHW[:, :, begin:stop], None))
        return joined(*found)

    def after(self, group: Group, step: int, sums: Sums) -> Tensor:
        return self.after_of(group.after_BCTHW, step, sums)

    def after_of(self, own_BCTHW: Tensor, step: int, sums: Sums) -> Tensor:
        """Of the windows' own positions; what they see of the stretch has been added up."""
        found = []
        for piece in self.last:
            plus_BCTHW, stop = None, piece.start + piece.count
            if piece.num_summed:
                stretch = sums.stretches[self.number, piece.num_summed]
                plus_BCTHW = of_windows(stretch, piece.start, stop, step=step, num_windows=len(own_BCTHW))
            seen = slice(
                self.begins(piece.start) + piece.first_tap - self.ends.last, self.stops(stop - 1) - self.ends.last
            )
            found.append(self._added(piece.taps, own_BCTHW[:, :, seen], plus_BCTHW))
        return joined(*found)

    def _start(self, stop_tap: int, start: int, sums: Sums) -> int:
        held = sums.stretches.get((self.number, stop_tap))
        return held.stop if held else start

    def _taps_before(self, position: int) -> Seen:
        """(taps whose sum is there, the first tap to add, where those end)."""
        return 0, max(0, -self.begins(position)), self.reach.kernel

    def _taps_after(self, position: int) -> Seen:
        num_shared = max(self.ends.last - self.begins(position), 0)
        return num_shared, num_shared, min(self.reach.kernel, self.ends.length - self.begins(position))

    def _pieces(self, start: int, stop: int, seen: Callable[[int], Seen]) -> list[TapGroup]:
        found = []
        for (num_summed, first, end), group in groupby(range(start, stop), seen):
            positions = list(group)
            taps = self._taps(first, end, bias=not num_summed) if end > first else None
            found.append(TapGroup(positions[0], len(positions), num_summed, first, taps))
        return found

    def _taps(self, first: int, stop: int, *, bias: bool) -> nn.Module:
        return taps_of(self.unit.conv3d, self.unit.bn, first, stop, bias=bias)

    def _added(
        self, taps: nn.Module | None, x_NCTHW: Tensor, plus_NCTHW: Tensor | None, *, relu: bool = True
    ) -> Tensor:
        if taps is None:
            assert plus_NCTHW is not None
            return F.relu(plus_NCTHW)
        if self.reach.stride > 1:
            h, w = (same_padding(size, kernel=self.unit.kernel, stride=self.unit.stride) for size in x_NCTHW.shape[3:])
            x_NCTHW = F.pad(x_NCTHW, (*w, *h))
        x_NCTHW = x_NCTHW.contiguous(memory_format=torch.channels_last_3d)
        return conv_bn_act(taps, nn.Identity(), x_NCTHW, plus_NCTHW=plus_NCTHW, relu=relu)


class SharedPool(SharedLayer):
    """A maximum over time and space."""

    def __init__(self, pool: MaxPool3dSame, ends: BoundaryPositions) -> None:
        super().__init__(pool.reach_T, ends)
        self.pool = pool

    def middle(self, shared: SharedSpan, start: int, _sums: Sums) -> Tensor:
        last = (shared.stop - self.reach.kernel + self.pads[0]) // self.reach.stride
        return self._of(shared.part(self.begins(start), self.stops(last)), (0, 0))

    def before(self, group: Group) -> Tensor:
        return self._of(self.seen_before(group), (self.pads[0], 0))

    def after(self, group: Group, _step: int, _sums: Sums) -> Tensor:
        return self._of(self.seen_after(group), (0, self.pads[1]))

    def _of(self, x_NCTHW: Tensor, pad_T: tuple[int, int]) -> Tensor:
        out_NCTHW: Tensor = self.pool(x_NCTHW, pad_T=pad_T)
        return out_NCTHW


class SharedMixed(SharedLayer):
    """An Inception module: its branches, side by side along the channels."""

    def __init__(self, mixed: Mixed, ends: BoundaryPositions) -> None:
        super().__init__(mixed.reach_T, ends)
        self.mixed = mixed
        self.b1b, self.b2b = SharedConv(mixed.b1b, ends, 1), SharedConv(mixed.b2b, ends, 2)

    def middle(self, shared: SharedSpan, start: int, sums: Sums) -> Tensor:
        here_1CTHW = shared.part(start, shared.stop - 1)
        begin = self.b1b.new_from(start, sums)
        new_1CTHW = shared.part(begin, shared.stop)
        return self._side_by_side(
            here_1CTHW,
            self.b1b.middle(SharedSpan(begin, self.mixed.b1a(new_1CTHW)), start, sums),
            self.b2b.middle(SharedSpan(begin, self.mixed.b2a(new_1CTHW)), start, sums),
            self.mixed.b3a(shared.part(start - 1, shared.stop), pad_T=(0, 0)),
        )

    def before(self, group: Group) -> Tensor:
        x_BCTHW = self.seen_before(group)
        return self._side_by_side(
            x_BCTHW[:, :, : self.now.before],
            self.b1b.before_of(self.mixed.b1a(x_BCTHW)),
            self.b2b.before_of(self.mixed.b2a(x_BCTHW)),
            self.mixed.b3a(x_BCTHW, pad_T=(1, 0)),
        )

    def after(self, group: Group, step: int, sums: Sums) -> Tensor:
        x_BCTHW = self.seen_after(group)
        return self._side_by_side(
            x_BCTHW[:, :, -self.now.after :],
            self.b1b.after_of(self.mixed.b1a(group.after_BCTHW), step, sums),
            self.b2b.after_of(self.mixed.b2a(group.after_BCTHW), step, sums),
            self.mixed.b3a(x_BCTHW, pad_T=(0, 1)),
        )

    def _side_by_side(self, here_NCTHW: Tensor, b1b_NCTHW: Tensor, b2b_NCTHW: Tensor, b3a_NCTHW: Tensor) -> Tensor:
        here_NCTHW = here_NCTHW.contiguous(memory_format=torch.channels_last_3d)
        branches = [self.mixed.b0(here_NCTHW), b1b_NCTHW, b2b_NCTHW, self.mixed.b3b(b3a_NCTHW)]
        return torch.cat(branches, dim=1)
