"""From a video to rows of features: decode and resize once, take windows, crop, run the network to one layer.

Letters in names: R rows, V views of a row, T frames, H rows of pixels, W columns, C channels.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from i3d.data.flow_files import flow_from_rgb
from i3d.data.loading.flow_cache import ClipFlow
from i3d.data.loading.preprocess import resize_checked, stated_num_frames
from i3d.errors import InputError, VideoError
from i3d.features.crops import feature_crops
from i3d.models.engine.engine import Engine, full_float32
from i3d.models.engine.forward import network_input
from i3d.models.engine.overlap import OverlappingWindows, SharingPlan, plan_sharing
from i3d.models.network import VideoNetwork
from i3d.recipes.features import POOLED, FeatureSettings
from i3d.recipes.settings import FlowMethod, Preprocessing
from i3d.utils.cache import Cache
from i3d.utils.prefetch import prefetch
from i3d.utils.progress import Progress, ProgressCallback, ignore_progress
from i3d.video.base import FrameHWC, Video
from i3d.video.flow import BOUND, consecutive_flows, flow_to_bytes
from i3d.video.transforms import flip

Floats = npt.NDArray[np.float32]
FRAMES_AHEAD: Final = 32  # frames decoded (and their flow computed) while networks run
MAX_BYTES: Final = 8 << 30  # of the rows of one video, which are in memory until the end


class Row(NamedTuple):
    """A window: frames first to stop - 1 of the stream; outside the stream the first or last frame is repeated."""

    first: int
    stop: int


@dataclass(frozen=True)
class Stream:
    """A network and its input: RGB frames, or the flow between them."""

    engine: Engine
    preprocessing: Preprocessing
    flow: FlowMethod | None  # None: RGB


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """The features of a video."""

    values: Floats  # (R, C); with several crops (R, V, C); with grid (R, V, T, H, W, C)
    rows: tuple[Row, ...]
    seconds: tuple[tuple[float, float], ...]  # start and end of each row
    num_frames: int  # of the video at the sampling rate, in which rows count
    notes: tuple[str, ...]
    used_runtimes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureExtractor:
    """Networks on a device and the settings of features. Several streams are concatenated along the channels."""

    streams: tuple[Stream, ...]
    settings: FeatureSettings
    bound: float = BOUND  # of flow, in pixels; larger movements are clipped
    change: Callable[[Iterator[FrameHWC]], Iterator[FrameHWC]] | None = None  # of the resized frames, to compare tools
    made_with: Mapping[str, Any] = field(default_factory=dict, compare=False)  # weights, settings, versions
    cache: Cache | None = field(default=None, compare=False)  # of computed flow

    def __post_init__(self) -> None:
        for stream in self.streams:
            if not stream.engine.has_maps and self.settings.layer != POOLED:
                what = f"an exported file has {POOLED} alone, and so has int8; give weights, in another precision"
                raise InputError(f"layer {self.settings.layer!r}: {what}")
            known = endpoints(stream.engine.net)
            if self.settings.layer not in known:
                raise InputError(f"layer {self.settings.layer!r}: this network has {', '.join(known)}")
        if self.settings.grid and self.settings.layer == POOLED:
            raise InputError(
                f"grid: {POOLED!r} is averaged; name an endpoint, such as {endpoints(self.streams[0].engine.net)[-1]}"
            )

    @property
    def num_channels(self) -> int:
        """Numbers of a pooled row."""
        return sum(stream.engine.net.num_features for stream in self.streams)

    def __call__(
        self,
        video: Video,
        *,
        content: str | None = None,
        max_rows: int | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> VideoFeatures:
        """The features of a video, or of its first `max_rows` rows. No rows, or an unreadable file, is a VideoError.

        `content`: a hash of the video (`hash_of_source`), under which its flow is cached; None: it is not.
        """
        if len({stream.preprocessing.resizes for stream in self.streams}) > 1:
            raise InputError("the networks take frames of different sizes; extract each stream alone")
        rows: list[Row] = []
        values: list[Floats] = []
        times = _Times(video, self.settings.fps)
        networks = [_Network(stream, self, plan) for stream, plan in zip(self.streams, self._plans, strict=True)]
        at_once = max(network.num_windows for network in networks)
        total = _stated_rows(video, self.settings, max_rows)
        on_progress(Progress("features", 0, total, "row", name=video.name))
        for stream in self.streams:
            stream.engine.reset_used_runtimes()
        with closing(prefetch(self._frames(video, times, content, on_progress), max_ahead=FRAMES_AHEAD)) as frames:
            windows = islice(windows_of_stream(times.count(frames), self.settings), max_rows)
            while several := list(islice(windows, at_once)):
                values += self._rows([window for _, window in several], networks, video)
                rows += [row for row, _ in several]
                several.clear()  # frees their frames before the next are decoded
                _check_bytes(len(rows), values[0].nbytes, video)
                total = None if total is None else max(total, len(rows))
                on_progress(Progress("features", len(rows), total, "row", name=video.name))
        if not rows:
            rate = f" at {self.settings.fps:g} fps" if self.settings.fps else ""
            have = f"it has {times.num_used} {'frame' if times.num_used == 1 else 'frames'}{rate}"
            raise VideoError(
                video.name, f"{have}, a row needs {self.settings.window}", "use --padding repeat, or a smaller --window"
            )
        seconds = tuple(times.seconds(row) for row in rows)
        runtimes = {"torch" for network in networks if network.plan}.union(
            *(n.stream.engine.used_runtimes for n in networks)
        )
        return VideoFeatures(
            np.stack(values), tuple(rows), seconds, times.num_used, video.notes, tuple(sorted(runtimes))
        )

    @cached_property
    def _plans(self) -> tuple[SharingPlan | None, ...]:
        """The layers that overlapping windows share in each network; None: no sharing, as in runtimes but PyTorch."""
        s, engines = self.settings, [stream.engine for stream in self.streams]
        return tuple(
            plan_sharing(engine.net, endpoint=_layer(engine.net, s), window=s.window, stride=s.stride)
            if engine.runtime == "torch"
            else None
            for engine in engines
        )

    def _frames(
        self, video: Video, times: "_Times", content: str | None, on_progress: ProgressCallback
    ) -> Iterator[FrameHWC]:
        """The input frames of all streams, concatenated along the channels: RGB, x and y of flow, or both."""
        methods = [stream.flow for stream in self.streams]
        method = next((method for method in methods if method), None)
        cached = None if method is None else self._cached_flow(video, method, content, on_progress)
        frames = times.decode(partial(resize_checked, video, geometry=self.streams[0].preprocessing))
        frames = frames if self.change is None else self.change(frames)
        if method is None:
            yield from frames
            return
        buffer: deque[FrameHWC] = deque()

        def buffered() -> Iterator[FrameHWC]:
            for frame_HWC in frames:
                buffer.append(frame_HWC)
                yield frame_HWC

        if cached is None:
            flows = consecutive_flows(buffered(), method=method, align="frames")
            bytes_of_flow = (flow_to_bytes(flow_HW2, bound=self.bound) for flow_HW2 in flows)
        else:
            stored = cached.stream(transform=flow_from_rgb)
            bytes_of_flow = (flow_HW2 for _, flow_HW2 in zip(buffered(), stored, strict=True))
        with cached or nullcontext():
            for flow_HW2 in bytes_of_flow:
                parts = {None: buffer.popleft(), method: flow_HW2}
                yield np.concatenate([parts[one] for one in methods], axis=-1)

    def _cached_flow(
        self, video: Video, method: FlowMethod, content: str | None, on_progress: ProgressCallback
    ) -> Video | None:
        """The flow of the whole video from the cache, where it is computed if it is missing; None: it is not cached.

        It is that of prediction and tests: between frames of one short side, with the usual bound.
        """
        pre = self.streams[0].preprocessing
        if self.cache is None or self.change is not None or self.bound != BOUND or pre.steps or pre.short_side is None:
            return None
        flow = ClipFlow(method, pre.short_side, self.cache)
        return flow.open_or_note(video, content, self.settings.fps, on_progress=on_progress)

    def _rows(self, windows: list[list[FrameHWC]], networks: list["_Network"], video: Video) -> list[Floats]:
        """The features (C), (V, C) or (V, T, H, W, C) of consecutive windows."""
        of_streams, first = [], 0
        for network in networks:
            channels = slice(first, first + (2 if network.stream.flow else 3))
            of_streams.append(network(windows, channels, video))
            first = channels.stop
        joined_RVC: Floats = np.concatenate(of_streams, axis=-1)
        if not np.isfinite(joined_RVC).all():
            arithmetic = self.streams[0].engine.arithmetic
            raise InputError(f"the network gave NaN or infinity in {arithmetic}; use --precision fp32")
        return [row[0] if len(row) == 1 and not self.settings.grid else row for row in joined_RVC]


class _Network:
    """The network of one stream on one video; overlapping windows share layers."""

    def __init__(self, stream: Stream, extractor: FeatureExtractor, plan: SharingPlan | None) -> None:
        self.stream, self.extractor, self.plan = stream, extractor, plan
        self.layer = _layer(stream.engine.net, extractor.settings)
        self.num_windows = plan.num_windows if plan else 1
        self._overlapping: dict[int, OverlappingWindows] = {}  # of each view

    def __call__(self, windows: list[list[FrameHWC]], channels: slice, video: Video) -> Floats:
        """The features (R, V, C) or (R, V, T, H, W, C) of consecutive windows."""
        if self.plan is None:
            return np.concatenate([self._of_clips(self._views(window, channels))[None] for window in windows])
        frames = windows[0] + [frame for window in windows[1:] for frame in window[-self.extractor.settings.stride :]]
        of_views: list[Floats] = []
        for view, clip_THWC in enumerate(self._views(frames, channels)):
            of_views.append(self._shared_windows(clip_THWC, view, len(windows)))
            _check_bytes(len(of_views), of_views[0].nbytes, video)
        return np.stack(of_views, axis=1)

    def _shared_windows(self, clip_THWC: npt.NDArray[np.uint8], view: int, num_windows: int) -> Floats:
        """(R, C) or (R, T, H, W, C) float32 of the windows of consecutive frames."""
        assert self.plan is not None
        if view not in self._overlapping:
            self._overlapping[view] = OverlappingWindows(self.plan)
        frames_1CTHW = self._input(clip_THWC).to(self.stream.engine.dtype)
        with torch.inference_mode(), full_float32(self.stream.engine.device):
            return self._of_maps(self._overlapping[view](frames_1CTHW, num_windows=num_windows))

    def _of_clips(self, clips_VTHWC: npt.NDArray[np.uint8]) -> Floats:
        """(V, C) or (V, T, H, W, C) float32 of uint8 clips; one at a time, so that no feature depends on its batch."""
        engine, clips = self.stream.engine, map(self._input, clips_VTHWC)
        if not engine.has_maps:
            return np.concatenate([engine.pooled(x_1CTHW).numpy() for x_1CTHW in clips])
        return np.concatenate([self._of_maps(engine.features(x_1CTHW, endpoint=self.layer)) for x_1CTHW in clips])

    def _input(self, clip_THWC: npt.NDArray[np.uint8]) -> torch.Tensor:
        clips_1THWC = torch.from_numpy(clip_THWC).to(self.stream.engine.device)[None]
        return network_input(self.stream.engine, clips_1THWC, self.stream.preprocessing)

    def _of_maps(self, maps_NCTHW: torch.Tensor) -> Floats:
        """The features of the maps of a layer: (N, C), or with grid (N, T, H, W, C)."""
        settings = self.extractor.settings
        if settings.layer == POOLED:
            values = self.stream.engine.net.pool(maps_NCTHW)
        elif settings.grid:
            values = maps_NCTHW.float().permute(0, 2, 3, 4, 1)
        else:
            values = maps_NCTHW.float().mean(dim=(2, 3, 4))
        return values.cpu().numpy()

    def _views(self, window: Sequence[FrameHWC], channels: slice) -> npt.NDArray[np.uint8]:
        """The crops (V, T, size, size, C) of a window."""
        settings, size = self.extractor.settings, self.stream.preprocessing.crop
        height, width = window[0].shape[:2]
        views = []
        for top, left, mirrored in feature_crops(height, width, size=size, settings=settings):
            clip_THWC = np.stack([frame[top : top + size, left : left + size, channels] for frame in window])
            views.append(flip(clip_THWC) if mirrored else clip_THWC)
        return np.stack(views)


def _layer(net: VideoNetwork, settings: FeatureSettings) -> str:
    """The endpoint of the features, or that is pooled."""
    return endpoints(net)[-1] if settings.layer == POOLED else settings.layer


def _check_bytes(number: int, size: int, video: Video) -> None:
    """A VideoError if so many arrays of so many bytes exceed the memory limit."""
    if number * size > MAX_BYTES:
        what = f"its first rows take over {MAX_BYTES >> 30} GiB"
        raise VideoError(video.name, what, "leave out --grid, or choose a later --layer or a larger --stride")


def endpoints(net: VideoNetwork) -> tuple[str, ...]:
    """The layers of a network whose features can be extracted."""
    return POOLED, *net.endpoints


class _Times:
    """The frames of a video at a rate, with their times."""

    def __init__(self, video: Video, fps: float | None) -> None:
        self._video, self._fps = video, fps
        self._ends: list[float] = []  # of the frames of a video without a rate
        self.num_used = 0

    def decode(self, transform: Callable[[FrameHWC], FrameHWC]) -> Iterator[FrameHWC]:
        if self._fps is not None:
            yield from self._video.stream(fps=self._fps, transform=transform)
            return
        for frame_HWC, _, until in self._video.stream_with_times(transform=transform):
            self._ends.append(float(until))
            yield frame_HWC

    def count(self, frames: Iterator[FrameHWC]) -> Iterator[FrameHWC]:
        """Count the frames that pass."""
        for frame_HWC in frames:
            self.num_used += 1
            yield frame_HWC

    def seconds(self, row: Row) -> tuple[float, float]:
        """Start and end of a row in seconds; frames repeated at the ends have no time."""
        first, stop = max(row.first, 0), min(row.stop, self.num_used)
        if self._fps is not None:
            return first / self._fps, stop / self._fps
        return (self._ends[first - 1] if first else 0.0), self._ends[stop - 1]


def row_at(number: int, settings: FeatureSettings) -> Row:
    """Row `number` of any video: 64 frames, stride 8 -> 0..64, 8..72 ...; centred, 5 frames, stride 1 -> -2..3 ..."""
    first = number * settings.stride
    if settings.align == "centre":
        first -= settings.window // 2
    return Row(first, first + settings.window)


def num_rows(num_frames: int, settings: FeatureSettings) -> int:
    """The number of rows of a video, from row 0; rows before the first that fits are counted too."""
    if settings.padding == "repeat":
        return -(-num_frames // settings.stride)
    last = num_frames - settings.window + (settings.window // 2 if settings.align == "centre" else 0)
    return last // settings.stride + 1 if last >= 0 else 0


def _stated_rows(video: Video, settings: FeatureSettings, max_rows: int | None) -> int | None:
    """The number of rows of a video that is as long as its header states; None: unknown."""
    num_frames = stated_num_frames(video, fps=settings.fps)
    if num_frames is None:
        return max_rows
    first = sum(row_at(n, settings).first < 0 for n in range(settings.window)) if settings.padding != "repeat" else 0
    total = max(num_rows(num_frames, settings) - first, 1)
    return total if max_rows is None else min(total, max_rows)


def windows_of_stream(frames: Iterable[FrameHWC], settings: FeatureSettings) -> Iterator[tuple[Row, list[FrameHWC]]]:
    """Yield each row with its frames as soon as they are decoded. At most a window and a stride are buffered."""
    buffer: list[FrameHWC] = []
    begin = num_frames = number = 0  # `begin`: the index of the first buffered frame
    for frame_HWC in chain(frames, [None]):  # None: the end, where rows may repeat the last frame
        if frame_HWC is not None:
            buffer.append(frame_HWC)
            num_frames += 1
        is_end = frame_HWC is None
        while number < num_rows(num_frames, settings) if is_end else row_at(number, settings).stop <= num_frames:
            row = row_at(number, settings)
            if row.first >= 0 or settings.padding == "repeat":
                yield row, [buffer[min(max(index, 0), num_frames - 1) - begin] for index in range(*row)]
            number += 1
            first = max(min(row_at(number, settings).first, num_frames - 1), 0, begin)
            del buffer[: first - begin]
            begin = first
