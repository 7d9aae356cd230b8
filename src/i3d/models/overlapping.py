"""Inception-I3D over windows of frames that overlap: what no end of a window reaches is computed once.

A layer sees zeros before and after a window, so that the positions near its two ends are its own. Those between are
the same in every window that has the same frames there: they are computed once, and the ends of each window apart.
From layer to layer the ends grow, until nothing is left to share; from there on each window runs by itself. Nothing
is approximated: sums are the same but for the order in which a kernel adds them.

    windows = OverlappingWindows(net, endpoint="Mixed_5c", window=64, stride=1)
    windows(frames_1CTHW, num_windows=8)  # 71 frames -> (8, C', T', H', W'); the next call begins with frame 8

Letters in names: B windows, C channels, T frames or positions in time, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from i3d.models.inception import ENDPOINTS, InceptionI3D, Reach, same_padding

NUM_WINDOWS: Final = 8  # at once: the stride in time of the whole network, so that each call shares with the next


class Ends(NamedTuple):
    """Of a window at some layer: all its positions, and how many of them at each end are its own."""

    length: int
    before: int
    after: int

    @property
    def between(self) -> int:
        return self.length - self.before - self.after


@dataclass(frozen=True, eq=False)
class Group:
    """Windows at some layer, each `step` positions behind the one before it.

    Window b is its own `before`, `between` positions of the shared stretch from b * step on, and its own `after`.
    """

    ends: Ends
    step: int
    shared_1CTHW: Tensor
    before_BCTHW: Tensor
    after_BCTHW: Tensor

    def __len__(self) -> int:
        return len(self.before_BCTHW)

    def parts(self, start: int, stop: int) -> Tensor:
        """Positions start..stop of every window's middle: (B, C, stop - start, H, W)."""
        starts = range(start, start + len(self) * self.step, self.step)
        return torch.cat([self.shared_1CTHW[:, :, first : first + stop - start] for first in starts])

    def whole(self) -> Tensor:
        """The windows: (B, C, T, H, W)."""
        return joined(self.before_BCTHW, self.parts(0, self.ends.between), self.after_BCTHW)

    def every(self, nth: int, first: int) -> Group:
        """Every nth window from the first on."""
        return replace(
            self,
            step=self.step * nth,
            shared_1CTHW=self.shared_1CTHW[:, :, first * self.step :],
            before_BCTHW=self.before_BCTHW[first::nth],
            after_BCTHW=self.after_BCTHW[first::nth],
        )


class OverlappingWindows:
    """The maps of an endpoint for windows of a stream, in their order.

    What the next windows need of these is held: about 0.2 GB for windows of 64 frames of 224 x 224 and stride 1.
    """

    def __init__(self, net: InceptionI3D, *, endpoint: str, window: int, stride: int) -> None:
        self.net, self.window, self.stride = net, window, stride
        self.steps = steps_of(net, endpoint)
        self._held: dict[tuple[int, ...], Tensor] = {}  # by step and place among the windows

    def __call__(self, frames_1CTHW: Tensor, *, num_windows: int) -> Tensor:
        """(B, C', T', H', W') of the windows that begin with frames 0, stride, 2 * stride ...; call after call for
        what follows. All calls but the last are of `NUM_WINDOWS`.
        """
        none_BCTHW = frames_1CTHW[:, :, :0].expand(num_windows, -1, -1, -1, -1)
        group = Group(Ends(self.window, 0, 0), self.stride, frames_1CTHW, none_BCTHW, none_BCTHW)
        return self._run(0, group, ())

    def _run(self, number: int, group: Group, place: tuple[int, ...]) -> Tensor:
        """From a step to the last."""
        if number == len(self.steps):
            return group.whole()
        reach = self.steps[number].reach
        apart = reach.stride // gcd(group.step, reach.stride)  # windows whose positions fall on those of one another
        if not pays(group.ends, group.step * apart, reach):
            return torch.cat([self._rest(number, x_1CTHW) for x_1CTHW in torch.split(group.whole(), 1)])
        if apart == 1:
            return self._run(number + 1, self._through(number, group, place), place)
        firsts = range(min(apart, len(group)))
        found = [self._run(number, group.every(apart, first), (*place, first)) for first in firsts]
        maps_BCTHW = found[0].new_empty((len(group), *found[0].shape[1:]))
        for first, some_BCTHW in enumerate(found):
            maps_BCTHW[first::apart] = some_BCTHW
        return maps_BCTHW

    def _rest(self, number: int, x_1CTHW: Tensor) -> Tensor:
        """One window, from a step on: on a CPU that is faster than several at once, whose maps leave the caches."""
        for step in self.steps[number:]:
            x_1CTHW = step(x_1CTHW)
        return x_1CTHW

    def _through(self, number: int, group: Group, place: tuple[int, ...]) -> Group:
        """The windows after a step: the stretch that is new, and the ends of each."""
        run, ends, (kernel, stride) = self.steps[number], group.ends, self.steps[number].reach
        pad = same_padding(ends.length, kernel=kernel, stride=stride)
        now, apart = ends_after(ends, run.reach), group.step // stride

        held_1CTHW = self._held.get((number, *place))
        first = now.before + (0 if held_1CTHW is None else now.between - apart)  # position of the first window
        stop = now.before + now.between + (len(group) - 1) * apart
        begin, end = first * stride - pad[0] - ends.before, (stop - 1) * stride - pad[0] + kernel - ends.before
        shared_1CTHW = run(group.shared_1CTHW[:, :, begin:end], pad_T=(0, 0))
        if held_1CTHW is not None:
            shared_1CTHW = joined(held_1CTHW, shared_1CTHW)
        self._held[(number, *place)] = shared_1CTHW[:, :, len(group) * apart :]

        before_BCTHW = after_BCTHW = shared_1CTHW[:, :, :0].expand(len(group), -1, -1, -1, -1)
        if now.before:
            needed = (now.before - 1) * stride + kernel - pad[0] - ends.before
            before_BCTHW = run(joined(group.before_BCTHW, group.parts(0, needed)), pad_T=(pad[0], 0))
        if now.after:
            begin = (now.before + now.between) * stride - pad[0] - ends.before
            after_BCTHW = run(joined(group.parts(begin, ends.between), group.after_BCTHW), pad_T=(0, pad[1]))
        return Group(now, apart, shared_1CTHW, before_BCTHW, after_BCTHW)


@dataclass(frozen=True)
class Step:
    """A layer, and those behind it that see each position in time by itself."""

    layers: tuple[nn.Module, ...]
    reach: Reach

    def __call__(self, x_NCTHW: Tensor, *, pad_T: tuple[int, int] | None = None) -> Tensor:
        """`pad_T`: before and after in time, instead of `SAME`."""
        x_NCTHW = self.layers[0](x_NCTHW, pad_T=pad_T)
        for layer in self.layers[1:]:
            x_NCTHW = layer(x_NCTHW)
        return x_NCTHW


def steps_of(net: InceptionI3D, endpoint: str) -> tuple[Step, ...]:
    """The layers up to an endpoint."""
    steps: list[Step] = []
    for name in ENDPOINTS[: ENDPOINTS.index(endpoint) + 1]:
        layer = net.get_submodule(name)
        reach: Reach = layer.reach_T  # type: ignore[assignment]
        if reach == (1, 1):
            steps[-1] = replace(steps[-1], layers=(*steps[-1].layers, layer))
        else:
            steps.append(Step((layer,), reach))
    return tuple(steps)


def joined(*parts_BCTHW: Tensor) -> Tensor:
    """Parts that follow each other in time, with the channels last in memory."""
    there = [part_BCTHW for part_BCTHW in parts_BCTHW if part_BCTHW.shape[2]]
    return torch.cat(there, dim=2).contiguous(memory_format=torch.channels_last_3d)


def ends_after(ends: Ends, reach: Reach) -> Ends:
    """Which positions are a window's own after a layer: those that see its end, or a position that is its own.

    64 frames, kernel 7, stride 2 -> 32 positions, of which 1 at the beginning and 2 at the end. 3 positions, kernel 3
    -> all are.
    """
    length = -(-ends.length // reach.stride)
    pad = same_padding(ends.length, kernel=reach.kernel, stride=reach.stride)[0]
    first = -(-(ends.before + pad) // reach.stride)
    last = (ends.length - ends.after - reach.kernel + pad) // reach.stride
    return Ends(length, first, length - 1 - last) if last >= first else Ends(length, length, 0)


def pays(ends: Ends, step: int, reach: Reach) -> bool:
    """Whether a window costs much fewer positions of a layer if the middle is shared: its ends, and what is new in it.

    Short pieces cost more than their share of a window: over 5/8 of the positions there was nothing to gain.
    """
    now = ends_after(ends, reach)
    new = step // reach.stride
    return new < now.between and 8 * (now.before + now.after + new) < 5 * now.length


def can_share(net: object, *, window: int, stride: int) -> bool:
    """Whether windows of a stream share anything: of Inception, if they overlap far enough."""
    if not isinstance(net, InceptionI3D) or window < net.min_frames:
        return False
    reach: Reach = net.Conv3d_1a_7x7.reach_T
    return pays(Ends(window, 0, 0), stride * (reach.stride // gcd(stride, reach.stride)), reach)
