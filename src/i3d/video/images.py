"""Videos that are image sequences: folders and sequences of image files, and arrays."""

import io
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from i3d.errors import VideoError, first_line
from i3d.video.base import DecodedFrame, FrameHWC, Limits, Video
from i3d.video.frame_names import IMAGE_SUFFIXES, choose_rgb, is_image, natural_key
from i3d.video.pixels import blend_onto_black

JPEG_START: Final = b"\xff\xd8"
JPEG_END: Final = b"\xff\xd9"
EXIF_OR_XMP: Final = 0xE1
PLAIN_FRAMES: Final = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive (ITU-T T.81 B.1.1.3)
UNTIMED_PERIOD: Final = Fraction(1, 25)


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, in natural order. Hidden and other files are ignored."""
    return sorted((path for path in folder.iterdir() if is_image(path.name)), key=lambda p: natural_key(p.name))


def frames_in(folder: Path) -> tuple[list[Path], list[str]]:
    """(the RGB frames of a folder, in order; notes on ignored images and missing numbers), as `choose_rgb` does."""
    names, notes = choose_rgb(folder, [path.name for path in images_in(folder)])
    return [folder / name for name in names], notes


def images_matching(pattern: str) -> list[Path]:
    """The files of a numbered sequence, `shots/img_%05d.jpg`, in the order of their numbers; of other patterns none."""
    path = Path(pattern)
    match = re.fullmatch(r"([^%]*)%(?:0\d*)?d([^%]*)", path.name)
    if match is None or not path.parent.is_dir():
        return []
    numbered = re.compile(f"{re.escape(match[1])}\\d+{re.escape(match[2])}")
    return sorted((p for p in path.parent.iterdir() if numbered.fullmatch(p.name)), key=lambda p: natural_key(p.name))


class FramesVideo(Video):
    """Frames of one size with random access, at a constant frame rate or without times.

    `frame_at` reads a frame by its number, and `file_at` names its file in errors.
    """

    def __init__(
        self,
        name: str,
        num_frames: int,
        frame_at: Callable[[int], FrameHWC],
        *,
        limits: Limits,
        frames_fps: float | None = None,
        file_at: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__(name, limits)
        if frames_fps is not None and not 0 < frames_fps <= 1000:
            raise ValueError(f"frames_fps must be above 0 and at most 1000, got {frames_fps}")
        self._num_frames, self._frame_at, self._file_at = num_frames, frame_at, file_at
        self._shape: tuple[int, ...] = ()  # of the first frame
        self.timed = frames_fps is not None
        self._period = UNTIMED_PERIOD if frames_fps is None else 1 / Fraction(frames_fps).limit_denominator(1_000_000)
        self.stated_seconds, self.stated_frames = float(num_frames * self._period), num_frames

    def decode_frames(self) -> Iterator[DecodedFrame]:
        return self.decode_frames_at(range(self._num_frames))

    def decode_frames_at(self, wanted: Sequence[int]) -> Iterator[DecodedFrame]:
        for i in wanted:
            if i < self._num_frames:
                yield DecodedFrame(i, i * self._period, (i + 1) * self._period, partial(self._frame, i))

    def timetable(self) -> list[Fraction]:
        return [i * self._period for i in range(self._num_frames + 1)]

    def _frame(self, index: int) -> FrameHWC:
        frame_HWC = self._frame_at(index)
        self._shape = self._shape or frame_HWC.shape
        if frame_HWC.shape != self._shape:
            (height, width), (first_height, first_width) = frame_HWC.shape[:2], self._shape[:2]
            file = self.name if self._file_at is None else str(self._file_at(index))
            what = f"it is {width} x {height}, the frames before {first_width} x {first_height}"
            raise VideoError(file, what, "use one size")
        return frame_HWC


def open_array(frames_THWC: npt.NDArray[np.uint8], *, frames_fps: float | None, limits: Limits) -> Video:
    """Frames in memory, (T, H, W, 3) uint8 RGB."""
    shape = frames_THWC.shape
    if frames_THWC.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        what = f"it is {frames_THWC.dtype} of shape {shape}"
        raise VideoError("(array)", what, "give uint8 RGB frames of shape (T, H, W, 3)")
    return FramesVideo("(array)", len(frames_THWC), frames_THWC.__getitem__, frames_fps=frames_fps, limits=limits)


def open_images(
    name: str, paths: Sequence[Path], *, frames_fps: float | None, limits: Limits, notes: Sequence[str] = ()
) -> Video:
    """Image files, one per frame, all of one size. `notes`: on how they were chosen."""
    if not paths:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise VideoError(name, f"the folder holds no image file ({kinds})", "give a folder of frames or a video")

    def frame_at(index: int) -> FrameHWC:
        return read_image(paths[index], max_pixels=limits.max_pixels)

    video = FramesVideo(name, len(paths), frame_at, file_at=paths.__getitem__, frames_fps=frames_fps, limits=limits)
    video.restore_notes(notes, frames_decoded=0)
    video.encoding = " and ".join(sorted({f"{path.suffix.lower().removeprefix('.')} frames" for path in paths}))
    return video


def read_image(path: Path, *, max_pixels: int, grey: bool = False) -> FrameHWC:
    """Read an image as RGB (H, W, 3), in EXIF orientation, alpha blended onto black. A damaged file is a VideoError.

    `grey`: as grey values (H, W), as flow is stored.
    """
    content = _content(path)
    frame = _decode_jpeg(content, max_pixels=max_pixels, grey=grey)
    return _by_pillow(path, content, max_pixels=max_pixels, grey=grey) if frame is None else frame


def _decode_jpeg(content: bytes, *, max_pixels: int, grey: bool) -> FrameHWC | None:
    """Plain JPEG, the usual form of frames, by OpenCV: the same pixels as Pillow in less time.

    RGB (H, W, 3), or grey values (H, W).
    None: it is no plain JPEG (8-bit grey or colour without EXIF orientation), it is too large, or it cannot be decoded.
    """
    height, width = _plain_size(content)
    if not 0 < height * width <= max_pixels:
        return None
    flag = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB
    return cast("FrameHWC | None", cv2.imdecode(np.frombuffer(content, np.uint8), flag))


def _plain_size(content: bytes) -> tuple[int, int]:
    """(height, width) of a plain JPEG, else zeros. The end marker is required: OpenCV decodes half a file silently."""
    at, is_complete = len(JPEG_START), content.startswith(JPEG_START) and content.endswith(JPEG_END)
    while is_complete and at + 10 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in PLAIN_FRAMES:
            bits, channels = content[at + 4], content[at + 9]
            height, width = (int.from_bytes(content[at + k : at + k + 2], "big") for k in (5, 7))
            return (height, width) if bits == 8 and channels in (1, 3) else (0, 0)
        if marker == EXIF_OR_XMP or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            break
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return 0, 0


def _content(path: Path) -> bytes:
    try:
        if isinstance(path, Path) and not stat.S_ISREG(path.stat().st_mode):
            raise VideoError(str(path), "not a regular file", "replace the frame")
        return path.read_bytes()
    except FileNotFoundError:
        raise VideoError(str(path), "no such file", "check the path") from None
    except (OSError, ValueError) as error:
        what = f"cannot be read ({first_line(error)})"
        raise VideoError(str(path), what, "check the path and its permissions") from error


def _by_pillow(path: Path, content: bytes, *, max_pixels: int, grey: bool) -> FrameHWC:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > max_pixels:
                what = f"{image.width} x {image.height} is over the pixel limit"
                raise VideoError(str(path), what, "make it smaller")
            if image.mode.startswith(("I", "F")):
                raise VideoError(str(path), f"pixels of type {image.mode} are not 8-bit", "convert it to 8-bit")
            return np.asarray(image.convert("L")) if grey else _rgb(image)
    except UnidentifiedImageError:
        raise VideoError(str(path), "not an image (its content is in no known image format)", "replace it") from None
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        raise VideoError(str(path), f"not a readable image ({first_line(error)})", "replace the frame") from error


def _rgb(image: Image.Image) -> FrameHWC:
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        return blend_onto_black(np.asarray(upright.convert("RGBA")))
    return np.asarray(upright.convert("RGB"))
