"""Videos that the tests render: each frame carries its number in its pixels, so that a mistaken frame shows."""

import os
import struct
from fractions import Fraction

import av
import numpy as np

X265_ATTEMPTS = 3  # it crashes now and then
BITS = 8


def numbered_frame(number, *, height=48, width=64):
    """A moving texture; `BITS` blocks across the upper half, white for 1 and black for 0, encode the number."""
    y, x = np.mgrid[0:height, 0:width]
    texture = (96 + 40 * np.sin((x + 2 * number) / 7) + 30 * np.cos((y + number) / 5)).astype(np.uint8)
    frame = np.stack([texture, texture // 2 + 60, 200 - texture], axis=-1)
    block = width // BITS
    for bit in range(BITS):
        frame[: height // 2, bit * block : (bit + 1) * block] = 235 if number >> bit & 1 else 20
    return frame


def read_number(frame_HWC):
    """The number that `numbered_frame` wrote."""
    height, width = frame_HWC.shape[:2]
    block = width // BITS
    upper = frame_HWC[: height // 2].mean(axis=(0, 2))
    return sum(
        int(upper[bit * block + block // 4 : (bit + 1) * block - block // 4].mean() > 128) << bit for bit in range(BITS)
    )


def render(path, *, num_frames=40, codec="libx264", fps=25, options=None, pix_fmt=None, height=48, width=64, **more):
    """Encode numbered frames; `stamps` (in 1/1000 s) makes the frame rate variable, `container` are muxer options."""
    frames = [numbered_frame(i, height=height, width=width) for i in range(num_frames)]
    return encode(path, frames, codec=codec, fps=fps, options=options, pix_fmt=pix_fmt, **more)


def render_tinted(path, *, first, num_frames, channel, **more):
    """Encode small numbered frames; the channel of the class is inverted, so that colour gives the class."""
    frames = [numbered_frame(first + k, height=36, width=48) for k in range(num_frames)]
    for frame_HWC in frames:
        frame_HWC[..., channel] = 255 - frame_HWC[..., channel] // 2
    return encode(path, frames, options={"g": "5"}, **more)


def encode(
    path,
    frames,
    *,
    codec="libx264",
    fps=25,
    options=None,
    pix_fmt=None,
    stamps=None,
    container=None,
    colours=None,
    muxer=None,
):
    """Encode frames. x265 corrupts the heap with small frames, now and then: it runs in a child process."""
    options_of = {"fps": fps, "options": options, "pix_fmt": pix_fmt, "stamps": stamps, "container": container}
    options_of |= {"codec": codec, "colours": colours, "muxer": muxer}
    if codec != "libx265" or not hasattr(os, "fork"):
        return _encode(path, frames, **options_of)
    for _ in range(X265_ATTEMPTS):
        code = _encode_in_child(path, frames, options_of)
        if code >= 0:  # not killed by a signal
            break
    if code == 1:
        raise ValueError(f"{path.name} cannot be encoded")
    assert code == 0, f"x265 ended with {code}"
    return path


def _encode_in_child(path, frames, options):
    """The exit code of a process that encodes: 1 for a container that does not take the codec, below 0 for a signal."""
    child = os.fork()
    if child == 0:
        try:
            _encode(path, frames, **options)
            os._exit(0)
        except (av.error.FFmpegError, ValueError):
            os._exit(1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _encode(path, frames, *, codec, fps, options, pix_fmt, stamps, container, colours, muxer):
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=muxer, options=container or {}) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height = width, height
        stream.pix_fmt = pix_fmt or stream.codec_context.codec.video_formats[0].name
        stream.options = options or {}
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if colours is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colours
        for i, frame_HWC in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            if colours is not None:
                space, span = colours
                frame = frame.reformat(format=stream.pix_fmt, dst_colorspace=space, dst_color_range=span)
            if stamps is not None:
                frame.pts, frame.time_base = stamps[i], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    # SVT-AV1, where it may, makes the thread that calls it a real-time one, for good, and with it all processes that
    # this one starts: they took the processor from everything else, and two of gloo's that waited did so for ever.
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def set_display_matrix(path, matrix):
    """Write a display matrix (a, b, c, d as whole numbers) into the video track header of an mp4."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd")
    version = content[at + 4]
    place = at + 4 + (52 if version else 40)  # ISO 14496-12 8.3.2: the matrix follows volume and a reserved field
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", content, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(content))
    return path
