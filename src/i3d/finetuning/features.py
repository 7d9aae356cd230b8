"""What the classifier sees of every view of every clip, computed once and kept.

An entry of the cache is found by the content of its clip and by all that the numbers depend on: the network without its
classifier, the view, the draw, the precision, the kind of device.

Letters in names: N clips, V views, C channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.batch import Views
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.loader import ClipLoader
from i3d.errors import InputError, printable
from i3d.models.engine.engine import Engine
from i3d.models.network import VideoNetwork
from i3d.models.normalize import normalize
from i3d.recipes.settings import Preprocessing
from i3d.utils.cache import Cache, cache_key
from i3d.utils.device import Arithmetic, ComputeConfig
from i3d.video.sampling import looped_indices

VERSION: Final = 2  # of how features are made; another number, other keys
Floats = npt.NDArray[np.float32]
OnClip = Callable[[int, int], None]  # features of so many clips are there, of so many


@dataclass(frozen=True)
class Backbone:
    """A network up to its classifier, with what its clips must be like and how it computes."""

    engine: Engine = field(repr=False)
    preprocessing: Preprocessing
    digest: str  # of its weights
    num_channels: int  # of a feature: what the classifier is made for

    @classmethod
    def of(
        cls, net: VideoNetwork, preprocessing: Preprocessing, *, device: torch.device, precision: Arithmetic
    ) -> Backbone:
        """The network itself is changed: it is made ready to run. `precision`: fp32 or bf16."""
        digest = hashlib.sha256(net.settings.model_dump_json(exclude={"num_classes", "dropout"}).encode())
        for name, value in net.state_dict().items():
            if not name.startswith(net.head_prefix) and value.is_floating_point():
                digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        state = net.state_dict()
        (width,) = {
            int(v.shape[1]) for name, v in state.items() if name.startswith(net.head_prefix) and name.endswith("weight")
        }
        engine = Engine.create(net, ComputeConfig(precision=precision), device=device)
        return cls(engine, preprocessing, digest.hexdigest(), width)

    def __call__(self, clips_VTHWC: torch.Tensor) -> Floats:
        """Features (V, C) of uint8 clips, one view at a time: no number depends on its neighbours."""
        pre, looped_VTHWC = self.preprocessing, clips_VTHWC
        if clips_VTHWC.shape[1] < self.engine.min_frames:
            looped_VTHWC = clips_VTHWC[:, looped_indices(clips_VTHWC.shape[1], length=self.engine.min_frames)]
        on_device = looped_VTHWC.to(self.engine.device)
        clips = (normalize(clip[None], mean=pre.mean, std=pre.std) for clip in on_device)
        return torch.cat([self.engine.pooled(clip_VCTHW).cpu() for clip_VCTHW in clips]).numpy()


@dataclass(frozen=True)
class Clips:
    """Clips with what each is known by: the SHA-256 of its content."""

    annotations: Annotations
    contents_N: tuple[str, ...]
    naming: FrameNaming | None = None

    def part(self, index: int) -> list[Any]:
        """Which part of its file a clip is."""
        clip = self.annotations[index]
        return [clip.start_seconds, clip.end_seconds, clip.first_frame, clip.num_frames]

    def select(self, chosen: Sequence[int]) -> Clips:
        contents_N = tuple(self.contents_N[index] for index in chosen)
        return Clips(self.annotations.select(list(chosen)), contents_N, self.naming)


@dataclass(frozen=True, eq=False)
class Features:
    """Features (N, V, C) float32, and how many of their draws were computed just now."""

    values_NVC: Floats
    mirrored_NV: npt.NDArray[np.bool_]  # views in a mirror that gives them another class
    num_computed: int


def clip_features(
    trunk: Backbone,
    clips: Clips,
    view: TrainView | TestView,
    *,
    num_draws: int = 1,
    seed: int = 0,
    cache: Cache,
    num_workers: int = 2,
    on_clip: OnClip | None = None,
) -> Features:
    """Features of every view of every clip: of a training view `num_draws` random ones, else those of the protocol.

    The draws of a clip come from the seed and its content: clips that are added change none of the others'. A clip
    that cannot be read is an InputError.
    """
    draws = range(num_draws if isinstance(view, TrainView) else 1)
    keys_ND = [
        [_key(trunk, clips, index, view, seed, draw) for draw in draws] for index in range(len(clips.contents_N))
    ]
    kept = {key: values for keys in keys_ND for key in keys if (values := cache.load_array(key)) is not None}
    found = {key: values for key, values in kept.items() if values.shape[1:] == (trunk.num_channels + 1,)}
    total, num_computed = sum(len(keys) for keys in keys_ND), 0
    for draw in draws:
        missing = [index for index, keys in enumerate(keys_ND) if keys[draw] not in found]
        for place, values_VC in (
            _computed(trunk, clips.select(missing), view, draw, seed, cache, num_workers) if missing else ()
        ):
            key = keys_ND[missing[place]][draw]
            cache.save_array(key, values_VC)
            num_computed += key not in found
            found[key] = values_VC
            if on_clip is not None:
                on_clip(len(found), total)
    rows = [np.concatenate([found[key] for key in keys]) for keys in keys_ND]
    rows_NVC = np.stack(rows)  # with one more column, which tells of mirrors
    return Features(rows_NVC[..., :-1], rows_NVC[..., -1] > 0, num_computed)


def _computed(
    trunk: Backbone, clips: Clips, view: TrainView | TestView, draw: int, seed: int, cache: Cache, num_workers: int
) -> Any:
    """(place among the clips, features (V, C) and whether the class is that of the mirror (V)) as they come."""
    keys = (cache_key(content=content, part=clips.part(i)) for i, content in enumerate(clips.contents_N))
    seeds_N = np.array([int(key[:15], 16) for key in keys])
    flow = ClipFlow.from_network(trunk.engine.net.settings, trunk.preprocessing, cache)
    dataset = ClipDataset(  # with all labels of a clip, as a mirror may change any of them
        clips.annotations, view, seed=seed, naming=clips.naming, flow=flow, multi_label=True, seeds_N=seeds_N
    )
    loader = ClipLoader(dataset, batch_size=1, num_workers=num_workers, max_bad=1.0)
    for batch in loader.batches(epoch=draw):
        for bad in batch.bad:
            raise InputError(
                f"{printable(bad.reason)}; it could be decoded before; repair it (`i3d data check --fix`) "
                "or take it out"
            )
        index, is_training = int(batch.indices_N[0]), isinstance(view, TrainView)
        values_VC = trunk(batch.clips_NVTHWC[0]) if is_training else _of_views(trunk, batch.views_N[0])
        if not np.isfinite(values_VC).all():
            file = printable(clips.annotations.file(index))
            raise InputError(
                f"{file}: the network gives NaN or infinity in {trunk.engine.arithmetic}; use --precision fp32"
            )
        seen = batch.labels_N[0].nonzero()[:, 0].tolist()
        mirrored = is_training and seen != sorted(set(clips.annotations.labels_of(index)))
        yield index, np.concatenate([values_VC, np.full((len(values_VC), 1), mirrored, np.float32)], axis=1)


def _of_views(trunk: Backbone, views: Views) -> Floats:
    """The features of the views of a protocol; one that it has twice is computed once."""
    return trunk(views.clips())[list(views.groups[0])]


def _key(trunk: Backbone, clips: Clips, index: int, view: TrainView | TestView, seed: int, draw: int) -> str:
    if isinstance(view, TrainView):
        augmentation = view.augmentation.model_dump(mode="json", exclude={"no_flip", "mirrored"})
        named = {clips.annotations.classes[label] for label in clips.annotations.labels_of(index)}
        flips = [bool(named & set(view.augmentation.no_flip)), any(named & set(p) for p in view.augmentation.mirrored)]
        seen: Any = [view.sampling.model_dump(mode="json"), augmentation, flips, seed, draw]
    else:
        seen = [view.protocol.model_dump(mode="json", exclude={"average"}), view.preprocessing.model_dump(mode="json")]
    return cache_key(
        kind="features",
        version=VERSION,
        content=clips.contents_N[index],
        part=clips.part(index),
        trunk=trunk.digest,
        input=trunk.preprocessing.model_dump(mode="json"),
        view=seen,
        precision=trunk.engine.arithmetic,
        device=trunk.engine.device.type,
        torch=torch.__version__,
    )
