"""Inception-I3D over windows of frames that overlap: what no end of a window reaches is computed once.

A layer sees zeros before and after a window, so that the positions near its two ends are its own. Those between are
the same in every window that has the same frames there: they are computed once, and the ends of each window apart.
From layer to layer the ends grow, until too little is left to share; from there on each window runs by itself. Nothing
is approximated: sums are the same but for the order in which they are added up.

    plan = Plan.of(net, endpoint="Mixed_5c", window=64, stride=1)
    windows = OverlappingWindows(plan)
    windows(frames_1CTHW, num_windows=8)  # 71 frames -> (8, C', T', H', W'); the next call begins with frame 8

Letters in names: B windows, C channels, T frames or positions in time, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Final, Self

import torch
from torch import Tensor, nn

from i3d.models.engine.overlap_edges import BoundaryPositions, Group, SharedSpan, ends_after
from i3d.models.engine.overlap_layers import SharedConv, SharedLayer, SharedMixed, SharedPool, Sums
from i3d.models.inception import InceptionI3D, MaxPool3dSame, Mixed, ReceptiveField, Unit3D

PERIOD: Final = 8  # the stride in time of the whole network: so many frames on, windows share with those before
MOST_COST: Final = 0.7
MOST_FIRST_COST: Final = 0.5


@dataclass(frozen=True)
class Step:
    """A layer that is shared, and those behind it that see each position in time by itself."""

    layer: SharedLayer
    then: tuple[nn.Module, ...]

    def __call__(self, x_NCTHW: Tensor) -> Tensor:
        """The layers behind."""
        for layer in self.then:
            x_NCTHW = layer(x_NCTHW)
        return x_NCTHW


@dataclass(frozen=True)
class Plan:
    """Which layers of a network windows share, made ready, and those that each runs by itself."""

    window: int
    stride: int
    shared: tuple[Step, ...]
    rest: tuple[nn.Module, ...]

    @property
    def num_windows(self) -> int:
        """Windows at once, so that each call shares with the next: as few as that takes, for wide strides."""
        return PERIOD // gcd(self.stride, PERIOD)

    @classmethod
    def of(cls, net: InceptionI3D, *, endpoint: str, window: int, stride: int) -> Self:
        """For the maps of an endpoint, of windows of so many frames. The network must be at rest."""
        ends, step, shared = BoundaryPositions(window, 0, 0), stride, []
        rest = [net.get_submodule(name) for name in net.endpoints_up_to(endpoint)]
        while rest:
            reach: ReceptiveField = rest[0].reach_T  # type: ignore[assignment]
            apart = num_apart(step, reach)
            if not pays(ends, step * apart, reach):
                break
            then = next((i for i in range(1, len(rest)) if rest[i].reach_T != (1, 1)), len(rest))
            shared.append(Step(shared_layer(rest[0], ends), tuple(rest[1:then])))
            ends, step, rest = ends_after(ends, reach), step * apart // reach.stride, rest[then:]
        return cls(window, stride, tuple(shared), tuple(rest))


class OverlappingWindows:
    """The maps of an endpoint for windows of a stream, in their order.

    What the next windows need of these is held: about 0.4 GB for windows of 64 frames of 224 x 224 and stride 1.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._held: dict[tuple[int, ...], tuple[SharedSpan, Sums]] = {}  # by step and place among the windows

    def __call__(self, frames_1CTHW: Tensor, *, num_windows: int) -> Tensor:
        """(B, C', T', H', W') of the windows that begin with frames 0, stride, 2 * stride ...; call after call for
        what follows. All calls but the last are of `plan.num_windows`.
        """
        none_BCTHW = frames_1CTHW[:, :, :0].expand(num_windows, -1, -1, -1, -1)
        frames = SharedSpan(0, frames_1CTHW)
        return self._run(
            0, Group(BoundaryPositions(self.plan.window, 0, 0), self.plan.stride, frames, none_BCTHW, none_BCTHW), ()
        )

    def _run(self, number: int, group: Group, place: tuple[int, ...]) -> Tensor:
        """From a step to the last."""
        if number == len(self.plan.shared):
            return torch.cat([self._rest(x_1CTHW) for x_1CTHW in torch.split(group.whole(), 1)])
        apart = num_apart(group.step, self.plan.shared[number].layer.reach)
        if apart == 1:
            return self._run(number + 1, self._through(number, group, place), place)
        firsts = range(min(apart, len(group)))
        found = [self._run(number, group.every(apart, first), (*place, first)) for first in firsts]
        maps_BCTHW = found[0].new_empty((len(group), *found[0].shape[1:]))
        for first, some_BCTHW in enumerate(found):
            maps_BCTHW[first::apart] = some_BCTHW
        return maps_BCTHW

    def _rest(self, x_1CTHW: Tensor) -> Tensor:
        """One window, through what is not shared: on a CPU that is faster than several at once, whose maps leave the
        caches.
        """
        for layer in self.plan.rest:
            x_1CTHW = layer(x_1CTHW)
        return x_1CTHW

    def _through(self, number: int, group: Group, place: tuple[int, ...]) -> Group:
        """The windows after a step: the stretch that is new, and the ends of each."""
        step = self.plan.shared[number]
        layer, now, apart = step.layer, step.layer.now, group.step // step.layer.reach.stride
        shared, sums = self._held.get((number, *place), (None, Sums()))
        new_1CTHW = step(layer.middle(group.shared, shared.stop if shared else now.before, sums))
        shared = shared.and_then(new_1CTHW) if shared else SharedSpan(now.before, new_1CTHW)

        before_BCTHW = after_BCTHW = new_1CTHW[:, :, :0].expand(len(group), -1, -1, -1, -1)
        if now.before:
            before_BCTHW = step(layer.before(group))
        if now.after:
            after_BCTHW = step(layer.after(group, apart, sums))
        behind = len(group) * apart
        sums.forget(behind, keep=now.last - apart)
        self._held[(number, *place)] = shared.counted_from(behind, keep=now.before), sums
        return Group(now, apart, shared, before_BCTHW, after_BCTHW)


def shared_layer(layer: nn.Module, ends: BoundaryPositions) -> SharedLayer:
    """A layer for windows of given ends."""
    if isinstance(layer, Mixed):
        return SharedMixed(layer, ends)
    if isinstance(layer, MaxPool3dSame):
        return SharedPool(layer, ends)
    assert isinstance(layer, Unit3D)
    return SharedConv(layer, ends)


def num_apart(step: int, reach: ReceptiveField) -> int:
    """How many windows further on one's positions fall on those of another, behind a layer."""
    return reach.stride // gcd(step, reach.stride)


def cost(ends: BoundaryPositions, step: int, reach: ReceptiveField) -> float:
    """What a window costs of a layer if the middle is shared, as a share of its positions: its ends, and what is new.

    Of the positions after, a convolution adds only what the window's own do.
    """
    now = ends_after(ends, reach)
    return (now.before + min(now.after, ends.after) + step // reach.stride) / now.length


def pays(ends: BoundaryPositions, step: int, reach: ReceptiveField) -> bool:
    """Whether a layer is shared. Short pieces cost more than their share of a window: over 0.7 nothing was gained."""
    return step // reach.stride < ends_after(ends, reach).between and cost(ends, step, reach) < MOST_COST


def can_share(net: object, *, window: int, stride: int) -> bool:
    """Whether windows of a stream share anything: of Inception, if they overlap far enough.

    If half of the first layer is a window's own, nothing was gained in all.
    """
    if not isinstance(net, InceptionI3D) or window < net.min_frames:
        return False
    ends, reach = BoundaryPositions(window, 0, 0), net.Conv3d_1a_7x7.reach_T
    step = stride * num_apart(stride, reach)
    return pays(ends, step, reach) and cost(ends, step, reach) < MOST_FIRST_COST
