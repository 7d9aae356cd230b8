"""Optical flow: the displacement of every pixel from one frame to the next, in pixels, and as bytes.

As computed by Carreira & Zisserman (2017): TV-L1 on grey frames at a short side of 256, clipped to +-20 pixels.
Letters in names: H rows, W columns, 2 the displacement along x and y.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from i3d.recipes.settings import FlowMethod
from i3d.utils.arguments import checks_types
from i3d.video.base import FrameHWC

METHODS: Final[tuple[FlowMethod, ...]] = get_args(FlowMethod)
Align = Literal["between", "frames"]
BOUND: Final = 20.0  # pixels; larger displacements are clipped
Flow = npt.NDArray[np.float32]


@checks_types
def flow_between(before_HWC: FrameHWC, after_HWC: FrameHWC, *, method: FlowMethod = "tvl1") -> Flow:
    """(H, W, 2) float32: the displacement of each pixel from one RGB frame to the next, in pixels right and down.

    "tvl1": Zach et al. 2007 (OpenCV, default settings); "dis": Kroeger et al. 2016, preset medium, much faster;
    "farneback": Farneback 2003. Frames of different sizes and other methods are a ValueError.
    """
    if before_HWC.shape != after_HWC.shape:
        raise ValueError(f"flow is between frames of one size, got {before_HWC.shape} and {after_HWC.shape}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if np.array_equal(before_HWC, after_HWC):  # Farneback would give small values at the borders
        return np.zeros((*before_HWC.shape[:2], 2), np.float32)
    before_HW, after_HW = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before_HWC, after_HWC))
    if method == "farneback":
        flow: Any = cv2.calcOpticalFlowFarneback(before_HW, after_HW, np.empty(0), 0.5, 3, 15, 3, 5, 1.2, 0)
    else:
        flow = _algorithm(method).calc(before_HW, after_HW, None)
    return np.asarray(flow, np.float32)


def consecutive_flows(
    frames: Iterable[FrameHWC], *, method: FlowMethod = "tvl1", align: Align = "between"
) -> Iterator[Flow]:
    """Yield the flow from each frame to the next.

    "between": N frames give N - 1 flows; "frames": N flows, the first of them twice; a single frame gives zero flow.
    """
    before_HWC, number = None, 0
    for number, after_HWC in enumerate(frames, start=1):
        if before_HWC is not None:
            flow_HW2 = flow_between(before_HWC, after_HWC, method=method)
            yield from [flow_HW2] * (2 if number == 2 and align == "frames" else 1)
        before_HWC = after_HWC
    if number == 1 and align == "frames" and before_HWC is not None:
        yield np.zeros((*before_HWC.shape[:2], 2), np.float32)


def flow_to_bytes(flow_HW2: Flow, *, bound: float = BOUND) -> FrameHWC:
    """-bound..bound pixels as 0..255 (MMAction2's and denseflow's rule): 0 is 127.5, rounded to 128."""
    levels = (np.clip(flow_HW2, -bound, bound) + bound) * (255 / (2 * bound))
    bytes_HW2: FrameHWC = np.rint(levels).astype(np.uint8)
    return bytes_HW2


def bytes_to_flow(bytes_HW2: FrameHWC, *, bound: float = BOUND) -> Flow:
    """The inverse of `flow_to_bytes`, to half a step of 2 * bound / 255 pixels."""
    return (bytes_HW2.astype(np.float32) - 127.5) * np.float32(bound / 127.5)


def flow_to_rgb(flow_HW2: Flow, *, bound: float | None = None) -> FrameHWC:
    """Flow as RGB (H, W, 3): hue is the direction, saturation the speed, white is no movement.

    `bound`: the speed, in pixels, of full saturation; None: the maximum of this flow, at least 1.
    """
    speed_HW = np.linalg.norm(flow_HW2, axis=-1)
    full = max(float(speed_HW.max()), 1.0) if bound is None else bound
    hue_HW = np.degrees(np.arctan2(flow_HW2[..., 1], flow_HW2[..., 0])) % 360
    strength_HW = np.clip(speed_HW / full, 0, 1)
    hsv_HWC = np.stack([hue_HW, strength_HW, np.ones_like(hue_HW)], axis=-1).astype(np.float32)
    colours_HWC: FrameHWC = np.rint(255 * cv2.cvtColor(hsv_HWC, cv2.COLOR_HSV2RGB)).astype(np.uint8)
    return colours_HWC


def _algorithm(method: FlowMethod) -> Any:
    """A new algorithm object for each pair: a used one gives other numbers (DIS with several threads)."""
    if method == "dis":
        return cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    return cv2.optflow.DualTVL1OpticalFlow.create()
