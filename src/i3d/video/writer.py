"""Write frames to an mp4, GIF or lossless mkv, atomically."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

from i3d.utils.arguments import checks_types
from i3d.utils.atomic_files import replacing
from i3d.utils.outputs import new_file
from i3d.video.base import FrameHWC

SUFFIXES: Final = (".mp4", ".gif")
NO_FRAMES: Final = "a video needs at least one frame"


@checks_types
def write_video(path: str | Path, frames: Iterable[FrameHWC], *, fps: float | Fraction, force: bool = False) -> int:
    """Write uint8 RGB frames (H, W, 3) of one size to an `.mp4` (H.264; H and W even) or `.gif`, chosen by the suffix.

    The file is written whole or not at all. Returns the number of frames. Another suffix is an InputError, and so is an
    existing file, unless `force` replaces it; no frames are a ValueError.
    """
    path, rate = new_file(path, SUFFIXES, force=force), Fraction(fps).limit_denominator(1_000_000)
    match path.suffix.lower():
        case ".mp4":
            return _encode(path, frames, "libx264", "yuv420p", rate, options={"crf": "20", "preset": "veryfast"})
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


def _write_gif(path: Path, frames: Iterable[FrameHWC], fps: Fraction) -> int:
    images = [Image.fromarray(frame_HWC).quantize(dither=Image.Dither.NONE) for frame_HWC in frames]
    if not images:
        raise ValueError(NO_FRAMES)
    duration = round(1000 / fps)  # milliseconds
    with replacing(path) as temporary:
        images[0].save(temporary, save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=False)
    return len(images)
