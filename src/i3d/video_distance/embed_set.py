"""From a set of videos to its statistics: each clip is read, run through the network, counted and forgotten.

Letters in names: N clips, D numbers of a feature.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from i3d.errors import InputError
from i3d.utils.prefetch import prefetch
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video_distance.arrays import ValueRange
from i3d.video_distance.clips import (
    ARRAY,
    ClipReader,
    NoClip,
    Order,
    ReadClip,
    cached_features,
    read_clips,
    reorder,
    save_feature,
)
from i3d.video_distance.feature_files import FeatureSource
from i3d.video_distance.sources import ClipSource
from i3d.video_distance.statistics import Moments, Sample

MAX_SAMPLE: Final = 10_000  # clips whose features stay in memory, for KVD, chance and bootstrap: 16 MB
FRAMES_AHEAD: Final = 64  # that wait, resized, while the network runs: 38 MB
LOSSLESS: Final = frozenset({"array", "ffv1", "rawvideo", "huffyuv", "ffvhuff", "utvideo", "png", "bmp", "tif", "tiff"})


@dataclass(eq=False)
class EmbeddedSet:
    """A set of clips as statistics, and what is reported on it."""

    name: str
    moments: dict[Order, Moments]
    sample: Sample
    num_videos: int = 0
    num_unread: int = 0  # videos, or rows of features, behind the last clip of `max_clips`
    short: list[tuple[str, int]] = field(default_factory=list)  # videos without a clip, with their frames
    errors: list[str] = field(default_factory=list)  # of videos that cannot be read
    encodings: Counter[str] = field(default_factory=Counter)  # clips of each
    rates: Counter[str] = field(default_factory=Counter)  # clips of each frame rate, in words
    digests: list[bytes] = field(default_factory=list)  # of the videos
    first_array: tuple[str, int] | None = None  # the first clip that is an array, and its frames
    notes: dict[tuple[str, str], None] = field(default_factory=dict)  # (video, remark on its frames)
    origin: str = ""  # of features that were extracted before
    num_computed: int = 0  # features that were not cached

    @property
    def number(self) -> int:
        """Clips."""
        return self.moments["forward"].number

    @property
    def sha256(self) -> str:
        """A hash of the set, whatever the order of its videos."""
        return hashlib.sha256(b"".join(sorted(self.digests))).hexdigest()

    @property
    def compressed(self) -> dict[str, float]:
        """The fraction of its clips of each codec that loses quality, as far as the names show."""
        fractions: dict[str, float] = {}
        for name, number in self.encodings.items():
            if LOSSLESS.isdisjoint(name.split()):
                codec = name.split()[-1]  # behind the container, which changes no pixel
                fractions[codec] = fractions.get(codec, 0.0) + number / self.encodings.total()
        return fractions


@dataclass
class SizeCheck:
    """All clips of both sets have the height and width of the first one."""

    is_off: bool = False
    first: ReadClip | None = None
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, clip: ReadClip) -> None:
        """Count a clip; another size is an InputError, unless the check is off."""
        self.first = self.first or clip
        self.sizes[clip.size] += 1
        if clip.size != self.first.size and not self.is_off:
            (height, width), (first_height, first_width) = clip.size, self.first.size
            raise InputError(
                f"{clip.name}: is {width} x {height}, {self.first.name} {first_width} x {first_height}; give clips of "
                "one size, or --mixed-sizes (mixed_sizes=True), which resizes each by itself"
            )


def embed_set(
    source: ClipSource | FeatureSource,
    reader: ClipReader | None,
    sizes: SizeCheck,
    *,
    max_clips: int | None = None,
    seed: int = 0,
    on_progress: ProgressCallback = ignore_progress,
) -> EmbeddedSet:
    """The statistics of a set; of features, those of the first `max_clips` rows.

    Fewer than 2 clips, and clips that differ in size or range, are an InputError.
    """
    if isinstance(source, FeatureSource):
        return _of_features(source, max_clips, seed)
    assert reader is not None
    embedded = EmbeddedSet(source.name, {order: Moments() for order in reader.orders}, Sample(MAX_SAMPLE, seed=seed))
    values, stage = ValueRange(source.name), f"{reader.side} set"
    ahead = max(1, FRAMES_AHEAD // reader.protocol.frames)
    on_progress(Progress(stage, 0, source.number, "video"))
    with closing(prefetch(read_clips(source, reader, values), max_ahead=ahead)) as clips:
        for clip in clips:
            embedded.num_videos += isinstance(clip, NoClip) or clip.place == 0
            if isinstance(clip, NoClip):
                _count_missing(embedded, clip)
            else:
                sizes.add(clip)
                _add(embedded, clip, reader)
            on_progress(Progress(stage, embedded.num_videos, source.number, "video", name=clip.name))
    values.check()
    if values.warning:
        embedded.notes[source.name, values.warning] = None
    embedded.num_unread = 0 if source.number is None else max(source.number - embedded.num_videos, 0)
    if embedded.number < 2:
        raise InputError(_too_few(embedded, reader))
    return embedded


def _of_features(source: FeatureSource, max_clips: int | None, seed: int) -> EmbeddedSet:
    sample, rows_ND = Sample(MAX_SAMPLE, seed=seed), source.rows_ND[:max_clips]
    sample.add(rows_ND)
    moments: Mapping[Order, Moments] = {"forward": Moments.of(rows_ND)}
    num_unread = len(source.rows_ND) - len(rows_ND)
    embedded = EmbeddedSet(source.name, dict(moments), sample, num_unread=num_unread, origin=source.origin)
    embedded.digests.append(bytes.fromhex(source.sha256))
    if embedded.number < 2:
        raise InputError(f"{source.name}: has {embedded.number} row of features; a covariance needs at least 2 clips")
    return embedded


def _count_missing(embedded: EmbeddedSet, clip: NoClip) -> None:
    if clip.num_frames is None:
        embedded.errors.append(clip.error)
    else:
        embedded.short.append((clip.name, clip.num_frames))


def _add(embedded: EmbeddedSet, clip: ReadClip, reader: ClipReader) -> None:
    """Count the features of a clip, computing those that the cache lacks."""
    if clip.place == 0:
        embedded.digests.append(bytes.fromhex(clip.digest))
    embedded.notes.update({(clip.name, note): None for note in clip.notes})
    if clip.encoding == ARRAY:
        _check_length(embedded, clip)
    embedded.encodings[clip.encoding] += 1
    if clip.fps is not None:
        embedded.rates[f"{clip.fps:.4g} fps"] += 1
    for order in reader.orders:
        feature_D = clip.cached.get(order)
        if feature_D is None:  # an equal clip may have been computed since this one was read
            feature_D = cached_features({order: clip.keys[order]}, reader).get(order)
        if feature_D is None:
            feature_D = reader.embedder(reorder(clip, order, reader.seed))
            if not clip.notes:  # these are reported again by the next run
                save_feature(clip, order, feature_D, reader.cache)
            embedded.num_computed += 1
        embedded.moments[order].add(feature_D[None])
        if order == "forward":
            embedded.sample.add(feature_D[None])


def _check_length(embedded: EmbeddedSet, clip: ReadClip) -> None:
    """Arrays of a set have one length; another one is an InputError."""
    name, num_frames = embedded.first_array = embedded.first_array or (clip.name, clip.num_frames)
    if clip.num_frames != num_frames:
        raise InputError(
            f"{clip.name}: has {clip.num_frames} frames, {name} has {num_frames}; give clips of one length"
        )


def _too_few(embedded: EmbeddedSet, reader: ClipReader) -> str:
    """Why a set with fewer than 2 clips is refused."""
    have = f"{embedded.name}: gives {embedded.number} of the at least 2 clips that a covariance needs"
    if embedded.errors:
        return f"{have}; {embedded.errors[0]}"
    if embedded.short:
        name, num_frames = embedded.short[0]
        p = reader.protocol
        return f"{have}: {name} has {num_frames} frames, a clip needs {p.span}; use fewer --frames, or longer videos"
    more = "" if reader.protocol.clips_of(reader.side) == "all" else ", or take --clips all"
    return f"{have}; name a folder or a list of more videos{more}"
