"""Choose how the network runs, and how often, by a budget of time and what this machine takes."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from i3d.errors import InputError
from i3d.streaming.scorer import WindowScorer
from i3d.timelines.scores import SlidingWindows
from i3d.utils.device import ComputeConfig, Precision, Runtime, arithmetic_of, pick_device
from i3d.utils.distributed import local_device

HEADROOM: Final = 1.25  # a pass may take this much longer than measured without windows being skipped

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class Measured:
    """How long a pass takes in one precision and runtime."""

    precision: Precision
    runtime: Runtime
    seconds: float

    @property
    def line(self) -> str:
        """In words."""
        return f"{self.precision}, {self.runtime}: {1000 * self.seconds:.0f} ms"


@dataclass(frozen=True)
class Choice:
    """What a budget leads to: how the network runs, and seconds from one window to the next."""

    measured: Measured
    step: float
    is_within: bool  # a frame is labelled within the budget: after at most a stride and a pass

    @property
    def seconds(self) -> float:
        """From the arrival of a frame to the first label that it is part of, at most."""
        return max(self.step, self.measured.seconds) + self.measured.seconds

    @property
    def line(self) -> str:
        """In words."""
        one = f"{self.measured.precision}, {self.measured.runtime}, a window every {self.step:.3g} s"
        return f"{one}: a frame is labelled after at most {1000 * self.seconds:.0f} ms"


def choose(
    measured: Sequence[Measured], budget: float, *, slot: float, longest: float, span: float, step: float | None = None
) -> Choice:
    """The first way to run the network that is within the budget (seconds), else the fastest. Exact ones come first.

    A frame that arrives just after a window waits a stride, and then a pass: their sum is to be at most `budget`. The
    stride is the longest that allows this, in multiples of `slot` and up to `longest`, and never shorter than a pass
    with some headroom: windows would be skipped. `step` fixes it. If no pass is so short, the stride is as long as the
    first way needs that is within the budget, and at most `span`, a window.
    """

    def shortest(one: Measured) -> float:
        return slot * max(1, -(-HEADROOM * one.seconds // slot))

    for one in measured:
        within = min(slot * ((budget - one.seconds + 1e-9) // slot), longest) if step is None else step
        if within >= shortest(one) - 1e-9 and within + one.seconds <= budget:
            return Choice(one, within, is_within=True)
    for one in measured:
        if step is None and (longer := shortest(one)) <= span and longer + one.seconds <= budget:
            return Choice(one, longer, is_within=True)
    fastest = min(measured, key=lambda one: one.seconds)
    return Choice(fastest, step or min(shortest(fastest), span), is_within=False)


def scorer_within(
    budget: float,
    make_scorer: Callable[[ComputeConfig], WindowScorer],
    ways: Iterator[ComputeConfig],
    windows: SlidingWindows,
    *,
    batch: int,
    step: float | None = None,
) -> tuple[WindowScorer, Choice]:
    """Measure each way to run the network on `batch` windows at once, and choose. Both are logged.

    `step`: seconds from one window to the next, if they are fixed. A way that this machine cannot run is logged; if
    there is none, that is an InputError.
    """
    scorers: dict[Measured, WindowScorer] = {}
    reasons = []
    for compute in ways:
        try:
            scorer = make_scorer(compute)
            seconds = scorer.seconds(batch=batch, frames=windows.frames)
        except InputError as error:
            reasons.append(str(error))
            log.info("not measured: %s", error)
            continue
        one = Measured(compute.precision or "fp32", compute.runtime, seconds)
        scorers[one] = scorer
        log.info("measured %s for %d x %d frames", one.line, batch, windows.frames)
    if not scorers:
        raise InputError(f"budget {1000 * budget:g} ms: nothing can be measured ({reasons[-1]}); leave it out")
    slot = windows.interval / windows.fps
    choice = choose([*scorers], budget, slot=slot, longest=windows.step, span=windows.span, step=step)
    log.info("chosen: %s", choice.line)
    if choice.seconds > budget:
        log.warning("the budget of %g ms is too short for this machine: %s", 1000 * budget, choice.line)
    if (one := choice.measured).seconds > choice.step:
        what = f"a pass takes {one.seconds:.2g} s, longer than the stride of {choice.step:.3g} s"
        log.warning("no budget is long enough for this machine: %s", what)
    return scorers[choice.measured], choice


def candidates(compute: ComputeConfig, precision: Precision | None, runtime: Runtime | None) -> Iterator[ComputeConfig]:
    """Ways to run the network on this device, the exact ones first; what is given is fixed.

    The runtime "compile", which takes minutes, is tried only where it is given.
    """
    device = pick_device(local_device(compute.device))
    fast = arithmetic_of("auto", device)
    precisions: list[Precision] = [precision] if precision else ["fp32", *([fast] if fast != "fp32" else [])]
    runtimes: list[Runtime] = [runtime] if runtime else ["torch", *(["openvino"] if device.type == "cpu" else [])]  # type: ignore[list-item]
    for one in precisions:
        for other in runtimes:
            yield replace(compute, precision=one, runtime=other)
