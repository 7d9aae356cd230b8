"""Time of the flow between two frames of 340 x 256 by each method, on one core, and by several threads.

python benchmarks/flow.py
"""

import argparse
import time

import cv2
import numpy as np

from i3d.utils.cores import num_threads
from i3d.video.flow import METHODS, consecutive_flows, flow_between

MOTIONS = ((1.3, -0.7), (3.5, 2.2), (2.0, -4.0))  # pixels
ROUNDS = 3


def texture(dx: float, dy: float) -> np.ndarray:
    """A smooth texture of 340 x 256 that has moved, as RGB."""
    rng = np.random.default_rng(0)
    large = cv2.GaussianBlur(rng.random((336, 420)).astype(np.float32), (0, 0), 2.5)
    large = 255 * (large - large.min()) / (large.max() - large.min())
    moved = cv2.warpAffine(large, np.float32([[1, 0, dx - 40], [0, 1, dy - 40]]), (340, 256), flags=cv2.INTER_CUBIC)
    return np.repeat(np.rint(moved).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cv2.setNumThreads(1)
    pairs = [(texture(0, 0), texture(*motion)) for motion in MOTIONS]
    milliseconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in range(ROUNDS):
        for method, measured in milliseconds.items():
            for before, after in pairs:
                start = time.perf_counter()
                flow_between(before, after, method=method)
                measured.append(1000 * (time.perf_counter() - start))
    for method, measured in milliseconds.items():
        print(f"{method:<10} {np.median(measured):7.1f} ms, {min(measured):.1f} to {max(measured):.1f}")
    frames = [texture(1.5 * number, -0.5 * number) for number in range(25)]
    for threads in sorted({1, 2, num_threads()}):
        seconds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            num_flows = sum(1 for _ in consecutive_flows(frames, method="dis", threads=threads))
            seconds.append(time.perf_counter() - start)
        print(f"dis, {threads} at once: {num_flows / min(seconds):.0f} flows a second")


if __name__ == "__main__":
    main()
