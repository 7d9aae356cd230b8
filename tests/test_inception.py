"""Inception-I3D against pytorch-i3d's own logits and stages (tests/golden), and its SAME padding against the rule."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from i3d.errors import InputError
from i3d.finetuning.features import Backbone
from i3d.models.inception import MIN_FRAMES, MIN_SIDE, InceptionI3D, MaxPool3dSame, Unit3D, same_padding
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import ClipProtocol, FrameGeometry, InceptionSettings, Preprocessing
from i3d.training.setup import check_clip_shape
from i3d.weights.load import load_model
from support import golden_weights
from support.commands import run
from support.evaluation_runs import save_model
from support.examples import examples
from support.rendering import render

GOLDEN = Path(__file__).parent / "golden"
LOGITS = np.load(GOLDEN / "piergiaj_rgb.npz")
STAGES = ("Conv3d_1a_7x7", "Conv3d_2c_3x3", "Mixed_3c", "Mixed_4f", "Mixed_5c")


@pytest.fixture(scope="module")
def model():
    """Its state dict is loaded strictly: names and shapes are those of pytorch-i3d."""
    net = InceptionI3D(InceptionSettings())
    net.load_state_dict(golden_weights.state_dict(GOLDEN / "keys" / "piergiaj_rgb.json"))
    return net.eval()


def run_with_maps(net, names, run):
    """What `run` gives, and the outputs of the layers of these names."""
    maps, handles = {}, []
    for name in names:
        store_map = lambda _, __, output, name=name: maps.update({name: output})  # noqa: E731
        handles.append(net.get_submodule(name).register_forward_hook(store_map))
    with torch.inference_mode():
        result = run()
    for handle in handles:
        handle.remove()
    return result, maps


@pytest.mark.slow
@pytest.mark.parametrize("case", ["a", "c"])
def test_logits_and_stages_equal_pytorch_i3d(model, case):
    """Case b is a longer clip of a: its logits, too, are the mean over several places in time, as those of c."""
    clips = torch.from_numpy(golden_weights.clips_NCTHW(int(LOGITS[f"{case}_seed"]), LOGITS[f"{case}_shape"]))
    assert np.array_equal(clips.flatten()[:16], LOGITS[f"{case}_input_head"])
    logits, stages = run_with_maps(model, STAGES if case == "c" else (), lambda: model(clips))
    expected = LOGITS[f"{case}_logits"]
    assert np.allclose(logits, expected.mean(axis=tuple(range(2, expected.ndim))), atol=2e-5, rtol=0)
    for name, stage in stages.items():
        assert tuple(stage.shape) == tuple(LOGITS[f"c_stage_{name}_shape"]), name
        stage, stats = stage.double(), LOGITS[f"c_stage_{name}_stats"]  # mean, deviation, largest
        statistics = [stage.mean(), stage.std(correction=0), stage.abs().max()]
        assert np.allclose(statistics, stats, rtol=1e-5), name


@pytest.mark.slow
def test_float64_logits_equal_pytorch_i3d_more_closely(model):
    clips = torch.from_numpy(golden_weights.clips_NCTHW(int(LOGITS["a_seed"]), LOGITS["a_shape"])).double()
    exact = copy.deepcopy(model).double()
    with torch.inference_mode():
        assert np.allclose(exact(clips), LOGITS["a_logits_float64"][..., 0], atol=1e-7, rtol=0)


@given(st.integers(1, 300), st.integers(1, 7), st.integers(1, 3))
def test_same_padding_is_tensorflows(size, kernel, stride):
    """TensorFlow: ceil(size / stride) outputs, the last window ends inside the padding, the odd one behind."""
    before, after = same_padding(size, kernel=kernel, stride=stride)
    outputs = -(-size // stride)
    assert after - before in (0, 1)
    assert (size + before + after - kernel) // stride + 1 >= outputs
    assert before + after == max((outputs - 1) * stride + kernel - size, 0)


@examples(40)
@given(*[st.integers(1, 12)] * 3, st.sampled_from([((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2))]), st.booleans())
def test_pooling_equals_explicit_padding(t, h, w, kernel_stride, small):
    kernel, stride = ((2, 2, 2), (2, 2, 2)) if small else kernel_stride
    x = torch.randn(1, 2, t, h, w)
    pads = [same_padding(n, kernel=k, stride=s) for n, k, s in zip((t, h, w), kernel, stride, strict=True)]
    padded = F.pad(x, (*pads[2], *pads[1], *pads[0]), value=-torch.inf)
    expected = F.max_pool3d(padded, kernel, stride)
    assert torch.equal(MaxPool3dSame(kernel_THW=kernel, stride_THW=stride)(x), expected)


@examples(25)
@given(*[st.integers(1, 11)] * 3, st.sampled_from([(7, 2), (3, 1), (1, 1)]))
def test_convolution_equals_explicit_padding(t, h, w, kernel_stride):
    kernel, stride = kernel_stride
    unit = Unit3D(2, 3, kernel=kernel, stride=stride).eval()
    x = torch.randn(1, 2, t, h, w)
    pads = [same_padding(n, kernel=kernel, stride=stride) for n in (t, h, w)]
    padded = F.pad(x, (*pads[2], *pads[1], *pads[0]))
    expected = F.relu(unit.bn(F.conv3d(padded, unit.conv3d.weight, stride=stride)))
    with torch.no_grad():
        assert torch.allclose(unit(x), expected, atol=1e-6)


def test_smallest_input_and_one_below():
    net = InceptionI3D(InceptionSettings(num_classes=3)).eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, MIN_FRAMES, MIN_SIDE, MIN_SIDE)).shape == (1, 3)
        for shape in [(MIN_FRAMES - 1, MIN_SIDE, MIN_SIDE), (MIN_FRAMES, MIN_SIDE - 1, 224), (MIN_FRAMES, 224, 192)]:
            with pytest.raises(
                ValueError, match=f"has 9 frames of 193 x 193, got {shape[0]} of {shape[1]} x {shape[2]}"
            ):
                net(torch.zeros(1, 3, *shape))


@pytest.mark.slow
def test_flow_channels_any_classes_and_wrong_channels():
    net = InceptionI3D(InceptionSettings(in_channels=2, num_classes=7)).eval()
    with torch.inference_mode():
        assert net(torch.zeros(2, 2, 9, 193, 200)).shape == (2, 7)
    with pytest.raises(ValueError, match=r"\(N, 2, T, H, W\), got shape \(1, 3, 9, 224, 224\)"):
        net(torch.zeros(1, 3, 9, 224, 224))


def test_endpoints_are_in_order_and_named():
    net = InceptionI3D(InceptionSettings(num_classes=2)).eval()
    clips, names = torch.randn(1, 3, 8, 32, 32), InceptionI3D.endpoints
    _, maps = run_with_maps(net, names, lambda: net.features(clips, endpoint=names[-1]))
    assert list(maps) == list(names)
    widths = [map_NCTHW.shape[1] for map_NCTHW in maps.values()]
    assert widths == [64, 64, 64, 192, 192, 256, 480, 480, 512, 512, 512, 528, 832, 832, 832, 1024]
    with torch.inference_mode():
        for name in STAGES:
            assert torch.equal(net.features(clips, endpoint=name), maps[name])
    with pytest.raises(ValueError, match="one of Conv3d_1a_7x7, .* got 'Mixed_9z'"):
        net.features(clips, endpoint="Mixed_9z")


@pytest.mark.slow
def test_crops_below_the_pooling_window_are_refused_in_one_line_unless_the_classifier_reads_maxima(tmp_path):
    """Found in a fine-tuned network: it was trained with such crops, and no command could run it."""
    render(tmp_path / "clip.mp4", num_frames=12)
    (tmp_path / "list.csv").write_text("path,label\nclip.mp4,a\n")
    protocol = ClipProtocol(clip_len=MIN_FRAMES, frame_interval=1, num_clips=1, crops="center")
    mean, maxima = (InceptionSettings(num_classes=3, head_pooling=pooling) for pooling in ("mean", "maxima"))
    small = save_model(tmp_path / "mean.safetensors", network=mean, protocol=protocol, crop=64)
    line = "error: preprocessing.crop 64: the network takes frames of at least 193 x 193"
    todo = "; set preprocessing.crop to 193 or more"
    outs = {"predict": (), "stream": (), "explain": (), "timeline": ("--out", tmp_path / "t.csv")}
    for verb, out in (outs | {"features": ("--out", tmp_path / "out")}).items():
        result = run(verb, tmp_path / "clip.mp4", "--model", small, "--device", "cpu", *out)
        assert result.returncode == 2
        where = " for pooled features" if verb == "features" else ""
        assert result.stderr.splitlines()[-1] == f"{line}{where}{todo}", result.stderr
    result = run("test", small, "--data", tmp_path / "list.csv", "--device", "cpu")
    assert result.stderr.splitlines()[-1] == f"{line}{todo}", result.stderr
    with pytest.raises(InputError, match="preprocessing.crop 64: the network takes frames of at least"):
        Backbone(load_model(small), load_model(small).preprocessing, device=torch.device("cpu"), precision="fp32")
    works = save_model(tmp_path / "maxima.safetensors", network=maxima, protocol=protocol, crop=64)
    assert run("predict", tmp_path / "clip.mp4", "--model", works, "--device", "cpu").returncode == 0


def test_a_recipe_whose_crops_are_too_small_is_not_trained():
    recipe = named_recipe("inception_rgb_kinetics400")
    small = {"short_side": 256, "crop": 192}
    for place, changes in {
        "preprocessing.crop": {"preprocessing": Preprocessing(**small)},
        "training.validation_crop": {"training": recipe.training.model_copy(update={"validation_crop": 192})},
        "training.validation_geometry.crop": {
            "training": recipe.training.model_copy(update={"validation_geometry": FrameGeometry(**small)})
        },
    }.items():
        with pytest.raises(InputError, match=f"{place} 192: the network takes .*; set {place} to 193"):
            check_clip_shape(recipe.model_copy(update=changes), 2)
