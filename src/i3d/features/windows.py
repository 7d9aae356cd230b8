"""The windows of a stream of frames, one for each row of features; only the current window is in memory.

Letters in names: T frames of a window, H rows, W columns, C channels.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from i3d.recipes.features import FeatureSettings
from i3d.video.base import FrameHWC


class Row(NamedTuple):
    """A window: frames first to stop - 1 of the stream; outside the stream the first or last frame is repeated."""

    first: int
    stop: int


def row_at(number: int, settings: FeatureSettings) -> Row:
    """Row `number` of any video: 64 frames, stride 8 -> 0..64, 8..72 ...; centred, 5 frames, stride 1 -> -2..3 ..."""
    first = number * settings.stride
    if settings.align == "centre":
        first -= settings.window // 2
    return Row(first, first + settings.window)


def num_rows(num_frames: int, settings: FeatureSettings) -> int:
    """The number of rows of a video, from row 0; rows before the first that fits are counted too."""
    if settings.padding == "repeat":
        return -(-num_frames // settings.stride)
    last = num_frames - settings.window + (settings.window // 2 if settings.align == "centre" else 0)
    return last // settings.stride + 1 if last >= 0 else 0


def windows_of_stream(frames: Iterable[FrameHWC], settings: FeatureSettings) -> Iterator[tuple[Row, list[FrameHWC]]]:
    """Yield each row with its frames as soon as they are decoded. At most a window and a stride are buffered."""
    buffer: list[FrameHWC] = []
    begin = num_frames = number = 0  # `begin`: the index of the first buffered frame
    for frame_HWC in chain(frames, [None]):  # None: the end, where rows may repeat the last frame
        if frame_HWC is not None:
            buffer.append(frame_HWC)
            num_frames += 1
        is_end = frame_HWC is None
        while number < num_rows(num_frames, settings) if is_end else row_at(number, settings).stop <= num_frames:
            row = row_at(number, settings)
            if row.first >= 0 or settings.padding == "repeat":
                yield row, [buffer[min(max(index, 0), num_frames - 1) - begin] for index in range(*row)]
            number += 1
            first = max(min(row_at(number, settings).first, num_frames - 1), 0, begin)
            del buffer[: first - begin]
            begin = first
