"""Samplers against MMAction2's own indices (tests/golden) and against what must hold for any numbers."""

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.video.sampling import dense_clips, indices_at_rate, loop, sliding_windows, slot_at, uniform_clips, windows

GOLDEN = Path(__file__).parent / "golden"
PLACEMENTS = {"v0": "centred", "v1": "end_to_end"}


def digest(indices):
    return hashlib.sha256(np.asarray(indices, "<i8").tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_test_sampling_equals_mmaction2(version):
    cases = json.loads((GOLDEN / f"mmaction2_{version}_test_sampling.json").read_text())
    assert len(cases) == 576
    for case in cases:
        settings = {key: case[key] for key in ("num_frames", "clip_len", "frame_interval", "num_clips")}
        assert digest(uniform_clips(**settings, placement=PLACEMENTS[version])) == case["uniform"], settings
        assert digest(dense_clips(**settings)) == case["dense"], settings


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_sampling_examples_in_full(version):
    for case in json.loads((GOLDEN / f"mmaction2_{version}_test_sampling_examples.json").read_text()):
        settings = {key: case[key] for key in ("num_frames", "clip_len", "frame_interval", "num_clips")}
        assert uniform_clips(**settings, placement=PLACEMENTS[version]).reshape(-1).tolist() == case["uniform"]
        assert dense_clips(**settings).reshape(-1).tolist() == case["dense"]


@given(st.integers(1, 400), st.integers(1, 64), st.integers(1, 8), st.integers(1, 10))
def test_indices_lie_in_the_video(num_frames, clip_len, frame_interval, num_clips):
    settings = {"clip_len": clip_len, "frame_interval": frame_interval, "num_clips": num_clips}
    for clips_VT in (
        uniform_clips(num_frames, **settings, placement="centred"),
        uniform_clips(num_frames, **settings, placement="end_to_end"),
        dense_clips(num_frames, **settings),
        sliding_windows(num_frames, clip_len=clip_len, stride=frame_interval),
    ):
        assert clips_VT.dtype == np.int64
        assert clips_VT.shape[1] == clip_len
        assert clips_VT.min() >= 0
        assert clips_VT.max() < num_frames


@pytest.mark.parametrize("bad", ["num_frames", "clip_len", "frame_interval", "num_clips"])
def test_zero_is_refused_by_name(bad):
    settings = {"num_frames": 9, "clip_len": 8, "frame_interval": 1, "num_clips": 1, bad: 0}
    with pytest.raises(ValueError, match=f"{bad} must be at least 1, got 0"):
        uniform_clips(**settings, placement="centred")


def test_unknown_placement_is_refused():
    with pytest.raises(ValueError, match="'centred', or 'end_to_end' not sampled twice, got 'middle'"):
        uniform_clips(9, clip_len=1, frame_interval=1, num_clips=1, placement="middle")


def test_sliding_windows_cover_every_start():
    assert sliding_windows(10, clip_len=4, stride=3)[:, 0].tolist() == [0, 3, 6]
    assert sliding_windows(3, clip_len=4, stride=3).tolist() == [[0, 1, 2, 0]]


def test_loop():
    assert loop(3, length=8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


@given(st.integers(1, 3000), st.integers(1, 300))
def test_windows_partition_the_video(num_frames, max_frames):
    cuts = windows(num_frames, max_frames=max_frames)
    assert [i for start, stop in cuts for i in range(start, stop)] == list(range(num_frames))
    lengths = [stop - start for start, stop in cuts]
    assert max(lengths) <= max_frames
    assert len(cuts) == 1 or min(lengths) >= max_frames / 2


def test_windows_example():
    assert windows(600, max_frames=250) == [(0, 250), (250, 425), (425, 600)]
    assert windows(250, max_frames=250) == [(0, 250)]


def test_rate_worked_examples():
    thirty = [Fraction(i, 30) for i in range(6)]
    assert [slot_at(t, fps=Fraction(25)) for t in thirty] == [0, 1, 2, 3, 3, 4]
    uneven = [Fraction(0), Fraction(1, 10), Fraction(1), Fraction(1033, 1000)]
    assert indices_at_rate(uneven, end_seconds=Fraction(2), fps=Fraction(2)).tolist() == [1, 1, 3, 3]


@given(st.integers(1, 200), st.sampled_from([12, 15, 24, 25, 30, 50, 60]))
def test_millisecond_stamps_at_the_own_rate_give_every_frame_once(num_frames, fps):
    seconds = [Fraction(round(1000 * i / fps), 1000) for i in range(num_frames)]
    end = Fraction(round(1000 * num_frames / fps), 1000)
    assert indices_at_rate(seconds, end_seconds=end, fps=Fraction(fps)).tolist() == list(range(num_frames))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.integers(1, 400), st.sampled_from([1, 5, 25, 60]))
def test_rate_is_in_order_and_of_the_right_length(gaps_ms, last_ms, fps):
    stamps = np.cumsum([0, *gaps_ms[1:]])
    seconds = [Fraction(int(t), 1000) for t in stamps]
    end = seconds[-1] + Fraction(last_ms, 1000)
    indices = indices_at_rate(seconds, end_seconds=end, fps=Fraction(fps))
    assert (np.diff(indices) >= 0).all()
    assert len(indices) == max(1, slot_at(end, fps=Fraction(fps)))


@pytest.mark.parametrize("fps", [10, 24, 25, 30])
def test_rate_equals_the_fps_filter_of_ffmpeg(fps):
    """Independent reference: the same stamps through libavfilter's `fps`."""
    random = np.random.RandomState(3)
    stamps = np.cumsum([0, *random.randint(5, 120, 80)])
    graph = av.filter.Graph()
    source = graph.add_buffer(width=16, height=16, format="gray", time_base=Fraction(1, 1000))
    rate, sink = graph.add("fps", f"fps={fps}"), graph.add("buffersink")
    source.link_to(rate)
    rate.link_to(sink)
    graph.configure()
    shown = []

    def pull():
        while True:
            try:
                shown.append(int(graph.pull().to_ndarray()[0, 0]))
            except (BlockingIOError, EOFError):
                return

    for i, stamp in enumerate(stamps):
        frame = av.VideoFrame.from_ndarray(np.full((16, 16), i, np.uint8), format="gray")
        frame.pts, frame.time_base, frame.duration = int(stamp), Fraction(1, 1000), 40
        graph.push(frame)
        pull()
    graph.push(None)
    pull()
    seconds = [Fraction(int(t), 1000) for t in stamps]
    ours = indices_at_rate(seconds, end_seconds=seconds[-1] + Fraction(40, 1000), fps=Fraction(fps)).tolist()
    assert shown == ours
