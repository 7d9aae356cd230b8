"""From annotations to clips: open, sample, decode, resize, crop, change. One function reads so: `_training_clip`.

A training sample is a function of (seed, epoch, index) and of nothing else: not of the worker, the rank, or what was
read before. Clips stay uint8 with the channels last; `models.normalize` makes floats of them on the device.

Letters in names: N clips of a batch, V views, T frames, D different frames, H rows, W columns, C channels, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from i3d.data.annotations import Annotations
from i3d.data.frame_folders import FrameNaming, clip_folder, dataset_naming, open_frames
from i3d.data.loading.batch import Batch, Box, UnreadableClip, Views
from i3d.data.loading.flow_cache import ClipFlow, content_digest
from i3d.data.loading.preprocess import check_size, window_frames
from i3d.data.loading.samplers import epoch_order
from i3d.data.loading.shared_memory import allocate_uint8, to_shared
from i3d.data.loading.timing import LoadTimer
from i3d.data.missing import check_present
from i3d.data.shards import Shards
from i3d.errors import I3DError, InputError, VideoError
from i3d.recipes.augmentation import Augmentation, TrainSampling, flips_of
from i3d.recipes.settings import ClipProtocol, Preprocessing, Protocol, WindowProtocol
from i3d.video.base import DEFAULT_LIMITS, FrameHWC, Limits, Video
from i3d.video.geometry import draw_geometry
from i3d.video.photometric import augment_pixels
from i3d.video.reader import open_video
from i3d.video.sampling import protocol_clips, training_clips, windows
from i3d.video.transforms import center_crop, crop_boxes, resize_frame, short_side_size

MAX_TRIES: Final = 20  # clips in a row that may be unreadable before training stops whatever the limit
MAX_WINDOW_BYTES: Final = 4 << 30  # of the frames of one video that is scored whole; `i3d predict` has no limit
Key = tuple[int, int]  # epoch, index


@dataclass(frozen=True)
class TrainView:
    """What training sees of a clip: one random draw."""

    sampling: TrainSampling
    augmentation: Augmentation


@dataclass(frozen=True)
class TestView:
    """What validation and testing see of a clip: the clips and crops of a protocol, or its windows."""

    __test__ = False  # for pytest: not a test

    protocol: Protocol
    preprocessing: Preprocessing
    others: tuple[Protocol, ...] = ()  # whose views come along; a view of several protocols is there once

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        return self.protocol, *self.others


class _Part(NamedTuple):
    """The frames of a clip, by their numbers."""

    video: Video
    iter_frames_at: Callable[[npt.NDArray[np.int64]], Iterator[tuple[int, FrameHWC, Fraction]]]
    first: int
    num_frames: int
    fps: float | None  # of these frames, if clips are stretched by it


class ClipDataset(torch.utils.data.Dataset[Batch]):
    """Clips by (epoch, index). A missing file is an InputError at once, before anything is read.

    `reduced_jpeg`: JPEG frames that are at least twice as large as needed are decoded at a half, a quarter or an eighth
    of their size. That saves time and changes the pixels (docs/data.md tells how much), so it is off by default.
    `flow`: clips are seen as flow. `numbers_N`: from which the draws of each clip come, instead of from its index.
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
        reduced_jpeg: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        numbers_N: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.annotations, self.view, self.seed = annotations, view, seed
        self.numbers_N = np.arange(len(annotations)) if numbers_N is None else numbers_N
        self.multi_label, self.limits, self.flow = multi_label, limits, flow
        self._at_least = _needed_short_side(view) if reduced_jpeg else None
        self.timer = LoadTimer()
        self._shared: Annotations | None = None
        self.shards = Shards.find(Path(annotations.root))
        check_present(annotations, self.shards)
        self.naming = naming
        if annotations.is_frames and naming is None:
            self.naming = dataset_naming(annotations, self.shards, modality="flow" if flow is not None else "rgb")
        self.num_channels = self.naming.num_channels if self.naming is not None else 3 if flow is None else 2
        self.computes_flow = flow is not None and self.naming is None  # else it is stored
        if isinstance(view, TrainView):
            if self.num_channels != 3 and view.augmentation.changes_colours:
                raise InputError(
                    "flow has no colours: leave brightness, contrast, saturation, hue and rand_augment out"
                )
            self._no_flip, self._mirrored = flips_of(view.augmentation, annotations.classes)

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, key: Key) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """A whole batch, each clip written where it stays."""
        self.timer.start()
        try:
            if isinstance(self.view, TrainView):
                return self._training_batch(keys, self.view)
            return self._test_batch(keys, self.view)
        except I3DError as error:
            if torch.utils.data.get_worker_info() is None:
                raise
            return error  # type: ignore[return-value]  # `ClipLoader` raises it; DataLoader would wrap a traceback in it

    def __getstate__(self) -> dict[str, Any]:
        """Where processes are not forked, the columns still go to them as shared memory."""
        self._shared = self.annotations.map_columns(to_shared)  # must live until the other process has it
        return {**self.__dict__, "annotations": self._shared, "_shared": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.annotations = self.annotations.map_columns(lambda tensor: tensor.numpy())

    @cached_property
    def rarest_N(self) -> npt.NDArray[np.int64]:
        """The class of every clip; of several, that with the fewest clips; -1 without one."""
        counts_K = self.annotations.class_counts_K
        labels = (self.annotations.labels_of(index) for index in range(len(self)))
        return np.array([min(found, key=lambda k: counts_K[k], default=-1) for found in labels], np.int64)

    def _training_batch(self, keys: Sequence[Key], view: TrainView) -> Batch:
        s, size = view.sampling, view.augmentation.size
        clips_NVTHWC = allocate_uint8((len(keys), s.num_clips, s.clip_len, size, size, self.num_channels))
        indices, labels, bad = [], [], []
        for place, (epoch, index) in enumerate(keys):
            for candidate in self._candidates(epoch, index):
                try:
                    labels.append(self._training_clip(epoch, candidate, view, clips_NVTHWC[place].numpy()))
                except VideoError as error:
                    bad.append(UnreadableClip(candidate, str(error)))
                else:
                    indices.append(candidate)
                    break
            else:
                raise InputError(f"{len(bad)} clips in a row cannot be read; the first: {bad[0].reason}")
        batch = Batch(clips_NVTHWC, (), self._targets(labels), torch.tensor(indices), tuple(bad))
        self.timer.lap("collate")
        return batch

    def _candidates(self, epoch: int, index: int) -> Iterator[int]:
        """A clip, and those that take its place if it cannot be read: the next ones in the order of the epoch."""
        yield index
        order = epoch_order(len(self), seed=self.seed, epoch=epoch)
        place = int(np.flatnonzero(order == index)[0])
        for k in range(1, min(MAX_TRIES, len(self))):
            yield int(order[(place + k) % len(self)])

    def _training_clip(
        self, epoch: int, index: int, view: TrainView, out_VTHWC: npt.NDArray[np.uint8]
    ) -> tuple[int, ...]:
        """Draw one clip and write it to `out_VTHWC`; its class numbers."""
        rng = np.random.default_rng((self.seed, epoch, int(self.numbers_N[index])))
        labels = self.annotations.labels_of(index)
        side = self.flow.short_side if self.flow is not None else 0
        with self._part(index, rate=view.sampling.target_fps, short_side=side) as part:
            indices_VT = training_clips(part.num_frames, view.sampling, rng=rng, fps=part.fps) + part.first
            self.timer.lap("seek")
            geometry, slots = None, _slots(indices_VT)
            for frame, frame_HWC, _ in part.iter_frames_at(np.unique(indices_VT)):
                self.timer.lap("decode")
                if geometry is None:
                    height, width = frame_HWC.shape[:2]
                    may_flip = not self._no_flip.intersection(labels)
                    geometry = draw_geometry(view.augmentation, height=height, width=width, rng=rng, may_flip=may_flip)
                    check_size(part.video, geometry.resized, frame_HWC.shape)
                resized_HWC = geometry.resize(frame_HWC)
                self.timer.lap("resize")
                (v, t), *others = slots[frame]
                geometry.crop(resized_HWC, out_VTHWC[v, t])
                for other in others:
                    out_VTHWC[other] = out_VTHWC[v, t]
                self.timer.lap("crop")
        augment_pixels(out_VTHWC.reshape(-1, *out_VTHWC.shape[2:]), view.augmentation, rng=rng)
        self.timer.lap("change")
        if geometry is not None and geometry.flip:
            labels = tuple(self._mirrored.get(label, label) for label in labels)
        return labels

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
        return Batch(no_clips, tuple(views), labels, torch.tensor(indices, dtype=torch.int64), tuple(bad))

    def _views(self, index: int, view: TestView) -> Views:
        """The views of all protocols: frames at a rate for windows, and apart from them, frames by number for clips."""
        pre = view.preprocessing
        of_clips = [protocol for protocol in view.protocols if isinstance(protocol, ClipProtocol)]
        laid: dict[Protocol, tuple[Sequence[Sequence[int]], Sequence[Box]]] = {}
        frames: list[torch.Tensor] = []
        for protocols in self._at_one_rate(of_clips):
            frames.append(self._clip_frames(index, protocols, pre, laid, at=sum(map(len, frames))))
        for protocol in view.protocols:
            if isinstance(protocol, WindowProtocol):
                first = sum(map(len, frames))
                frames_DHWC, places = self._window_frames(index, protocol, pre, whole=bool(of_clips))
                cuts = windows(len(places), max_frames=protocol.max_window_frames)
                boxes = crop_boxes(*frames_DHWC.shape[1:3], size=pre.crop, crops="center")
                laid[protocol] = [[first + place for place in places[start:stop]] for start, stop in cuts], boxes
                frames.append(frames_DHWC)
        frames_DHWC = frames[0] if len(frames) == 1 else torch.cat(frames, out=allocate_uint8(_joined_shape(frames)))
        return Views.from_protocols(frames_DHWC, [laid[protocol] for protocol in view.protocols], size=pre.crop)

    def _at_one_rate(self, protocols: list[ClipProtocol]) -> list[list[ClipProtocol]]:
        """Protocols that see the same frames: all, but flow is between other frames at another rate."""
        rates = dict.fromkeys(p.target_fps if self.computes_flow else None for p in protocols)
        return [[p for p in protocols if not self.computes_flow or p.target_fps == rate] for rate in rates]

    def _clip_frames(
        self, index: int, protocols: list[ClipProtocol], pre: Preprocessing, laid: dict[Protocol, Any], *, at: int
    ) -> torch.Tensor:
        """Every frame (D, H, W, C) that some clip shows, once, resized.

        Where clips and crops lie goes to `laid`; the first of these frames is number `at` there.
        """
        rate = next((protocol.target_fps for protocol in protocols if protocol.target_fps is not None), None)
        with self._part(index, rate=rate, short_side=pre.short_side) as part:
            of_each = (protocol_clips(part.num_frames, p, fps=part.fps if p.target_fps else None) for p in protocols)
            clips = [indices_VT + part.first for indices_VT in of_each]
            wanted_D = np.unique(np.concatenate([indices_VT.reshape(-1) for indices_VT in clips]))
            self.timer.lap("seek")
            frames_DHWC = torch.empty(0)
            for d, (_, frame_HWC, _) in enumerate(part.iter_frames_at(wanted_D)):
                self.timer.lap("decode")
                if d == 0:
                    height, width = short_side_size(*frame_HWC.shape[:2], short_side=pre.short_side)
                    check_size(part.video, (height, width), frame_HWC.shape)
                    frames_DHWC = allocate_uint8((len(wanted_D), height, width, self.num_channels))
                _resize_into(frame_HWC, frames_DHWC[d].numpy())
                self.timer.lap("resize")
        for protocol, indices_VT in zip(protocols, clips, strict=True):
            boxes = crop_boxes(height, width, size=pre.crop, crops=protocol.crops)
            laid[protocol] = (np.searchsorted(wanted_D, indices_VT) + at).tolist(), boxes
        return frames_DHWC

    def _window_frames(
        self, index: int, protocol: WindowProtocol, pre: Preprocessing, *, whole: bool
    ) -> tuple[torch.Tensor, list[int]]:
        """All frames at the rate of the protocol, each once, resized, and cropped if not `whole`; which fill its slots.

        ((D, H, W, C), a place for each slot of the rate)
        """
        clip = self.annotations[index]
        with self.open_clip(index) as video:
            self.timer.lap("open")
            is_part = clip.start_seconds is not None or clip.end_seconds is not None
            between = video.frames_between(clip.start_seconds, clip.end_seconds) if is_part else None
            self.timer.lap("seek")
            different_D: list[npt.NDArray[np.uint8]] = []
            places: list[int] = []
            for frame_HWC in self._of_windows(video, index, protocol, pre, between, whole=whole):
                if not different_D or frame_HWC is not different_D[-1]:
                    different_D.append(frame_HWC)
                    self.timer.lap("decode")
                    if len(different_D) * frame_HWC.size > MAX_WINDOW_BYTES:
                        seconds = len(places) / protocol.fps
                        what = f"its first {seconds:.0f} s at {protocol.fps:g} fps take {MAX_WINDOW_BYTES >> 30} GiB"
                        raise VideoError(video.name, what, "list it in parts (columns start and end)")
                places.append(len(different_D) - 1)
        frames_DHWC = allocate_uint8((len(different_D), *different_D[0].shape))
        np.stack(different_D, out=frames_DHWC.numpy())
        return frames_DHWC, places

    @contextmanager
    def _part(self, index: int, *, rate: float | None, short_side: int) -> Iterator[_Part]:
        """The listed part of a clip; or the flow in it, between frames at the `rate` of the clips (None: all)."""
        clip = self.annotations[index]
        with self.open_clip(index) as video:
            self.timer.lap("open")
            first, stop = video.frames_between(clip.start_seconds, clip.end_seconds)
            fps = video.fps if rate is not None else None
            if self.flow is None or not self.computes_flow:
                yield _Part(video, video.iter_frames_at, first, stop - first, fps)
                return
            content, between = self._digest(index), (first, stop)
            with self.flow.open(video, content, short_side=short_side, fps=rate, between=between) as flow:
                yield _Part(video, flow.iter_frames_at, 0, flow.num_frames, rate or fps)

    def _of_windows(
        self,
        video: Video,
        index: int,
        protocol: WindowProtocol,
        pre: Preprocessing,
        between: tuple[int, int] | None,
        *,
        whole: bool,
    ) -> Iterator[FrameHWC]:
        """Every frame at the rate of the protocol, or the flow that leads to it."""
        if self.flow is None or not self.computes_flow:
            yield from window_frames(video, protocol, pre, between=between, whole=whole)
            return
        content, side = self._digest(index), pre.short_side
        with self.flow.open(video, content, short_side=side, fps=protocol.fps, between=between) as flow:
            for flow_HW2 in flow.stream():
                yield flow_HW2 if whole else center_crop(flow_HW2[None], size=pre.crop)[0].copy()

    def _digest(self, index: int) -> str:
        if self.shards is not None:
            return hashlib.sha256(self.shards.file(self.annotations.path(index)).read_bytes()).hexdigest()
        return content_digest(Path(self.annotations.file(index)))

    def open_clip(self, index: int) -> Video:
        """The whole video of a clip, to be used in a `with` statement."""
        clip = self.annotations[index]
        if self.naming is not None:
            return open_frames(
                clip_folder(self.annotations, self.shards, index),
                self.naming,
                num_frames=clip.num_frames,
                first_frame=clip.first_frame,
                limits=self.limits,
                at_least=self._at_least,
            )
        file = self.annotations.file(index)
        if self.shards is not None:
            return open_video(self.shards.file(clip.path).read_bytes(), name=file, limits=self.limits)
        return open_video(file, limits=self.limits)

    def _targets(self, labels_N: list[tuple[int, ...]]) -> torch.Tensor:
        if not self.multi_label:
            return torch.tensor([labels[0] if labels else -1 for labels in labels_N], dtype=torch.int64)
        targets_NK = torch.zeros(len(labels_N), len(self.annotations.classes))
        for row, labels in zip(targets_NK, labels_N, strict=True):
            row[list(labels)] = 1
        return targets_NK


def _needed_short_side(view: TrainView | TestView) -> int | None:
    if isinstance(view, TestView):
        return view.preprocessing.short_side
    resize = view.augmentation.resize
    return resize if isinstance(resize, int) else None


def _slots(indices_VT: npt.NDArray[np.int64]) -> dict[int, list[tuple[int, int]]]:
    """For each frame, all (view, time) that show it."""
    slots: dict[int, list[tuple[int, int]]] = {}
    for (v, t), frame in np.ndenumerate(indices_VT):
        slots.setdefault(int(frame), []).append((v, t))
    return slots


def _resize_into(frame_HWC: npt.NDArray[np.uint8], out_HWC: npt.NDArray[np.uint8]) -> None:
    height, width = out_HWC.shape[:2]
    if frame_HWC.shape == out_HWC.shape:
        out_HWC[...] = frame_HWC
    elif frame_HWC.shape[2] == 3:
        cv2.resize(frame_HWC, (width, height), dst=out_HWC, interpolation=cv2.INTER_LINEAR)
    else:
        out_HWC[...] = resize_frame(frame_HWC, height=height, width=width)


def _joined_shape(frames: list[torch.Tensor]) -> tuple[int, ...]:
    return sum(map(len, frames)), *frames[0].shape[1:]
