"""Graphs in int8: calibrated on some videos, checked on others, refused where they do not agree with float32."""

import json
import sys
from dataclasses import asdict
from importlib.util import find_spec

import numpy as np
import pytest

import i3d
from i3d.errors import InputError
from i3d.exporting import calibrate, check, int8, shipped_int8
from i3d.exporting.calibrate import check_nncf
from i3d.exporting.int8 import compare_logits
from i3d.exporting.quantized import ActivationRange, Calibration, layers_of, quantize_graph
from i3d.exporting.windows import choose_windows
from i3d.models.engine.runtimes.exports import compile_graph
from i3d.models.engine.runtimes.openvino import shared_core
from i3d.utils.atomic_files import write_atomically
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig
from i3d.weights.exported import read_export
from i3d.weights.load import load_weights
from support.commands import run
from support.evaluation_runs import WINDOWS, make_clips, save_model

pytestmark = [
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("nncf", "onnx", "onnxscript", "openvino")),
        reason="pip install 'i3d[int8]'",
    ),
    pytest.mark.filterwarnings("default"),  # of the exporters
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Six clips, weights of a network of windows, and that in int8 for any number of frames."""
    folder = make_clips(tmp_path_factory.mktemp("int8"))
    save_model(folder / "net.safetensors", protocol=WINDOWS)
    right, results = calibrate.calibrate, []

    def calibrated(*args, **more):
        results.append(right(*args, **more))
        return results[-1]

    words = ["export", folder / "net.safetensors", folder / "net.xml", "--input", "uint8", "--dynamic-frames"]
    words += ["--int8", "--calibrate", folder, "--calibration-windows", "18", "--min-agreement", "0.5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "FRAMES", (16, 17))
        patch.setattr(int8, "calibrate", calibrated)
        result = run(*words, "--json")
    assert result.returncode == 0, result.output
    return folder, json.loads(result.stdout), results[0][0]  # NNCF prints nothing to stdout


@pytest.fixture
def saved_calibration(place, monkeypatch):
    """Exports do not calibrate, but take the ranges that the test changes: a list of one calibration."""
    ranges = [place[2]]
    monkeypatch.setattr(int8, "calibrate", lambda *_, **__: (ranges[0], 6))
    monkeypatch.setattr(int8, "ROUNDS", 1)
    monkeypatch.setattr(check, "cases", lambda _: [(1, 17)])
    return ranges


def export_int8(folder, out, **more):
    return i3d.export(
        folder / "net.safetensors", out, input_dtype="uint8", dynamic_frames=True, int8=True, calibrate=folder,
        calibration_windows=12, **more,
    )  # fmt: skip


def narrowed(calibration, *, to, layer=""):
    """Ranges so narrow that all values behind them are wrong: all, or that before one layer."""
    ranges = [
        one.model_copy(update={"low": 0.0, "high": to}) if layer in ("", *one.layers) else one
        for one in calibration.ranges
    ]
    return calibration.model_copy(update={"ranges": tuple(ranges)})


@pytest.mark.slow
def test_the_graph_and_its_record(place):
    folder, result, calibration = place
    record, graph, _ = read_export(folder / "net.xml")
    assert graph.precision == record.precision == "int8"
    assert result["int8"] == json.loads(json.dumps(asdict(record.int8)))
    assert record.int8.layers == len(calibration.layers) == 20
    assert (record.int8.windows_calibrating, record.int8.is_held_out) == (6, True)
    assert 0.5 <= record.int8.agreement <= 1
    layers = layers_of(shared_core().read_model(folder / "net.xml"))
    assert list(layers) == ["net.fc.weight"]  # the only layer whose weights are float32 still
    assert (folder / "net.bin").stat().st_size < 0.5 * (folder / "net.safetensors").stat().st_size
    assert sys.modules["openvino_telemetry"] is None
    shown = run("models", "show", folder / "net.xml").stdout
    assert "graph int8: 20 layers; the classifier in float32" in shown
    assert "graph calibrated: on 6 windows of 64 frames" in shown


@pytest.mark.slow
def test_int8_files_and_calibrated_weights_predict_alike(place, tmp_path, monkeypatch):
    """Close to float32, whatever the number of frames; never in another precision without a word."""
    folder, _, calibration = place
    monkeypatch.chdir(folder)
    weights = load_weights("net.safetensors")
    ranges = tmp_path / "ranges.json"
    write_atomically(ranges, json.dumps({weights.sha256: calibration.model_dump(mode="json")}).encode())
    monkeypatch.setattr(shipped_int8, "RANGES", ranges)
    cache = ["--cache", tmp_path / "cache"]
    scores = {}
    for name, words in {
        "fp32": ["net.safetensors"],
        "file": ["net.xml"],
        "same": ["net.xml", "--precision", "int8"],
        "weights": ["net.safetensors", "--precision", "int8"],
        "cached": ["net.safetensors", "--precision", "int8"],
    }.items():
        result = run("predict", "0.mp4", "1.mp4", "--model", *words, *cache, "--json")
        assert result.returncode == 0, result.stderr
        rows = json.loads(result.stdout)
        assert all(row["protocol"].endswith("; int8, openvino") for row in rows) == (name != "fp32")
        assert ("making the int8 network" in result.stderr) == (name == "weights")
        scores[name] = np.array([[e["score"] for e in sorted(row["predictions"], key=str)] for row in rows])
    assert np.abs(scores["file"] - scores["fp32"]).max() < 0.35
    for name in ("same", "weights", "cached"):
        assert np.abs(scores[name] - scores["file"]).max() < 1e-4
    words = ["features", "0.mp4", "--model", "net.safetensors", "--precision", "int8", "--window", "6", "--stride", "6"]
    assert run(*words, *cache, "--out", tmp_path / "f").returncode == 0
    assert json.loads((tmp_path / "f" / "0.json").read_text())["made_with"]["arithmetic"] == "int8"


@pytest.mark.slow
def test_a_network_that_int8_destroys_is_refused(place, tmp_path, saved_calibration):
    folder, _, calibration = place
    saved_calibration[0] = narrowed(calibration, to=1e-4)
    with pytest.raises(InputError) as error:
        export_int8(folder, tmp_path / "net.xml", min_agreement=1.0)
    assert "of 8 windows have the class of float32, 1 are required" in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'net.xml'}: in int8 ")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_layers_that_cost_agreement_stay_in_float32(place, tmp_path, saved_calibration):
    folder, _, calibration = place
    worst = next(layer for layer in calibration.layers if layer.startswith("net.conv1"))
    saved_calibration[0] = narrowed(calibration, to=1e-4, layer=worst)
    result = export_int8(folder, tmp_path / "net.xml", min_agreement=0.7)
    assert result.int8.float_layers == (worst,)
    assert result.int8.layers == 19
    assert result.int8.agreement >= 0.7


@pytest.mark.slow
def test_a_kill_at_the_last_write_leaves_no_file(place, tmp_path, monkeypatch, saved_calibration):
    right = int8.save_ir

    def interrupted(model, path, metadata):
        right(model, path, metadata)
        raise KeyboardInterrupt

    monkeypatch.setattr(int8, "save_ir", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_int8(place[0], tmp_path / "net.xml", min_agreement=0.0)
    assert not list(tmp_path.iterdir())


def test_windows_of_other_videos_check(tmp_path):
    folder = make_clips(tmp_path)
    weights = load_weights(save_model(tmp_path / "net.safetensors", protocol=WINDOWS))
    takes = shipped_int8.graph_input(i3d.models.build_network(weights.card.recipe.network), weights.card.recipe)
    takes = takes.model_copy(update={"frames": 8})
    (folder / "broken.mp4").write_bytes(b"no video")
    sets = choose_windows(folder, weights.card.recipe, takes, number=30, seed=1)
    again = choose_windows(folder, weights.card.recipe, takes, number=30, seed=1)
    assert sets.is_held_out
    assert not set(sets.calibrating.videos) & set(sets.checking.videos)
    one, other = list(sets.calibrating), list(again.calibrating)
    assert len(one) == 10
    assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
    assert one[0].shape == (1, 8, 32, 32, 3)
    assert len(list(sets.checking)) <= 20
    alone = choose_windows(folder / "0.mp4", weights.card.recipe, takes, number=30, seed=1)
    assert not alone.is_held_out
    assert len(list(alone.calibrating)) == len(list(alone.checking)) == 5


def test_comparison_of_logits():
    reference_NK = np.array([[4.0, 0, 0], [0, 4, 0]], np.float32)
    assert compare_logits(reference_NK, reference_NK, multi_label=False).agreement == 1
    half = compare_logits(np.array([[4.0, 0, 0], [4, 0, 0]], np.float32), reference_NK, multi_label=False)
    assert half.agreement == 0.5
    assert half.largest_change == pytest.approx(1, abs=0.1)
    assert compare_logits(reference_NK * np.float32("nan"), reference_NK, multi_label=True).agreement == 0


def test_what_int8_cannot_do_is_refused_in_one_line(tmp_path, monkeypatch):
    weights, clips = save_model(tmp_path / "net.safetensors"), str(tmp_path)
    out = tmp_path / "net.xml"
    for more, message in [
        ({"calibrate": clips}, "calibration is for int8; add --int8"),
        ({"int8": True}, "name some with --calibrate clips/"),
        ({"int8": True, "calibrate": clips, "min_agreement": 98.0}, "min_agreement 98: is not a fraction"),
        ({"int8": True, "calibrate": clips, "calibration_windows": 1}, "calibration windows 1: write 2 to 10000"),
    ]:
        with pytest.raises(InputError, match=message):
            i3d.export(weights, out, **more)
    with pytest.raises(InputError, match="onnxruntime has no int8 3D convolution; name it .xml"):
        i3d.export(weights, tmp_path / "net.onnx", int8=True, calibrate=clips)
    with pytest.raises(InputError, match=r"these weights \(tiny\) are not calibrated; make a file with i3d export"):
        i3d.Predictor(weights, compute=ComputeConfig(precision="int8"))
    for command in ("explain", "fvd"):
        result = run(command, "a.mp4", *["b.mp4"] * (command == "fvd"), "--model", weights, "--precision", "int8")
        assert result.returncode == 2
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"x: needs nncf; pip install 'i3d\[int8\]'"):
        check_nncf("x")


@pytest.mark.slow
def test_the_network_of_the_package_is_calibrated(tmp_path):
    """Its ranges fit its graph as this version of PyTorch exports it, and its answers are close to float32."""
    weights = load_weights("inception_rgb_kinetics400")
    calibration = shipped_int8.shipped_calibration(weights)
    assert isinstance(calibration, Calibration)
    assert len(calibration.layers) == 57
    engine = shipped_int8.open_int8(weights, ComputeConfig(precision="int8", cache=Cache(tmp_path)))
    net = i3d.load_model("inception_rgb_kinetics400")
    rng = np.random.default_rng(0)
    clip_THWC = check._rendered_clip(19, 224, 3, rng)
    import torch

    clips_NCTHW = torch.from_numpy(clip_THWC)[None].permute(0, 4, 1, 2, 3)
    with torch.inference_mode():
        expected = net(clips_NCTHW / 127.5 - 1).numpy()
    assert np.abs(engine(clips_NCTHW).numpy() - expected).max() < 0.25 * np.abs(expected).max()


def test_layers_in_float32_are_exact_and_other_graphs_are_refused():
    shared_core()
    from openvino import Model
    from openvino import opset13 as ops

    rng = np.random.default_rng(0)
    clips = ops.parameter([1, 2, 4, 8, 8], np.float32, name="clips")
    weights = ops.constant(rng.normal(size=(3, 2, 1, 1, 1)).astype(np.float32), name="net.conv.weight")
    conv = ops.convolution(clips, weights, [1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1], name="conv")
    conv.output(0).set_names({"logits"})
    model = Model([conv], [clips])
    one = ActivationRange(source="clips", consumers=("conv",), layers=("net.conv.weight",), low=-1.0, high=1.0)
    calibration = Calibration(classifier="", ranges=(one,))
    clip = rng.uniform(-1, 1, (1, 2, 4, 8, 8)).astype(np.float32)
    exact, rounded, floating = (
        compile_graph(graph, "int8")(clip)["logits"]
        for graph in (
            model,
            quantize_graph(model, calibration, name="x"),
            quantize_graph(model, calibration, float_layers=["net.conv.weight"], name="x"),
        )
    )
    assert 0 < np.abs(rounded - exact).max() < 0.05
    assert np.abs(floating - exact).max() < 1e-5
    other = calibration.model_copy(update={"ranges": (one.model_copy(update={"source": "missing"}),)})
    with pytest.raises(InputError, match=r"x: its calibration is of another graph \(missing differs\)"):
        quantize_graph(model, other, name="x")
