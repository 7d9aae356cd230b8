"""Times of frames that are computed when they are read: those of a list, in the memory of integers."""

import tracemalloc
from fractions import Fraction
from itertools import accumulate
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.timelines.find import constant_rate
from i3d.video.frame_times import FrameTimes
from support.examples import examples


@examples(40)
@given(st.lists(st.integers(1, 10_000), max_size=8), st.integers(-1000, 1000), st.integers(1, 90_000))
def test_times_are_those_of_a_list(steps, first, ticks):
    stamps = list(accumulate(steps, initial=first))
    times = FrameTimes(np.array(stamps), Fraction(1, ticks), Fraction(1, 25))
    expected = [Fraction(stamp - first, ticks) for stamp in stamps]
    expected.append(expected[-1] + Fraction(1, 25))
    assert list(times) == times[:] == expected
    assert times[-1] == expected[-1]
    assert times[1:] == expected[1:]
    with pytest.raises(IndexError):
        times[len(expected)]


def test_the_times_of_an_hour_of_30_frames_a_second_take_the_memory_of_integers():
    pts_T = np.arange(108_000) * 512
    tracemalloc.start()
    times = FrameTimes(pts_T, Fraction(1, 15_360), Fraction(1, 30))
    assert constant_rate(SimpleNamespace(timed=True, timetable=lambda: times, fps=30.0)) == 30
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * pts_T.nbytes
