"""Frame sampling: pure functions of numbers; none opens a video.

Letters in names: V views (clips), T frames of a view.
"""

import zlib
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from i3d.recipes.augmentation import TrainSampling
from i3d.recipes.settings import ClipProtocol
from i3d.utils.arguments import checks_types

Indices = npt.NDArray[np.int64]
OutOfBound = Literal["loop", "repeat_last"]
NUM_POSITIONS: Final = 10  # of dense clips in testing
SHORT_DRAW: Final = 8  # frames that the MindSpore port draws at a time from a video shorter than a clip


def slot_at(seconds: Fraction, *, fps: Fraction) -> int:
    """The slot of a constant-rate video in which a frame with the time `seconds` begins: round(seconds * fps).

    A frame fills the slots from its own to that of the next frame. Slot k thus has the frame displayed at its middle,
    and time stamps rounded to milliseconds neither drop nor repeat a frame. FFmpeg's `fps` filter rounds the same way.

        30 -> 25 fps:  frames at 0, 1/30, 2/30, 3/30, 4/30 s begin slots 0, 1, 2, 3, 3: frame 3 is dropped
    """
    return int((seconds * fps + Fraction(1, 2)) // 1)


def windows(num_frames: int, *, max_frames: int) -> list[tuple[int, int]]:
    """Split 0..num_frames into consecutive (start, stop) of at most `max_frames`; the last two have equal length.

    No window is shorter than half of `max_frames` unless the video is.

        600 frames, at most 250 -> (0, 250) (250, 425) (425, 600)
    """
    if num_frames < 1 or max_frames < 1:
        raise ValueError(f"num_frames and max_frames must be at least 1, got {num_frames} and {max_frames}")
    cuts = [0]
    while num_frames - cuts[-1] >= 2 * max_frames:
        cuts.append(cuts[-1] + max_frames)
    rest = num_frames - cuts[-1]
    if rest > max_frames:
        cuts.append(cuts[-1] + (rest + 1) // 2)
    return list(zip(cuts, [*cuts[1:], num_frames], strict=True))


def looped_indices(num_frames: int, *, length: int) -> Indices:
    """`length` indices that cycle through 0..num_frames: 3 frames, length 8 -> 0 1 2 0 1 2 0 1."""
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
    return np.arange(length, dtype=np.int64) % num_frames


@checks_types
def uniform_clips(
    num_frames: int,
    *,
    clip_len: int,
    frame_interval: int,
    num_clips: int,
    placement: Literal["centred", "end_to_end"],
    rate: float | None = None,
    twice: bool = False,
    out_of_bound: OutOfBound = "loop",
) -> Indices:
    """`num_clips` clips spread evenly over a video, as at test time: int64 (V, T).

    "centred" puts each clip in the middle of its segment (MMAction2 0.x `SampleFrames`); "end_to_end" puts the
    first at the start and the last at the end (MMAction2 1.x, SlowFast). `twice` (centred) adds the clips that begin
    where the segments do. `rate` = fps of the video / target fps stretches the clips.

        300 frames, 2 clips of 32 x 2 -> centred starts 59, 177; end_to_end starts 0, 237
    """
    _check(num_frames=num_frames, clip_len=clip_len, frame_interval=frame_interval, num_clips=num_clips)
    if placement == "centred":
        span = _span(clip_len, frame_interval, rate)
        step = (num_frames - span + 1) / num_clips
        fits = num_frames > span - 1
        starts = np.arange(num_clips) * step + step / 2 if fits else np.zeros(num_clips)
        if twice and fits:
            starts = np.concatenate([starts, np.arange(num_clips) * step])
    elif placement == "end_to_end" and not twice:
        span = (clip_len - 1) * frame_interval + 1 if rate is None else _span(clip_len, frame_interval, rate)
        room = max(num_frames - span, 0)
        between = room / max(num_clips - 1, 1)
        between = between if rate is None else np.floor(between)
        starts = np.round(np.arange(num_clips) * between) if num_clips > 1 else np.array([room // 2])
    else:
        raise ValueError(f"placement must be 'centred', or 'end_to_end' not sampled twice, got {placement!r}, {twice=}")
    offsets_T = _offsets(clip_len, frame_interval, rate)
    return clips_at(starts.astype(np.int64), offsets_T, num_frames=num_frames, out_of_bound=out_of_bound)


def dense_clips(
    num_frames: int,
    *,
    clip_len: int,
    frame_interval: int,
    num_clips: int,
    sample_range: int = 64,
    rng: np.random.Generator | None = None,
    out_of_bound: OutOfBound = "loop",
) -> Indices:
    """Dense sampling (MMAction2 `DenseSampleFrames`): int64 (num_positions * num_clips, T).

    At each position, `num_clips` clips share `sample_range` frames. Ten positions are spread over the video, as at test
    time; with `rng` one is drawn, as in training.

        300 frames, 1 clip of 32 x 2 -> starts 0 26 52 78 104 131 157 183 209 236; with `rng` one from 0..235
    """
    _check(num_frames=num_frames, clip_len=clip_len, frame_interval=frame_interval, num_clips=num_clips)
    room = max(num_frames - sample_range, 0)
    if rng is None:
        positions = np.linspace(0, room, num=NUM_POSITIONS, dtype=np.int64)
    else:
        positions = np.array([rng.integers(room) if room else 0])
    offsets = np.arange(num_clips) * (sample_range // num_clips)
    starts = (positions[:, None] + offsets).reshape(-1) % num_frames
    offsets_T = _offsets(clip_len, frame_interval, None)
    return clips_at(starts, offsets_T, num_frames=num_frames, out_of_bound=out_of_bound)


@checks_types
def random_clips(
    num_frames: int,
    *,
    clip_len: int,
    frame_interval: int,
    num_clips: int,
    rng: np.random.Generator,
    rate: float | None = None,
    jitter: bool = False,
    out_of_bound: OutOfBound = "loop",
) -> Indices:
    """One clip at a random place of each of `num_clips` equal segments, as in training: int64 (V, T).

    Where the segments leave no choice, the starts are drawn from all that fit, in order (MMAction2 `SampleFrames`).
    `jitter` moves each frame on by less than `frame_interval`; `rate` as in `uniform_clips`.

        300 frames, 3 clips of 16 x 2 -> starts drawn from 0..88, 89..177, 178..266
    """
    _check(num_frames=num_frames, clip_len=clip_len, frame_interval=frame_interval, num_clips=num_clips)
    span = _span(clip_len, frame_interval, rate)
    room = int(num_frames - span + 1)  # number of starts at which the clip is inside the video
    segment = room // num_clips
    if segment > 0:
        starts = np.arange(num_clips) * segment + rng.integers(segment, size=num_clips)
    elif room > 0 and num_frames > max(num_clips, span):
        starts = np.sort(rng.integers(room, size=num_clips))
    elif room > 0:
        starts = np.around(np.arange(num_clips) * (room / num_clips)).astype(np.int64)
    else:
        starts = np.zeros(num_clips, np.int64)
    offsets_T = _offsets(clip_len, frame_interval, rate)
    moved_VT = rng.integers(frame_interval, size=(num_clips, clip_len)) if jitter else None
    return clips_at(starts, offsets_T, num_frames=num_frames, out_of_bound=out_of_bound, moved_VT=moved_VT)


def scattered_clips(num_frames: int, *, clip_len: int, num_clips: int, rng: np.random.Generator) -> Indices:
    """Frames drawn from the whole video and sorted, as the MindSpore port tests (`seq_mode: discrete`): int64 (V, T).

    No frame is there twice, unless the video is shorter than the clip: then 8 are drawn at a time, or all if there are
    fewer, until the clip is full.
    """
    _check(num_frames=num_frames, clip_len=clip_len, num_clips=num_clips)
    size = clip_len if num_frames >= clip_len else min(SHORT_DRAW, num_frames)
    num_draws = -(-clip_len // size)
    clips = [
        np.sort(np.concatenate([rng.choice(num_frames, size, replace=False) for _ in range(num_draws)])[:clip_len])
        for _ in range(num_clips)
    ]
    return np.stack(clips).astype(np.int64)


def clips_at(
    starts_V: Indices,
    offsets_T: Indices,
    *,
    num_frames: int,
    out_of_bound: OutOfBound = "loop",
    moved_VT: Indices | None = None,
) -> Indices:
    """The frames of clips that begin at `starts_V`: int64 (V, T), with indices past the end replaced.

    "loop" continues at the first frame of the video, "repeat_last" repeats the last valid index of the clip.

        6 frames, start 0, offsets 0 2 4 6 8 -> loop 0 2 4 0 2; repeat_last 0 2 4 4 4
    """
    indices_VT = starts_V[:, None] + offsets_T
    if moved_VT is not None:
        indices_VT = indices_VT + moved_VT
    if out_of_bound == "loop":
        return indices_VT % num_frames
    if out_of_bound == "repeat_last":
        inside_VT = indices_VT < num_frames
        last_V = np.where(inside_VT, indices_VT, 0).max(axis=1)
        return np.where(inside_VT, indices_VT, last_V[:, None])
    raise ValueError(f"out_of_bound must be 'loop' or 'repeat_last', got {out_of_bound!r}")


def protocol_clips(
    num_frames: int, protocol: ClipProtocol, *, fps: float | None = None, seed: int = 0, name: str = ""
) -> Indices:
    """The clips of a test protocol: int64 (V, T), before cropping. `fps` is that of the video, if known.

    Scattered frames are a function of `seed` and of the file name in `name`, wherever that lies.
    """
    p, options = protocol, _common_options(protocol)
    if p.placement == "scattered":
        key = zlib.crc32(PurePath(name).name.encode("utf-8", "surrogatepass"))
        rng = np.random.default_rng((seed, key))
        return scattered_clips(num_frames, clip_len=p.clip_len, num_clips=p.num_clips, rng=rng)
    if p.placement == "dense":
        return dense_clips(num_frames, sample_range=p.sample_range, **options)
    rate = fps_ratio(fps, p.target_fps)
    return uniform_clips(num_frames, placement=p.placement, rate=rate, twice=p.twice, **options)


def training_clips(
    num_frames: int, sampling: TrainSampling, *, rng: np.random.Generator, fps: float | None = None
) -> Indices:
    """The clips of one random training sample: int64 (V, T). `fps` is that of the video, if known."""
    s, options = sampling, _common_options(sampling)
    if s.placement == "dense":
        return dense_clips(num_frames, sample_range=s.sample_range, rng=rng, **options)
    rate = fps_ratio(fps, s.target_fps)
    return random_clips(num_frames, rate=rate, jitter=s.temporal_jitter, rng=rng, **options)


def _common_options(settings: ClipProtocol | TrainSampling) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in ("clip_len", "frame_interval", "num_clips", "out_of_bound")}


def fps_ratio(fps: float | None, target_fps: float | None) -> float | None:
    """fps / target_fps, the stretch of a clip; 1 if `fps` is unknown; None without a target."""
    return None if target_fps is None else (fps or target_fps) / target_fps


def _span(clip_len: int, frame_interval: int, rate: float | None) -> float:
    """Number of video frames that a clip spans, including its last interval."""
    span = clip_len * frame_interval
    return span if rate is None else max(1.0, span * rate)


def _offsets(clip_len: int, frame_interval: int, rate: float | None) -> Indices:
    """Offsets of the frames of a clip: multiples of the interval, or spread over the stretched span (SlowFast)."""
    if rate is None:
        return np.arange(clip_len, dtype=np.int64) * frame_interval
    return np.linspace(0, _span(clip_len, frame_interval, rate) - 1, clip_len).astype(np.int64)


def _check(**at_least_one: int) -> None:
    for name, value in at_least_one.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
