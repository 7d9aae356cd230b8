"""The policy of live sources on a simulated clock: lag, drops, stalls, bursts, jumps; hours cost seconds."""

import random
import re
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.streaming.budget import Measured, choose
from i3d.streaming.buffer import Frame, SourceBuffer
from i3d.streaming.capture import Capture, Shared
from i3d.streaming.names import LiveSource
from i3d.streaming.passes import slow_network
from i3d.streaming.resampling import MAX_HOLD, Resampler
from i3d.streaming.results import LagLog
from i3d.streaming.sources import backoff
from i3d.timelines.scores import SlidingWindows
from i3d.video.live import LiveFrame
from i3d.video.sampling import slot_at
from support.examples import examples

FPS, LENGTH, STRIDE = 25, 16, 4
SPAN = LENGTH / FPS
IMAGE = np.zeros((1, 1, 3), np.uint8)


class Simulation:
    """The capture of a source whose frames arrive at given times, and a network of `pass_seconds` for a window.

    `Capture._read` reads this source as any other. The clock stands in the arrival of frames.
    """

    def __init__(self, arrivals, *, pass_seconds, policy="newest", fps=FPS, length=LENGTH, stride=STRIDE, interval=1):
        self.buffer = SourceBuffer(length, stride, policy=policy, interval=interval)
        source, self.shared = LiveSource("simulation", "camera", "", policy), Shared()
        self.capture = Capture(
            source, self, self.buffer, None, self.shared, fps=fps, stride_seconds=stride * interval / fps
        )
        self.capture._prepared = lambda frame_HWC: frame_HWC
        self.arrivals, self.pass_seconds = arrivals, pass_seconds
        self.lags, self.windows = [], []
        self.most_slots, self.free_at, self.last_arrival = 0, 0.0, 0.0

    @property
    def restarts(self):
        return [event.what.split(";")[0] for event in self.shared.events if "a new window begins" in event.what]

    def frames(self):
        """Frames that arrive during a pass wait; the network takes the window that is due when it is free."""
        for arrival, pts in self.arrivals:
            while self.buffer.is_due() and self.free_at <= arrival:
                self.free_at = self.score(max(self.free_at, self.last_arrival))
            self.last_arrival = arrival
            yield LiveFrame(arrival, pts, (1, 1), lambda: IMAGE)
            self.most_slots = max(self.most_slots, len(self.buffer._slots))

    def run(self):
        self.capture._read(self)
        self.buffer.finish()
        while self.buffer.is_due():
            self.free_at = self.score(max(self.free_at, self.last_arrival))
        return self

    def score(self, now):
        window = self.buffer.take()
        self.windows.append(window)
        self.lags.append(now + self.pass_seconds - window.frames[-1].arrival)
        return now + self.pass_seconds


def steady(seconds, *, fps=30, start=0.0):
    """Frames that arrive as they are filmed."""
    return [(start + k / fps, Fraction(k, fps)) for k in range(round(seconds * fps))]


@pytest.mark.parametrize("seconds", [60, 900])
def test_a_source_at_three_times_the_speed_of_the_network_never_lags(seconds):
    """A pass takes three strides: two of three windows are skipped, and the lag stays that of one pass."""
    stream = Simulation(steady(seconds), pass_seconds=3 * STRIDE / FPS).run()
    assert max(stream.lags[:-1]) < SPAN  # the last frames wait for the pass that runs when the source ends
    counts = stream.buffer.counts
    assert counts.skipped / (counts.skipped + counts.windows) == pytest.approx(2 / 3, abs=0.05)
    assert stream.most_slots == LENGTH
    assert counts.waiting == 0


def test_a_network_slower_than_a_window_drops_frames_and_counts_them():
    stream = Simulation(steady(60), pass_seconds=3 * SPAN).run()
    counts = stream.buffer.counts
    assert counts.dropped / (counts.used + counts.dropped) == pytest.approx(2 / 3, abs=0.05)
    assert max(stream.lags[:-1]) < 3 * SPAN + 2 / FPS  # its own pass, and no more: nothing piles up
    first, second = (sum(stream.lags[i::2]) / len(stream.lags[i::2]) for i in (0, 1))
    assert first == pytest.approx(second, abs=1 / FPS)


def test_a_stall_and_a_burst_are_no_lag():
    """Five seconds without a frame, then the 150 frames of these seconds at once."""
    before = steady(20)
    held = [(25 + k / 5000, Fraction(600 + k, 30)) for k in range(150)]
    after = [(25.03 + k / 30, Fraction(750 + k, 30)) for k in range(600)]
    stream = Simulation(before + held + after, pass_seconds=0.1).run()
    assert stream.restarts == []  # time stamps continue
    assert max(stream.lags) < SPAN
    ends = [float(window.frames[-1].pts) for window in stream.windows]
    after_burst = [end for end in ends if end > 20]  # the first frame of the burst is that of 20 s
    assert after_burst[0] > 24  # what is 4 s old is not scored first
    gaps = [float(b.pts - a.pts) for window in stream.windows for a, b in pairwise(window.frames)]
    assert max(gaps) < 0.1  # held-back frames stay as far apart as they were filmed
    assert stream.buffer.counts.dropped > 60
    assert stream.most_slots == LENGTH


def test_arrival_times_stand_for_missing_stamps():
    frames = [(arrival, None) for arrival, _ in steady(10)]
    with_stamps, without = (Simulation(s, pass_seconds=0.01).run() for s in (steady(10), frames))
    ends, expected = ([w.frames[-1].arrival for w in stream.windows] for stream in (without, with_stamps))
    assert ends == pytest.approx(expected, abs=1.01 / 30)  # half a slot may round either way


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 2.5, -2.5])
def test_a_jump_of_time_stamps_begins_a_new_window(jump):
    frames = [(arrival, float(pts) + (jump if arrival > 10 else 0)) for arrival, pts in steady(20)]
    stream = Simulation(frames, pass_seconds=0.01).run()
    assert len(stream.restarts) == 1
    for window in stream.windows:
        stamps = [frame.pts for frame in window.frames]
        assert stamps == sorted(stamps)
        assert stamps[-1] - stamps[0] < SPAN + 0.1
    assert stream.windows[-1].frames[-1].arrival > 19.8  # it survived


def test_stamps_that_stand_still_do_not_stop_the_stream():
    frames = [(arrival, min(float(pts), 5.0) if arrival < 10 else float(pts)) for arrival, pts in steady(20)]
    stream = Simulation(frames, pass_seconds=0.01).run()
    assert "time stamps stand still" in stream.restarts
    assert stream.windows[-1].frames[-1].arrival > 19.8
    assert stream.buffer.counts.waiting == 0


def test_a_gap_begins_a_new_window_and_a_short_one_repeats_the_frame():
    for gap, restarts in ((MAX_HOLD - 0.5, 0), (MAX_HOLD + 0.5, 1)):
        frames = steady(5) + [(5 + gap + a, pts + 5 + Fraction(gap)) for a, pts in steady(5)]
        stream = Simulation(frames, pass_seconds=0.01).run()
        assert len(stream.restarts) == restarts


def test_all_frames_of_a_file_are_used_however_slow_the_network_is():
    """With the policy "all", windows are those of a strict stride, and a last one ends with the last frame."""
    buffer, resampler = SourceBuffer(LENGTH, STRIDE, policy="all"), Resampler(FPS, is_live=False)
    windows, pending, num_frames = [], None, 101
    for k in range(num_frames + 1):
        slots = resampler.push(k / 30, Fraction(k, 30)).before if k < num_frames else resampler.flush()
        if k < num_frames:
            buffer.counts.captured += 1
        if pending is not None:
            frame = Frame(0.0, pending, IMAGE)
            buffer.counts.left_out += len(slots) == 0
            for _ in slots:
                while not buffer.has_room:
                    windows.append(buffer.take())
                buffer.add(frame)
                assert len(buffer._slots) <= LENGTH + 2 * STRIDE
        pending = Fraction(k, 30)
    buffer.finish()
    while buffer.is_due():
        windows.append(buffer.take())
    assert buffer.is_drained
    counts = buffer.counts
    assert (counts.dropped, counts.skipped, counts.waiting) == (0, 0, 0)
    held = [
        Fraction(k, 30)
        for k in range(num_frames)
        if slot_at(Fraction(k, 30), fps=Fraction(FPS)) < slot_at(Fraction(k + 1, 30), fps=Fraction(FPS))
    ]
    slots = [
        max(p for p in held if slot_at(p, fps=Fraction(FPS)) <= s)
        for s in range(slot_at(Fraction(num_frames, 30), fps=Fraction(FPS)))
    ]
    starts = list(range(0, len(slots) - LENGTH + 1, STRIDE))
    expected = [slots[s : s + LENGTH] for s in starts]
    if (len(slots) - LENGTH) % STRIDE:
        expected.append(slots[-LENGTH:])
    assert [[frame.pts for frame in window.frames] for window in windows] == expected


@pytest.mark.parametrize("policy", ["newest", "all"])
def test_a_source_shorter_than_a_window_is_padded_and_marked(policy):
    stream = Simulation(steady(0.2, fps=25), pass_seconds=0.01, policy=policy).run()
    (window,) = stream.windows
    assert window.is_padded
    assert len(window.frames) == LENGTH
    assert len({id(frame) for frame in window.frames}) == 5


def test_a_batch_takes_windows_half_a_stride_early():
    buffer = SourceBuffer(LENGTH, STRIDE, policy="newest")
    for _ in range(LENGTH):
        buffer.add(Frame(0, None, IMAGE))
    buffer.take()
    for k in range(STRIDE // 2):
        assert not buffer.is_due(early=True), k
        buffer.add(Frame(0, None, IMAGE))
    assert buffer.is_due(early=True)
    assert not buffer.is_due()
    buffer.take()
    assert buffer.counts.skipped == 0
    assert not buffer.is_due(early=True)


@examples(200)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3]), st.floats(0.001, 3))
def test_every_frame_is_counted_once(seed, interval, pass_seconds):
    """Random arrivals, stamps that repeat, stand still and jump: captured = used + dropped + left out."""
    rng = random.Random(seed)
    frames, arrival, pts = [], 0.0, 0.0
    for _ in range(300):
        arrival += rng.choice([0, 0.001, 0.03, 0.04, 0.3, 3])
        pts += rng.choice([0.03, 0.03, 0.04, 0, -0.01, 1, 4, -50])
        frames.append((arrival, rng.choice([pts, pts, pts, None])))
    stream = Simulation(frames, pass_seconds=pass_seconds, interval=interval).run()
    counts = stream.buffer.counts
    stream.buffer.restart()
    assert counts.captured == 300 == counts.used + counts.dropped + counts.left_out
    assert counts.windows == len(stream.windows)
    assert stream.most_slots <= LENGTH


@examples(100)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.sampled_from([7, 24, 25, 30, 60]))
def test_slots_are_those_of_a_recorded_video(gaps, fps):
    """Frame by frame as `Video.stream` fills slots, for any frame rate."""
    stamps = [Fraction(sum(gaps[:k]), 1000) for k in range(len(gaps))]
    resampler, filled = Resampler(fps, is_live=False), []
    for number, pts in enumerate(stamps):
        filled += [number - 1] * len(resampler.push(0.0, pts).before)
    period = stamps[-1] - stamps[-2] if len(stamps) > 1 else Fraction(1, fps)
    filled += [len(stamps) - 1] * len(resampler.flush())
    ends = [*stamps[1:], stamps[-1] + period]
    expected, count = [], 0
    for number, end in enumerate(ends):
        stop = max(count, slot_at(end, fps=Fraction(fps)))
        expected += [number] * (stop - count)
        count = stop
    assert filled == (expected or [len(stamps) - 1])


def test_lags_are_quantiles_by_rank_with_flat_memory():
    log = LagLog()
    assert (log.quantile(0.5), log.max) == (None, None)
    for k in range(100_000):
        log.add(k / 1000)
    assert (log.max, log.quantile(0.5), log.quantile(0.95)) == (99.999, 99.499, 99.949)
    assert len(log._lags) == 1000


def test_waits_before_connecting_again_grow_to_half_a_minute():
    waits = backoff()
    assert [next(waits) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


EXACT, FAST = Measured("fp32", "torch", 0.6), Measured("bf16", "openvino", 0.2)


@pytest.mark.parametrize(
    ("budget", "step", "expected"),
    [
        (10.0, None, (EXACT, 0.64, True)),  # the default stride, exactly
        (1.4, None, (EXACT, 0.8, True)),
        (1.0, None, (FAST, 0.64, True)),
        (0.5, None, (FAST, 0.28, True)),
        (0.3, None, (FAST, 0.28, False)),  # too short: what is possible, and marked
        (1.5, 0.8, (EXACT, 0.8, True)),
        (0.9, 0.4, (FAST, 0.4, True)),
    ],
)
def test_a_budget_chooses_the_exact_way_if_it_is_fast_enough(budget, step, expected):
    longest = 0.64 if budget != 1.4 else 0.8
    measured = [EXACT, FAST] if budget != 10 else [Measured("fp32", "torch", 0.5), FAST]
    choice = choose(measured, budget, slot=0.04, longest=longest, span=2.56, step=step)
    want, want_step, is_within = expected
    assert choice.measured.precision == want.precision
    assert choice.step == pytest.approx(want_step)
    assert choice.is_within is is_within
    if is_within:
        assert choice.seconds <= budget + 1e-9
        assert choice.step >= 1.25 * choice.measured.seconds - 1e-9


@pytest.mark.parametrize("pass_seconds", [0.65, 0.7, 1.0, 2.0])
def test_a_machine_slower_than_the_stride_is_advised_a_budget_that_it_can_have(pass_seconds):
    windows = SlidingWindows(fps=25.0, frames=64, interval=1, stride=16)
    what = slow_network(pass_seconds, windows, "all")
    assert what.startswith(f"a pass takes {pass_seconds:.2g} s, longer than the stride of 0.64 s, and the source waits")
    budget = int(re.search(r"--budget-ms (\d+)`", what).group(1)) / 1000
    choice = choose([Measured("fp32", "torch", pass_seconds)], budget, slot=0.04, longest=0.64, span=2.56)
    assert choice.is_within
    assert 1.25 * pass_seconds <= choice.step <= windows.span


def test_a_machine_as_fast_as_the_stride_needs_no_advice_and_a_faster_source_a_lower_speed():
    windows = SlidingWindows(fps=25.0, frames=64, interval=1, stride=16)
    assert slow_network(0.64, windows, "newest") == ""
    what = "a pass takes 0.5 s, longer than the stride of 0.32 s, and windows are skipped; give a lower --speed than 2"
    assert slow_network(0.5, windows, "newest", speed=2) == what


def test_a_pass_beyond_a_window_is_too_long_for_any_budget():
    """A frame then waits for the pass that runs, and for its own."""
    choice = choose([Measured("fp32", "torch", 3.0)], 9.0, slot=0.04, longest=0.64, span=2.56)
    assert (choice.step, choice.seconds, choice.is_within) == (2.56, 6.0, False)
