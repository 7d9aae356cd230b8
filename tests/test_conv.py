"""3D convolutions lowered to 2D: the same numbers and state-dict keys, and right gradients in bfloat16."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import i3d.models.conv
from i3d.models.conv import TRUST_BF16_GRADIENT, Conv3d, can_use_onednn
from i3d.models.factory import build_network
from i3d.recipes.settings import ResNetSettings
from support.convolutions import LAYERS


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    LAYERS,
)
def test_output_and_gradients_equal_pytorch(kernel, stride, padding, layout):
    torch.manual_seed(0)
    ours = Conv3d(5, 7, kernel, stride=stride, padding=padding, bias=True).double()
    theirs = nn.Conv3d(5, 7, kernel, stride=stride, padding=padding, bias=True).double()
    theirs.load_state_dict(ours.state_dict())
    clips = [torch.randn(2, 5, 7, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) for _ in "ab"]
    outputs = []
    for layer, clip in zip((ours, theirs), clips, strict=True):
        clip = clip.to(memory_format=layout).requires_grad_()
        out = layer(clip)
        out.square().sum().backward()
        outputs.append((out, clip.grad, layer.weight.grad, layer.bias.grad))
    for mine, expected in zip(*outputs, strict=True):
        assert mine.shape == expected.shape
        assert torch.allclose(mine, expected, rtol=1e-12, atol=1e-10)


def test_a_strided_1x1_convolution_of_few_channels_does_not_crash():
    """As a `conv2d` of stride 2 at this size, PyTorch 2.13 crashes the process in the backward pass."""
    layer = Conv3d(8, 16, (1, 1, 1), stride=(1, 2, 2), bias=False).to(memory_format=torch.channels_last_3d)
    clip = torch.randn(2, 8, 2, 56, 56).to(memory_format=torch.channels_last_3d).requires_grad_()
    layer(clip).sum().backward()
    assert torch.isfinite(clip.grad).all()


@pytest.mark.slow
def test_gradients_of_a_bf16_step_of_r50_are_right():
    """2 clips of 3x32x224x224, where some 3D convolutions of oneDNN give NaN on CPUs with AMX.

    The gradient of an untrained network is chaotic (0.3 % noise on the input turns it around in float32, too), so each
    convolution is held against float32 on the inputs and output gradients of a float32 step; and of the whole step,
    batch norms in evaluation, every gradient must be finite and its norm within 10 % (rounding alone: 1.7 % and 3.0 %
    on two kinds of CPU, for weights of batch norms).
    """
    torch.manual_seed(0)
    net = build_network(ResNetSettings(dropout=0.0)).to(memory_format=torch.channels_last_3d).eval()
    clips = F.interpolate(torch.randn(2, 3, 8, 14, 14), size=(32, 224, 224), mode="trilinear")
    clips = clips.to(memory_format=torch.channels_last_3d)
    recorded, handles = [], []
    for name, module in net.named_modules():
        if isinstance(module, Conv3d):
            note = lambda module, inputs, output, name=name: record(recorded, name, module, inputs[0], output)  # noqa: E731
            handles.append(module.register_forward_hook(note))
    exact = gradients(net, clips, bf16=False)
    for handle in handles:
        handle.remove()
    assert len(recorded) == 53
    for name, module, given, grads in recorded:
        assert relative_error(weight_gradient(module, given, grads[0]), exact[f"{name}.weight"]) < 0.03, name
    in_bf16 = gradients(net, clips, bf16=True)
    for name, expected in exact.items():
        assert torch.isfinite(in_bf16[name]).all(), name
        assert abs(in_bf16[name].norm() / expected.norm() - 1) < 0.1, name


def record(recorded, name, module, given, output):
    grads = []
    output.register_hook(lambda grad: grads.append(grad.detach()))
    recorded.append((name, module, given.detach(), grads))


def weight_gradient(module, given, grad):
    module.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        out = module(given)
    out.backward(grad.to(out.dtype))
    return module.weight.grad.clone()


def gradients(net, clips, *, bf16):
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = net(clips)
    F.cross_entropy(logits.float(), torch.tensor([3, 7])).backward()
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters()}


def relative_error(value, expected):
    return float((value - expected).norm() / expected.norm())


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # of PyTorch's switch itself
def test_without_onednn_or_compiled_pytorchs_own_convolution_runs():
    conv, x_NCTHW = Conv3d(4, 8, 3, padding=1), torch.randn(1, 4, 5, 9, 9)
    expected = conv(x_NCTHW)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not can_use_onednn()
        assert torch.allclose(conv(x_NCTHW), expected, atol=1e-5)
    compiled = torch.compile(conv, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x_NCTHW), expected, atol=1e-5)


@pytest.mark.parametrize("trusts_gradient", sorted({False, TRUST_BF16_GRADIENT}))
@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 1, 1), (3, 3, 3), (5, 7, 7), (7, 7, 7)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize(
    "size_THW",
    [(1, 1, 1), (2, 1, 1), (3, 9, 1), (2, 2, 2), (2, 8, 8), (4, 14, 14), (3, 16, 16), (8, 1, 16), (9, 15, 21)],
)
def test_bf16_gradients_are_close_to_float32(kernel, stride, size_THW, trusts_gradient, monkeypatch):
    """oneDNN's own weight gradients of these are wrong on some CPUs, and overwrite other memory."""
    monkeypatch.setattr(i3d.models.conv, "TRUST_BF16_GRADIENT", trusts_gradient)
    torch.manual_seed(0)
    padding = tuple(side // 2 for side in kernel)
    layer = Conv3d(8, 16, kernel, stride=stride, padding=padding).to(memory_format=torch.channels_last_3d)
    x_NCTHW = torch.randn(4, 8, *size_THW).to(memory_format=torch.channels_last_3d)
    results = []
    for is_bf16 in (False, True):
        layer.zero_grad()
        given = x_NCTHW.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            out = layer(given)
        assert out.dtype == (torch.bfloat16 if is_bf16 else torch.float32)
        out.float().square().mean().backward()
        results.append([out.detach().float(), given.grad, layer.weight.grad.clone(), layer.bias.grad.clone()])
    for exact, in_bf16 in zip(*results, strict=True):
        assert (in_bf16 - exact).abs().max() < 0.03 * exact.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_gradients_of_any_convolution_are_right(seed):
    """60 random kernels, strides, paddings and sizes, the smallest included, in float32 and bfloat16."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    for _ in range(60):
        kernel = rng.choice([(1, 3, 3), (1, 7, 7), (3, 1, 1), (5, 1, 1), (3, 3, 3), (3, 7, 7), (5, 7, 7), (7, 7, 7)])
        stride, is_padded = rng.choice([(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 2)]), rng.random() < 0.8
        padding = tuple(side // 2 * is_padded for side in kernel)
        channels = rng.randint(1, 4) if 7 in kernel else 8 * rng.randint(1, 12)
        least = [side - 2 * pad for side, pad in zip(kernel, padding, strict=True)]
        size_THW = [max(side + int(rng.expovariate(1 / 6)), 1) for side in least]
        shape = {"stride": stride, "padding": padding, "bias": False}
        layer = Conv3d(channels, 4 * rng.randint(1, 20), kernel, **shape).to(memory_format=torch.channels_last_3d)
        exact = nn.Conv3d(channels, layer.out_channels, kernel, **shape)
        exact.load_state_dict(layer.state_dict())
        x_NCTHW = torch.randn(rng.randint(1, 3), channels, *size_THW).bfloat16()
        expected, grad_NCTHW = output_and_gradients(exact.double(), x_NCTHW.double(), None, is_bf16=False)
        for is_bf16, tolerance in ((False, 1e-4), (True, 0.02)):
            results, _ = output_and_gradients(layer, x_NCTHW.float(), grad_NCTHW, is_bf16=is_bf16)
            for name, value in results.items():
                assert relative_error(value.double(), expected[name]) < tolerance, (name, is_bf16, layer, x_NCTHW.shape)


def output_and_gradients(layer, x_NCTHW, grad_NCTHW, *, is_bf16):
    """Output and gradients of a layer, and the gradient of the output: a random one if None is passed."""
    layer.zero_grad()
    x_NCTHW = x_NCTHW.to(memory_format=torch.channels_last_3d).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        out_NCTHW = layer(x_NCTHW)
    if grad_NCTHW is None:
        grad_NCTHW = torch.randn(out_NCTHW.shape).bfloat16().to(memory_format=torch.channels_last_3d)
    out_NCTHW.backward(grad_NCTHW.to(out_NCTHW.dtype))
    return {"output": out_NCTHW.detach(), "input": x_NCTHW.grad, "weight": layer.weight.grad}, grad_NCTHW
