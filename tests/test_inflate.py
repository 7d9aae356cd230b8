"""Inflation: a still video gives the features that its image gives to the 2D network."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from i3d.errors import WeightsError
from i3d.models.inception import same_padding
from i3d.models.inflate import channels_from_rgb, inflate_kernel
from i3d.weights import hub
from i3d.weights.load import build_model, load_weights
from support.foreign_files import kernel, random_norm, resnet_2d


def run_resnet_2d(state, x):
    """The features and logits of He et al. 2016, as torchvision computes them."""

    def conv(x, name, norm, *, stride=1):
        weight = state[f"{name}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return F.batch_norm(x, *(state[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))

    x = F.max_pool2d(conv(x, "conv1", "bn1", stride=2).relu(), 3, stride=2, padding=1)
    deep = "layer1.0.conv3.weight" in state
    for stage in range(1, 5):
        i = 0
        while f"layer{stage}.{i}.conv1.weight" in state:
            name, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            skip = x
            if f"{name}.downsample.0.weight" in state:
                skip = conv(x, f"{name}.downsample.0", f"{name}.downsample.1", stride=stride)
            y = conv(x, f"{name}.conv1", f"{name}.bn1", stride=1 if deep else stride).relu()
            y = conv(y, f"{name}.conv2", f"{name}.bn2", stride=stride if deep else 1)
            x = ((conv(y.relu(), f"{name}.conv3", f"{name}.bn3") if deep else y) + skip).relu()
            i += 1
    return x, F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


RECIPES = [
    (50, "i3d_r50_32x2x1_100e_kinetics400_rgb"),
    (50, "i3d_r50_heavy_8x8x1_100e_kinetics400_rgb"),
    (50, "i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb"),
    (34, "i3d_r34_32x2x1_100e_kinetics400_rgb"),
    (18, None),
    (101, None),
]


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "recipe"), RECIPES)
def test_a_still_video_gives_the_features_of_its_image(tmp_path, depth, recipe):
    """In the middle of a long video: near its ends, convolutions reach zero padding."""
    state = resnet_2d(depth)
    save_file(state, tmp_path / "resnet.safetensors")
    weights = load_weights(tmp_path / "resnet.safetensors", recipe=recipe)
    if recipe and "_nl_" in recipe:
        assert all(".non_local." in name for name in weights.report.missing)
        assert weights.report.missing
    else:
        assert not weights.report.missing
    model = build_model(weights).double()
    assert model.settings.depth == depth
    assert model.labels == tuple(f"class {i}" for i in range(10))
    image = torch.randn(1, 3, 40, 48, dtype=torch.float64)
    seconds = {34: 250, 101: 400}.get(depth, 200)
    video = image[:, :, None].expand(-1, -1, seconds, -1, -1)
    with torch.inference_mode():
        expected, logits = run_resnet_2d({k: v.double() for k, v in state.items()}, image)
        features = model.features(video)
        middle = features[:, :, features.shape[2] // 2]
        rounding = 1e-5 * expected.max().item()  # a third of a float32 kernel is rounded to float32
        assert torch.allclose(middle, expected, rtol=0, atol=rounding)
        assert torch.allclose(model.fc(middle.mean((2, 3))), logits, rtol=0, atol=rounding)
        assert not torch.allclose(features[:, :, 0], expected, atol=1e-3)  # the first position reaches zero padding


GOOGLENET = {
    "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip


def googlenet():
    torch.manual_seed(0)
    state = {"aux1.fc2.bias": torch.zeros(5), "fc.weight": torch.randn(7, 1024) / 10, "fc.bias": torch.randn(7)}

    def unit(name, inside, out, size):
        state.update({f"{name}.conv.weight": kernel(out, inside, size), **random_norm(f"{name}.bn", out)})

    unit("conv1", 3, 64, 7)
    unit("conv2", 64, 64, 1)
    unit("conv3", 64, 192, 3)
    for name, (inside, b0, b1a, b1b, b2a, b2b, b3) in GOOGLENET.items():
        unit(f"inception{name}.branch1", inside, b0, 1)
        unit(f"inception{name}.branch2.0", inside, b1a, 1)
        unit(f"inception{name}.branch2.1", b1a, b1b, 3)
        unit(f"inception{name}.branch3.0", inside, b2a, 1)
        unit(f"inception{name}.branch3.1", b2a, b2b, 3)
        unit(f"inception{name}.branch4.1", inside, b3, 1)
    return state


def run_inception_2d(state, x):
    """Inception-v1 with TensorFlow's `SAME` padding, as DeepMind's 2D network has it."""

    def same(x, size, stride, value=0.0):
        (top, bottom), (left, right) = (same_padding(n, kernel=size, stride=stride) for n in x.shape[2:])
        return F.pad(x, (left, right, top, bottom), value=value)

    def unit(x, name, stride=1):
        weight = state[f"{name}.conv.weight"]
        x = F.conv2d(same(x, weight.shape[-1], stride), weight, stride=stride)
        norm = (state[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *norm, eps=1e-3).relu()

    def pool(x, size, stride):
        return F.max_pool2d(same(x, size, stride, -torch.inf), size, stride)

    x = pool(unit(x, "conv1", 2), 3, 2)
    x = pool(unit(unit(x, "conv2"), "conv3"), 3, 2)
    for name in GOOGLENET:
        if name in ("4a", "5a"):
            x = pool(x, *((3, 2) if name == "4a" else (2, 2)))
        b = f"inception{name}.branch"
        branches = [unit(x, f"{b}1"), unit(unit(x, f"{b}2.0"), f"{b}2.1"), unit(unit(x, f"{b}3.0"), f"{b}3.1")]
        x = torch.cat([*branches, unit(pool(x, 3, 1), f"{b}4.1")], 1)
    return x


@pytest.mark.slow
def test_inception_v1_is_inflated_too(tmp_path):
    state = googlenet()
    save_file(state, tmp_path / "googlenet.safetensors")
    weights = load_weights(tmp_path / "googlenet.safetensors")
    assert weights.card.recipe.name == "inception_rgb_kinetics400"
    assert weights.report.ignored == ("aux1.fc2.bias",)
    assert not weights.report.missing
    model = build_model(weights).double()
    assert torch.equal(model.logits.conv3d.weight[:, :, 0, 0, 0].float(), state["fc.weight"])
    image = torch.randn(1, 3, 32, 40, dtype=torch.float64)
    with torch.inference_mode():
        expected = run_inception_2d({k: v.double() for k, v in state.items()}, image)
        features = model.features(image[:, :, None].expand(-1, -1, 260, -1, -1))
    middle = features[:, :, features.shape[2] // 2]
    assert torch.allclose(middle, expected, rtol=0, atol=1e-5 * expected.max().item())


@pytest.mark.parametrize("shape", [(4, 3, 5, 7, 7), (4, 3, 1, 7, 7), (4, 3, 3, 7, 7)])
def test_a_kernel_is_repeated_and_divided_by_its_length(shape):
    weight = torch.randn(4, 3, 7, 7)
    inflated = inflate_kernel(weight, torch.Size(shape))
    assert tuple(inflated.shape) == shape
    assert torch.allclose(inflated.sum(2), weight, atol=1e-6)
    assert torch.equal(inflated[:, :, 0], inflated[:, :, -1])


@pytest.mark.parametrize("in_channels", [1, 2, 10])
def test_other_channels_are_the_mean_over_rgb(tmp_path, in_channels):
    weight = torch.randn(4, 3, 7, 7)
    adapted = channels_from_rgb(weight, in_channels=in_channels)
    assert adapted.shape == (4, in_channels, 7, 7)
    assert torch.allclose(adapted[:, -1], weight.mean(1))

    save_file(resnet_2d(50), tmp_path / "resnet.safetensors")
    weights = load_weights(tmp_path / "resnet.safetensors", in_channels=in_channels)
    assert weights.card.recipe.preprocessing.mean == (127.5,) * in_channels
    model = build_model(weights)
    rgb = build_model(load_weights(tmp_path / "resnet.safetensors"))
    assert torch.allclose(model.conv1.conv.weight[:, 0], rgb.conv1.conv.weight.mean(1), atol=1e-7)
    assert model(torch.zeros(1, in_channels, 8, 32, 32)).shape == (1, 10)


def test_the_flow_recipe_takes_an_rgb_inception(tmp_path):
    save_file(googlenet(), tmp_path / "googlenet.safetensors")
    weights = load_weights(tmp_path / "googlenet.safetensors", recipe="inception_flow_kinetics400")
    assert weights.card.recipe.network.in_channels == 2
    assert weights.state["Conv3d_1a_7x7.conv3d.weight"].shape == (64, 2, 7, 7, 7)


def test_a_recipe_of_another_depth_or_kind_is_refused(tmp_path):
    save_file(resnet_2d(50), tmp_path / "resnet.safetensors")
    for recipe in ("i3d_r34_32x2x1_100e_kinetics400_rgb", "inception_rgb_kinetics400"):
        with pytest.raises(WeightsError, match=f"holds an I3D-ResNet-50 .*, the recipe {recipe} is for an"):
            load_weights(tmp_path / "resnet.safetensors", recipe=recipe)


def test_without_internet_the_error_names_the_file_to_download(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def nothing_cached(*_, local_files_only=False, **__):
        assert local_files_only, "nothing is fetched where the repository cannot be reached"
        raise LocalEntryNotFoundError("not cached")

    def no_network(*_, **__):
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", nothing_cached)
    monkeypatch.setattr(huggingface_hub, "model_info", no_network)
    with pytest.raises(WeightsError) as error:
        load_weights("timm/resnet50.tv_in1k")
    assert str(error.value) == (
        "timm/resnet50.tv_in1k: there is no such file here, and it cannot be fetched from the model hub "
        "([Errno -2] Name or service not known); where there is a network, download model.safetensors of "
        "timm/resnet50.tv_in1k, copy it here and give its path"
    )


def test_weights_of_the_hub_are_inflated(monkeypatch, tmp_path):
    import huggingface_hub

    save_file(resnet_2d(50), tmp_path / "model.safetensors")
    requests = []

    def download(repository, file, *, revision=None, local_files_only=False):
        requests.append((repository, file, revision))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    weights = load_weights("timm/resnet50.tv_in1k@abc123")
    assert requests == [("timm/resnet50.tv_in1k", "model.safetensors", "abc123")]
    assert weights.card.origin["source"] == "timm/resnet50.tv_in1k@abc123"
    assert json.loads(weights.card.model_dump_json())["origin"]["changes"].startswith("inflated and renamed")


def test_hub_names(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    assert hub.is_hub_name("timm/resnet50.tv_in1k")
    assert hub.is_hub_name("timm/resnet50.tv_in1k@main")
    for name in ("resnet50.pth", "a/b/c", "/a/b", "timm/", "runs/epoch_1.pth", "tests/absent", "../x", __file__):
        assert not hub.is_hub_name(name)
