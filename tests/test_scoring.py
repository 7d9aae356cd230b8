"""Scoring: formulas, and what must hold for any numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from i3d.errors import InputError
from i3d.evaluation.scoring import VideoScores, average_views, softmax, top_k
from i3d.inference.prediction import LabelScore, Prediction, best_labels

logits = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=st.floats(-50, 50))


@given(logits, st.randoms(use_true_random=False))
def test_averages_do_not_depend_on_the_order_of_views(logits_VK, random):
    order = list(range(len(logits_VK)))
    random.shuffle(order)
    for average in ("prob", "score"):
        a = average_views(logits_VK, average=average).scores_K
        b = average_views(logits_VK[order], average=average).scores_K
        assert np.allclose(a, b, rtol=1e-12, atol=1e-12)


@given(logits)
def test_prob_sums_to_one_and_weights_repeat_views(logits_VK):
    assert np.isclose(average_views(logits_VK, average="prob").scores_K.sum(), 1)
    weights = np.arange(1, len(logits_VK) + 1)
    repeated = np.repeat(logits_VK, weights, axis=0)
    weighted = average_views(logits_VK, average="score", weights_V=weights).scores_K
    assert np.allclose(weighted, average_views(repeated, average="score").scores_K)


def test_by_hand():
    logits_VK = np.log([[1.0, 3.0], [9.0, 1.0]])
    prob = average_views(logits_VK, average="prob")
    assert np.allclose(prob.scores_K, [(0.25 + 0.9) / 2, (0.75 + 0.1) / 2])
    assert prob.probabilities_K is prob.scores_K
    score = average_views(logits_VK, average="score")
    assert np.allclose(score.scores_K, [np.log(9) / 2, np.log(3) / 2])
    assert np.allclose(score.probabilities_K, [3 / (3 + 3**0.5), 3**0.5 / (3 + 3**0.5)])
    assert repr(score) == "VideoScores(2 classes, 'score' of 2 views, best [0, 1])"


def test_softmax_of_large_logits_is_finite():
    assert np.allclose(softmax([1000.0, 0.0]), [1, 0])


def test_bad_logits_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        average_views([[np.nan, 0.0]], average="prob")
    with pytest.raises(ValueError, match="got shape"):
        average_views(np.zeros((0, 3)), average="prob")
    with pytest.raises(ValueError, match="not all 0"):
        average_views([[1.0]], average="prob", weights_V=[0.0])
    with pytest.raises(InputError, match="average 'none': is not one of score, prob"):
        average_views([[1.0]], average="none")


def test_scores_are_checked():
    with pytest.raises(ValueError, match="must sum to 1, got 0.5"):
        VideoScores(np.array([0.5]), "prob", 1)
    with pytest.raises(ValueError, match="finite, one a class"):
        VideoScores(np.array([np.inf]), "score", 1)


def test_top_k_breaks_ties_by_class_and_is_at_most_the_number_of_classes():
    assert top_k([1.0, 3.0, 3.0], k=2) == [1, 2]
    assert top_k([1.0, 3.0, 3.0], k=9) == [1, 2, 0]
    with pytest.raises(ValueError, match="got 0"):
        top_k([1.0], k=0)


def test_best_labels_need_a_label_per_class():
    assert best_labels([0.2, 0.8], ["a", "b"], k=1) == (LabelScore("b", 0.8),)
    with pytest.raises(ValueError, match="2 scores for 1 labels"):
        best_labels([0.2, 0.8], ["a"], k=1)


def test_a_prediction_is_checked():
    row = Prediction("a.mp4", "error", (), "p", 0, "a.mp4: broken; repair it")
    with pytest.raises(ValueError, match="no prediction: a.mp4: broken"):
        _ = row.top1
    with pytest.raises(ValueError, match="best first"):
        Prediction("a.mp4", "ok", (LabelScore("a", 0.1), LabelScore("b", 0.9)), "p", 1)
    with pytest.raises(ValueError, match="'ok' with 0"):
        Prediction("a.mp4", "ok", (), "p", 1)
    with pytest.raises(ValueError, match="from 0 to 1"):
        LabelScore("a", 1.5)
