"""`i3d stream` and `i3d.stream` on files, pipes and local servers. `test_stream_policy` simulates hours of them."""

import io
import json
import os
import re
import signal
import subprocess
import threading
import time
from itertools import count, pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import i3d
from i3d.cli.output.streams import StreamLines
from i3d.errors import InputError, VideoError
from i3d.inference.prediction import LabelScore
from i3d.recipes import named_recipe
from i3d.streaming import display as displays
from i3d.streaming.buffer import SourceBuffer
from i3d.streaming.capture import Capture, Shared
from i3d.streaming.names import parse_sources
from i3d.streaming.results import StreamEvent, StreamLabel, StreamStats
from i3d.streaming.scorer import WindowScorer
from i3d.streaming.session import Stream, StreamSettings
from i3d.streaming.sources import opened
from i3d.video import live, open_video
from i3d.video.live import open_pipe
from i3d.video.transforms import center_crop, resize_frame, short_side_size
from support.commands import I3D, run_here, run_process
from support.finetuning_runs import frames_of, save_tiny
from support.live_servers import jpeg_parts, paced, serving, serving_rtsp
from support.rendering import encode, numbered_frame, read_number

RECIPE = "i3d_r50_32x2x1_100e_kinetics400_rgb"
FPS, LENGTH, STRIDE = 25, 8, 2  # of the tiny network: clips of 8 frames, a stride of a quarter


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny network, and a video of 3 s as mp4 and as a transport stream."""
    folder = tmp_path_factory.mktemp("stream")
    save_tiny(folder / "tiny.safetensors")
    frames = [frame for number in range(3) for frame in frames_of(number, number, num_frames=25)]
    for name in ("a.mp4", "a.ts"):
        encode(folder / name, frames, options={"g": "12"})
    return folder


def stream(place, *words, model="tiny.safetensors", code=0, **more):
    """The command in this process, and the rows of --json by type."""
    result = run_here(["i3d", "stream", *words, "--model", place / model, "--device", "cpu", "--json"], **more)
    assert result.returncode == code, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return SimpleNamespace(
        **{kind: [row for row in rows if row["type"] == kind] for kind in ("label", "stats", "event", "summary")},
        stderr=result.stderr,
    )


def check_counts(row):
    assert row["captured"] == row["used"] + row["dropped"] + row["left_out"] + row["waiting"]


def windows_by_hand(path, scorer):
    """Scores of every window of a recording, from its frames in order."""
    with open_video(path) as video:
        frames = list(video.stream(fps=None))
    small = [
        resize_frame(f, height=h, width=w) for f in frames for h, w in [short_side_size(*f.shape[:2], short_side=32)]
    ]
    small_THWC = center_crop(np.stack(small), size=32)
    starts = list(range(0, len(small) - LENGTH + 1, STRIDE))
    starts += [len(small) - LENGTH] if (len(small) - LENGTH) % STRIDE else []
    return starts, scorer([small_THWC[s : s + LENGTH].copy() for s in starts], name="")


@pytest.mark.slow
def test_a_file_is_played_and_every_window_is_that_of_the_recording(place):
    """End to end: no frame is dropped, and labels, scores and times are those of its frames in order."""
    rows = stream(place, place / "a.mp4", "--speed", 3)
    (summary,) = rows.summary
    check_counts(summary)
    assert (summary["captured"], summary["used"], summary["dropped"], summary["skipped"]) == (75, 75, 0, 0)
    scorer = WindowScorer(place / "tiny.safetensors", compute=i3d.ComputeConfig("cpu"))
    starts, scores_WK = windows_by_hand(place / "a.mp4", scorer)
    assert [row["first_pts"] for row in rows.label] == pytest.approx([start / FPS for start in starts], abs=1e-3)
    labels = scorer.weights.card.labels
    for row, scores_K in zip(rows.label, scores_WK, strict=True):
        given = {one["label"]: one["score"] for one in row["predictions"]}
        assert [given[label] for label in labels] == pytest.approx(scores_K.tolist(), abs=2e-4)
        assert 0 < row["lag"] < row["window_age"]
    assert summary["seconds"] > 0.95  # 3 s at three times their pace


def test_a_file_can_be_played_as_a_camera(place):
    """More than the network can take: frames are dropped, counted, and the command ends with the file."""
    rows = stream(place, place / "a.ts", "--policy", "newest", "--speed", 100)
    (summary,) = rows.summary
    check_counts(summary)
    assert summary["captured"] == 75
    assert summary["skipped"] > 0
    assert rows.label[-1]["last_pts"] == pytest.approx(74 / FPS, abs=1e-3)


@pytest.mark.slow
def test_a_pipe_of_another_process(place):
    """With the policy "all", every frame of the pipe is used."""
    with open(place / "a.ts", "rb") as pipe:
        words = ["stream", "-", "--policy", "all", "--json", "--model", place / "tiny.safetensors", "--device", "cpu"]
        result = run_process(*words, stdin=pipe)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    check_counts(summary)
    assert (summary["captured"], summary["used"], summary["dropped"]) == (75, 75, 0)
    assert summary["windows"] == (75 - LENGTH) // STRIDE + 2
    assert "-: pipe; all frames, none is dropped" in result.stderr


def test_a_pipe_is_live_unless_all_frames_are_asked_for(place):
    rows = stream(place, "-", stdin=(place / "a.ts").read_bytes())
    check_counts(rows.summary[0])
    assert rows.summary[0]["captured"] == 75
    assert rows.summary[0]["skipped"] > 0
    assert "-: pipe; the newest frames, stale ones are dropped" in rows.stderr


def test_a_pipe_without_a_video_is_refused(place):
    rows = stream(place, "-", stdin=b"no video" * 99, code=3)
    assert "error: -: no video that can be read as it comes (Invalid data" in rows.stderr
    assert "; check the program that writes to the pipe; it cannot be an mp4" in rows.stderr
    rows = stream(place, "-", stdin=b"", code=3)
    assert "error: -: nothing came through the pipe; check the program that writes to it" in rows.stderr


@pytest.mark.slow
def test_a_server_that_breaks_off_is_connected_again(place, monkeypatch):
    """It is lost, refuses once, comes back with another size, and its labels continue."""
    first, second = (lambda: jpeg_parts(30)), (lambda: jpeg_parts(1000, height=96, width=80))
    with serving(first, None, second) as address:
        rows = stream(place, address, "--allow-network", "--max-seconds", 6)
    what = [row["what"] for row in rows.event]
    assert any(re.fullmatch("lost: .*; connecting again", event) for event in what), what
    assert any(event.startswith("connected again after") for event in what), what
    assert "the size changed from 64 x 48 to 80 x 96" in what
    (summary,) = rows.summary
    check_counts(summary)
    assert summary["reconnects"] == 1
    lost_at = next(row["seconds"] for row in rows.stats if row["state"] == "lost")
    assert sum(row["seconds"] > lost_at for row in rows.label) > 10
    assert "warning: http://127.0.0.1" in rows.stderr


@pytest.mark.slow
def test_a_server_that_stays_away_is_given_up(place):
    with serving(lambda: jpeg_parts(20), None) as address:
        rows = stream(place, address, "--allow-network", "--reconnect-seconds", 0.6, code=3)
    assert re.search(r"error: http://127\S+: it did not come back within 0.6 s \(.*\); check the", rows.stderr)
    assert rows.summary[0]["state"] == "failed"


def test_a_file_on_a_server_is_no_live_stream(place):
    content = (place / "a.mp4").read_bytes()
    with serving(lambda: iter([content]), content_type="video/mp4") as address:
        rows = stream(place, address, "--allow-network", code=3)
    assert "not a live stream; download it first: curl -LO" in rows.stderr or "cannot be opened" in rows.stderr


def test_a_transport_stream_over_http(place):
    content = (place / "a.ts").read_bytes() * 3  # its time stamps jump back twice
    with serving(lambda: paced(content), None, content_type="video/mp2t") as address:
        rows = stream(place, address, "--allow-network", "--reconnect-seconds", 0.3, code=3)
    check_counts(rows.summary[0])
    assert rows.summary[0]["used"] > 50
    assert any("a new window begins" in row["what"] for row in rows.event)


def test_an_rtsp_camera_is_joined_in_the_middle_and_lost(place):
    """The first keyframe is awaited, time stamps are those of the camera, and a password is not printed."""
    with serving_rtsp([numbered_frame(k) for k in range(150)], first=5, per_connection=80) as address:
        rows = stream(place, address, "--allow-network", "--max-seconds", 5)
    assert rows.summary[0]["reconnects"] >= 1, rows.event
    check_counts(rows.summary[0])
    spans = {round(FPS * (row["last_pts"] - row["first_pts"])) for row in rows.label if not row["is_padded"]}
    assert spans == {LENGTH - 1}  # at the camera's 25 a second, though they come twice as fast
    assert "secret" not in rows.stderr + str(rows.label)
    assert rows.label[0]["source"].startswith("rtsp://***@127.0.0.1")


def test_decoding_begins_with_a_keyframe(place):
    """A receiver that joins in the middle drops what it cannot decode, and no frame is grey."""
    frames = [numbered_frame(k) for k in range(60)]
    path = encode(place / "numbered.ts", frames, options={"g": "20", "bf": "0"})
    content = path.read_bytes()
    packet = 188 * (len(content) // 188 // 4)
    with open_pipe(io.BytesIO(content[packet:]), "-", threading.Event()) as video:
        numbers = [read_number(frame.rgb()) for frame in video.frames()]
    assert numbers[0] in (20, 40)
    assert numbers == list(range(numbers[0], 60))


def test_errors_in_frames_and_packets_before_a_keyframe_are_reported(place):
    content = bytearray((place / "a.ts").read_bytes())
    middle = 188 * (len(content) // 188 // 2)
    for start in range(middle, middle + 188 * 6, 188):
        content[start + 30 : start + 180] = bytes(150)
    rows = stream(place, "-", "--policy", "all", stdin=bytes(content[188 * 8 :]))
    what = "\n".join(row["what"] for row in rows.event)
    assert "11 packets before the first keyframe left out" in what
    assert re.search(r"[1-9]\d* frames? with errors that the decoder conceals, used as they are", what), what
    check_counts(rows.summary[0])


def test_a_change_of_size_within_a_stream(place):
    small = encode(place / "small.ts", frames_of(1, 1, num_frames=25, height=36, width=48)).read_bytes()
    large = encode(place / "large.ts", frames_of(2, 2, num_frames=25, height=72, width=64)).read_bytes()
    rows = stream(place, "-", "--policy", "all", stdin=small + large)
    assert "the size changed from 48 x 36 to 64 x 72" in [row["what"] for row in rows.event]
    check_counts(rows.summary[0])
    assert rows.summary[0]["dropped"] == 0


@pytest.mark.slow
def test_ctrl_c_ends_with_a_summary(place):
    words = ["stream", place / "a.ts", "--speed", 0.05, "--model", place / "tiny.safetensors", "--device", "cpu"]
    process = subprocess.Popen(
        [*I3D, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert "no label yet" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert re.fullmatch(r"\d+ windows? in [\d.]+ s, 0 skipped; .* dropped \(0 %\).*", out.splitlines()[-1])
    assert err.splitlines()[-1] == "interrupted"


class Recorder(WindowScorer):
    """A scorer that notes how many windows each pass has."""

    def __call__(self, clips, *, name):
        self.__dict__.setdefault("sizes", []).append(len(clips))
        return super().__call__(clips, name=name)


def run_stream(place, names, settings, *, scorer=None, policy=None):
    shared, sources = Shared(), parse_sources([str(name) for name in names], policy=policy)
    scorer = scorer or Recorder(place / "tiny.safetensors", compute=i3d.ComputeConfig("cpu"))
    with opened(sources, shared.stop, speed=settings.speed) as videos:
        session = Stream(scorer, sources, videos, settings, shared)
        return list(session.run()), session, scorer


class SlowScorer(WindowScorer):
    """A stand-in that takes 0.35 s for each pass, and gives the same scores to all windows."""

    def __call__(self, clips, **_):
        time.sleep(0.35)
        return np.full((len(clips), 3), 1 / 3, np.float32)


def test_a_second_is_reported_during_a_pass_and_a_slow_machine_once(place, monkeypatch):
    """Ticks of 0.1 s stand for seconds. The advice names a budget that the machine can have, or the speed."""
    monkeypatch.setattr("i3d.streaming.session.TICK_SECONDS", 0.1)
    scorer = SlowScorer(place / "tiny.safetensors", compute=i3d.ComputeConfig("cpu"))
    items, _, _ = run_stream(place, [place / "a.ts"], StreamSettings(speed=2), scorer=scorer, policy="newest")
    ticks = [item.seconds for item in items if isinstance(item, StreamStats)]
    assert len(ticks) >= 12  # 1.5 s and the last pass
    assert max(later - tick for tick, later in pairwise(ticks)) < 0.3  # a busy machine is late, by less than a pass
    (event,) = [item for item in items if isinstance(item, StreamEvent)]
    assert re.fullmatch(
        r"a pass takes 0.3\d s, longer than the stride of 0.04 s, and windows are skipped; "
        r"`i3d stream --budget-ms 900` measures, and chooses stride, precision and runtime",
        event.what,
    )


@pytest.mark.slow
def test_several_sources_run_in_one_batch(place):
    for name in ("b.mp4", "c.mp4"):
        (place / name).write_bytes((place / "a.mp4").read_bytes())
    names = [place / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    items, session, scorer = run_stream(place, names, StreamSettings(speed=2), policy="newest")
    assert scorer.sizes[0] == 3  # the pass that warms up
    assert max(scorer.sizes[1:]) == 3
    assert {item.source for item in items if isinstance(item, StreamLabel)} == {*map(str, names)}
    for row in session.stats():
        check_counts(row.to_dict())


@pytest.mark.slow
def test_threads_and_descriptors_end_with_the_stream(place):
    def used():
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    list(i3d.stream(place / "a.mp4", model=place / "tiny.safetensors", speed=50))
    before = used()
    for _ in range(5):
        labels = i3d.stream(place / "a.mp4", model=place / "tiny.safetensors", speed=5)
        assert next(labels).source == str(place / "a.mp4")
        labels.close()
    assert used() == before


def test_the_label_of_the_last_window_is_printed_after_the_end(capsys):
    """It is computed when the source has ended already. The percent of dropped frames is of those captured."""
    counts = {"captured": 8, "used": 4, "dropped": 2, "left_out": 0, "waiting": 2, "windows": 1, "skipped": 0}
    lags = dict.fromkeys(("lag_p50", "lag_p95", "lag_max", "label_age"), 0.5)
    ended = StreamStats(source="a", state="ended", seconds=2.0, reconnects=0, **counts, **lags)
    common = {"source": "a", "time": "", "lag": 0.5, "window_age": 1.0, "first_pts": None, "last_pts": None}
    lines = StreamLines(many=False, json=False)
    for name in ("first", "second"):
        lines.add(StreamLabel(predictions=(LabelScore(name, 0.9),), seconds=2.0, is_padded=False, **common))
        lines.add(ended)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert printed[0].endswith("8 frames, 4 used, 2 dropped (25 %)")
    assert printed[1].split() == ["0:02.000", "last", "second", "90", "%"]
    short = StreamLines(many=False, json=False)  # it ended before the first second
    short.add(StreamLabel(predictions=(LabelScore("only", 0.9),), seconds=0.5, is_padded=True, **common))
    short.summarise([ended])
    short.summarise([ended])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["0:00.500", "last", "only", "90", "%"]
    assert len(printed) == 3


class FakeStop:
    """Waits cost no time, and are recorded."""

    def __init__(self):
        self.now, self.waits = 0.0, []

    def is_set(self):
        return False

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        return False


class Breaking(live.LiveVideo):
    """A connection that delivers some frames, and is lost."""

    fps = 25.0

    def __init__(self, num_frames):
        super().__init__("fake")
        self.num_frames = num_frames

    def frames(self):
        for number in range(self.num_frames):
            yield live.LiveFrame(number / 25, None, (8, 8), lambda: np.zeros((8, 8, 3), np.uint8))
        raise VideoError("fake", "it broke off", "check")

    def close(self):
        pass


@pytest.mark.parametrize(
    ("connections", "give_up", "waits"),
    [
        ([9, None, None, None], 1.0, [0.5, 0.5]),  # the second wait ends when the source is given up
        ([9, None, None, None, None, None], 5.0, [0.5, 1, 2, 1.5]),
        ([9, None, 9, None, None, 9, None, None, None], 2.0, [0.5, 1, 0.5, 1, 0.5, 0.5, 1, 0.5]),
        ([9, 0, 0, 0, 0, 0], 2.0, [0.5, 1, 0.5]),  # connected without a frame: still lost
    ],
)
def test_waits_grow_until_frames_come_and_end_with_the_time_to_give_up(place, monkeypatch, connections, give_up, waits):
    stop, later = FakeStop(), iter(connections[1:])

    def open_next(*_, **__):
        if (num_frames := next(later)) is None:
            raise VideoError("fake", "refused", "check")
        return Breaking(num_frames)

    monkeypatch.setattr("i3d.streaming.capture.open_source", open_next)
    monkeypatch.setattr("i3d.streaming.capture.time", SimpleNamespace(monotonic=lambda: stop.now))
    (source,) = parse_sources(["rtsp://fake"], allow_network=True)
    capture = Capture(
        source, Breaking(connections[0]), SourceBuffer(8, 2, policy="newest"), named_recipe(RECIPE).preprocessing,
        Shared(stop=stop), fps=25, stride_seconds=0.1, give_up_seconds=give_up,
    )  # fmt: skip
    capture.thread.start()
    capture.thread.join(20)
    assert stop.waits == waits
    assert f"it did not come back within {give_up:g} s" in str(capture.error)


def test_from_python(place):
    with_all = list(i3d.stream([place / "a.mp4"], model=place / "tiny.safetensors", speed=20, top_k=2))
    assert len(with_all) == (75 - LENGTH) // STRIDE + 2
    assert all(len(label.predictions) == 2 for label in with_all)
    longer = list(i3d.stream(str(place / "a.mp4"), model=place / "tiny.safetensors", speed=20, window_seconds=2))
    assert [label.is_padded for label in longer] == [False] * len(longer)
    assert {round(FPS * (label.last_pts - label.first_pts)) for label in longer} == {7 * 6}  # every sixth frame
    with pytest.raises(VideoError, match="there is no camera 77"):
        list(i3d.stream(77, model=place / "tiny.safetensors"))
    with pytest.raises(InputError, match="speed 0: must be above 0"):
        i3d.stream(place / "a.mp4", speed=0)


def test_a_damaged_file_is_named_at_the_start(place):
    (place / "cut.mp4").write_bytes(b"no video")

    rows = stream(place, place / "cut.mp4", place / "a.mp4", "--speed", 50, code=3)
    assert "cut.mp4: it is text, not a video" in rows.stderr  # before the network is loaded
    assert rows.label == []


class FakeCamera:
    """What OpenCV opens: 20 blue frames at 50 a second, then nothing."""

    opened = count()

    def __init__(self, _):
        self.number, self.left = next(self.opened), 20

    def isOpened(self):
        return self.number != 1  # it stays away for one attempt

    def set(self, *_):
        pass

    def get(self, _):
        return 0.0

    def release(self):
        self.left = 0

    def grab(self):
        time.sleep(0.02)
        self.left -= 1
        return self.left >= 0

    def retrieve(self):
        return True, np.full((48, 64, 3), (250, 0, 0), np.uint8)  # BGR


@pytest.mark.slow
def test_a_camera_that_is_pulled_out_and_back(place, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr("i3d.streaming.sources.sys", SimpleNamespace(platform="other"))
    colours = []
    monkeypatch.setattr(
        live, "_bgr_to_rgb", lambda frame, plain=live._bgr_to_rgb: colours.append(plain(frame)[0, 0]) or plain(frame)
    )
    rows = stream(place, "0", "--max-seconds", 4)
    what = [row["what"] for row in rows.event]
    assert "lost: the camera gives no more frames; connecting again" in what
    assert any(event.startswith("connected again") for event in what)
    assert rows.summary[0]["reconnects"] >= 1
    assert "states no frame rate, taken as 25 fps" in rows.stderr
    assert {tuple(colour) for colour in colours} == {(0, 0, 250)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rtsp://me:secret@10.0.0.1/live"], "rtsp://***@10.0.0.1/live: is an address; add --allow-network"),
        (["http://10.0.0.1/a"], "http://10.0.0.1/a: is an address; add --allow-network"),
        (["s3://bucket/a.mp4"], "s3://bucket/a.mp4: is an address, and i3d reads files; download it"),
        (["missing.mp4"], "missing.mp4: no such file; check the path"),
        (["a.mp4", "a.mp4"], "a.mp4: is named more than once"),
        (["-", "-"], "-: is named more than once"),
        (["0", "--policy", "all"], "0: --policy all makes a source wait, which no camera does"),
        (["http://h/a", "--allow-network", "--policy", "all"], "which no address does; leave it out"),
        (["a.mp4", "--speed", "0"], "--speed 0: must be above 0 and at most 100"),
        (["a.mp4", "--speed", "nan"], "--speed nan: must be above 0"),
        (["0", "--speed", "2"], "--speed 2: is that of files, and no source is one"),
        (["a.mp4", "-", "--reconnect-seconds", "3"], "--reconnect-seconds 3: is for cameras and addresses"),
        (["a.mp4", "--budget-ms", "0"], "--budget-ms 0: must be at least 1"),
        (["a.mp4", "--window-seconds", "3600"], "--window-seconds 3600: must be above 0 and at most 60"),
        (["a.mp4", "--stride-seconds", "-1"], "--stride-seconds -1: must be above 0"),
        (["a.mp4", "--max-seconds", "inf"], "--max-seconds inf: must be above 0"),
        (["a.mp4", "--policy", "old"], "--policy 'old': is not one of newest, all"),
        ([""], "the value is empty"),
        ([], "SOURCES: is missing"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"not read")
    result = run_here(["i3d", "stream", *words])
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.output


def test_a_stride_beyond_a_window_and_a_network_of_flow_are_refused(place):
    result = run_here(["i3d", "stream", place / "a.mp4", "--model", place / "tiny.safetensors", "--stride-seconds", 2])
    assert (result.returncode, "is longer than a window, 0.32 s" in result.stderr) == (2, True), result.stderr


def test_a_password_is_never_printed(place, monkeypatch):
    monkeypatch.setattr("i3d.streaming.sources.NETWORK_SECONDS", 0.5)
    result = run_here(["i3d", "stream", "http://me:secret@127.0.0.1:9/live", "--allow-network"])
    assert result.returncode == 3
    assert "http://***@127.0.0.1:9/live: cannot be opened" in result.stderr
    assert "secret" not in result.output


@pytest.mark.slow
def test_a_budget_is_measured_and_the_choice_printed(place, monkeypatch):
    seconds = {"fp32": 0.3, "bf16": 0.05}
    monkeypatch.setattr(WindowScorer, "seconds", lambda self, **_: seconds[self.engine.arithmetic])
    monkeypatch.setattr("i3d.streaming.budget.arithmetic_of", lambda *_: "bf16")
    rows = stream(place, place / "a.mp4", "--speed", 50, "--budget-ms", 200, "--runtime", "torch")
    assert "measured fp32, torch: 300 ms for 1 x 8 frames" in rows.stderr
    assert "measured bf16, torch: 50 ms for 1 x 8 frames" in rows.stderr
    assert "chosen: bf16, torch, a window every 0.08 s: a frame is labelled after at most 130 ms" in rows.stderr
    short = stream(place, place / "a.mp4", "--speed", 50, "--budget-ms", 60, "--runtime", "torch")
    assert "warning: the budget of 60 ms is too short for this machine: bf16, torch" in short.stderr
    assert "no budget is long enough" not in short.stderr
    seconds.update(fp32=0.35, bf16=0.4)
    slow = stream(place, place / "a.mp4", "--speed", 50, "--budget-ms", 900, "--runtime", "torch")
    assert "no budget is long enough for this machine: a pass takes 0.35 s, longer than the stride" in slow.stderr
    assert "too short" not in slow.stderr
    fixed = stream(
        place, place / "a.mp4", "--speed", 50, "--budget-ms", 900, "--precision", "fp32", "--runtime", "torch"
    )
    assert "bf16" not in fixed.stderr


class FakeTk:
    """What the window needs of tkinter."""

    class Tk:
        def __getattr__(self, _):
            return lambda *_, **__: None

        def after(self, _, function, *arguments):
            self.next = lambda: function(*arguments)

        def destroy(self):
            self.next = None

        def mainloop(self):
            while self.next is not None:
                step, self.next = self.next, None
                step()
                time.sleep(0.01)

    class Label:
        drawn = None

        def __init__(self, *_, **__):
            pass

        def grid(self, **_):
            pass

        def configure(self, *, image):
            FakeTk.Label.drawn = image

    @staticmethod
    def PhotoImage(*, master, data):
        assert isinstance(master, FakeTk.Tk)
        return data


@pytest.mark.slow
def test_the_window_shows_frames_with_their_labels(place, monkeypatch):
    """Without a screen the command is refused at once; with one, frames and labels are drawn."""
    monkeypatch.delenv("DISPLAY", raising=False)
    result = run_here(["i3d", "stream", place / "a.mp4", "--show"])
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "there is no screen (DISPLAY is not set); leave out --show" in result.stderr
    monkeypatch.setattr(displays, "_import_tk", lambda: FakeTk)
    rows = stream(place, place / "a.mp4", "--show", "--speed", 3)
    assert len(rows.label) == (75 - LENGTH) // STRIDE + 2
    head, _, pixels = FakeTk.Label.drawn.partition(b" 255\n")
    assert head == b"P6 640 480"
    frame_HWC = np.frombuffer(pixels, np.uint8).reshape(480, 640, 3)
    assert frame_HWC[:, 600:].std() < 60
    assert len(pixels) == 640 * 480 * 3
    assert (frame_HWC[:200, :300] == 255).all(axis=-1).sum() > 50  # the letters of the first label
