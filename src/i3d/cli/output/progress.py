"""The progress of long operations on stderr: a bar on a terminal, lines elsewhere."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich import progress as rich_progress
from rich.console import Console

from i3d.cli.messages import log
from i3d.utils.progress import Progress


class ProgressBar:
    """One bar for the stages of an operation; an instance is its `on_progress` callback.

    The bar is drawn if stderr is a terminal, by the first of several processes. Elsewhere nothing is printed, or, with
    `lines`, each report of training steps and the end of every other stage.
    """

    def __init__(self, stage: str, total: float | None = None, *, lines: bool = False, quiet: bool = False) -> None:
        console = Console(stderr=True)
        is_drawn = console.is_terminal and not quiet and log.isEnabledFor(logging.INFO)
        self._lines = lines and not quiet and not is_drawn
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeRemainingColumn(),
            console=console,
            disable=not is_drawn,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(stage, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show a report of the operation. One without a total changes only the description."""
        text = describe_progress(progress)
        if progress.total is None:
            self._bar.update(self._task, description=f"{text}, {progress.completed:.0f} {progress.unit}")
            return
        self._bar.update(self._task, description=text, completed=progress.completed, total=progress.total)
        if self._lines and progress.stage == "train":
            log.info(text)
        elif self._lines and progress.completed == progress.total:
            log.info("%s: %.0f of %.0f", progress.stage, progress.completed, progress.total)

    def advance(self, *_: object) -> None:
        """One more unit is done."""
        self._bar.advance(self._task)

    def update(self, completed: float, total: float | None = None) -> None:
        """So many units are done."""
        self._bar.update(self._task, completed=completed, total=total)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the bar while results are printed."""
        self._bar.stop()
        yield
        self._bar.start()


def describe_progress(progress: Progress) -> str:
    """A report in one line, without the count that the bar shows.

    >>> describe_progress(Progress("test", 1, 4, "clip", {"top1": 0.5}))
    'test: top1 0.500'
    """
    metrics = progress.metrics
    if progress.stage != "train":
        text = ", ".join(
            f"{name} {value:.3f}" if value % 1 else f"{name} {value:.0f}" for name, value in metrics.items()
        )
        return f"{progress.stage}: {text}" if text else progress.stage
    step, total = progress.completed, progress.total or 0
    return (
        f"epoch {metrics['epoch']:.0f}, step {step:.0f} of {total:.0f}: "
        f"loss {metrics['loss']:.4f}, top-1 {metrics['top1']:.3f}, lr {metrics['lr']:.2e}, "
        f"{metrics['clips_per_second']:.2f} clips/s, {100 * metrics['data_wait']:.0f} % waiting for data, "
        f"{metrics['memory_gib']:.1f} GiB, {_duration((total - step) * metrics['step_seconds'])} left"
    )


def _duration(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    return f"{minutes // 1440} d {minutes // 60 % 24} h" if minutes >= 1440 else f"{minutes // 60}:{minutes % 60:02d} h"
