"""Long videos that are cheap to render: each frame is encoded once, and its packet written many times."""

from fractions import Fraction

import av
import numpy as np

TICK = Fraction(1, 60_000)  # in which 1/25 s, 1001/30000 s and milliseconds are whole
KINDS = 4  # different frames of a colour


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
