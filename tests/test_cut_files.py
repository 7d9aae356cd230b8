"""Files that were cut: fewer frames are an error or a note, in every container that stores where it ends."""

import numpy as np
import pytest

from i3d.data.check.clip import ClipJob, inspect_clip
from i3d.errors import VideoError
from i3d.video import container, open_video
from support.codecs import clips_of
from support.rendering import render

# Nothing in these stores where the video ends (docs/reader.md).
ENDLESS = (".h264", ".hevc", ".m4v", ".mpeg1video", ".mpeg2video", ".mjpeg", ".obu")


def count(path):
    """(number of frames, notes); None in place of the number for an error."""
    try:
        with open_video(path) as video:
            return video.count_frames(), video.notes
    except VideoError as error:
        return None, (str(error),)


def check_cuts(whole, offsets):
    content = whole.read_bytes()
    num_frames, notes = count(whole)
    assert notes == (), whole
    assert not inspect_clip(ClipJob(whole)).problems, whole
    part = whole.with_stem("part")
    for at in offsets:
        at += at % 188 == 0  # nothing distinguishes a transport stream that ends between two frames
        part.write_bytes(content[:at])
        remaining, notes = count(part)
        statuses = [status for status, _ in inspect_clip(ClipJob(part)).problems]
        assert remaining == num_frames or notes, (whole, at, remaining)
        assert remaining == num_frames or statuses, (whole, at, remaining)
        assert not notes or statuses, (whole, at, notes)


CODECS = ["h264 closed", "hevc open", "mpeg4 p", "mpeg2 open", "vp8", "vp9", "av1", "mjpeg", "ffv1", "wmv2", "flv1"]


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_cut_files_are_errors_or_have_a_note(tmp_path, codec):
    random = np.random.RandomState(0)
    for whole in clips_of(codec, tmp_path):
        if whole.suffix not in ENDLESS:
            size = whole.stat().st_size
            check_cuts(whole, random.randint(size // 10, size, 6))


@pytest.mark.parametrize(("name", "codec", "container"), [
    ("clip.gif", "gif", {}),
    ("clip.ts", "mpeg2video", {}),
    ("clip.mpg", "mpeg2video", {}),
    ("clip.avi", "mjpeg", {}),
    ("clip.avi", "mpeg4", {}),
    ("clip.mp4", "libx264", {"movflags": "faststart"}),
    ("clip.mov", "mjpeg", {"movflags": "faststart"}),
    ("clip.mp4", "libx264", {"movflags": "frag_every_frame+empty_moov"}),
    ("clip.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    ("clip.webm", "libvpx-vp9", {}),
    ("clip.flv", "flv", {}),
    ("clip.wmv", "wmv2", {}),
    ("clip.ogv", "libvpx", {}),
    ("clip.ivf", "libvpx", {}),
    ("clip.nut", "mpeg4", {}),
])  # fmt: skip
def test_the_end_of_each_container_is_known(tmp_path, name, codec, container):
    whole = render(tmp_path / name, codec=codec, container=container, num_frames=25, options={"g": "8"})
    size = whole.stat().st_size
    check_cuts(whole, [size // 3, size // 2 + 1, size * 3 // 4 + 2, size * 9 // 10, size - 40, size - 3])


def packets_of_video(content):
    """(offset, whether a frame begins there) of each packet of the video in a transport stream."""
    for at in range(0, len(content), 188):
        if int.from_bytes(content[at + 1 : at + 3], "big") & 0x1FFF == 256:
            yield at, bool(content[at + 1] & 0x40)


STREAMS = {  # of several packets a frame
    "h264": ("libx264", {"x264-params": "keyint=8"}),
    "h264 cavlc": ("libx264", {"x264-params": "keyint=8:cabac=0:slices=2"}),
    "hevc": ("libx265", {"x265-params": "keyint=8:bframes=3:open-gop=1:log-level=none"}),
    "mpeg2": ("mpeg2video", {"bf": "2"}),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_transport_stream_that_ends_within_a_frame_is_noted(tmp_path, name, monkeypatch):
    """Cut after a whole packet: no decoder reports that the last frame of HEVC is incomplete."""
    codec, options = STREAMS[name]
    whole = render(tmp_path / "whole.ts", codec=codec, options=options, num_frames=16, height=144, width=192)
    content, part = whole.read_bytes(), tmp_path / "part.ts"
    packets = list(packets_of_video(content))[2:]
    inside = [at for at, is_start in packets if not is_start]
    assert count(whole) == (16, ())
    for at in inside[:: len(inside) // 12]:
        part.write_bytes(content[:at])
        num_frames, notes = count(part)
        assert num_frames is None or notes, at
    part.write_bytes(bytes(1) + content[1:])  # no longer known by its first packets
    count(part)
    monkeypatch.setattr(container, "ends_in_full_packet", lambda *_: True)  # as by chance
    for at in [at for at, is_start in packets if is_start][::2]:
        part.write_bytes(content[:at])
        assert count(part)[1] == (), at
