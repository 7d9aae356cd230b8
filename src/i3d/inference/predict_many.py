"""`i3d predict`: one video or many, by one network or two streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Final

from i3d.data.loading.view_stream import EndOfVideo, View
from i3d.errors import InputError, VideoError
from i3d.inference.prediction import Prediction
from i3d.inference.predictor import OnWindow, Predictor
from i3d.inference.tables import PredictionLog
from i3d.inference.two_stream import TwoStreams
from i3d.utils.device import ComputeConfig, Precision
from i3d.utils.prefetch import prefetch
from i3d.video.base import Limits, Source
from i3d.weights.pretrained import DEFAULT

MAX_STDIN_BYTES = 1 << 30


VIEWS_AHEAD: Final = 4  # that are decoded and wait: 150 MB of windows of 250 frames of 224 x 224


def predict(
    source: Source,
    *,
    model: str | os.PathLike[str] = DEFAULT,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    top_k: int = 5,
    device: str = "auto",
    precision: Precision | None = None,
    frames_fps: float | None = None,
    time_limit: float = 60.0,
) -> Prediction:
    """The most likely actions of one video, by the pretrained Kinetics-400 network or by another `model`.

    `source`: path, bytes, folder or sequence of images, or an array (T, H, W, 3) uint8 RGB. `model`, `recipe` and
    `labels` are those of `load_model`. The last two networks stay loaded, until their file changes. Raises VideoError
    if the video cannot be read, WeightsError if the weights cannot, InputError for a bad option.
    """

    names = None if labels is None else tuple(labels)
    predictor = _predictor(os.fspath(model), _changed_at(model), recipe, names, device, precision)
    return predictor(source, top_k=top_k, frames_fps=frames_fps, limits=Limits(max_seconds=time_limit))


@lru_cache(maxsize=2)
def _predictor(
    model: str,
    _changed_at: float,
    recipe: str | None,
    labels: tuple[str, ...] | None,
    device: str,
    precision: Precision | None,
) -> Predictor:
    return Predictor(model, recipe=recipe, labels=labels, compute=ComputeConfig(device=device, precision=precision))


def _changed_at(model: str | os.PathLike[str]) -> float:
    try:
        return Path(model).stat().st_mtime
    except OSError:
        return 0.0


def predict_each(
    predictor: Predictor | TwoStreams,
    paths: Sequence[str],
    *,
    journal: PredictionLog | None = None,
    top_k: int = 5,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    on_window: OnWindow | None = None,
) -> Iterator[Prediction]:
    """One row for each path, in order, as soon as it is known. A video that cannot be read is a row with its error.

    The next videos are decoded while the network runs: up to `VIEWS_AHEAD` views wait. "-" is the standard input. What
    the journal knows is not computed again, what is new is noted there.
    """
    known = [journal.prediction(path) if journal else None for path in paths]
    todo = [path for path, row in zip(paths, known, strict=True) if row is None]
    with closing(prefetch(_decoded(predictor, todo, frames_fps, limits), max_ahead=VIEWS_AHEAD)) as views:
        for path, there in zip(paths, known, strict=True):
            row = there
            if row is None:
                try:
                    seen = [stream.logits_of(views, on_window=on_window) for stream in predictor.streams]
                    row = predictor.told(path, seen, top_k=top_k)
                except VideoError as error:
                    row = Prediction(path, "error", (), predictor.protocol_line, 0, str(error))
                if journal:
                    journal.keep(row)
            yield row


def _decoded(
    predictor: Predictor | TwoStreams, paths: Sequence[str], frames_fps: float | None, limits: Limits | None
) -> Iterator[View | EndOfVideo | VideoError]:
    """The views of all videos, for one stream after the other; an error stands for what is left of its video."""
    for path in paths:
        try:
            source = read_stdin() if path == "-" else path
            for stream in predictor.streams:
                yield from stream.shown.views(source, frames_fps=frames_fps, limits=limits)
        except VideoError as error:
            yield error


def read_stdin() -> bytes:
    """The standard input, whole; over 1 GiB is an InputError."""
    content = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(content) > MAX_STDIN_BYTES:
        raise InputError(f"the standard input holds over {MAX_STDIN_BYTES >> 20} MiB; give a file")
    return content
