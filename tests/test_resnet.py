"""I3D-ResNet against MMAction2's own logits, stages and training steps (tests/golden), and what its settings do."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from i3d.models.factory import build_network
from i3d.models.inception import Mixed
from i3d.models.non_local import NonLocal
from i3d.models.pooling import MaxPoolFramePairs
from i3d.models.resnet import BasicBlock, Bottleneck, ResNetI3D
from i3d.recipes.named import NON_LOCAL, RECIPES, named_recipe
from i3d.recipes.settings import ResNetSettings
from support import golden_weights
from support.golden_weights import RECIPE_OF, golden_state
from support.paths import GOLDEN

WITH_LOGITS = ["i3d_r34", "i3d_r50", "i3d_r50_nl_embedded_gaussian"]
TINY = {"base_channels": 4, "num_classes": 3}


@pytest.fixture(scope="module", params=WITH_LOGITS)
def reference(request):
    """The outputs of a reference network, and our network with its weights. Tests copy it before they change it."""
    model = build_network(named_recipe(RECIPE_OF[request.param]).network)
    model.load_state_dict(golden_state(request.param))
    return np.load(GOLDEN / f"{request.param}.npz"), model.eval()


def case_input(golden, case):
    clips = golden_weights.clips_NCTHW(int(golden[f"{case}_seed"]), golden[f"{case}_shape"], "imagenet")
    assert np.array_equal(clips.flatten()[:16], golden[f"{case}_input_head"])
    return torch.from_numpy(clips)


@pytest.mark.slow
def test_logits_and_stages_equal_mmaction2(reference):
    golden, model = reference
    with torch.inference_mode():
        for case in "abcd":
            clips = case_input(golden, case)
            assert np.allclose(model(clips), golden[f"{case}_logits"], atol=2e-5, rtol=0), case
            for stage in ResNetI3D.endpoints if case in "ad" else ():  # the smaller ones, of even and odd sides
                features = model.features(clips, endpoint=stage)
                assert tuple(features.shape) == tuple(golden[f"{case}_stage_{stage}_shape"])
                places = np.linspace(0, features.numel() - 1, 64).astype(int)
                sample = features.flatten()[places]
                assert np.allclose(sample, golden[f"{case}_stage_{stage}_sample"], atol=2e-5, rtol=0), (case, stage)


@pytest.mark.slow
def test_float64_logits_equal_mmaction2_more_closely(reference):
    golden, model = reference
    clips, exact = case_input(golden, "a").double(), copy.deepcopy(model).double()
    with torch.inference_mode():
        assert np.allclose(exact(clips), golden["a_logits_float64"], atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", sorted(set(RECIPE_OF) - set(WITH_LOGITS)))
def test_the_other_networks_load_strictly_and_run(name):
    """With a sixteenth of their channels."""
    settings = named_recipe(RECIPE_OF[name]).network
    model = build_network(settings.model_copy(update={"base_channels": settings.base_channels // 16})).eval()
    model.load_state_dict(golden_weights.renamed(golden_weights.state_dict(GOLDEN / f"keys/{name}.json", thinner=16)))
    with torch.inference_mode():
        logits = model(case_input(np.load(GOLDEN / "i3d_r50.npz"), "d"))
    assert logits.shape == (1, 400)
    assert logits.isfinite().all()
    assert 1e-3 < logits.std() < 100


@pytest.mark.parametrize("frames", [2, 5, 8])
def test_max_pooling_of_frame_pairs_equals_pytorch(frames):
    x_NCTHW = torch.relu(torch.randn(2, 3, frames, 4, 5, dtype=torch.float64)).round(decimals=1)  # many are equal
    results = []
    for pool in (MaxPoolFramePairs(), nn.MaxPool3d((2, 1, 1))):
        given = x_NCTHW.clone().requires_grad_()
        out = pool(given)
        (out * torch.arange(out.numel()).view_as(out)).sum().backward()
        results.append((out.detach(), given.grad))
    for mine, expected in zip(*results, strict=True):
        assert torch.equal(mine, expected)
    with torch.inference_mode():
        assert torch.equal(MaxPoolFramePairs()(x_NCTHW), results[0][0])
    x_NCTHW[0, 0, 1, 0, 0] = torch.nan
    assert MaxPoolFramePairs()(x_NCTHW)[0, 0, 0, 0, 0].isnan()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds(name):
    settings = named_recipe(name).network
    with torch.device("meta"):
        model = build_network(settings)
    assert sum(p.numel() for p in model.parameters()) > 12e6


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("i3d_r50", 28.04),
        ("i3d_r50_nl_embedded_gaussian", 35.40),
        ("i3d_r50_nl_dot_product", 35.40),
        ("i3d_r50_nl_gaussian", 31.72),
        ("i3d_r50_heavy", 33.02),
    ],
)
def test_parameter_counts(name, millions):
    with torch.device("meta"):
        model = build_network(named_recipe(RECIPE_OF[name]).network)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


# What the settings do


def test_patterns_are_spread_over_the_blocks():
    r50 = ResNetSettings(non_local=NON_LOCAL)
    published = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))
    assert r50.inflated == tuple(tuple(map(bool, stage)) for stage in published)
    assert r50.non_local_at[1:3] == ((False, True, False, True), (False, True) * 3)
    with pytest.raises(ValueError, match="layer1 has 3 blocks, its pattern"):
        ResNetSettings(inflate=((1, 0, 1, 0), (1,), (1,), (1,)))


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
@pytest.mark.parametrize("style", ["3x1x1", "3x3x3"])
def test_depths_and_inflation_styles(depth, style):
    model = build_network(ResNetSettings(depth=depth, inflate_style=style, **TINY)).eval()
    block = model.layer1[0]
    if depth < 50:
        assert isinstance(block, BasicBlock)
        assert block.conv1.conv.kernel_size == block.conv2.conv.kernel_size == (3, 3, 3)
    else:
        assert isinstance(block, Bottleneck)
        kernels = block.conv1.conv.kernel_size, block.conv2.conv.kernel_size
        assert kernels == (((3, 1, 1), (1, 3, 3)) if style == "3x1x1" else ((1, 1, 1), (3, 3, 3)))
    assert model.layer2[1].conv2.conv.kernel_size == (1, 3, 3)  # not inflated
    with torch.inference_mode():
        assert model(torch.randn(2, 3, 6, 33, 47)).shape == (2, 3)


def test_stem_pools_and_temporal_strides():
    x = torch.randn(1, 3, 16, 32, 32)

    def frames(**settings):
        with torch.inference_mode():
            return ResNetI3D(ResNetSettings(**TINY, **settings)).eval().features(x).shape[2]

    assert frames() == 2
    assert frames(conv1_stride_t=1, pool1_stride_t=1) == 8
    assert frames(conv1_stride_t=1, pool1_stride_t=1, pool2=False) == 16
    assert frames(conv1_stride_t=1, pool1_stride_t=1, pool2=False, temporal_strides=(1, 2, 2, 1)) == 4


def test_the_shortest_clip():
    model = ResNetI3D(ResNetSettings(**TINY)).eval()
    with torch.inference_mode():
        assert model(torch.randn(1, 3, 5, 32, 32)).shape == (1, 3)
        with pytest.raises(ValueError, match="has 5 frames, got 4"):
            model(torch.randn(1, 3, 4, 32, 32))
        with pytest.raises(ValueError, match=r"\(N, 3, T, H, W\), got shape \(1, 2, 8, 32, 32\)"):
            model(torch.randn(1, 2, 8, 32, 32))
        with pytest.raises(ValueError, match="endpoint must be one of conv1"):
            model.features(torch.randn(1, 3, 8, 32, 32), endpoint="layer5")


def test_frozen_stages_and_norm_eval_survive_train():
    model = ResNetI3D(ResNetSettings(frozen_stages=1, **TINY)).train()
    for stage, frozen in [(model.conv1, True), (model.layer1, True), (model.layer2, False)]:
        assert stage.training is not frozen
        assert all(p.requires_grad is not frozen for p in stage.parameters())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(2, 3, 8, 32, 32)).sum().backward()
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"layer2", "layer3", "layer4"}

    model = ResNetI3D(ResNetSettings(norm_eval=True, **TINY)).train()
    assert model.training
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm3d))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("mode", ["embedded_gaussian", "dot_product"])
def test_activation_checkpointing_changes_nothing_but_memory(mode):
    settings = {"non_local": NON_LOCAL, "non_local_mode": mode, "dropout": 0.0, **TINY}
    plain = ResNetI3D(ResNetSettings(**settings)).double()
    saving = ResNetI3D(ResNetSettings(activation_checkpointing=True, **settings)).double()
    saving.load_state_dict(plain.state_dict())
    clips = torch.randn(2, 3, 8, 32, 32, dtype=torch.float64)
    for model in (plain, saving):
        model(clips).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(a, b), name  # the second pass must not update the running statistics again


def test_activation_checkpointing_saves_memory():
    def held(activation_checkpointing):
        model = ResNetI3D(ResNetSettings(activation_checkpointing=activation_checkpointing, **TINY))
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.setdefault(t.data_ptr(), t.numel()) and t, lambda t: t
        ):
            model(torch.randn(2, 3, 8, 32, 32))
        return sum(sizes.values())

    assert held(True) < 0.7 * held(False)


def test_zero_init_residual_makes_blocks_start_as_the_shortcut():
    model = ResNetI3D(ResNetSettings(zero_init_residual=True, **TINY)).eval()
    x = torch.randn(1, 16, 2, 8, 8).relu()
    assert torch.equal(model.layer1[1](x), x)
    assert not torch.equal(ResNetI3D(ResNetSettings(**TINY)).eval().layer1[1](x), x)


def test_the_classifier_starts_small():
    fc = ResNetI3D(ResNetSettings(num_classes=400)).fc
    assert abs(fc.weight.std().item() - 0.01) < 2e-4
    assert not fc.bias.any()


# Non-local blocks

MODES = ["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


def by_definition(block, x):
    """The block as in its paper, with the (S, R) matrix of weights."""
    n, _, t, h, w = x.shape
    g = block.pool(block.g(x)).flatten(2).transpose(1, 2)
    if block.mode == "gaussian":
        pairs = (x.flatten(2).transpose(1, 2) @ block.pool(x).flatten(2)).softmax(-1)
    else:
        theta, phi = block.theta(x).flatten(2).transpose(1, 2), block.pool(block.phi(x)).flatten(2)
        if block.mode == "embedded_gaussian":
            pairs = (theta @ phi * block.scale).softmax(-1)
        elif block.mode == "dot_product":
            pairs = theta @ phi / phi.shape[2]
        else:
            s, r = theta.shape[1], phi.shape[2]
            both = torch.cat([theta[:, :, None].expand(-1, -1, r, -1), phi.mT[:, None].expand(-1, s, -1, -1)], -1)
            pairs = (both @ block.project.weight[0]).relu() / r
    return x + block.out((pairs @ g).transpose(1, 2).reshape(n, -1, t, h, w))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sub_sample", [True, False])
@pytest.mark.parametrize("use_scale", [True, False])
def test_non_local_equals_its_definition(mode, sub_sample, use_scale):
    torch.manual_seed(0)
    block = NonLocal(8, mode=mode, sub_sample=sub_sample, use_scale=use_scale).double().eval()
    with torch.no_grad():
        for p in block.parameters():
            p.normal_(0, 0.5)
    x = torch.randn(2, 8, 3, 5, 7, dtype=torch.float64)
    assert torch.allclose(block(x), by_definition(block, x), atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_non_local_block_is_the_identity(mode):
    x = torch.randn(2, 8, 3, 6, 6)
    assert torch.equal(NonLocal(8, mode=mode)(x), x)
    plain = ResNetI3D(ResNetSettings(**TINY)).eval()
    with_blocks = ResNetI3D(ResNetSettings(non_local=NON_LOCAL, non_local_mode=mode, **TINY)).eval()
    missing = with_blocks.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing
    assert all(".non_local." in key for key in missing)
    clips = torch.randn(1, 3, 8, 64, 64)
    assert torch.equal(plain(clips), with_blocks(clips))


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_a_non_local_block(mode):
    torch.manual_seed(1)
    block = NonLocal(4, mode=mode).double().eval()
    with torch.no_grad():
        for p in block.parameters():
            p.normal_(0, 0.5)
    x = torch.randn(1, 4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    parameters = tuple(block.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (x, *parameters))


def test_gradients_of_an_inception_block():
    torch.manual_seed(1)
    block = Mixed(2, (1, 1, 1, 1, 1, 1)).double().eval()
    x = torch.randn(1, 2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (x, *block.parameters()))


@pytest.mark.parametrize("mode", ["embedded_gaussian", "gaussian", "dot_product"])
def test_attention_never_holds_the_square_matrix(mode):
    """8 x 64 x 64 positions against a quarter of them: the matrix alone would be 1 GiB."""
    block = NonLocal(8, mode=mode).eval()
    x = torch.randn(1, 8, 8, 64, 64)
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with torch.inference_mode(), torch.profiler.profile(profile_memory=True) as profile, Watch():
        block(x)
    assert largest <= x.numel()
    assert max(event.self_cpu_memory_usage for event in profile.events()) < 64 << 20


# Mixed precision


def test_bf16_is_close():
    torch.manual_seed(0)
    model = ResNetI3D(ResNetSettings(non_local=NON_LOCAL, base_channels=16)).eval()
    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.inference_mode():
        exact = model(clips)
        with torch.autocast("cpu", torch.bfloat16):
            fast = model(clips).float()
    assert (fast - exact).abs().max() < 0.05 * exact.abs().max()
