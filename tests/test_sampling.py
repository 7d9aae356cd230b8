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

from i3d.errors import InputError
from i3d.recipes.named import named_recipe
from i3d.recipes.protocols import with_protocol
from i3d.recipes.settings import ClipProtocol
from i3d.video.sampling import (
    dense_clips,
    fps_ratio,
    looped_indices,
    protocol_clips,
    random_clips,
    slot_at,
    uniform_clips,
    windows,
)
from support.rates import indices_at_rate

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
    with pytest.raises(InputError, match="placement 'middle': is not one of centred, end_to_end"):
        uniform_clips(9, clip_len=1, frame_interval=1, num_clips=1, placement="middle")


def test_loop():
    assert looped_indices(3, length=8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


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


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v0", "v1"])
def test_training_starts_cover_the_ranges_of_mmaction2(version):
    cases = json.loads((GOLDEN / f"mmaction2_{version}_train_sampling_ranges.json").read_text())
    rng = np.random.default_rng(0)
    for case in cases:
        settings = {key: case[key] for key in ("num_frames", "clip_len", "frame_interval", "num_clips")}
        starts = np.array([random_clips(**settings, rng=rng)[:, 0] for _ in range(4000)])
        assert starts.min(axis=0).tolist() == case["first_frame_min"], settings
        assert starts.max(axis=0).tolist() == case["first_frame_max"], settings


def test_dense_training_starts():
    rng = np.random.default_rng(0)
    clips = np.array([dense_clips(300, clip_len=32, frame_interval=2, num_clips=2, rng=rng) for _ in range(4000)])
    assert (clips[:, 0, 0].min(), clips[:, 0, 0].max()) == (0, 235)
    assert (clips[:, 1, 0] - clips[:, 0, 0] == 32).all()
    short = dense_clips(40, clip_len=32, frame_interval=2, num_clips=1, rng=rng)
    assert short[0, :21].tolist() == [*range(0, 40, 2), 0]


@given(
    st.integers(1, 400), st.integers(1, 64), st.integers(1, 8), st.integers(1, 10),
    st.sampled_from([None, 0.5, 1.0, 2.4]), st.booleans(), st.sampled_from(["loop", "repeat_last"]), st.integers(0, 99),
)  # fmt: skip
def test_random_clips_lie_in_the_video(num_frames, clip_len, interval, num_clips, rate, jitter, bound, seed):
    def draw(seed):
        rng = np.random.default_rng(seed)
        settings = {"clip_len": clip_len, "frame_interval": interval, "num_clips": num_clips, "out_of_bound": bound}
        return random_clips(num_frames, **settings, rng=rng, rate=rate, jitter=jitter)

    clips_VT = draw(seed)
    assert clips_VT.shape == (num_clips, clip_len)
    assert clips_VT.dtype == np.int64
    assert 0 <= clips_VT.min() <= clips_VT.max() < num_frames
    assert np.array_equal(clips_VT, draw(seed))
    if bound == "repeat_last" and not jitter:
        assert (np.diff(clips_VT, axis=1) >= 0).all()


def test_frames_past_the_end_loop_or_repeat_the_last_of_the_clip():
    settings = {"clip_len": 5, "frame_interval": 2, "num_clips": 1}
    rng = np.random.default_rng(0)
    assert random_clips(6, **settings, rng=rng).tolist() == [[0, 2, 4, 0, 2]]
    assert random_clips(6, **settings, rng=rng, out_of_bound="repeat_last").tolist() == [[0, 2, 4, 4, 4]]
    with pytest.raises(InputError, match="out_of_bound 'wrap': is not one of loop, repeat_last"):
        random_clips(6, **settings, rng=rng, out_of_bound="wrap")


def test_sampled_twice_adds_the_clips_at_the_starts_of_segments():
    once = uniform_clips(300, clip_len=32, frame_interval=2, num_clips=2, placement="centred")
    twice = uniform_clips(300, clip_len=32, frame_interval=2, num_clips=2, placement="centred", twice=True)
    assert twice[:2].tolist() == once.tolist()
    assert twice[2:, 0].tolist() == [0, 118]
    protocol = ClipProtocol(clip_len=32, frame_interval=2, num_clips=2, twice=True, crops="three")
    assert protocol.num_views == 12
    assert protocol_clips(300, protocol).tolist() == twice.tolist()


def test_a_target_rate_stretches_the_clip():
    # 60 fps asked as 30: 8 frames of stride 2 span 32 frames of the video (SlowFast's linspace)
    clips = uniform_clips(32, clip_len=8, frame_interval=2, num_clips=1, placement="end_to_end", rate=fps_ratio(60, 30))
    assert clips.tolist() == [[0, 4, 8, 13, 17, 22, 26, 31]]
    assert fps_ratio(None, 30) == 1
    assert fps_ratio(25, None) is None


def test_jitter_moves_frames_by_less_than_the_interval():
    moved = np.concatenate([
        random_clips(64, clip_len=8, frame_interval=8, num_clips=1, rng=np.random.default_rng(i), jitter=True)
        - np.arange(0, 64, 8)
        for i in range(50)
    ])  # fmt: skip
    assert set(moved.reshape(-1).tolist()) == set(range(8))


# as the MindSpore port tests


@pytest.mark.parametrize("num_frames", [1, 5, 8, 9, 63, 64, 65, 300])
def test_scattered_frames_are_those_that_the_mindspore_port_may_draw(num_frames):
    protocol = with_protocol(named_recipe("i3d_rgb"), "mindspore").protocol
    (indices_T,) = protocol_clips(num_frames, protocol, seed=1, name="a/b.mp4")
    assert (len(indices_T), indices_T.dtype) == (64, np.int64)
    assert (np.diff(indices_T) >= 0).all()
    assert (indices_T >= 0).all()
    assert (indices_T < num_frames).all()
    counts = np.bincount(indices_T)
    assert counts.max() <= (1 if num_frames >= 64 else -(-64 // min(8, num_frames)))
    assert np.array_equal(protocol_clips(num_frames, protocol, seed=1, name="other/b.mp4")[0], indices_T)
    if num_frames > 8:
        others = [protocol_clips(num_frames, protocol, seed=seed, name=name) for seed, name in [(2, "b.mp4"), (1, "c")]]
        assert not any(np.array_equal(other[0], indices_T) for other in others) or num_frames == 64


def test_scattered_frames_are_drawn_alike_often():
    protocol = with_protocol(named_recipe("i3d_rgb"), "mindspore").protocol
    counts = np.zeros(128)
    for k in range(400):
        counts[protocol_clips(128, protocol, name=f"{k}.mp4")[0]] += 1
    assert 150 < counts.min() < counts.max() < 250  # 200 expected, with a deviation of 10
