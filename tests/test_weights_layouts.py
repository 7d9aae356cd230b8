"""Weights of other projects under their own keys: recognised, or refused by name; never taken for another network."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from i3d.errors import InputError, WeightsError
from i3d.features.extract import load_extractor
from i3d.models.factory import build_network
from i3d.recipes.features import FeatureSettings
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import InceptionSettings, ResNetSettings
from i3d.weights.checkpoint import load_checkpoint, save_checkpoint
from i3d.weights.foreign.files import read_weights_file
from i3d.weights.foreign.names import rename_keys
from i3d.weights.initialize import load_initial_weights
from i3d.weights.load import build_model, load_weights
from support.commands import run

R50, HEAVY = "i3d_r50_32x2x1_100e_kinetics400_rgb", "i3d_r50_heavy_8x8x1_100e_kinetics400_rgb"
BASELINE = "i3d_baseline_32x2_IN_pretrain_400k"
THIN = {"base_channels": 4, "num_classes": 5}
ALL_BLOCKS = ((1,), (1,), (1,), (1,))


def thin_state(**settings):
    """A random state dict of a thin I3D-ResNet under our keys; its batch norms have statistics."""
    torch.manual_seed(0)
    state = build_network(ResNetSettings(**{**THIN, **settings})).state_dict()
    for key, tensor in state.items():
        if ".bn." in key and tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return state


def torchvision_keys(state):
    renamed = {}
    for key, tensor in state.items():
        key = re.sub(r"(downsample)\.conv\.", r"\1.0.", re.sub(r"(downsample)\.bn\.", r"\1.1.", key))
        renamed[re.sub(r"(conv)(\d)\.conv\.", r"\1\2.", re.sub(r"conv(\d)\.bn\.", r"bn\1.", key))] = tensor
    return renamed


def saved(path, content):
    torch.save(content, path)
    return path


def pytorch_resnet3d(state, x):
    """The feature map of Tushar-N/pytorch-resnet3d; its first pooling is 2x3x3 without padding."""

    def norm(x, name):
        values = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *values)

    x = norm(F.conv3d(x, state["conv1.weight"], stride=2, padding=(2, 3, 3)), "bn1").relu()
    x = F.max_pool3d(x, (2, 3, 3), (2, 2, 2))
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        for i in range(blocks):
            name, stride = f"layer{layer}.{i}", (1, 2, 2) if layer > 1 and i == 0 else 1
            first = state[f"{name}.conv1.weight"]
            y = norm(F.conv3d(x, first, padding=(first.shape[2] // 2, 0, 0)), f"{name}.bn1").relu()
            y = norm(F.conv3d(y, state[f"{name}.conv2.weight"], stride=stride, padding=(0, 1, 1)), f"{name}.bn2").relu()
            y = norm(F.conv3d(y, state[f"{name}.conv3.weight"]), f"{name}.bn3")
            if i == 0:
                x = norm(F.conv3d(x, state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
            x = (x + y).relu()
        if layer == 1:
            x = F.max_pool3d(x, (2, 1, 1))
    return x


@pytest.mark.parametrize("prefix", ["", "module.", "net.i3d."])
def test_pytorch_resnet3d_computes_what_its_own_network_computes(tmp_path, prefix):
    state = torchvision_keys(thin_state())
    source = saved(tmp_path / "r50.pth", {prefix + key: tensor for key, tensor in state.items()})
    target = tmp_path / "r50.safetensors"
    result = run("convert", source, target)
    assert result.returncode == 0, result.output
    assert "3D ResNet with torchvision's keys" in result.stdout
    assert "2D" not in result.stdout
    weights = load_weights(target)
    assert weights.card.recipe.name == BASELINE
    assert weights.card.recipe.preprocessing == named_recipe(BASELINE).preprocessing
    clip = torch.randn(1, 3, 16, 70, 75)
    with torch.inference_mode():
        expected, features = pytorch_resnet3d(state, clip), build_model(weights).features(clip)
    assert features.shape == expected.shape
    assert torch.allclose(features, expected, rtol=1e-4, atol=1e-4 * expected.max().item())


def test_a_clip_as_short_as_the_pooling_of_the_baseline_allows():
    for settings in ({}, {"pool1": "2x3x3"}, {"pool1": "2x3x3", "pool2": False}, {"conv1_stride_t": 1}):
        net = build_network(ResNetSettings(**THIN, **settings)).eval()
        with torch.inference_mode():
            assert net.features(torch.zeros(1, 3, net.min_frames, 64, 64)).shape[2] == 1
            with pytest.raises(ValueError, match="the shortest clip"):
                net.features(torch.zeros(1, 3, net.min_frames - 1, 64, 64))


OTHER_3D = {
    "every block inflated": {"inflate": ALL_BLOCKS},
    "3D-ResNets-PyTorch-50": {"conv1_kernel_t": 7, "inflate": ALL_BLOCKS, "inflate_style": "3x3x3"},
    "3D-ResNets-PyTorch-18": {"depth": 18, "conv1_kernel_t": 7, "inflate": ALL_BLOCKS},
    "IBM-50": {"conv1_kernel_t": 3, "inflate": ALL_BLOCKS, "inflate_style": "3x3x3"},
    "IBM-101": {"depth": 101, "conv1_kernel_t": 3, "inflate": ALL_BLOCKS, "inflate_style": "3x3x3"},
    "the baseline with 3 frames in the stem": {"conv1_kernel_t": 3},
    "34 layers": {"depth": 34},
}


@pytest.mark.parametrize("name", OTHER_3D)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_3d_resnets_are_refused_by_name(tmp_path, name, suffix):
    path, state = tmp_path / f"a.{suffix}", torchvision_keys(thin_state(**OTHER_3D[name]))
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    with pytest.raises(WeightsError, match="with torchvision's keys, .* a 3D network whose strides, pooling") as error:
        load_weights(path)
    assert "2D" not in str(error.value)
    assert run("convert", path, tmp_path / "out.safetensors").returncode == 2
    assert not (tmp_path / "out.safetensors").exists()


def test_a_recipe_loads_a_3d_resnet_with_torchvision_keys_as_its_network(tmp_path, caplog):
    state = thin_state(inflate=ALL_BLOCKS)
    baseline = saved(tmp_path / "b.pth", torchvision_keys(thin_state()))
    load_weights(baseline, recipe=BASELINE)
    assert not caplog.messages
    load_weights(baseline, recipe=R50)
    assert caplog.messages == [
        f"its keys and shapes are those of Tushar-N/pytorch-resnet3d, with another pooling and input than {R50}"
    ]
    path = saved(tmp_path / "a.pth", torchvision_keys(state))
    weights = load_weights(path, recipe=HEAVY)
    assert (weights.card.recipe.name, weights.recipe_from) == (HEAVY, "as given")
    assert all(torch.equal(weights.state[key], tensor.float()) for key, tensor in state.items())
    with pytest.raises(WeightsError, match="the file holds an I3D-ResNet-50 .* the recipe .* is for"):
        load_weights(path, recipe=R50)


@pytest.mark.parametrize("inflated", ["conv1.weight", "layer1.0.conv1.weight", "layer4.2.conv2.weight"])
def test_one_kernel_of_five_dimensions_makes_no_2d_network(tmp_path, inflated):
    state = {key: t.mean(2) if t.dim() == 5 else t for key, t in torchvision_keys(thin_state()).items()}
    load_weights(saved(tmp_path / "2d.pth", state))
    state[inflated] = state[inflated][:, :, None]
    with pytest.raises(WeightsError) as error:
        load_weights(saved(tmp_path / "a.pth", state))
    assert "2D" not in str(error.value)


def test_a_3d_googlenet_is_refused_as_such():
    arrays = {"inception3a.branch1.conv.weight": np.zeros((2, 3, 1, 1, 1), "f4"), "fc.bias": np.zeros(2, "f4")}
    with pytest.raises(WeightsError, match="kernels of five dimensions under the keys of a 2D Inception-v1"):
        rename_keys(arrays)


def hassony2_keys(keys):
    branches = {"b0": "branch_0", "b1a": "branch_1.0", "b1b": "branch_1.1", "b2a": "branch_2.0", "b2b": "branch_2.1"}
    for key in keys:
        for ours, theirs in (branches | {"b3b": "branch_3.1"}).items():
            key = key.replace(f".{ours}.", f".{theirs}.")
        key = key.replace("logits.", "conv3d_0c_1x1.").replace(".bn.", ".batch3d.")
        yield key.replace("Conv3d_", "conv3d_").replace("Mixed_", "mixed_")


@pytest.fixture(scope="module")
def inception_arrays():
    """Our keys of Inception with arrays of the right dimensions that take no memory."""
    with torch.device("meta"):
        state = build_network(InceptionSettings()).state_dict()
    return {key: np.broadcast_to(np.float32(i), tuple(t.shape)) for i, (key, t) in enumerate(state.items())}


PREFIXES = ["", "i3d.", "backbone.", "net.", "encoder.", "base_model.", "module.basenet.", "model.i3d."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_keys_of_hassony2_and_of_pytorch_i3d_under_any_prefix(inception_arrays, prefix):
    for keys in (list(hassony2_keys(inception_arrays)), list(inception_arrays)):
        arrays = {prefix + key: array for key, array in zip(keys, inception_arrays.values(), strict=True)}
        renamed = rename_keys({**arrays, "n_averaged": np.array(3)})
        assert renamed.prefix == prefix
        assert not renamed.unknown
        assert renamed.ignored == ("n_averaged",)
        assert {key: array.item(0) for key, array in renamed.arrays.items()} == {
            key: array.item(0) for key, array in inception_arrays.items()
        }


def test_several_networks_in_one_state_dict_are_named(inception_arrays):
    two = {f"{name}.{key}": array for name in ("rgb", "flow") for key, array in inception_arrays.items()}
    with pytest.raises(WeightsError, match="344 of its 688 keys are a pytorch-i3d Inception-I3D under 'rgb.', the oth"):
        rename_keys(two)


@pytest.mark.parametrize("prefix", ["", "backbone.", "encoder."])
def test_without_a_classifier_only_what_needs_one_is_refused(tmp_path, caplog, prefix):
    caplog.set_level("INFO", "i3d")
    state = {key: tensor for key, tensor in thin_state(num_classes=400).items() if not key.startswith("fc.")}
    path = saved(tmp_path / "backbone.pth", {prefix + key: tensor for key, tensor in state.items()})
    for recipe in (None, R50):
        with pytest.raises(WeightsError, match=r"has no classifier \(fc.weight, fc.bias missing\); `i3d features` and"):
            load_weights(path, recipe=recipe)
        weights = load_weights(path, recipe=recipe, needs_classifier=False)
        assert weights.card.recipe.name == R50
        assert "backbone.pth: has no classifier, and none is needed" in caplog.text
    extractor = load_extractor(path, FeatureSettings(window=16))
    assert extractor.made_with["weights"][0]["recipe"] == R50
    recipe = named_recipe(R50).model_copy(update={"network": ResNetSettings(base_channels=4, num_classes=3)})
    net = build_network(recipe.network)
    line, _ = load_initial_weights(net, str(path), recipe)
    assert line.endswith(f"{len(state)} tensors, random classifier of 3 classes")
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in state.items())
    result = run("convert", path, tmp_path / "full.safetensors", "--partial")
    assert (result.returncode, "missing" in result.stdout) == (0, True), result.output
    assert "2 missing (fc.weight, fc.bias)" in load_weights(tmp_path / "full.safetensors").incomplete


def test_the_classes_of_a_recipe_are_those_of_weights_without_a_classifier(tmp_path):
    state = {key: tensor for key, tensor in thin_state().items() if not key.startswith("fc.")}
    recipe = named_recipe(R50).model_copy(update={"network": ResNetSettings(num_classes=7), "dataset": ""})
    loaded = load_weights(saved(tmp_path / "a.pth", state), recipe=recipe, needs_classifier=False)
    assert len(loaded.card.labels) == 7


def test_initial_weights_lack_what_the_file_lacks(tmp_path):
    """Random values that complete a state dict are no weights of the file."""
    state = thin_state()
    del state["layer3.1.conv2.conv.weight"]
    recipe = named_recipe(R50).model_copy(update={"network": ResNetSettings(**THIN)})
    with pytest.raises(WeightsError, match=r"1 weights are missing or of another shape, such as layer3.1.conv2.conv.w"):
        load_initial_weights(build_network(recipe.network), str(saved(tmp_path / "a.pth", state)), recipe)


def test_the_initial_classifier_follows_the_names_of_the_classes(tmp_path):
    recipe = named_recipe(R50).model_copy(update={"network": ResNetSettings(**THIN), "dataset": ""})
    names = tuple(f"class {k}" for k in range(recipe.network.num_classes))
    state = load_weights(saved(tmp_path / "a.pth", thin_state()), recipe=recipe, labels=names)
    save_checkpoint(tmp_path / "a.safetensors", state.state, state.card)
    for classes, order in [(names[::-1], range(len(names))[::-1]), (names, None), (("another", *names[1:]), None)]:
        net = build_network(recipe.network)
        line, _ = load_initial_weights(net, str(tmp_path / "a.safetensors"), recipe, classes)
        wanted = state.state["fc.weight"] if order is None else state.state["fc.weight"][list(order)]
        assert torch.equal(net.state_dict()["fc.weight"], wanted)
        assert ("classifier in the order of the clips' classes" in line) == (order is not None)


MOMENT = {"state": {0: {"exp_avg": torch.zeros(2, 3, 1, 1, 1)}}}
CONTENTS = {  # content, where numbers are state dicts whose kernel has this value; what is taken; with --state ema
    "timm": ({"state_dict": 1, "state_dict_ema": 2}, 1, 2),
    "torchvision": ({"model": 1, "model_ema": {"module.": 2, "n_averaged": torch.tensor(7)}}, 1, 2),
    "ema": ({"model": 1, "ema": 2, "optimizer": MOMENT}, 1, 2),
    "nested": ({"model": 1, "ema": {"module": 2}}, 1, 2),
    "MMEngine": ({"message_hub": {}, "state_dict": 2, "ema_state_dict": {"module.": 1}}, 2, 2),
    "Lightning": ({"state_dict": 1, "callbacks": {"EMACallback": {"ema_state_dict": 2}}}, 1, 2),
    "three levels": ({"model": 1, "ema": {"model": {"state_dict": 2}}}, 1, 2),
    "flat beside it": ({"conv.weight": torch.ones(2, 3, 1, 1, 1), "model_ema": 2}, 1, 2),
    "one of another key": ({"params": 1, "best": torch.tensor(0.5), "optimizer": MOMENT}, 1, None),
    "a tensor beside it": ({"epoch": torch.tensor(1), "weights": 1}, 1, None),
    "nested only": ({"checkpoint": {"model": 1}}, 1, None),
    "no kernels under a usual key": ({"model": {"scale": torch.ones(3)}, "weights": 1}, 1, None),
    "flat": ({"conv.weight": torch.ones(2, 3, 1, 1, 1)}, 1, None),
}


def filled(content):
    """Numbers become state dicts with a kernel of this value; {"module.": n} has its keys under that prefix."""
    if isinstance(content, dict):
        content = {key: filled(value) for key, value in content.items()}
        return {f"module.{key}": v for key, v in content.pop("module.", {}).items()} | content
    return {"conv.weight": torch.full((2, 3, 1, 1, 1), content)} if isinstance(content, int) else content


def kernel_value(file):
    return next(array for array in file.arrays.values() if array.ndim == 5).item(0)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", CONTENTS)
def test_which_of_several_state_dicts_is_taken_is_reported_and_chosen(tmp_path, name, legacy):
    content, taken, averaged = CONTENTS[name]
    path = tmp_path / "a.pth"
    tree = {key: value if key in ("optimizer", "message_hub") else filled(value) for key, value in content.items()}
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy)
    file = read_weights_file(path)
    assert kernel_value(file) == taken
    if averaged is None:
        assert not file.note
        with pytest.raises(WeightsError, match="--state ema: it holds the state dicts "):
            read_weights_file(path, state_key="ema")
        return
    assert re.search(r"2 state dicts: .*is taken, not \S+; `i3d convert --state \S+` takes another", file.note)
    assert ("state_dict (the averaged weights) is taken, not ema_state_dict" in file.note) == (name == "MMEngine")
    assert kernel_value(read_weights_file(path, state_key="ema")) == averaged
    named = re.search(r"--state (\S+)`", file.note)[1]
    assert kernel_value(read_weights_file(path, state_key=named)) == 3 - taken


@pytest.mark.parametrize("own", [{"model": 1}, {"conv.weight": torch.ones(2, 3, 1, 1, 1)}])
def test_averaged_weights_without_names_are_reported(tmp_path, own):
    """As by pytorch_ema, which saves a list of the parameters."""
    shadow = {"decay": 0.99, "shadow_params": [torch.full((2, 3, 1, 1, 1), 2.0)]}
    path = tmp_path / "a.pth"
    torch.save({key: filled(value) for key, value in own.items()} | {"ema": shadow}, path)
    file = read_weights_file(path)
    assert kernel_value(file) == 1
    assert "holds weights in ema.shadow_params too" in file.note
    with pytest.raises(WeightsError, match=r"ema.shadow_params has no names of its tensors, by which they are loaded"):
        read_weights_file(path, state_key="ema")


def test_convert_reports_and_takes_averaged_weights(tmp_path):
    state, target = thin_state(), tmp_path / "b.safetensors"
    ema = {f"module.{key}": tensor + 1 for key, tensor in state.items()} | {"n_averaged": torch.tensor(7)}
    path = saved(tmp_path / "a.pth", {"model": state, "model_ema": ema, "epoch": 3})
    result = run("convert", path, target)
    assert "a.pth: holds 2 state dicts: model is taken, not model_ema; `i3d convert --state model_ema`" in result.stderr
    assert torch.equal(load_weights(target).state["fc.weight"], state["fc.weight"])
    assert run("convert", path, target, "--state", "ema", "--force").returncode == 0
    assert load_checkpoint(target)[1].origin["format"].startswith("PyTorch file (model_ema), i3d I3D-ResNet under 'mod")
    assert torch.equal(load_weights(target).state["fc.weight"], state["fc.weight"] + 1)
    with pytest.raises(InputError, match="is an i3d checkpoint already; --in-channels, --partial and --state do not"):
        load_weights(target, state_key="ema")


def test_several_state_dicts_of_unusual_keys_need_a_choice(tmp_path):
    path = saved(tmp_path / "a.pth", {"rgb": filled(1), "flow": filled(2)})
    with pytest.raises(WeightsError, match="holds the state dicts rgb, flow; choose one with `i3d convert --state KEY"):
        read_weights_file(path)
    assert kernel_value(read_weights_file(path, state_key="flow")) == 2


def test_state_is_for_files_of_several_state_dicts(tmp_path):
    save_file(filled(1), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="holds no state dicts by key, of which --state ema chooses"):
        read_weights_file(tmp_path / "a.safetensors", state_key="ema")
