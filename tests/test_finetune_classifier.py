"""Classifiers on features: the optimum is one, whatever the data; rows of weight 2 are rows twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i3d.finetuning.classifier import DesignMatrix, Head, feature_scale, fit_discriminant, fit_linear, fit_prototypes
from i3d.finetuning.selection import PENALTIES, TEMPERATURES, fit_candidate, select_classifier
from i3d.recipes.training import Loss
from i3d.training.losses import binary_cross_entropy, cross_entropy
from support.examples import examples


def make_rows(seed, *, num_clips=24, num_classes=3, channels=6, apart=1.0, per_group=1, multi_label=False):
    """Clouds of points, one for each class, so far apart."""
    random = np.random.default_rng(seed)
    labels_R = np.arange(num_clips) % num_classes
    centers_KC = random.normal(size=(num_classes, channels)) * apart
    targets_RK = np.eye(num_classes)[labels_R]
    if multi_label:
        targets_RK = np.maximum(targets_RK, random.random(targets_RK.shape) < 0.3).astype(float)
    features_RC = centers_KC[labels_R] + random.normal(size=(num_clips, channels))
    clips_R = np.arange(num_clips)
    return DesignMatrix(features_RC, targets_RK, np.ones(num_clips), clips_R, clips_R // per_group)


def test_discriminant_analysis_ignores_what_varies_within_a_class():
    """The classes differ in feature 0; feature 1 names the class of most clips, and varies ten times as much."""
    random = np.random.default_rng(5)
    labels_R = np.arange(40) % 2
    features_RC = np.stack([labels_R + 0.1 * random.normal(size=40), 10 * random.normal(size=40)], axis=1)
    features_RC[:, 1] += 5 * labels_R
    rows = DesignMatrix(features_RC, np.eye(2)[labels_R], np.ones(40), np.arange(40), np.arange(40))
    head = fit_discriminant(rows)
    assert (head.logits(features_RC).argmax(axis=1) == labels_R).all()
    misled_RC = [[0.0, 30.0], [1.0, -30.0]]
    assert head.logits(misled_RC).argmax(axis=1).tolist() == [0, 1]
    absent = replace(rows, targets_RK=np.eye(3)[labels_R])
    assert (fit_discriminant(absent).logits(features_RC).argmax(axis=1) < 2).all()


def objective(rows, head, loss, penalty, *, multi_label=False):
    """The documented objective of `fit_linear`, written again in plain features."""
    mean_C, std_C = feature_scale(rows)
    scaled_KC, bias_K = head.weight_KC * std_C, head.bias_K + head.weight_KC @ mean_C
    logits_RK = torch.from_numpy((rows.features_RC - mean_C) / std_C @ scaled_KC.T + bias_K)
    targets_RK, shares_R = torch.from_numpy(rows.targets_RK), rows.weights_R / rows.weights_R.sum()
    if multi_label:
        losses_R = binary_cross_entropy(logits_RK, targets_RK, loss, reduction="none")
    else:
        targets = targets_RK.argmax(dim=1) if loss.focal_gamma else targets_RK
        shares_K = torch.from_numpy(np.maximum(shares_R @ rows.targets_RK, 1e-9))
        losses_R = cross_entropy(logits_RK, targets, loss, class_frequencies_K=shares_K, reduction="none")
    return float(shares_R @ losses_R.numpy() + 0.5 * penalty * np.square(scaled_KC).sum())


LOSSES = [Loss(), Loss(focal_gamma=2.0), Loss(logit_adjustment=1.0), Loss(label_smoothing=0.1)]


@pytest.mark.parametrize("loss", LOSSES, ids=["plain", "focal", "logit-adjust", "smoothed"])
@pytest.mark.parametrize("apart", [0.3, 30.0], ids=["mixed", "separable"])
@pytest.mark.parametrize("penalty", [1e-2])
def test_at_the_optimum_the_gradient_is_zero(loss, apart, penalty):
    rows = make_rows(1, apart=apart)
    head = fit_linear(rows, loss, penalty=penalty)
    check_gradient(rows, head, loss, penalty)


@pytest.mark.parametrize("penalty", [1.0, 1e-3])
def test_at_the_optimum_of_several_labels_the_gradient_is_zero(penalty):
    rows = make_rows(2, multi_label=True)
    check_gradient(rows, fit_linear(rows, Loss(), penalty=penalty, multi_label=True), Loss(), penalty, multi_label=True)


def check_gradient(rows, head, loss, penalty, **options):
    """By finite differences, in every direction of weights in scaled features and of the bias."""
    mean_C, std_C = feature_scale(rows)
    step = 1e-5
    for k in range(len(head.bias_K)):
        for c in range(-1, len(std_C)):
            values = []
            for sign in (1, -1):
                weight_KC, bias_K = head.weight_KC.copy(), head.bias_K.copy()
                if c < 0:
                    bias_K[k] += sign * step
                else:
                    weight_KC[k, c] += sign * step / std_C[c]
                    bias_K[k] -= sign * step / std_C[c] * mean_C[c]
                values.append(objective(rows, Head(weight_KC, bias_K), loss, penalty, **options))
            assert abs(values[0] - values[1]) / (2 * step) < 1e-6


@pytest.mark.slow
@examples(6)
@given(st.integers(0, 10**6), st.integers(0, 23), st.sampled_from([Loss(), LOSSES[2]]))
def test_a_row_of_weight_two_is_the_row_twice_and_one_of_weight_zero_is_absent(seed, which, loss):
    rows, every = make_rows(seed), np.arange(24)
    order = np.append(every, which)
    twice = replace(rows.select(order), weights_R=np.ones(25))
    heavy = replace(rows, weights_R=np.where(every == which, 2.0, 1.0))
    without, light = rows.select(every != which), replace(rows, weights_R=np.where(every == which, 0.0, 1.0))
    for one, other in ((heavy, twice), (light, without)):
        for fit in (lambda r: fit_linear(r, loss, penalty=0.1), fit_prototypes):
            a, b = fit(one), fit(other)
            assert np.allclose(a.logits(rows.features_RC), b.logits(rows.features_RC), atol=1e-5)


def softmax(logits_RK):
    shifted = np.exp(logits_RK - logits_RK.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@examples(6)
@given(st.integers(0, 10**6), st.permutations(range(24)))
def test_the_order_and_the_units_of_features_do_not_matter(seed, order):
    rows = make_rows(seed)
    a = fit_linear(rows, Loss(), penalty=0.1).logits(rows.features_RC)
    moved = replace(rows, features_RC=rows.features_RC * np.geomspace(1e-2, 1e2, 6) + 5.0)
    b = fit_linear(moved, Loss(), penalty=0.1).logits(moved.features_RC)
    c = fit_linear(rows.select(list(order)), Loss(), penalty=0.1).logits(rows.features_RC)
    assert np.allclose(a, b, atol=1e-5)
    assert np.allclose(a, c, atol=1e-5)


def test_separable_rows_are_overfitted_with_hardly_a_penalty():
    rows = make_rows(3, apart=30.0)
    head = fit_linear(rows, Loss(), penalty=1e-8)
    assert (head.logits(rows.features_RC).argmax(axis=1) == rows.targets_RK.argmax(axis=1)).all()
    assert np.isfinite(head.weight_KC).all()


def test_the_same_row_in_two_classes_gets_even_odds():
    features_RC = np.array([[1.0, 2.0], [1.0, 2.0], [5.0, 1.0]])
    rows = DesignMatrix(features_RC, np.array([[1.0, 0], [0, 1], [1, 0]]), np.ones(3), np.arange(3), np.arange(3))
    assert np.allclose(softmax(fit_linear(rows, Loss(), penalty=1e-4).logits(features_RC[:1])), 0.5, atol=1e-2)


def test_features_that_are_the_same_everywhere_are_no_trouble():
    rows = make_rows(4)
    dull = replace(rows, features_RC=np.concatenate([rows.features_RC, np.full((24, 3), 7.0)], axis=1))
    for fit in (lambda r: fit_linear(r, Loss(), penalty=0.1), fit_prototypes):
        assert np.allclose(fit(dull).logits(dull.features_RC), fit(rows).logits(rows.features_RC), atol=1e-6)
    blank = replace(rows, features_RC=np.zeros((24, 3)))
    assert np.allclose(softmax(fit_linear(blank, Loss(), penalty=0.1).logits(blank.features_RC)), 1 / 3, atol=1e-6)
    assert np.isfinite(fit_prototypes(blank).weight_KC).all()


def test_a_class_without_a_row_is_never_predicted():
    rows = make_rows(5)
    wider = replace(rows, targets_RK=np.concatenate([rows.targets_RK, np.zeros((24, 1))], axis=1))
    for loss in (Loss(), LOSSES[2]):
        assert (fit_linear(wider, loss, penalty=0.1).logits(rows.features_RC).argmax(axis=1) < 3).all()


# the choice between classifiers, and its temperature


def chosen(rows, kind="linear", **options):
    return select_classifier(rows, Loss(), kind, **options)


@pytest.mark.slow
def test_held_out_groups_choose_a_simple_head_for_noise_and_a_close_one_for_clear_classes():
    noise = replace(make_rows(6), features_RC=np.random.default_rng(0).normal(size=(24, 40)))
    assert chosen(noise).penalty >= 1
    assert chosen(make_rows(6, apart=30.0)).penalty <= 0.01


@pytest.mark.slow
def test_groups_are_held_out_as_a_whole():
    """Two copies of each of twelve noisy clips: held out one by one, their copies would leak; as groups they do not."""
    few = replace(make_rows(7, num_clips=12), features_RC=np.random.default_rng(1).normal(size=(12, 40)))
    order = np.repeat(np.arange(12), 2)
    split = replace(few.select(order), clips_R=np.arange(24), groups_R=np.arange(24))
    whole = replace(split, groups_R=order)
    assert chosen(split).penalty < chosen(whole).penalty
    assert chosen(split).log_likelihood > chosen(whole).log_likelihood


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["auto", "linear", "prototype"])
@pytest.mark.parametrize("per_group", [1, 5, 12, 24])
def test_any_number_of_groups_gives_a_classifier_and_the_same_again(kind, per_group):
    rows = make_rows(8, per_group=per_group)
    candidate = chosen(rows, kind, seed=3)
    assert candidate.penalty in {"auto": (*PENALTIES, None), "linear": PENALTIES, "prototype": (None,)}[kind]
    assert np.isnan(candidate.log_likelihood) == (per_group == 24)
    assert candidate.temperature in (1.0, *TEMPERATURES)
    assert repr(chosen(rows, kind, seed=3)) == repr(candidate)  # NaN is not itself


def clouds(seed, counts, *, spread=3.0):
    """Rows of classes that differ in the first of 40 directions; in the others, two by two, they vary together."""
    random = np.random.default_rng(seed)
    labels_R = np.repeat(np.arange(len(counts)), counts)
    features_RC = np.repeat(random.normal(size=(len(labels_R), 20)), 2, axis=1) * spread
    features_RC[:, ::2] += random.normal(size=(len(labels_R), 20)) * 0.5
    features_RC[:, 0] += 1.2 * labels_R
    order = np.arange(len(labels_R))
    return DesignMatrix(features_RC, np.eye(len(counts))[labels_R], np.ones(len(labels_R)), order, order)


def accuracy_and_confidence(head, rows):
    probabilities_RK = softmax(head.logits(rows.features_RC))
    right_R = probabilities_RK.argmax(axis=1) == rows.targets_RK.argmax(axis=1)
    return right_R.mean(), probabilities_RK.max(axis=1).mean()


def test_with_its_temperature_a_classifier_is_as_sure_as_it_is_right():
    rows, later = clouds(0, (200, 200)), clouds(1, (2000, 2000))
    for kind in ("prototype", "linear"):
        candidate = chosen(rows, kind)
        right, sure = accuracy_and_confidence(fit_candidate(rows, Loss(), candidate), later)
        assert abs(right - sure) < 0.08
    few = rows.select(np.arange(400) % 10 == 0)
    right, sure = accuracy_and_confidence(fit_linear(few, Loss(), penalty=1e-4), later)
    assert sure - right > 0.15  # as the likelihood of training clips has it


def test_a_class_of_three_clips_does_not_turn_all_classes_into_class_means():
    rows, later = clouds(2, (60, 60, 3)), clouds(3, (500, 500))
    assert chosen(rows, "auto").penalty is not None
    means, best = fit_prototypes(rows), fit_candidate(rows, Loss(), chosen(rows, "auto"))
    wider = replace(later, targets_RK=np.pad(later.targets_RK, [(0, 0), (0, 1)]))
    assert accuracy_and_confidence(best, wider)[0] > accuracy_and_confidence(means, wider)[0] + 0.1


def test_views_are_judged_together_as_a_test_averages_them():
    """One of the two views of each clip is noise: the clips are as right as the other view, the rows are not."""
    rows = make_rows(13, apart=3.0)
    noise_RC = np.random.default_rng(3).normal(size=rows.features_RC.shape)
    order = np.repeat(np.arange(24), 2)
    both = rows.select(order)
    features_RC = np.stack([rows.features_RC, rows.features_RC + 0.01 * noise_RC], axis=1).reshape(48, -1)
    both = replace(both, features_RC=features_RC, weights_R=np.full(48, 0.5), clips_R=order, groups_R=order)
    assert abs(chosen(both).log_likelihood - chosen(rows).log_likelihood) < 0.05
    assert replace(both, clips_R=np.arange(48)).clips_R.max() == 47


# prototypes


def test_prototypes_predict_the_nearest_class_mean():
    rows = make_rows(9, apart=5.0, num_clips=9)
    head = fit_prototypes(rows)
    assert (head.logits(rows.features_RC).argmax(axis=1) == rows.targets_RK.argmax(axis=1)).all()
    mean_C, std_C = feature_scale(rows)
    scaled_RC = (rows.features_RC - mean_C) / std_C
    means_KC = np.stack([scaled_RC[rows.targets_RK[:, k] > 0].mean(axis=0) for k in range(3)]) * 3 / 4  # three clips
    points_RC = np.random.default_rng(2).normal(size=(50, 6)) * 3
    gaps_RK = np.square(((points_RC - mean_C) / std_C)[:, None] - means_KC).sum(axis=2)
    assert (head.logits(points_RC).argmax(axis=1) == gaps_RK.argmin(axis=1)).all()


def test_one_clip_of_each_class_is_enough_for_prototypes():
    rows = make_rows(10, num_clips=3)
    assert (fit_prototypes(rows).logits(rows.features_RC).argmax(axis=1) == np.arange(3)).all()
