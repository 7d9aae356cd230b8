"""The clips of a set, in its order: chosen, decoded and resized, or from the cache.

Letters in names: T frames, H rows, W columns, C channels, D numbers of a feature.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from i3d.data.content import check_unchanged, file_stamp
from i3d.errors import VideoError
from i3d.utils.cache import Cache, cache_key
from i3d.video.base import Limits, Source, Video
from i3d.video.reader import open_video
from i3d.video_distance.arrays import Clip, ValueRange
from i3d.video_distance.embedding import Embedder
from i3d.video_distance.protocols import FvdProtocol
from i3d.video_distance.resizing import Floats, resize_clip
from i3d.video_distance.sources import ClipSource, Item, digest_of

Order = Literal["forward", "shuffled", "frozen"]
VERSION: Final = 2  # part of the cache key: increase it when features change
ARRAY: Final = "array"  # the encoding of clips in memory
SIZES: Final = 2  # numbers behind a cached feature: height and width of the clip


@dataclass(frozen=True)
class ClipReader:
    """How the clips of a set are chosen, decoded, resized and cached."""

    side: str  # "real" or "generated"
    protocol: FvdProtocol
    embedder: Embedder
    cache: Cache
    seed: int = 0
    orders: tuple[Order, ...] = ("forward",)
    limits: Limits = field(default_factory=Limits)

    def key(self, digest: str, first: int, order: Order, *, is_array: bool) -> str:
        """The cache key of the feature of a clip: its content, and all of the protocol that changes the feature."""
        p, engine = self.protocol, self.embedder.engine
        return cache_key(
            fvd=VERSION,
            content=digest,
            frames=[first, p.frames, p.stride],
            resize=[p.resize, p.resolution if p.resize == "twice" and not is_array else None],
            order=[order, self.seed if order == "shuffled" else None],
            features=p.features,
            weights=self.embedder.sha256,
            run=[engine.arithmetic, engine.runtime, engine.device.type],
        )


@dataclass(frozen=True, eq=False)
class ReadClip:
    """A clip of a set: resized frames, and the features of those orders that the cache has."""

    name: str
    digest: str  # of its video
    encoding: str
    size: tuple[int, int]  # height, width before the resize
    first: int  # frame of the video
    place: int  # of the clip among those of its video
    num_frames: int  # of the video
    keys: Mapping[Order, str]
    cached: Mapping[Order, Floats]
    frames_THWC: Floats | None  # None: all orders are cached
    notes: tuple[str, ...] = ()  # of its video: truncated, damaged
    fps: float | None = None  # of its video; None: it has no times


@dataclass(frozen=True)
class NoClip:
    """A video without a clip: it is too short, or cannot be read."""

    name: str
    num_frames: int | None  # None: it cannot be read
    error: str = ""


def read_clips(source: ClipSource, reader: ClipReader, values: ValueRange) -> Iterator[ReadClip | NoClip]:
    """Yield the clips of a set, at most `max_clips`, and the videos without one."""
    number = 0
    for item in source.items:
        if number == reader.protocol.max_clips:
            return
        try:
            for clip in _clips_of_item(item, reader, values):
                yield clip
                number += isinstance(clip, ReadClip)
                if number == reader.protocol.max_clips:
                    return
        except VideoError as error:
            yield NoClip(item.name, None, str(error))


def _clips_of_item(item: Item, reader: ClipReader, values: ValueRange) -> Iterator[ReadClip | NoClip]:
    source = item.load()
    if isinstance(source, Clip):
        values.add(source)
        yield from _clips_of_array(item.name, source, reader)
        return
    stamp = file_stamp(str(source)) if not isinstance(source, bytes | list) else ()
    digest = digest_of(source)
    with open_video(source, limits=reader.limits, name=item.name if isinstance(source, bytes) else None) as video:
        yield from _clips_of_video(item.name, source, video, digest, reader, stamp)


def _clips_of_array(name: str, clip: Clip, reader: ClipReader) -> Iterator[ReadClip | NoClip]:
    p, frames = reader.protocol, clip.frames_THWC
    starts = clip_starts(len(frames), reader, clip.digest)
    if not starts:
        yield NoClip(name, len(frames))
    for place, first in enumerate(starts):
        keys = {order: reader.key(clip.digest, first, order, is_array=True) for order in reader.orders}
        cached = cached_features(keys, reader)
        is_needed = len(cached) < len(keys)
        resized = resize_clip(clip.select(first, p.frames, p.stride), p.resize) if is_needed else None
        size = frames.shape[1], frames.shape[2]
        yield ReadClip(name, clip.digest, ARRAY, size, first, place, len(frames), keys, cached, resized)


def _clips_of_video(
    name: str, source: Source, video: Video, digest: str, reader: ClipReader, stamp: Any
) -> Iterator[ReadClip | NoClip]:
    p = reader.protocol
    starts = clip_starts(video.num_frames, reader, digest)
    if not starts:
        yield NoClip(name, video.num_frames)
    for place, first in enumerate(starts):
        keys = {order: reader.key(digest, first, order, is_array=False) for order in reader.orders}
        cached = cached_features(keys, reader)
        resized, size = None, _cached_size(keys["forward"], reader) if cached else (0, 0)
        if len(cached) < len(keys):
            frames_THWC = video.frames_at(range(first, first + p.span, p.stride)).frames_THWC
            size = frames_THWC.shape[1], frames_THWC.shape[2]
            resized = resize_clip(frames_THWC, p.resize, resolution=p.resolution)
            check_unchanged(str(source) if stamp else "", stamp)
        yield ReadClip(
            name, digest, video.encoding, size, first, place, video.num_frames, keys, cached, resized, video.notes,
            fps=None if video.fps is None else float(video.fps),
        )  # fmt: skip


def clip_starts(num_frames: int, reader: ClipReader, digest: str) -> list[int]:
    """The first frames of the clips of a video; [] if it is too short for one.

    A random place is drawn by the seed and the content: neither other videos nor their order change it.
    """
    span, room = reader.protocol.span, num_frames - reader.protocol.span
    if room < 0:
        return []
    match reader.protocol.clips_of(reader.side):
        case "first":
            return [0]
        case "random":
            return [int(np.random.default_rng((reader.seed, int(digest[:16], 16))).integers(room + 1))]
        case _:
            return list(range(0, room + 1, span))


def cached_features(keys: Mapping[Order, str], reader: ClipReader) -> dict[Order, Floats]:
    """The cached features of a clip, by the order of its frames."""
    loaded = ((order, _load(key, reader)) for order, key in keys.items())
    return {order: values[:-SIZES] for order, values in loaded if values is not None}


def _cached_size(key: str, reader: ClipReader) -> tuple[int, int]:
    """Height and width of a clip whose feature is cached; zeros if it is not."""
    values = _load(key, reader)
    return (0, 0) if values is None else (int(values[-2]), int(values[-1]))


def _load(key: str, reader: ClipReader) -> Floats | None:
    """A cached feature, followed by height and width; one of another shape counts as missing."""
    values = reader.cache.load_array(key)
    return values if values is not None and values.shape == (reader.embedder.num_features + SIZES,) else None


def reorder(clip: ReadClip, order: Order, seed: int) -> Floats:
    """The frames of a clip as they are, shuffled by the seed and the content, or its middle frame repeated."""
    frames_THWC = clip.frames_THWC
    assert frames_THWC is not None
    length = len(frames_THWC)
    if order == "forward":
        return frames_THWC
    if order == "shuffled":
        rng = np.random.default_rng((seed, int(clip.digest[:16], 16), clip.first))
        return frames_THWC[rng.permutation(length)]
    return np.repeat(frames_THWC[length // 2 : length // 2 + 1], length, axis=0)


def save_feature(clip: ReadClip, order: Order, feature_D: npt.NDArray[np.float32], cache: Cache) -> None:
    """Cache the feature of a clip with its height and width."""
    cache.save_array(clip.keys[order], np.concatenate([feature_D, np.array(clip.size, np.float32)]))
