"""The frames that `Video.stream` must give at a frame rate; compared with FFmpeg's `fps` filter."""

import numpy as np

from i3d.video.sampling import slot_at


def indices_at_rate(seconds_T, *, end_seconds, fps):
    """Indices that resample frames at `seconds_T` (increasing, first 0) to `fps`; the last ends at `end_seconds`.

    Frames may be dropped or repeated; at least one index is returned.

        frames at 0, 0.1, 1.0, 1.033 s, end 2 s, 2 fps -> 1 1 3 3: displayed at 0.25, 0.75, 1.25, 1.75 s
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
