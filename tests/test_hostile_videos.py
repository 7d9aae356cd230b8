"""Files that try to make FFmpeg open something else: by path and as bytes, nothing is read and nothing connected.

faults.md D25-D27, M6-M9. The canary is a real clip whose frames must never come out; the listener must stay unheard.
"""

import os
import socket
import time

import pytest

from i3d.errors import VideoError
from i3d.video.reader import open_video
from support.rendering import render


@pytest.fixture
def canary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return render(tmp_path / "secret.ts", codec="mpeg2video", num_frames=5)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def payloads(canary, port):
    uri = canary.as_uri()
    http = f"http://127.0.0.1:{port}/a.ts"
    return {
        "ffconcat": f"ffconcat version 1.0\nfile {canary.name}\n",
        "ffconcat absolute": f"ffconcat version 1.0\nfile '{canary}'\n",
        "hls file": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{uri}\n#EXT-X-ENDLIST\n",
        "hls relative": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{canary.name}\n#EXT-X-ENDLIST\n",
        "hls http": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{http}\n#EXT-X-ENDLIST\n",
        "hls master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{http}\n",
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "rtsp ram": f"rtsp://127.0.0.1:{port}/a\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        f"<Representation><BaseURL>{http}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "smooth": f'<SmoothStreamingMedia><StreamIndex Url="{http}"/></SmoothStreamingMedia>',
        "image pattern": "secret%01d.ts",
        "lavfi": "testsrc",
        "ansi art": "\x1b[2J\x1b[31mhello\n" * 20,
        "subtitles": "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
        "ffmetadata": ";FFMETADATA1\ntitle=x\n",
        "pls": f"[playlist]\nFile1={http}\nNumberOfEntries=1\n",
        "webvtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n",
    }


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".sdp", ".txt", ".ts", ".mpd"])
def test_scripts_and_playlists_are_not_followed(tmp_path, canary, listener, suffix):
    for name, text in payloads(canary, listener.getsockname()[1]).items():
        path = tmp_path / f"{name}{suffix}"
        path.write_text(text)
        for source in (path, text.encode()):
            start = time.monotonic()
            with pytest.raises(VideoError) as error:
                open_video(source)
            assert time.monotonic() - start < 2, name
            assert "\n" not in str(error.value)
    sockets = [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if fd.isdigit() and os.path.lexists(f"/proc/self/fd/{fd}")
    ]
    assert sum(link.startswith("socket:") for link in sockets) == 1  # the listener's own


def test_paths_are_never_protocols(canary, listener):
    port = listener.getsockname()[1]
    for name in [
        f"concat:{canary}|{canary}", f"subfile,,start,0,end,999,,:{canary}", f"cache:file:{canary}",
        f"async:file:{canary}", f"file:{canary}", f"file://{canary}", f"http://127.0.0.1:{port}/a.mp4", f"rtsp://127.0.0.1:{port}/a",
        f"tcp://127.0.0.1:{port}", f"udp://127.0.0.1:{port}", "pipe:0", "data:video/mp4;base64,AA", "fd:0",
        f"crypto:{canary}",
    ]:  # fmt: skip
        with pytest.raises(VideoError, match="no such file|cannot be opened|i3d reads files"):
            open_video(name)


def test_an_mp4_with_an_external_data_reference_reads_no_other_file(tmp_path, canary):
    """A QuickTime file may declare that its samples lie in another file (dref alis/url)."""
    clip = render(tmp_path / "clip.mov", num_frames=5)
    content = clip.read_bytes()
    at = content.index(b"dref")
    entry = content.index(b"url ", at)
    hostile = bytearray(content)
    hostile[entry + 4 : entry + 8] = b"\0\0\0\0"  # clear "the data is in this file"
    clip.write_bytes(bytes(hostile))
    try:
        with open_video(clip) as video:
            assert len(list(video.stream())) == 5  # its own frames
    except VideoError as error:
        assert str(clip) in str(error)


def test_mutants_give_frames_or_one_line(tmp_path):
    """Fixed-seed mutations of small seeds: no crash, no other exception, no hang."""
    import numpy as np

    seeds = [
        render(tmp_path / f"seed.{suffix}", codec=codec, num_frames=6).read_bytes()
        for codec, suffix in [("libx264", "mp4"), ("libx265", "mkv"), ("libvpx-vp9", "webm"), ("mpeg4", "avi"),
                              ("mpeg2video", "ts"), ("gif", "gif"), ("flv", "flv"), ("mjpeg", "mov")]
    ]  # fmt: skip
    random = np.random.RandomState(11)
    outcomes = {"frames": 0, "error": 0}
    for round_number in range(240):
        data = bytearray(seeds[round_number % len(seeds)])
        for _ in range(random.randint(1, 8)):
            at = random.randint(len(data))
            match random.randint(4):
                case 0:
                    data[at] ^= 1 << random.randint(8)
                case 1:
                    data[at : at + 4] = b"\xff\xff\xff\xff"
                case 2:
                    del data[at : at + random.randint(1, 64)]
                case _:
                    data[at:at] = bytes(data[at : at + random.randint(1, 64)])
        start = time.monotonic()
        try:
            with open_video(bytes(data)) as video:
                assert list(video.stream())
            outcomes["frames"] += 1
        except VideoError as error:
            assert "\n" not in str(error)
            outcomes["error"] += 1
        assert time.monotonic() - start < 5
    assert min(outcomes.values()) > 0
