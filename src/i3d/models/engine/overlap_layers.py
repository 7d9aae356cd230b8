"""Layers of Inception-I3D over overlapping windows: the shared span once, and the two ends of each window.

A convolution is a sum over its temporal taps. Taps on zero padding are left out. At the last positions of a window the
first taps lie in the shared span, which has summed up the same taps for its own outputs: only the other taps, on the
window's own positions, are added. Each output is the same sum in another order.

Letters in names: B windows, C channels, T positions in time, H rows, W columns.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i3d.models.engine.overlap_edges import (
    BoundaryPositions,
    SharedSpan,
    WindowGroup,
    boundary_after,
    concat_time,
    gather_windows,
)
from i3d.models.inception import MaxPool3dSame, Mixed, ReceptiveField, Unit3D, same_padding
from i3d.models.prepack import conv_bn_act, slice_taps

# Sums over the first taps of convolutions, along the shared span, by (convolution, number of taps).
PartialSums = dict[tuple[int, int], SharedSpan]
TapRange = tuple[int, int, int]  # (taps that the span has summed up, first tap to add, stop tap)


class SharedLayer(ABC):
    """A layer with temporal context, over windows whose input and output have the given boundaries."""

    def __init__(self, field: ReceptiveField, boundary: BoundaryPositions) -> None:
        self.field, self.input, self.output = field, boundary, boundary_after(boundary, field)
        self.pads = same_padding(boundary.length, kernel=field.kernel, stride=field.stride)

    def input_start(self, position: int) -> int:
        """The first input position in the field of an output position; negative in the padding."""
        return position * self.field.stride - self.pads[0]

    def input_stop(self, position: int) -> int:
        """The end of the field of an output position."""
        return self.input_start(position) + self.field.kernel

    def input_before(self, group: WindowGroup) -> Tensor:
        """The field of the windows' own first outputs, without padding: (B, C, T, H, W)."""
        shared_BCTHW = group.slice_shared(self.input.before, self.input_stop(self.output.before - 1))
        return concat_time(group.before_BCTHW, shared_BCTHW)

    def input_after(self, group: WindowGroup) -> Tensor:
        """The field of the windows' own last outputs, without padding: (B, C, T, H, W)."""
        shared_BCTHW = group.slice_shared(self.input_start(self.output.after_start), self.input.after_start)
        return concat_time(shared_BCTHW, group.after_BCTHW)

    @abstractmethod
    def run_span(self, shared: SharedSpan, start: int, sums: PartialSums) -> Tensor:
        """All outputs from `start` on whose field the shared span covers: (1, C', T', H', W')."""

    @abstractmethod
    def run_before(self, group: WindowGroup) -> Tensor:
        """The windows' own first outputs: (B, C', output.before, H', W')."""

    @abstractmethod
    def run_after(self, group: WindowGroup, step: int, sums: PartialSums) -> Tensor:
        """The windows' own last outputs, windows being `step` outputs apart: (B, C', output.after, H', W')."""


@dataclass(frozen=True)
class TapGroup:
    """Adjacent output positions that need the same taps of a convolution."""

    start: int
    count: int
    num_summed: int  # how many first taps the shared span has summed up
    first_tap: int
    taps: nn.Module | None  # the convolution with the taps to add; None: there are none


class SharedConv(SharedLayer):
    """A convolution over time and space."""

    def __init__(self, unit: Unit3D, boundary: BoundaryPositions, number: int = 0) -> None:
        """`number` distinguishes the convolutions of one step in `PartialSums`."""
        super().__init__(unit.receptive_field_T, boundary)
        self.unit, self.number = unit, number
        self.groups_before = self._tap_groups(0, self.output.before, self._taps_before)
        self.groups_after = self._tap_groups(self.output.after_start, self.output.length, self._taps_after)
        # The span is summed up in pieces, cut where the last outputs of a window branch off.
        cuts = sorted({0, self.field.kernel, *(group.num_summed for group in self.groups_after)})
        self.pieces = [(first, stop, self._slice_taps(first, stop, bias=not first)) for first, stop in pairwise(cuts)]

    def new_input_start(self, start: int, sums: PartialSums) -> int:
        """The first input position that `run_span` reads."""
        return min(self.input_start(self._sums_stop(stop, start, sums)) + first for first, stop, _ in self.pieces)

    def run_span(self, shared: SharedSpan, start: int, sums: PartialSums) -> Tensor:
        previous: SharedSpan | None = None
        for first_tap, stop_tap, taps in self.pieces:
            first = self._sums_stop(stop_tap, start, sums)
            stop = (shared.stop - stop_tap + self.pads[0]) // self.field.stride + 1
            x_1CTHW = shared.slice(self.input_start(first) + first_tap, self.input_start(stop - 1) + stop_tap)
            sum_1CTHW = previous.slice(first, stop) if previous else None
            out_1CTHW = self._add_taps(taps, x_1CTHW, sum_1CTHW, relu=stop_tap == self.field.kernel)
            cached = sums.get((self.number, stop_tap))
            previous = cached.append(out_1CTHW) if cached else SharedSpan(first, out_1CTHW)
            if stop_tap < self.field.kernel:
                sums[self.number, stop_tap] = previous
        return out_1CTHW

    def run_before(self, group: WindowGroup) -> Tensor:
        return self.convolve_before(self.input_before(group))

    def convolve_before(self, x_BCTHW: Tensor) -> Tensor:
        """The first outputs of each window from their field."""
        outputs = []
        for group in self.groups_before:
            start = self.input_start(group.start) + group.first_tap
            stop = self.input_stop(group.start + group.count - 1)
            outputs.append(self._add_taps(group.taps, x_BCTHW[:, :, start:stop], None))
        return concat_time(*outputs)

    def run_after(self, group: WindowGroup, step: int, sums: PartialSums) -> Tensor:
        return self.convolve_after(group.after_BCTHW, step, sums)

    def convolve_after(self, own_BCTHW: Tensor, step: int, sums: PartialSums) -> Tensor:
        """The last outputs of each window from its own positions and the sums over the shared span."""
        outputs = []
        for group in self.groups_after:
            sum_BCTHW, stop = None, group.start + group.count
            if group.num_summed:
                span = sums[self.number, group.num_summed]
                sum_BCTHW = gather_windows(span, group.start, stop, step=step, num_windows=len(own_BCTHW))
            first_input = self.input_start(group.start) + group.first_tap - self.input.after_start
            stop_input = self.input_stop(stop - 1) - self.input.after_start
            outputs.append(self._add_taps(group.taps, own_BCTHW[:, :, first_input:stop_input], sum_BCTHW))
        return concat_time(*outputs)

    def _sums_stop(self, stop_tap: int, start: int, sums: PartialSums) -> int:
        """The first position without a sum over the taps before `stop_tap`."""
        cached = sums.get((self.number, stop_tap))
        return cached.stop if cached else start

    def _taps_before(self, position: int) -> TapRange:
        return 0, max(0, -self.input_start(position)), self.field.kernel

    def _taps_after(self, position: int) -> TapRange:
        num_shared = max(self.input.after_start - self.input_start(position), 0)
        return num_shared, num_shared, min(self.field.kernel, self.input.length - self.input_start(position))

    def _tap_groups(self, start: int, stop: int, tap_range: Callable[[int], TapRange]) -> list[TapGroup]:
        groups = []
        for (num_summed, first_tap, stop_tap), members in groupby(range(start, stop), tap_range):
            positions = list(members)
            taps = self._slice_taps(first_tap, stop_tap, bias=not num_summed) if stop_tap > first_tap else None
            groups.append(TapGroup(positions[0], len(positions), num_summed, first_tap, taps))
        return groups

    def _slice_taps(self, first: int, stop: int, *, bias: bool) -> nn.Module:
        return slice_taps(self.unit.conv3d, self.unit.bn, first, stop, bias=bias)

    def _add_taps(
        self, taps: nn.Module | None, x_NCTHW: Tensor, sum_NCTHW: Tensor | None, *, relu: bool = True
    ) -> Tensor:
        """The sum so far and that of these taps, unpadded in time, through the ReLU."""
        if taps is None:
            assert sum_NCTHW is not None
            return F.relu(sum_NCTHW)
        if self.field.stride > 1:
            h, w = (same_padding(size, kernel=self.unit.kernel, stride=self.unit.stride) for size in x_NCTHW.shape[3:])
            x_NCTHW = F.pad(x_NCTHW, (*w, *h))
        x_NCTHW = x_NCTHW.contiguous(memory_format=torch.channels_last_3d)
        return conv_bn_act(taps, nn.Identity(), x_NCTHW, residual_NCTHW=sum_NCTHW, relu=relu)


class SharedPool(SharedLayer):
    """Max pooling over time and space."""

    def __init__(self, pool: MaxPool3dSame, boundary: BoundaryPositions) -> None:
        super().__init__(pool.receptive_field_T, boundary)
        self.pool = pool

    def run_span(self, shared: SharedSpan, start: int, _sums: PartialSums) -> Tensor:
        last = (shared.stop - self.field.kernel + self.pads[0]) // self.field.stride
        return self._pool(shared.slice(self.input_start(start), self.input_stop(last)), (0, 0))

    def run_before(self, group: WindowGroup) -> Tensor:
        return self._pool(self.input_before(group), (self.pads[0], 0))

    def run_after(self, group: WindowGroup, _step: int, _sums: PartialSums) -> Tensor:
        return self._pool(self.input_after(group), (0, self.pads[1]))

    def _pool(self, x_NCTHW: Tensor, pad_T: tuple[int, int]) -> Tensor:
        out_NCTHW: Tensor = self.pool(x_NCTHW, pad_T=pad_T)
        return out_NCTHW


class SharedMixed(SharedLayer):
    """An Inception module: four branches, concatenated along the channels."""

    def __init__(self, mixed: Mixed, boundary: BoundaryPositions) -> None:
        super().__init__(mixed.receptive_field_T, boundary)
        self.mixed = mixed
        self.b1b, self.b2b = SharedConv(mixed.b1b, boundary, 1), SharedConv(mixed.b2b, boundary, 2)

    def run_span(self, shared: SharedSpan, start: int, sums: PartialSums) -> Tensor:
        center_1CTHW = shared.slice(start, shared.stop - 1)
        new_start = self.b1b.new_input_start(start, sums)
        new_1CTHW = shared.slice(new_start, shared.stop)
        return self._concat_branches(
            center_1CTHW,
            self.b1b.run_span(SharedSpan(new_start, self.mixed.b1a(new_1CTHW)), start, sums),
            self.b2b.run_span(SharedSpan(new_start, self.mixed.b2a(new_1CTHW)), start, sums),
            self.mixed.b3a(shared.slice(start - 1, shared.stop), pad_T=(0, 0)),
        )

    def run_before(self, group: WindowGroup) -> Tensor:
        x_BCTHW = self.input_before(group)
        return self._concat_branches(
            x_BCTHW[:, :, : self.output.before],
            self.b1b.convolve_before(self.mixed.b1a(x_BCTHW)),
            self.b2b.convolve_before(self.mixed.b2a(x_BCTHW)),
            self.mixed.b3a(x_BCTHW, pad_T=(1, 0)),
        )

    def run_after(self, group: WindowGroup, step: int, sums: PartialSums) -> Tensor:
        x_BCTHW = self.input_after(group)
        return self._concat_branches(
            x_BCTHW[:, :, -self.output.after :],
            self.b1b.convolve_after(self.mixed.b1a(group.after_BCTHW), step, sums),
            self.b2b.convolve_after(self.mixed.b2a(group.after_BCTHW), step, sums),
            self.mixed.b3a(x_BCTHW, pad_T=(0, 1)),
        )

    def _concat_branches(self, center_NCTHW: Tensor, b1b_NCTHW: Tensor, b2b_NCTHW: Tensor, b3a_NCTHW: Tensor) -> Tensor:
        """The output of the module. `center`: the input at the output positions, for the 1x1x1 branch."""
        center_NCTHW = center_NCTHW.contiguous(memory_format=torch.channels_last_3d)
        branches = [self.mixed.b0(center_NCTHW), b1b_NCTHW, b2b_NCTHW, self.mixed.b3b(b3a_NCTHW)]
        return torch.cat(branches, dim=1)
