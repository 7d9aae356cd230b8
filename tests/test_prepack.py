"""Prepacked convolutions compute the same function in fewer operators, and memory is reused."""

import subprocess
import sys
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from i3d.models.conv import Conv3d
from i3d.models.engine.engine import Engine
from i3d.models.factory import build_network
from i3d.models.prepack import PrepackedConv3d, prepack, slice_taps
from i3d.recipes.settings import InceptionSettings, ResNetSettings
from i3d.utils.device import ComputeConfig, has_bf16
from support.convolutions import LAYERS

CPU = torch.device("cpu")
DTYPES = [torch.float32, *([torch.bfloat16] if has_bf16() else [])]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        *LAYERS,
        ((5, 7, 7), (2, 2, 2), (2, 3, 3)),
        ((7, 7, 7), (2, 2, 2), (0, 0, 0)),
        ((1, 7, 7), (1, 2, 2), (0, 2, 2)),
        ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ],
)
def test_a_prepacked_convolution_equals_convolution_sum_and_relu(kernel, stride, padding, layout, dtype):
    torch.manual_seed(0)
    conv = Conv3d(5, 7, kernel, stride=stride, padding=padding).to(dtype, memory_format=layout)
    packed, tolerance = PrepackedConv3d.from_conv(conv), 1e-5 if dtype == torch.float32 else 2e-2
    for clips, frames in ((1, 7), (2, 8), (1, 9)):  # packed for the first, right for all
        x_NCTHW = torch.randn(clips, 5, frames, 9, 8 + frames % 2).to(dtype, memory_format=layout)
        with torch.inference_mode():
            plain = conv(x_NCTHW)
            plus = torch.randn(plain.shape).to(dtype, memory_format=layout)
            before = plus.clone()
            for output, expected in (
                (packed(x_NCTHW), plain),
                (packed(x_NCTHW, relu=True), F.relu(plain)),
                (packed(x_NCTHW, residual_NCTHW=plus), plain + plus),
                (packed(x_NCTHW, relu=True, residual_NCTHW=plus), F.relu(plain + plus)),
            ):
                assert output.shape == expected.shape
                assert (output - expected).abs().max() <= tolerance * expected.abs().max()
            assert torch.equal(plus, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (7, 2, 0)])
@pytest.mark.parametrize("kind", ["plain", "packed", "packed and used"])
def test_taps_add_up_to_the_convolution(dtype, kernel, stride, padding, kind):
    torch.manual_seed(0)
    conv = Conv3d(3, 6, kernel, stride=stride, padding=(0, padding, padding)).to(dtype).eval()
    norm = torch.nn.BatchNorm3d(6).to(dtype).eval() if kind == "plain" else torch.nn.Identity()
    if kind == "plain":
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x_NCTHW = torch.randn(2, 3, kernel, 15, 15).to(dtype, memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        whole, expected = PrepackedConv3d.from_conv(conv) if kind != "plain" else conv, norm(conv(x_NCTHW))
        if kind == "packed and used":
            whole(x_NCTHW)
        first, last = (
            slice_taps(whole, norm, begin, stop, bias=not begin)(x_NCTHW[:, :, begin:stop])
            for begin, stop in ((0, 1), (1, kernel))
        )
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert (first + last - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "side", "steps"),
    [
        (
            ResNetSettings(depth=50, base_channels=16, num_classes=7),
            64,
            {"convolutions": 53, "sums": 0, "relus": 0, "copies": 3 + 2},
        ),
        (InceptionSettings(num_classes=7), 200, {"convolutions": 57, "sums": 0, "relus": 0, "copies": 1 + 27 + 5 + 3}),
    ],
)
def test_operators_of_a_forward_pass(network, side, steps):
    """Batch norms, sums and ReLUs are part of the convolutions; only the classifier is an operator of its own.

    Copies: the input of strided shortcuts; in Inception the padded clip, the windows of poolings that lack a tap at the
    edge (three of each pooling of stride 1, five of the others), and small ones of the head.
    """
    engine = Engine.create(build_network(network), ComputeConfig(precision="fp32"), device=CPU)
    x_NCTHW = torch.randn(1, 3, 16, side, side).to(memory_format=torch.channels_last_3d)
    engine(x_NCTHW)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        engine(x_NCTHW)
    count = Counter(event.name for event in profiled.events())
    convolutions = sum(count[f"mkldnn::_convolution_pointwise{kind}"] for kind in ("", ".binary"))
    norms = count["aten::batch_norm"] + count["aten::native_batch_norm"]
    relus = count["aten::relu"] + count["aten::relu_"] + count["aten::clamp_min_"]
    sums = count["aten::add"] + count["aten::add_"]
    assert {"convolutions": convolutions, "sums": sums, "relus": relus, "copies": count["aten::copy_"]} == steps
    assert norms == 0


FAULTS = """
import resource, torch
from i3d.utils.allocator import disable_malloc_trim
torch.set_num_threads(1)
for change in (lambda: None, disable_malloc_trim):
    change()
    faults = []
    for _ in range(12):
        torch.ones(48 << 18)  # 48 MB
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    print(faults[-1] - faults[7])  # the heap may have to grow at first
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is a function of glibc")
def test_memory_that_is_not_returned_causes_no_page_faults():
    """Measured by the page faults of one allocation after the other, in a process of its own."""
    result = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    returned, retained = map(int, result.stdout.split())
    assert retained < 100 < returned


@pytest.mark.skipif(not has_bf16(), reason="this processor has no arithmetic of bfloat16")
@pytest.mark.parametrize("is_prepacked", [False, True])
@pytest.mark.parametrize("kernel", [(1, 3, 3), (3, 3, 3), (5, 7, 7), (7, 7, 7)])
def test_outputs_of_one_row_column_or_frame_in_bf16(kernel, is_prepacked):
    """On CPUs with AMX, oneDNN returns uninitialized memory for some of these; here it holds 1e30."""
    torch.manual_seed(0)
    for size_THW in [(3, 9, 1), (3, 1, 9), (1, 9, 9), (2, 14, 2), (1, 14, 1), (9, 1, 1)]:
        for stride in [(1, 1, 1), (1, 2, 2), (2, 2, 2)]:
            layer = Conv3d(8, 16, kernel, stride=stride, padding=tuple(side // 2 for side in kernel)).requires_grad_(
                False
            )
            x_NCTHW = torch.randn(2, 8, *size_THW).bfloat16()
            layer.bfloat16()
            expected = F.conv3d(x_NCTHW.double(), layer.weight.double(), layer.bias.double(), stride, layer.padding)
            net = nn.Sequential(layer).to(memory_format=torch.channels_last_3d)
            if is_prepacked:
                prepack(net)
            del layer
            dirty = [torch.full((4**k,), 1e30) for k in range(3, 10)]
            del dirty
            out = net(x_NCTHW.to(memory_format=torch.channels_last_3d)).double()
            assert (out - expected).abs().max() < 0.03 * expected.abs().max(), (size_THW, stride)
