"""How far a long operation is: one callback for all of them.

    def print_progress(progress: Progress) -> None:
        print(progress.stage, progress.completed, "of", progress.total, progress.unit)

    i3d.train(recipe, clips, work_dir=Path("run"), on_progress=print_progress)

Everything else that a user should know is logged to the logger `i3d`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """`completed` of `total` units of a stage are done."""

    stage: str  # what is being done: "predict", "train", "check clips" ...
    completed: float
    total: float | None  # None: unknown
    unit: str = ""  # "clip", "step", "s" ...
    metrics: Mapping[str, float] = field(default_factory=dict)  # so far: loss, top1, clips_per_second ...


ProgressCallback = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """The default callback: it does nothing."""
