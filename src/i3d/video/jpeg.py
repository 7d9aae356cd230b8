"""Decode plain JPEG files, the usual form of frames, with OpenCV: the same pixels as Pillow in less time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np

from i3d.video.base import FrameHWC

START: Final = b"\xff\xd8"
END: Final = b"\xff\xd9"
EXIF_OR_XMP: Final = 0xE1
PLAIN_FRAMES: Final = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive (ITU-T T.81 B.1.1.3)


@dataclass(frozen=True)
class PlainJpeg:
    """The header of a complete JPEG of 8-bit grey or colour without EXIF orientation."""

    height: int
    width: int


def plain_jpeg(content: bytes) -> PlainJpeg | None:
    """The header of a plain JPEG, else None. The end marker is required: OpenCV decodes half a file without error."""
    if not (content.startswith(START) and content.endswith(END)):
        return None
    at = len(START)
    while at + 10 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in PLAIN_FRAMES:
            bits, channels = content[at + 4], content[at + 9]
            height, width = (int.from_bytes(content[at + k : at + k + 2], "big") for k in (5, 7))
            return PlainJpeg(height, width) if bits == 8 and channels in (1, 3) and height and width else None
        if marker == EXIF_OR_XMP or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return None
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def decode_rgb(content: bytes, header: PlainJpeg, *, at_least: int | None) -> FrameHWC | None:
    """RGB (H, W, 3), smaller if `at_least` allows (`images.read_image`). None: it cannot be decoded."""
    flag = _reduction(min(header.height, header.width), at_least)
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    if pixels is not None and flag != cv2.IMREAD_COLOR_RGB:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return cast("FrameHWC | None", pixels)


def decode_grey(content: bytes) -> FrameHWC | None:
    """Grey values (H, W). None: it cannot be decoded."""
    return cast("FrameHWC | None", cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE))


def _reduction(short_side: int, at_least: int | None) -> int:
    """OpenCV's flag for the smallest decoded size whose short side is at least `at_least`."""
    flags = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    fitting = [flag for factor, flag in flags.items() if at_least is not None and -(-short_side // factor) >= at_least]
    return fitting[0] if fitting else cv2.IMREAD_COLOR_RGB
