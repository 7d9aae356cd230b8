"""MMAction2's clip loading, step by step, to measure this package's against.

Rebuilt are the `train_pipeline` and `test_pipeline` of MMAction2 0.24.1's i3d_r50_video_32x2x1_100e_kinetics400_rgb.py
(decord) and the `train_pipeline` of its i3d_r50_lazy_32x2x1_100e_kinetics400_rgb.py (raw frames through TurboJPEG),
with the image functions of MMCV 1.7.2 (the same in 2.1.0): each step makes the same library calls on the same arrays
in the same order. For one set of random draws the results equal those of the original classes bit for bit.

MMAction2 1.2.0 runs the same steps for training but leaves `Normalize` to the model: its clips leave the loader as
uint8. In testing its ten clips reach from the first frame to the last, where those of 0.24.1, built here, are centred.

As in the original a returned array is a channels-first view of channels-last memory; collating a batch copies it.
Training runs under `cv2.setNumThreads(0)` there: that is left to the caller. requirements.txt lists what to install.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import io
import time
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Indices: TypeAlias = npt.NDArray[np.int64]
Frames: TypeAlias = list[npt.NDArray[Any]]  # each uint8 HWC, RGB
ClipsNCTHW: TypeAlias = npt.NDArray[np.float32]
Stages: TypeAlias = dict[str, float]  # seconds by name of step
Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom

CLIP_LEN: Final = 32
FRAME_INTERVAL: Final = 2
SPAN: Final = CLIP_LEN * FRAME_INTERVAL
TEST_CLIPS: Final = 10
SHORT_SIDE: Final = 256
TRAIN_SIZE: Final = 224
CROP_SCALES: Final = (1.0, 0.8)
NEAR_SIZE: Final = 3  # a crop less than this off TRAIN_SIZE is made exactly that
FIRST_RAW_FRAME: Final = 1
MEAN: Final = np.array([123.675, 116.28, 103.53], dtype=np.float32)
STD: Final = np.array([58.395, 57.12, 57.375], dtype=np.float32)


def decord_train(path: Path | str, rng: np.random.Generator, stages: Stages | None = None) -> ClipsNCTHW:
    """One random training clip of a video file, (1, 3, 32, 224, 224)."""
    frames = _decord_frames(Path(path), partial(_train_indices, rng=rng), stages)
    with _timed(stages, "Resize(-1, 256)"):
        frames = _resize(frames, _short_side_size(frames[0].shape[1], frames[0].shape[0]))
    with _timed(stages, "MultiScaleCrop"):
        left, top, right, bottom = _multi_scale_box(frames[0].shape[1], frames[0].shape[0], rng)
        frames = [frame[top:bottom, left:right] for frame in frames]
    with _timed(stages, "Resize(224, 224)"):
        frames = _resize(frames, (TRAIN_SIZE, TRAIN_SIZE))
    with _timed(stages, "Flip"):
        if rng.random() < 0.5:
            _flip_in_place(frames)
    return _normalize_and_format(frames, 1, stages)


def decord_test(path: Path | str, stages: Stages | None = None) -> ClipsNCTHW:
    """Ten centred clips of a video file in three crops each, (30, 3, 32, 256, 256), all clips of a crop together."""
    frames = _decord_frames(Path(path), _test_indices, stages)
    with _timed(stages, "Resize(-1, 256)"):
        frames = _resize(frames, _short_side_size(frames[0].shape[1], frames[0].shape[0]))
    with _timed(stages, "ThreeCrop"):
        frames = _three_crops(frames)
    return _normalize_and_format(frames, TEST_CLIPS, stages)


def turbojpeg_lazy_train(
    folder: Path | str,
    num_frames: int,
    rng: np.random.Generator,
    template: str = "img_{:05d}.jpg",
    stages: Stages | None = None,
) -> ClipsNCTHW:
    """One random training clip of a folder of JPEG frames numbered from 1, (1, 3, 32, 224, 224)."""
    with _timed(stages, "SampleFrames"):
        indices = _train_indices(num_frames, rng=rng) + FIRST_RAW_FRAME
    with _timed(stages, "RawFrameDecode"):
        frames = _raw_frames(Path(folder), indices, template)
    height, width = frames[0].shape[:2]
    with _timed(stages, "Resize(-1, 256, lazy)"):
        resized = _short_side_size(width, height)
    with _timed(stages, "MultiScaleCrop(lazy)"):
        box = _unscaled_box(_multi_scale_box(*resized, rng), resized, (width, height))
    with _timed(stages, "Flip(lazy)"):
        flip = rng.random() < 0.5
    with _timed(stages, "Fuse"):
        left, top, right, bottom = box
        frames = _resize([frame[top:bottom, left:right] for frame in frames], (TRAIN_SIZE, TRAIN_SIZE))
        if flip:
            _flip_in_place(frames)
    return _normalize_and_format(frames, 1, stages)


@contextmanager
def _timed(stages: Stages | None, name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    if stages is not None:
        stages[name] = stages.get(name, 0.0) + time.perf_counter() - start


def _decord_frames(path: Path, sample: Callable[[int], Indices], stages: Stages | None) -> Frames:
    """DecordInit, SampleFrames and DecordDecode. The whole file is read first; `get_batch` seeks by itself."""
    decord = _decord()
    with _timed(stages, "DecordInit"):
        reader = decord.VideoReader(io.BytesIO(path.read_bytes()), num_threads=1)
        num_frames = len(reader)
    with _timed(stages, "SampleFrames"):
        indices = sample(num_frames)
    with _timed(stages, "DecordDecode"):
        frames: Frames = list(reader.get_batch(indices).asnumpy())
        del reader
    return frames


def _raw_frames(folder: Path, indices: Indices, template: str) -> Frames:
    """RawFrameDecode: read and decode each frame once; a frame wanted again is copied."""
    jpeg, pixel_format = _turbojpeg()
    first_use: dict[int, int] = {}
    frames: Frames = []
    for position, index in enumerate(indices.tolist()):
        if index in first_use:
            frames.append(copy.deepcopy(frames[first_use[index]]))
            continue
        first_use[index] = position
        frames.append(jpeg.decode((folder / template.format(index)).read_bytes(), pixel_format))
    return frames


def _train_indices(num_frames: int, *, rng: np.random.Generator) -> Indices:
    room = num_frames - SPAN + 1
    start = int(rng.integers(room)) if room > 0 else 0
    return _looped(np.array([start]), num_frames)


def _test_indices(num_frames: int) -> Indices:
    segment = max(num_frames - SPAN + 1, 0) / TEST_CLIPS
    return _looped((np.arange(TEST_CLIPS) * segment + segment / 2).astype(np.int64), num_frames)


def _looped(starts: Indices, num_frames: int) -> Indices:
    indices: Indices = np.mod(starts[:, None] + np.arange(CLIP_LEN) * FRAME_INTERVAL, num_frames)
    return indices.reshape(-1)


def _short_side_size(width: int, height: int) -> tuple[int, int]:
    factor = SHORT_SIDE / min(width, height)
    return int(width * factor + 0.5), int(height * factor + 0.5)


def _multi_scale_box(width: int, height: int, rng: np.random.Generator) -> Box:
    """A square of one of two sizes at a corner or at the centre."""
    sizes = [int(min(width, height) * scale) for scale in CROP_SCALES]
    size = sizes[int(rng.integers(len(sizes)))]
    if abs(size - TRAIN_SIZE) < NEAR_SIZE:
        size = TRAIN_SIZE
    step_x, step_y = (width - size) // 4, (height - size) // 4
    corners = [(0, 0), (4 * step_x, 0), (0, 4 * step_y), (4 * step_x, 4 * step_y), (2 * step_x, 2 * step_y)]
    left, top = corners[int(rng.integers(len(corners)))]
    return left, top, left + size, top + size


def _unscaled_box(box: Box, from_size: tuple[int, int], to_size: tuple[int, int]) -> Box:
    """The crop of a resized frame in pixels of the frame itself, in float32 as in a lazy crop."""
    whole = np.array([to_size[0], to_size[1]] * 2, dtype=np.float32)
    scaled = np.array(box, dtype=np.float32) * whole / np.array([from_size[0], from_size[1]] * 2, dtype=np.float32)
    left, top, right, bottom = scaled.round().astype(int).tolist()
    return left, top, right, bottom


def _resize(frames: Frames, size: tuple[int, int]) -> Frames:
    return [cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames]


def _flip_in_place(frames: Frames) -> None:
    for frame in frames:
        cv2.flip(frame, 1, frame)


def _three_crops(frames: Frames) -> Frames:
    """Squares at both ends of the long side and in its middle, all frames of one after another."""
    height, width = frames[0].shape[:2]
    step_x, step_y = (width - SHORT_SIDE) // 2, (height - SHORT_SIDE) // 2
    return [
        frame[step_y * steps : step_y * steps + SHORT_SIDE, step_x * steps : step_x * steps + SHORT_SIDE]
        for steps in (0, 2, 1)
        for frame in frames
    ]


def _normalize_and_format(frames: Frames, num_clips: int, stages: Stages | None) -> ClipsNCTHW:
    with _timed(stages, "Normalize"):
        floats_MHWC = np.empty((len(frames), *frames[0].shape), dtype=np.float32)
        for position, frame in enumerate(frames):
            floats_MHWC[position] = frame
        for image in floats_MHWC:
            cv2.subtract(image, MEAN.reshape(1, -1).astype(np.float64), image)
            cv2.multiply(image, 1 / STD.reshape(1, -1).astype(np.float64), image)
    with _timed(stages, "FormatShape"):
        clips = floats_MHWC.reshape((-1, num_clips, CLIP_LEN, *floats_MHWC.shape[1:])).transpose(0, 1, 5, 2, 3, 4)
        return clips.reshape((-1, *clips.shape[2:]))


@cache
def _decord() -> Any:
    return importlib.import_module("decord")


@cache
def _turbojpeg() -> tuple[Any, int]:
    """PyTurboJPEG's decoder and its number for RGB.

    Two packages own a module `turbojpeg`: PyTurboJPEG, which is wanted, and "turbojpeg", which brings the library.
    """
    spec = importlib.util.spec_from_file_location("pyturbojpeg", _installed_file("PyTurboJPEG", "turbojpeg.py"))
    if spec is None or spec.loader is None:
        raise ImportError("PyTurboJPEG cannot be loaded")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TurboJPEG(str(_installed_file("turbojpeg", "libturbojpeg*.so*"))), int(module.TJPF_RGB)


def _installed_file(distribution: str, pattern: str) -> Path:
    for file in metadata.files(distribution) or ():
        if fnmatch(file.name, pattern):
            return Path(str(file.locate()))
    raise ImportError(f"{distribution} has no {pattern}: pip install -r benchmarks/requirements.txt")
