"""From Python: one video, or many, by one network or two streams."""

import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self, TypeAlias, TypedDict, Unpack, overload

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.content import Stamp, check_unchanged, file_signature, file_stamp, signature_of_read
from i3d.data.formats.inputs import STDIN
from i3d.data.loading.view_stream import EndOfVideo, View
from i3d.data.resume import ResumeLog
from i3d.errors import InputError, VideoError, check_not_empty
from i3d.inference.prediction import Prediction, Predictions, Thresholds
from i3d.inference.predictor import Predictor, VideoClassifier, source_name
from i3d.inference.sources import VideoInput, expand, is_many, to_source
from i3d.utils.arguments import checks_types
from i3d.utils.device import ComputeConfig, Precision
from i3d.utils.prefetch import prefetch
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.base import Limits, Source
from i3d.weights.pretrained import DEFAULT

MAX_STDIN_BYTES: Final = 1 << 30
VIEWS_AHEAD: Final = 4  # decoded views that wait: 150 MB of windows of 250 frames of 224 x 224
Frames: TypeAlias = npt.NDArray[np.uint8]


class _Options(TypedDict, total=False):
    """The keywords of `predict`, for its overloads."""

    model: str | os.PathLike[str]
    recipe: str | None
    labels: Sequence[str] | None
    top_k: int
    min_score: float
    min_familiarity: float | None
    device: str
    precision: Precision | None
    frames_fps: float | None
    time_limit: float
    protocol: str | None
    on_progress: ProgressCallback


@overload
def predict(videos: list[Any] | tuple[Any, ...], **options: Unpack[_Options]) -> Predictions: ...
@overload  # a file or a folder of frames: Prediction; a folder of videos: Predictions
def predict(videos: str | os.PathLike[str], **options: Unpack[_Options]) -> Any: ...
@overload
def predict(videos: bytes | BinaryIO | Frames | torch.Tensor, **options: Unpack[_Options]) -> Prediction: ...
@checks_types
def predict(
    videos: VideoInput,
    *,
    model: str | os.PathLike[str] = DEFAULT,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    top_k: int = 5,
    min_score: float = 0.0,
    min_familiarity: float | None = None,
    device: str = "auto",
    precision: Precision | None = None,
    frames_fps: float | None = None,
    time_limit: float = 60.0,
    protocol: str | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> Prediction | Predictions:
    """The most likely actions of a video, or of each of many, by the pretrained network or by another `model`.

    One video is a path, the bytes of a file, an open binary file, frames (an array or tensor (T, H, W, 3) or
    (T, 3, H, W), uint8 RGB), or a folder of frames. A list is many videos (the frames of one are a list inside it), and
    so is a folder of videos, a pattern and a list file: these give `Predictions`, where a video that cannot be read
    has status "error". `model`, `recipe` and `labels` are those of `load_model`; `protocol` is 10x3 (clips x crops) or
    "windows" (all frames), by default that of the network. The last two networks stay loaded, until their file changes.
    A prediction is `unsure` if its best score is below `min_score`; with a model of `finetune` also if less than the
    fraction `min_familiarity` (0.05) of held-out clips are as far from the training clips.
    `on_progress` is called at the start of each video and after each of its views: `print` shows it.
    Raises VideoError if a single video cannot be read, WeightsError if the weights cannot,
    InputError for a bad option and for an item that is no video at all.
    """
    check_not_empty(videos=videos, model=model)
    check_options(top_k, frames_fps, time_limit)
    names = None if labels is None else tuple(labels)
    many = isinstance(videos, list | tuple) or (isinstance(videos, str | os.PathLike) and is_many(videos))
    sources = list(expand(videos)) if many else [to_source(videos)]
    predictor = _predictor(os.fspath(model), _modified_at(model), recipe, names, device, precision, protocol)
    options: dict[str, Any] = {"top_k": top_k, "frames_fps": frames_fps, "limits": Limits(max_seconds=time_limit)}
    options["on_progress"] = on_progress
    if not many:
        return predictor(sources[0], min_score=min_score, min_familiarity=min_familiarity, **options)
    thresholds = predictor.thresholds(min_score, min_familiarity)
    return Predictions(predict_each(predictor, sources, thresholds=thresholds, **options))


@checks_types
def predict_many(
    videos: VideoInput | Iterable[VideoInput],
    *,
    model: str | os.PathLike[str] = DEFAULT,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    top_k: int = 5,
    min_score: float = 0.0,
    min_familiarity: float | None = None,
    device: str = "auto",
    precision: Precision | None = None,
    frames_fps: float | None = None,
    time_limit: float = 60.0,
    protocol: str | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> Iterator[Prediction]:
    """The prediction of each video, in order, as soon as it is computed; the next ones are decoded meanwhile.

    `videos` and the options are those of `predict`; an iterator is read as it goes, so memory does not grow with the
    number of videos. A video that cannot be read has status "error".
    """
    check_not_empty(videos=videos, model=model)
    check_options(top_k, frames_fps, time_limit)
    names = None if labels is None else tuple(labels)
    predictor = _predictor(os.fspath(model), _modified_at(model), recipe, names, device, precision, protocol)
    options: dict[str, Any] = {"top_k": top_k, "frames_fps": frames_fps, "limits": Limits(max_seconds=time_limit)}
    thresholds = predictor.thresholds(min_score, min_familiarity)
    return predict_each(predictor, expand(videos), thresholds=thresholds, **options, on_progress=on_progress)


def check_options(top_k: int, frames_fps: float | None, time_limit: float) -> None:
    """An InputError for numbers that make no sense."""
    if top_k < 1:
        raise InputError(f"top_k {top_k}: must be at least 1")
    if frames_fps is not None and not 0 < frames_fps <= 1000:
        raise InputError(f"frames_fps {frames_fps:g}: must be above 0 and at most 1000")
    if not time_limit >= 0:
        raise InputError(f"time_limit {time_limit:g}: must be at least 0 seconds")


@lru_cache(maxsize=2)
def _predictor(
    model: str,
    _modified_at: float,
    recipe: str | None,
    labels: tuple[str, ...] | None,
    device: str,
    precision: Precision | None,
    protocol: str | None,
) -> Predictor:
    compute = ComputeConfig(device=device, precision=precision)
    return Predictor(model, recipe=recipe, labels=labels, compute=compute, protocol=protocol)


def _modified_at(model: str | os.PathLike[str]) -> float:
    try:
        return Path(model).stat().st_mtime
    except OSError:
        return 0.0


def predict_each(
    predictor: VideoClassifier,
    sources: Iterable[Source],
    *,
    log: ResumeLog[Prediction] | None = None,
    top_k: int = 5,
    thresholds: Thresholds | None = None,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    stdin: bytes | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> Generator[Prediction, None, None]:
    """The prediction of each video, in order. "-" is the standard input; `stdin`: its content, if it was read before.

    The next videos are decoded while the network runs: up to `VIEWS_AHEAD` views wait. Predictions that are in the log
    are not computed again; new ones are added to it.
    """
    thresholds = thresholds or Thresholds()
    decoded = _decode(predictor, sources, log, frames_fps, limits, stdin, on_progress)
    with closing(prefetch(decoded, max_ahead=VIEWS_AHEAD)) as items:
        for place in count():
            if (item := next(items, None)) is None:
                return
            if isinstance(item, Prediction):
                yield item.judged(thresholds)
                continue
            assert isinstance(item, _Start)
            name = _name_of(item.source, place)
            try:
                logits = [
                    stream.logits_of_views(
                        items,  # type: ignore[arg-type]
                        name=name,
                        on_progress=partial(_report_stream, on_progress, number, len(predictor.streams)),
                    )
                    for number, stream in enumerate(predictor.streams)
                ]
                if isinstance(item.source, str):
                    check_unchanged(item.source, item.stamp)
                    signature = signature_of_read(item.source, item.stamp) if log else ()
                row = replace(predictor.make_prediction(item.source, logits, top_k=top_k), path=name)
            except VideoError as error:
                row = Prediction(name, "error", (), predictor.protocol_line, 0, str(error))
            if log and row.status == "ok":  # the next run tries the others again
                log.add(row.path, signature, row)
            yield row.judged(thresholds)


def _name_of(source: Source, place: int) -> str:
    """The path, or the type with the place among all sources: (ndarray 3)."""
    name = source_name(source)
    return name if isinstance(source, str | os.PathLike) else f"{name.removesuffix(')')} {place})"


def _report_stream(on_progress: ProgressCallback, number: int, num_streams: int, progress: Progress) -> None:
    """A report of one stream as a part of all: each is taken to have as many views."""
    if progress.total is not None and num_streams > 1:
        completed = progress.completed + number * progress.total
        progress = replace(progress, completed=completed, total=num_streams * progress.total)
    on_progress(progress)


class _Start(NamedTuple):
    """The views that follow are of this video."""

    source: Source
    stamp: Stamp  # of its file, before it was read; empty if it is no file

    @classmethod
    def from_source(cls, source: Source) -> Self:
        return cls(source, file_stamp(source) if isinstance(source, str) else ())


def _decode(
    predictor: VideoClassifier,
    sources: Iterable[Source],
    log: ResumeLog[Prediction] | None,
    frames_fps: float | None,
    limits: Limits | None,
    stdin: bytes | None,
    on_progress: ProgressCallback,
) -> Iterator[Prediction | _Start | View | EndOfVideo | VideoError]:
    """Of each video its logged prediction, or its views for one stream after the other.

    An error takes the place of the views that are left of its video.
    """
    for source in sources:
        logged = log.get(source, partial(file_signature, source)) if log and isinstance(source, str) else None
        if logged is not None:
            yield logged
            continue
        yield _Start.from_source(source)
        try:
            is_stdin = isinstance(source, str) and source == STDIN
            content = (read_stdin() if stdin is None else stdin) if is_stdin else source
            for stream in predictor.streams:
                yield from stream.sampler.views(content, frames_fps=frames_fps, limits=limits, on_progress=on_progress)
        except VideoError as error:
            yield error


def read_stdin() -> bytes:
    """The content of the standard input; over 1 GiB is an InputError."""
    content = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(content) > MAX_STDIN_BYTES:
        raise InputError(f"the standard input holds over {MAX_STDIN_BYTES >> 20} MiB; give a file")
    return content
