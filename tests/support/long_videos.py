"""Long videos of colours that are cheap to render, and scores of these colours in place of a network's.

Each frame is encoded once, and its packet written many times.
"""

from fractions import Fraction

import av
import numpy as np
import torch

TICK = Fraction(1, 60_000)  # in which 1/25 s, 1001/30000 s and milliseconds are whole
KINDS = 4  # different frames of a colour
GREY = (128, 128, 128)
COLOURS = {
    "walk & jump": (230, 20, 20),
    '日本, "x"': (20, 230, 20),
    "7": (20, 20, 230),
    "run": (230, 230, 20),
    "sit": (20, 230, 230),
}
LABELS = (*COLOURS, *(f"other {number}" for number in range(15)))
PALETTE = np.array([*COLOURS.values(), GREY])


def still_packets(colour, *, height=32, width=32):
    """A few JPEG frames of one colour with a little noise, as bytes."""
    random = np.random.default_rng(sum(colour))
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "yuvj420p", TICK
    packets = []
    for number in range(KINDS):
        noise_HWC = random.integers(-12, 13, (height, width, 3))
        frame_HWC = np.clip(np.array(colour) + noise_HWC, 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24").reformat(format="yuvj420p")
        frame.pts, frame.time_base = number, TICK
        packets += map(bytes, codec.encode(frame))
    return packets


def write_long(path, colours, durations):
    """An mp4 with a frame of each colour (N, RGB), displayed so many seconds (N, fractions)."""
    packets = {colour: still_packets(colour) for colour in set(colours)}
    time = Fraction(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        stream.codec_context.time_base = stream.time_base = TICK
        for number, (colour, duration) in enumerate(zip(colours, durations, strict=True)):
            packet = av.Packet(packets[colour][number % KINDS])
            packet.stream, packet.time_base, packet.is_keyframe = stream, TICK, True
            packet.pts = packet.dts = int(time / TICK)
            packet.duration = int(duration / TICK)
            out.mux(packet)
            time += duration
    return path


def scores_of_colours(_engine, clips_WTHWC, _preprocessing):
    """Logits whose probabilities are the shares of each colour; grey is shared by all labels."""
    means_WT3 = clips_WTHWC[:, :, ::8, ::8].numpy().mean(axis=(2, 3))
    nearest_WT = ((means_WT3[:, :, None] - PALETTE) ** 2).sum(axis=-1).argmin(axis=-1)
    shares_WK = (nearest_WT[..., None] == np.arange(len(LABELS))).mean(axis=1)
    shares_WK[:, len(COLOURS)] = 0  # grey
    rest_W1 = 1 - shares_WK.sum(axis=1, keepdims=True)
    return torch.from_numpy(np.log(shares_WK + rest_W1 / len(LABELS) + 1e-6))
