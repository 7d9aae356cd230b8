"""A running stream: sources that are read in threads of their own, and one network that labels their windows.

with opened(sources, shared.stop, speed=1) as videos:
    stream = Stream(scorer, sources, videos, settings, shared)
    for item in stream.run():        # StreamLabel | StreamStats | StreamEvent
        print(item)
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from i3d.errors import InputError, VideoError
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol
from i3d.streaming.buffer import SourceBuffer, Window
from i3d.streaming.capture import Capture, Shared
from i3d.streaming.display import Display
from i3d.streaming.names import LiveSource, Policy
from i3d.streaming.passes import Passes, slow_network
from i3d.streaming.results import LagLog, StreamEvent, StreamLabel, StreamStats
from i3d.streaming.scorer import WindowScorer
from i3d.streaming.sources import NETWORK_SECONDS
from i3d.timelines.scores import SlidingWindows, sliding_windows
from i3d.video.live import Clock, LiveVideo

ASSUMED_FPS: Final = 25.0  # of a source that states no rate, for a network that takes frames at the source's own
TICK_SECONDS: Final = 1.0  # between statistics


@dataclass(frozen=True)
class StreamSettings:
    """How sources are read and labelled."""

    span: float | None = None  # seconds of a window; None: as the network was trained
    step: float | None = None  # from one window to the next; None: a quarter of a window
    policy: Policy | None = None  # None: "all" for files, "newest" for others
    speed: float = 1.0  # of files: 2 plays them twice as fast
    top_k: int = 5
    max_seconds: float | None = None  # after which the stream stops
    give_up_seconds: float | None = None  # after which a lost source is given up; None: never

    def __post_init__(self) -> None:
        for name in ("span", "step", "speed", "max_seconds", "give_up_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} {value:g}: must be above 0")
        if self.top_k < 1:
            raise InputError(f"top_k {self.top_k}: must be at least 1")


@dataclass(frozen=True)
class RatedVideo:
    """A source with the frame rate that windows are cut by."""

    name: str
    fps: float


def windows_of(recipe: Recipe, video: LiveVideo, settings: StreamSettings) -> tuple[SlidingWindows, str]:
    """The windows of a source, and what was assumed. A stride beyond a window is an InputError: it loses frames."""
    takes_own_rate = isinstance(recipe.protocol, ClipProtocol) and recipe.protocol.target_fps is None
    fps = video.fps if takes_own_rate else ASSUMED_FPS
    note = "" if fps else f"{video.name}: states no frame rate, taken as {ASSUMED_FPS:g} fps"
    rated = RatedVideo(video.name, fps or ASSUMED_FPS)
    windows = sliding_windows(recipe, rated, span=settings.span, step=settings.step)
    if windows.step > windows.span:
        what = f"stride {windows.step:g} s: is longer than a window, {windows.span:.3g} s"
        raise InputError(f"{what}, and frames between would not be used; give a shorter one")
    return windows, note


class Stream:
    """Open sources and a network. `run` may be called once."""

    def __init__(
        self,
        scorer: WindowScorer,
        sources: Sequence[LiveSource],
        videos: Sequence[LiveVideo],
        settings: StreamSettings,
        shared: Shared,
        *,
        display: Display | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.windows = [windows_of(scorer.recipe, video, settings)[0] for video in videos]
        if (frames := self.windows[0].frames) < scorer.engine.min_frames:
            what = f"window {self.windows[0].span:g} s: has {frames} of the {scorer.engine.min_frames} frames"
            raise InputError(f"{what} that the network takes at least; give a longer one")
        self._scorer, self._settings, self._shared, self._clock = scorer, settings, shared, clock
        self._passes, self._is_slowness_reported = Passes(scorer, clock), False
        self._display = display
        self._captures = [
            Capture(
                source, video, _buffer(windows, source.policy), scorer.recipe.preprocessing, shared,
                fps=windows.fps, stride_seconds=windows.step, speed=settings.speed,
                give_up_seconds=settings.give_up_seconds,
                on_frame=None if display is None else display.taker_of(source.name),
            )
            for source, video, windows in zip(sources, videos, self.windows, strict=True)
        ]  # fmt: skip
        self._lags = [LagLog() for _ in sources]
        self._is_abandoned = False
        self._labelled: list[float | None] = [None] * len(sources)  # arrival of the newest frame of the last label
        self._start = self._next_tick = clock()

    @property
    def failed(self) -> list[VideoError]:
        """Why sources failed."""
        return [capture.error for capture in self._captures if capture.error is not None]

    def run(self) -> Iterator[StreamLabel | StreamStats | StreamEvent]:
        """Labels as they are computed, statistics of each source once a second, and events; until all sources end."""
        try:
            self._passes.warm_up(batch=len(self._captures), frames=self.windows[0].frames)
            self._start = self._clock()
            self._next_tick = self._start + TICK_SECONDS
            for capture in self._captures:
                capture.thread.start()
            while not self._is_over():
                batch = self._wait(self._next_tick)
                yield from self._events()
                yield from self._label(batch)
                yield from self._due_stats()
            yield from self._events()
        finally:
            self.close()

    def abandon(self) -> None:
        """Let `close` not wait for a source that is silent, or for a pass: the process ends."""
        self._is_abandoned = True

    def close(self) -> None:
        """Stop reading, and wait for the threads that read, and for a pass."""
        with self._shared.condition:
            self._shared.stop.set()
            self._shared.condition.notify_all()
        for capture in self._captures:
            if capture.thread.ident is not None:
                capture.thread.join(0.5 if self._is_abandoned else NETWORK_SECONDS + 1)
        self._passes.close(is_abandoned=self._is_abandoned)

    def stats(self) -> list[StreamStats]:
        """Each source, now."""
        with self._shared.condition:
            return [self._stats(number) for number in range(len(self._captures))]

    def _wait(self, until: float) -> list[tuple[int, Window]]:
        """The windows that are due, one of each source at most, with the number of the source; [] at the time `until`.

        Sources of the newest frames join a batch up to half a stride early: later they are due together.
        """
        condition, buffers = self._shared.condition, [capture.buffer for capture in self._captures]

        def is_any_due() -> bool:
            return any(buffer.is_due() for buffer in buffers)

        with condition:
            seconds = max(0.0, min(until, self._stop_at) - self._clock())
            condition.wait_for(lambda: is_any_due() or self._shared.events or self._is_over(), seconds)
            if not is_any_due() or self._is_over():
                return []
            batch = [(n, buffer.take()) for n, buffer in enumerate(buffers) if buffer.is_due(early=True)]
            condition.notify_all()  # a source that waits has room now
            return batch

    def _due_stats(self) -> Iterator[StreamStats]:
        """Statistics of each source, if a second has passed since the last ones."""
        if (late := self._clock() - self._next_tick) >= 0:
            yield from self.stats()
            self._next_tick += TICK_SECONDS * (1 + late // TICK_SECONDS)

    def _label(self, batch: list[tuple[int, Window]]) -> Iterator[StreamLabel | StreamStats | StreamEvent]:
        """The labels of windows, which run through the network at once; statistics each second meanwhile."""
        if not batch:
            return
        names = [self._captures[number].source.name for number, _ in batch]
        self._passes.start([window.clip_THWC for _, window in batch], name=", ".join(names))
        while not self._passes.is_done(until=self._next_tick):
            yield from self._events()
            yield from self._due_stats()
        scores_WK, now = self._passes.result()
        yield from self._slowness()
        day = datetime.now(UTC).isoformat(timespec="milliseconds")
        for (number, window), name, scores_K in zip(batch, names, scores_WK, strict=True):
            first, last = window.frames[0], window.frames[-1]
            with self._shared.condition:
                self._lags[number].add(now - last.arrival)
                self._labelled[number] = last.arrival
            best = self._scorer.best(scores_K, k=self._settings.top_k)
            if self._display is not None:
                self._display.show_labels(name, best)
            yield StreamLabel(
                source=name,
                predictions=best,
                seconds=last.arrival - self._start,
                time=day,
                lag=now - last.arrival,
                window_age=now - first.arrival,
                first_pts=None if first.pts is None else float(first.pts),
                last_pts=None if last.pts is None else float(last.pts),
                is_padded=window.is_padded,
            )

    def _slowness(self) -> Iterator[StreamEvent]:
        """Once, if the network needs longer than the shortest stride."""
        if self._is_slowness_reported or (seconds := self._passes.median_seconds) is None:
            return
        for capture, windows in zip(self._captures, self.windows, strict=True):
            speed = self._settings.speed if capture.source.kind == "file" else 1.0
            if what := slow_network(seconds, windows, capture.source.policy, speed=speed):
                self._is_slowness_reported = True
                yield StreamEvent(capture.source.name, what)
                return

    @property
    def _stop_at(self) -> float:
        seconds = self._settings.max_seconds
        return float("inf") if seconds is None else self._start + seconds

    def _is_over(self) -> bool:
        if self._clock() >= self._stop_at or self._shared.stop.is_set():
            return True
        return all(c.state in ("ended", "failed") and not c.buffer.is_due() for c in self._captures)

    def _events(self) -> Iterator[StreamEvent]:
        while self._shared.events:
            yield self._shared.events.popleft()

    def _stats(self, number: int) -> StreamStats:
        capture, lags, labelled = self._captures[number], self._lags[number], self._labelled[number]
        counts, now = capture.buffer.counts, self._clock()
        return StreamStats(
            source=capture.source.name,
            state=capture.state,
            seconds=now - self._start,
            captured=counts.captured,
            used=counts.used,
            dropped=counts.dropped,
            left_out=counts.left_out,
            waiting=counts.waiting,
            windows=counts.windows,
            skipped=counts.skipped,
            reconnects=capture.reconnects,
            lag_p50=lags.quantile(0.5),
            lag_p95=lags.quantile(0.95),
            lag_max=lags.max,
            label_age=None if labelled is None else now - labelled,
        )


def _buffer(windows: SlidingWindows, policy: Policy) -> SourceBuffer:
    """The buffer for windows of `frames` slots, every `interval`-th."""
    stride = min(max(1, round(windows.stride / windows.interval)), windows.frames)
    return SourceBuffer(windows.frames, stride, policy=policy, interval=windows.interval)
