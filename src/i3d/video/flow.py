"""Optical flow: the displacement of every pixel from one frame to the next, in pixels, and as bytes.

As computed by Carreira & Zisserman (2017): TV-L1 on grey frames at a short side of 256, clipped to +-20 pixels.
Letters in names: H rows, W columns, 2 the displacement along x and y.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any, Final, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from i3d.errors import counted
from i3d.recipes.settings import FlowMethod
from i3d.utils.arguments import checks_types
from i3d.utils.cores import num_threads
from i3d.video.base import FrameHWC

METHODS: Final[tuple[FlowMethod, ...]] = get_args(FlowMethod)
Align = Literal["between", "frames"]
SLOWER_THAN_DIS: Final = 75  # TV-L1, by `benchmarks/flow.py`
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
    frames: Iterable[FrameHWC],
    *,
    method: FlowMethod = "tvl1",
    align: Align = "between",
    threads: int | None = None,
) -> Iterator[Flow]:
    """Yield the flow from each frame to the next, several pairs at once (`flows_of_pairs`).

    "between": N frames give N - 1 flows; "frames": N flows, the first of them twice; a single frame gives zero flow.
    """
    frames = iter(frames)
    first_HWC = next(frames, None)
    if first_HWC is None:
        return
    number = 0
    pairs = pairwise(chain([first_HWC], frames))
    for number, flow_HW2 in enumerate(flows_of_pairs(pairs, method=method, threads=threads), start=1):
        yield from [flow_HW2] * (2 if number == 1 and align == "frames" else 1)
    if number == 0 and align == "frames":
        yield np.zeros((*first_HWC.shape[:2], 2), np.float32)


def flows_of_pairs(
    pairs: Iterable[tuple[FrameHWC, FrameHWC]], *, method: FlowMethod, threads: int | None = None
) -> Iterator[Flow]:
    """Yield the flow between the frames of each pair, in order.

    `threads` pairs are computed at once (None: as many as there are cores, 1 in a worker process), as OpenCV leaves
    Python to other threads meanwhile. Each pair is computed alone: any number of threads gives the same flow.
    """
    threads = threads or num_threads()
    if threads == 1:
        yield from (flow_between(before_HWC, after_HWC, method=method) for before_HWC, after_HWC in pairs)
        return
    waiting: deque[Future[Flow]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="flow")
    try:
        for before_HWC, after_HWC in pairs:
            waiting.append(pool.submit(flow_between, before_HWC, after_HWC, method=method))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def describe_cost(method: FlowMethod, *, short_side: int | None = 256, fps: float | None = 25) -> str:
    """How flow is computed and how long it takes, measured on one pair of frames of this size, in words.

    Flow by TV-L1, about 0.6 s a frame of 340 x 256 here (7.5 s for 1 s of video on 2 threads); dis takes 1/75 of it.
    """
    height = short_side or 256
    width = height * 4 // 3
    seconds = min(_seconds(method, height, width) for _ in range(1 if method == "tvl1" else 2))
    rate, threads = fps or 25, num_threads()
    a_second = f"{rate * seconds / threads:.2g} s for 1 s of video"
    text = f"optical flow by {method}: about {seconds:.2g} s a frame of {width} x {height} here"
    if short_side is None:
        text += ", more for larger frames"
    text += f" ({a_second}, {counted(threads, 'thread')})"
    return f"{text}; --flow-method dis takes 1/{SLOWER_THAN_DIS} of it" if method == "tvl1" else text


def _seconds(method: FlowMethod, height: int, width: int) -> float:
    """The time of one pair of frames: a smooth texture that moves."""
    noise_HW = np.random.default_rng(0).integers(0, 255, (height // 8 + 2, width // 8 + 2), np.uint8)
    texture_HW = cv2.resize(noise_HW, (width + 8, height + 8), interpolation=cv2.INTER_CUBIC)
    texture_HWC: FrameHWC = np.repeat(texture_HW[..., None], 3, axis=2).astype(np.uint8)
    start = time.perf_counter()
    flow_between(texture_HWC[4:-4, 4:-4].copy(), texture_HWC[2:-6, 1:-7].copy(), method=method)
    return time.perf_counter() - start


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
