"""`i3d benchmark model`: what is counted is right; what is timed has the right shape, and is not asserted."""

import json
from importlib.util import find_spec

import pytest

from i3d.diagnostics.benchmark_model import Configuration, Speed, measure_model
from i3d.models.flops import network_cost
from i3d.recipes.io import load_recipe
from support.commands import run_here
from support.evaluation_runs import WINDOWS, save_model
from support.rendering import render

TINY = """
base: i3d_r50_32x2x1_100e_kinetics400_rgb
network: {depth: 18, base_channels: 4}
preprocessing: {short_side: 32, crop: 32}
protocol: {clip_len: 8}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


def run(*arguments):
    return run_here(["i3d", "benchmark", "model", *arguments, "--device", "cpu"])


@pytest.mark.slow
def test_counts_and_numbers_derived_from_the_times(recipe, tmp_path):
    configurations = [Configuration(batch=1024), Configuration("auto", batch=3, threads=1)]
    steps = []
    video = render(tmp_path / "v.mp4", num_frames=30)
    benchmark = measure_model(recipe, configurations, video=video, device="cpu", rounds=4, on_progress=steps.append)
    assert [step.completed for step in steps] == list(range(1 + 2 * (1 + 4)))
    cost = network_cost(load_recipe(recipe))
    assert (benchmark.parameters, benchmark.gflops_per_view) == (cost.parameters, cost.gflops)
    assert benchmark.views_per_video == 30
    assert benchmark.gflops_per_video == pytest.approx(30 * cost.gflops)
    assert benchmark.decode_ms > 0
    for speed, configuration in zip(benchmark.speeds, configurations, strict=True):
        assert len(speed.seconds) == 4
        median = sorted(speed.seconds)[1] / 2 + sorted(speed.seconds)[2] / 2
        assert speed.quantile_ms(0.5) == pytest.approx(1000 * median)
        assert speed.quantile_ms(0.95) >= speed.quantile_ms(0.5)
        assert speed.clips_per_second == pytest.approx(configuration.batch / median)
        assert speed.videos_per_second == pytest.approx(speed.clips_per_second / 30)
        assert 1 / speed.videos_per_second_decoded == pytest.approx(
            1 / speed.videos_per_second + benchmark.decode_ms / 1000
        )
        assert speed.gflops_per_second == pytest.approx(cost.gflops * speed.clips_per_second)
        assert speed.peak_mib > 50
    large, small = benchmark.speeds
    assert small.peak_mib < large.peak_mib - 50  # not that of the one before
    assert benchmark.speeds[0].times_the_first == 1
    faster = sorted(a / b for a, b in zip(large.seconds, small.seconds, strict=True))
    expected = 3 / 1024 * faster[1]
    assert benchmark.speeds[1].times_the_first >= expected * 0.999


@pytest.mark.slow
def test_windows_are_those_of_the_video_and_no_more_rounds_than_time(tmp_path):
    from i3d.models.flops import view_gflops
    from i3d.weights.load import load_weights

    model = save_model(tmp_path / "w.safetensors", protocol=WINDOWS)
    video = render(tmp_path / "v.mp4", num_frames=25)  # at 25 fps 20 slots: windows of 8, 6, 6
    benchmark = measure_model(str(model), [Configuration()], video=video, device="cpu", rounds=100, max_seconds=0)
    assert len(benchmark.speeds[0].seconds) == 3  # the least
    recipe = load_weights(model).card.recipe
    assert benchmark.views_per_video == 3
    expected = sum(view_gflops(recipe, num_frames=frames) for frames in (8, 6, 6))
    assert benchmark.gflops_per_video == pytest.approx(expected)
    assert benchmark.view_NCTHW[2] == 8


@pytest.mark.slow
def test_the_command(recipe, tmp_path):
    options = (recipe, "--precision", "fp32", "--batch-size", "1,2", "--rounds", "1", "--protocol", "3x1")
    result = run(*options, "--out", tmp_path / "b.json")
    assert result.returncode == 0, result
    document = json.loads((tmp_path / "b.json").read_text())
    names = [Configuration(**row["configuration"]).name for row in document["speeds"]]
    assert names == ["fp32, batch 1, torch", "fp32, batch 2, torch"]
    for row, name in zip(document["speeds"], names, strict=True):
        assert name in result.output
        assert f"{row['p50_ms']:,.1f}" in result.output
    assert "views of a video: 3, " in result.output
    assert document["protocol"] in result.output
    assert set(vars(Speed(Configuration(), (1.0,), 1, None, 1, 1, 1, None))) <= set(document["speeds"][0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's own modules
def test_weights_and_a_compiled_network_are_measured_too(tmp_path):
    runtime = "torch" if find_spec("openvino") is None else "openvino"
    flow = save_model(tmp_path / "flow.safetensors", channels=2)
    benchmark = measure_model(str(flow), [Configuration(runtime=runtime)], device="cpu", rounds=1)
    assert benchmark.protocol.startswith("tiny: 3 clips of 6 frames")
    assert benchmark.views_per_video == 9
    assert benchmark.decode_ms is None
    assert benchmark.speeds[0].configuration.runtime == runtime
    assert benchmark.speeds[0].videos_per_second_decoded is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision", "fp64"), "is not one of fp32, bf16, fp16, int8, auto"),
        (("--batch-size", "0"), "must be at least 1"),
        (("--batch-size", "many"), "write whole numbers with commas"),
        (("--threads", "-1"), "must be at least 0 and at most 1,024"),
        (("--runtime", "tensorrt"), "is not one of torch, compile, openvino"),
        (("--video", "nowhere.mp4"), "no such file"),
        (("--protocol", "2x4"), "write CLIPSxCROPS"),
        (("--out", "b.txt"), "the name must end in .json"),
    ],
)
def test_bad_options(recipe, options, message):
    result = run(recipe, *options)
    assert result.returncode == 2, result
    assert message in result.stderr


def test_an_unknown_name():
    result = run("r49")
    assert "did you mean r34" in result.stderr
