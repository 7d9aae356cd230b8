"""What a stream prints: a line of each source a second, or JSON lines. This module does not import PyTorch."""

import json
from collections.abc import Sequence

from i3d.cli.messages import log
from i3d.cli.output.timelines import clock
from i3d.errors import counted, printable
from i3d.streaming.results import StreamEvent, StreamLabel, StreamStats

ENDED = ("ended", "failed")


class StreamLines:
    """Print labels, statistics and events of sources as they come. Each line is flushed: a program may read it."""

    def __init__(self, *, many: bool, json: bool) -> None:
        self._many, self._json = many, json
        self._last: dict[str, StreamLabel] = {}
        self._ended: set[str] = set()
        self._unprinted: set[str] = set()  # sources whose last label no line has yet

    def add(self, item: StreamLabel | StreamStats | StreamEvent) -> None:
        """The next item of a stream."""
        if isinstance(item, StreamEvent):
            self._event(item)
        elif isinstance(item, StreamLabel):
            self._last[item.source] = item
            self._unprinted.add(item.source)
            self._print_json("label", item)
            if item.source in self._ended:  # of the last window, computed after the end
                self._print_last(item.source)
        elif item.source not in self._ended:
            if item.state in ENDED:
                self._ended.add(item.source)
            self._print_json("stats", item)
            if not self._json:
                print(self._line(item), flush=True)

    def summarise(self, stats: Sequence[StreamStats]) -> None:
        """The last label of each source, if no line has it yet, and the last line of each."""
        for row in stats:
            self._print_last(row.source)
            self._print_json("summary", row)
            if not self._json:
                print(self._summary(row), flush=True)

    def _print_last(self, source: str) -> None:
        if source in self._unprinted and not self._json:
            self._unprinted.discard(source)
            label = self._last[source]
            print("  ".join([f"{clock(label.seconds):>9}", *self._name(source), "last", _top1(label)]), flush=True)

    def _event(self, event: StreamEvent) -> None:
        log.warning("%s: %s", event.source, printable(event.what))
        if self._json:
            print(json.dumps({"type": "event", "source": event.source, "what": event.what}), flush=True)

    def _print_json(self, kind: str, row: StreamLabel | StreamStats) -> None:
        if self._json:
            print(json.dumps({"type": kind, **row.to_dict()}), flush=True)

    def _line(self, row: StreamStats) -> str:
        """0:12.000  archery 83 %  lag 0.42 s (p50 0.41, ...), age 0.9 s  375 frames, 311 used, 0 dropped (0 %)"""
        label = self._last.get(row.source)
        self._unprinted.discard(row.source)
        words = [f"{clock(row.seconds):>9}"]
        words += self._name(row.source)
        words += [row.state] if row.state != "connected" else []
        if label is None:
            words.append("no label yet")
        else:
            words.append(_top1(label))
            words.append(f"lag {label.lag:.2f} s ({_lags(row)}), age {row.label_age or 0:.1f} s")
        return "  ".join([*words, f"{row.captured:,} frames, {row.used:,} used, {_dropped(row)}"])

    def _name(self, source: str) -> list[str]:
        return [source] if self._many else []

    def _summary(self, row: StreamStats) -> str:
        name = f"{row.source}: " if self._many else ""
        windows = f"{counted(row.windows, 'window')} in {row.seconds:.1f} s, {row.skipped:,} skipped"
        frames = f"{counted(row.captured, 'frame')}, {row.used:,} used, {_dropped(row)}, {row.left_out:,} left out"
        lag = "no label" if row.lag_max is None else f"lag {_lags(row)} s"
        again = f"; {counted(row.reconnects, 'reconnection')}" if row.reconnects else ""
        return f"{name}{windows}; {frames}; {lag}{again}"


def _top1(label: StreamLabel) -> str:
    """archery 83 %"""
    return f"{printable(label.top1.label)} {100 * label.top1.score:.0f} %"


def _lags(row: StreamStats) -> str:
    return f"p50 {row.lag_p50 or 0:.2f}, p95 {row.lag_p95 or 0:.2f}, max {row.lag_max or 0:.2f}"


def _dropped(row: StreamStats) -> str:
    return f"{row.dropped:,} dropped ({100 * row.dropped_share:.0f} %)"
