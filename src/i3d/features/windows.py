"""Which frames a row of features is made of, and the windows of a stream, without holding more than one window.

Letters in names: T frames of a window, H rows, W columns, C channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from i3d.recipes.features import FeatureSettings
from i3d.video.base import FrameHWC


class Row(NamedTuple):
    """A window: frames first..stop of the stream; those that are not there are the first or the last again."""

    first: int
    stop: int


def row_at(number: int, settings: FeatureSettings) -> Row:
    """Row `number` of any video: 64 frames, stride 8 -> 0..64, 8..72 ...; centred, 5 frames, stride 1 -> -2..3 ..."""
    first = number * settings.stride
    if settings.align == "centre":
        first -= settings.window // 2
    return Row(first, first + settings.window)


def num_rows(num_frames: int, settings: FeatureSettings) -> int:
    """How many rows a video of so many frames has, from row 0 on; those before the first that fits are counted too."""
    if settings.padding == "repeat":
        return -(-num_frames // settings.stride)
    last = num_frames - settings.window + (settings.window // 2 if settings.align == "centre" else 0)
    return last // settings.stride + 1 if last >= 0 else 0


def windows_of_stream(frames: Iterable[FrameHWC], settings: FeatureSettings) -> Iterator[tuple[Row, list[FrameHWC]]]:
    """Every row with its frames, as soon as they are there. At most a window and a stride of frames are held."""
    held: deque[FrameHWC] = deque()
    begin = num_frames = number = 0  # of the held frames: the number of the first
    for frame_HWC in frames:
        held.append(frame_HWC)
        num_frames += 1
        while (row := row_at(number, settings)).stop <= num_frames:
            if row.first >= 0 or settings.padding == "repeat":
                yield row, _window(row, held, begin, num_frames)
            number += 1
            keep = max(min(row_at(number, settings).first, num_frames - 1), 0)
            while begin < keep:
                held.popleft()
                begin += 1
    while number < num_rows(num_frames, settings):
        row = row_at(number, settings)
        if row.first >= 0 or settings.padding == "repeat":
            yield row, _window(row, held, begin, num_frames)
        number += 1


def _window(row: Row, held: deque[FrameHWC], begin: int, num_frames: int) -> list[FrameHWC]:
    there = list(held)
    return [there[min(max(index, 0), num_frames - 1) - begin] for index in range(*row)]
