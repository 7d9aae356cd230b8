"""`i3d predict`: from a video to its action.

Read `Predictor.logits` first: open -> windows or clips of frames -> network -> logits of each view.
Letters in names: T frames, H rows, W columns, C channels, V views, K classes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from i3d.device import Precision, pick_device
from i3d.errors import InputError, VideoError, printable
from i3d.results.prediction import Prediction, best_labels
from i3d.results.scoring import average_views
from i3d.weights.pretrained import DEFAULT

if TYPE_CHECKING:
    from i3d.cache import Cache
    from i3d.recipes.settings import ClipProtocol, FlowMethod, WindowProtocol
    from i3d.results.scoring import Average, VideoScores
    from i3d.results.tables import PredictionJournal
    from i3d.two_streams import TwoStreams
    from i3d.video.reader import FrameHWC, Limits, Source, Video

View = tuple[npt.NDArray[np.uint8], float]  # (T, H, W, C), and how many seconds of the video it adds
OnWindow = Callable[[int, float], None]
MAX_STDIN_BYTES = 1 << 30


@dataclass(frozen=True)
class VideoLogits:
    """The network's word on one video: logits of each view and how many frames each view held."""

    logits_VK: npt.NDArray[np.float32]
    num_frames_V: npt.NDArray[np.int64]
    frames_decoded: int
    timed: bool  # False: the frames carried no times
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.logits_VK) != len(self.num_frames_V) or len(self.logits_VK) == 0:
            raise ValueError(f"{len(self.logits_VK)} views of logits, {len(self.num_frames_V)} of frames")


class Predictor:
    """A network, loaded once, for any number of videos. One of optical flow computes it of their frames.

    predictor = Predictor(device="auto", precision="exact")
    predictor("clip.mp4").top1
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT,
        *,
        recipe: str | None = None,
        labels: Sequence[str] | None = None,
        device: str = "auto",
        precision: Precision = "exact",
        flow: FlowMethod | None = None,
        cache: Cache | None = None,
    ) -> None:
        from i3d.data.computed_flow import FlowOfClips
        from i3d.models.engine import Engine
        from i3d.weights.load import load_weights, model_of

        self.device = pick_device(device)
        self.weights = load_weights(model, recipe=recipe, labels=labels)
        self.card = self.weights.card
        channels = self.card.recipe.network.in_channels
        if channels not in (2, 3):
            raise InputError(f"{printable(str(model))}: its network takes {channels} channels, neither RGB nor flow")
        self.flow = (flow or self.card.recipe.flow) if channels == 2 else None
        self._flow = FlowOfClips.of(self.card.recipe.network, self.card.recipe.preprocessing, cache)
        if self._flow is not None and self.flow is not None:
            self._flow = replace(self._flow, method=self.flow)
        self.engine = Engine.of(model_of(self.weights), device=self.device, precision=precision)

    @property
    def protocol_line(self) -> str:
        """How the scores are made, in words."""
        return self.line_of(None)

    def line_of(self, fused: Average | None) -> str:
        """The protocol in words, with the logits of the views averaged if these are fused with another network's."""
        from i3d.recipes.protocols import with_average

        recipe = with_average(self.card.recipe, "score" if fused == "score" else None)
        flow = f", {self.flow} flow" if self.flow else ""
        return f"{recipe.protocol_line}{flow}; {self.engine.arithmetic}"

    @property
    def settings(self) -> dict[str, str]:
        """What the numbers depend on, besides the video."""
        return {
            "protocol": self.protocol_line,
            "weights": self.weights.sha256,
            "labels": "|".join(self.card.labels),
            "device": self.device.type,
        }

    def __call__(
        self,
        source: Source,
        *,
        top_k: int = 5,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_window: OnWindow | None = None,
    ) -> Prediction:
        """The `top_k` most likely actions of one video. Raises VideoError if it cannot be read."""
        scores, seen = self.scores(source, frames_fps=frames_fps, limits=limits, on_window=on_window)
        return self.prediction(source, scores.probabilities_K, seen, top_k=top_k)

    def scores(
        self,
        source: Source,
        *,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_window: OnWindow | None = None,
    ) -> tuple[VideoScores, VideoLogits]:
        """The scores of one video, averaged over its views as the protocol says, and what they were made of."""
        seen = self.logits(source, frames_fps=frames_fps, limits=limits, on_window=on_window)
        if not np.isfinite(seen.logits_VK).all():
            name = source_name(source)
            raise VideoError(
                name, f"the network gave NaN or infinity in {self.engine.arithmetic}", "use --precision exact"
            )
        recipe = self.card.recipe
        scores = average_views(
            seen.logits_VK,
            average=recipe.protocol.average,
            weights_V=seen.num_frames_V,
            multi_label=recipe.multi_label,
        )
        return scores, seen

    def prediction(
        self,
        source: Source,
        probabilities_K: npt.NDArray[np.float64],
        seen: VideoLogits,
        *,
        top_k: int,
        protocol_line: str | None = None,
    ) -> Prediction:
        """The best classes of a video as a row."""
        rate = getattr(self.card.recipe.protocol, "fps", None)  # clips are of a video's own frames, whatever their rate
        taken_as = "" if seen.timed or rate is None else f"; images without times, taken as {rate:g} fps"
        return Prediction(
            path=source_name(source),
            status="ok",
            predictions=best_labels(probabilities_K, self.card.labels, k=top_k),
            protocol=(protocol_line or self.protocol_line) + taken_as,
            frames=seen.frames_decoded,
            error=f"warning: {'; '.join(seen.notes)}" if seen.notes else "",
        )

    def logits(
        self,
        source: Source,
        *,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_window: OnWindow | None = None,
    ) -> VideoLogits:
        """The logits of every view of one video. The memory of windows does not grow with its length.

        `on_window` is told, after each view, how many there were and how many seconds of video they held.
        """
        from i3d.recipes.settings import WindowProtocol
        from i3d.video.reader import Limits, open_video

        protocol = self.card.recipe.protocol
        logits_VK, num_frames_V, seconds = [], [], 0.0
        content = None if self.flow is None else _content_of(source, frames_fps)
        with open_video(source, frames_fps=frames_fps, limits=limits or Limits()) as video:
            if isinstance(protocol, WindowProtocol):
                views = self._windows(video, protocol, content)
            else:
                views = self._clips(video, protocol, content)
            for clip_THWC, lasts in views:
                logits_VK.append(self._forward(clip_THWC))
                num_frames_V.append(len(clip_THWC))
                seconds += lasts
                if on_window is not None:
                    on_window(len(num_frames_V), seconds)
            stacked_VK = np.stack(logits_VK)
            return VideoLogits(stacked_VK, np.array(num_frames_V), video.frames_decoded, video.timed, video.notes)

    def _windows(self, video: Video, protocol: WindowProtocol, content: str | None) -> Iterator[View]:
        """Windows that follow each other, of frames at a rate."""
        from i3d.data.views import window_frames
        from i3d.video.transforms import center_crop

        pre = self.card.recipe.preprocessing
        frames = window_frames(video, protocol, pre)
        if self._flow is not None:
            flows = self._flow.stream(video, content, fps=protocol.fps)
            frames = (center_crop(flow_HW2[None], size=pre.crop)[0].copy() for flow_HW2 in flows)
        for clip_THWC in windows_of(frames, protocol):
            yield clip_THWC, len(clip_THWC) / protocol.fps

    def _clips(self, video: Video, protocol: ClipProtocol, content: str | None) -> Iterator[View]:
        """Clips spread over the video, each in all its crops. Every frame that is wanted is decoded once."""
        from i3d.data.views import resized
        from i3d.video.sampling import protocol_clips
        from i3d.video.transforms import crops_of

        pre = self.card.recipe.preprocessing
        rate = (
            protocol.target_fps if self._flow is not None else None
        )  # flow is between frames at the rate of the clips
        num_frames = video.count_frames() if rate is None else sum(1 for _ in video.stream(fps=rate))
        video.frames_decoded = num_frames
        indices_VT = protocol_clips(num_frames, protocol, fps=(rate or video.fps) if protocol.target_fps else None)
        wanted = np.unique(indices_VT)
        if self._flow is not None:
            frames_THWC = self._flow.at(video, content, wanted, fps=rate)
            shown = rate or video.fps or 0.0
            seconds_T = wanted / shown if shown else np.zeros(len(wanted))
        else:
            transform = partial(resized, video, short_side=pre.short_side)
            found = video.frames_at(wanted.tolist(), transform=transform)
            frames_THWC, seconds_T = found.frames_THWC, found.seconds_T
        for indices_T in indices_VT:
            clip_THWC = frames_THWC[np.searchsorted(wanted, indices_T)]
            lasts = float(np.ptp(seconds_T[np.searchsorted(wanted, indices_T)]))
            crops = crops_of(clip_THWC, size=pre.crop, crops=protocol.crops)
            yield from ((crop_THWC, lasts / len(crops)) for crop_THWC in crops)

    def _forward(self, clip_THWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Logits (K) of one view; one too short for the network is looped."""
        import torch

        from i3d.models.forward import forward

        clip_VTHWC = torch.from_numpy(np.ascontiguousarray(clip_THWC)).to(self.device)[None]
        logits_VK = forward(self.engine, clip_VTHWC, self.card.recipe.preprocessing)
        logits_K: npt.NDArray[np.float32] = logits_VK[0].cpu().numpy()
        return logits_K


def predict(
    source: Source,
    *,
    model: str | os.PathLike[str] = DEFAULT,
    recipe: str | None = None,
    labels: Sequence[str] | None = None,
    top_k: int = 5,
    device: str = "auto",
    precision: Precision = "exact",
    frames_fps: float | None = None,
    time_limit: float = 60.0,
) -> Prediction:
    """The most likely actions of one video, by the pretrained Kinetics-400 network or by another `model`.

    `source`: path, bytes, folder or sequence of images, or an array (T, H, W, 3) uint8 RGB. `model`, `recipe` and
    `labels` are those of `load_model`. The last two networks stay loaded, until their file changes. Raises VideoError
    if the video cannot be read, WeightsError if the weights cannot, InputError for a bad option.
    """
    from i3d.video.reader import Limits

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
    precision: Precision,
) -> Predictor:
    return Predictor(model, recipe=recipe, labels=labels, device=device, precision=precision)


def _changed_at(model: str | os.PathLike[str]) -> float:
    try:
        return Path(model).stat().st_mtime
    except OSError:
        return 0.0


def predict_each(
    predictor: Predictor | TwoStreams,
    paths: Sequence[str],
    *,
    journal: PredictionJournal | None = None,
    top_k: int = 5,
    frames_fps: float | None = None,
    limits: Limits | None = None,
    on_window: OnWindow | None = None,
) -> Iterator[Prediction]:
    """One row for each path, in order, as soon as it is known. A video that cannot be read is a row with its error.

    "-" is the standard input. What the journal knows is not computed again, what is new is noted there.
    """
    for path in paths:
        row = journal.prediction(path) if journal else None
        if row is None:
            try:
                source = read_stdin() if path == "-" else path
                row = predictor(source, top_k=top_k, frames_fps=frames_fps, limits=limits, on_window=on_window)
                row = replace(row, path=path)
            except VideoError as error:
                row = Prediction(path, "error", (), predictor.protocol_line, 0, str(error))
            if journal:
                journal.keep(row)
        yield row


def read_stdin() -> bytes:
    """The standard input, whole; over 1 GiB is an InputError."""
    content = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(content) > MAX_STDIN_BYTES:
        raise InputError(f"the standard input holds over {MAX_STDIN_BYTES >> 20} MiB; give a file")
    return content


def windows_of(frames: Iterator[FrameHWC], protocol: WindowProtocol) -> Iterator[npt.NDArray[np.uint8]]:
    """Cut a stream of frames into clips (T, H, W, C) exactly as `sampling.windows` cuts their number.

    At most two windows of frames are held at a time.
    """
    from i3d.video.sampling import windows

    size = protocol.max_window_frames
    held: list[FrameHWC] = []
    for frame_HWC in frames:
        held.append(frame_HWC)
        if len(held) == 2 * size:
            yield np.stack(held[:size])
            del held[:size]
    if held:
        for start, stop in windows(len(held), max_frames=size):
            yield np.stack(held[start:stop])


def _content_of(source: Source, frames_fps: float | None) -> str | None:
    """A hash of a file, or of a folder of frames at a rate; None: of anything else."""
    from i3d.data.computed_flow import digest_of

    if not isinstance(source, (str, os.PathLike)) or not Path(source).exists():
        return None
    digest = digest_of(Path(source))
    return digest if frames_fps is None else f"{digest} at {frames_fps:g}"


def source_name(source: Source) -> str:
    """What to call a source: its path as given, or what kind of thing it is."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return f"({type(source).__name__})"
