"""Write frames to an mp4, GIF or lossless mkv, atomically."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, cast

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from PIL import Image

from i3d.errors import VideoError, printable
from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import replacing
from i3d.utils.outputs import new_file
from i3d.video.base import DEFAULT_LIMITS, FrameHWC, NoVideoStreamError
from i3d.video.opening import DECODE_ERRORS, CheckedFile, open_container, reason, video_stream, why_not_opened
from i3d.video.sound import Sound

SUFFIXES: Final = (".mp4", ".gif")
NO_FRAMES: Final = "a video needs at least one frame"
H264: Final = {"crf": "20", "preset": "veryfast"}
PALETTE_FRAMES: Final = 100  # from which the colours of a GIF are chosen
GIF_COLOURS: Final = 128  # and one that is transparent: fewer take less room
GIF_TOLERANCE: Final = 10  # a pixel that differs less from what is shown stays: noise takes most of a GIF's bytes
AAC_RATES: Final = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)  # Hz
FRAME_DURATION: Final = 1 << 8  # AV_CODEC_FLAG_FRAME_DURATION: packets get the durations of their frames
MAX_PIXELS: Final = str(DEFAULT_LIMITS.max_pixels)
FIRST_PACKETS: Final = 100  # which show whether an mp4 can hold the streams
CHAPTER_TICK: Final = Fraction(1, 1000)  # seconds
TimedFrame = tuple[FrameHWC, Fraction, Fraction]  # a frame, when its display starts and ends, in seconds


@checks_types
def write_video(path: str | Path, frames: Iterable[FrameHWC], *, fps: float | Fraction, force: bool = False) -> int:
    """Write uint8 RGB frames (H, W, 3) of one size to an `.mp4` (H.264; H and W even) or `.gif`, chosen by the suffix.

    The file is written whole or not at all. Returns the number of frames. Another suffix is an InputError, and so is an
    existing file, unless `force` replaces it; no frames are a ValueError.
    """
    path, rate = new_file(path, SUFFIXES, force=force), Fraction(fps).limit_denominator(1_000_000)
    match path.suffix.lower():
        case ".mp4":
            return _encode(path, frames, "libx264", "yuv420p", rate, options=H264)
        case _:
            return _write_gif(path, frames, rate)


def write_lossless(path: Path, frames: Iterable[FrameHWC], *, fps: Fraction) -> int:
    """Write RGB frames (H, W, 3) of one size to a lossless `.mkv` (FFV1). Returns the number of frames."""
    return _encode(path, frames, "ffv1", "bgr0", fps, container_options={"fflags": "+bitexact"})


def _encode(
    path: Path,
    frames: Iterable[FrameHWC],
    codec: str,
    pix_fmt: str,
    rate: Fraction,
    *,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> int:
    num_frames = 0
    with replacing(path) as temporary, av.open(str(temporary), "w", options=container_options) as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
        stream.pix_fmt = pix_fmt
        for num_frames, frame_HWC in enumerate(frames, start=1):
            if num_frames == 1:
                stream.height, stream.width = frame_HWC.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")))
        if not num_frames:
            raise ValueError(NO_FRAMES)
        container.mux(stream.encode(None))
    return num_frames


def write_timed(
    path: Path, frames: Iterable[TimedFrame], *, time_base: Fraction, sound: Sound | None = None, name: str = ""
) -> int:
    """Write RGB frames with their times to an `.mp4` (H.264), and copy the sound beside them. Returns their number.

    A row and a column are repeated where a side is odd, which H.264 cannot store. The colours are tagged. Frames that
    cannot be encoded are a VideoError of `name`.
    """
    num_frames, lead = 0, Fraction(0) if sound is None else sound.lead
    with replacing(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", options={**H264, "bf": "0"})  # an mp4 has durations in decoding order
        codec = stream.codec_context
        codec.pix_fmt, codec.time_base = "yuv420p", time_base
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.flags |= FRAME_DURATION
        add_sound = _no_sound if sound is None else _sound_writer(container, sound)
        try:
            for num_frames, (frame_HWC, start, end) in enumerate(frames, start=1):
                if num_frames == 1:
                    codec.height, codec.width = (side + side % 2 for side in frame_HWC.shape[:2])
                add_sound(start)
                frame = _yuv(frame_HWC)
                frame.pts, frame.time_base = round((start + lead) / time_base), time_base
                frame.duration = round((end - start) / time_base)
                container.mux(stream.encode(frame))
            if num_frames:
                container.mux(stream.encode(None))
                add_sound(None)
        except (av.error.ExternalError, av.error.ArgumentError) as error:
            raise VideoError(name, f"cannot be written as H.264 ({error.strerror})", "make it smaller") from error
        if not num_frames:
            raise ValueError(NO_FRAMES)
    return num_frames


@dataclass(frozen=True)
class Chapter:
    """A named part of a video. The times are seconds since its first frame."""

    start: float
    stop: float
    title: str


def copy_with_chapters(path: Path, source: Path, chapters: Sequence[Chapter]) -> None:
    """Write an `.mp4` with the streams of a video file, copied as they are, and these chapters instead of its own.

    Streams of other kinds than video, sound and subtitles are left out. What an mp4 cannot hold is a VideoError.
    """
    name = printable(str(source))
    with (
        replacing(path) as temporary,
        CheckedFile(source, lambda: None, name=name) as file,
        _naming_copy(name),
        open_container(file, max_pixels=MAX_PIXELS) as video,
        av.open(str(temporary), "w") as copy,
    ):
        _copy_streams(video, copy, chapters, name)


@contextmanager
def _naming_copy(name: str) -> Iterator[None]:
    """Errors of the block become a VideoError."""
    try:
        yield
    except DECODE_ERRORS as error:
        raise VideoError(name, f"cannot be copied into an mp4 ({reason(error)})", "convert it to mp4") from error


def check_can_be_copied(source: Path) -> None:
    """A VideoError if the first packets of a video cannot be copied into an `.mp4`. A file that is no video passes."""
    name = printable(str(source))
    try:
        file = CheckedFile(source, lambda: None, name=name)
    except VideoError:
        return
    with file:
        try:
            video = open_container(file, max_pixels=MAX_PIXELS)
        except DECODE_ERRORS:
            return
        with video, suppress(NoVideoStreamError), _naming_copy(name), av.open(io.BytesIO(), "w", format="mp4") as copy:
            _copy_streams(video, copy, (), name, num_packets=FIRST_PACKETS)


def read_chapters(source: Path) -> list[Chapter]:
    """The chapters of a video file. A file that is no video is a VideoError."""
    name = printable(str(source))
    with CheckedFile(source, lambda: None, name=name) as file:
        try:
            with open_container(file, max_pixels=MAX_PIXELS) as video:
                first = _first_seconds(video_stream(video, name))
                return [
                    Chapter(
                        float(one["start"] * one["time_base"] - first),
                        float(one["end"] * one["time_base"] - first),
                        one["metadata"].get("title", ""),
                    )
                    for one in video.chapters()
                    if one["time_base"] is not None
                ]
        except DECODE_ERRORS as error:
            file.seek(0)
            raise VideoError(name, *why_not_opened(file, error)) from error


def _copy_streams(
    video: InputContainer,
    copy: OutputContainer,
    chapters: Sequence[Chapter],
    name: str,
    *,
    num_packets: int | None = None,
) -> None:
    """Copy the streams, or only their first packets, and set the chapters."""
    main = video_stream(video, name)
    kinds = (*video.streams.video, *video.streams.audio, *video.streams.subtitles)
    copies = {stream.index: copy.add_stream_from_template(stream, opaque=True) for stream in kinds}
    copy.metadata.update(video.metadata)
    first: Fraction | None = None
    for packet in _with_decoding_times(islice(video.demux(kinds), num_packets)):
        if packet.stream_index == main.index:
            if packet.is_discard:
                todo = "convert it to a plain mp4 first"
                raise VideoError(name, "its edit list hides frames, which a copy would display", todo)
            stamp = ((packet.dts or 0) if packet.pts is None else packet.pts) * (packet.time_base or CHAPTER_TICK)
            first = stamp if first is None else min(first, stamp)
        packet.stream = copies[packet.stream_index]
        copy.mux(packet)
    copy.set_chapters(
        [
            {
                "id": number,
                "start": round((one.start + (first or 0)) / CHAPTER_TICK),
                "end": round((one.stop + (first or 0)) / CHAPTER_TICK),
                "time_base": CHAPTER_TICK,
                "metadata": {"title": one.title},
            }
            for number, one in enumerate(chapters)
        ]
    )


def _with_decoding_times(packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
    """The packets with the times of decoding that an mp4 needs: Matroska has none for the first of reordered frames."""
    waiting: dict[int, list[Packet[Any]]] = {}
    for packet in packets:
        if not packet.size:
            continue
        first = waiting.setdefault(packet.stream_index, [])
        if packet.dts is None:
            first.append(packet)
            continue
        for steps, earlier in zip(range(len(first), 0, -1), first, strict=True):
            earlier.dts = packet.dts - steps * (packet.duration or 1)
            yield earlier
        first.clear()
        yield packet
    if any(waiting.values()):
        raise ValueError("packets without times")


def _first_seconds(stream: VideoStream) -> Fraction:
    """The time stamp of the first frame."""
    return (stream.start_time or 0) * stream.time_base if stream.time_base else Fraction(0)


def _yuv(frame_HWC: FrameHWC) -> VideoFrame:
    height, width = frame_HWC.shape[:2]
    if height % 2 or width % 2:
        frame_HWC = np.pad(frame_HWC, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)


def _no_sound(_: Fraction | None) -> None:
    pass


def _sound_writer(container: OutputContainer, sound: Sound) -> Callable[[Fraction | None], None]:
    """A function that writes the sound up to a time, or (None) to its end: the container stores both interleaved."""
    source, shift = sound.stream, sound.lead - sound.first_frame
    if sound.is_copied:
        stream = container.add_stream_from_template(source)
    else:
        rate = source.rate if source.rate in AAC_RATES else AAC_RATES[0]
        layout = "mono" if source.codec_context.channels == 1 else "stereo"
        stream = container.add_stream("aac", rate=rate, layout=layout)
    items: Iterator[Packet[AudioStream] | AudioFrame] = sound.packets() if sound.is_copied else sound.frames()
    pending = next(items, None)

    def write(until: Fraction | None) -> None:
        nonlocal pending
        while pending is not None:
            time_base = pending.time_base or Fraction(1, source.rate)
            if until is not None and (pending.pts or 0) * time_base + shift > until:
                return
            moved = round(shift / time_base)
            pending.pts = None if pending.pts is None else pending.pts + moved
            if isinstance(pending, Packet):
                pending.dts = None if pending.dts is None else pending.dts + moved
                pending.stream = stream
                container.mux(pending)
            else:
                container.mux(stream.encode(pending))
            pending = next(items, None)
        if until is None and not sound.is_copied:
            container.mux(stream.encode(None))

    return write


def _write_gif(path: Path, frames: Iterable[FrameHWC], fps: Fraction) -> int:
    """A GIF with one palette, chosen from its first frames. A pixel that hardly changes stays, and takes no room."""
    frames = iter(frames)
    first = list(islice(frames, PALETTE_FRAMES))
    if not first:
        raise ValueError(NO_FRAMES)
    palette, nearest = _palette(first)
    shown_HWC, num_frames = first[0].copy(), 0
    with replacing(path) as temporary, av.open(str(temporary), "w", format="gif") as container:
        stream = container.add_stream("gif", rate=fps)
        stream.height, stream.width = shown_HWC.shape[:2]
        stream.pix_fmt = "pal8"
        for num_frames, frame_HWC in enumerate(chain(first, frames), start=1):
            changed_HW = cv2.absdiff(frame_HWC, shown_HWC).max(axis=2) > GIF_TOLERANCE
            shown_HWC[changed_HW] = frame_HWC[changed_HW]
            cells_HWC = (shown_HWC >> 3).astype(np.uint16)
            indices_HW = nearest[cells_HWC[..., 0] << 10 | cells_HWC[..., 1] << 5 | cells_HWC[..., 2]]
            frame = VideoFrame.from_ndarray((indices_HW, palette), format="pal8")  # type: ignore[arg-type]
            frame.pts, frame.time_base = num_frames - 1, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return num_frames


def _palette(frames: Sequence[FrameHWC]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The colours (256, 4: alpha first; the others are transparent), and the nearest one of each 5-bit colour."""
    chosen = frames[:: max(1, len(frames) // 10)]
    pixels = np.concatenate([frame_HWC[::2, ::2].reshape(-1, 3) for frame_HWC in chosen])
    image = Image.fromarray(pixels[None]).quantize(GIF_COLOURS, dither=Image.Dither.NONE)
    colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[:GIF_COLOURS]
    palette = np.zeros((256, 4), np.uint8)
    palette[: len(colours), 0], palette[: len(colours), 1:] = 255, colours
    cells = np.stack(np.meshgrid(*[np.arange(32) * 8 + 4] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    distances = (colours.astype(np.float32) ** 2).sum(axis=1) - 2 * cells.astype(np.float32) @ colours.T
    return palette, distances.argmin(axis=1).astype(np.uint8)
