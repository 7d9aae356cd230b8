"""Which frames: pure functions of numbers. None of them opens a video.

Letters in names: V views (clips), T frames of a view.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from i3d.recipes.settings import ClipProtocol

Indices = npt.NDArray[np.int64]


def slot_at(seconds: Fraction, *, fps: Fraction) -> int:
    """The slot of a constant-rate video in which a frame shown at `seconds` begins: round(seconds * fps).

    A frame fills the slots from its own to the next frame's, so slot k shows what was on the screen in its
    middle, and time stamps rounded to milliseconds neither drop nor repeat a frame. FFmpeg's `fps` filter
    rounds the same way.

        30 -> 25 fps:  frames at 0, 1/30, 2/30, 3/30, 4/30 s begin slots 0, 1, 2, 3, 3: frame 3 is dropped
    """
    return int((seconds * fps + Fraction(1, 2)) // 1)


def indices_at_rate(seconds_T: list[Fraction], *, end_seconds: Fraction, fps: Fraction) -> Indices:
    """Resample frames shown at `seconds_T` (increasing, first 0) to `fps`; the last is shown until `end_seconds`.

    A frame may be dropped or repeated; a video always gives at least one.

        frames at 0, 0.1, 1.0, 1.033 s, end 2 s, 2 fps -> 1 1 3 3: what is shown at 0.25, 0.75, 1.25, 1.75 s
    """
    if not seconds_T or any(b <= a for a, b in zip(seconds_T, [*seconds_T[1:], end_seconds], strict=True)):
        raise ValueError(
            f"time stamps must be non-empty, increasing and before the end, got {seconds_T}, {end_seconds}"
        )
    slots = [slot_at(t, fps=fps) for t in [*seconds_T, end_seconds]]
    repeats = np.diff(slots)
    if not repeats.any():
        repeats[0] = 1
    return np.repeat(np.arange(len(seconds_T), dtype=np.int64), repeats)


def windows(num_frames: int, *, max_frames: int) -> list[tuple[int, int]]:
    """Cut 0..num_frames into consecutive (start, stop) of at most `max_frames`, the last two of equal length.

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


def loop(num_frames: int, *, length: int) -> Indices:
    """`length` indices that run through 0..num_frames again and again: 3 frames, length 8 -> 0 1 2 0 1 2 0 1."""
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
    return np.arange(length, dtype=np.int64) % num_frames


def sliding_windows(num_frames: int, *, clip_len: int, stride: int) -> Indices:
    """Every run of `clip_len` frames at multiples of `stride` that fits: int64 (V, T). A shorter video is looped.

    10 frames, clip_len 4, stride 3 -> starts 0 3 6
    """
    _check(num_frames=num_frames, clip_len=clip_len, stride=stride)
    starts = np.arange(0, max(num_frames - clip_len, 0) + 1, stride)
    return _clips(starts, clip_len=clip_len, frame_interval=1, num_frames=num_frames)


def uniform_clips(
    num_frames: int,
    *,
    clip_len: int,
    frame_interval: int,
    num_clips: int,
    placement: Literal["centred", "end_to_end"],
) -> Indices:
    """`num_clips` clips spread evenly over a video, as at test time: int64 (V, T), out-of-range frames looped.

    "centred" puts each clip in the middle of its segment (MMAction2 0.x `SampleFrames`); "end_to_end" puts the
    first at the start and the last at the end (MMAction2 1.x, SlowFast).

        300 frames, 2 clips of 32 x 2 -> centred starts 59, 177; end_to_end starts 0, 237
    """
    _check(num_frames=num_frames, clip_len=clip_len, frame_interval=frame_interval, num_clips=num_clips)
    if placement == "centred":
        span = clip_len * frame_interval
        step = (num_frames - span + 1) / num_clips
        starts = np.arange(num_clips) * step + step / 2 if num_frames >= span else np.zeros(num_clips)
    elif placement == "end_to_end":
        span = (clip_len - 1) * frame_interval + 1
        room = max(num_frames - span, 0)
        starts = np.round(np.arange(num_clips) * (room / (num_clips - 1))) if num_clips > 1 else np.array([room // 2])
    else:
        raise ValueError(f"placement must be 'centred' or 'end_to_end', got {placement!r}")
    return _clips(starts.astype(np.int64), clip_len=clip_len, frame_interval=frame_interval, num_frames=num_frames)


def dense_clips(
    num_frames: int,
    *,
    clip_len: int,
    frame_interval: int,
    num_clips: int,
    sample_range: int = 64,
    num_positions: int = 10,
) -> Indices:
    """Dense test sampling (MMAction2 `DenseSampleFrames`): int64 (num_positions * num_clips, T), looped.

    At each of `num_positions` places spread over the video, `num_clips` clips share `sample_range` frames.

        300 frames, 1 clip of 32 x 2 -> starts 0 26 52 78 104 131 157 183 209 236
    """
    _check(num_frames=num_frames, clip_len=clip_len, frame_interval=frame_interval, num_clips=num_clips)
    _check(sample_range=sample_range, num_positions=num_positions)
    last = max(num_frames - sample_range, 0)
    positions = np.linspace(0, last, num=num_positions, dtype=np.int64)
    offsets = np.arange(num_clips) * (sample_range // num_clips)
    starts = (positions[:, None] + offsets).reshape(-1) % num_frames
    return _clips(starts, clip_len=clip_len, frame_interval=frame_interval, num_frames=num_frames)


def protocol_clips(num_frames: int, protocol: ClipProtocol) -> Indices:
    """The clips that a protocol scores: int64 (V, T), before cropping."""
    p = protocol
    if p.placement == "dense":
        return dense_clips(num_frames, clip_len=p.clip_len, frame_interval=p.frame_interval, num_clips=p.num_clips)
    return uniform_clips(
        num_frames,
        clip_len=p.clip_len,
        frame_interval=p.frame_interval,
        num_clips=p.num_clips,
        placement=p.placement,
    )


def _clips(starts_V: Indices, *, clip_len: int, frame_interval: int, num_frames: int) -> Indices:
    return (starts_V[:, None] + np.arange(clip_len, dtype=np.int64) * frame_interval) % num_frames


def _check(**at_least_one: int) -> None:
    for name, value in at_least_one.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
