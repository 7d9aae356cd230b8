"""Inception-I3D over overlapping windows of frames: positions that no window boundary reaches are computed once.

A layer pads a window with zeros, so the positions near its two ends belong to this window alone. All windows over the
same frames share the positions between: those are computed once, and the ends of each window separately. The ends grow
from layer to layer. When too little is left to share, each window runs alone through the rest. Nothing is
approximated: sums differ in the order of their terms only.

    plan = SharingPlan.create(net, endpoint="Mixed_5c", window=64, stride=1)
    windows = OverlappingWindows(plan)
    windows(frames_1CTHW, num_windows=8)  # 71 frames -> (8, C', T', H', W'); the next call starts at frame 8

Letters in names: B windows, C channels, T frames or positions in time, H rows, W columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from i3d.models.engine.overlap_edges import BoundaryPositions, SharedSpan, WindowGroup, boundary_after
from i3d.models.engine.overlap_layers import PartialSums, SharedConv, SharedLayer, SharedMixed, SharedPool
from i3d.models.inception import InceptionI3D, MaxPool3dSame, Mixed, ReceptiveField, Unit3D
from i3d.models.network import VideoNetwork

NETWORK_STRIDE_T: Final = 8  # frames for each position of the last feature map
MAX_COST_FRACTION: Final = 0.7  # measured: short pieces run slower than their length, so that above it nothing is won
MAX_FIRST_COST_FRACTION: Final = 0.5  # of the first layer, measured likewise


SHARED: Final[dict[type[nn.Module], Callable[[Any, BoundaryPositions], SharedLayer]]] = {
    Unit3D: SharedConv,
    MaxPool3dSame: SharedPool,
    Mixed: SharedMixed,
}


@dataclass(frozen=True)
class SharedStep:
    """A layer that windows share, and the layers after it that work on each position in time alone."""

    layer: SharedLayer
    pointwise: nn.Sequential


@dataclass(frozen=True)
class SharingPlan:
    """The layers that windows share, and those that each window runs alone."""

    window: int
    stride: int
    shared: tuple[SharedStep, ...]
    unshared: nn.Sequential

    @property
    def num_windows(self) -> int:
        """The fewest windows a call that let it share with the next: the calls start on the network's stride."""
        return NETWORK_STRIDE_T // gcd(self.stride, NETWORK_STRIDE_T)

    @classmethod
    def create(cls, net: InceptionI3D, *, endpoint: str, window: int, stride: int) -> Self:
        """Plan the maps of an endpoint for windows of `window` frames. The network must be in eval mode."""
        boundary, step, shared = BoundaryPositions(window, 0, 0), stride, []
        layers = [net.get_submodule(name) for name in net.endpoints_up_to(endpoint)]
        while layers:
            field: ReceptiveField = layers[0].receptive_field_T  # type: ignore[assignment]
            phases = num_phases(step, field)
            if not is_worth_sharing(boundary, step * phases, field):
                break
            stop = next((i for i in range(1, len(layers)) if layers[i].receptive_field_T != (1, 1)), len(layers))
            shared.append(SharedStep(SHARED[type(layers[0])](layers[0], boundary), nn.Sequential(*layers[1:stop])))
            boundary, step, layers = boundary_after(boundary, field), step * phases // field.stride, layers[stop:]
        return cls(window, stride, tuple(shared), nn.Sequential(*layers))


class OverlappingWindows:
    """The maps of an endpoint for the windows of a stream, in order.

    What the next windows can reuse stays in memory: about 0.4 GB for 64 frames of 224 x 224 and stride 1.
    """

    def __init__(self, plan: SharingPlan) -> None:
        self.plan = plan
        # What the last call computed, by number of the step and phases of the windows.
        self._cached: dict[tuple[int, ...], tuple[SharedSpan, PartialSums]] = {}

    def __call__(self, frames_1CTHW: Tensor, *, num_windows: int) -> Tensor:
        """Maps (B, C', T', H', W') of the windows that start at frames 0, stride, 2 * stride ... of these frames.

        The next call continues the stream: its frames start `num_windows * stride` later. All calls but the last have
        `plan.num_windows` windows.
        """
        empty_BCTHW = frames_1CTHW[:, :, :0].expand(num_windows, -1, -1, -1, -1)
        boundary, span = BoundaryPositions(self.plan.window, 0, 0), SharedSpan(0, frames_1CTHW)
        return self._run(0, WindowGroup(boundary, self.plan.stride, span, empty_BCTHW, empty_BCTHW), ())

    def _run(self, number: int, group: WindowGroup, phases: tuple[int, ...]) -> Tensor:
        """Run the windows from a step to the end."""
        if number == len(self.plan.shared):
            # One window at a time: several would not fit the caches of a CPU.
            return torch.cat([self.plan.unshared(x_1CTHW) for x_1CTHW in torch.split(group.windows(), 1)])
        num = num_phases(group.step, self.plan.shared[number].layer.field)
        if num == 1:
            return self._run(number + 1, self._run_shared(number, group, phases), phases)
        firsts = range(min(num, len(group)))
        outputs = [self._run(number, group.every_nth(num, first), (*phases, first)) for first in firsts]
        maps_BCTHW = outputs[0].new_empty((len(group), *outputs[0].shape[1:]))
        for first, output_BCTHW in enumerate(outputs):
            maps_BCTHW[first::num] = output_BCTHW
        return maps_BCTHW

    def _run_shared(self, number: int, group: WindowGroup, phases: tuple[int, ...]) -> WindowGroup:
        """Run the windows through one step: the new part of the span, and the ends of each window."""
        step = self.plan.shared[number]
        layer, boundary, output_step = step.layer, step.layer.output, group.step // step.layer.field.stride
        shared, sums = self._cached.get((number, *phases), (None, PartialSums()))
        new_1CTHW = step.pointwise(layer.run_span(group.shared, shared.stop if shared else boundary.before, sums))
        shared = shared.append(new_1CTHW) if shared else SharedSpan(boundary.before, new_1CTHW)

        before_BCTHW = after_BCTHW = new_1CTHW[:, :, :0].expand(len(group), -1, -1, -1, -1)
        if boundary.before:
            before_BCTHW = step.pointwise(layer.run_before(group))
        if boundary.after:
            after_BCTHW = step.pointwise(layer.run_after(group, output_step, sums))
        next_start = len(group) * output_step
        sums = {
            key: span.rebase(next_start, min_start=boundary.after_start - output_step) for key, span in sums.items()
        }
        self._cached[(number, *phases)] = shared.rebase(next_start, min_start=boundary.before), sums
        return WindowGroup(boundary, output_step, shared, before_BCTHW, after_BCTHW)


def num_phases(step: int, field: ReceptiveField) -> int:
    """Into how many groups a strided layer splits windows. Only windows of one group share output positions.

    Windows 1 position apart have the outputs of a layer of stride 2 in common with every second window: 2 groups.
    """
    return field.stride // gcd(step, field.stride)


def is_worth_sharing(
    boundary: BoundaryPositions, step: int, field: ReceptiveField, *, max_cost: float = MAX_COST_FRACTION
) -> bool:
    """Whether sharing a layer saves time: a window then costs its ends and the new middle positions.

    Of its last positions it costs at most as many as its input has: `SharedConv` reuses the sums over the rest.
    """
    output, new = boundary_after(boundary, field), step // field.stride
    cost_fraction = (output.before + min(output.after, boundary.after) + new) / output.length
    return new < output.num_shared and cost_fraction < max_cost


def plan_sharing(net: VideoNetwork, *, endpoint: str, window: int, stride: int) -> SharingPlan | None:
    """How the windows of a stream share the layers of a network; None if they share nothing.

    Only Inception-I3D has shared layers.
    """
    if not isinstance(net, InceptionI3D) or window < net.min_frames:
        return None
    boundary, field = BoundaryPositions(window, 0, 0), net.Conv3d_1a_7x7.receptive_field_T
    step = stride * num_phases(stride, field)
    if not is_worth_sharing(boundary, step, field, max_cost=MAX_FIRST_COST_FRACTION):
        return None
    return SharingPlan.create(net, endpoint=endpoint, window=window, stride=stride)
