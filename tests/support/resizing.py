"""Frames resized all at once, as a reference for the package, which resizes them one by one."""

import numpy as np

from i3d.video.transforms import resize_frame, short_side_size


def resize_short_side(frames_THWC, *, short_side):
    height, width = short_side_size(*frames_THWC.shape[1:3], short_side=short_side)
    return np.stack([resize_frame(frame_HWC, height=height, width=width) for frame_HWC in frames_THWC])
