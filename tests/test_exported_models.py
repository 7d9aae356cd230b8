"""An exported file is a model like any other: the numbers of its weights in every command that runs a network."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import i3d
from i3d.diagnostics import Configuration, measure_model
from i3d.errors import InputError, WeightsError
from i3d.exporting import check
from i3d.exporting.engines import create_engine
from i3d.utils.device import ComputeConfig
from i3d.weights.load import load_weights
from support.commands import run
from support.evaluation_runs import WINDOWS, make_clips, save_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript", "openvino")),
        reason="pip install 'i3d[export]'",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Clips; weights of a network of clips and of one of windows, and exports of both."""
    folder = make_clips(tmp_path_factory.mktemp("exported"))
    save_model(folder / "net.safetensors")
    save_model(folder / "windows.safetensors", protocol=WINDOWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "FRAMES", (16, 17))
        i3d.export(folder / "net.safetensors", folder / "net.onnx", input_dtype="uint8")
        i3d.export(folder / "net.safetensors", folder / "net.xml", softmax=True)
        i3d.export(folder / "windows.safetensors", folder / "windows.xml", input_dtype="uint8", dynamic_frames=True)
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def printed(*words):
    result = run(*words, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def scores(rows):
    return [{entry["label"]: entry["score"] for entry in row["predictions"]} for row in rows]


@pytest.mark.parametrize(
    ("weights", "export", "more"),
    [
        ("net", "net.onnx", []),
        ("net", "net.onnx", ["--runtime", "openvino"]),
        ("net", "net.xml", ["--protocol", "2x1"]),
        ("windows", "windows.xml", []),
    ],
)
def test_predict(weights, export, more, here):
    protocol = [word for word in more if word not in ("--runtime", "openvino")]
    expected = printed("predict", "0.mp4", "1.mp4", "--model", f"{weights}.safetensors", *protocol)
    actual = printed("predict", "0.mp4", "1.mp4", "--model", export, *more)
    for one, other in zip(scores(expected), scores(actual), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    runtime = "onnxruntime" if export.endswith("onnx") and not more else "openvino"
    assert all(row["protocol"].endswith(f"; fp32, {runtime}") for row in actual)
    assert not any(row["protocol"].endswith(runtime) for row in expected)


def test_test_features_timeline_and_stream(here, tmp_path):
    of_weights, of_export = (
        printed("test", model, "--data", "clips.csv", "--protocols", "1x1,3x3")
        for model in ("net.safetensors", "net.onnx")
    )
    for one, other in zip(of_weights, of_export, strict=True):
        assert one["top1"] == other["top1"]
        assert one["calibration"] == pytest.approx(other["calibration"], abs=1e-4)
    for name in ("net.safetensors", "net.onnx"):
        words = ["features", "0.mp4", "--model", name, "--window", "6", "--stride", "6", "--out", tmp_path / name]
        assert run(*words).returncode == 0
    one, other = (np.load(tmp_path / name / "0.npy") for name in ("net.safetensors", "net.onnx"))
    assert one.shape == other.shape
    assert np.allclose(one, other, rtol=1e-4, atol=1e-5)
    assert json.loads((tmp_path / "net.onnx" / "0.json").read_text())["made_with"]["runtime"] == "onnxruntime"
    words = ["timeline", "0.mp4", "--window-seconds", "0.5", "--enter", "0.2", "--leave", "0.1"]
    expected, actual = (printed(*words, "--model", f"windows.{suffix}") for suffix in ("safetensors", "xml"))
    assert expected[0]["segments"] == actual[0]["segments"] != []


def test_benchmark_and_show(here):
    speed = measure_model("net.onnx", [Configuration(batch=2, threads=1)], rounds=1)
    assert speed.speeds[0].clips_per_second > 0
    shown = run("models", "show", "net.onnx").stdout
    assert "graph input: uint8 (N, 6, 32, 32, 3): batch, frames, rows, columns, channels" in shown
    assert "layer4" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict 0.mp4 --model net.onnx --precision bf16", "onnxruntime has no --precision bf16"),
        ("predict 0.mp4 --model net.onnx --runtime compile", "--runtime compile is for weights"),
        ("predict 0.mp4 --model net.onnx --recipe i3d_r34_32x2x1_100e_kinetics400_rgb", "its recipe is in it"),
        ("predict 0.mp4 --model net.onnx --protocol windows", "takes clips of 6 frames, not of"),
        ("features 0.mp4 --model net.onnx --layer layer3 --out f", "layer 'layer3': an exported file has pooled alone"),
        ("explain 0.mp4 --model net.onnx --plot why.png", "is an exported file"),
        ("train --data clips.csv --init net.onnx --work-dir r", "is an exported file"),
        ("convert net.onnx other.safetensors", "is an exported file"),
        ("export net.onnx other.xml", "is an exported file"),
        ("fvd 0.mp4 1.mp4 --model net.onnx", "is an exported file"),
    ],
)
def test_what_needs_weights_is_refused_in_one_line(words, message, here):
    result = run(*words.split())
    assert result.returncode == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert message in line


def test_exported_files_run_on_the_cpu(here):
    weights = load_weights("net.onnx", takes_exports=True)
    with pytest.raises(InputError, match=r"net.onnx: exported files run on the CPU, not on cuda:1; leave --device out"):
        create_engine(weights, ComputeConfig(device="cuda:1"), device=torch.device("cpu"))


def test_names_of_classes_can_be_replaced(here):
    predictor = i3d.Predictor("net.onnx", labels=["x", "y", "z"])
    assert {entry.label for entry in predictor("0.mp4").predictions} == {"x", "y", "z"}
    with pytest.raises(InputError, match="2 labels for a network of 3 classes"):
        i3d.Predictor("net.onnx", labels=["x", "y"])
    with pytest.raises(WeightsError, match="is an exported file"):
        i3d.load_model("net.onnx")
