"""Print the actions in a video by an exported network, without PyTorch: onnxruntime, NumPy, PyAV and OpenCV.

i3d export inception_rgb_kinetics400 i3d.onnx --input uint8 --dynamic-frames
python onnx_predict.py i3d.onnx clip.mp4

It scores a network of windows of RGB frames as `i3d predict` does; the metadata of the file has all settings.
"""

import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import onnxruntime


def frames_at(path: str, fps: Fraction) -> Iterator[np.ndarray]:
    """The frames at a rate: each fills the slots from its own time to that of the next."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        filled, start, pixels, first = 0, Fraction(0), None, None
        for frame in container.decode(stream):
            first = frame.pts if first is None else first
            start = (frame.pts - first) * stream.time_base
            while pixels is not None and filled < int(start * fps + Fraction(1, 2)):
                yield pixels
                filled += 1
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
        end = start + (frame.duration or 0) * stream.time_base
        yield from [pixels] * max(int(end * fps + Fraction(1, 2)) - filled, filled == 0)


def preprocess(pixels: np.ndarray, short_side: int, crop: int) -> np.ndarray:
    """Resize the short side and crop the centre."""
    height, width = pixels.shape[:2]
    scale = short_side / min(height, width)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    resized = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_LINEAR)
    top, left = (resized.shape[0] - crop) // 2, (resized.shape[1] - crop) // 2
    return resized[top : top + crop, left : left + crop]


def windows(num_frames: int, longest: int) -> Iterator[slice]:
    """Consecutive windows; the last two are of equal length."""
    first = 0
    while (rest := num_frames - first) > 0:
        length = longest if rest >= 2 * longest else (rest + 1) // 2 if rest > longest else rest
        yield slice(first, first + length)
        first += length


def main(model: str, video: str, top_k: int = 5) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    record: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map["i3d"])
    takes, card = record["input"], record["card"]
    protocol, pre = card["recipe"]["protocol"], card["recipe"]["preprocessing"]
    if "max_window_frames" not in protocol or takes["dtype"] != "uint8" or takes["frames"] or pre["steps"]:
        sys.exit(f"{model}: export a network of windows with --input uint8 --dynamic-frames")
    fps = Fraction(protocol["fps"]).limit_denominator(1_000_000)
    clip = np.stack([preprocess(pixels, pre["short_side"], pre["crop"]) for pixels in frames_at(video, fps)])
    total = np.zeros(len(card["labels"]))
    for window in windows(len(clip), protocol["max_window_frames"]):
        frames = clip[window]
        looped = np.resize(frames, (max(len(frames), takes["min_frames"]), *frames.shape[1:]))  # too short: repeated
        total += len(frames) * session.run(["logits"], {"clips": looped[None]})[0][0].astype(np.float64)
    logits = total / len(clip)
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    for place, label in enumerate(np.argsort(-scores)[:top_k], start=1):
        print(f"{place:3}  {card['labels'][label]:<40} {100 * scores[label]:5.2f} %")


if __name__ == "__main__":
    main(*sys.argv[1:])
