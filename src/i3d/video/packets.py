"""Where decoding may start in the middle of a video: containers whose packets are frames with times of their own.

A seek is right only if the frame that follows it is recognised. In MP4 and Matroska each packet has the time at which
its frame is displayed. AVI has no times: after a seek FFmpeg guesses them, wrongly where frames are reordered (open
GOPs, packed B-frames); without reordering, the place of a packet is its time. Every other container is decoded from the
start.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

TIMED_CONTAINERS: Final = ("mov", "matroska")
INTER_CODECS: Final = ("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "h263", "flv1", "ffv1")
MICROSOFT_CODECS: Final = ("msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2")
INTRA_CODECS: Final = ("mjpeg", "prores", "dnxhd", "png", "rawvideo", "huffyuv", "ffvhuff", "utvideo", "jpeg2000")
# Their keyframes depend on no earlier frame, and each packet is one frame.
SEEKABLE_CODECS: Final = frozenset({*INTER_CODECS, *MICROSOFT_CODECS, *INTRA_CODECS})
SKIPPING_CODECS: Final = frozenset({"h264", "hevc"})


@dataclass(frozen=True)
class FrameIndex:
    """Time stamps of all frames in display order, and those of keyframes, from which decoding can start."""

    pts: npt.NDArray[np.int64]
    key_pts: npt.NDArray[np.int64]  # some may precede the first displayed frame (an edit list removes them)


class PacketLog:
    """The packets of a stream, in the order in which they are read from its start."""

    def __init__(self, kind: str, stream: VideoStream) -> None:
        codec = stream.codec_context
        self._has_edit_lists = "mov" in kind
        self._is_timed = any(name in kind for name in TIMED_CONTAINERS)
        self.is_complete = codec.codec.canonical_name in SEEKABLE_CODECS and (self._is_timed or kind == "avi")
        # 4:4:4 of older x264 deviates from the standard; FFmpeg corrects that only after reading the first packet.
        self._one_key = codec.name == "h264" and (codec.pix_fmt or "").startswith(("yuv444", "yuvj444", "gbr"))
        self._is_reordered = codec.has_b_frames
        self._pts, self._key_pts, self._is_displayed = array("q"), array("q"), bytearray()
        self.frame_pts = array("q")  # of the decoded frames, in display order

    def add(self, packet: Packet[VideoStream]) -> None:
        """Record the next packet. One whose frame or time is uncertain makes the index impossible."""
        if not packet.size or not self.is_complete:
            return
        discarded = packet.is_discard and not self._has_edit_lists
        if packet.pts is None or packet.is_corrupt or discarded or not (self._is_timed or packet.pts == packet.dts):
            self.is_complete = False
            return
        self._pts.append(packet.pts)
        self._is_displayed.append(not packet.is_discard)  # an edit list removes frames after decoding
        if packet.is_keyframe:
            self._key_pts.append(packet.pts)

    def add_frame(self, frame: VideoFrame) -> None:
        """Record the next frame that the decoder gives."""
        if self.is_complete and frame.pts is not None:
            self.frame_pts.append(frame.pts)

    def index(self) -> FrameIndex | None:
        """The frames of the stream; None where packets and frames may not correspond one to one."""
        pts, key_pts = np.array(self._pts, np.int64), np.array(self._key_pts, np.int64)
        if not self.is_complete or not len(key_pts) or key_pts[0] != pts[0] or pts[0] != pts.min():
            return None
        displayed_pts = np.sort(pts[np.array(self._is_displayed, bool)])
        if len(np.unique(pts)) < len(pts) or not len(displayed_pts):
            return None
        if not self._is_reordered and (np.diff(pts) < 0).any():
            return None  # damaged: without B-frames, times increase
        return FrameIndex(displayed_pts, np.sort(key_pts[: 1 if self._one_key else None]))
