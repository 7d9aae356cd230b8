"""The parts of training, each against its formula: schedules, losses, orders, optimisers, metrics, logs, recipes."""

import json
import math
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from i3d.data.annotations import build_annotations
from i3d.data.loading.samplers import balanced_order, training_batches
from i3d.data.rows import Rows
from i3d.errors import InputError
from i3d.evaluation.metrics import (
    class_metrics,
    mean_average_precision,
    mean_class_accuracy,
    mmit_mean_average_precision,
    top_k_accuracy,
)
from i3d.models.factory import build_network
from i3d.recipes.io import load_recipe, with_overrides, with_training
from i3d.recipes.named import RECIPES, named_recipe
from i3d.recipes.settings import InceptionSettings, ResNetSettings
from i3d.recipes.training import (
    SGD,
    Adam,
    AdamW,
    CosineSchedule,
    LayerFactors,
    Loss,
    ParameterFactors,
    PiecewiseSchedule,
    StepSchedule,
    Training,
)
from i3d.training.curves import draw_curves
from i3d.training.log_reader import read_curves
from i3d.training.logger import read_log
from i3d.training.losses import balanced_weights, binary_cross_entropy, cross_entropy
from i3d.training.optimizer import Ema, build_optimizer, freeze, lr_factor, lr_scale, scaled_lr, set_lr, set_mode
from i3d.training.run_folder import LOG, RUN
from i3d.training.runs import list_runs
from i3d.training.setup import weigh_classes
from support.commands import run

R50 = "i3d_r50_32x2x1_100e_kinetics400_rgb"
TINY = ResNetSettings(depth=18, base_channels=2, num_classes=3, non_local=((0,), (1,), (0,), (0,)))


# schedules


def factor_at(step, per_epoch=100, total=10_000, **settings):
    return lr_factor(step, Training(**settings), steps_per_epoch=per_epoch, total_steps=total)


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 1), (3999, 1), (4000, 0.1), (7999, 0.1), (8000, 0.01), (9999, 0.01), (10_000, 0.01)]
)
def test_the_step_schedule_steps_at_the_borders_of_epochs(step, factor):
    assert factor_at(step) == pytest.approx(factor, rel=1e-12)


def test_a_step_schedule_of_nothing_is_flat_and_gamma_multiplies():
    assert {factor_at(step, schedule=StepSchedule(epochs=())) for step in (0, 4000, 9999)} == {1}
    three = StepSchedule(epochs=(1, 2, 4), gamma=0.5)
    assert [factor_at(7 * epoch, per_epoch=7, schedule=three) for epoch in range(5)] == [1, 0.5, 0.25, 0.25, 0.125]


@given(st.integers(1, 10_000), st.floats(0, 0.99), st.data())
def test_the_cosine_schedule(total, end, data):
    step = data.draw(st.integers(0, total))
    cosine = CosineSchedule(end=end)
    expected = end + (1 - end) * (1 + math.cos(math.pi * step / total)) / 2
    assert factor_at(step, total=total, schedule=cosine) == pytest.approx(expected, abs=1e-12)
    assert factor_at(0, total=total, schedule=cosine) == pytest.approx(1)
    assert factor_at(total + step, total=total, schedule=cosine) == pytest.approx(end)  # past the end, it stays


FLOW = [(0, 0.1), (97_000, 0.01), (104_500, 0.001), (115_000, 0.1), (140_000, 0.01), (150_000, 0.001), (155_000, None)]


@pytest.mark.parametrize(("first", "rate", "last"), [(a, rate, b - 1) for (a, rate), (b, _) in pairwise(FLOW)])
def test_the_papers_flow_schedule_rises_again(first, rate, last):
    training = named_recipe("inception_flow_kinetics400").training
    assert scaled_lr(training, clips_per_step=384) == pytest.approx(0.1)
    for step in (first, last):
        factor = lr_factor(step, training, steps_per_epoch=600, total_steps=155_000)
        assert 0.1 * factor == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("until", "factors"), [((5, 5), (1, 0.1, 0.01)), ((7, 5), (1, 0.1, 0.01)), ((5,), (1,)), ((), (1, 0.1))]
)
def test_pieces_must_rise_and_fit(until, factors):
    with pytest.raises(ValueError, match="must rise, and factors"):
        PiecewiseSchedule(until=until, factors=tuple(map(float, factors)))


def test_warm_up_is_linear_and_multiplies_the_schedule():
    warm = {"warmup_epochs": 2.5, "warmup_start": 0.2}  # 25 steps of 10 an epoch
    lr_factors = [factor_at(step, per_epoch=10, schedule=StepSchedule(epochs=(1,)), **warm) for step in range(30)]
    expected = [(0.2 + 0.8 * step / 25 if step < 25 else 1) * (0.1 if step >= 10 else 1) for step in range(30)]
    assert lr_factors == pytest.approx(expected, rel=1e-12)
    assert factor_at(0, warmup_epochs=0.001) == 1  # less than half a step: none
    cosine = factor_at(5, per_epoch=10, total=100, schedule=CosineSchedule(), warmup_epochs=1.0)
    assert cosine == pytest.approx((0.1 + 0.9 * 0.5) * (1 + math.cos(math.pi * 0.05)) / 2)


@given(st.floats(0, 30), st.floats(0.5, 30), st.integers(0, 600))
def test_a_cosine_that_begins_and_ends_within_the_run(begin, length, step):
    cosine = CosineSchedule(end=0.1, begin=begin, length=length)
    epoch = min(max(step / 10 - begin, 0), length)
    expected = 0.1 + 0.9 * (1 + math.cos(math.pi * epoch / length)) / 2
    assert factor_at(step, per_epoch=10, total=600, schedule=cosine) == pytest.approx(expected, abs=1e-9)
    rest = CosineSchedule(begin=20)  # of 60 epochs
    assert [factor_at(s, per_epoch=10, total=600, schedule=rest) for s in (200, 400, 600)] == pytest.approx([1, 0.5, 0])


@pytest.mark.parametrize(
    ("base", "clips", "rate"), [(64, 64, 0.01), (64, 8, 0.00125), (64, 256, 0.04), (0, 8, 0.01), (0, 4096, 0.01)]
)
def test_the_linear_rule(base, clips, rate):
    assert scaled_lr(Training(base_batch=base), clips_per_step=clips) == pytest.approx(rate, rel=1e-12)


# losses


def log_softmax(x_NK):
    shifted = x_NK - x_NK.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@st.composite
def clips_of_classes(draw):
    """Logits (N, K), class numbers (N) and a weight (K) of each class."""
    n, k = draw(st.integers(1, 6)), draw(st.integers(2, 5))
    logits_NK = draw(arrays(np.float64, (n, k), elements=st.floats(-20, 20)))
    labels_N = draw(arrays(np.int64, n, elements=st.integers(0, k - 1)))
    return logits_NK, labels_N, draw(arrays(np.float64, k, elements=st.floats(0.1, 5)))


def loss(logits_NK, targets, **settings):
    tensors = {name: torch.from_numpy(settings.pop(name)) for name in list(settings) if name.startswith("class_")}
    return cross_entropy(torch.from_numpy(logits_NK), torch.from_numpy(targets), Loss(**settings), **tensors).item()


@given(clips_of_classes())
def test_plain_cross_entropy_and_class_weights(drawn):
    logits_NK, labels_N, weights_K = drawn
    own_N = -log_softmax(logits_NK)[np.arange(len(labels_N)), labels_N]
    assert loss(logits_NK, labels_N) == pytest.approx(own_N.mean(), abs=1e-9)
    weighted = (weights_K[labels_N] * own_N).sum() / weights_K[labels_N].sum()
    assert loss(logits_NK, labels_N, class_weights_K=weights_K) == pytest.approx(weighted, abs=1e-9)


@given(clips_of_classes(), st.floats(0, 0.9))
def test_label_smoothing(drawn, smoothing):
    logits_NK, labels_N, _ = drawn
    num_classes = logits_NK.shape[1]
    targets_NK = (1 - smoothing) * np.eye(num_classes)[labels_N] + smoothing / num_classes
    expected = -(targets_NK * log_softmax(logits_NK)).sum(axis=1).mean()
    assert loss(logits_NK, labels_N, label_smoothing=smoothing) == pytest.approx(expected, abs=1e-9)


@given(clips_of_classes(), st.floats(0.1, 5))
def test_focal_loss(drawn, gamma):
    logits_NK, labels_N, weights_K = drawn
    log_p_N = log_softmax(logits_NK)[np.arange(len(labels_N)), labels_N]
    plain_N = -((1 - np.exp(log_p_N)).clip(0) ** gamma) * log_p_N
    assert loss(logits_NK, labels_N, focal_gamma=gamma) == pytest.approx(plain_N.mean(), abs=1e-9)
    weighted = loss(logits_NK, labels_N, focal_gamma=gamma, class_weights_K=weights_K)
    assert weighted == pytest.approx((weights_K[labels_N] * plain_N).mean(), abs=1e-9)


def test_focal_loss_with_label_smoothing_is_refused():
    with pytest.raises(InputError, match="focal loss is of hard labels"):
        with_overrides(named_recipe(R50), ["training.loss.focal_gamma=2", "training.loss.label_smoothing=0.2"])


@given(clips_of_classes(), st.floats(0.1, 2))
def test_logit_adjustment(drawn, tau):
    logits_NK, labels_N, shares_K = drawn
    shares_K = shares_K / shares_K.sum()
    own_N = -log_softmax(logits_NK + tau * np.log(shares_K))[np.arange(len(labels_N)), labels_N]
    adjusted = loss(logits_NK, labels_N, logit_adjustment=tau, class_frequencies_K=shares_K)
    assert adjusted == pytest.approx(own_N.mean(), abs=1e-9)


def test_logit_adjustment_with_an_absent_class_is_finite():
    assert math.isfinite(
        loss(np.zeros((1, 2)), np.array([0]), logit_adjustment=1.0, class_frequencies_K=np.array([1.0, 0]))
    )


@given(clips_of_classes(), st.data())
def test_soft_targets(drawn, data):
    logits_NK, _, _ = drawn
    rows_NK = data.draw(arrays(np.float64, logits_NK.shape, elements=st.floats(0.01, 1)))
    rows_NK /= rows_NK.sum(axis=1, keepdims=True)
    expected = -(rows_NK * log_softmax(logits_NK)).sum(axis=1).mean()
    assert loss(logits_NK, rows_NK) == pytest.approx(expected, abs=1e-9)


@given(clips_of_classes(), st.floats(0, 0.9), st.floats(0, 3), st.data())
def test_binary_cross_entropy_of_classes_that_go_together(drawn, smoothing, gamma, data):
    logits_NK, _, weights_K = drawn
    targets_NK = data.draw(arrays(np.float64, logits_NK.shape, elements=st.sampled_from([0.0, 1.0])))
    p_NK = 1 / (1 + np.exp(-logits_NK))
    smooth_NK = targets_NK * (1 - smoothing) + smoothing / targets_NK.shape[1]  # as in MMAction2's BaseHead
    log_p_NK, log_not_NK = -np.logaddexp(0, -logits_NK), -np.logaddexp(0, logits_NK)
    values_NK = -(weights_K * smooth_NK * log_p_NK + (1 - smooth_NK) * log_not_NK)
    right_NK = np.where(targets_NK > 0, p_NK, 1 - p_NK)
    computed = binary_cross_entropy(
        torch.from_numpy(logits_NK), torch.from_numpy(targets_NK), Loss(label_smoothing=smoothing, focal_gamma=gamma),
        class_weights_K=torch.from_numpy(weights_K),
    )  # fmt: skip
    assert computed.item() == pytest.approx((values_NK * (1 - right_NK).clip(0) ** gamma).mean(), abs=1e-8)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_float32(kind):
    logits_NK = (torch.randn(8, 400, generator=torch.Generator().manual_seed(0)) * 8).to(kind)
    labels_N, shares_K, weights_K = torch.arange(8), torch.full((400,), 1 / 400), torch.ones(400)
    for settings_ in ({}, {"label_smoothing": 0.1}, {"focal_gamma": 2.0}, {"logit_adjustment": 1.0}):
        in_half = cross_entropy(
            logits_NK, labels_N, Loss(**settings_), class_frequencies_K=shares_K, class_weights_K=weights_K
        )
        whole = cross_entropy(logits_NK.float(), labels_N, Loss(**settings_), class_frequencies_K=shares_K)
        assert in_half.dtype == torch.float32
        assert in_half.item() == pytest.approx(whole.item(), rel=1e-6)
    rows_NK = torch.nn.functional.one_hot(labels_N, 400).float()
    assert cross_entropy(logits_NK, rows_NK, Loss()).dtype == torch.float32
    several = binary_cross_entropy(logits_NK, rows_NK, Loss(focal_gamma=1.0, label_smoothing=0.1))
    assert several.dtype == torch.float32
    assert several == binary_cross_entropy(logits_NK.float(), rows_NK, Loss(focal_gamma=1.0, label_smoothing=0.1))
    assert cross_entropy(logits_NK.double(), labels_N, Loss()).dtype == torch.float64


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any))
def test_balanced_weights(counts):
    counts_K = np.array(counts)
    weights_K = balanced_weights(counts_K).numpy()
    assert weights_K.dtype == np.float32
    assert ((weights_K == 0) == (counts_K == 0)).all()
    assert (weights_K * counts_K).sum() / counts_K.sum() == pytest.approx(1, rel=1e-5)  # the mean over clips
    totals_K = (weights_K * counts_K)[counts_K > 0]
    assert totals_K == pytest.approx(totals_K[0], rel=1e-5)  # every class weighs the same in all


def weighed(labels, *, multi_label=False, **settings_):
    rows = Rows()
    for i, classes in enumerate(labels):
        rows.add(f"{i}.mp4", classes)
    annotations = build_annotations(
        rows, source="l.txt", root=".", classes=("a", "b", "c"), multi_label=True, allow_outside=False
    )
    parts = SimpleNamespace(
        training=Training(loss=Loss(**settings_)), recipe=SimpleNamespace(multi_label=multi_label), device="cpu",
        class_weights_K=None, class_frequencies_K=None,
    )  # fmt: skip
    weigh_classes(parts, annotations)
    return parts


def test_class_weights_and_frequencies_of_a_dataset():
    labels = [("a",), ("a",), ("a",), ("b",)]
    assert weighed(labels).class_weights_K is None
    assert weighed(labels, class_weights="balanced").class_weights_K.tolist() == pytest.approx([4 / 6, 2, 0])
    assert weighed(labels, logit_adjustment=1.0).class_frequencies_K.tolist() == [0.75, 0.25, 0]
    several = weighed([("a",), ("a", "b"), ("a",), ("a",)], multi_label=True, class_weights="balanced")
    assert several.class_weights_K.tolist() == [0.25, 3, 4]  # those without a class for one with it; at least one each


def test_a_class_that_all_clips_show_still_counts():
    several = weighed([("a",), ("a", "b"), ("a",), ("a",)], multi_label=True, class_weights="balanced")
    assert several.class_weights_K[0] > 0


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"loss_scale": 128.0}, "loss_scale is for fp16, not for fp32"),
        ({"freeze_norms": True, "sync_norms": True}, "cannot be synchronised"),
        ({"mixup": {"mixup_alpha": 0.2}, "loss": {"focal_gamma": 2.0}}, "mixed clips have no one class"),
        ({"mixup": {"cutmix_alpha": 1.0}, "loss": {"class_weights": "balanced"}}, "mixed clips have no one class"),
    ],
)
def test_settings_that_contradict_each_other(settings_, message):
    with pytest.raises(ValueError, match=message):
        Training.model_validate(settings_)


# balanced order


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 2**32), st.integers(0, 100))
def test_balanced_order(classes, seed, epoch):
    classes_N = np.array(classes)
    order_N = balanced_order(classes_N, seed=seed, epoch=epoch) % len(classes_N)
    assert len(order_N) == len(classes_N)
    assert set(order_N.tolist()) <= set(range(len(classes_N)))
    drawn_K = [int((classes_N[order_N] == label).sum()) for label in np.unique(classes_N)]
    assert max(drawn_K) - min(drawn_K) <= 1
    for label in np.unique(classes_N):  # every clip of a class comes before any comes again
        own, taken = np.flatnonzero(classes_N == label), order_N[classes_N[order_N] == label]
        times = np.array([(taken == clip).sum() for clip in own])
        assert times.max() - times.min() <= 1
    again_N = balanced_order(classes_N, seed=seed, epoch=epoch)
    assert np.array_equal(order_N, again_N % len(classes_N))
    assert len(set(again_N.tolist())) == len(again_N)  # a clip that comes again is another draw


def test_balanced_order_in_batches_of_ranks_is_filled_up():
    classes_N = np.array([0] * 9 + [1] * 2)
    orders = [balanced_order(classes_N, seed=3, epoch=epoch) % len(classes_N) for epoch in range(20)]
    assert len({tuple(order) for order in orders}) == 20
    order = orders[0]
    ranks = [training_batches(order, batch_size=2, rank=rank, world_size=2) for rank in range(2)]
    assert [[len(batch) for batch in batches] for batches in ranks] == [[2, 2, 2], [2, 2, 2]]
    together = np.concatenate([np.stack(pair, axis=1).reshape(-1) for pair in zip(*ranks, strict=True)])
    assert together.tolist() == [*order, order[0]]


# optimiser, freezing, modes


@pytest.fixture(scope="module")
def resnet():
    return build_network(TINY)


@pytest.fixture(scope="module")
def inception():
    return build_network(InceptionSettings(num_classes=3))


def factors(model, **settings_):
    """The lr factor of every state-dict key, from the optimiser itself."""
    optimizer = build_optimizer(model, Training(**settings_), lr=0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["factor"] for group in optimizer.param_groups for p in group["params"]}


def test_lr_of_the_layers_of_resnet(resnet):
    lr_factors = factors(resnet, layer_decay=0.5, head_lr=3.0)
    assert lr_factors.keys() == {name for name, _ in resnet.named_parameters()}
    expected = {"fc": 3.0, "layer4": 0.5, "layer3": 0.25, "layer2": 0.125, "layer1": 0.0625, "conv1": 0.03125}
    assert {name: lr_factors[name] for name in lr_factors} == {
        name: expected[name.split(".")[0]] for name in lr_factors
    }
    assert any("non_local" in name and factor == 0.125 for name, factor in lr_factors.items())
    assert set(factors(resnet).values()) == {1.0}


def test_lr_of_the_layers_of_inception(inception):
    lr_factors = factors(inception, layer_decay=0.5, head_lr=10.0)
    assert lr_factors.keys() == {name for name, _ in inception.named_parameters()}
    assert {lr_factors["logits.conv3d.weight"], lr_factors["logits.conv3d.bias"]} == {10.0}
    with_weights = [stage for stage in inception.endpoints if not stage.startswith("MaxPool")]
    for number, stage in enumerate(reversed(with_weights), start=1):
        assert {factor for name, factor in lr_factors.items() if name.startswith(stage + ".")} <= {0.5**number}
    assert lr_factors["Mixed_5c.b0.conv3d.weight"] == 0.5
    stages = list(dict.fromkeys(lr_factors[name] for name in lr_factors if not name.startswith("logits")))
    assert stages == sorted(stages)  # less with every stage away from the classifier


def test_pools_of_inception_are_no_stages(inception):
    training = Training(layer_decay=0.5)
    assert lr_scale(inception, "Mixed_5b.b0.conv3d.weight", training) == 0.5**2
    assert lr_scale(inception, "Mixed_4f.b0.conv3d.weight", training) == 0.5**3
    assert lr_scale(inception, "Conv3d_1a_7x7.conv3d.weight", training) == 0.5**12


def test_optimisers_have_the_settings_of_the_recipe(resnet):
    sgd = build_optimizer(resnet, Training(optimizer=SGD(momentum=0.8, weight_decay=0.02, nesterov=True)), lr=0.3)
    assert isinstance(sgd, torch.optim.SGD)
    assert [sgd.defaults[key] for key in ("lr", "momentum", "weight_decay", "nesterov")] == [0.3, 0.8, 0.02, True]
    adamw = build_optimizer(resnet, Training(optimizer=AdamW(betas=(0.8, 0.95), weight_decay=0.1)), lr=0.3)
    assert isinstance(adamw, torch.optim.AdamW)
    assert [adamw.defaults[key] for key in ("lr", "betas", "weight_decay")] == [0.3, (0.8, 0.95), 0.1]
    adam = build_optimizer(resnet, Training(optimizer=Adam(weight_decay=0.1)), lr=0.3)
    assert isinstance(adam, torch.optim.Adam)
    assert not isinstance(adam, torch.optim.AdamW)
    assert [adam.defaults[key] for key in ("lr", "betas", "weight_decay")] == [0.3, (0.9, 0.999), 0.1]


def test_factors_by_the_kind_of_a_parameter(resnet):
    norms = {key.removesuffix("running_mean") for key in resnet.state_dict() if key.endswith("running_mean")}
    layers = (LayerFactors(prefix="layer4.", lr=0.5, weight_decay=0.0), LayerFactors(prefix="*", lr=0.1))

    def by_kind(name):
        if name[: name.rindex(".") + 1] in norms:
            return 1, 0
        return (2, 0.5) if name.endswith(".bias") else (1, 1)

    def by_layer(name):
        if name.startswith("fc."):
            return by_kind(name)
        return (0.5, 0) if name.startswith("layer4.") else (0.1, 1)

    factors = {"norm_decay": 0.0, "bias_decay": 0.5, "bias_lr": 2.0}
    for chosen, expected in [
        (ParameterFactors(**factors), by_kind),
        (ParameterFactors(**factors, layers=layers), by_layer),
    ]:
        training = Training(optimizer=SGD(weight_decay=0.02), factors=chosen)
        optimizer = build_optimizer(resnet, training, lr=1.0)
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        of = {name: groups[id(parameter)] for name, parameter in resnet.named_parameters()}
        assert {name: (group["factor"], group["weight_decay"] / 0.02) for name, group in of.items()} == {
            name: expected(name) for name in of
        }


def test_the_lr_of_a_step_is_scaled_by_the_factor_of_each_group(resnet):
    optimizer = build_optimizer(resnet, Training(layer_decay=0.5, head_lr=2.0), lr=1.0)
    set_lr(optimizer, 0.3)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx(
        [0.3 * factor for factor in (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 2)]
    )


@pytest.mark.parametrize(
    ("prefixes", "free"),
    [
        ((), {"conv1", "layer1", "layer2", "layer3", "layer4", "fc"}),
        (("*",), {"fc"}),
        (("conv1.", "layer1"), {"layer2", "layer3", "layer4", "fc"}),
        (("fc.",), {"conv1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
def test_freezing(prefixes, free):
    model, training = build_network(TINY), Training(freeze=prefixes)
    freeze(model, training)
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == free
    assert {name.split(".")[0] for name in factors(model, freeze=prefixes)} == free  # the rest gets no optimiser


@pytest.mark.parametrize(
    ("prefixes", "message"),
    [
        (("layer9",), "freeze 'layer9': no parameter of the network starts with it"),
        (("*", "Mixed_5c"), "freeze 'Mixed_5c': no parameter"),
        (("*", "fc."), "all parameters are frozen"),
    ],
)
def test_freezing_unknown_layers_or_everything(prefixes, message):
    with pytest.raises(InputError, match=message):
        freeze(build_network(TINY), Training(freeze=prefixes))


def test_all_but_the_classifier_of_inception(inception):
    freeze(inception, Training(freeze=("*",)))
    free = {name for name, p in inception.named_parameters() if p.requires_grad}
    inception.requires_grad_(True)
    assert free == {"logits.conv3d.weight", "logits.conv3d.bias"}


def modes(model):
    norms = {n: m.training for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm3d)}
    return norms, [m.training for m in model.modules() if isinstance(m, torch.nn.Dropout)]


def test_frozen_norms_stay_in_evaluation_mode():
    model = build_network(TINY)
    set_mode(model.eval(), Training())
    assert all(modes(model)[0].values())
    set_mode(model.eval(), Training(freeze_norms=True))
    norms, dropouts = modes(model)
    assert not any(norms.values())
    assert all(dropouts)
    training = Training(freeze=("conv1", "layer1"))
    freeze(model, training)
    set_mode(model, training)
    assert {name.split(".")[0] for name, mode in modes(model)[0].items() if not mode} == {"conv1", "layer1"}
    assert {name.split(".")[0] for name, mode in modes(model)[0].items() if mode} == {"layer2", "layer3", "layer4"}
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    model(torch.randn(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0)))
    changed_ = {name.split(".")[0] for name, value in model.state_dict().items() if name in before
                and not torch.equal(value, before[name])}  # fmt: skip
    assert changed_ == {"layer2", "layer3", "layer4"}


# the running average


def test_the_running_average_is_its_formula():
    model, rng = build_network(TINY), torch.Generator().manual_seed(1)
    ema = Ema(model, decay=0.9)
    expected = {name: value.clone().double() for name, value in model.state_dict().items()}
    for _ in range(5):
        with torch.no_grad():
            for value in model.state_dict().values():
                if value.is_floating_point():
                    value.add_(torch.randn(value.shape, generator=rng))
                else:
                    value.add_(1)
        ema.update(model)
        for name, value in model.state_dict().items():
            moved = 0.9 * expected[name] + 0.1 * value.double()
            expected[name] = moved if value.is_floating_point() else value.double()
    assert any("running_mean" in name for name in expected)
    for name, value in ema.state.items():
        assert value.dtype == model.state_dict()[name].dtype
        assert torch.allclose(value.double(), expected[name], rtol=1e-5, atol=1e-6), name
        assert value.data_ptr() != model.state_dict()[name].data_ptr()
    assert ema.state["conv1.bn.num_batches_tracked"] == model.state_dict()["conv1.bn.num_batches_tracked"] == 5


@pytest.mark.parametrize("fails", [False, True])
def test_the_average_takes_the_place_of_the_weights_for_a_while(fails):
    model = build_network(TINY)
    ema = Ema(model, decay=0.5)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(1)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    places = [parameter.data_ptr() for parameter in model.parameters()]
    ema.update(model)
    averaged = {name: value.clone() for name, value in ema.state.items()}

    def use_average():
        with ema.in_place_of(model):
            assert all(torch.equal(value, averaged[name]) for name, value in model.state_dict().items())
            if fails:
                raise RuntimeError("in the middle")

    if fails:
        with pytest.raises(RuntimeError, match="in the middle"):
            use_average()
    else:
        use_average()
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, averaged[name]) for name, value in ema.state.items())
    assert [parameter.data_ptr() for parameter in model.parameters()] == places  # the optimiser's tensors


# metrics


SCORES_NK = [[0.1, 0.6, 0.3], [0.5, 0.5, 0.0], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]]  # best: 1, 0 (a tie), 2, 2


def test_accuracies_by_hand():
    assert top_k_accuracy(SCORES_NK, [1, 1, 2, 0]) == 0.5  # of equal scores the lower class wins: clip 1 is wrong
    assert top_k_accuracy(SCORES_NK, [1, 0, 2, 0]) == 0.75
    assert top_k_accuracy(SCORES_NK, [2, 1, 1, 1], k=2) == 0.5  # clips 0 and 1; in 2 and 3 class 0 comes before 1
    assert top_k_accuracy(SCORES_NK, [0, 1, 2, 0], k=9) == 1  # more than there are
    assert mean_class_accuracy(SCORES_NK, [1, 0, 2, 0]) == pytest.approx((0.5 + 1 + 1) / 3)
    assert class_metrics(SCORES_NK, [1, 1, 1, 1]).mean_recall == 0.25  # absent classes do not count
    assert mean_class_accuracy(SCORES_NK, [1, 1, 1, 1]) == pytest.approx(0.25 / 3)  # 0 and 2 are predicted
    assert mean_class_accuracy([[0.3], [0.2]], [0, 0]) == 1  # one class


@given(st.integers(1, 12), st.integers(1, 6), st.data())
def test_accuracies_are_those_of_a_loop(n, k, data):
    scores_NK = data.draw(arrays(np.float64, (n, k), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))  # many ties
    labels_N = data.draw(arrays(np.int64, n, elements=st.integers(0, k - 1)))
    for top in (1, 2, 5):
        hits = 0
        for row, label in zip(scores_NK, labels_N, strict=True):
            before = sum(v > row[label] or (v == row[label] and i < label) for i, v in enumerate(row))
            hits += before < top
        assert top_k_accuracy(scores_NK, labels_N, k=top) == pytest.approx(hits / n)
    shares = []
    for label in set(labels_N.tolist()):
        own = [max(range(k), key=lambda i: (row[i], -i)) for row in scores_NK[labels_N == label]]
        shares.append(sum(best == label for best in own) / len(own))
    assert class_metrics(scores_NK, labels_N).mean_recall == pytest.approx(sum(shares) / len(shares))


def test_average_precision_by_hand():
    scores_NK = [[0.9, 0.1], [0.8, 0.9], [0.7, 0.5], [0.6, 0.2]]
    targets_NK = [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert mean_average_precision(scores_NK, targets_NK) == pytest.approx(((1 + 2 / 3) / 2 + (1 + 2 / 3) / 2) / 2)
    assert mean_average_precision([[0.5], [0.5], [0.5], [0.5]], [[1], [0], [0], [1]]) == 0.5  # all alike
    assert mean_average_precision([[0.9, 0.1], [0.1, 0.2]], [[1, 0], [0, 0]]) == 1  # class 1 does not occur
    of_clips = [1, 1, 1, 1 / 2, 1, 1 / 3]  # the class of the last is the lowest of 3
    scores_NK = [[0.9, 0.1, 0], [0.9, 0.8, 0], [0.1, 0, 0.5], [0.9, 0.1, 0], [0.1, 0.2, 0.3], [0.9, 0.5, 0.1]]
    targets_NK = [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]]
    assert mmit_mean_average_precision(scores_NK, targets_NK) == pytest.approx(sum(of_clips) / 6)
    with pytest.raises(ValueError, match="no clip has a class"):
        mean_average_precision([[0.5]], [[0]])


def average_precision(scores_N, shown_N):
    """Down the list of thresholds: the precision at each, weighted by how much recall it brings."""
    total, before = 0.0, 0
    for threshold in sorted(set(scores_N), reverse=True):
        chosen = [shown for score, shown in zip(scores_N, shown_N, strict=True) if score >= threshold]
        total += sum(chosen) / len(chosen) * (sum(chosen) - before) / sum(shown_N)
        before = sum(chosen)
    return total


@given(st.integers(1, 10), st.integers(1, 4), st.data())
def test_average_precision_is_that_of_a_loop(n, k, data):
    scores_NK = data.draw(arrays(np.float64, (n, k), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])))
    targets_NK = data.draw(arrays(np.int64, (n, k), elements=st.integers(0, 1)).filter(lambda rows: rows.any()))
    shown = [i for i in range(k) if targets_NK[:, i].any()]
    each = [average_precision(scores_NK[:, i].tolist(), targets_NK[:, i].tolist()) for i in shown]
    assert mean_average_precision(scores_NK, targets_NK) == pytest.approx(sum(each) / len(each))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[0.1, 0.2], [math.nan, 0.3]], [0, 1], "scores of clip 1 hold NaN or infinity"),
        ([[math.inf, 0.2]], [0], "scores of clip 0 hold NaN or infinity"),
        ([[0.1, 0.2]], [2], "labels must be 0 to 1, got 2 to 2"),
        ([[0.1, 0.2]], [-1], "labels must be 0 to 1, got -1 to -1"),
        ([[0.1, 0.2]], [0, 1], r"got \(1, 2\) and \(2,\)"),
        (np.zeros((0, 2)), [], r"got \(0, 2\) and \(0,\)"),
    ],
)
@pytest.mark.parametrize("metric", [top_k_accuracy, mean_class_accuracy])
def test_scores_that_are_none(metric, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        metric(scores, labels)


def test_more_scores_that_are_none():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        top_k_accuracy(SCORES_NK, [0, 0, 0, 0], k=0)
    with pytest.raises(ValueError, match="must be finite"):
        mean_average_precision([[math.nan]], [[1]])
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(1, 1\)"):
        mean_average_precision([[0.1, 0.2]], [[1]])


# logs and curves


def log(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def ours(path, *, steps=(20, 40), top1=0.5):
    validation = {"step": steps[-1], "epoch": 0, "validation": {"top1": top1, "mean_class": top1 / 2}, "clips": 9}
    return log(
        path, *({"step": s, "epoch": 0, "loss": 6.0 / s, "top1": 0.1, "lr": 0.01} for s in steps), validation
    )  # fmt: skip


def old(epoch, at, **metrics):
    return {"mode": "train", "epoch": epoch, "iter": at, "lr": 0.01, "memory": 5170, "loss": 5.0, **metrics}


def test_curves_of_our_log(tmp_path):
    assert read_curves(ours(tmp_path / LOG)) == {
        "loss": {"loss": ([20, 40], [0.3, 0.15])},
        "accuracy": {"top1": ([20, 40], [0.1, 0.1])},
        "lr": {"lr": ([20, 40], [0.01, 0.01])},
        "validation": {"top1": ([40], [0.5]), "mean_class": ([40], [0.25])},
    }


def test_curves_of_mmaction2_0(tmp_path):
    head = {"env_info": "sys.platform: linux", "seed": 0, "exp_name": "i3d.py"}
    metrics = {"top1_acc": 0.3, "top5_acc": 0.6, "mean_class_accuracy": 0.2}
    lines = [head, old(1, 20, top1_acc=0.1), old(1, 40), {"mode": "val", "epoch": 1, "iter": 9, "lr": 0.01, **metrics}]
    path = log(tmp_path / "20200101_000000.log.json", *lines, old(2, 20, loss=4.0), "")
    assert read_curves(path) == {
        "loss": {"loss": ([20, 40, 60], [5, 5, 4])},
        "accuracy": {"top1_acc": ([20], [0.1])},
        "lr": {"lr": ([20, 40, 60], [0.01] * 3)},
        "validation": {"top1_acc": ([40], [0.3]), "top5_acc": ([40], [0.6]), "mean_class_accuracy": ([40], [0.2])},
    }


def test_curves_of_mmaction2_0_that_was_resumed(tmp_path):
    path = log(tmp_path / "r.log.json", *(old(3, at) for at in (20, 40, 60)), *(old(4, at) for at in (20, 40, 60)))
    assert read_curves(path)["loss"]["loss"][0] == [140, 160, 180, 200, 220, 240]


def new(step, **metrics):
    return {"lr": 0.01, "data_time": 0.1, "loss": 5.0, "top1_acc": 0.0, "epoch": -(-step // 40), "iter": step,
            "memory": 5170, "step": step, **metrics}  # fmt: skip


def test_curves_of_mmaction2_1(tmp_path):
    val = {"acc/top1": 0.3, "acc/top5": 0.6, "acc/mean1": 0.2, "data_time": 1.0, "time": 2.0, "step": 1}
    curves = read_curves(log(tmp_path / "scalars.json", new(20), new(40), val, new(60, loss=4.0)))
    assert curves["loss"] == {"loss": ([20, 40, 60], [5, 5, 4])}
    assert curves["accuracy"] == {"top1_acc": ([20, 40, 60], [0, 0, 0])}
    assert {name: values for name, (_, values) in curves["validation"].items()} == {
        "top1": [0.3], "top5": [0.6], "mean1": [0.2],
    }  # fmt: skip


def test_validations_of_mmaction2_1_lie_at_their_steps(tmp_path):
    path = log(tmp_path / "scalars.json", new(20), new(40), {"acc/top1": 0.3, "step": 1}, new(60), new(80),
               {"acc/top1": 0.4, "step": 2})  # fmt: skip
    assert read_curves(path)["validation"]["top1"] == ([40, 80], [0.3, 0.4])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epoch 1 loss 2\n", r"x\.json:1: not a line of JSON; is this a log"),
        (b'{"step": 1, "loss": 2}\n[1]\n', r"x\.json:2: not an object"),
        (b"\xff\xfe\n", r"x\.json: not a text file"),
        (None, r"x\.json: cannot be read"),
    ],
)
def test_files_that_are_no_log(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_curves(tmp_path / "x.json")


@pytest.mark.slow
def test_curves_as_an_image(tmp_path):
    draw_curves(tmp_path / "one.png", {"run": ours(tmp_path / "a" / LOG)})
    logs = {"a$_$": tmp_path / "a" / LOG, "b": ours(tmp_path / "b" / LOG, steps=(20,))}
    draw_curves(tmp_path / "two.png", {**logs, "c": log(tmp_path / "c.json", old(1, 20))})
    for name in ("one.png", "two.png"):
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.size) == ("PNG", (1210, 770))
            image.load()
            assert len(image.convert("RGB").getcolors(1 << 20)) > 50  # something is drawn
    with pytest.raises(InputError, match=r"empty\.json: holds nothing to draw yet"):
        draw_curves(tmp_path / "no.png", {"e": log(tmp_path / "empty.json")})
    assert not (tmp_path / "no.png").exists()


def test_a_log_that_is_being_written_can_be_drawn(tmp_path):
    path = ours(tmp_path / LOG)
    path.write_text(path.read_text() + '{"step": 60, "lo')
    assert len(read_log(path)) == 3
    assert read_curves(path)["loss"]["loss"][0] == [20, 40]


def test_plot_as_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        ours(tmp_path / name / LOG)
    assert run("plot", "a", "b/log.jsonl", "--out", "both.png").stderr == "curves: both.png\n"
    with Image.open("both.png") as image:
        assert image.size == (1210, 770)
    wrong = run("plot", "a", "--out", "both.jpg")
    assert (wrong.returncode, wrong.stderr) == (
        2, "error: --out both.jpg: the name must end in .png\n",
    )  # fmt: skip
    assert run("plot", "gone").stderr == "error: gone: no such file or folder; check the path\n"
    assert "error: .: is no run, but holds runs (a, b); name them" in run("plot", ".").stderr


# runs side by side


def make_run(folder, *settings_, finished=True, seed=0, name="i3d_rgb", **validation):
    recipe = with_overrides(named_recipe(name), settings_).model_dump(mode="json")
    starts = [{"time": "2024-01-02T03:04:05+0000"}, {"time": "2024-01-03T00:00:00+0000"}]
    record = {"config": {"recipe": recipe, "lr": 0.01, "seed": seed}, "starts": starts, "done": finished}
    log(folder / RUN, json.dumps(record))
    return log(folder / LOG, {"step": 20, "epoch": 0, "loss": 3.0, "top1": 0.1, "lr": 0.01},
               {"step": 20, "epoch": 0, "validation": {"top1": 0.5, "mean_class": 0.4}},
               {"step": 40, "epoch": 1, "loss": 2.0, "top1": 0.2, "lr": 0.01},
               {"step": 40, "epoch": 1, "validation": {"top1": 0.5, "mean_class": 0.6, **validation}})  # fmt: skip


def test_runs_side_by_side(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "deep/b", "training.best_by=mean_class", "training.optimizer.lr=0.5", finished=False, seed=7)
    several = make_run(tmp_path / "ç (3)", "multi_label=true", mean_average_precision=0.3)
    several.write_text(several.read_text() + '{"step": 60, "lo')  # killed in the middle of a line
    first, second, third = list_runs(tmp_path)
    assert [run_row.folder for run_row in (first, second, third)] == ["a", "deep/b", "ç (3)"]
    assert (first.state, first.steps, first.best, first.best_step, first.loss) == ("done", 40, 0.5, 20, 2.0)
    assert (second.state, second.best, second.best_step, second.seed) == ("unfinished", 0.6, 40, 7)
    assert (third.best, third.best_step, third.started) == (0.3, 40, "2024-01-02T03:04:05+0000")
    assert second.settings == {"multi_label": False, "training.best_by": "mean_class", "training.optimizer.lr": 0.5}
    assert [run_row.folder for run_row in list_runs(tmp_path / "a")] == ["a"]
    assert list_runs(tmp_path / "a")[0].settings == {}


def test_a_run_that_has_just_begun(tmp_path):
    make_run(tmp_path / "a", finished=False).unlink()
    [run_row] = list_runs(tmp_path)
    assert (run_row.steps, run_row.best, run_row.best_step, run_row.loss) == (0, None, 0, None)


def test_runs_as_a_command(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", "training.optimizer={kind: adamw}", finished=False)
    result = run("runs", tmp_path)
    assert result.returncode == 0, result.stderr
    for words in ("a", "b", "done", "unfinished", "i3d_rgb", "0.5000", "2.0000", "2024-01-02T03:04", "adamw", "sgd"):
        assert words in result.stdout
    rows = json.loads(run("runs", tmp_path, "--json").stdout)
    kinds = {row["folder"]: row["settings"]["training.optimizer.kind"] for row in rows}
    assert kinds == {"a": "sgd", "b": "adamw"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, "", r"holds no run; give the --work-dir of `i3d train`, or a folder of such"),
        (RUN, "{", r"run\.json: not the record of a run; restore it or move it away"),
        (RUN, '{"config": {}}', r"run\.json: not the record of a run"),
        (RUN, "[1]", r"run\.json: not the record of a run"),
    ],
)
def test_folders_that_hold_no_runs(tmp_path, name, content, message):
    if name:
        log(tmp_path / "x" / name, content)
    with pytest.raises(InputError, match=message):
        list_runs(tmp_path)


def test_runs_of_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"gone: no such folder; give the one that holds runs"):
        list_runs(tmp_path / "gone")


# recipes from files and options


def recipe_file(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_recipe_from_a_base_and_its_changes(tmp_path):
    text = "\ufeffbase: i3d_rgb\ntraining:\n  epochs: 3\n  optimizer: {lr: 0.5}\n  freeze: [Conv3d_1a_7x7., Mixed_3b]\n"
    recipe, base = load_recipe(recipe_file(tmp_path / "mine.yaml", text)), named_recipe("i3d_rgb")
    assert recipe.name == "mine"
    assert recipe.training.optimizer == SGD(lr=0.5, weight_decay=4e-4)
    optimizer = SGD(lr=0.5, weight_decay=4e-4)
    changes = {"epochs": 3, "optimizer": optimizer, "freeze": ("Conv3d_1a_7x7.", "Mixed_3b")}
    assert recipe == base.model_copy(update={"name": "mine", "training": base.training.model_copy(update=changes)})
    as_json = json.dumps({"base": "i3d_rgb", "name": "other", "training": {"epochs": 3}})
    other = load_recipe(recipe_file(tmp_path / "mine.json", as_json))
    assert (other.name, other.training.epochs) == ("other", 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training: {optimizer: {kind: adamw, lr: 0.001}}", ("optimizer", AdamW(lr=0.001))),
        ("training: {optimizer: {kind: sgd, lr: 0.5}}", ("optimizer", SGD(lr=0.5, weight_decay=4e-4))),
        ("training: {schedule: {kind: step, epochs: [3]}}", ("schedule", StepSchedule(epochs=(3,)))),
        ("training: {schedule: {end: 0.1}}", ("schedule", CosineSchedule(end=0.1))),
    ],
)
def test_another_kind_takes_the_place_of_the_whole(tmp_path, text, expected):
    recipe = load_recipe(recipe_file(tmp_path / "r.yaml", f"base: i3d_rgb\n{text}"))
    assert getattr(recipe.training, expected[0]) == expected[1]
    network = load_recipe(recipe_file(tmp_path / "n.yaml", "base: i3d_rgb\nnetwork: {kind: resnet, depth: 18}")).network
    assert network == ResNetSettings(depth=18)


def test_a_file_can_choose_the_other_protocol(tmp_path):
    text = "base: inception_rgb_kinetics400\nprotocol: {clip_len: 64, frame_interval: 1, num_clips: 1, crops: center}"
    assert load_recipe(recipe_file(tmp_path / "r.yaml", text)).protocol.clip_len == 64


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_come_back_from_the_folder_of_a_run(tmp_path, name):
    recipe = named_recipe(name)
    assert load_recipe(recipe_file(tmp_path / "recipe.json", recipe.model_dump_json(indent=1) + "\n")) == recipe


@pytest.mark.parametrize("name", [R50, "i3d_rgb"])
def test_recipes_come_back_from_yaml(tmp_path, name):
    recipe = named_recipe(name)
    assert load_recipe(recipe_file(tmp_path / "recipe.yaml", json.dumps(recipe.model_dump(mode="json")))) == recipe


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("training.epochs=20", 20),
        ("training.epochs=1000", 1000),
        ("training.steps=null", None),
        ("training.steps=", None),
        ("training.optimizer.lr=0.02", 0.02),
        ("training.optimizer.lr=1", 1.0),
        ("training.optimizer.lr=1.0e-3", 0.001),
        ("training.freeze_norms=true", True),
        ("training.init=weights/é = 1.pth", "weights/é = 1.pth"),
        ('training.init=""', ""),
        ("training.freeze=[conv1., layer1]", ("conv1.", "layer1")),
        ("training.freeze=[]", ()),
        ("training.augmentation.resize=[256, 340]", (256, 340)),
        ("training.augmentation.resize=null", None),
        ("training.augmentation.mirrored=[[push left, push right]]", (("push left", "push right"),)),
        ("network.inflate=[[1], [1, 0], [0], [1]]", ((1,), (1, 0), (0,), (1,))),
        ("training.optimizer={kind: adamw, lr: 0.001}", AdamW(lr=0.001)),
        ("training.schedule={kind: piecewise, until: [5], factors: [1, 0.1]}",
         PiecewiseSchedule(until=(5,), factors=(1.0, 0.1))),
        ("multi_label=true", True),
        ("name=mine", "mine"),
    ],
)  # fmt: skip
def test_settings_of_every_kind(setting, value):
    loaded = with_overrides(named_recipe(R50), [setting])
    for part in setting.partition("=")[0].split("."):
        loaded = getattr(loaded, part)
    assert loaded == value
    assert type(loaded) is type(value)


def test_later_settings_win_and_none_changes_nothing():
    recipe = named_recipe(R50)
    assert with_overrides(recipe, []) is recipe
    assert with_overrides(recipe, ["training.epochs=3", "training.epochs=5"]).training.epochs == 5
    assert with_training(recipe, {}) is recipe
    assert with_training(recipe, {"steps": 3, "init": ""}).training.steps == 3
    with pytest.raises(InputError, match="inception_rgb_charades has no training settings"):
        with_training(named_recipe("inception_rgb_charades"), {"steps": 3})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs", r"--set 'training\.epochs': write key=value, such as training\.epochs=20"),
        ("=3", r"--set '=3': write key=value"),
        ("training.epohcs=3", r"--set 'training\.epohcs=3': training has no 'epohcs'; did you mean training\.epochs"),
        ("trainig.epochs=3", r"a recipe has no 'trainig'; did you mean training\.epochs"),
        ("lr=3", r"a recipe has no 'lr'; did you mean training\.optimizer\.lr\?"),
        ("zzz=3", r"a recipe has no 'zzz'; it has name, network, "),
        ("training.optimizer.momentun=0.9", r"momentun: .*; nearest is momentum; see docs"),
        (
            "training.schedule={kind: cosine, ends: 0.1}",
            r"training\.schedule\.ends: .*; nearest is end or end_lr; see docs",
        ),
        ("training.epochs.x=3", r"training\.epochs has no 'x'; it is 100"),
        ("training.loss=[", r"--set 'training\.loss=\[': the value is not YAML"),
        ("training.epochs=0", r"--set: training\.epochs: .*greater than or equal to 1"),
        ("training.epochs=2.5", r"training\.epochs: .*valid integer"),
        ('training.epochs="20"', r"training\.epochs: .*valid integer"),
        ("training.freeze=conv1", r"training\.freeze: .*valid array"),
        ("training.precision=fp8", r"training\.precision: Input should be 'fp32', 'fp16' or 'bf16'"),
        ("training.optimizer.kind=lars", r"training\.optimizer: .*'lars' .*'sgd', 'adam', 'adamw'"),
        ("preprocessing.crop=300", r"crop 300 is larger than short_side 256"),
        ("training.init=!!python/name:os.system", r"the value is not YAML"),
    ],
)
def test_settings_that_are_wrong_are_one_line(setting, message):
    with pytest.raises(InputError, match=message) as error:
        with_overrides(named_recipe(R50), [setting])
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("settings_", "optimizer"),
    [
        (["training.optimizer={lr: 0.5}"], SGD(lr=0.5)),
        (["training.optimizer={kind: adamw}", "training.optimizer.betas=[0.5, 0.9]"], AdamW(betas=(0.5, 0.9))),
        (["training.optimizer.kind=adamw"], AdamW()),
    ],
)
def test_kinds_of_settings(settings_, optimizer):
    assert with_overrides(named_recipe(R50), settings_).training.optimizer == optimizer


@pytest.mark.parametrize(
    ("setting", "words"),
    [("training.epochs=abc", "abc"), ("training.precision=fp8", "fp8"), ("training.optimizer.momentum=-3", "-3")],
)
def test_a_refused_value_is_named(setting, words):
    with pytest.raises(InputError, match=words):
        with_overrides(named_recipe(R50), [setting])


@pytest.mark.parametrize("setting", ["training.optimizer.lr=1e-3", "training.optimizer.weight_decay=4e-4"])
def test_lr_in_several_notations(setting):
    key, _, value = setting.rpartition(".")[2].partition("=")
    assert getattr(with_overrides(named_recipe(R50), [setting]).training.optimizer, key) == float(value)


def test_the_key_of_an_error_is_the_key_that_was_written():
    with pytest.raises(InputError, match=r"training\.optimizer\.lr: "):
        with_overrides(named_recipe(R50), ["training.optimizer.lr=fast"])


@pytest.mark.parametrize("key", ["clip_grad_norm", "warmup_epochs", "head_lr"])
def test_numbers_are_finite_or_come_back(tmp_path, key):
    try:
        recipe = with_overrides(named_recipe(R50), [f"training.{key}=.inf"])
    except InputError:
        return
    assert load_recipe(recipe_file(tmp_path / "recipe.json", recipe.model_dump_json())) == recipe


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.yaml", None, r"gone\.yaml: cannot be read \(No such file or directory\); check the path"),
        ("r.yaml", "", r"r\.yaml: not the settings of a recipe; write `base: NAME`"),
        ("r.yaml", "[1, 2]", r"not the settings of a recipe"),
        ("r.yaml", "1: 2", r"not the settings of a recipe"),
        ("r.yaml", "base: [", r"r\.yaml: not YAML or JSON"),
        ("r.json", "base: i3d_rgb", r"r\.json: not YAML or JSON"),
        ("r.yaml", "base: 3", r"base '3': not the name of a recipe"),
        ("r.yaml", "base: i3d_rbg", r"no recipe 'i3d_rbg'; did you mean i3d_rgb"),
        ("r.yaml", "name: x", r"r\.yaml: names no base; write `base: NAME`"),
        ("r.yaml", "network: {kind: resnet}", r"r\.yaml: [a-z.]+ is missing"),
        ("r.yaml", "base: i3d_rgb\ntraining: {epohcs: 3}", r"training\.epohcs: Extra inputs are not permitted"),
        ("r.yaml", "base: i3d_rgb\ntraining: {epochs: x}", r"r\.yaml: training\.epochs: .*valid integer"),
        ("r.yaml", "base: i3d_rgb\nname: !!python/object/apply:os.system [id]", r"r\.yaml: not YAML or JSON"),
        ("r.yaml", "base: i3d_rgb\nx: &a [*a]", r"r\.yaml: "),  # an alias of itself
        ("r.yaml", "base: i3d_rgb\nx: " + "[" * 3000, r"r\.yaml: not YAML or JSON"),
        ("r.json", '{"x": ' + "[" * 100_000, r"r\.json: not YAML or JSON"),
        ("r.yaml", "x: " + "1" * (1 << 20), r"r\.yaml: 1,048,579 bytes is more than a recipe may have"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, name, text, message):
    if text is not None:
        recipe_file(tmp_path / name, text)
    with pytest.raises(InputError, match=message) as error:
        load_recipe(str(tmp_path / name))
    assert len(str(error.value).splitlines()) == 1


def test_a_key_that_stands_twice_is_an_error(tmp_path):
    with pytest.raises(InputError, match="epochs"):
        load_recipe(recipe_file(tmp_path / "r.yaml", "base: i3d_rgb\ntraining: {epochs: 3, epochs: 5}"))


LAUGHS = "x0: &x0 [ha, ha]\n" + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 8))
LIMITED = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); "


OPTION = "with_overrides(named_recipe('i3d_rgb'), ['name=' + sys.argv[2]])"


@pytest.mark.parametrize("command", ["load_recipe(sys.argv[1])", OPTION])
def test_a_billion_laughs_are_refused(tmp_path, command):
    path = recipe_file(tmp_path / "bomb.yaml", "base: i3d_rgb\n" + LAUGHS)
    inline = "{" + LAUGHS.strip().replace("\n", ", ") + "}"
    program = (
        f"{LIMITED}from i3d.errors import InputError; from i3d.recipes.io import *; from i3d.recipes.named import *\n"
        f"try:\n    {command}\nexcept InputError: print('refused')"
    )
    command_line = [sys.executable, "-c", program, path, inline]
    result = subprocess.run(command_line, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "refused\n")
