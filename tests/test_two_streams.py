"""Networks of flow read the flow of a video, and two streams are the fusion by hand of two networks."""

import json

import numpy as np
import pytest
import torch

from i3d import load_model
from i3d.errors import InputError
from i3d.evaluation.scoring import softmax
from i3d.inference.predictor import Predictor
from i3d.inference.two_stream import TwoStreams
from i3d.recipes.settings import ClipProtocol, WindowProtocol
from i3d.utils.device import ComputeConfig
from i3d.video.flow import flow_between, flow_to_bytes
from i3d.video.reader import open_video
from i3d.video.sampling import protocol_clips
from i3d.video.transforms import crop_views
from support.commands import run_here
from support.evaluation_runs import save_model
from support.rendering import encode, numbered_frame
from support.resizing import resize_short_side

PROTOCOLS = {
    "windows": WindowProtocol(fps=20.0, max_window_frames=8),
    "clips": ClipProtocol(clip_len=6, frame_interval=2, num_clips=2, crops="three"),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    encode(path, [numbered_frame(3 * k, height=36, width=48) for k in range(23)], fps=25)
    return path


@pytest.fixture
def models(tmp_path):
    def make(protocol, labels=("c", "a", "b")):
        rgb = save_model(tmp_path / "rgb.safetensors", protocol=PROTOCOLS[protocol])
        flow = save_model(tmp_path / "flow.safetensors", protocol=PROTOCOLS[protocol], channels=2, labels=labels)
        return rgb, flow

    return make


def logits_by_hand(model, clip, kind, protocol):
    """The mean logits (K) of the views of a clip, built frame by frame here."""
    net = load_model(model)
    rule = PROTOCOLS[protocol]
    with open_video(clip) as video:
        frames = list(video.stream(fps=rule.fps if protocol == "windows" else None))
    frames = resize_short_side(np.stack(frames), short_side=32)
    if kind == "flow":
        flows = [flow_to_bytes(flow_between(a, b, method="dis")) for a, b in zip(frames, frames[1:], strict=False)]
        frames = np.stack([flows[0], *flows])
    if protocol == "windows":
        views = [crop_views(frames[a:b], size=32, crops="center")[0] for a, b in ((0, 8), (8, 13), (13, 18))]
        assert len(frames) == 18
    else:
        views = [
            crop for i in protocol_clips(len(frames), rule) for crop in crop_views(frames[i], size=32, crops="three")
        ]
    logits = []
    for view in views:
        x = (torch.from_numpy(view.copy()).float() - 127.5) / 60
        with torch.inference_mode():
            logits.append(net(x.permute(3, 0, 1, 2)[None])[0].double().numpy())
    return np.array(logits), [len(view) for view in views]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_network_of_flow_reads_the_flow_of_a_video(clip, models, protocol):
    _, flow = models(protocol)
    predictor = Predictor(flow, flow="dis", compute=ComputeConfig(device="cpu"))
    view_logits = predictor.logits(clip)
    expected_VK, lengths = logits_by_hand(flow, clip, "flow", protocol)
    assert view_logits.num_frames_V.tolist() == lengths
    assert np.allclose(view_logits.logits_VK, expected_VK, atol=1e-3, rtol=1e-4)
    assert ", dis flow; fp32" in predictor(clip).protocol
    assert Predictor(flow, compute=ComputeConfig(device="cpu")).flow == "dis"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("of", ["score", "prob"])
def test_two_streams_are_the_fusion_by_hand(clip, models, protocol, of):
    rgb, flow = models(protocol)
    two = TwoStreams(
        Predictor(rgb, compute=ComputeConfig(device="cpu")),
        Predictor(flow, flow="dis", compute=ComputeConfig(device="cpu")),
        weights=(1, 2),
        average=of,
    )
    fused = np.zeros(3)
    for model, kind, weight, places in ((rgb, "rgb", 1, [0, 1, 2]), (flow, "flow", 2, [1, 2, 0])):
        logits_VK, lengths = logits_by_hand(model, clip, kind, protocol)
        mean_K = np.average(logits_VK, axis=0, weights=lengths)
        if of == "prob":
            averages_probabilities = PROTOCOLS[protocol].average == "prob"
            mean_K = softmax(logits_VK).mean(axis=0) if averages_probabilities else softmax(mean_K)
        fused += weight * mean_K[places]
    expected = fused / 3 if of == "prob" else softmax(fused)
    scores = {row.label: row.score for row in two(clip, top_k=3).predictions}
    assert [scores[label] for label in "abc"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert two(clip).protocol.startswith(
        f"two streams, {'logits added' if of == 'score' else 'probabilities averaged'}: 1 x"
    )


def test_the_command(clip, models, tmp_path):
    rgb, flow = models("windows")
    options = [
        "--model",
        rgb,
        "--flow-model",
        flow,
        "--flow-method",
        "dis",
        "--device",
        "cpu",
        "--top-k",
        "3",
        "--json",
    ]
    result = run_here(["i3d", "predict", clip, *options, "--stream-weights", "1,2", "--out", tmp_path / "r.json"])
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)
    two = TwoStreams(
        Predictor(rgb, compute=ComputeConfig(device="cpu")),
        Predictor(flow, flow="dis", compute=ComputeConfig(device="cpu")),
        weights=(1, 2),
    )
    assert {p["label"]: p["score"] for p in row["predictions"]} == pytest.approx(
        {p.label: p.score for p in two(clip, top_k=3).predictions}, abs=1e-6
    )
    alone = run_here(["i3d", "predict", clip, "--model", flow, "--flow-method", "dis", "--device", "cpu"])
    assert alone.returncode == 0, alone.stderr
    assert "dis flow" in alone.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stream-weights", "1"], "write two numbers with a comma, such as 1,1"),
        (["--stream-weights", "1,-1"], "give two numbers of at least 0"),
        (["--stream-weights", "x,1"], "write two numbers with a comma"),
        (["--fuse-average", "max"], "--fuse-average 'max': is not one of score, prob"),
        (["--flow-method", "raft"], "--flow-method 'raft': is not one of tvl1, dis, farneback"),
    ],
)
def test_bad_options(clip, models, options, message):
    rgb, flow = models("clips")
    result = run_here(["i3d", "predict", clip, "--model", rgb, "--flow-model", flow, "--device", "cpu", *options])
    assert result.returncode == 2
    assert message in result.stderr


def test_networks_that_are_no_two_streams(models):
    rgb, flow = (
        Predictor(model, compute=ComputeConfig(device="cpu")) for model in models("clips", labels=("a", "b", "x"))
    )
    with pytest.raises(InputError, match="different classes: 'c' is in one only"):
        TwoStreams(rgb, flow)
    with pytest.raises(InputError, match="one network of RGB and one of flow, in this order"):
        TwoStreams(flow, rgb)
