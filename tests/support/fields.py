"""H.264 whose frames are coded as two fields (PAFF), as no encoder of FFmpeg does: grey frames of 16 x 32 pixels."""

import os
from fractions import Fraction

import av

MACROBLOCK = 16 * 16, 2 * 8 * 8  # samples of luma and of chroma
SPS = (
    (77, 8),
    (0, 8),
    (30, 8),
    0,
    4,
    2,
    1,
    (0, 1),
    0,
    0,
    (0, 1),
    (0, 1),
    (1, 1),
    (0, 1),
    (0, 1),
)
PPS = 0, 0, (0, 1), (0, 1), 0, 0, 0, (0, 1), (0, 2), 0, 0, 0, (1, 1), (0, 1), (0, 1)


def coded_fields(num_frames, *, keyframe_every=8):
    """Yield (top field, bottom field, whether it is a keyframe) of each frame; its grey is 40 + 6 times its number."""
    for i in range(num_frames):
        number = i % keyframe_every
        top, bottom = (_field(number, is_bottom, grey=40 + 6 * i) for is_bottom in (0, 1))
        sets = b"" if number else _unit(0x67, _bits(*SPS)) + _unit(0x68, _bits(*PPS))
        yield sets + top, bottom, number == 0


def write_fields(path, num_frames, *, in_one_packet):
    """Write the fields of each frame into one packet or two."""
    raw = path.with_suffix(".h264")
    frames = list(coded_fields(num_frames))
    raw.write_bytes(b"".join(top + bottom for top, bottom, _ in frames))
    with av.open(os.fspath(raw)) as source, av.open(os.fspath(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for i, (top, bottom, is_key) in enumerate(frames):
            for k, content in enumerate([top + bottom] if in_one_packet else [top, bottom]):
                packet = av.Packet(content)
                packet.stream, packet.time_base = stream, Fraction(1, 50)
                packet.pts = packet.dts = 2 * i + k
                packet.duration, packet.is_keyframe = 2 if in_one_packet else 1, is_key and k == 0
                out.mux(packet)
    return path


def _field(number, is_bottom, *, grey):
    """One slice with one macroblock of raw samples (I_PCM)."""
    is_idr = number == 0 and not is_bottom
    header = [0, 7, 0, (number, 8), (1, 1), (is_bottom, 1), *([0, (0, 2)] if is_idr else [(0, 1)]), 0, 1, 25]
    luma, chroma = MACROBLOCK
    samples = _align(_bits(*header), "0") + f"{grey:08b}" * luma + f"{128:08b}" * chroma
    return _unit(0x65 if is_idr else 0x61, samples)


def _bits(*values):
    """Fields as (value, number of bits), or whole numbers as Exp-Golomb codes; 0 is the same signed and unsigned."""
    codes = [(value + 1, 2 * (value + 1).bit_length() - 1) if isinstance(value, int) else value for value in values]
    return "".join(f"{value:0{num_bits}b}" for value, num_bits in codes)


def _align(bits, filler):
    return bits + filler * (-len(bits) % 8)


def _unit(header, bits):
    bits = _align(bits + "1", "0")
    content = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    for low in (3, 0, 1, 2):  # emulation prevention
        content = content.replace(b"\0\0" + bytes([low]), b"\0\0\3" + bytes([low]))
    return b"\0\0\0\1" + bytes([header]) + content
