"""Bars on stderr while something long goes on, if that is a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from i3d.cli.output.words import say
from i3d.errors import printable
from i3d.utils.progress import Progress as OfVideo

if TYPE_CHECKING:
    import i3d.utils.progress


class Progress:
    """A bar on stderr, if that is a terminal."""

    def __init__(self, paths: list[str]) -> None:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.description}", markup=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._names = [printable(path) for path in paths]
        self._done = 0
        self._task = self._bar.add_task(self._names[0], total=len(paths))

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def window(self, progress: OfVideo) -> None:
        views = progress.metrics["views"]
        description = f"{self._names[self._done]}: {views:.0f} views, {progress.completed:.0f} s of video"
        self._bar.update(self._task, description=description)

    @contextmanager
    def next(self) -> Iterator[None]:
        """One more video is done; the bar steps aside while it is told of."""
        self._bar.stop()
        yield
        self._bar.start()
        self._done += 1
        self._bar.update(
            self._task, completed=self._done, description="".join(self._names[self._done : self._done + 1])
        )


class Steps:
    """A bar of equal steps on stderr, if that is a terminal."""

    def __init__(self, what: str, total: int, *, quiet: bool = False) -> None:
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        hidden = quiet or not console.is_terminal
        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
        )
        self._bar = progress.Progress(*columns, console=console, disable=hidden, transient=True)
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def done(self, number: int) -> None:
        """So many steps are done."""
        self._bar.update(self._task, completed=number)

    def done_of(self, number: int, total: int) -> None:
        """So many of so many steps are done."""
        self._bar.update(self._task, completed=number, total=total)

    def total(self, total: int) -> None:
        """So many steps there are."""
        self._bar.update(self._task, total=total)

    def says(self, what: str) -> None:
        """What is going on."""
        self._bar.update(self._task, description=what)

    def one(self, *_: object) -> None:
        """One more step is done."""
        self._bar.advance(self._task)


class Testing(Steps):
    """A bar of clips with the share of those so far that were recognised.

    Of several processes the first shows its share.
    """

    def __init__(self, num_clips: int) -> None:
        rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        super().__init__("testing", len(range(rank, num_clips, world_size)), quiet=rank > 0)
        self._num_right = self._num_told = 0

    def clip(self, is_right: bool | None) -> None:
        """One more clip is done."""
        self.one()
        if is_right is not None:
            self._num_right += is_right
            self._num_told += 1
            self._bar.update(self._task, description=f"top-1 {self._num_right / self._num_told:.3f}")


class Training:
    """A training run on stderr: a line that changes on a terminal, a line for each interval elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False)
        self._quiet = quiet
        self._status = self._console.status("starting") if self._console.is_terminal and not quiet else None
        self._since: tuple[float, int] | None = None

    def __enter__(self) -> Training:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, progress: i3d.utils.progress.Progress) -> None:
        f, step, total = progress.metrics, int(progress.completed), int(progress.total or 0)
        if progress.stage != "train":
            return self.working(progress.stage, step, total)
        left = (total - step) * f["step_seconds"]
        line = (
            f"epoch {f['epoch']:.0f}, step {step} of {total}: "
            f"loss {f['loss']:.4f}, top-1 {f['top1']:.3f}, lr {f['lr']:.2e}, "
            f"{f['clips_per_second']:.2f} clips/s, {100 * f['data_wait']:.0f} % waiting for data, "
            f"{f['memory_gib']:.1f} GiB, {_duration(left)} left"
        )
        if self._status is not None:
            self._status.update(line)
        elif not self._quiet:
            say(line)
        return None

    def working(self, what: str, done: int, total: int) -> None:
        """Some of the work before or after training is done. Elsewhere than on a terminal, only the end is told."""
        line = f"{what}: {done} of {total}"
        if self._status is not None:
            self._status.update(line)
        elif done == total and not self._quiet:
            say(line)


def _duration(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    return f"{minutes // 1440} d {minutes // 60 % 24} h" if minutes >= 1440 else f"{minutes // 60}:{minutes % 60:02d} h"
