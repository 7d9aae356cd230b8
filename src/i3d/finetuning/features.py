"""Features of every view of every clip: the input of the classifier, computed once and cached.

The cache key has the content of the clip and everything else that the numbers depend on: the network without its
classifier, the view, the draw, the precision, the type of device.

Letters in names: N clips, V views, C channels.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.annotations import Annotations
from i3d.data.content import CHANGED, file_signature
from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.loader import ClipLoader
from i3d.errors import InputError, VideoError
from i3d.finetuning.estimates import FeaturePace
from i3d.models.engine.engine import Engine
from i3d.models.engine.forward import network_input
from i3d.models.network import VideoNetwork, check_crop
from i3d.recipes.settings import ClipProtocol, Preprocessing
from i3d.utils.cache import Cache, cache_key
from i3d.utils.device import Arithmetic, ComputeConfig
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.flow import describe_cost

VERSION: Final = 3  # part of the cache key: increase it when the features change
Floats = npt.NDArray[np.float32]

log = logging.getLogger("i3d")


class Backbone:
    """A network without its classifier, ready to run. The network itself is changed for inference."""

    def __init__(
        self, net: VideoNetwork, preprocessing: Preprocessing, *, device: torch.device, precision: Arithmetic
    ) -> None:
        check_crop(net, preprocessing)
        self.preprocessing = preprocessing
        digest = hashlib.sha256(net.settings.model_dump_json(exclude={"num_classes", "dropout"}).encode())
        for name, value in net.state_dict().items():
            if not name.startswith(net.head_prefix) and value.is_floating_point():
                digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        self.digest = digest.hexdigest()  # of its weights
        self.num_channels = net.num_classifier_inputs
        self.engine = Engine.create(net, ComputeConfig(precision=precision), device=device)

    def __call__(self, clips_VTHWC: torch.Tensor) -> Floats:
        """Features (V, C) of uint8 clips. Views run one at a time: no number depends on the rest of a batch."""
        on_device = clips_VTHWC.to(self.engine.device)
        clips = (network_input(self.engine, clip_THWC[None], self.preprocessing) for clip_THWC in on_device)
        return torch.cat([self.engine.classifier_input(clip_VCTHW).cpu() for clip_VCTHW in clips]).numpy()


@dataclass(frozen=True)
class Clips:
    """Clips, and a hash of each with which its features are cached."""

    annotations: Annotations
    sha256_N: tuple[str, ...]
    naming: FrameNaming | None = None
    contents_N: tuple[list[str], ...] = ()  # the signatures of the files when they were hashed; empty: unknown

    def change(self, index: int) -> str:
        """Why the features of a clip must not be cached: its file is no longer the one that was hashed."""
        file = self.annotations.file(index)
        is_changed = bool(self.contents_N) and file_signature(file) != self.contents_N[index]
        return str(VideoError(file, *CHANGED)) if is_changed else ""

    def part(self, index: int) -> list[Any]:
        """The part of its file that a clip is."""
        clip = self.annotations[index]
        return [clip.start_seconds, clip.end_seconds, clip.first_frame, clip.num_frames]

    def select(self, chosen: Sequence[int]) -> Self:
        sha256_N = tuple(self.sha256_N[index] for index in chosen)
        contents_N = tuple(self.contents_N[index] for index in chosen) if self.contents_N else ()
        return type(self)(self.annotations.select(list(chosen)), sha256_N, self.naming, contents_N)


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """Features (N, V, C) float32 of the views of clips: those of a test, then random ones of the training clips."""

    values_NVC: Floats
    mirrored_NV: npt.NDArray[np.bool_]  # views that are mirrored into another class
    num_computed: int  # views that were not in the cache
    lost: Mapping[int, str] = field(default_factory=dict)  # clips that could not be read, with the reason; all are 0

    def with_views(self, views: Self, indices: Sequence[int]) -> Self:
        """These features, followed by further views of the clips at `indices`; other clips get zeros."""
        num_clips, num_views, num_channels = len(self.values_NVC), views.values_NVC.shape[1], self.values_NVC.shape[2]
        values_NVC = np.zeros((num_clips, num_views, num_channels), np.float32)
        mirrored_NV = np.zeros((num_clips, num_views), bool)
        values_NVC[indices], mirrored_NV[indices] = views.values_NVC, views.mirrored_NV
        values_NVC = np.concatenate([self.values_NVC, values_NVC], axis=1)
        mirrored_NV = np.concatenate([self.mirrored_NV, mirrored_NV], axis=1)
        lost = {indices[place]: reason for place, reason in views.lost.items()} | dict(self.lost)
        return type(self)(values_NVC, mirrored_NV, self.num_computed + views.num_computed, lost)

    def first_views(self, number: int) -> Self:
        """The features of only the first views of each clip: those of a test, which all clips have."""
        return type(self)(self.values_NVC[:, :number], self.mirrored_NV[:, :number], self.num_computed)

    def select(self, chosen: Sequence[int]) -> Self:
        """The features of only these clips, which were all read."""
        return type(self)(self.values_NVC[list(chosen)], self.mirrored_NV[list(chosen)], self.num_computed)


def clip_features(
    backbone: Backbone,
    clips: Clips,
    view: TrainView | TestView,
    *,
    num_draws: int = 1,
    seed: int = 0,
    cache: Cache,
    num_workers: int = 2,
    stage: str = "features",
    shorter: str = "",
    on_progress: ProgressCallback = ignore_progress,
) -> ClipFeatures:
    """Features of every view of every clip: `num_draws` random views for a `TrainView`, else the views of the protocol.

    Random views are seeded by the seed and the content of the clip, so that further clips do not change them.
    Unreadable clips are `lost`; it is an InputError if all are. The expected minutes are logged after the first clips,
    with what makes them `shorter`.
    """
    draws = range(num_draws if isinstance(view, TrainView) else 1)
    keys_ND = [
        [_key(backbone, clips, index, view, seed, draw) for draw in draws] for index in range(len(clips.sha256_N))
    ]
    cached = ((key, cache.load_array(key)) for keys in keys_ND for key in keys)
    width = backbone.num_channels + 1
    features = {key: values for key, values in cached if values is not None and values.shape[1:] == (width,)}
    num_views = _num_views(view)  # of a clip and draw
    num_draws, num_computed, num_cached = sum(len(keys) for keys in keys_ND), 0, num_views * len(features)

    def report(name: str = "") -> None:
        completed, total = num_views * len(features), num_views * num_draws
        on_progress(Progress(stage, completed, total, "view", name=name, reused=num_cached))

    report()
    pace = FeaturePace(
        stage, sum(key not in features for keys in keys_ND for key in keys),
        num_views=num_views, num_cached=num_cached, num_workers=num_workers, shorter=shorter,
    )  # fmt: skip
    lost: dict[int, str] = {}
    for draw in draws:
        missing = [index for index, keys in enumerate(keys_ND) if keys[draw] not in features and index not in lost]
        for place, values_VC in (
            _compute(backbone, clips.select(missing), view, draw, seed, cache, num_workers) if missing else ()
        ):
            pace.count_clip()
            if reason := values_VC if isinstance(values_VC, str) else clips.change(missing[place]):
                lost[missing[place]] = reason
                continue
            assert not isinstance(values_VC, str)
            key = keys_ND[missing[place]][draw]
            cache.save_array(key, values_VC)
            num_computed += num_views * (key not in features)
            features[key] = values_VC
            report(clips.annotations.path(missing[place]))
    rows = {i: np.concatenate([features[key] for key in keys]) for i, keys in enumerate(keys_ND) if i not in lost}
    if not rows:
        raise InputError(f"no clip can be read: {lost[0]}")
    rows_NVC = np.zeros((len(keys_ND), *next(iter(rows.values())).shape), np.float32)
    rows_NVC[list(rows)] = np.stack([*rows.values()])  # the last column is 1 for mirrored views
    return ClipFeatures(rows_NVC[..., :-1], rows_NVC[..., -1] > 0, num_computed, lost)


def _num_views(view: TrainView | TestView) -> int:
    """Views of a clip: of one draw, or of a test (equal ones are computed once)."""
    if isinstance(view, TrainView):
        return view.sampling.num_clips
    return view.protocol.num_views if isinstance(view.protocol, ClipProtocol) else 1


def _compute(
    backbone: Backbone, clips: Clips, view: TrainView | TestView, draw: int, seed: int, cache: Cache, num_workers: int
) -> Iterator[tuple[int, Floats | str]]:
    """For each clip its index and features (V, C + 1), or why it cannot be read.

    The last column is 1 for views mirrored into another class.
    """
    keys = (cache_key(content=content, part=clips.part(i)) for i, content in enumerate(clips.sha256_N))
    seeds_N = np.array([int(key[:15], 16) for key in keys])
    flow = ClipFlow.from_network(backbone.engine.net.settings, backbone.preprocessing, cache)
    dataset = ClipDataset(  # with all labels of a clip: a mirror may change any of them
        clips.annotations,
        view,
        seed=seed,
        naming=clips.naming,
        flow=flow,
        multi_label=True,
        seeds_N=seeds_N,
        replaces_bad=False,
    )
    if dataset.computes_flow and flow is not None and isinstance(view, TestView):
        log.info("%s; cached in %s", describe_cost(flow.method, short_side=flow.short_side), flow.cache.folder)
    loader = ClipLoader(dataset, batch_size=1, num_workers=num_workers, max_bad=1.0)
    for batch in loader.batches(epoch=draw):
        if batch.bad:
            yield from ((bad.index, bad.reason) for bad in batch.bad)
            continue
        index, is_training = int(batch.indices_N[0]), isinstance(view, TrainView)
        if is_training:
            values_VC = backbone(batch.clips_NVTHWC[0])
        else:  # a repeated view is computed once
            values_VC = backbone(batch.views_N[0].clips())[list(batch.views_N[0].groups[0])]
        if not np.isfinite(values_VC).all():
            raise InputError(
                f"{clips.annotations.file(index)}: its features are not finite in {backbone.engine.arithmetic}; use "
                "--precision fp32"
            )
        labels = batch.labels_N[0].nonzero()[:, 0].tolist()
        mirrored = is_training and labels != sorted(set(clips.annotations.labels_of(index)))
        yield index, np.concatenate([values_VC, np.full((len(values_VC), 1), mirrored, np.float32)], axis=1)


def _key(backbone: Backbone, clips: Clips, index: int, view: TrainView | TestView, seed: int, draw: int) -> str:
    if isinstance(view, TrainView):
        augmentation = view.augmentation.model_dump(mode="json", exclude={"no_flip", "mirrored"})
        named = {clips.annotations.classes[label] for label in clips.annotations.labels_of(index)}
        flips = [bool(named & set(view.augmentation.no_flip)), any(named & set(p) for p in view.augmentation.mirrored)]
        settings: Any = [view.sampling.model_dump(mode="json"), augmentation, flips, seed, draw]
    else:
        settings = [
            view.protocol.model_dump(mode="json", exclude={"average"}),
            view.preprocessing.model_dump(mode="json"),
        ]
    return cache_key(
        kind="features",
        version=VERSION,
        content=clips.sha256_N[index],
        part=clips.part(index),
        trunk=backbone.digest,
        input=backbone.preprocessing.model_dump(mode="json"),
        view=settings,
        precision=backbone.engine.arithmetic,
        device=backbone.engine.device.type,
        torch=torch.__version__,
    )
