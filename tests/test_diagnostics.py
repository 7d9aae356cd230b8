"""`i3d models` and `i3d doctor`."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from i3d.diagnostics import doctor
from i3d.diagnostics.model_zoo import list_models
from i3d.recipes.named import RECIPES
from i3d.weights import pretrained
from i3d.weights.addresses import digest_in_name, is_address
from support.commands import run, run_here
from support.paths import ROOT

TINY = ROOT / "tests/golden/foreign/mmaction2_v1_tiny_epoch_2.pth"


def test_models_lists_everything():
    result = run("models", "--json")
    assert result.returncode == 0
    listed = json.loads(result.stdout)
    assert {row["name"] for row in listed["recipes"]} == set(RECIPES)
    by_name = {row["name"]: row for row in listed["networks"]}
    assert by_name["r50"]["parameters"] == 28_043_472
    assert round(by_name["r50"]["gflops"], 1) == 86.5
    assert by_name["r50"]["view_NCTHW"] == [1, 3, 32, 256, 256]
    (weights,) = listed["weights"]
    assert (weights["name"], weights["licence"]) == ("inception_rgb_kinetics400", "Apache-2.0")
    assert "not measured on this file" in weights["published"]
    text = run("models").stdout
    assert "72.68 / 90.78 (MMAction2 0.x; 10 clips x 3 crops, frames 340x256)" in text
    assert "none was measured here" in text


@pytest.mark.slow
def test_the_listed_costs_are_those_of_the_networks():
    count_models = runpy.run_path(str(ROOT / "tools/make_model_zoo.py"))["count_models"]
    assert list_models() == count_models(), "run `python tools/make_model_zoo.py`"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_models_imports_neither_pytorch_nor_numpy(options):
    code = f"""
import sys
from dataclasses import replace
sys.argv = ["i3d", "models", *{options}]
from i3d.cli.main import app
try:
    app()
finally:
    print([name for name in ("torch", "numpy", "cv2") if name in sys.modules], file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "[]\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r50", "r18", "i3d_r50_fast_32x2x1_100e_kinetics400_rgb", "inception_flow", TINY])
def test_models_show_adds_up(name):
    result = run("models", "show", name, "--json")
    assert result.returncode == 0
    described = json.loads(result.stdout)
    assert sum(layer["parameters"] for layer in described["layers"]) == described["cost"]["parameters"]
    assert abs(sum(layer["gflops"] for layer in described["layers"]) - described["cost"]["gflops"]) < 1e-6
    assert run("models", "show", name).returncode == 0


def test_published_checkpoints():
    zoo = list_models()
    for row in zoo.checkpoints:
        assert row.recipe in RECIPES
        assert row.sha256_begins == digest_in_name(Path(row.file))
        assert not is_address(row.file)
        assert row.address.startswith("https://")
        assert row.licence
        if "openmmlab" in row.address:
            assert row.address.endswith(f"/{row.file}")
            assert len(row.sha256_begins) == 8
    assert len({row.address for row in zoo.checkpoints}) == len(zoo.checkpoints) == 27
    assert len(zoo.checkpoints_of("r50")) == 9
    assert zoo.checkpoints_of("r34") == ()
    assert zoo.checkpoints_of("no such name") is None


def test_models_show_has_the_published_checkpoints():
    name = "i3d_r50_fast_32x2x1_100e_kinetics400_rgb"
    result = run_here(["i3d", "models", "show", name])
    assert f"/{name}/{name}_20200612-000e4d2a.pth\n" in result.stdout
    assert "about 112 MB, SHA-256 begins with 000e4d2a; licence: Apache-2.0" in result.stdout
    assert "published: top-1 / top-5 72.32 / 90.72" in result.stdout
    assert "--model ADDRESS --checkpoints FOLDER" in result.stdout
    assert "No published weights of r34 are known; train it" in run_here(["i3d", "models", "show", "r34"]).stdout
    rows = json.loads(run_here(["i3d", "models", "show", "inception_flow", "--json"]).stdout)["checkpoints"]
    assert len(rows) == 4


def test_a_network_that_is_listed_without_weights_does_not_predict(tmp_path):
    (tmp_path / "a.mp4").touch()
    zoo = list_models()
    names = {row.name for row in (*zoo.networks, *zoo.recipes)} - {row.name for row in zoo.weights}
    for name in names:
        result = run_here(["i3d", "predict", str(tmp_path / "a.mp4"), "--model", name])
        assert result.returncode == 2
        assert f"{name}: no weights of it come with i3d" in result.stderr
        files = zoo.checkpoints_of(name)
        assert (f"published {files[0].file}" if files else "train it, or give a file of yours") in result.stderr


def test_models_show_of_the_unknown():
    result = run("models", "show", "r5")
    assert result.returncode == 2
    assert "there is no network, recipe or file 'r5' (did you mean r50" in result.stderr


@pytest.mark.slow
def test_doctor():
    result = run("doctor", "--json")
    assert result.returncode == 0, result.stdout
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert {name for name, check in checks.items() if check["ok"]} == {"decoder", "weights", "self-check"}
    assert "self-check" in run("doctor").stdout


def test_doctor_finds_damaged_weights(tmp_path, monkeypatch):
    damaged = pretrained.PRETRAINED[pretrained.DEFAULT]._replace(path=tmp_path / "damaged.safetensors")
    content = bytearray(pretrained.PRETRAINED[pretrained.DEFAULT].path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.path.write_bytes(bytes(content))
    monkeypatch.setitem(pretrained.PRETRAINED, pretrained.DEFAULT, damaged)
    checks = {check.name: check for check in doctor.check_installation()}
    assert checks["weights"].ok is False
    assert checks["self-check"].ok is False
    assert checks["decoder"].ok is True
    assert "the file is damaged" in checks["weights"].result
