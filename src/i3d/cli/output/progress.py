"""The progress of long operations on stderr: a bar on a terminal, lines elsewhere.

Bars and log lines share one console: a log line is printed above the bar, and of a bar that ends nothing remains.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import RLock
from typing import Final, Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar as DrawnBar
from rich.segment import Segment
from rich.text import Text

from i3d.cli.messages import log, stderr_console
from i3d.errors import printable
from i3d.utils.progress import Progress

MIN_BAR, MAX_BAR, MIN_NAME = 8, 30, 12  # columns of the bar and of the file name
ECHO: Final = 4  # columns that stay free at the right, for the ^C that a terminal echoes


class ProgressBar:
    """One bar for the stages of an operation; an instance is its `on_progress` callback.

    The bar is drawn if stderr is a terminal, by the first of several processes. Elsewhere nothing is printed, or, with
    `lines`, the metrics of training and the end of every other stage.
    """

    def __init__(
        self, stage: str, total: float | None = None, unit: str = "", *, lines: bool = False, quiet: bool = False
    ) -> None:
        console = stderr_console()
        may_draw = not quiet and log.isEnabledFor(logging.INFO)
        self.is_drawn = may_draw and console.file.isatty() and not console.is_dumb_terminal
        self._lines = lines and not quiet and not self.is_drawn
        self._outer = self._last = Progress(stage, 0, total, unit)  # a total of 1 is the item whose parts are counted
        self._meters = {stage: _Meter(self._last)}
        self._lock = RLock()
        self._has_begun = False  # the item that is next has been reported
        self._logged: Mapping[str, float] = {}
        self._console = console
        self._live = Live(
            self, console=console, transient=True, redirect_stdout=False, redirect_stderr=True, auto_refresh=True
        )

    def __enter__(self) -> Self:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self._hide()

    def __call__(self, progress: Progress) -> None:
        """Show a report of the operation."""
        before, is_new = self._last, progress.stage != self._last.stage
        if is_new:
            self._meters[before.stage].pause()
        self._meters.setdefault(progress.stage, _Meter(progress)).read(progress)
        self._last = progress  # last: another thread draws
        if is_new and self._live.is_started:
            self._live.refresh()  # the name of a stage goes when the stage ends
        if not self._lines:
            return
        if progress.stage == "train":
            if "loss" in progress.metrics and progress.metrics != self._logged:
                self._logged = progress.metrics
                log.info(describe_training(progress))
        elif progress.completed == progress.total != 0 and (is_new or before.completed != before.total):
            log.info("%s: %.0f of %.0f", progress.stage, progress.completed, progress.total)

    def within(self, progress: Progress) -> None:
        """Show a report of the item that is being done: its part of all items, or its own parts if it is the only one.

        `advance` counts it when it is done. A report of another stage is of a step that prepares an item, such as its
        flow; it may come from another thread, ahead of the items.
        """
        with self._lock:
            is_only, prepares = self._outer.total == 1, progress.stage != self._outer.stage
            self._has_begun |= not prepares
            self(progress if is_only else self._preparing(progress) if prepares else self._part(progress))

    def _part(self, progress: Progress) -> Progress:
        part = min(progress.completed / progress.total, 0.99) if progress.total else 0.0
        outer = self._outer
        return replace(outer, completed=outer.completed + part, name=progress.name, metrics=progress.metrics)

    def _preparing(self, progress: Progress) -> Progress:
        last = self._last if self._last.stage == self._outer.stage else self._outer
        frames = {f"{progress.unit}s of {progress.stage}": progress.completed}
        return replace(last, name=progress.name, metrics=frames)

    def advance(self) -> None:
        """One more item is done: by an earlier run, if there was no report within it."""
        with self._lock:
            outer, is_reused = self._outer, not self._has_begun
            self._outer = replace(outer, completed=outer.completed + 1, reused=outer.reused + is_reused)
            self._has_begun = False
            if outer.total != 1:
                self(self._outer)

    def update(self, completed: float, total: float | None = None) -> None:
        """So many items are done."""
        self._outer = replace(self._outer, completed=completed, total=self._outer.total if total is None else total)
        self(self._outer)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the bar while results are printed on stdout."""
        self._hide()
        yield
        self._show()

    def _show(self) -> None:
        if self.is_drawn:
            self._console.draw_bar(self._live)

    def _hide(self) -> None:
        self._console.erase_bar()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        last = self._last
        yield from _draw(last, self._meters[last.stage], console, options)


class _Meter:
    """The speed of a stage: units that took time, by the seconds in which the stage ran."""

    def __init__(self, progress: Progress) -> None:
        self._restart(progress)

    def _restart(self, progress: Progress) -> None:
        self._units = self._seconds = 0.0
        self._computed = progress.completed - progress.reused
        self._completed = progress.completed
        self._read_at: float | None = time.monotonic()
        self._started_at = time.monotonic()

    def read(self, progress: Progress) -> None:
        """Add what was done since the last report. Results that are reused took no time."""
        if progress.completed < self._completed:  # the next operation with a stage of this name
            self._restart(progress)
            return
        now = time.monotonic()
        computed = progress.completed - progress.reused
        if self._read_at is not None:  # else the stage begins again, as training does after a validation
            self._seconds += now - self._read_at
            self._units += computed - self._computed
        self._computed, self._completed, self._read_at = computed, progress.completed, now

    def pause(self) -> None:
        """Another stage runs until the next report."""
        self._read_at = None

    @property
    def rate(self) -> float | None:
        """Units a second; None: not known yet."""
        return self._units / self._seconds if self._units > 0 and self._seconds > 0 else None

    @property
    def elapsed(self) -> float:
        """Seconds since the first report."""
        return time.monotonic() - self._started_at

    def left(self, progress: Progress) -> float | None:
        """Seconds until the end of the stage; None: not known yet."""
        if progress.total is None or self.rate is None:
            return None
        since = 0.0 if self._read_at is None else time.monotonic() - self._read_at
        return max(0.0, (progress.total - progress.completed) / self.rate - since)


def _draw(progress: Progress, meter: _Meter, console: Console, options: ConsoleOptions) -> RenderResult:
    """Stage, file name, bar, count, time left, rate, metrics: what fits into one line, the less important left out."""
    width = max(options.max_width - ECHO, 1)
    stage, name = (_encodable(text, options) for text in (progress.stage, progress.name))
    time_shown = _clock(meter.elapsed) if progress.total is None else f"{_clock(meter.left(progress))} left"
    facts = [_count(progress), time_shown.rjust(10), _rate(meter.rate, progress.unit).rjust(11), _metrics(progress)]
    facts = [fact for fact in facts if fact.strip()]
    while len(facts) > 1 and cell_len(stage) + 2 + MIN_BAR + sum(2 + cell_len(fact) for fact in facts) > width:
        facts.pop()
    room = width - cell_len(stage) - 2 - sum(2 + cell_len(fact) for fact in facts)
    if room < MIN_BAR:
        yield Text(shorten(f"{stage}  {facts[0]}", width, dots=""), end="", no_wrap=True)
        return
    if name and room - MIN_BAR - 2 >= MIN_NAME:
        name = shorten(name, room - MIN_BAR - 2, dots="..." if options.ascii_only else "…")
        stage, room = f"{stage}  {name}", room - 2 - cell_len(name)
    bar_width = min(room, MAX_BAR)
    bar = [*console.render(DrawnBar(total=progress.total, completed=progress.completed, width=bar_width), options)]
    padding = bar_width - Segment.get_line_length(bar)  # without colours, the rest of the bar is not drawn
    yield Text(f"{stage}  ", end="", no_wrap=True)
    yield from bar
    yield Text(" " * padding + "".join(f"  {fact}" for fact in facts), end="", no_wrap=True)


def _encodable(name: str, options: ConsoleOptions) -> str:
    """The name as the terminal prints it."""
    return printable(name).encode(options.encoding, "backslashreplace").decode(options.encoding)


def shorten(name: str, width: int, *, dots: str = "…") -> str:
    """A name in at most so many columns, without its middle: clips/a_lo…_end.mp4."""
    if cell_len(name) <= width:
        return name
    room = max(width - cell_len(dots), 0)
    head = _first_cells(name, room // 2)
    tail = _first_cells(name[::-1], room - cell_len(head))[::-1]
    return f"{head}{dots}{tail}"[: max(width, 0)]


def _first_cells(text: str, room: int) -> str:
    """The characters at the beginning of a text that fit into so many columns."""
    for length, char in enumerate(text):
        room -= cell_len(char)
        if room < 0:
            return text[:length]
    return text


def _count(progress: Progress) -> str:
    """3/40 clips; the first number takes as many columns as the second."""
    if progress.total is None:
        return progress.count
    total = f"{progress.total:,.0f}"
    units = f" {progress.unit}{'s' * (progress.unit not in ('', 's') and progress.total != 1)}"
    return f"{int(progress.completed):{len(total)},}/{total}{units}".rstrip()


def _rate(rate: float | None, unit: str) -> str:
    """12.3 clips/s, or 4.2 s/clip."""
    if rate is None or not unit:
        return ""
    if rate >= 1:
        return f"{rate:,.1f} {unit}{'s' * (unit != 's')}/s"
    return f"{1 / rate:,.1f} s/{unit}"


def _metrics(progress: Progress) -> str:
    if progress.stage == "train":
        shown = {"loss": "loss", "top1": "top-1"}
        return ", ".join(f"{shown[name]} {value:.3f}" for name, value in progress.metrics.items() if name in shown)
    return progress.described_metrics


def _clock(seconds: float | None) -> str:
    """0:07, 12:30, 3:04:05; days beyond."""
    if seconds is None:
        return "-:--"
    whole = round(seconds)
    if whole >= 86_400:
        return f"{whole // 86_400} d {whole // 3600 % 24} h"
    minutes = f"{whole // 60 % 60:02d}" if whole >= 3600 else f"{whole // 60}"
    return f"{whole // 3600}:{minutes}:{whole % 60:02d}" if whole >= 3600 else f"{minutes}:{whole % 60:02d}"


def describe_training(progress: Progress) -> str:
    """A report of training steps in one line."""
    metrics, step, total = progress.metrics, progress.completed, progress.total or 0
    return (
        f"epoch {metrics['epoch']:.0f}, step {step:.0f} of {total:.0f}: "
        f"loss {metrics['loss']:.4f}, top-1 {metrics['top1']:.3f}, lr {metrics['lr']:.2e}, "
        f"{metrics['clips_per_second']:.2f} clips/s, {100 * metrics['data_wait']:.0f} % waiting for data, "
        f"{metrics['memory_gib']:.1f} GiB, {_duration((total - step) * metrics['step_seconds'])} left"
    )


def _duration(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))
    return f"{minutes // 1440} d {minutes // 60 % 24} h" if minutes >= 1440 else f"{minutes // 60}:{minutes % 60:02d} h"
