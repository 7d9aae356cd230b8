"""A network with its preprocessing: from a video to its action.

Read `Predictor.logits` first, and `ViewSampler.views`: open -> windows or clips of frames -> network -> logits.
Letters in names: T frames, H rows, W columns, C channels, V views, K classes.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.view_stream import EndOfVideo, View, ViewSampler
from i3d.errors import InputError, VideoError
from i3d.evaluation.scoring import Average, VideoScores, average_views
from i3d.exporting.engines import create_engine
from i3d.inference.prediction import Prediction, Thresholds, best_labels
from i3d.models.engine.forward import forward, forward_with_features, views_at_once
from i3d.models.flops import view_shape
from i3d.models.network import check_crop
from i3d.recipes.protocols import with_average, with_views
from i3d.recipes.settings import FlowMethod
from i3d.utils.arguments import checks_types
from i3d.utils.device import ComputeConfig, pick_device
from i3d.utils.distributed import local_device
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.base import Limits, Source
from i3d.weights.familiarity import mean_of_crops
from i3d.weights.load import load_weights
from i3d.weights.pretrained import DEFAULT


@dataclass(frozen=True)
class VideoLogits:
    """The network's output for one video: logits of each view, and how many frames each view has."""

    logits_VK: npt.NDArray[np.float32]
    num_frames_V: npt.NDArray[np.int64]
    frames_decoded: int
    timed: bool  # False: the frames have no times
    notes: tuple[str, ...]
    coverage: float  # the fraction of the video's length that the views span
    looped: bool  # the video is shorter than a clip or than the network takes: frames are repeated
    features_VC: npt.NDArray[np.float32] | None = None  # what the classifier takes, for models with `Familiarity`

    def __post_init__(self) -> None:
        if len(self.logits_VK) != len(self.num_frames_V) or len(self.logits_VK) == 0:
            raise ValueError(f"{len(self.logits_VK)} views of logits, {len(self.num_frames_V)} of frames")


class VideoClassifier(ABC):
    """From a video to its actions, by the networks of its streams: one, or one of RGB and one of flow."""

    streams: tuple["Predictor", ...]

    @property
    @abstractmethod
    def protocol_line(self) -> str:
        """How the scores are computed, in words."""

    def thresholds(self, min_score: float = 0.0, min_familiarity: float | None = None) -> Thresholds:
        """When a video is unsure. A familiarity that no network of the streams can compute is an InputError."""
        if min_familiarity is None:
            return Thresholds(min_score)
        if all(stream.weights.familiarity is None for stream in self.streams):
            what = "the network has no features of its training clips, which `i3d train` without --recipe stores"
            raise InputError(f"min_familiarity {min_familiarity:g}: {what}; leave it out")
        return Thresholds(min_score, min_familiarity)

    @checks_types
    def __call__(
        self,
        source: Source,
        *,
        top_k: int = 5,
        min_score: float = 0.0,
        min_familiarity: float | None = None,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Prediction:
        """The `top_k` most likely actions of one video. Raises VideoError if it cannot be read."""
        thresholds = self.thresholds(min_score, min_familiarity)
        logits = [
            stream.logits(source, frames_fps=frames_fps, limits=limits, on_progress=on_progress)
            for stream in self.streams
        ]
        return self.make_prediction(source, logits, top_k=top_k).judged(thresholds)

    @abstractmethod
    def make_prediction(self, source: Source, logits_of_streams: Sequence[VideoLogits], *, top_k: int) -> Prediction:
        """The best classes of a video, from its logits by each stream."""


class Predictor(VideoClassifier):
    """A network, loaded once, for any number of videos. A network of optical flow computes the flow of their frames.

    predictor = Predictor(compute=ComputeConfig(precision="auto"))
    predictor("clip.mp4").top1
    """

    @checks_types
    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT,
        *,
        recipe: str | None = None,
        labels: Sequence[str] | None = None,
        compute: ComputeConfig | None = None,
        flow: FlowMethod | None = None,
        protocol: str | None = None,
        num_clips: int | None = None,
    ) -> None:
        """`model`, `recipe` and `labels` are those of `load_model`; `flow` replaces the flow method of the recipe.

        `protocol` (10x3: clips x crops, or "windows": all frames) or `num_clips` replaces that of the recipe.
        """
        compute = compute or ComputeConfig()
        device = pick_device(local_device(compute.device))
        self.weights = load_weights(model, recipe=recipe, labels=labels, takes_exports=True)
        changed = with_views(self.weights.card.recipe, protocol=protocol, num_clips=num_clips)
        self.card = self.weights.card.model_copy(update={"recipe": changed})
        its_recipe, clip_CTHW = self.card.recipe, view_shape(self.card.recipe)[1:]
        channels = its_recipe.network.in_channels
        if channels not in (2, 3):
            raise InputError(f"{model}: its network takes {channels} channels, neither RGB nor flow")
        self.flow = (flow or its_recipe.flow) if channels == 2 else None
        clip_flow = ClipFlow.from_network(its_recipe.network, its_recipe.preprocessing, compute.cache)
        if clip_flow is not None and self.flow is not None:
            clip_flow = replace(clip_flow, method=self.flow)
        self.views_at_once = views_at_once(clip_CTHW[1])
        self.sampler = ViewSampler(its_recipe.protocol, its_recipe.preprocessing, clip_flow)
        self.streams = (self,)
        self.engine = create_engine(self.weights, compute, device=device, clip_CTHW=clip_CTHW)
        self.device = self.engine.device
        check_crop(self.engine.net, its_recipe.preprocessing)

    @property
    def protocol_line(self) -> str:
        return self.describe_protocol(None)

    def describe_protocol(self, fused: Average | None, *, used: bool = False) -> str:
        """The protocol in words, as it is when its scores are fused with those of another network ("score": logits).

        `used`: with the runtimes that ran the last video, instead of the requested one.
        """
        recipe = with_average(self.card.recipe, "score" if fused == "score" else None)
        flow = f", {self.flow} flow" if self.flow else ""
        return f"{recipe.protocol_line}{flow}; {self.engine.description if used else self.engine.requested}"

    @property
    def settings(self) -> dict[str, str]:
        """What the scores depend on, besides the video."""
        return {
            "protocol": self.protocol_line,
            "weights": self.weights.sha256,
            "labels": "|".join(self.card.labels),
            "device": self.device.type,
        }

    def make_prediction(self, source: Source, logits_of_streams: Sequence[VideoLogits], *, top_k: int) -> Prediction:
        (logits,) = logits_of_streams
        probabilities_K = self.scores(logits, source).probabilities_K
        return self.prediction(source, probabilities_K, logits, top_k=top_k, familiarity=self.familiarity(logits))

    def familiarity(self, logits: VideoLogits) -> float | None:
        """The fraction of held-out clips that are as far from the training clips as a video; None: unknown."""
        familiarity, features_VC = self.weights.familiarity, logits.features_VC
        if familiarity is None or features_VC is None:
            return None
        num_crops = getattr(self.card.recipe.protocol, "num_crops", 1)
        return familiarity.fraction_as_far(mean_of_crops(features_VC, num_crops))

    def scores(self, logits: VideoLogits, source: Source) -> VideoScores:
        """The scores of a video, averaged over its views as the protocol prescribes."""
        if not np.isfinite(logits.logits_VK).all():
            what = f"the network gave NaN or infinity in {self.engine.arithmetic}"
            raise VideoError(source_name(source), what, "use --precision fp32")
        recipe = self.card.recipe
        return average_views(
            logits.logits_VK,
            average=recipe.protocol.average,
            weights_V=logits.num_frames_V,
            multi_label=recipe.multi_label,
        )

    def prediction(
        self,
        source: Source,
        probabilities_K: npt.NDArray[np.float64],
        logits: VideoLogits,
        *,
        top_k: int,
        protocol_line: str | None = None,
        familiarity: float | None = None,
    ) -> Prediction:
        """The best classes of a video, from its probabilities."""
        fps = getattr(self.card.recipe.protocol, "fps", None)  # clips take a video's own frames, whatever their rate
        assumed = "" if logits.timed or fps is None else f"; images without times, taken as {fps:g} fps"
        return Prediction(
            path=source_name(source),
            status="ok",
            predictions=best_labels(probabilities_K, self.card.labels, k=top_k),
            protocol=(protocol_line or self.describe_protocol(None, used=True)) + assumed,
            frames=logits.frames_decoded,
            error=f"warning: {'; '.join(logits.notes)}" if logits.notes else "",
            coverage=logits.coverage,
            looped=logits.looped,
            familiarity=familiarity,
        )

    def logits(
        self,
        source: Source,
        *,
        frames_fps: float | None = None,
        limits: Limits | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> VideoLogits:
        """The logits of every view of one video. The memory of windows does not grow with its length.

        `on_progress` is called at the start and after each view.
        """
        views = self.sampler.views(source, frames_fps=frames_fps, limits=limits, on_progress=on_progress)
        return self.logits_of_views(views, name=source_name(source), on_progress=on_progress)

    def logits_of_views(
        self,
        views: Iterator[View | EndOfVideo | VideoError],
        *,
        name: str = "",
        on_progress: ProgressCallback = ignore_progress,
    ) -> VideoLogits:
        """The logits of the views up to the end of a video; raises an error that comes among them."""
        self.engine.reset_used_runtimes()
        logits: list[npt.NDArray[np.float32]] = []
        features: list[npt.NDArray[np.float32]] = []
        batch: list[npt.NDArray[np.uint8]] = []  # views of one length, which run at once
        num_frames_V: list[int] = []
        on_progress(Progress("predict", 0, None, "view", name=name))

        def run() -> None:
            if batch:
                on_device = torch.from_numpy(np.stack(batch)).to(self.device)
                if self.weights.familiarity is None:
                    logits_VK = forward(self.engine, on_device, self.card.recipe.preprocessing)
                else:
                    logits_VK, inputs_VC = forward_with_features(self.engine, on_device, self.card.recipe.preprocessing)
                    features.append(inputs_VC.cpu().numpy())
                logits.append(logits_VK.cpu().numpy())
                batch.clear()

        for view in views:
            if isinstance(view, VideoError):
                raise view
            if isinstance(view, EndOfVideo):
                run()
                on_progress(Progress("predict", len(num_frames_V), len(num_frames_V), "view", name=name))
                end = view._replace(looped=view.looped or min(num_frames_V) < self.engine.min_frames)
                features_VC = np.concatenate(features) if features else None
                return VideoLogits(np.concatenate(logits), np.array(num_frames_V), *end, features_VC=features_VC)
            if batch and len(batch[0]) != len(view.clip_THWC):
                run()
            batch.append(view.clip_THWC)
            if len(batch) == self.views_at_once:
                run()
            num_frames_V.append(len(view.clip_THWC))
            num_done = len(num_frames_V) - len(batch)
            num_views = None if view.num_views is None else max(view.num_views, len(num_frames_V))
            on_progress(Progress("predict", num_done, num_views, "view", name=name))
        raise ValueError("views without an end")


def source_name(source: Source) -> str:
    """The name of a source: its path as given, or its type."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return f"({type(source).__name__})"
