"""Metrics against hand-computed values and naive loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.results.metrics import bootstrap_interval, calibration_error, class_figures, confusion_matrix

SCORES = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]])


@st.composite
def scored(draw):
    num_clips, num_classes = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores_NK = rng.integers(0, 4, (num_clips, num_classes)) / 4  # with ties
    return scores_NK, rng.integers(0, num_classes, num_clips)


def test_confusion_and_the_figures_of_classes_by_hand():
    assert confusion_matrix(SCORES, [0, 1, 1, 1]).tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]  # the tie goes to 0
    found = class_figures(SCORES, [0, 1, 1, 1])
    assert found.precision_K.tolist() == [0.5, 1, 0]
    assert found.recall_K.tolist()[:2] == [1, 1 / 3]
    assert math.isnan(found.recall_K[2])
    assert found.f1_K.tolist() == [2 / 3, 0.5, 0]
    assert found.num_clips_K.tolist() == [1, 3, 0]
    assert math.isnan(class_figures([[1, 0]], [0]).precision_K[1])


@given(scored())
def test_confusion_against_a_loop(drawn):
    scores_NK, labels_N = drawn
    wanted = np.zeros((scores_NK.shape[1],) * 2, int)
    for scores_K, label in zip(scores_NK, labels_N, strict=True):
        wanted[label, min(k for k in range(len(scores_K)) if scores_K[k] == scores_K.max())] += 1
    assert (confusion_matrix(scores_NK, labels_N) == wanted).all()


def test_calibration_by_hand():
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.35, 0.65]]
    labels = [0, 1, 0, 1]  # bins of 0.5: all four in the upper one; of 0.1: 0.9 0.9 | 0.6 | 0.65
    assert calibration_error(probabilities, labels, num_bins=2) == pytest.approx(abs(3.05 - 3) / 4)
    assert calibration_error(probabilities, labels, num_bins=10) == pytest.approx((0.8 + 0.4 + 0.35) / 4)
    assert calibration_error([[1.0, 0.0]], [0]) == 0
    with pytest.raises(ValueError, match="probabilities, from 0 to 1"):
        calibration_error([[3.0, 0.0]], [0])


@given(st.integers(1, 40), st.integers(0, 100))
def test_the_interval_holds_the_mean_and_repeats(num_values, seed):
    values = np.random.default_rng(seed).integers(0, 2, num_values)
    low, high = bootstrap_interval(values, num_draws=200, seed=seed)
    assert 0 <= low <= values.mean() + 1e-9
    assert values.mean() - 1e-9 <= high <= 1
    assert bootstrap_interval(values, num_draws=200, seed=seed) == (low, high)


def test_the_interval_of_a_share_is_near_the_normal_one():
    values = np.repeat([0, 1], 200)
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.025, 0.5 + 1.96 * 0.025), abs=0.005)
    with pytest.raises(ValueError, match="finite values"):
        bootstrap_interval([1.0, math.nan])
