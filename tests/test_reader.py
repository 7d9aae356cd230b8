"""The reader on rendered videos: the right frames, in the right place, in the right colours."""

import io
import os
import shutil
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from i3d.errors import VideoError
from i3d.video import Limits, open_video
from i3d.video.images import read_image
from support.rates import indices_at_rate
from support.rendering import encode, numbered_frame, read_number, render, set_display_matrix

# Every codec that this FFmpeg encodes and that a user may meet, in a container of its time.
CODECS = [
    ("libx264", "mp4", {"bf": "3", "g": "12", "b-pyramid": "strict"}),
    ("libx264", "mkv", {"bf": "2", "g": "10", "x264-params": "open-gop=1"}),
    ("libx264", "ts", {"bf": "2", "g": "10"}),
    ("libx264", "avi", {"bf": "2", "g": "10"}),
    ("libx264", "flv", {"bf": "2", "g": "10"}),
    ("libx264", "mp4", {"g": "250", "x264-params": "intra-refresh=1:keyint=10"}),
    ("libx265", "mp4", {"x265-params": "keyint=12:bframes=3:log-level=none"}),
    ("libx265", "mkv", {"x265-params": "keyint=12:open-gop=1:log-level=none"}),
    ("libsvtav1", "mp4", {"g": "10", "svtav1-params": "lookahead=0"}),
    ("libsvtav1", "webm", {"g": "10"}),
    ("libvpx", "webm", {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}),
    ("libvpx-vp9", "webm", {"g": "10", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}),
    ("mpeg4", "mp4", {"bf": "2", "g": "12"}),
    ("mpeg4", "avi", {"bf": "2", "g": "12"}),
    ("mpeg2video", "mpg", {"bf": "2", "g": "12"}),
    ("mpeg2video", "ts", {"bf": "2", "g": "12"}),
    ("mpeg1video", "mpg", {"bf": "2", "g": "12"}),
    ("mjpeg", "avi", {}),
    ("mjpeg", "mov", {}),
    ("gif", "gif", {}),
    ("flv", "flv", {"g": "12"}),
    ("h263p", "avi", {"g": "12"}),
    ("msmpeg4", "avi", {"g": "12"}),
    ("wmv2", "wmv", {"g": "12"}),
    ("ffv1", "mkv", {}),
    ("huffyuv", "avi", {}),
    ("prores_ks", "mov", {}),
    ("qtrle", "mov", {}),
    ("png", "mov", {}),
    ("cfhd", "mov", {}),
    ("dnxhd", "mxf", {"b": "36M"}),
    ("libx264", "h264", {"bf": "0", "g": "10"}),
]
NUM_FRAMES = 60


def numbers(frames):
    return [read_number(frame_HWC) for frame_HWC in frames]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "suffix", "options"), CODECS, ids=[f"{c[0]}-{c[1]}-{i}" for i, c in enumerate(CODECS)]
)
def test_frame_by_index_equals_sequential_decoding(tmp_path, codec, suffix, options):
    size = {"height": 1080, "width": 1920} if codec == "dnxhd" else {"height": 96, "width": 112}
    num_frames = 12 if codec == "dnxhd" else NUM_FRAMES
    path = render(tmp_path / f"clip.{suffix}", codec=codec, options=options, num_frames=num_frames, **size)
    with open_video(path) as video:
        sequential = list(video.stream())
        assert numbers(sequential) == list(range(num_frames))
        random = np.random.RandomState(0)
        requests = [[i] for i in random.permutation(num_frames)[:8]]
        requests += [random.randint(0, num_frames, 5) for _ in range(3)] + [[num_frames - 1, 0, num_frames - 1]]
        for indices in requests:
            frames = video.frames_at(indices)
            assert frames.indices_T.tolist() == list(indices)
            for index, frame_HWC in zip(indices, frames.frames_THWC, strict=True):
                assert np.array_equal(frame_HWC, sequential[index])
        assert video.count_frames() == num_frames


@pytest.mark.slow
def test_unusual_streams_are_exact_too(tmp_path):
    """Interlaced, fragmented, begun in mid-GOP (its first frames cannot be decoded), and two streams end to end."""
    size = {"num_frames": 120, "height": 96, "width": 128}
    plain = render(tmp_path / "a.ts", options={"g": "12", "bf": "2"}, **size).read_bytes()
    (tmp_path / "twice.ts").write_bytes(plain + plain)
    (tmp_path / "late.ts").write_bytes(plain[188 * 40 :])
    render(tmp_path / "mbaff.ts", options={"x264-params": "interlaced=1:keyint=12:bframes=3"}, **size)
    render(tmp_path / "fields.ts", codec="mpeg2video", options={"flags": "+ildct+ilme", "g": "12", "bf": "2"}, **size)
    fragmented = {"movflags": "frag_keyframe+empty_moov"}
    render(tmp_path / "fragmented.mp4", options={"g": "12", "bf": "3"}, container=fragmented, **size)
    whole = list(range(120))
    for name, expected in [("twice.ts", whole + whole), ("mbaff.ts", whole), ("fields.ts", whole),
                           ("fragmented.mp4", whole), ("late.ts", None)]:  # fmt: skip
        with open_video(tmp_path / name) as video:
            sequential = list(video.stream())
            assert numbers(sequential) == (expected or whole[120 - len(sequential) :])
            assert video.notes == ()
            for indices in np.random.RandomState(0).randint(0, len(sequential), (8, 3)):
                assert np.array_equal(video.frames_at(indices).frames_THWC, [sequential[i] for i in indices])


def test_seeking_skips_frames_that_are_not_needed(tmp_path):
    path = render(tmp_path / "clip.mp4", options={"g": "10"}, num_frames=200)
    with open_video(path) as video:
        assert read_number(video.frames_at([195]).frames_THWC[0]) == 195
        assert video.num_decoded < 20
        assert numbers(video.frames_at([3, 120, 60]).frames_THWC) == [3, 120, 60]
        assert video.num_decoded < 20
        assert numbers(video.frames_at_seconds([7.8]).frames_THWC) == [195]
        assert video.num_decoded < 20


@pytest.mark.parametrize(("height", "width"), [(47, 63), (1, 64), (3, 1), (2, 640), (480, 8)])
def test_odd_sizes(tmp_path, height, width):
    random = np.random.RandomState(0)
    frames = [random.randint(0, 255, (height, width, 3), np.uint8) for _ in range(5)]
    path = encode(tmp_path / "clip.mov", frames, codec="png", pix_fmt="rgb24")
    with open_video(path) as video:
        assert np.array_equal(video.frames_at(range(5)).frames_THWC, frames)


STAMPS = np.cumsum([0, *np.random.RandomState(1).choice([20, 40, 100, 400, 999], 39)]).tolist()


def test_variable_frame_rate_by_index_time_and_rate(tmp_path):
    path = render(tmp_path / "clip.mkv", stamps=STAMPS, options={"bf": "2", "g": "8"})
    with open_video(path) as video:
        frames = video.frames_at(range(40))
        assert numbers(frames.frames_THWC) == list(range(40))
        assert np.allclose(frames.seconds_T, np.array(STAMPS) / 1000)
        for t in (0.0, 0.021, 1.0, STAMPS[20] / 1000, STAMPS[21] / 1000 - 0.001):
            shown = np.searchsorted(STAMPS, 1000 * t + 1e-3, side="right") - 1
            assert numbers(video.frames_at_seconds([t]).frames_THWC) == [shown]
        expected = [np.searchsorted(STAMPS, 1000 * (k + 0.5) / 10, side="right") - 1 for k in range(STAMPS[-1] // 100)]
        assert numbers(video.stream(fps=10))[: len(expected)] == expected


@pytest.mark.parametrize("fps", [1, 2, 7, 25])
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_equals_the_frames_of_the_sampler(tmp_path, fps, seed):
    stamps = np.cumsum([0, *np.random.RandomState(seed).randint(1, 300, 30)]).tolist()
    with open_video(render(tmp_path / "clip.mkv", stamps=stamps, num_frames=31, codec="ffv1", pix_fmt="bgr0")) as video:
        shown = [(p.seconds, p.until) for p in video.decode_frames()]
        expected = indices_at_rate([s for s, _ in shown], end_seconds=shown[-1][1], fps=Fraction(fps))
        assert numbers(video.stream(fps=fps)) == expected.tolist()


def test_a_video_shorter_than_a_slot_is_one_frame(tmp_path):
    with open_video(render(tmp_path / "clip.mkv", stamps=[0, 5, 10], num_frames=3, fps=100)) as video:
        assert numbers(video.stream(fps=1)) == [0]


def test_times_are_returned_in_the_requested_order(tmp_path):
    with open_video(render(tmp_path / "clip.mp4")) as video:
        frames = video.frames_at_seconds([1.0, 0.0, 0.12, 1.0])
        assert numbers(frames.frames_THWC) == [25, 0, 3, 25]
        assert frames.seconds_T.tolist() == [1.0, 0.0, 0.12, 1.0]
        with pytest.raises(VideoError, match=r"clip.mp4: there is no frame at 1.600 s, it ends at 1.600 s"):
            video.frames_at_seconds([1.6])
        with pytest.raises(VideoError, match="there is no frame 40"):
            video.frames_at([40])
        with pytest.raises(ValueError, match="count from 0"):
            video.frames_at([-1])


def test_a_start_other_than_zero_is_time_zero(tmp_path):
    path = render(tmp_path / "clip.mkv", stamps=[5000 + 40 * i for i in range(40)])
    with open_video(path) as video:
        assert video.frames_at([0, 10]).seconds_T.tolist() == [0.0, 0.4]
        assert numbers(video.stream(fps=25)) == list(range(40))


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((1, 0, 0, 1), lambda f: f),
        ((0, 1, -1, 0), lambda f: np.rot90(f, -1)),
        ((-1, 0, 0, -1), lambda f: np.rot90(f, 2)),
        ((0, -1, 1, 0), lambda f: np.rot90(f, 1)),
        ((-1, 0, 0, 1), lambda f: f[:, ::-1]),
        ((1, 0, 0, -1), lambda f: f[::-1]),
        ((0, 1, 1, 0), lambda f: f.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda f: f[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
def test_display_matrix_is_applied_alike_everywhere(tmp_path, matrix, turn):
    plain = render(tmp_path / "plain.mp4", num_frames=30, options={"g": "5"})
    turned = set_display_matrix(Path(shutil.copy(plain, tmp_path / "turned.mp4")), matrix)
    with open_video(plain) as video:
        expected = [turn(f) for f in video.stream()]
    with open_video(turned) as video:
        assert np.array_equal(list(video.stream()), expected)
        assert np.array_equal(video.frames_at([20, 3]).frames_THWC, [expected[20], expected[3]])
        assert np.array_equal(video.frames_at_seconds([0.4]).frames_THWC[0], expected[10])
    with open_video(turned.read_bytes()) as video:
        assert np.array_equal(next(video.stream()), expected[0])


def test_display_matrix_agrees_with_ffmpegs_angle(tmp_path):
    """FFmpeg calls a clip that must be turned clockwise for display rotated by -90."""
    path = set_display_matrix(render(tmp_path / "clip.mp4", num_frames=2), (0, 1, -1, 0))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation == -90


def test_a_slanted_display_matrix_is_an_error(tmp_path):
    path = set_display_matrix(render(tmp_path / "clip.mp4", num_frames=2), (1, 1, -1, 1))
    with open_video(path) as video, pytest.raises(VideoError, match="no rotation by a multiple of 90 degrees"):
        next(video.stream())


YUV = {601: (0.299, 0.114), 709: (0.2126, 0.0722), 2020: (0.2627, 0.0593)}
SPACES = {601: 6, 709: 1, 2020: 9}


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [601, 709, 2020])
def test_colours_follow_matrix_range_and_depth(tmp_path, bits, full, matrix):
    """Flat Y'CbCr patches, stored losslessly, against the formula of the standard. The swscale path that every tool
    of the field uses truncates: up to 2.5 of 255 with 8 bits, 4 with 10."""
    random, scale = np.random.RandomState(0), 2 ** (bits - 8)
    planes = [np.kron(random.randint(lo * scale, hi * scale, (4, 4)), np.ones((16, 16), int)) for lo, hi in
              [(50, 200), (95, 160), (95, 160)]]  # fmt: skip
    frame = av.VideoFrame(64, 64, "yuv420p" if bits == 8 else "yuv420p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        step = 64 // plane.width
        rows = values[::step, ::step].astype(np.uint8 if bits == 8 else "<u2").view(np.uint8)
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : rows.shape[1]] = rows
        plane.update(padded.tobytes())
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = frame.format.name
        stream.codec_context.colorspace, stream.codec_context.color_range = SPACES[matrix], 2 if full else 1
        frame.colorspace, frame.color_range, frame.pts = SPACES[matrix], 2 if full else 1, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    kr, kb = YUV[matrix]
    y, cb, cr = (p.astype(float) for p in planes)
    if full:
        top = 2.0**bits - 1
        y, cb, cr = y / top, (cb - 128 * scale) / top, (cr - 128 * scale) / top
    else:
        y, cb, cr = (y / scale - 16) / 219, (cb / scale - 128) / 224, (cr / scale - 128) / 224
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    expected = np.clip(255 * np.stack([red, green, blue], -1), 0, 255)
    with open_video(path) as video:
        got = next(video.stream()).astype(float)
    inner = (slice(6, None, 16), slice(6, None, 16))  # away from the patches' edges, where chroma is interpolated
    assert np.abs(got[inner] - expected[inner]).max() <= (2.6 if bits == 8 else 4)


def test_alpha_lies_on_black(tmp_path):
    path = tmp_path / "clip.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "rgba"
        pixels = np.full((16, 16, 4), (200, 100, 50, 255), np.uint8)
        pixels[:8, :, 3], pixels[8:12, :, 3] = 0, 128
        out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        out.mux(stream.encode(None))
    with open_video(path) as video:
        frame = next(video.stream())
    assert frame[0, 0].tolist() == [0, 0, 0]
    assert frame[9, 0].tolist() == [100, 50, 25]
    assert frame[15, 0].tolist() == [200, 100, 50]


def test_grey_and_palette_become_rgb(tmp_path):
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (32, 1, 3))
    for codec, suffix, pix_fmt in [("ffv1", "mkv", "gray"), ("png", "mov", "gray"), ("ffv1", "mkv", "yuv444p")]:
        with open_video(encode(tmp_path / f"c.{suffix}", [ramp] * 3, codec=codec, pix_fmt=pix_fmt)) as video:
            frame = next(video.stream())
        assert frame.shape == (32, 64, 3)
        assert np.abs(frame.astype(int) - ramp).max() <= 3


def test_bytes_give_the_same_frames(tmp_path):
    path = render(tmp_path / "clip.webm", codec="libvpx-vp9")
    with open_video(path) as a, open_video(path.read_bytes()) as b:
        assert np.array_equal(list(a.stream()), list(b.stream()))
        assert b.name == "(bytes)"


def test_the_extension_does_not_matter(tmp_path):
    path = render(tmp_path / "clip.webm", codec="libvpx").rename(tmp_path / "clip.mp4")
    with open_video(path) as video:
        assert numbers(video.stream()) == list(range(40))


def test_the_size_may_change_in_mid_stream(tmp_path):
    """Two H.264 streams of different size, one behind the other: later frames are made to fit the first."""
    small = render(tmp_path / "a.h264", num_frames=5, height=48, width=64)
    large = render(tmp_path / "b.h264", num_frames=5, height=96, width=128)
    both = tmp_path / "c.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with open_video(both) as video:
        frames = list(video.stream())
    assert {f.shape for f in frames} == {(48, 64, 3)}
    assert numbers(frames) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_two_video_streams_the_first_is_read(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for i in range(4):
            for stream, base in zip(streams, (0, 100), strict=True):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(base + i), format="rgb24")))
        for stream in streams:
            out.mux(stream.encode(None))
    with open_video(path) as video:
        assert numbers(video.stream()) == [0, 1, 2, 3]


def test_audio_only_and_cover_images_are_not_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    with pytest.raises(VideoError, match=r"sound.mp4: no video stream \(found: audio\)"):
        open_video(path)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "the file is empty"),
        (b"x", "text, not a video"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"a,b,c\n1,2,3\n" * 50, "text, not a video"),
        (os.urandom(0) + bytes(range(256)) * 20, "not a video in a supported format"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(500), "moov atom"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "an image"),
    ],
)
def test_files_that_are_no_video_are_one_line(tmp_path, content, cause):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(VideoError, match=cause) as error:
            open_video(source)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(str(path) if source is path else "(bytes)")


def test_odd_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = render(tmp_path / "clip.mp4", num_frames=3)
    names = ["12:30 clip.mp4", "http:x.mp4", "-v.mp4", "%03d.mp4", "a b (1)'\".mp4", "é😀.mp4", "e\u0301.mp4",
             "x" * 251 + ".mp4", "concat:clip.mp4", "file:clip.mp4", "a\nb.mp4", os.fsdecode(b"\xff.mp4")]  # fmt: skip
    for name in names:
        shutil.copy(clip, name)
        with open_video(name) as video:
            assert numbers(video.stream()) == [0, 1, 2]
            assert video.name.isprintable()
    for absent in ["gone.mp4", "file://" + str(clip), "concat:clip.mp4|clip.mp4", "subfile,,start,0,end,0,,:clip.mp4"]:
        with pytest.raises(VideoError, match="no such file"):
            open_video(absent)
    with pytest.raises(VideoError, match="cannot be opened"):
        open_video("nul\0.mp4")


def test_links_folders_and_devices(tmp_path):
    clip = render(tmp_path / "clip.mp4", num_frames=3)
    (tmp_path / "link.mp4").symlink_to(clip)
    with open_video(tmp_path / "link.mp4") as video:
        assert video.count_frames() == 3
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, cause in [
        ("loop.mp4", "cannot be opened"),
        ("empty", "no image file"),
        ("pipe.mp4", "not a regular file"),
    ]:
        with pytest.raises(VideoError, match=cause):
            open_video(tmp_path / name)
    with pytest.raises(VideoError, match="not a regular file"):
        open_video("/dev/zero")


@pytest.mark.slow
@pytest.mark.parametrize("num_good", [1, 3, 9, 20])
def test_all_frames_before_the_damage_are_decoded(tmp_path, num_good):
    """The reader sorts the times of five frames in a row: those that wait when decoding fails are not lost."""
    file = render(tmp_path / "v.avi", num_frames=24, codec="mjpeg")
    with av.open(str(file)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(file.read_bytes())
    begin, size = packets[num_good]
    content[begin + 8 : begin + 8 + size] = bytes(size)
    file.write_bytes(bytes(content))
    numbers = []
    with open_video(file) as video, pytest.raises(VideoError, match=f"failed after {num_good} frame"):
        numbers.extend(map(read_number, video.stream()))
    assert numbers == list(range(num_good))


def test_a_truncated_file_fails_or_reports_that_it_is_short(tmp_path):
    """Cut at many places, no container gives fewer frames in silence."""
    for suffix, codec, container in [
        ("mkv", "libx264", {}),
        ("webm", "libvpx-vp9", {}),
        ("mp4", "libx264", {"movflags": "faststart"}),
    ]:
        whole = render(tmp_path / f"clip.{suffix}", codec=codec, num_frames=100, container=container).read_bytes()
        for percent in range(1, 96, 3):
            part = tmp_path / f"part.{suffix}"
            part.write_bytes(whole[: len(whole) * percent // 100])
            try:
                with open_video(part) as video:
                    count = sum(1 for _ in video.stream())
                    assert count == 100 or any("truncated" in n or "damaged" in n for n in video.notes), (
                        suffix,
                        percent,
                        count,
                    )
            except VideoError as error:
                assert str(error).startswith(str(part))


def test_no_frame_at_all_is_an_error(tmp_path):
    whole = render(tmp_path / "clip.webm", codec="libvpx-vp9", num_frames=50).read_bytes()
    part = tmp_path / "part.webm"
    part.write_bytes(whole[: whole.index(b"\x1f\x43\xb6\x75") + 12])  # just into the first cluster
    with pytest.raises(VideoError, match="part.webm: "), open_video(part) as video:
        list(video.stream())


def test_damage_in_the_payload_is_an_error_or_a_note(tmp_path):
    whole = bytearray(render(tmp_path / "clip.mkv", num_frames=60, options={"g": "30"}).read_bytes())
    random = np.random.RandomState(0)
    for at in random.randint(len(whole) // 3, len(whole) - 100, 25):
        whole[at] ^= 0xFF
    (tmp_path / "bad.mkv").write_bytes(bytes(whole))
    try:
        with open_video(tmp_path / "bad.mkv") as video:
            list(video.stream())
            assert video.notes
    except VideoError as error:
        assert "bad.mkv: decoding failed after" in str(error)


def gif_bomb(width, height):
    head = b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + b"\x80\x00\x00" + bytes(6)
    image = b"," + bytes(4) + width.to_bytes(2, "little") + height.to_bytes(2, "little") + b"\x00"
    return head + image + b"\x02\x02\x44\x01\x00;"


def peak_memory_mib():
    return (
        int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])
        >> 10
    )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
def test_frames_of_absurd_size_are_refused_without_allocating_them(tmp_path):
    before = peak_memory_mib()
    path = tmp_path / "bomb.gif"
    path.write_bytes(gif_bomb(16000, 8000))
    for source in (path, path.read_bytes()):
        with pytest.raises(VideoError, match="over 33,177,600 pixels"), open_video(source) as video:
            list(video.stream())
    assert peak_memory_mib() - before < 100


def test_the_pixel_limit_is_a_setting(tmp_path):
    path = render(tmp_path / "clip.mp4", num_frames=3)
    with (
        pytest.raises(VideoError, match="over 1,000 "),
        open_video(path, limits=Limits(max_pixels=1000)) as video,
    ):
        list(video.stream())


@pytest.mark.slow
def test_the_time_limit_counts_decoding_only(tmp_path, monkeypatch):
    path = render(tmp_path / "clip.mp4", num_frames=100, height=240, width=320)
    with pytest.raises(VideoError, match="decoding took"), open_video(path, limits=Limits(max_seconds=-3.99)) as video:
        list(video.stream())
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with open_video(path, limits=Limits(max_seconds=5.0)) as video:
        for _ in video.stream():
            clock[0] += 10  # the consumer may take as long as it likes
    assert clock[0] == 1000


def test_a_jump_in_the_time_stamps_is_an_error(tmp_path):
    path = render(tmp_path / "clip.mkv", stamps=[0, 40, 80, 4_000_000], num_frames=4)
    with (
        open_video(path) as video,
        pytest.raises(VideoError, match="time stamps jump from 0.080 to 4000.000 s at frame 3"),
    ):
        list(video.stream(fps=25))


def test_everything_is_closed(tmp_path):
    good = render(tmp_path / "clip.mp4", num_frames=5)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(good.read_bytes()[:700])
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with open_video(good) as video:
            next(video.stream())
        with pytest.raises(VideoError):
            open_video(bad)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    video.close()


def test_one_thread_per_reader(tmp_path):
    path = render(tmp_path / "clip.mp4", num_frames=30, height=240, width=320)
    with open_video(path) as video:
        before = threading.active_count(), len(os.listdir("/proc/self/task"))
        list(video.stream())
        assert (threading.active_count(), len(os.listdir("/proc/self/task"))) == before


# ---- images ----


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "frames"
    place.mkdir()
    for i in range(12):
        Image.fromarray(numbered_frame(i)).save(place / f"shot{i}.png")
    (place / "notes.txt").write_text("not a frame")
    (place / ".hidden.png").write_bytes(b"")
    return place


def test_a_folder_of_frames_in_natural_order(folder):
    with open_video(folder) as video:
        assert numbers(video.stream(fps=25)) == list(range(12))
        assert numbers(video.frames_at([11, 2]).frames_THWC) == [11, 2]
        assert not video.timed
        with pytest.raises(VideoError, match="its frames have no times"):
            video.frames_at_seconds([0.1])


def test_a_folder_with_a_rate_is_resampled(folder):
    with open_video(folder, frames_fps=50) as video:
        assert numbers(video.stream(fps=25)) == [0, 2, 4, 6, 8, 10]
        assert numbers(video.frames_at_seconds([0.1]).frames_THWC) == [5]
        assert video.timed
    with pytest.raises(ValueError, match="frames_fps must be above 0"):
        open_video(folder, frames_fps=0)


def test_a_sequence_of_images_retains_its_order(folder):
    with open_video([folder / "shot3.png", str(folder / "shot1.png")]) as video:
        assert numbers(video.stream()) == [3, 1]
    with open_video(str(folder / "shot%d.png")) as video:
        assert numbers(video.stream()) == list(range(12))
    with pytest.raises(VideoError, match="no image"):
        open_video([])
    with pytest.raises(VideoError, match="no such file"):
        open_video(str(folder / "other%d.png"))


def test_bad_frames_are_named(folder):
    whole = (folder / "shot5.png").read_bytes()
    jpeg = io.BytesIO()
    Image.fromarray(numbered_frame(5, height=480, width=640)).save(jpeg, "jpeg")
    cut = jpeg.getvalue()[: len(jpeg.getvalue()) * 9 // 10]
    for content, cause in [(whole[:300], "not a readable image"), (cut, "truncated"), (b"", "no known image format")]:
        (folder / "shot5.png").write_bytes(content)
        with open_video(folder) as video, pytest.raises(VideoError, match=f"shot5.png: .*{cause}"):
            list(video.stream())
    Image.fromarray(numbered_frame(5, height=50)).save(folder / "shot5.png")
    with (
        open_video(folder) as video,
        pytest.raises(VideoError, match="shot5.png: it is 64 x 50, the frames before 64 x 48"),
    ):
        list(video.stream())


def test_images_of_other_kinds(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "0.png")
    Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 0)])).save(tmp_path / "1.png")
    turned = Image.fromarray(np.dstack([grey] * 3))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown turned clockwise
    turned.save(tmp_path / "2.png", exif=exif)
    with open_video(tmp_path) as video:
        frames = list(video.stream())
    assert np.array_equal(frames[0], np.dstack([grey] * 3))
    assert not frames[1].any()
    assert np.array_equal(frames[2], np.rot90(np.dstack([grey] * 3), -1))
    Image.fromarray(grey.astype(np.uint16) * 256).save(tmp_path / "3.png")
    with open_video(tmp_path) as video, pytest.raises(VideoError, match="3.png: pixels of type I"):
        list(video.stream())


def test_arrays():
    frames = np.stack([numbered_frame(i) for i in range(5)])
    with open_video(frames) as video:
        assert numbers(video.stream(fps=25)) == [0, 1, 2, 3, 4]
    for bad in (frames.astype(np.float32), frames[0], frames[:0], frames[..., :2]):
        with pytest.raises(VideoError, match=r"\(array\): it is .* of shape"):
            open_video(bad)


def test_frames_is_checked_and_has_its_shape(tmp_path):
    with open_video(render(tmp_path / "clip.mp4")) as video:
        frames = video.frames_at([5, 10])
        assert repr(frames) == "Frames(2x48x64x3 uint8, 0.200 to 0.400 s)"
        assert len(video.frames_at([])) == 0
    with pytest.raises(ValueError, match="2 frames, 1 indices"):
        type(frames)(frames.frames_THWC, np.array([1]), np.array([0.0, 1.0]))


def test_transform_is_applied_while_decoding(tmp_path):
    with open_video(render(tmp_path / "clip.mp4")) as video:
        assert next(video.stream(transform=lambda f: f[:10, :20])).shape == (10, 20, 3)
        assert video.frames_at([1], transform=lambda f: f[:10]).frames_THWC.shape == (1, 10, 64, 3)


def test_stamps_that_stand_still_or_run_back_move_on_by_the_nominal_period():
    from i3d.video.base import assign_times

    def frame_times(stamps):
        items = iter([(None if s is None else Fraction(s), None, lambda: None) for s in stamps])
        return [float(p.seconds) for p in assign_times(items, period=Fraction(1), name="x")]

    assert frame_times([3, 4, 6, 5, 7]) == [0, 1, 2, 3, 4]  # shuffled, as in AVI
    assert frame_times([0, 0, 0, 3]) == [0, 1, 2, 3]
    assert frame_times([None] * 3) == [0, 1, 2]
    times = frame_times([100, 101, 102, *range(20)])
    assert all(b > a for a, b in zip(times, times[1:], strict=False))


def test_444_of_older_x264_is_decoded_from_its_start(tmp_path):
    """Its version stands in the first packet only, and FFmpeg decodes by it."""
    path = render(tmp_path / "444.mp4", num_frames=40, pix_fmt="yuv444p", options={"g": "10", "bf": "0"})
    content = path.read_bytes()
    at = content.index(b"x264 - core ") + len(b"x264 - core ")
    path.write_bytes(content[:at] + b"142" + content[at + 3 :])
    with open_video(path) as video:
        every = video.frames_at(range(40)).frames_THWC
    with open_video(path) as video:
        assert np.array_equal(video.frames_at([15, 35]).frames_THWC, every[[15, 35]])


def test_frames_cut_off_by_an_edit_list_are_not_counted(tmp_path):
    """Cutting without encoding leaves frames that are decoded and not shown."""
    whole = render(tmp_path / "whole.mp4", num_frames=60, options={"g": "30"})
    cut = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None:
                packet.pts -= 20 * 512
                packet.dts -= 20 * 512
                packet.stream = stream
                out.mux(packet)
    with open_video(cut) as video:
        numbers = [read_number(frame) for frame in video.stream()]
    with open_video(cut) as video:
        assert video.num_frames == len(numbers)
        asked = [0, 3, 12, len(numbers) - 1]
        assert [read_number(f) for f in video.frames_at(asked).frames_THWC] == [numbers[i] for i in asked]
        assert len(numbers) < 60


def test_parts_count_and_rate(tmp_path):
    path = render(tmp_path / "a.mp4", num_frames=40, fps=20)
    with open_video(path) as video:
        assert video.num_frames == 40
        assert video.fps == pytest.approx(20)
        assert video.frames_between(None, None) == (0, 40)
        assert video.frames_between(0.5, 1.0) == (10, 20)
        assert video.frames_between(0.51, 0.52) == (10, 11)
        assert video.frames_between(1.9, 2.9) == (38, 40)
        with pytest.raises(VideoError, match="the part begins at 2.000 s, the video ends at 2.000 s"):
            video.frames_between(2.0, None)


def test_jpeg_frames_decode_as_pillow_does(tmp_path):
    pixels = numbered_frame(5, height=96, width=160)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=90)
    reference = np.asarray(Image.open(tmp_path / "a.jpg"))
    assert np.array_equal(read_image(tmp_path / "a.jpg", max_pixels=10**6), reference)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match="not a readable image"):
        read_image(tmp_path / "a.jpg", max_pixels=10**6)


def test_the_import_loads_no_library_until_a_name_is_used():
    code = """
import sys, i3d.video
assert not {"numpy", "cv2", "av", "torch"} & set(sys.modules)
i3d.video.open_video, i3d.video.center_crop, i3d.video.flow_between
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
