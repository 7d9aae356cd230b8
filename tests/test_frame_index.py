"""Frame i is the i-th frame when decoding from the start: for every codec, GOP structure and container."""

import itertools
import os
import re
import struct
import time

import av
import numpy as np
import pytest

from i3d.errors import VideoError
from i3d.video import Limits, open_video
from support.codecs import CODECS, clip_in, clips_of
from support.fields import write_fields
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


def encoded_mpeg4(numbers, **options):
    """The content of each coded frame of MPEG-4, in the order of coding."""
    encoder = av.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.framerate = 64, 48, "yuv420p", 25
    encoder.time_base = 1 / encoder.framerate
    encoder.options = {"g": "12", "sc_threshold": "1000000000", **options}
    coded = []
    for place, number in enumerate(numbers):
        frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = place, encoder.time_base
        coded += map(bytes, encoder.encode(frame))
    return [*coded, *map(bytes, encoder.encode(None))]


def write_avi(path, coded, *, places):
    """Write coded frames of MPEG-4 to an AVI; the first is a keyframe. Places that are left out are empty chunks."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for place, content in zip(places, coded, strict=True):
            packet = av.Packet(content)
            packet.pts = packet.dts = place
            packet.time_base, packet.stream = 1 / stream.codec_context.framerate, stream
            packet.is_keyframe = _kind_of(content) == 0
            out.mux(packet)
    return path


def _kind_of(content):
    """0: I, 1: P, 2: B."""
    return content[content.index(START_OF_FRAME) + 4] >> 6


START_OF_FRAME = b"\0\0\1\xb6"


def packed_mpeg4(path, num_frames):
    """Write MPEG-4 in AVI with each B-frame in one packet with its reference, as encoders of DivX and XviD do."""
    coded = encoded_mpeg4(range(num_frames), bf="1", b_strategy="0")
    packets, kinds = [], [_kind_of(content) for content in coded]
    for content, kind, next_content, next_kind in zip(coded, kinds, [*coded[1:], b""], [*kinds[1:], 0], strict=True):
        at = content.index(b"\0\0\1\xb3" if kind == 0 and b"\0\0\1\xb3" in content else START_OF_FRAME)
        marked = content[:at] + b"\0\0\1\xb2DivX503b1393p" + content[at:] if kind == 0 else content
        if kind != 2:
            packets.append(marked + (next_content if next_kind == 2 else b""))
        else:
            packets.append(START_OF_FRAME + b"\x50\x4f")  # a frame that is not coded, in its place
    return write_avi(path, packets, places=range(num_frames))


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


VARIABLE = [0, 40, 80, 200, 240, 280, 1400, 1440, 1480, 1520, 1560, 1600]  # ms; a still scene, dropped frames
VALID = {
    "interlaced": ("interlaced.mp4", {"options": {"x264-params": "tff=1:keyint=8"}}),
    "interlaced in a transport stream": ("interlaced.ts", {"options": {"x264-params": "tff=1:keyint=8"}}),
    "fields": ("fields.mpg", {"codec": "mpeg2video", "options": {"flags": "+ildct+ilme", "bf": "2", "g": "8"}}),
    "a variable rate": ("variable.mp4", {"stamps": VARIABLE, "num_frames": 12}),
    "a variable rate in Matroska": ("variable.mkv", {"stamps": VARIABLE, "num_frames": 12}),
    "an index first": ("first.mp4", {"container": {"movflags": "faststart"}}),
    "segments": ("dash.mp4", {"container": {"movflags": "dash+global_sidx+frag_keyframe+empty_moov"}}),
    "a fragment of each frame": ("frames.mp4", {"container": {"movflags": "frag_every_frame"}}),
    "one frame": ("one.avi", {"codec": "mpeg4", "num_frames": 1}),
}


@pytest.mark.parametrize("kind", VALID)
def test_valid_files_of_rare_kinds_have_no_note(tmp_path, kind):
    name, options = VALID[kind]
    check_frames_by_index(render(tmp_path / name, **{"num_frames": 24, **options}))


def test_dropped_frames_of_an_avi_are_no_damage(tmp_path):
    """A recorder that drops a frame writes an empty chunk in its place."""
    coded = encoded_mpeg4([0, 1, 2, 4, 5, 8, 9])
    check_frames_by_index(write_avi(tmp_path / "dropped.avi", coded, places=[0, 1, 2, 4, 5, 8, 9]))


def test_joined_segments_of_a_transport_stream_have_no_note(tmp_path):
    """Each segment counts its packets from 0, as those of HLS do; its times continue, or begin again."""
    for name, shift in (("continued", 480), ("again", 0)):
        joined = b""
        for part in range(3):
            stamps = [40 * i + part * shift for i in range(12)]
            segment = render(tmp_path / f"{part}.ts", num_frames=12, stamps=stamps, options={"bf": "0"})
            joined += segment.read_bytes()
        (tmp_path / f"{name}.ts").write_bytes(joined)
        assert len(check_frames_by_index(tmp_path / f"{name}.ts")) == 36


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


@pytest.mark.parametrize("codec", ["mjpeg", "ffv1", "png", "huffyuv", "mpeg4 p", "vp8"])
def test_a_lost_chunk_of_an_avi_moves_no_frame(tmp_path, codec):
    """FFmpeg counts the times of AVI in chunks: behind a lost one they are those of other frames."""
    path = clip_in(codec, "avi", tmp_path, num_frames=10)
    content = bytearray(path.read_bytes())
    chunks = [match.start() for match in re.finditer(b"00dc", content[: content.index(b"idx1")])]
    content[chunks[5] : chunks[5] + 4] = bytes(4)
    path.write_bytes(content)
    with open_video(path) as video:
        frames, notes = list(video.stream()), video.notes
    assert len(frames) == 9
    assert notes[0] == "its header states 10 frames, it contains 9"
    with open_video(path) as video:
        assert video.num_frames == 9
    for indices in ([1], [4], [5], [8], [3, 4, 5, 6]):
        with open_video(path) as video:
            assert np.array_equal(video.frames_at(indices).frames_THWC, [frames[i] for i in indices])
            assert notes[0] in video.notes or codec == "vp8"  # decoded from the start, but not to the end


@pytest.mark.parametrize("name", ["fields.mkv", "fields.mp4", "fields.ts"])
@pytest.mark.parametrize("in_one_packet", [False, True])
def test_frames_coded_as_two_fields_are_exact(tmp_path, name, in_one_packet):
    frames = check_frames_by_index(write_fields(tmp_path / name, 24, in_one_packet=in_one_packet))
    assert len(frames) == 24
    assert np.all(np.diff([int(frame_HWC.mean()) for frame_HWC in frames]) > 0)


def stamps_of(path):
    """(offset, time stamp) of each block of a Matroska file with one cluster."""
    content = path.read_bytes()
    with av.open(str(path)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.size]
    return [(content.index(b"\x81" + struct.pack(">h", stamp)) + 1, stamp) for stamp in stamps]


def changed_stamps(path):
    """Yield the file with one bit of one time stamp flipped, or with two time stamps exchanged, a few of each."""
    random, stamps, content = np.random.RandomState(0), stamps_of(path), path.read_bytes()
    changes = [(at, stamp ^ 1 << bit) for at, stamp in stamps[1:] for bit in (2, 4, 6, 8)]
    changes = [[changes[k]] for k in random.choice(len(changes), 6, replace=False)]
    for first, second in zip(stamps[2:-1:6], stamps[3::6], strict=False):
        changes.append([(first[0], second[1]), (second[0], first[1])])
    for change in changes:
        changed = bytearray(content)
        for at, stamp in change:
            struct.pack_into(">h", changed, at, stamp)
        path.write_bytes(changed)
        yield change


@pytest.mark.parametrize("codec", ["h264 closed", "h264 open", "hevc closed", "mpeg4 b", "mpeg2 open", "vp9"])
def test_a_wrong_time_stamp_moves_no_frame(tmp_path, codec):
    """A frame is known by its place in the order of display, which its time stamp only repeats."""
    path = clip_in(codec, "mkv", tmp_path, num_frames=24)
    for change in changed_stamps(path):
        with open_video(path) as video:
            frames = list(video.stream())
        for indices in ([1], [2, 5], [10], [17, 20], [len(frames) - 1]):
            with open_video(path) as video:
                frames_THWC = video.frames_at(indices).frames_THWC
            assert np.array_equal(frames_THWC, [frames[i] for i in indices]), (change, indices)


def test_a_wrong_time_stamp_is_noted_by_index_too(tmp_path):
    path = render(tmp_path / "clip.mkv", options={"x264-params": "bframes=3:b-adapt=0:b-pyramid=0"}, num_frames=24)
    content, (at, stamp) = bytearray(path.read_bytes()), stamps_of(path)[2]
    struct.pack_into(">h", content, at, stamp ^ 0x40)
    path.write_bytes(content)
    for indices in ([1], [5], [23]):
        with open_video(path) as video:
            assert [read_number(frame_HWC) for frame_HWC in video.frames_at(indices).frames_THWC] == indices
            assert video.notes == ("its time stamps are not in the order of its frames: damaged?",)


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
