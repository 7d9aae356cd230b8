"""Decoded pixels as displayed: orientation and transparency.

Letters in names: H rows, W columns, C = 3 channels (RGB).
"""

import struct
from collections.abc import Callable
from typing import cast

import numpy as np
from av.video.frame import VideoFrame

from i3d.errors import VideoError
from i3d.video.base import FrameHWC


def orientation(frame: VideoFrame, name: str) -> Callable[[FrameHWC], FrameHWC]:
    """A function that applies the display matrix to decoded pixels (ISO 14496-12: x' = a x + c y, y' = b x + d y)."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return lambda pixels: pixels
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(cast(bytes, side_data))[:36])
    scale = max(abs(a), abs(b), 1)
    match round(a / scale, 2), round(b / scale, 2), round(c / scale, 2), round(d / scale, 2):
        case (1 | -1, 0, 0, 1 | -1):
            columns, rows = (1 if a > 0 else -1), (1 if d > 0 else -1)
            return lambda pixels: np.ascontiguousarray(pixels[::rows, ::columns])
        case (0, 1 | -1, 1 | -1, 0):
            columns, rows = (1 if c > 0 else -1), (1 if b > 0 else -1)
            return lambda pixels: np.ascontiguousarray(pixels.transpose(1, 0, 2)[::rows, ::columns])
        case other:
            what = f"its display matrix {other} is no rotation by a multiple of 90 degrees"
            raise VideoError(name, what, "convert it again")


def blend_onto_black(frame_HWC4: FrameHWC) -> FrameHWC:
    """RGBA -> RGB, blended onto black."""
    alpha = frame_HWC4[..., 3:].astype(np.uint16)
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(frame_HWC4[..., :3])
    return ((frame_HWC4[..., :3] * alpha + 127) // 255).astype(np.uint8)
