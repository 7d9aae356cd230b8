"""A network prepared for inference gives the same output as before.

Letters in names: N clips, C channels, T frames, H rows, W columns.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from i3d.errors import InputError
from i3d.models.engine.engine import DTYPES, Engine
from i3d.models.factory import build_network
from i3d.models.inception import MIN_FRAMES, MIN_SIDE, MaxPool3dSame
from i3d.models.pooling import max_pool_by_axis, max_pool_nonnegative_bf16
from i3d.models.prepack import PrepackedConv3d
from i3d.recipes.settings import InceptionSettings, ResNetSettings
from i3d.utils import device as devices
from i3d.utils.device import ComputeConfig, arithmetic_of, has_bf16
from support.examples import examples

CPU = torch.device("cpu")
NETWORKS = {
    "inception": InceptionSettings(num_classes=7),
    "r18": ResNetSettings(depth=18, base_channels=32, num_classes=7),
    "r50": ResNetSettings(depth=50, base_channels=16, num_classes=7),
    "non-local": ResNetSettings(depth=50, base_channels=16, num_classes=7, non_local=((0,), (0, 1), (0, 1), (0,))),
}


def network(name):
    """A network with statistics as after training."""
    torch.manual_seed(0)
    net = build_network(NETWORKS[name]).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return net


def clips(name, number):
    frames, side = (MIN_FRAMES, MIN_SIDE) if name == "inception" else (16, 64)
    return torch.randn(number, 3, frames, side, side, generator=torch.Generator().manual_seed(1))


def engine_and_network(name, precision):
    """The engine, and the network before it was prepared."""
    net = network(name)
    return Engine.create(copy.deepcopy(net), ComputeConfig(precision=precision), device=CPU), net


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_float32_engine_equals_the_network(name):
    (engine, net), x_NCTHW = engine_and_network(name, "fp32"), clips(name, 1)
    with torch.inference_mode():
        expected, pooled = net(x_NCTHW), net.pooled(x_NCTHW)
    assert engine.arithmetic == "fp32"
    assert (engine(x_NCTHW) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (engine.pooled(x_NCTHW) - pooled).abs().max() < 1e-5 * pooled.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_equals_its_clips_one_by_one(name):
    engine = Engine.create(network(name), ComputeConfig(precision="fp32"), device=CPU)
    number = 8 if name != "inception" else 2
    x_NCTHW = clips(name, number)
    singles = torch.cat([engine(x_1CTHW) for x_1CTHW in torch.split(x_NCTHW, 1)])
    assert (engine(x_NCTHW) - singles).abs().max() < 1e-5 * singles.abs().max()


@pytest.mark.slow
@pytest.mark.skipif(not has_bf16(), reason="this processor has no arithmetic of bfloat16")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_bfloat16_engine_is_close(name):
    (engine, net), x_NCTHW = engine_and_network(name, "auto"), clips(name, 1)
    with torch.inference_mode():
        expected = net(x_NCTHW)
    output = engine(x_NCTHW)
    assert output.dtype == torch.float32
    assert (output - expected).abs().max() < 0.05 * expected.abs().max()  # random weights; of trained ones 1 %


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_prepared_network_has_no_batch_norm_and_prepacked_weights(name, precision):
    """Batch norms are folded, and no weight is reordered in a forward pass."""
    engine = Engine.create(network(name), ComputeConfig(precision=precision), device=CPU)
    assert not [module for module in engine.net.modules() if isinstance(module, nn.BatchNorm3d)]
    engine(clips(name, 1))
    weights = [module.packed_weight for module in engine.net.modules() if isinstance(module, PrepackedConv3d)]
    assert len(weights) > 15
    assert all(weight.is_mkldnn and weight.dtype == DTYPES[engine.arithmetic] for weight in weights)
    head = set(engine.net.classifier.parameters())
    for parameter in engine.net.parameters():
        assert parameter.dtype == (torch.float32 if parameter in head else DTYPES[engine.arithmetic])
        if parameter.dim() == 5:
            assert parameter.is_contiguous(memory_format=torch.channels_last_3d)


def test_every_map_of_inception_is_channels_last():
    """Another layout would be copied, and slow down all following layers."""
    engine = Engine.create(network("inception"), ComputeConfig(precision="fp32"), device=CPU)
    wrong = []

    def record_layout(module, _inputs, output):
        if not output.is_contiguous(memory_format=torch.channels_last_3d):
            wrong.append(type(module).__name__)

    for module in engine.net.modules():
        if type(module).__name__ in ("Unit3D", "Mixed", "MaxPool3dSame"):
            module.register_forward_hook(record_layout)
    engine(clips("inception", 1).contiguous(memory_format=torch.channels_last_3d))
    assert wrong == []


@pytest.mark.slow
@examples(100)
@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_max_pooling_by_axis_equals_pytorch(data, dtype):
    kernel = data.draw(st.sampled_from([(1, 3, 3), (3, 3, 3), (2, 2, 2), (2, 1, 1), (1, 1, 1)]))
    stride = data.draw(st.tuples(*[st.integers(1, 2)] * 3))
    pads = [data.draw(st.tuples(*[st.integers(0, k - 1)] * 2).filter(lambda p, k=k: sum(p) < k)) for k in kernel]
    sides = [data.draw(st.integers(max(k - sum(pad), 1), 8)) for k, pad in zip(kernel, pads, strict=True)]
    x_NCTHW = torch.relu(torch.randn(data.draw(st.integers(1, 2)), data.draw(st.integers(1, 40)), *sides)).to(dtype)
    padded = F.pad(x_NCTHW, (*pads[2], *pads[1], *pads[0]), value=-torch.inf)
    layout = data.draw(st.sampled_from([torch.contiguous_format, torch.channels_last_3d]))
    x_NCTHW, expected = x_NCTHW.to(memory_format=layout), F.max_pool3d(padded, kernel, stride)
    with torch.no_grad():
        assert torch.equal(max_pool_by_axis(x_NCTHW, kernel, stride, pads), expected)
        if dtype == torch.bfloat16:
            assert torch.equal(max_pool_nonnegative_bf16(x_NCTHW, kernel, stride, pads), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_of_a_network_that_is_not_prepacked_propagates_nan(dtype):
    """Validation detects a diverged training run by it."""
    x_NCTHW = torch.relu(torch.full((1, 2, 4, 6, 6), torch.nan, dtype=dtype))
    x_NCTHW[..., 1:] = 1
    for pool in (module for module in network("inception").modules() if isinstance(module, MaxPool3dSame)):
        with torch.no_grad():
            assert pool(x_NCTHW)[..., 0].isnan().all()


def test_gradients_of_the_pooling_equal_pytorch():
    net = network("inception")
    x_NCTHW = torch.relu(torch.randn(1, 256, 3, 5, 5)).requires_grad_()
    y_NCTHW = x_NCTHW.detach().clone().requires_grad_()
    net.Mixed_3c.b3a(x_NCTHW).square().sum().backward()
    F.max_pool3d(y_NCTHW, 3, stride=1, padding=1).square().sum().backward()
    assert torch.equal(x_NCTHW.grad, y_NCTHW.grad)


@pytest.mark.slow
def test_inception_compiles_in_one_graph():
    net, x_NCTHW = network("inception"), clips("inception", 1)
    with torch.inference_mode():
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        assert torch.allclose(compiled(x_NCTHW), net(x_NCTHW), rtol=1e-4, atol=1e-5)


def test_the_arithmetic_of_a_precision(monkeypatch, caplog):
    cuda, mps = torch.device("cuda"), torch.device("mps")
    for supported, arithmetic in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(devices, "has_bf16", lambda supported=supported: supported)
        assert arithmetic_of("auto", CPU) == arithmetic
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported, **_: supported)
        assert arithmetic_of("auto", cuda) == ("bf16" if supported else "fp16")
    assert arithmetic_of("auto", mps) == "fp16"
    assert {arithmetic_of("fp32", device) for device in (CPU, cuda, mps)} == {"fp32"}
    with pytest.raises(InputError, match="precision fp16: a CPU has no fast float16"):
        arithmetic_of("fp16", CPU)
    with pytest.raises(InputError, match="precision bf16: this GPU has no bfloat16"):
        arithmetic_of("bf16", cuda)
    assert arithmetic_of("bf16", CPU) == "bf16"  # as requested, although it is slow
    assert caplog.messages == ["precision bf16: this processor has no bfloat16 instructions; fp32 is faster"]
    with pytest.raises(InputError, match="precision 'fast': is not one of auto, fp32, bf16, fp16"):
        ComputeConfig(precision="fast")
