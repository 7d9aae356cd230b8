"""The scripts of `benchmarks/`: those that need other hardware run with small settings."""

import csv

import pytest

from support.commands import run_here
from support.paths import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "benchmarks").glob("*.py") if "ArgumentParser" in path.read_text())


@pytest.mark.slow
def test_the_script_for_gpus_measures_every_network(tmp_path):
    sizes = ["--batch", 1, "--rounds", 1, "--frames", 9, "--size", 193]
    result = run_here(["python", "benchmarks/gpu.py", tmp_path, "--device", "cpu", "--eager", "--no-peers", *sizes])
    assert result.returncode == 0, result.stderr
    (table,) = tmp_path.glob("gpu-*.csv")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    networks = ["R50", "R50 embedded Gaussian", "Inception"]
    whats = ["forward, i3d auto torch", "step, i3d bf16 torch"]
    assert [row["what"] for row in rows] == [f"{network}: {what}" for network in networks for what in whats]
    assert all(
        float(row["clips_per_s"]) > 0 and float(row["fraction_of_gemm"]) > 0 and not row["why_not"] for row in rows
    )
    assert table.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_help(script):
    assert "usage: " in run_here(["python", f"benchmarks/{script}", "--help"]).stdout
