"""Metrics against hand-computed values, naive loops and torchmetrics."""

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given
from hypothesis import strategies as st

from i3d.cli.output import print_evaluation
from i3d.evaluation.metrics import (
    accuracy_above,
    calibration_error,
    class_metrics,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
    top_k_accuracy,
)
from i3d.evaluation.result import compute_metrics, named_metrics
from support.evaluations import make_evaluation
from support.examples import examples

SCORES = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]])


@st.composite
def scored(draw):
    num_clips, num_classes = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores_NK = rng.integers(0, 4, (num_clips, num_classes)) / 4  # with ties
    return scores_NK, rng.integers(0, num_classes, num_clips)


def test_confusion_and_the_metrics_of_classes_by_hand():
    assert confusion_matrix(SCORES, [0, 1, 1, 1]).tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]  # the tie goes to 0
    metrics = class_metrics(SCORES, [0, 1, 1, 1])
    assert metrics.precision_K.tolist() == [0.5, 1, 0]
    assert metrics.recall_K.tolist()[:2] == [1, 1 / 3]
    assert math.isnan(metrics.recall_K[2])
    assert metrics.f1_K.tolist() == [2 / 3, 0.5, 0]
    assert metrics.num_clips_K.tolist() == [1, 3, 0]
    assert math.isnan(class_metrics([[1, 0]], [0]).precision_K[1])


@given(scored())
def test_confusion_against_a_loop(drawn):
    scores_NK, labels_N = drawn
    expected = np.zeros((scores_NK.shape[1],) * 2, int)
    for scores_K, label in zip(scores_NK, labels_N, strict=True):
        expected[label, min(k for k in range(len(scores_K)) if scores_K[k] == scores_K.max())] += 1
    assert (confusion_matrix(scores_NK, labels_N) == expected).all()


def test_clips_above_a_minimum_score_by_hand():
    probabilities = [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]]
    rows = accuracy_above(probabilities, [0, 1, 1, 0], min_scores=(0.5, 0.65, 0.95))
    assert [(row.num_clips, row.num_correct) for row in rows] == [(4, 3), (2, 2), (0, 0)]


def test_calibration_by_hand():
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.35, 0.65]]
    labels = [0, 1, 0, 1]  # bins of 0.5: all four in the upper one; of 0.1: 0.9 0.9 | 0.6 | 0.65
    assert calibration_error(probabilities, labels, num_bins=2) == pytest.approx(abs(3.05 - 3) / 4)
    assert calibration_error(probabilities, labels, num_bins=10) == pytest.approx((0.8 + 0.4 + 0.35) / 4)
    assert calibration_error([[1.0, 0.0]], [0]) == 0
    with pytest.raises(ValueError, match="probabilities, from 0 to 1"):
        calibration_error([[3.0, 0.0]], [0])


# against torchmetrics, which defines them independently


@given(st.integers(0, 2**32), st.integers(2, 7), st.integers(10, 60))
@examples(40)
def test_against_torchmetrics(seed, num_classes, num_clips):
    rng = np.random.default_rng(seed)
    logits_NK = rng.normal(size=(num_clips, num_classes)) * 2
    labels_N = np.concatenate([np.arange(num_classes), rng.integers(num_classes, size=num_clips)])[:num_clips]
    scores_NK = np.exp(logits_NK) / np.exp(logits_NK).sum(axis=1, keepdims=True)
    scores, labels = torch.from_numpy(scores_NK), torch.from_numpy(labels_N)
    for k in range(1, num_classes + 1):
        theirs = tm.multiclass_accuracy(scores, labels, num_classes, average="micro", top_k=k)
        assert top_k_accuracy(scores_NK, labels_N, k=k) == pytest.approx(float(theirs), abs=1e-6)
    theirs = tm.multiclass_accuracy(scores, labels, num_classes, average="macro")
    assert mean_class_accuracy(scores_NK, labels_N) == pytest.approx(float(theirs), abs=1e-6)
    theirs = tm.multiclass_confusion_matrix(scores, labels, num_classes)
    assert confusion_matrix(scores_NK, labels_N).tolist() == theirs.tolist()
    metrics = class_metrics(scores_NK, labels_N)
    for ours_K, of in [
        (metrics.precision_K, tm.multiclass_precision),
        (metrics.recall_K, tm.multiclass_recall),
        (metrics.f1_K, tm.multiclass_f1_score),
    ]:
        theirs_K = of(scores, labels, num_classes, average=None).numpy()  # 0 where there is nothing to divide by
        assert np.nan_to_num(ours_K) == pytest.approx(theirs_K, abs=1e-6)
    theirs = tm.multiclass_calibration_error(scores, labels, num_classes, n_bins=15)
    assert calibration_error(scores_NK, labels_N) == pytest.approx(float(theirs), abs=1e-6)


@given(st.integers(0, 2**32), st.booleans())
@examples(40)
def test_mean_average_precision_against_torchmetrics(seed, with_ties):
    rng = np.random.default_rng(seed)
    scores_NK = rng.integers(0, 5, (20, 4)) / 8 if with_ties else rng.random((20, 4))
    targets_NK = (rng.random((20, 4)) < 0.3).astype(int)
    targets_NK[0] = 1
    theirs = tm.multilabel_average_precision(
        torch.from_numpy(scores_NK), torch.from_numpy(targets_NK), num_labels=4, average="macro"
    )
    assert mean_average_precision(scores_NK, targets_NK) == pytest.approx(float(theirs), abs=1e-6)


# cases without metrics


def test_mean_class_accuracy_as_mmaction2_counts():
    scores, labels = [[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9]], [0, 1, 1]
    assert class_metrics(scores, labels).mean_recall == 0.75
    assert mean_class_accuracy(scores, labels) == 0.5  # class 2 has no clip, and is predicted once


def test_both_means_are_printed_where_they_differ(capsys):
    scores, more = (
        [[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9]],
        "(mean_class_accuracy of MMAction2 0.5000, where",
    )
    evaluation = make_evaluation(scores, [0, 1, 1])
    metrics = compute_metrics(evaluation)
    names = ("mean_class_accuracy", "mean_recall")
    assert named_metrics(evaluation, metrics, names) == {"mean_class_accuracy": 0.5, "mean_recall": 0.75}
    print_evaluation(evaluation, metrics)
    assert f"mean recall 0.7500 {more}" in capsys.readouterr().out
    evaluation = make_evaluation(scores, [0, 1, 2])
    print_evaluation(evaluation, compute_metrics(evaluation))
    assert "mean recall 1.0000\n" in capsys.readouterr().out


@given(scored())
def test_mean_class_accuracy_against_a_loop_over_mmaction2s_classes(drawn):
    scores_NK, labels_N = drawn
    predicted_N = np.argmax(scores_NK, axis=1)
    classes = sorted({*predicted_N.tolist(), *labels_N.tolist()})
    recalls = [(predicted_N[labels_N == k] == k).mean() if (labels_N == k).any() else 0.0 for k in classes]
    assert mean_class_accuracy(scores_NK, labels_N) == pytest.approx(np.mean(recalls))


def test_one_class_absent_classes_and_ties_by_hand():
    one = [[3.0]], [0]
    assert top_k_accuracy(*one) == mean_class_accuracy(*one) == 1
    assert confusion_matrix(*one).tolist() == [[1]]
    tied = [[0.5, 0.5, 0.0]] * 2, [0, 1]
    assert top_k_accuracy(*tied) == 0.5  # of equal scores the lower number wins
    assert top_k_accuracy(*tied, k=2) == 1
    assert mean_class_accuracy(*tied) == 0.5  # class 2 has no clip and does not count
    assert top_k_accuracy([[0.1, 0.9]], [0], k=5) == 1  # fewer classes than k


@pytest.mark.parametrize(
    "of", [top_k_accuracy, mean_class_accuracy, confusion_matrix, class_metrics, calibration_error]
)
def test_scores_that_are_no_numbers_name_the_clip(of):
    with pytest.raises(ValueError, match="the scores of clip 1 hold NaN or infinity"):
        of([[0.5, 0.5], [0.5, math.nan]], [0, 1])


def test_an_evaluation_of_scores_that_are_no_numbers_names_the_file():
    with pytest.raises(ValueError, match="the scores of gone/1.mp4 hold NaN"):
        make_evaluation([[0.5, 0.5], [0.5, math.nan]], [0, 1])
