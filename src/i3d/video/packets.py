"""Where decoding may start in the middle of a video: containers whose packets are frames with times of their own.

A seek is right only if the frame that follows it is recognised. In MP4 and Matroska each packet has the time at which
its frame is displayed. AVI has no times: after a seek FFmpeg guesses them, wrongly where frames are reordered (open
GOPs, packed B-frames); without reordering, the place of a packet is its time. Every other container is decoded from the
start. So is a stream with a packet that does not begin a frame as its codec prescribes: it is damaged.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from i3d.video.display_order import display_order

TIMED_CONTAINERS: Final = ("mov", "matroska")
INTER_CODECS: Final = ("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "h263", "flv1", "ffv1")
MICROSOFT_CODECS: Final = ("msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2")
INTRA_CODECS: Final = ("mjpeg", "prores", "dnxhd", "png", "rawvideo", "huffyuv", "ffvhuff", "utvideo", "jpeg2000")
# Their keyframes depend on no earlier frame, and each packet is one frame.
SEEKABLE_CODECS: Final = frozenset({*INTER_CODECS, *MICROSOFT_CODECS, *INTRA_CODECS})
SKIPPING_CODECS: Final = frozenset({"h264", "hevc"})
STEADY_CONTAINERS: Final = ("mpegts", "mpeg")  # recordings of broadcasts: one frame rate, without gaps
PARSER_DELAY: Final = 2  # so many packets after one that FFmpeg flags, the break in the counters is over
MIN_STEPS: Final = 4  # from which a frame rate is recognised as constant
MAX_GAP: Final = 10  # seconds; a longer one is the join of two recordings
DISORDERED: Final = "its time stamps are not in the order of its frames: damaged?"


@dataclass(frozen=True)
class FrameIndex:
    """Time stamps of all frames in display order, and those of keyframes, from which decoding can start."""

    pts: npt.NDArray[np.int64]
    key_pts: npt.NDArray[np.int64]  # some may precede the first displayed frame (an edit list removes them)
    last_duration: int  # of the last displayed frame; 0: unknown


class PacketLog:
    """The packets of a stream, in the order in which they are read from its start, and the frames decoded of them."""

    def __init__(self, kind: str, stream: VideoStream) -> None:
        codec = stream.codec_context
        self._kind, self._time_base = kind, stream.time_base
        # The exact number of frames, in containers whose header states it; else 0.
        self._num_stated = stream.frames if kind == "avi" else stream.duration or 0 if kind == "mxf" else 0
        self._has_edit_lists = "mov" in kind
        self._is_timed = any(name in kind for name in TIMED_CONTAINERS)
        self._is_frame_each = codec.codec.canonical_name in SEEKABLE_CODECS  # each packet is one frame
        self.is_complete = self._is_frame_each and (self._is_timed or kind == "avi")
        # 4:4:4 of older x264 deviates from the standard; FFmpeg corrects that only after reading the first packet.
        self._one_key = codec.name == "h264" and (codec.pix_fmt or "").startswith(("yuv444", "yuvj444", "gbr"))
        self._place = display_order(codec.codec.canonical_name, codec.extradata)
        self._pts, self._dts, self._key_pts, self._is_displayed = array("q"), array("q"), array("q"), bytearray()
        self._places = array("q")  # of the packets in the order of display, by their own headers
        self._num_packets, self._num_frames, self._has_fields = 0, 0, False
        self._last = (0, 0)  # time stamp and duration of the last displayed packet
        self.frame_pts = array("q")  # of the decoded frames, in display order
        self.is_disordered = False  # a frame has an earlier time stamp than the one before

    def add(self, packet: Packet[VideoStream]) -> None:
        """Record the next packet. One whose frame or time is uncertain makes the index impossible."""
        if not packet.size:
            return
        self._num_packets += 1
        if packet.dts is not None:
            self._dts.append(packet.dts)
        if packet.pts is not None:
            self._pts.append(packet.pts)
            self._is_displayed.append(not packet.is_discard)  # an edit list removes frames after decoding
            if not packet.is_discard:
                self._last = max(self._last, (packet.pts, packet.duration or 0))
            if packet.is_keyframe:
                self._key_pts.append(packet.pts)
        if self.is_complete:
            is_listed = packet.pts is not None and (self._is_timed or packet.pts == packet.dts)
            is_sound = not packet.is_corrupt and (not packet.is_discard or self._has_edit_lists)
            place = self._place(bytes(packet))
            self.is_complete = is_listed and is_sound and place is not None
            self._places.append(place or 0)

    def add_frame(self, frame: VideoFrame) -> None:
        """Record the next frame that the decoder gives."""
        self._num_frames += 1
        self._has_fields |= frame.interlaced_frame
        if frame.pts is not None:
            is_earlier = len(self.frame_pts) > 0 and frame.pts < self.frame_pts[-1]
            self.is_disordered |= is_earlier and self._is_timed and self.is_complete
            self.frame_pts.append(frame.pts)

    def index(self) -> FrameIndex | None:
        """The frames of the stream; None where packets and frames may not correspond one to one.

        Time stamps that are not in the order of display are damaged: then no frame is known by its own.
        """
        listed = self._listed()
        pts = np.array(self._pts, np.int64)
        is_ordered = listed is not None and (np.diff(pts[np.argsort(np.array(self._places, np.int64))]) > 0).all()
        return listed if is_ordered else None

    def _listed(self) -> FrameIndex | None:
        """The frames of the stream in the order of their time stamps; None where not each packet is one."""
        pts, key_pts = np.array(self._pts, np.int64), np.array(self._key_pts, np.int64)
        if not self.is_complete or not len(key_pts) or key_pts[0] != pts[0] or pts[0] != pts.min():
            return None
        displayed_pts = np.sort(pts[np.array(self._is_displayed, bool)])
        if len(np.unique(pts)) < len(pts) or not len(displayed_pts) or self.lost_packets():
            return None
        return FrameIndex(displayed_pts, np.sort(key_pts[: 1 if self._one_key else None]), self._last[1])

    def damage(self, period: Fraction) -> list[str]:
        """What packets and frames show of damage once all of both are recorded. `period`: of the frames, in seconds."""
        notes, listed, num_listed = [], self._listed(), self._num_listed()
        if num_listed is not None and num_listed != self._num_frames:
            notes.append(f"its container lists {num_listed} frames, {self._num_frames} can be decoded")
        elif listed is not None and not np.array_equal(listed.pts, self.frame_pts):
            notes.append(DISORDERED)
        if lost := self.lost_packets():
            notes.append(lost)
        gap = self._gap(period)
        if gap is not None:
            notes.append(f"frames are missing: its time stamps jump {gap:.2f} s ahead")
        return notes

    def _num_listed(self) -> int | None:
        """Number of packets from the first frame on; None where not each is a frame.

        Frames before it refer to those before the start of the recording, and cannot be decoded.
        """
        is_certain = self._is_frame_each and not self._has_fields and len(self._pts) == self._num_packets
        if not is_certain or len(self.frame_pts) != self._num_frames:
            return None
        shown = [pts for pts, is_displayed in zip(self._pts, self._is_displayed, strict=True) if is_displayed]
        has_times = self._kind != "avi" and self._num_frames > 0
        return sum(pts >= self.frame_pts[0] for pts in shown) if has_times else len(shown)

    def lost_packets(self) -> str:
        """A note if the header states another number of frames than there are packets, "" if not.

        After a lost packet, the times that FFmpeg counts for AVI are those of other frames.
        """
        stated = self._num_stated
        if not stated or stated in (self._num_packets, self._num_chunks()):
            return ""
        return f"its header states {stated} frames, it contains {self._num_packets}"

    def _num_chunks(self) -> int:
        """Number of chunks of an AVI, the empty ones too, which repeat a frame: FFmpeg counts them in the times."""
        return self._dts[-1] + 1 if self._kind == "avi" and self._dts else self._num_packets

    def _gap(self, period: Fraction) -> float | None:
        """A gap, in seconds, between packets that otherwise have one distance, in containers of broadcasts."""
        if self._kind not in STEADY_CONTAINERS or len(self._dts) <= MIN_STEPS or self._time_base is None:
            return None
        steps = np.diff(np.array(self._dts, np.float64)) * float(self._time_base)
        gaps = steps[(steps > 1.9 * max(float(np.median(steps)), float(period))) & (steps < MAX_GAP)]
        return float(gaps[0]) if 0 < len(gaps) <= max(len(steps) // 50, 1) else None


class Continuity:
    """Finds packets that an MPEG transport stream has lost, by the counters of its packets, which FFmpeg compares.

    The counters also break where recordings or segments are joined: there a keyframe follows, whose time continues that
    of the packet before or starts again.
    """

    def __init__(self, kind: str, time_base: Fraction, period: Fraction) -> None:
        self._is_transport_stream, self._max_step = kind == "mpegts", 2 * period / time_base
        self._dts: int | None = None  # of the packet before
        self._num_awaited = 0  # packets, of which one may be the first of a joined part

    def is_broken(self, packet: Packet[VideoStream]) -> bool:
        """Whether packets are missing a few packets before this one."""
        is_first, was_awaited = self._begins_part(packet), self._num_awaited > 0
        self._num_awaited = 0 if is_first or not packet.size else max(self._num_awaited - 1, 0)
        is_broken = was_awaited and not is_first and self._num_awaited == 0
        self._dts = packet.dts
        if packet.is_corrupt and self._is_transport_stream:
            self._num_awaited = PARSER_DELAY
        return is_broken

    def _begins_part(self, packet: Packet[VideoStream]) -> bool:
        if packet.dts is None or self._dts is None:
            return False
        return packet.is_keyframe and packet.dts - self._dts < self._max_step
