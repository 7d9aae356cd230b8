"""Load clips: open, sample, decode, resize, crop, augment. `ClipDataset.read_training_clip` shows all steps in order.

A training sample is a function of (seed, epoch, index) only; it does not depend on the worker, the rank, or what was
read before. Clips are uint8 with the channels last; `normalize` (models/engine/forward.py) makes them floats.

Letters in names: N clips of a batch, V views, T frames, D distinct frames, H rows, W columns, C channels, K classes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from i3d.data.annotations import Annotations
from i3d.data.content import content_digest
from i3d.data.flow_files import flow_from_rgb
from i3d.data.frame_folders import FrameNaming, dataset_naming, open_frames
from i3d.data.loading.batch import Batch, Box, ClipNote, UnreadableClip, Views, allocate_uint8, to_shared
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.preprocess import ResizedFrame, change_frames, check_size, checked_shape, window_frames
from i3d.data.loading.samplers import epoch_order
from i3d.data.shards import open_stored_video
from i3d.errors import I3DError, InputError, VideoError, counted
from i3d.recipes.augmentation import Augmentation, TrainSampling, flips_of
from i3d.recipes.settings import ClipProtocol, Preprocessing, Protocol, WindowProtocol
from i3d.video.base import FrameHWC, Video
from i3d.video.geometry import Geometry, draw_geometry
from i3d.video.photometric import augment_pixels
from i3d.video.sampling import protocol_clips, training_clips, windows
from i3d.video.transforms import apply_steps, center_crop, crop_boxes, shape_after

MAX_TRIES: Final = 20  # unreadable clips in a row, after which training stops whatever `max_bad` is
MAX_WINDOW_BYTES: Final = 4 << 30  # of the frames of one video that is tested in windows; `i3d predict` streams them
STAGES: Final = ("open", "seek", "decode", "resize", "crop", "change", "collate")
Key = tuple[int, int]  # epoch, index


class LoadTimer:
    """A stopwatch of the stages of loading. It is off by default; then a lap is one comparison."""

    def __init__(self) -> None:
        self.is_on = False
        self.reset()
        self._last = 0.0

    def reset(self) -> None:
        """Set all stages to 0."""
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def lap(self, stage: str = "") -> None:
        """Add the time since the last lap to a stage, and begin the next lap; without a stage, begin the first."""
        if self.is_on:
            now = time.perf_counter()
            if stage:
                self.seconds[stage] += now - self._last
            self._last = now


@dataclass(frozen=True)
class TrainView:
    """A training view: clips sampled and augmented at random."""

    sampling: TrainSampling
    augmentation: Augmentation


@dataclass(frozen=True)
class TestView:
    """A test view: the clips and crops of a protocol, or its windows."""

    __test__ = False  # for pytest: this class is no test

    protocol: Protocol
    preprocessing: Preprocessing
    others: tuple[Protocol, ...] = ()  # further protocols of the same pass; equal views are computed once

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        return self.protocol, *self.others


class _ClipFrames(NamedTuple):
    """The frames of a clip: the listed part of a video, or the optical flow of that part."""

    video: Video
    iter_frames_at: Callable[[npt.NDArray[np.int64]], Iterator[tuple[int, FrameHWC, Fraction]]]  # as that of `Video`
    first: int  # the number of its first frame
    num_frames: int
    fps: float | None  # of these frames; None: the sampling does not depend on it


class ClipDataset(torch.utils.data.Dataset[Batch]):
    """Batches of clips by lists of (epoch, index). Missing files are an InputError when the dataset is created.

    `flow`: clips are optical flow, stored or computed. `naming`: of the frames of folders, by default inferred.
    `multi_label`: labels are rows of 0 and 1. `seeds_N`: seeds of the clips' random draws, by default their indices.
    `replaces_bad`: in training, the next clip takes the place of one that cannot be read; else there is none.
    """

    def __init__(
        self,
        annotations: Annotations,
        view: TrainView | TestView,
        *,
        seed: int = 0,
        flow: ClipFlow | None = None,
        naming: FrameNaming | None = None,
        multi_label: bool = False,
        seeds_N: npt.NDArray[np.int64] | None = None,
        replaces_bad: bool = True,
    ) -> None:
        self.annotations, self.view, self.seed = annotations, view, seed
        self.seeds_N = np.arange(len(annotations)) if seeds_N is None else seeds_N
        self.multi_label, self.flow, self.replaces_bad = multi_label, flow, replaces_bad
        self.timer = LoadTimer()
        self._notes: dict[int, str] = {}  # of the clips of a batch
        annotations.check_present()
        self.naming = naming
        if annotations.is_frames and naming is None:
            self.naming = dataset_naming(annotations, modality="flow" if flow is not None else "rgb")
        self.num_channels = self.naming.num_channels if self.naming is not None else 3 if flow is None else 2
        self.computes_flow = flow is not None and self.naming is None  # of folders of frames, flow is stored
        if isinstance(view, TrainView):
            if self.num_channels != 3 and view.augmentation.changes_colours:
                raise InputError("flow has no colours: remove brightness, contrast, saturation, hue and rand_augment")
            self._no_flip, self._mirrored = flips_of(view.augmentation, annotations.classes)

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, key: Key) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """A whole batch. Each frame is written to its place in the batch, so that nothing is collated."""
        self.timer.lap()
        self._notes.clear()
        try:
            if isinstance(self.view, TrainView):
                return self._training_batch(keys, self.view)
            return self._test_batch(keys, self.view)
        except I3DError as error:
            if torch.utils.data.get_worker_info() is None:
                raise
            return error  # type: ignore[return-value]  # `ClipLoader` raises it; DataLoader would add a traceback

    def __getstate__(self) -> dict[str, Any]:
        """Spawned workers get the columns of the annotations as shared memory, not as copies."""
        self._shared = self.annotations.map_columns(to_shared)  # must live until the worker has opened it
        return {**self.__dict__, "annotations": self._shared, "_shared": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.annotations = self.annotations.map_columns(lambda tensor: tensor.numpy())

    @cached_property
    def rarest_N(self) -> npt.NDArray[np.int64]:
        """The class of every clip; of a multi-label clip, its class with the fewest clips; -1 without a class."""
        counts_K = self.annotations.class_counts_K
        labels_N = (self.annotations.labels_of(index) for index in range(len(self)))
        return np.array([min(labels, key=lambda k: counts_K[k], default=-1) for labels in labels_N], np.int64)

    def _training_batch(self, keys: Sequence[Key], view: TrainView) -> Batch:
        s, size = view.sampling, view.augmentation.size
        clips_NVTHWC = allocate_uint8((len(keys), s.num_clips, s.clip_len, size, size, self.num_channels))
        indices, labels, bad = list[int](), list[tuple[int, ...]](), list[UnreadableClip]()
        for epoch, index in keys:
            for candidate in self._candidates(epoch, index):
                try:
                    labels.append(self.read_training_clip(epoch, candidate, view, clips_NVTHWC[len(indices)].numpy()))
                except VideoError as error:
                    bad.append(UnreadableClip(candidate, str(error)))
                else:
                    indices.append(candidate)
                    break
            else:
                if self.replaces_bad:
                    raise InputError(f"{counted(len(bad), 'clip')} in a row cannot be read; the first: {bad[0].reason}")
        clips_NVTHWC = clips_NVTHWC[: len(indices)]
        notes = self._notes_of(indices)
        batch = Batch(clips_NVTHWC, (), self._targets(labels), torch.tensor(indices), tuple(bad), notes)
        self.timer.lap("collate")
        return batch

    def _candidates(self, epoch: int, index: int) -> Iterator[int]:
        """A clip, and its replacements if it cannot be read: the next clips in the order of the epoch."""
        yield index
        if not self.replaces_bad:
            return
        order = epoch_order(len(self), seed=self.seed, epoch=epoch)
        place = int(np.flatnonzero(order == index)[0])
        for k in range(1, min(MAX_TRIES, len(self))):
            yield int(order[(place + k) % len(self)])

    def read_training_clip(
        self, epoch: int, index: int, view: TrainView, out_VTHWC: npt.NDArray[np.uint8]
    ) -> tuple[int, ...]:
        """Sample, decode and augment one clip into `out_VTHWC`; its class numbers, which a flip may change."""
        rng = np.random.default_rng((self.seed, epoch, int(self.seeds_N[index])))
        labels = self.annotations.labels_of(index)
        side = self.flow.short_side if self.flow is not None else 0
        with self._part(index, rate=view.sampling.target_fps, short_side=side) as part:
            indices_VT = training_clips(part.num_frames, view.sampling, rng=rng, fps=part.fps) + part.first
            self.timer.lap("seek")
            may_flip = not self._no_flip.intersection(labels)
            draw = partial(draw_geometry, view.augmentation, rng=rng, may_flip=may_flip)
            geometry, slots = None, _slots(indices_VT)
            resized = self._resized_frames(part, np.unique(indices_VT), draw)
            for frame, resized_HWC, geometry in change_frames(resized, view.augmentation, rng):
                (v, t), *repeats = slots[frame]
                geometry.crop(resized_HWC, out_VTHWC[v, t])
                for repeat in repeats:
                    out_VTHWC[repeat] = out_VTHWC[v, t]
                self.timer.lap("crop")
        augment_pixels(out_VTHWC.reshape(-1, *out_VTHWC.shape[2:]), view.augmentation, rng=rng)
        self.timer.lap("change")
        if geometry is not None and geometry.flip:
            labels = tuple(self._mirrored.get(label, label) for label in labels)
        return labels

    def _resized_frames(
        self, part: _ClipFrames, frames_D: npt.NDArray[np.int64], draw: Callable[..., Geometry]
    ) -> Iterator[ResizedFrame]:
        """Frames before the crop, with the geometry of the clip, which is drawn for the size of the first frame."""
        geometry = None
        for frame, frame_HWC, _ in part.iter_frames_at(frames_D):
            self.timer.lap("decode")
            if geometry is None:
                height, width = frame_HWC.shape[:2]
                geometry = draw(height=height, width=width)
                for size in (*shape_after(geometry.steps, height, width), geometry.resized):
                    check_size(part.video, size, frame_HWC.shape)
            resized_HWC = geometry.resize(frame_HWC)
            self.timer.lap("resize")
            yield frame, resized_HWC, geometry

    def _test_batch(self, keys: Sequence[Key], view: TestView) -> Batch:
        views, indices, bad = [], [], []
        for _, index in keys:
            try:
                views.append(self._views(index, view))
                indices.append(index)
            except VideoError as error:
                bad.append(UnreadableClip(index, str(error)))
        labels = self._targets([self.annotations.labels_of(index) for index in indices])
        no_clips = torch.empty(0, dtype=torch.uint8)
        self.timer.lap("collate")
        indices_N, notes = torch.tensor(indices, dtype=torch.int64), self._notes_of(indices)
        return Batch(no_clips, tuple(views), labels, indices_N, tuple(bad), notes)

    def _notes_of(self, indices: Sequence[int]) -> tuple[ClipNote, ...]:
        return tuple(ClipNote(index, self._notes[index]) for index in indices if self._notes.get(index))

    def _views(self, index: int, view: TestView) -> Views:
        """The views of all protocols. Clips index frames by number, windows by time: their frames are separate."""
        pre = view.preprocessing
        clip_protocols = [protocol for protocol in view.protocols if isinstance(protocol, ClipProtocol)]
        layout: dict[Protocol, tuple[Sequence[Sequence[int]], Sequence[Box]]] = {}  # frames of the clips, boxes
        frames: list[torch.Tensor] = []
        for protocols in self._by_frame_rate(clip_protocols):
            frames.append(self._clip_frames(index, protocols, pre, layout, offset=sum(map(len, frames))))
        for protocol in view.protocols:
            if isinstance(protocol, WindowProtocol):
                first = sum(map(len, frames))
                frames_DHWC, places = self._window_frames(index, protocol, pre, uncropped=bool(clip_protocols))
                cuts = windows(len(places), max_frames=protocol.max_window_frames)
                boxes = crop_boxes(*frames_DHWC.shape[1:3], size=pre.crop, crops="center")
                layout[protocol] = [[first + place for place in places[start:stop]] for start, stop in cuts], boxes
                frames.append(frames_DHWC)
        frames_DHWC = frames[0]
        if len(frames) > 1:
            num_frames = sum(map(len, frames))
            frames_DHWC = torch.cat(frames, out=allocate_uint8((num_frames, *frames[0].shape[1:])))
        return Views.from_protocols(frames_DHWC, [layout[protocol] for protocol in view.protocols], size=pre.crop)

    def _by_frame_rate(self, protocols: list[ClipProtocol]) -> list[list[ClipProtocol]]:
        """Protocols that share frames: all of RGB; of computed flow, those of one rate, as flow depends on the rate."""
        rates = dict.fromkeys(p.target_fps if self.computes_flow else None for p in protocols)
        return [[p for p in protocols if not self.computes_flow or p.target_fps == rate] for rate in rates]

    def _clip_frames(
        self, index: int, protocols: list[ClipProtocol], pre: Preprocessing, layout: dict[Protocol, Any], *, offset: int
    ) -> torch.Tensor:
        """Every frame (D, H, W, C) that some clip needs, once, resized.

        Adds the clips and boxes of each protocol to `layout`, where the first of these frames has the number `offset`.
        """
        rate = next((protocol.target_fps for protocol in protocols if protocol.target_fps is not None), None)
        side = pre.flow_short_side if self.computes_flow else 0
        name = self.annotations.path(index)
        with self._part(index, rate=rate, short_side=side) as part:
            clips = [
                protocol_clips(part.num_frames, p, fps=part.fps if p.target_fps else None, seed=self.seed, name=name)
                + part.first
                for p in protocols
            ]
            wanted_D = np.unique(np.concatenate([indices_VT.reshape(-1) for indices_VT in clips]))
            self.timer.lap("seek")
            frames_DHWC = torch.empty(0)
            for d, (_, frame_HWC, _) in enumerate(part.iter_frames_at(wanted_D)):
                self.timer.lap("decode")
                if d == 0:
                    height, width = checked_shape(part.video, frame_HWC.shape, pre)
                    frames_DHWC = allocate_uint8((len(wanted_D), height, width, self.num_channels))
                if pre.steps or pre.short_side is None:
                    np.copyto(frames_DHWC[d].numpy(), apply_steps(frame_HWC, pre.resizes))
                else:  # without a copy
                    cv2.resize(frame_HWC, (width, height), frames_DHWC[d].numpy(), interpolation=cv2.INTER_LINEAR)
                self.timer.lap("resize")
        for protocol, indices_VT in zip(protocols, clips, strict=True):
            boxes = crop_boxes(height, width, size=pre.crop, crops=protocol.crops)
            layout[protocol] = (np.searchsorted(wanted_D, indices_VT) + offset).tolist(), boxes
        return frames_DHWC

    def _window_frames(
        self, index: int, protocol: WindowProtocol, pre: Preprocessing, *, uncropped: bool
    ) -> tuple[torch.Tensor, list[int]]:
        """The distinct frames (D, H, W, C) of a video at the protocol's rate, and which of them fills each time slot.

        They are resized, and cropped unless `uncropped`. A video slower than the rate fills several slots with a frame.
        """
        clip = self.annotations[index]
        with ExitStack() as stack:
            video = stack.enter_context(self.open_clip(index))
            self.timer.lap("open")
            is_part = clip.start_seconds is not None or clip.end_seconds is not None
            between = video.frames_between(clip.start_seconds, clip.end_seconds) if is_part else None
            self.timer.lap("seek")
            frames = window_frames(video, protocol, pre, between=between, uncropped=uncropped)
            if self.flow is not None and self.computes_flow:
                content, side = content_digest(self.annotations.readable(index)), pre.flow_short_side
                flow = self.flow.open(video, content, short_side=side, fps=protocol.fps, between=between)
                flows = stack.enter_context(flow).stream(transform=flow_from_rgb)
                frames = flows if uncropped else (center_crop(f[None], size=pre.crop)[0].copy() for f in flows)
            distinct_D: list[npt.NDArray[np.uint8]] = []
            places: list[int] = []
            for frame_HWC in frames:
                if not distinct_D or frame_HWC is not distinct_D[-1]:
                    distinct_D.append(frame_HWC)
                    self.timer.lap("decode")
                    if len(distinct_D) * frame_HWC.size > MAX_WINDOW_BYTES:
                        seconds = len(places) / protocol.fps
                        what = f"its first {seconds:.0f} s at {protocol.fps:g} fps take {MAX_WINDOW_BYTES >> 30} GiB"
                        todo = "split it into several clips (columns start and end of a table)"
                        raise VideoError(video.name, what, todo)
                places.append(len(distinct_D) - 1)
            self._notes[index] = "; ".join(video.notes)
        frames_DHWC = allocate_uint8((len(distinct_D), *distinct_D[0].shape))
        np.stack(distinct_D, out=frames_DHWC.numpy())
        return frames_DHWC, places

    @contextmanager
    def _part(self, index: int, *, rate: float | None, short_side: int) -> Iterator[_ClipFrames]:
        """The listed part of a video; or its flow, between frames at the `rate` of the clips (None: all frames)."""
        clip = self.annotations[index]
        with self.open_clip(index) as video:
            self.timer.lap("open")
            first, stop = video.frames_between(clip.start_seconds, clip.end_seconds)
            fps = video.fps if rate is not None else None
            if self.flow is None or not self.computes_flow:
                yield _ClipFrames(video, video.iter_frames_at, first, stop - first, fps)
                self._notes[index] = "; ".join(video.notes)
                return
            content, between = content_digest(self.annotations.readable(index)), (first, stop)
            with self.flow.open(video, content, short_side=short_side, fps=rate, between=between) as flow:
                at = partial(flow.iter_frames_at, transform=flow_from_rgb)
                yield _ClipFrames(video, at, 0, flow.num_frames, rate or fps)
                self._notes[index] = "; ".join(video.notes)

    def open_clip(self, index: int) -> Video:
        """The whole video of a clip, as a context manager."""
        clip, path = self.annotations[index], self.annotations.readable(index)
        if self.naming is None:
            return open_stored_video(path)
        first, num_frames = clip.first_frame, clip.num_frames
        return open_frames(path, self.naming, num_frames=num_frames, first_frame=first)

    def _targets(self, labels_N: list[tuple[int, ...]]) -> torch.Tensor:
        if not self.multi_label:
            return torch.tensor([labels[0] if labels else -1 for labels in labels_N], dtype=torch.int64)
        targets_NK = torch.zeros(len(labels_N), len(self.annotations.classes))
        for row, labels in zip(targets_NK, labels_N, strict=True):
            row[list(labels)] = 1
        return targets_NK


def _slots(indices_VT: npt.NDArray[np.int64]) -> dict[int, list[tuple[int, int]]]:
    """All places (view, time) of each frame."""
    slots: dict[int, list[tuple[int, int]]] = {}
    for (v, t), frame in np.ndenumerate(indices_VT):
        slots.setdefault(int(frame), []).append((v, t))
    return slots
