"""Videos that are image sequences: folders and sequences of image files, and arrays."""

from __future__ import annotations

import io
import re
import stat
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from i3d.errors import VideoError, first_line
from i3d.video.base import DecodedFrame, FrameHWC, Limits, Video
from i3d.video.container import blend_onto_black
from i3d.video.jpeg import decode_grey, decode_rgb, plain_jpeg

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
UNTIMED_PERIOD: Final = Fraction(1, 25)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts img_2 before img_10."""
    parts = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
    return [*parts, (2, 0, name)]  # orders 1.mp4 and 01.mp4 too, independent of the file system


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, in natural order. Hidden and other files are ignored."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted(files, key=lambda p: natural_key(p.name))


def images_matching(pattern: str) -> list[Path]:
    """The files of a numbered sequence, `shots/img_%05d.jpg`, in the order of their numbers; of other patterns none."""
    path = Path(pattern)
    match = re.fullmatch(r"([^%]*)%(?:0\d*)?d([^%]*)", path.name)
    if match is None or not path.parent.is_dir():
        return []
    numbered = re.compile(f"{re.escape(match[1])}\\d+{re.escape(match[2])}")
    return sorted((p for p in path.parent.iterdir() if numbered.fullmatch(p.name)), key=lambda p: natural_key(p.name))


class RandomAccessVideo(Video):
    """Frames with random access, at a constant frame rate or without times."""

    def __init__(self, name: str, num_frames: int, *, frames_fps: float | None, limits: Limits) -> None:
        super().__init__(name, limits)
        if frames_fps is not None and not 0 < frames_fps <= 1000:
            raise ValueError(f"frames_fps must be above 0 and at most 1000, got {frames_fps}")
        self._num_frames = num_frames
        self.timed = frames_fps is not None
        self._period = UNTIMED_PERIOD if frames_fps is None else 1 / Fraction(frames_fps).limit_denominator(1_000_000)

    def decode_frames(self) -> Iterator[DecodedFrame]:
        return self.decode_frames_at(range(self._num_frames))

    def decode_frames_at(self, wanted: Sequence[int]) -> Iterator[DecodedFrame]:
        for i in wanted:
            if i < self._num_frames:
                yield DecodedFrame(i, i * self._period, (i + 1) * self._period, partial(self._frame, i))

    def timetable(self) -> list[Fraction]:
        return [i * self._period for i in range(self._num_frames + 1)]

    @abstractmethod
    def _frame(self, index: int) -> FrameHWC: ...


class ArrayVideo(RandomAccessVideo):
    """An array (T, H, W, 3) uint8."""

    def __init__(self, frames_THWC: FrameHWC, *, frames_fps: float | None, limits: Limits) -> None:
        shape = frames_THWC.shape
        if frames_THWC.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
            raise VideoError(
                "(array)", f"it is {frames_THWC.dtype} of shape {shape}", "give uint8 RGB frames of shape (T, H, W, 3)"
            )
        super().__init__("(array)", len(frames_THWC), frames_fps=frames_fps, limits=limits)
        self._frames_THWC = frames_THWC

    def _frame(self, index: int) -> FrameHWC:
        frame_HWC: FrameHWC = self._frames_THWC[index]
        return frame_HWC


class ImagesVideo(RandomAccessVideo):
    """Image files, one per frame, all of one size."""

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        *,
        frames_fps: float | None,
        limits: Limits,
        at_least: int | None = None,
    ) -> None:
        if not paths:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise VideoError(name, f"the folder holds no image file ({kinds})", "give a folder of frames or a video")
        super().__init__(name, len(paths), frames_fps=frames_fps, limits=limits)
        self._paths, self._at_least = paths, at_least
        self._size: tuple[int, int] | None = None  # height, width

    def _frame(self, index: int) -> FrameHWC:
        path = self._paths[index]
        frame_HWC = read_image(path, max_pixels=self.limits.max_pixels, at_least=self._at_least)
        self._size = self._size or frame_HWC.shape[:2]
        if frame_HWC.shape[:2] != self._size:
            height, width = frame_HWC.shape[:2]
            expected = f"{self._size[1]} x {self._size[0]}"
            raise VideoError(str(path), f"it is {width} x {height}, the frames before {expected}", "use one size")
        return frame_HWC


def read_image(path: Path, *, max_pixels: int, at_least: int | None = None) -> FrameHWC:
    """Read an image as RGB (H, W, 3), in EXIF orientation, alpha blended onto black. A damaged file is a VideoError.

    `at_least`: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as its short side is not
    smaller than this. That is faster, and differs from decoding and resizing: the decoder averages.
    """
    content = _content(path)
    header = plain_jpeg(content)
    if header is not None and header.height * header.width <= max_pixels:
        frame_HWC = decode_rgb(content, header, at_least=at_least)
        if frame_HWC is not None:
            return frame_HWC
    return _by_pillow(path, content, max_pixels=max_pixels, convert=_rgb)


def read_grey(path: Path, *, max_pixels: int) -> FrameHWC:
    """Read an image as grey values (H, W), as flow is stored. A damaged file is a VideoError."""
    content = _content(path)
    header = plain_jpeg(content)
    if header is not None and header.height * header.width <= max_pixels:
        frame_HW = decode_grey(content)
        if frame_HW is not None:
            return frame_HW
    return _by_pillow(path, content, max_pixels=max_pixels, convert=lambda image: np.asarray(image.convert("L")))


def _content(path: Path) -> bytes:
    try:
        if isinstance(path, Path) and not stat.S_ISREG(path.stat().st_mode):
            raise VideoError(str(path), "not a regular file", "replace the frame")
        return path.read_bytes()
    except FileNotFoundError:
        raise VideoError(str(path), "no such file", "check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(
            str(path), f"cannot be read ({first_line(error)})", "check the path and its permissions"
        ) from error


def _by_pillow(path: Path, content: bytes, *, max_pixels: int, convert: Callable[[Image.Image], FrameHWC]) -> FrameHWC:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > max_pixels:
                raise VideoError(
                    str(path), f"{image.width} x {image.height} is over the pixel limit", "make it smaller"
                )
            if image.mode.startswith(("I", "F")):
                raise VideoError(str(path), f"pixels of type {image.mode} are not 8-bit", "convert it to 8-bit")
            return convert(image)
    except VideoError:
        raise
    except UnidentifiedImageError:
        raise VideoError(str(path), "not an image (its content is in no known image format)", "replace it") from None
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        reason = first_line(error)
        raise VideoError(str(path), f"not a readable image ({reason})", "replace the frame") from error


def _rgb(image: Image.Image) -> FrameHWC:
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        return blend_onto_black(np.asarray(upright.convert("RGBA")))
    return np.asarray(upright.convert("RGB"))
