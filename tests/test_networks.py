"""The interface of every network for the rest of the package (`models.network.VideoNetwork`)."""

import copy

import numpy as np
import pytest
import torch

from i3d import models
from i3d.models.engine.engine import Engine
from i3d.models.factory import NETWORKS, build_meta_network, build_network
from i3d.recipes.settings import NETWORK_KINDS, InceptionSettings, ResNetSettings
from i3d.utils.device import ComputeConfig

SETTINGS = [
    InceptionSettings(num_classes=5),
    ResNetSettings(num_classes=5),
    ResNetSettings(num_classes=5, depth=18, non_local=((1,), (0,), (0,), (0,))),
]
SIDE = {"inception": 193, "resnet": 32}

networks = pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.name)


def test_every_kind_has_a_network():
    assert sorted(NETWORK_KINDS) == sorted(settings().kind for settings in NETWORKS)
    assert {settings.kind for settings in SETTINGS} == set(NETWORK_KINDS)


@networks
def test_every_key_belongs_to_one_stage_or_the_head(settings):
    net = build_meta_network(settings)
    prefixes = (*net.stages, net.head_prefix)
    keys = list(net.state_dict())
    for key in keys:
        assert [key.startswith(prefix) for prefix in prefixes].count(True) == 1, key
        assert key.startswith(prefixes[net.stage_of(key)])
    assert list(dict.fromkeys(net.stage_of(key) for key in keys)) == list(range(len(prefixes)))
    assert 1 <= net.num_last_stages < len(net.stages)
    with pytest.raises(ValueError, match=r"other\.weight is in no stage"):
        net.stage_of("other.weight")


@pytest.mark.slow
@networks
def test_the_classifier_is_one_linear_layer_on_the_pooled_last_map(settings):
    net, side = build_meta_network(settings), SIDE[settings.kind]
    clips = torch.empty(2, settings.in_channels, net.min_frames, side, side, device="meta")
    head = {key: tuple(v.shape) for key, v in net.state_dict().items() if key.startswith(net.head_prefix)}
    assert {f"{net.head_prefix}{name}" for name, _ in net.classifier.named_parameters()} == set(head)
    (weight,) = [shape for key, shape in head.items() if key.endswith("weight")]
    (bias,) = [shape for key, shape in head.items() if key.endswith("bias")]
    num_features = weight[1]
    assert weight in ((5, num_features), (5, num_features, 1, 1, 1))
    assert bias == (5,)
    last = net.features(clips, endpoint=net.endpoints[-1])
    assert last.shape[:2] == (2, num_features)
    assert net.pooled(clips).shape == net.pool(last).shape == (2, num_features)
    assert net(clips).shape == (2, 5)
    with pytest.raises(ValueError, match=f"{net.min_frames} frames"):
        net(clips[:, :, 1:])


@pytest.mark.parametrize(
    ("settings", "side"),
    [
        (ResNetSettings(num_classes=5, depth=18, base_channels=4, head_pooling="maxima"), 48),
        pytest.param(InceptionSettings(num_classes=5, head_pooling="maxima"), 64, marks=pytest.mark.slow),
    ],
    ids=["resnet", "inception"],
)
def test_a_classifier_can_read_maxima_of_two_maps(settings, side):
    """The square root of the mean over time of the maxima over space, written again in NumPy."""
    torch.manual_seed(0)
    net = build_network(settings).eval()
    clips = torch.randn(2, 3, max(net.min_frames, 9), side, side)
    with torch.no_grad():
        logits_NK, inputs_NC = net(clips), net.classifier_input(clips)
        maps = [net.features(clips, endpoint=name).numpy() for name in net.maxima_of]
    assert tuple(map_NCTHW.shape[1] for map_NCTHW in maps) == net.maxima_channels
    wanted = np.concatenate([m.max(axis=(3, 4)).mean(axis=2) for m in maps], axis=1)
    assert inputs_NC.numpy() == pytest.approx(np.sqrt(np.maximum(wanted, 1e-4)), abs=1e-5)
    weight, bias = (value.detach().numpy() for value in net.classifier.parameters())
    assert logits_NK.numpy() == pytest.approx(inputs_NC.numpy() @ weight.reshape(5, -1).T + bias, abs=1e-4)
    assert net.num_features == maps[-1].shape[1] == net.maxima_channels[-1]
    trained = copy.deepcopy(net)
    trained.train()(clips).sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in trained.parameters())
    engine = Engine.create(net, ComputeConfig("cpu"))
    assert engine.classifier_input(clips).numpy() == pytest.approx(inputs_NC.numpy(), abs=1e-3)


@pytest.mark.slow
@networks
def test_endpoints_follow_each_other(settings):
    net, side = build_meta_network(settings), SIDE[settings.kind]
    clips = torch.empty(1, settings.in_channels, 16, side, side, device="meta")
    sizes = [net.features(clips, endpoint=name).shape[2:] for name in net.endpoints]
    assert sizes == sorted(sizes, key=lambda size: size.numel(), reverse=True)
    assert net.endpoints_up_to(net.endpoints[1]) == net.endpoints[:2]
    with pytest.raises(ValueError, match=f"endpoint must be one of {net.endpoints[0]}"):
        net.features(clips, endpoint="layer9")


@networks
def test_blocks_and_settings(settings):
    net = build_network(settings)
    assert net.training
    assert net.settings == settings
    assert [module for module in net.modules() if isinstance(module, net.fsdp_blocks)]
    assert str(settings.num_classes) in settings.description
    assert type(settings).model_validate_json(settings.model_dump_json()) == settings
    assert {"kind", "in_channels", "num_classes", "dropout"} <= set(type(settings).model_fields)


def test_public_names():
    assert models.__all__ == [
        "Cost",
        "Engine",
        "InceptionI3D",
        "ResNetI3D",
        "VideoNetwork",
        "build_network",
        "inflate_weights",
        "network_cost",
    ]
    assert models.build_network is build_network
