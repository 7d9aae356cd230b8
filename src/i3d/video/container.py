"""Video files through PyAV (FFmpeg): frames by decoding from the start, or by seeking where that is certain."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Final, cast

import av
import av.error
import av.logging
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from i3d.errors import VideoError, counted, printable
from i3d.video.base import MAX_GAP_SECONDS, DecodedFrame, FrameHWC, Limits, StampedFrame, Video, assign_times
from i3d.video.file_headers import ends_in_full_packet, find_lost_fragment, find_truncation
from i3d.video.frame_times import FrameTimes
from i3d.video.last_frame import LastFrame
from i3d.video.opening import (
    DECODE_ERRORS,
    DEFAULT_PERIOD,
    CheckedFile,
    frame_period,
    lead_of,
    open_container,
    reason,
    stated_end,
    video_stream,
    why_not_opened,
)
from i3d.video.packets import DISORDERED, SKIPPING_CODECS, TIMED_CONTAINERS, Continuity, FrameIndex, PacketLog
from i3d.video.pixels import blend_onto_black, orientation

SHORT_BY_SECONDS: Final = 0.25  # a file that ends this much earlier than its header states is reported as truncated
INTRA: Final = (PictureType.I, PictureType.NONE)  # some decoders of intra-only codecs set no type

av.logging.set_level(av.logging.ERROR)  # errors are captured; they become notes
av.logging.set_skip_repeated(False)
logging.getLogger("libav").setLevel(logging.CRITICAL + 1)  # what is not captured is not printed


# The decoder of H.264 is ordered to forget frames before an open GOP, which it has not decoded after a seek.
EXPECTED_AFTER_SEEK: Final = "mmco: unref short failure"


class _SeekFailedError(Exception):
    """Decoding after a seek gave other frames than the index lists, or damaged ones."""


class ContainerVideo(Video):
    """A video file, or the bytes of one."""

    def __init__(self, source: Path | bytes, *, limits: Limits, name: str | None = None) -> None:
        super().__init__(name or ("(bytes)" if isinstance(source, bytes) else str(source)), limits)
        self._file = CheckedFile(source, self._check_time, name=self.name)
        self._container: InputContainer | None = None
        self._fresh, self._decoder_used = False, False
        self._size: tuple[int, int] | None = None  # width, height of the first frame; later ones are resized to it
        self._orient: Callable[[FrameHWC], FrameHWC] | None = None
        self._reformatter = VideoReformatter()
        try:
            with self._stopwatch():
                truncation = self._note_size()
                self._open()
                self._note_missing_samples(truncation)
        except BaseException:
            self.close()
            raise

    @property
    def notes(self) -> tuple[str, ...]:
        damaged = [f"{counted(self.num_damaged, 'frame is', 'frames are')} damaged"] if self.num_damaged else []
        return (*super().notes, *damaged)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None
        self._file.close()

    def _open(self) -> None:
        """Open the container at its start with a new decoder."""
        if self._fresh:
            return
        if self._container is not None:
            self._container.close()
        self._file.seek(0)
        max_pixels = str(self.limits.max_pixels)
        try:
            with av.logging.Capture() as errors:
                self._container = open_container(self._file, max_pixels=max_pixels)
        except DECODE_ERRORS as error:
            self._file.seek(0)
            raise VideoError(self.name, *why_not_opened(self._file, error)) from error
        self._note_errors(errors)
        self._stream = video_stream(self._container, self.name)
        self._time_base = self._stream.time_base or DEFAULT_PERIOD
        self.lead_seconds = lead_of(self._container, self._stream)
        length = (self._stream.duration or 0) * self._time_base or Fraction(self._container.duration or 0, av.time_base)
        if length > 0:
            self.stated_seconds = float(length)
            self.stated_frames = self._stream.frames or round(length / frame_period(self._stream))
        codec, self._kind = self._stream.codec_context, self._container.format.name
        self._stated_size = codec.width, codec.height
        containers = self._kind.split(",")
        self.encoding = f"{'mp4' if 'mp4' in containers else containers[0]} {codec.codec.canonical_name}"
        self._may_skip = codec.name in SKIPPING_CODECS and any(name in self._kind for name in TIMED_CONTAINERS)
        codec.options = {"max_pixels": max_pixels}  # the container's own option does not reach the decoder
        codec.thread_count = 1
        self._fresh, self._decoder_used = True, False

    def decode_frames(self) -> Iterator[DecodedFrame]:
        self._open()  # from the start, with a new decoder
        log, first_stamp, end = PacketLog(self._kind, self._stream), None, Fraction(0)
        last = LastFrame(self._stream, self._kind)

        def stamped() -> Iterator[StampedFrame]:
            nonlocal first_stamp
            for frame in self._decode_all(log, last):
                pts = None if frame.pts is None else frame.pts * self._time_base
                first_stamp = pts if first_stamp is None else first_stamp
                yield pts, frame.duration * self._time_base if frame.duration else None, partial(self.to_rgb, frame)

        try:
            for frame in assign_times(stamped(), period=frame_period(self._stream), name=self.name):
                yield frame
                end = frame.until
        except DECODE_ERRORS as error:
            failure = f"decoding failed after {self.num_decoded} frames ({reason(error)})"
            if self.num_decoded == 0:
                failure += f": it is damaged, or its frames have over {self.limits.max_pixels:,} pixels"
            raise VideoError(self.name, failure, "repair or replace the file") from error
        if end == 0:
            raise VideoError(self.name, "it holds no frame that can be decoded", "check that the file is complete")
        self._note_short((first_stamp or Fraction(0)) + end)
        self._note_incomplete(last)
        self._notes |= dict.fromkeys(log.damage(frame_period(self._stream)))
        if self._kind == "flv" and len(self._stream.container.streams.video) > 1:
            self._notes["it has packets of several codecs: damaged?"] = None

    def _decode_all(self, log: PacketLog, last: LastFrame) -> Iterator[VideoFrame]:
        """Decode from the start. Frames and packets in which the decoder reports errors are counted."""
        self.num_decoded = num_corrupt = num_failed = 0
        has_begun = False  # a recording may begin between two keyframes
        for packet in self._packets():
            log.add(packet)
            last.add(packet)
            frames, errors = self.decode_packet(packet)
            has_begun |= packet.is_keyframe or bool(frames)
            num_failed += has_begun and bool(errors)
            for frame in frames:
                log.add_frame(frame)
                if log.is_disordered:
                    self._notes[DISORDERED] = None
                num_corrupt += frame.is_corrupt
                self.num_damaged = max(self.num_damaged, num_corrupt, num_failed)
                self._set_size(frame)
                yield frame
        self.num_damaged = max(self.num_damaged, num_failed)

    def decode_frames_at(self, wanted: Sequence[int]) -> Iterator[DecodedFrame]:
        if not wanted:
            return
        last_index = -1  # of the frames yielded so far
        if wanted[-1] > 0 and self._index is not None and self._table is not None:
            try:
                for frame in self._seeking(wanted, self._index, self._table):
                    yield frame
                    last_index = frame.index
                return
            except (_SeekFailedError, *DECODE_ERRORS):
                pass  # the index is wrong, or frames are damaged: decode from the start, which is always right
        missing = {i for i in wanted if i > last_index}
        for frame in islice(self.decode_frames(), wanted[-1] + 1):
            if frame.index in missing:
                yield frame

    def timetable(self) -> FrameTimes | None:
        return self._table

    @cached_property
    def _table(self) -> FrameTimes | None:
        if self._index is None:
            return None
        last = self._index.last_duration * self._time_base
        end = last if 0 < last <= MAX_GAP_SECONDS else frame_period(self._stream)
        return FrameTimes(self._index.pts, self._time_base, end)

    @cached_property
    def _index(self) -> FrameIndex | None:
        """Read all packets without decoding. None where packets and frames may not correspond one to one."""
        with self._stopwatch():
            self._open()
            log = PacketLog(self._kind, self._stream)
            try:
                for packet in self._packets():
                    log.add(packet)
                    if not log.is_complete:
                        return None
            except DECODE_ERRORS:
                return None
            if lost := log.lost_packets():
                self._notes[lost] = None
            return log.index()

    def _seeking(self, wanted: Sequence[int], scan: FrameIndex, table: FrameTimes) -> Iterator[DecodedFrame]:
        """Seek only where a keyframe lies between one wanted frame and the next; otherwise decoding on is cheaper."""
        if wanted[-1] >= len(scan.pts):
            raise _SeekFailedError
        wanted_pts = frozenset(scan.pts[list(wanted)].tolist())
        frames: Iterator[VideoFrame] = iter(())
        position = -1  # the earliest frame that `frames` can yield next; -1: none
        for index in wanted:
            key = int(scan.key_pts[np.searchsorted(scan.key_pts, scan.pts[index], side="right") - 1])
            start = int(np.searchsorted(scan.pts, key))
            if position < 0 or start > position:
                frames, position = self._from_keyframe(key, scan, wanted_pts), start
            frame = None
            while position <= index:
                frame = next(frames, None)
                if frame is None or frame.pts is None:
                    raise _SeekFailedError
                if frame.pts != scan.pts[position] and not self._may_skip:
                    raise _SeekFailedError
                position += int(np.searchsorted(scan.pts[position:], frame.pts)) + 1  # the decoder may skip frames
            if frame is None or frame.pts != scan.pts[index]:
                raise _SeekFailedError
            yield DecodedFrame(index, table[index], table[index + 1], partial(self.to_rgb, frame))

    def _from_keyframe(self, pts: int, scan: FrameIndex, wanted_pts: frozenset[int]) -> Iterator[VideoFrame]:
        """Decode from the keyframe with the time stamp `pts`; frames displayed before it are dropped.

        The decoder may skip frames that are neither wanted nor referenced by others. A keyframe that depends on earlier
        frames (intra refresh), damage, and another size than that of the header are a _SeekFailedError.
        """
        if self._decoder_used or not self._may_skip:
            self._open()
        assert self._container is not None
        if pts > scan.key_pts[0] or not self._fresh:
            self._container.seek(pts, stream=self._stream)
        is_first = True
        self.num_decoded = 0
        for packet in self._packets_from(pts, wanted_pts):
            frames, errors = self.decode_packet(packet)
            is_leading = packet.pts is not None and packet.pts < pts
            if not is_leading and any(EXPECTED_AFTER_SEEK not in message for _, _, message in errors):
                raise _SeekFailedError
            for frame in frames:
                if frame.pts is None or frame.pts >= pts:
                    is_wrong_key = is_first and frame.pict_type not in INTRA
                    if frame.is_corrupt or is_wrong_key or (frame.width, frame.height) != self._stated_size:
                        raise _SeekFailedError
                    is_first = False
                    self._set_size(frame)
                    yield frame

    def _packets_from(self, pts: int, wanted_pts: frozenset[int]) -> Iterator[Packet[VideoStream]]:
        """The packets from the first keyframe on, which must have the time stamp `pts`."""
        codec = self._stream.codec_context
        started = False
        for packet in self._packets():
            if not started and packet.size:
                if not packet.is_keyframe:
                    continue
                if packet.pts != pts:
                    raise _SeekFailedError
                started = True
            if self._may_skip:
                codec.skip_frame = "DEFAULT" if packet.pts in wanted_pts else "NONREF"
            yield packet

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        assert self._container is not None
        self._fresh = False
        packets = self._container.demux(self._stream)
        continuity = Continuity(self._kind, self._time_base, frame_period(self._stream))
        while True:
            self._check_time()
            with av.logging.Capture() as errors:
                packet = next(packets, None)
            self._note_errors(errors)
            if packet is None:
                return
            if packet.is_corrupt and self._kind != "mpegts":
                self._notes["a packet is incomplete: truncated?"] = None
            if continuity.is_broken(packet):
                self._notes["packets of the transport stream are missing: damaged?"] = None
            yield packet

    def decode_packet(self, packet: Packet[VideoStream]) -> tuple[list[VideoFrame], list[tuple[int, str, str]]]:
        """The frames that a packet completes, and the errors that the decoder reports."""
        self._decoder_used = True
        with av.logging.Capture() as errors:
            frames = packet.decode()
        self.num_decoded += len(frames)
        for frame in frames:
            if frame.width * frame.height > self.limits.max_pixels:
                raise ValueError(f"a frame has {frame.width} x {frame.height} pixels")
        return frames, errors

    def _set_size(self, frame: VideoFrame) -> None:
        if self._size is None:
            self._size, self._orient = (frame.width, frame.height), orientation(frame, self.name)

    def to_rgb(self, frame: VideoFrame) -> FrameHWC:
        """RGB in display orientation, at the size of the first frame."""
        assert self._size is not None
        assert self._orient is not None
        width, height = self._size
        alpha = any(component.is_alpha for component in frame.format.components)
        pixels = self._reformatter.reformat(
            frame, width=width, height=height, format="rgba" if alpha else "rgb24", threads=1
        ).to_ndarray()
        frame_HWC = cast(FrameHWC, pixels)
        return self._orient(blend_onto_black(frame_HWC) if alpha else frame_HWC)

    def _note_errors(self, errors: Sequence[tuple[int, str, str]]) -> None:
        """Note what FFmpeg's reader of the container reports; what its parsers of codecs do, the decoder repeats."""
        assert self._container is not None
        for message in [message for _, name, message in errors if name == self._container.format.name][:1]:
            is_cut = re.search(r"prematurely|partial file|truncat", message)
            self._notes[f"FFmpeg reports {printable(message.strip())!r}{': truncated?' if is_cut else ''}"] = None

    def _note_size(self) -> str:
        """Note a file that ends earlier than its container stores, or has lost a fragment; return what is missing."""
        self._size_in_bytes = size = self._file.seek(0, os.SEEK_END)
        truncation, is_certain = find_truncation(self._file, size)
        if truncation and is_certain:
            self._notes[f"{truncation}: truncated?"] = None
        lost = find_lost_fragment(self._file, size)
        if lost:
            self._notes[f"{lost}: damaged?"] = None
        return truncation

    def _note_missing_samples(self, truncation: str) -> None:
        """Note an MP4 whose sample table lists frames behind the end of the file."""
        entries, size = self._stream.index_entries, self._size_in_bytes
        if "mov" not in self._kind or not len(entries):
            return
        listed = entries if truncation else [entries[len(entries) - 1]]  # all only where it matters: there may be many
        lost = sum(entry.pos + entry.size > size for entry in listed)
        if lost:
            self._notes[f"{counted(lost, 'frame lies', 'frames lie')} behind the end of the file: truncated?"] = None

    def _note_incomplete(self, last: LastFrame) -> None:
        """Note a transport stream that is cut within its last frame."""
        is_cut = last.is_needed and ends_in_full_packet(self._file, self._size_in_bytes, self._stream.id)
        if is_cut and last.is_incomplete(self.to_rgb):
            self._notes["its last frame is incomplete: truncated?"] = None

    def _note_short(self, end: Fraction) -> None:
        """Note a video that ends earlier than its header states, as interrupted downloads and recordings do."""
        missing = (stated_end(self._container, self._stream) or end) - end
        if missing > max(Fraction(SHORT_BY_SECONDS), 5 * frame_period(self._stream)):
            self._notes[f"the last {float(missing):.2f} s that its header states are missing: truncated?"] = None
