"""`i3d features compare`: how alike two files of features are, row by row, and what may have made them differ.

    compare(Path("a/clip.npy"), Path("b/clip.npy")).cosines_R

Letters in names: R rows, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from i3d.data.resume import changed_settings
from i3d.errors import InputError, VideoError, printable
from i3d.features.array_formats import read_array
from i3d.features.extractor import FeatureExtractor, Stream
from i3d.features.sidecar import read_sidecar
from i3d.recipes.features import FeatureSettings
from i3d.recipes.settings import Preprocessing
from i3d.video.base import FrameHWC
from i3d.video.flow import METHODS
from i3d.video.reader import open_video

Floats = npt.NDArray[np.float64]
SAME: Final = 0.9999  # a cosine from which on rows are called the same
MOST_ROWS: Final = 4  # that are computed anew for each cause
LR_KEYS: Final = (24.0, 25.0, 30.0, None)
IMAGENET: Final = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two files of features, row by row."""

    cosines_R: Floats
    num_rows: tuple[int, int]
    is_same: bool  # to the bit
    shifted: dict[int, float]  # the mean cosine if one begins so many rows later
    differ: tuple[str, ...]  # settings in which the two explanations differ

    @property
    def mean(self) -> float:
        return float(self.cosines_R.mean())


@dataclass(frozen=True)
class Cause:
    """Something that another tool may have done otherwise, and how alike the features then are to its."""

    what: str
    cosine: float


def compare(one: Path, other: Path) -> Comparison:
    """The cosines of the rows of two files (of ours, or anybody's). Other channels are an InputError."""
    a_RC, b_RC = read_features(one), read_features(other)
    if a_RC.shape[1] != b_RC.shape[1]:
        raise InputError(
            f"{printable(str(one))} has rows of {a_RC.shape[1]} numbers, {printable(str(other))} of {b_RC.shape[1]}: "
            "another layer, other crops, or another network"
        )
    shifted = {
        shift: float(_cosines(a_RC[max(shift, 0) :], b_RC[max(-shift, 0) :]).mean())
        for shift in (-2, -1, 1, 2)
        if min(len(a_RC) - max(shift, 0), len(b_RC) - max(-shift, 0)) > 0
    }
    same = a_RC.shape == b_RC.shape and bool((a_RC == b_RC).all())
    return Comparison(_cosines(a_RC, b_RC), (len(a_RC), len(b_RC)), same, shifted, _differences(one, other))


def likely_causes(extractor: FeatureExtractor, video: Path, other: Path) -> list[Cause]:
    """The first rows of a video, computed with one thing after the other changed, against those of a file.

    The most alike first. Changed are the order of colours, the first frame, the rate, the window, how frames are
    resized, the range of values; of flow its range.
    """

    wanted_RC, causes = read_features(other)[:MOST_ROWS], []
    for what, changed in chain(_changes(extractor), _as_told(extractor, other)):
        with open_video(video) as opened:
            try:
                rows_RC = _flat(changed(opened, max_rows=MOST_ROWS).values)
            except (VideoError, InputError, ValueError):  # the network takes no such window, or nothing is left
                if changed is extractor:
                    raise
                continue
        if rows_RC.shape[1] == wanted_RC.shape[1]:
            causes.append(Cause(what, float(_cosines(rows_RC, wanted_RC).mean())))
    return sorted(causes, key=lambda cause: -cause.cosine)


def read_features(path: Path) -> Floats:
    """Rows (R, numbers) of a file; crops and grids are laid side by side. What is none is an InputError."""

    where, values = printable(str(path)), read_array(path)
    if values.ndim < 2 or values.dtype.kind not in "fiu" or 0 in values.shape or not np.isfinite(values).all():
        raise InputError(f"{where}: {values.dtype} of shape {values.shape} are no rows of finite numbers")
    return _flat(values)


def _flat(values: npt.NDArray[Any]) -> Floats:
    return values.reshape(len(values), -1).astype(np.float64)


def _cosines(a_RC: Floats, b_RC: Floats) -> Floats:
    """Of as many rows as both have; of two rows without a number above 0, 1."""
    rows = min(len(a_RC), len(b_RC))
    a_RC, b_RC = a_RC[:rows], b_RC[:rows]
    lengths_R = np.linalg.norm(a_RC, axis=1) * np.linalg.norm(b_RC, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines_R: Floats = (a_RC * b_RC).sum(axis=1) / lengths_R
    alike_R = (a_RC == b_RC).all(axis=1).astype(np.float64)
    return np.where(lengths_R > 0, cosines_R, alike_R)


def _differences(one: Path, other: Path) -> tuple[str, ...]:
    """What the two explanations say otherwise."""

    told = [read_sidecar(path.with_suffix(".json")) for path in (one, other)]
    if told[0] is None or told[1] is None or one.with_suffix("") == other.with_suffix(""):
        return ()
    changes = changed_settings(told[0].get("made_with"), told[1].get("made_with"))
    return tuple(f"{name}: {a}, {b}" for name, a, b in changes)


def _changes(extractor: FeatureExtractor) -> Iterator[tuple[str, FeatureExtractor]]:
    """The extractor as it is, and with one thing after the other changed."""

    settings = extractor.settings
    yield "nothing: as it is here", extractor
    three = any(stream.flow is None for stream in extractor.streams)
    bgr: Callable[[Iterator[FrameHWC]], Iterator[FrameHWC]] = lambda stream: (frame[..., ::-1] for frame in stream)  # noqa: E731
    frames: list[tuple[str, Callable[[Iterator[FrameHWC]], Iterator[FrameHWC]]]] = [
        *([("colours in the order BGR", bgr)] if three else []),
        ("one frame later", lambda stream: islice(stream, 1, None)),
        ("one frame earlier (the first is there twice)", _first_twice),
    ]
    for what, change in frames:
        yield what, replace(extractor, change=change)
    for rate in LR_KEYS:
        if rate != settings.fps:
            name = "the video's own rate" if rate is None else f"{rate:g} frames a second"
            yield name, replace(extractor, settings=settings.model_copy(update={"fps": rate}))
    for window in (settings.window - 1, settings.window + 1):
        if window > 0:
            yield f"windows of {window}", replace(extractor, settings=settings.model_copy(update={"window": window}))
    pre = extractor.streams[0].preprocessing
    ranges: list[tuple[str, dict[str, Any]]] = [
        (f"frames resized to {pre.crop} instead of {pre.short_side}", {"short_side": pre.crop}),
        ("values from 0 to 1", {"mean": (0.0,), "std": (255.0,)}),
        ("values from 0 to 255", {"mean": (0.0,), "std": (1.0,)}),
        ("values from -1 to 1", {"mean": (127.5,), "std": (127.5,)}),
        *([("ImageNet's mean and deviation", {"mean": IMAGENET[0], "std": IMAGENET[1]})] if three else []),
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


def _as_told(extractor: FeatureExtractor, other: Path) -> Iterator[tuple[str, FeatureExtractor]]:
    """With the windows, rates and crops that the explanation of the other file tells, if it has one."""

    told = read_sidecar(other.with_suffix(".json")) or {}
    try:
        settings = FeatureSettings(**told["made_with"]["settings"])
        yield "the settings of the other's .json", replace(extractor, settings=settings)
    except (KeyError, TypeError, ValidationError, InputError):  # there is none, or this network has not its layer
        return


def _updated(stream: Stream, update: dict[str, Any]) -> Preprocessing:
    """The preprocessing of a stream with one value for each of its channels; three values are for RGB alone."""
    channels = len(stream.preprocessing.mean)
    fits = {k: v * channels if isinstance(v, tuple) and len(v) == 1 else v for k, v in update.items()}
    if any(isinstance(value, tuple) and len(value) != channels for value in fits.values()):
        return stream.preprocessing
    return stream.preprocessing.model_copy(update=fits)


def _first_twice(stream: Iterator[FrameHWC]) -> Iterator[FrameHWC]:
    first = next(stream, None)
    return iter(()) if first is None else chain([first, first], stream)
