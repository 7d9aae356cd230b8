"""Write frames to an mp4, GIF or lossless mkv, atomically."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Final

import av
import numpy as np
from PIL import Image

from i3d.errors import InputError, printable
from i3d.utils.atomic_files import replacing
from i3d.video.base import FrameHWC

SUFFIXES: Final = (".mp4", ".gif")


def write_video(path: str | Path, frames: Iterable[FrameHWC], *, fps: float | Fraction) -> None:
    """Write uint8 RGB frames (H, W, 3) of one size to an `.mp4` (H.264; H and W even) or `.gif`, chosen by the suffix.

    The file is written whole or not at all. Another suffix is an InputError, no frames a ValueError.
    """
    path, rate = Path(path), Fraction(fps).limit_denominator(1_000_000)
    iterator = iter(frames)
    first_HWC = next(iterator, None)
    if first_HWC is None:
        raise ValueError("a video needs at least one frame")
    match path.suffix.lower():
        case ".mp4":
            with replacing(path) as temporary:
                _write_mp4(temporary, first_HWC, chain([first_HWC], iterator), rate)
        case ".gif":
            with replacing(path) as temporary:
                _write_gif(temporary, chain([first_HWC], iterator), rate)
        case _:
            raise InputError(f"{printable(str(path))}: the name must end in {' or '.join(SUFFIXES)}")


def _write_mp4(path: Path, first_HWC: FrameHWC, frames: Iterator[FrameHWC], fps: Fraction) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = first_HWC.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        for frame_HWC in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))


def write_lossless(path: Path, frames: Iterator[FrameHWC], *, fps: Fraction) -> int:
    """Write RGB frames (H, W, 3) of one size to a lossless `.mkv` (FFV1). Returns the number of frames."""
    num_frames, stream = 0, None
    with replacing(path) as temporary, av.open(str(temporary), "w", options={"fflags": "+bitexact"}) as container:
        for frame_HWC in frames:
            num_frames += 1
            if stream is None:
                stream = container.add_stream("ffv1", rate=fps)
                stream.height, stream.width = frame_HWC.shape[:2]
                stream.pix_fmt = "bgr0"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")))
        if stream is None:
            raise ValueError("a video needs at least one frame")
        container.mux(stream.encode(None))
    return num_frames


def _write_gif(path: Path, frames: Iterator[FrameHWC], fps: Fraction) -> None:
    images = (Image.fromarray(frame_HWC).quantize(dither=Image.Dither.NONE) for frame_HWC in frames)
    first = next(images)
    milliseconds = round(1000 / fps)
    first.save(path, save_all=True, append_images=images, duration=milliseconds, loop=0, optimize=False)
