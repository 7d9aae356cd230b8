"""Classify frames that your own code made: here a moving square, 2 s at 25 fps."""

import numpy as np

import i3d

frames_THWC = np.zeros((50, 224, 224, 3), np.uint8)  # RGB
for t, frame_HWC in enumerate(frames_THWC):
    frame_HWC[80:140, 2 * t : 2 * t + 60] = 255

predictor = i3d.Predictor(compute=i3d.ComputeConfig(device="cpu"))  # loaded once, for any number of videos
print(predictor(frames_THWC, frames_fps=25).top1)
