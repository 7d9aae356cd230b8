"""From what a Python user passes to the sources of videos that the reader opens."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch

from i3d.data.formats.inputs import LIST_SUFFIXES, STDIN, expand_inputs, is_frame_folder
from i3d.errors import InputError, check_not_empty
from i3d.video.base import Source
from i3d.video.frame_names import IMAGE_SUFFIXES

# One video: a path, the content of a file, an open binary file, frames (an array or a tensor, uint8), or a sequence of
# frames (image paths, or arrays).
VideoInput: TypeAlias = Source | BinaryIO | torch.Tensor | Sequence[Any]


def to_source(video: Any) -> Source:
    """One video (a `VideoInput`) as the reader takes it.

    A tensor or array is (T, H, W, 3) or (T, 3, H, W), uint8 RGB. Other types, shapes and number types are an
    InputError.
    """
    if isinstance(video, torch.Tensor):
        video = video.detach().cpu().numpy()
    if isinstance(video, np.ndarray):
        return _frames_THWC(video)
    if isinstance(video, bytearray | memoryview):
        return bytes(video)
    if isinstance(video, str | os.PathLike | bytes):
        check_not_empty(video=video)
        return video
    if hasattr(video, "read"):
        content = video.read()
        if not isinstance(content, bytes):
            raise InputError(f"{type(video).__name__}: holds text, not bytes; open the file in binary mode ('rb')")
        if not content and getattr(video, "seekable", lambda: False)() and video.tell():
            raise InputError(f"{type(video).__name__}: is at its end, so that nothing can be read; call seek(0) first")
        return content
    if isinstance(video, Sequence):
        return _sequence(video)
    many = "; i3d.predict_many takes an iterator of videos" if isinstance(video, Iterable) else ""
    raise InputError(
        f"a video cannot be of type {type(video).__name__}; pass a path, bytes, a binary file, an array or tensor "
        f"(T, H, W, 3) uint8, or a list of image files{many}"
    )


def expand(videos: Any) -> Iterator[Source]:
    """Every video of a folder, a pattern, a list file, or an iterable of these and of single videos (`VideoInput`)."""
    single = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, torch.Tensor)
    is_one = isinstance(videos, single) or hasattr(videos, "read")
    if isinstance(videos, Sequence) and not is_one:
        _refuse_images(videos)
    for video in [videos] if is_one or not isinstance(videos, Iterable) else videos:
        if isinstance(video, str | os.PathLike) and is_many(video):
            yield from expand_inputs([os.fspath(video)])
        else:
            yield to_source(video)


def is_many(path: str | os.PathLike[str]) -> bool:
    """Whether a path stands for other videos than the one it names: a folder of videos, a pattern, a list."""
    name = os.fspath(path)
    check_not_empty(video=name)
    if name == STDIN or (Path(name).exists() and not Path(name).is_dir()):
        return Path(name).suffix.lower() in LIST_SUFFIXES
    if Path(name).is_dir():
        return not is_frame_folder(Path(name))
    return not os.path.lexists(name) and glob.has_magic(name)


def _frames_THWC(frames: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    shape = frames.shape
    if frames.dtype != np.uint8:
        raise InputError(f"frames are {frames.dtype}; pass uint8 RGB from 0 to 255, the network normalises them")
    if len(shape) == 4 and shape[3] != 3 and shape[1] == 3:  # as torchvision and torchcodec decode
        return np.ascontiguousarray(frames.transpose(0, 2, 3, 1))
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise InputError(f"frames have the shape {shape}; pass (T, H, W, 3) or (T, 3, H, W)")
    return frames


def _sequence(frames: Sequence[Any]) -> Source:
    if not frames:
        raise InputError("a list without frames is no video; pass image files or arrays (H, W, 3) uint8")
    if all(isinstance(frame, str | os.PathLike) for frame in frames):
        return [os.fspath(frame) for frame in frames]
    arrays = [frame.detach().cpu().numpy() if isinstance(frame, torch.Tensor) else frame for frame in frames]
    if all(isinstance(frame, np.ndarray) and frame.ndim == 3 for frame in arrays):
        if len({frame.shape for frame in arrays}) > 1:
            raise InputError("the frames of a list have different sizes; resize them to one")
        return _frames_THWC(np.stack(arrays))
    kinds = ", ".join(sorted({type(frame).__name__ for frame in frames}))
    raise InputError(f"a list of {kinds} is no video; pass image files or arrays (H, W, 3) uint8")


def _refuse_images(videos: Sequence[Any]) -> None:
    """A list is many videos: images in it are likely the frames of one, which would give an answer a frame."""
    if videos and all(
        (isinstance(video, str | os.PathLike) and Path(video).suffix.lower() in IMAGE_SUFFIXES)
        or (isinstance(video, np.ndarray | torch.Tensor) and video.ndim == 3)
        for video in videos
    ):
        name = f" ({os.fspath(videos[0])} ...)" if isinstance(videos[0], str | os.PathLike) else ""
        raise InputError(f"a list is many videos, and these are images{name}; pass the frames of one video as [frames]")
