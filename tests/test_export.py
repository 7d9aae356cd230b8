"""Exported files give the numbers of PyTorch, or are refused; `test_exported_models.py` uses them as models."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import i3d
from i3d.errors import InputError, WeightsError
from i3d.exporting import api, check
from i3d.exporting.formats import GraphFile
from i3d.models import inception
from i3d.models.engine.runtimes.exports import open_graph
from i3d.models.factory import build_network
from i3d.models.non_local import NonLocal
from i3d.recipes.named import named_recipe
from i3d.recipes.protocols import with_protocol
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import InceptionSettings, ResNetSettings
from i3d.weights.exported import GraphInput, read_export
from support.commands import run_here
from support.evaluation_runs import WINDOWS, save_model
from support.paths import ROOT
from support.rendering import render

pytestmark = [
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript", "openvino")),
        reason="pip install 'i3d[export]'",
    ),
    pytest.mark.filterwarnings("default:::torch"),  # of PyTorch's exporter itself
    pytest.mark.filterwarnings("default:::onnxscript"),
]

TOLERANCE = 1e-4
R50 = "i3d_r50_32x2x1_100e_kinetics400_rgb"


def network(settings, *, crop, name=R50):
    """A network with random weights and statistics, in training mode, with the attributes of `load_model`."""
    torch.manual_seed(0)
    base = named_recipe(name)
    pre = base.preprocessing
    even = (127.5,) * settings.in_channels
    pre = type(pre)(**{**dict(pre), "short_side": max(pre.short_side, crop), "crop": crop, "mean": even, "std": even})
    recipe = Recipe(**{**dict(base), "network": settings, "preprocessing": pre, "dataset": ""})
    net = build_network(settings)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif isinstance(module, NonLocal):
            for part in (module.g, module.theta, module.phi):
                torch.nn.init.normal_(part.weight, std=0.2)
    net.recipe, net.preprocessing = recipe, pre
    net.labels = tuple(f"class {number}" for number in range(settings.num_classes))
    return net.train()


def small(**more):
    return network(ResNetSettings(depth=18, base_channels=4, num_classes=3, **more), crop=32)


def agrees_in_openvino(path, net):
    """An ONNX file read by OpenVINO, compared as the export was."""
    record, graph, _ = read_export(path)
    run = open_graph(graph.path, "openvino")
    return check.compare(run, net.eval(), net.preprocessing, record.input, lambda _: None).difference < TOLERANCE


@pytest.fixture
def fewer_frames(monkeypatch):
    """The smallest number of frames and five others; `i3d export` compares at more."""
    monkeypatch.setattr(check, "FRAMES", (16, 17, 24, 31, 79))


@pytest.fixture(scope="module")
def inception_onnx(tmp_path_factory):
    """The shipped network, exported for any number of frames, with uint8 input."""
    path = tmp_path_factory.mktemp("inception") / "i3d.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "FRAMES", (16, 17, 31, 79))
        patch.setattr(check, "FRAMES_OF_BATCHES", {3: 17, 4: 16})
        result = i3d.export("inception_rgb_kinetics400", path, input_dtype="uint8", dynamic_frames=True)
    return path, result


@pytest.mark.slow
def test_inception_for_any_number_of_frames(inception_onnx):
    path, result = inception_onnx
    assert result.difference < TOLERANCE
    assert result.checked.endswith("batch 1, 3, 4 and 9, 16, 17, 31, 79 frames")
    run, net = open_graph(path, "openvino"), i3d.load_model()
    for batch, frames in ((1, 17), (3, 9), (4, 16), (1, 31)):
        clips = np.random.default_rng(frames).integers(0, 256, (batch, frames, 224, 224, 3), dtype=np.uint8)
        with torch.inference_mode():
            expected = net(torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 127.5 - 1).numpy()
        assert np.abs(run(clips)["logits"] - expected).max() < TOLERANCE * np.abs(expected).max()


@pytest.mark.slow
def test_inception_of_flow_for_one_number_of_frames(tmp_path):
    settings = InceptionSettings(in_channels=2, num_classes=5)
    net = network(settings, crop=193, name="inception_flow_kinetics400")
    result = i3d.export(net, tmp_path / "flow.xml", frames=11, input_dtype="uint8")
    assert result.difference < TOLERANCE
    assert "(N, 11, 193, 193, 2)" in result.input
    assert (tmp_path / "flow.bin").exists()


HEAVY = "i3d_r50_heavy_8x8x1_100e_kinetics400_rgb"
EMBEDDED = "i3d_nl_embedded_gaussian_r50_32x2x1_100e_kinetics400_rgb"


@pytest.mark.slow
@pytest.mark.parametrize("name", [R50, HEAVY, EMBEDDED])
def test_resnet_50_for_any_number_of_frames(name, tmp_path, fewer_frames):
    settings = named_recipe(name).network.model_copy(update={"base_channels": 8, "num_classes": 7})
    net, path = network(settings, crop=64, name=name), tmp_path / "net.onnx"
    result = i3d.export(net, path, dynamic_frames=True, input_dtype="uint8")
    assert result.difference < TOLERANCE
    assert agrees_in_openvino(path, net)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "xml", "pt2"])
def test_each_format_has_the_record_and_a_network_in_training_mode_exports_right(suffix, tmp_path):
    net, path = small(head_pooling="maxima", dropout=0.9), tmp_path / f"net.{suffix}"
    result = i3d.export(net, path, frames=6, softmax=True)
    assert net.training
    assert result.difference < TOLERANCE
    assert result.outputs == ("probabilities", "logits", "features")
    assert result.num_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert {file.name for file in tmp_path.iterdir()} == {path.name} | ({"net.bin"} if suffix == "xml" else set())
    if suffix == "pt2":
        texts = {"i3d": "", "labels": "", "licence": ""}
        torch.export.load(path, extra_files=texts)
        assert json.loads(texts["labels"]) == ["class 0", "class 1", "class 2"]
        with pytest.raises(WeightsError, match=r"net.pt2: is a graph of torch.export, .*give the weights"):
            i3d.Predictor(path)
        return
    record, graph, _ = read_export(path)
    assert record.card.labels == net.labels
    assert record.card.recipe.preprocessing == net.preprocessing
    assert (record.input.frames, record.input.size, graph.input_dtype) == (6, 32, "float32")
    run = open_graph(path, "openvino" if suffix == "xml" else "onnxruntime")
    outputs = run(np.random.default_rng(0).normal(size=(2, 3, 6, 32, 32)).astype(np.float32))
    assert np.allclose(outputs["probabilities"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_padding_of_one_number_of_frames_is_noticed(monkeypatch):
    """The mistake of a graph that was traced at an even number of frames: right at 16 and 24, wrong at 17."""
    net = network(InceptionSettings(num_classes=3), crop=224, name="inception_rgb_kinetics400").eval()
    takes = GraphInput(dtype="uint8", frames=None, min_frames=9, size=224, channels=3)
    right = inception.same_padding

    def run(clips_NTHWC):
        with monkeypatch.context() as patch, torch.inference_mode():
            patch.setattr(inception, "same_padding", lambda size, **more: right(size + size % 2, **more))
            logits, features = net.logits_and_pooled(torch.from_numpy(clips_NTHWC).permute(0, 4, 1, 2, 3) / 127.5 - 1)
        return {"logits": logits.numpy(), "features": features.numpy()}

    assert check.compare(run, net, net.preprocessing, takes.model_copy(update={"frames": 16}), print).difference < 1e-4
    monkeypatch.setattr(check, "cases", lambda _: [(1, 16), (1, 17)])
    agreement = check.compare(run, net, net.preprocessing, takes, lambda _: None)
    with pytest.raises(InputError, match=r"x.onnx: its \w+ at batch 1 and 17 frames differ from PyTorch's by .* %"):
        check.check_agreement(agreement, "x.onnx")


@pytest.mark.slow
def test_a_wrong_export_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    right = api.build_graph

    def wrong_padding(*args, **more):
        graph = right(*args, **more)
        graph.net.conv1.conv.padding = (1, 3, 3)
        return graph

    monkeypatch.setattr(api, "build_graph", wrong_padding)
    with pytest.raises(InputError, match=r"differ from PyTorch's by [\d.]+ %, 0.01 % are allowed; nothing is written"):
        i3d.export(small(), tmp_path / "net.onnx", frames=8)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path):
    net, out = small(), tmp_path / "net.onnx"
    for options, message in [
        ({"frames": 6, "dynamic_frames": True}, "dynamic frames are of any number"),
        ({"frames": 2}, "frames 2: this network takes 5 to 10000"),
        ({"recipe": R50}, "a network has them as attributes"),
        ({"input_dtype": "int8"}, "is not one of float32, uint8"),
    ]:
        with pytest.raises(InputError, match=message):
            i3d.export(net, out, **options)
    with pytest.raises(InputError, match=r"must end in .onnx or .xml or .pt2"):
        i3d.export(net, tmp_path / "net.engine")
    (tmp_path / "net.bin").write_bytes(b"of somebody else")
    with pytest.raises(InputError, match=r"net.bin: the file exists; .* --force"):
        i3d.export(net, tmp_path / "net.xml")
    several = save_model(tmp_path / "several.safetensors", multi_label=True)
    with pytest.raises(InputError, match="several labels a clip"):
        i3d.export(several, out, softmax=True)
    del net.labels
    with pytest.raises(InputError, match="without a recipe and labels"):
        i3d.export(net, out)
    assert not out.exists()


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"needs onnx, onnxscript, onnxruntime; pip install 'i3d\[export\]'"):
        i3d.export(small(), tmp_path / "net.onnx")


def test_files_that_i3d_did_not_export_are_refused(tmp_path):
    import onnx

    (tmp_path / "damaged.onnx").write_bytes(b"\x00\x01 no model")
    (tmp_path / "damaged.xml").write_text("<net>")
    (tmp_path / "damaged.bin").write_bytes(b"")
    (tmp_path / "lonely.xml").write_text("<net/>")
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    for name, message in [
        ("damaged.onnx", "is no ONNX file|was not exported by i3d"),
        ("damaged.xml", "is no OpenVINO IR"),
        ("lonely.xml", "its numbers are in lonely.bin, which is missing"),
        ("other.onnx", "was not exported by i3d"),
    ]:
        with pytest.raises(WeightsError, match=message):
            i3d.Predictor(tmp_path / name)


KILLED = """
import os, pathlib, sys
from i3d.utils.atomic_files import replacing_together

out, last = pathlib.Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def counted(function):
    def call(*args, **more):
        global calls
        calls += 1
        if calls > last:
            os._exit(9)
        return function(*args, **more)
    return call

for name in ("replace", "unlink", "open", "mkdir", "write_bytes"):
    setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
os.fsync = counted(os.fsync)
with replacing_together(out) as temporary:
    temporary.write_bytes(b"new")
    temporary.with_suffix(".bin").write_bytes(b"new")
"""


@pytest.mark.slow
def test_a_kill_at_any_write_leaves_nothing_half_written(tmp_path):
    """After each kill there are both files of one export, or no .xml; the next export removes what is left."""
    out, states = tmp_path / "net.xml", set()
    for last in range(20):
        for name in ("net.xml", "net.bin"):
            (tmp_path / name).write_bytes(b"old")
        ended = subprocess.run([sys.executable, "-c", KILLED, str(out), str(last)], env=dict(os.environ)).returncode
        assert ended in (0, 9)
        state = tuple(path.read_bytes() if path.exists() else None for path in (out, out.with_suffix(".bin")))
        assert state[0] is None or state[0] == state[1], (last, state)
        states.add(state)
        if ended == 0:
            break
    assert ended == 0
    assert {(b"old", b"old"), (b"new", b"new"), (None, b"new")} <= states
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.bin", "net.xml"]


@pytest.mark.slow
def test_a_kill_between_the_writes_of_an_export_leaves_no_file(tmp_path, monkeypatch):
    right, calls = GraphFile.write, []

    def interrupted(self, path, record):
        right(self, path, record)
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(GraphFile, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        i3d.export(small(), tmp_path / "net.pt2", frames=6)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_example_needs_no_pytorch(inception_onnx, tmp_path):
    """In a process that cannot import torch and i3d: the labels and scores of `i3d predict`."""
    video = render(tmp_path / "clip.mp4", num_frames=40, fps=30, height=120, width=160)
    words = [ROOT / "tests/support/without_torch.py", ROOT / "examples/onnx_predict.py", inception_onnx[0], video]
    result = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    printed = [line.split(maxsplit=1)[1].rsplit(maxsplit=2) for line in result.stdout.splitlines()]
    for model in ("inception_rgb_kinetics400", inception_onnx[0]):
        predicted = json.loads(run_here(["i3d", "predict", video, "--model", model, "--json"]).stdout)
        best = predicted[0]["predictions"]
        assert [label for label, *_ in printed] == [entry["label"] for entry in best]
        assert [float(score) for _, score, _ in printed] == pytest.approx([100 * e["score"] for e in best], abs=0.011)


def test_windows_need_any_number_of_frames(tmp_path, caplog):
    """A file of a fixed number of frames takes the clips of another protocol."""
    weights = save_model(tmp_path / "net.safetensors", protocol=WINDOWS)
    recipe = i3d.load_model(weights).recipe
    takes = api._graph_input(recipe, i3d.load_model(weights), "uint8", frames=None, dynamic=False)
    assert takes.frames == with_protocol(recipe, "10x1").protocol.clip_len == 64
    assert "export with --dynamic-frames, or predict with --protocol 10x1, clips of 64" in caplog.text
