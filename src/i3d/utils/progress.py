"""How far a long operation is: one callback for all of them.

    i3d.train(recipe, clips, work_dir=Path("run"), on_progress=print)   # features: 12 of 40 views

Everything else that a user should know is logged to the logger `i3d`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """`completed` of `total` units of a stage are done.

    An operation reports the start of each stage, so that no report of an earlier one seems to last.

    >>> print(Progress("test", 3.5, 8, "clip", {"top1": 0.5}, name="a.mp4"))
    test: 3 of 8 clips, top1 0.500, a.mp4
    """

    stage: str  # what is being done: "predict", "train", "check clips" ...
    completed: float  # a fraction is that of the unit which is being done
    total: float | None  # None: unknown
    unit: str = ""  # "clip", "step", "s" ...
    metrics: Mapping[str, float] = field(default_factory=dict)  # so far: loss, top1, clips_per_second ...
    name: str = ""  # of what is being done, such as a file
    reused: float = 0  # of `completed`: results of an earlier run, which took no time

    def __str__(self) -> str:
        known = ", ".join(filter(None, (self.count, self.described_metrics, self.name)))
        return f"{self.stage}: {known}" if known else self.stage

    @property
    def count(self) -> str:
        """Units that are done, and how many there are: 3 of 8 clips; empty before any if the total is unknown."""
        units = f"{self.unit}s" if self.unit not in ("", "s") and self.total != 1 else self.unit
        if self.total is None:
            return f"{self.completed:.0f} {units}".rstrip() if self.completed else ""
        return f"{int(self.completed)} of {self.total:.0f} {units}".rstrip()

    @property
    def described_metrics(self) -> str:
        """The metrics in words: top1 0.500, loss 1.200."""
        return ", ".join(f"{name} {_number(value)}" for name, value in self.metrics.items())


ProgressCallback = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """The default callback: it does nothing."""


def _number(value: float) -> str:
    return f"{value:.0f}" if value % 1 == 0 else f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.2e}"
