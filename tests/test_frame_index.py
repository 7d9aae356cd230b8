"""Frame i is the i-th frame when decoding from the start: for every codec, GOP structure and container."""

import itertools
import os
import time

import av
import numpy as np
import pytest

from i3d.errors import VideoError
from i3d.video import Limits, open_video
from support.codecs import CODECS, clips_of
from support.rendering import encode, numbered_frame, read_number, render


def check_frames_by_index(path):
    """Each frame alone, random clips, the count and the times are those of decoding from the start."""
    with open_video(path) as video:
        frames = list(video.stream())
        times = video._timetable_by_decoding()
        assert video.notes == (), path
    with open_video(path) as video:
        assert video.num_frames == video.count_frames() == len(frames), path
        assert [float(t) for t in video._times] == pytest.approx([float(t) for t in times], abs=2e-3), path
        for i, frame_HWC in reversed(list(enumerate(frames))):
            assert np.array_equal(video.frames_at([i]).frames_THWC[0], frame_HWC), (path, i)
        random = np.random.RandomState(0)
        for indices in random.randint(0, len(frames), (4, 5)):
            assert np.array_equal(video.frames_at(indices).frames_THWC, [frames[i] for i in indices]), (path, indices)
        middles = [float(a + b) / 2 for a, b in zip(times[:-1], times[1:], strict=True)]
        assert video.frames_at_seconds(middles).indices_T.tolist() == list(range(len(frames))), path
        assert video.notes == (), path
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_alone_equals_sequential_decoding(tmp_path, codec):
    paths = list(clips_of(codec, tmp_path))
    assert paths
    for path in paths:
        check_frames_by_index(path)


def test_open_gops_are_exact_where_containers_have_no_times(tmp_path):
    options = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0"}
    for name in ("clip.avi", "clip.mxf", "clip.mp4"):
        frames = check_frames_by_index(render(tmp_path / name, options=options, num_frames=40))
        assert [read_number(frame_HWC) for frame_HWC in frames] == list(range(40))


def test_intra_refresh_is_decoded_from_a_true_keyframe(tmp_path):
    options = {"x264-params": "intra-refresh=1:keyint=8:bframes=0"}
    for name in ("clip.mp4", "clip.mkv"):
        check_frames_by_index(render(tmp_path / name, options=options))


def packed_mpeg4(path, num_frames):
    """Write MPEG-4 in AVI with each B-frame in one packet with its reference, as encoders of DivX and XviD do."""
    encoder = av.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 64, 48, "yuv420p", 25
    encoder.time_base = 1 / encoder.framerate
    encoder.options = {"bf": "1", "g": "12", "sc_threshold": "1000000000", "b_strategy": "0"}
    coded = []
    for i in range(num_frames):
        frame = av.VideoFrame.from_ndarray(numbered_frame(i), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = i, encoder.time_base
        coded += map(bytes, encoder.encode(frame))
    coded += map(bytes, encoder.encode(None))
    start_of_frame, packets = b"\0\0\1\xb6", []
    kinds = [content[content.index(start_of_frame) + 4] >> 6 for content in coded]  # 0: I, 1: P, 2: B
    for content, kind, next_content, next_kind in zip(coded, kinds, [*coded[1:], b""], [*kinds[1:], 0], strict=True):
        at = content.index(b"\0\0\1\xb3" if kind == 0 and b"\0\0\1\xb3" in content else start_of_frame)
        marked = content[:at] + b"\0\0\1\xb2DivX503b1393p" + content[at:] if kind == 0 else content
        if kind != 2:
            packets.append((marked + (next_content if next_kind == 2 else b""), kind == 0))
        else:
            packets.append((start_of_frame + b"\x50\x4f", False))  # a frame that is not coded, in its place
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for place, (content, is_keyframe) in enumerate(packets):
            packet = av.Packet(content)
            packet.pts = packet.dts = place
            packet.time_base, packet.stream, packet.is_keyframe = encoder.time_base, stream, is_keyframe
            out.mux(packet)
    return path


def test_packed_b_frames_are_exact(tmp_path):
    frames = check_frames_by_index(packed_mpeg4(tmp_path / "packed.avi", 40))
    assert [read_number(frame_HWC) for frame_HWC in frames] == list(range(40))


def test_frames_after_a_change_of_size_have_the_size_of_the_first(tmp_path):
    small, large = ([numbered_frame(i, height=h, width=w) for i in range(12)] for h, w in ((48, 64), (96, 128)))
    for suffix, codec in (("ts", "libx264"), ("mkv", "libvpx-vp9")):
        parts = [encode(tmp_path / f"{k}.{suffix}", frames, codec=codec) for k, frames in enumerate((small, large))]
        both = tmp_path / f"both.{suffix}"
        if suffix == "ts":
            both.write_bytes(b"".join(part.read_bytes() for part in parts))
        else:
            join(parts, both)
        frames = check_frames_by_index(both)
        assert {frame_HWC.shape for frame_HWC in frames} == {(48, 64, 3)}
        assert len(frames) == 24


def join(parts, path):
    """Remux videos one after the other into one stream."""
    with av.open(str(path), "w") as out:
        stream, shift = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                stream = stream or out.add_stream_from_template(source.streams.video[0])
                last = 0
                for packet in source.demux(video=0):
                    if packet.size:
                        last = packet.pts + packet.duration
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = stream
                        out.mux(packet)
                shift += last


@pytest.mark.parametrize(("codec", "suffix", "options"), [
    ("libx264", "mp4", {"x264-params": "keyint=10:open-gop=1:bframes=3"}),
    ("libx264", "mkv", {"x264-params": "keyint=10:bframes=3"}),
    ("libx265", "mp4", {"x265-params": "keyint=10:open-gop=1:log-level=none"}),
    ("libvpx-vp9", "webm", {"g": "10"}),
    ("mpeg4", "mp4", {"g": "10", "bf": "2"}),
    ("mpeg4", "avi", {"g": "10"}),
    ("mjpeg", "avi", {}),
])  # fmt: skip
def test_common_files_are_read_without_decoding_from_the_start(tmp_path, codec, suffix, options):
    with open_video(render(tmp_path / f"clip.{suffix}", codec=codec, options=options, num_frames=60)) as video:
        assert read_number(video.frames_at([57]).frames_THWC[0]) == 57
        assert 0 < video.num_decoded < 30


def test_the_time_limit_bounds_the_search_for_packets(tmp_path, monkeypatch):
    """Reading all packets, and one read that searches a long file, take at most the time limit."""
    path = render(tmp_path / "clip.mp4", num_frames=200)
    endless = tmp_path / "endless.mkv"
    content = render(tmp_path / "clip.mkv", num_frames=50).read_bytes()
    endless.write_bytes(content[: len(content) * 2 // 3])
    os.truncate(endless, 1 << 28)  # zeros, without space on the disk
    clock = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) / 10)
    for file in (path, endless):
        with (
            pytest.raises(VideoError, match="over 10 s more than it plays"),
            open_video(file, limits=Limits(max_seconds=10)) as video,
        ):
            assert video.num_frames
