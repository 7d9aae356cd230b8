"""`i3d features compare`: the similarity of two files of features row by row, and likely causes of differences.

    compare_features(Path("a/clip.npy"), Path("b/clip.npy")).cosines_R

Letters in names: R rows, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from i3d.data.resume import changed_settings
from i3d.errors import InputError, VideoError
from i3d.features.alignment import Floats, align, cosines
from i3d.features.array_formats import read_array
from i3d.features.extractor import FeatureExtractor, Stream
from i3d.features.sidecar import EDITED, has_digest, read_sidecar
from i3d.recipes.features import FeatureSettings
from i3d.recipes.settings import Preprocessing
from i3d.utils.arguments import checks_types
from i3d.utils.outputs import file_sha256
from i3d.video.base import FrameHWC
from i3d.video.flow import METHODS
from i3d.video.reader import open_video

MAX_ROWS: Final = 4  # extracted again for each cause
RATES: Final = (24.0, 25.0, 30.0, None)
IMAGENET: Final = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@dataclass(frozen=True, eq=False)
class FeatureComparison:
    """Two files of features, row by row."""

    cosines_R: Floats  # of the crops in the order of the files
    num_rows: tuple[int, int]
    is_same: bool  # bit for bit
    crops_first: tuple[bool, bool]  # which of the files is (crops, rows, C)
    crop_order: tuple[int, ...]  # which crop of the second matches each crop of the first; () if the order is the same
    reordered: float  # the mean cosine with the crops of the second in that order
    shifted: dict[int, float]  # offset in rows -> mean cosine
    differ: tuple[str, ...]  # settings in which the two sidecars differ
    notes: tuple[str, ...]  # other videos, arrays that are not those of their sidecars, damaged sidecars

    @property
    def mean(self) -> float:
        return float(self.cosines_R.mean())


@dataclass(frozen=True)
class LikelyCause:
    """A difference of another tool, and the mean cosine to its features after the same change here."""

    what: str
    cosine: float


@checks_types
def compare_features(one: Path, other: Path) -> FeatureComparison:
    """The cosines of the rows of two files, of i3d or other tools. Different channels are an InputError.

    Crops may come before the rows, (crops, rows, C), and in another order.
    """
    a, b = read_features(one), read_features(other)
    aligned = align(a, b)
    if aligned is None:
        raise InputError(
            f"{one} has rows of {_num_numbers(a)} numbers, {other} of {_num_numbers(b)}: "
            "another layer, other crops, or another network"
        )
    a_RVC, b_RVC = aligned.a_RVC, aligned.b_RVC
    shifted = {
        shift: float(cosines(a_RVC[max(shift, 0) :], b_RVC[max(-shift, 0) :]).mean())
        for shift in (-2, -1, 1, 2)
        if min(len(a_RVC) - max(shift, 0), len(b_RVC) - max(-shift, 0)) > 0
    }
    return FeatureComparison(
        cosines(a_RVC, b_RVC),
        (len(a_RVC), len(b_RVC)),
        is_same=a.shape == b.shape and bool((a == b).all()),
        crops_first=aligned.crops_first,
        crop_order=aligned.order if aligned.is_reordered else (),
        reordered=aligned.cosine,
        shifted=shifted,
        differ=_differences(one, other),
        notes=_notes(one, other),
    )


def likely_causes(extractor: FeatureExtractor, video: Path, other: Path) -> list[LikelyCause]:
    """Extract the first rows of a video with one change at a time, and compare them with a file; best match first.

    Changes: colour order, first frame, frame rate, window, resizing, value range, and the range and method of flow.
    """
    wanted, causes = read_features(other).astype(np.float64), []
    for what, changed in chain(_changes(extractor), _sidecar_settings(extractor, other)):
        with open_video(video) as opened:
            try:
                rows = changed(opened, max_rows=MAX_ROWS).values
            except (VideoError, InputError, ValueError):  # no network input, or no rows, with this change
                if changed is extractor:
                    raise
                continue
        if (aligned := align(rows, wanted)) is not None:
            causes.append(LikelyCause(what, aligned.cosine))
    return sorted(causes, key=lambda cause: -cause.cosine)


@checks_types
def read_features(path: Path) -> npt.NDArray[Any]:
    """The rows of a file: (R, C), with several crops (R, V, C). Raises InputError for anything else."""
    values = read_array(path)
    if values.ndim < 2 or values.dtype.kind not in "fiu" or 0 in values.shape or not np.isfinite(values).all():
        raise InputError(f"{path}: {values.dtype} of shape {values.shape} are not rows of finite numbers")
    return values


def _num_numbers(values: npt.NDArray[Any]) -> str:
    return " x ".join(map(str, values.shape[1:]))


def _differences(one: Path, other: Path) -> tuple[str, ...]:
    records = [read_sidecar(path.with_suffix(".json")) for path in (one, other)]
    if records[0] is None or records[1] is None or one.with_suffix("") == other.with_suffix(""):
        return ()
    changes = changed_settings(records[0].get("made_with"), records[1].get("made_with"))
    return tuple(f"{name}: {a}, {b}" for name, a, b in changes)


def _notes(one: Path, other: Path) -> tuple[str, ...]:
    """Why the comparison may not be what was meant, by the sidecars of two files."""
    notes, records = [], []
    for path in (one, other):
        record = read_sidecar(sidecar := path.with_suffix(".json"))
        if record is None and sidecar.exists():
            notes.append(f"{sidecar}: is damaged or of another tool; its settings are not compared")
        if record is not None and record["made_with"].get("file_format", "npy") == path.suffix.lower()[1:]:
            records.append(record)
            if record.get("sha256") != file_sha256(path):
                notes.append(f"{path}: {EDITED} (its SHA-256 is not that of {sidecar})")
            if not has_digest(record):
                notes.append(f"{sidecar}: {EDITED} (its digest is wrong)")
    if len(records) == 2 and records[0].get("signature") != records[1].get("signature"):
        names = " and ".join(record.get("video") or "unknown" for record in records)
        notes.append(f"they are of videos of different content: {names}")
    return tuple(notes)


def _changes(extractor: FeatureExtractor) -> Iterator[tuple[str, FeatureExtractor]]:
    """The unchanged extractor, and the extractor with one change at a time."""
    settings = extractor.settings
    yield "no change", extractor
    has_rgb = any(stream.flow is None for stream in extractor.streams)
    if has_rgb:
        yield "colour order BGR", replace(extractor, change=lambda stream: (frame[..., ::-1] for frame in stream))
    yield "one frame later", replace(extractor, change=lambda stream: islice(stream, 1, None))
    yield "one frame earlier (the first twice)", replace(extractor, change=_first_twice)
    for rate in RATES:
        if rate != settings.fps:
            name = "the frame rate of the video" if rate is None else f"{rate:g} frames per second"
            yield name, replace(extractor, settings=settings.model_copy(update={"fps": rate}))
    for window in (settings.window - 1, settings.window + 1):
        if window > 0:
            yield f"windows of {window}", replace(extractor, settings=settings.model_copy(update={"window": window}))
    pre = extractor.streams[0].preprocessing
    resizes = ", ".join(map(str, pre.resizes))
    ranges: list[tuple[str, dict[str, Any]]] = [
        (f"frames resized to {pre.crop} instead of {resizes}", {"short_side": pre.crop, "steps": ()}),
        ("values from 0 to 1", {"mean": (0.0,), "std": (255.0,)}),
        ("values from 0 to 255", {"mean": (0.0,), "std": (1.0,)}),
        ("values from -1 to 1", {"mean": (127.5,), "std": (127.5,)}),
        ("values from -2 to 2.4, of pytorch-resnet3d", {"mean": (114.75,), "std": (57.375,)}),
        *([("mean and standard deviation of ImageNet", {"mean": IMAGENET[0], "std": IMAGENET[1]})] if has_rgb else []),
    ]
    for what, update in ranges:
        streams = tuple(replace(s, preprocessing=_updated(s, update)) for s in extractor.streams)
        if streams != extractor.streams:
            yield what, replace(extractor, streams=streams)
    if method := next((stream.flow for stream in extractor.streams if stream.flow), None):
        for name in METHODS:
            if name != method:
                streams = tuple(replace(s, flow=name) if s.flow else s for s in extractor.streams)
                yield f"flow by {name}", replace(extractor, streams=streams)
        for bound in (10.0, 15.0, 32.0):
            yield f"flow clipped to {bound:g} pixels", replace(extractor, bound=bound)


def _sidecar_settings(extractor: FeatureExtractor, other: Path) -> Iterator[tuple[str, FeatureExtractor]]:
    """With the windows, rates and crops of the other file's sidecar, if it has one."""
    record = read_sidecar(other.with_suffix(".json")) or {}
    try:
        settings = FeatureSettings(**record["made_with"]["settings"])
        yield "the settings of the other .json", replace(extractor, settings=settings)
    except (KeyError, TypeError, ValidationError, InputError):  # no sidecar, or this network lacks its layer
        return


def _updated(stream: Stream, update: dict[str, Any]) -> Preprocessing:
    """The changed preprocessing of a stream, one value per channel; three values apply to RGB only."""
    channels = len(stream.preprocessing.mean)
    fits = {k: v * channels if isinstance(v, tuple) and len(v) == 1 else v for k, v in update.items()}
    if any(isinstance(value, tuple) and len(value) != channels for value in fits.values()):
        return stream.preprocessing
    return stream.preprocessing.model_copy(update=fits)


def _first_twice(stream: Iterator[FrameHWC]) -> Iterator[FrameHWC]:
    first = next(stream, None)
    return iter(()) if first is None else chain([first, first], stream)
