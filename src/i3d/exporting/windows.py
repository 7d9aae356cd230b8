"""The windows of videos that calibrate and check an int8 network: as its recipe prepares clips, in the centre crop.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.formats.inputs import expand_inputs
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.view_stream import View, ViewSampler
from i3d.errors import VideoError
from i3d.models.engine.forward import normalize
from i3d.recipes.protocols import CLIP_LEN
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, Preprocessing
from i3d.video.sampling import looped_indices
from i3d.weights.exported import GraphInput

PER_VIDEO: Final = 10  # windows of one video at most: more would overlap, and be alike
CALIBRATING: Final = 3  # one of so many windows, and of the videos, calibrates

log = logging.getLogger("i3d")


@dataclass(frozen=True)
class Windows:
    """Windows of some videos, decoded again in each pass. Videos that cannot be read are left out with a warning."""

    videos: tuple[str, ...]
    number: int  # at most
    sampler: ViewSampler
    takes: GraphInput
    places: slice  # of the windows of each video
    _unreadable: set[str] = field(default_factory=set, repr=False, compare=False)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """The input of a graph for each window: a batch of one."""
        number = 0
        for video in self.videos:
            for clip_THWC in self._clips(video)[self.places]:
                if number == self.number:
                    return
                number += 1
                yield as_input(clip_THWC, self.takes, self.sampler.preprocessing)

    def _clips(self, video: str) -> list[npt.NDArray[np.uint8]]:
        if video in self._unreadable:
            return []
        try:
            return [view.clip_THWC for view in self.sampler.views(video) if isinstance(view, View)]
        except VideoError as error:
            log.warning("%s; it is left out", error)
            self._unreadable.add(video)
            return []


@dataclass(frozen=True)
class WindowSets:
    """The windows that calibrate a network, and those that check it."""

    calibrating: Windows
    checking: Windows
    is_held_out: bool  # False: the same video calibrates and checks, with other windows


def choose_windows(
    source: str | os.PathLike[str], recipe: Recipe, takes: GraphInput, *, number: int, seed: int
) -> WindowSets:
    """A third of the videos calibrates, the others check; of a single video, every second window calibrates.

    `source`: a video, a folder, a pattern or a list; `number`: of all windows. No video is an InputError.
    """
    videos = expand_inputs([os.fspath(source)])
    drawn = tuple(videos[k] for k in np.random.default_rng(seed).permutation(len(videos)))
    first, calibrating = ceil(len(drawn) / CALIBRATING), max(1, number // CALIBRATING)

    def windows(part: tuple[str, ...], count: int, places: slice, *, per_video: int) -> Windows:
        sampler = sampler_of(recipe, takes, max(1, min(PER_VIDEO, per_video)))
        return Windows(part, count, sampler, takes, places)

    if len(drawn) == 1:
        one, other = (windows(drawn, number, slice(k, None, 2), per_video=max(2, number)) for k in range(2))
        return WindowSets(one, other, is_held_out=False)
    parts = (drawn[:first], calibrating), (drawn[first:], number - calibrating)
    one, other = (windows(part, count, slice(None), per_video=ceil(count / len(part))) for part, count in parts)
    return WindowSets(one, other, is_held_out=True)


def as_input(clip_THWC: npt.NDArray[np.uint8], takes: GraphInput, pre: Preprocessing) -> npt.NDArray[Any]:
    """A clip as a graph takes it, a batch of one; one that is too short for the network is looped."""
    clip_THWC = clip_THWC[looped_indices(len(clip_THWC), length=max(len(clip_THWC), takes.min_frames))]
    if takes.dtype == "uint8":
        return clip_THWC[None]
    clips_NCTHW = normalize(torch.from_numpy(clip_THWC[None]), mean=pre.mean, std=pre.std)
    return np.ascontiguousarray(clips_NCTHW.numpy())


def sampler_of(recipe: Recipe, takes: GraphInput, per_video: int) -> ViewSampler:
    """Clips of the graph's number of frames, at the rate of the recipe, spread over a video."""
    own = recipe.protocol
    if isinstance(own, ClipProtocol):
        placement = "scattered" if own.placement == "scattered" else "centred"
        fields = own.model_dump() | {"placement": placement, "twice": False, "clip_len": takes.frames or own.clip_len}
    else:
        fields = {"clip_len": takes.frames or CLIP_LEN, "frame_interval": 1, "target_fps": own.fps}
    protocol = ClipProtocol(**fields | {"num_clips": per_video, "crops": "center"})
    return ViewSampler(protocol, recipe.preprocessing, ClipFlow.from_network(recipe.network, recipe.preprocessing))
