"""Explanations: maps that depend on the weights, a curve that finds the motion, scores beside those of random maps."""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import i3d
from i3d.cli.output import print_explanation
from i3d.errors import InputError
from i3d.evaluation.occlusion import OcclusionCurve, hidden, no_motion, occlusion_curve, occlusion_windows
from i3d.explanations import ActivationMap, draw_explanation
from i3d.explanations.animation import CurveAxes
from i3d.explanations.grad_cam import grad_cam
from i3d.explanations.layers import choose_layer, map_shapes
from i3d.explanations.perturbation import at_pixels, moved, perturbation_scores, ranks_of
from i3d.models.engine.forward import network_input
from i3d.recipes.settings import ClipProtocol, ResNetSettings, WindowProtocol
from i3d.utils.outputs import is_drawing
from i3d.weights.load import build_model, load_weights
from i3d.weights.pretrained import DEFAULT
from support.commands import run_here
from support.evaluation_runs import save_model
from support.mmaction2_runs import tiny_checkpoint
from support.rendering import render

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
from render_tour import frames, scenes

needs_captum = pytest.mark.skipif(find_spec("captum") is None, reason="pip install 'i3d[explain]'")
TINY = """
base: i3d_r50_32x2x1_100e_kinetics400_rgb
network: {depth: 18, base_channels: 2, num_classes: 3}
preprocessing: {short_side: 64, crop: 64}
protocol: {clip_len: 8, frame_interval: 1, num_clips: 1, crops: center}
"""
CLIP = ClipProtocol(clip_len=8, frame_interval=1, num_clips=1, crops="center")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A clip and tiny networks: of clips with several views, of one clip, of flow."""
    folder = tmp_path_factory.mktemp("explain")
    render(folder / "clip.mp4", num_frames=24)
    save_model(folder / "views.safetensors")
    save_model(folder / "one.safetensors", protocol=CLIP, crop=64)
    save_model(folder / "doubled.safetensors", labels=("a", "b", "b"))
    save_model(folder / "flow.safetensors", channels=2, flow="farneback", protocol=CLIP)
    return folder


@pytest.fixture(scope="module")
def side():
    """16 frames of an object that moves to the right, 224 x 224."""
    scene = next(each for split, each in scenes(4, seed=0) if split == "test")
    return np.stack(frames(scene, "side"))[:, 16:240, 16:240]


def explain(place, *words, model="one", expected=0):
    result = run_here(
        ["i3d", "explain", place / "clip.mp4", "--model", place / f"{model}.safetensors", "--device", "cpu", *words]
    )
    assert result.returncode == expected, result.output
    assert "Traceback" not in result.output
    return result


def rank_correlation(one, other):
    """Spearman's, of equal numbers by their mean rank."""
    ranks = []
    for values in (one.ravel(), other.ravel()):
        _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
        ends = np.cumsum(counts)
        ranks.append(((ends - counts + ends - 1) / 2)[number])
    return float(np.corrcoef(*ranks)[0, 1])


@needs_captum
@pytest.mark.slow
def test_a_map_depends_on_the_weights(side):
    """Adebayo et al. 2018 (arXiv:1810.03292): stages are made random from the classifier down."""
    net = build_model(load_weights(DEFAULT)).eval()
    recipe = load_weights(DEFAULT).card.recipe
    clip_1CTHW = network_input(net, torch.from_numpy(side[None]), recipe.preprocessing)
    with torch.inference_mode():
        target = int(net(clip_1CTHW).argmax())

    def values():
        return grad_cam(net, clip_1CTHW, layer="Mixed_4f", target=target).values_THW

    first, trained = values(), {name: each.clone() for name, each in net.state_dict().items()}
    assert first.shape == (4, 14, 14)
    assert rank_correlation(first, values()) == pytest.approx(1)
    correlations = {"Mixed_5b.": [], "Conv3d_1a_7x7.": []}  # after the stages behind the map, and after all
    for seed in range(4):
        net.load_state_dict(trained)
        random = torch.Generator().manual_seed(seed)
        for prefix in (net.head_prefix, *reversed(net.stages)):
            for name, each in net.named_parameters():
                if name.startswith(prefix):
                    order = torch.randperm(each.numel(), generator=random)
                    each.data = each.data.flatten()[order].view_as(each).clone()
            if prefix in correlations:
                changed = values()
                assert len(np.unique(changed)) > 50, prefix  # a constant map has no ranks
                correlations[prefix].append(rank_correlation(first, changed))
    assert max(map(abs, correlations["Mixed_5b."])) < 0.5, correlations  # 0.16
    # one random network may have the bright border of `first`, or its opposite: -0.50, 0.62, 0.58, -0.55
    assert max(map(abs, correlations["Conv3d_1a_7x7."])) < 0.8, correlations
    assert abs(np.mean(correlations["Conv3d_1a_7x7."])) < 0.2, correlations  # 0.04


@pytest.mark.parametrize("num_frames", [16, 64])
def test_the_default_layer_of_the_shipped_network_is_mixed_4f(num_frames):
    shapes = map_shapes(load_weights(DEFAULT).card.recipe.network, (1, 3, num_frames, 224, 224))
    assert choose_layer(shapes, None, side=224) == "Mixed_4f"
    assert shapes["Mixed_4f"] == (num_frames // 4, 14, 14)


@pytest.mark.slow
def test_the_curve_peaks_where_the_motion_is(side):
    """The object stands still, moves in the middle third, and stands still."""
    moving = side[::3]
    clip = np.concatenate([np.repeat(moving[:1], 6, axis=0), moving, np.repeat(moving[-1:], 6, axis=0)])
    curve = i3d.explain(clip, curve_only=True, hide_frames=4, device="cpu").curve
    falls = dict(zip(curve.windows, curve.drops_S, strict=True))
    assert curve.windows[curve.peak] in [(4, 8), (6, 10), (8, 12), (10, 14)], falls
    still = [(0, 4), (2, 6), (12, 16), (14, 18)]  # hidden frames look as they did
    assert max(abs(falls[window]) for window in still) < 1e-4 < falls[curve.windows[curve.peak]], falls


@pytest.mark.parametrize(
    "runtime",
    ["torch", pytest.param("openvino", marks=pytest.mark.skipif(not find_spec("openvino"), reason="i3d[export]"))],
)
@pytest.mark.slow
def test_the_curve_is_that_of_the_runtime(place, tmp_path, monkeypatch, runtime):
    monkeypatch.setenv("I3D_CACHE", str(tmp_path))
    clip, model = str(place / "clip.mp4"), place / "one.safetensors"
    explanation = i3d.explain(clip, model=model, curve_only=True, device="cpu", runtime=runtime)
    assert (runtime == "openvino") == any(tmp_path.rglob("*.record"))  # it is compiled, and cached
    plain = i3d.explain(str(place / "clip.mp4"), model=place / "one.safetensors", curve_only=True, device="cpu")
    np.testing.assert_allclose(explanation.curve.drops_S, plain.curve.drops_S, atol=1e-3)


@given(st.integers(2, 70), st.data())
def test_windows_cover_the_view(num_frames, data):
    length = data.draw(st.integers(1, num_frames - 1))
    windows = occlusion_windows(num_frames, length=length)
    assert {frame for start, stop in windows for frame in range(start, stop)} == set(range(num_frames))
    assert all(stop - start == length for start, stop in windows)
    assert len({*windows}) == len(windows)


def test_frames_are_hidden_by_a_fade():
    view_THWC = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1).repeat(3, axis=3) * 30
    view_THWC[3] = 255
    assert hidden(view_THWC, 2, 4)[:, 0, 0, 0].tolist() == [0, 30, 60, 90, 120, 150]
    assert hidden(view_THWC, 0, 2)[:, 0, 0, 0].tolist() == [60, 60, 60, 255, 120, 150]
    assert hidden(view_THWC, 4, 6)[:, 0, 0, 0].tolist() == [0, 30, 60, 255, 255, 255]
    flow = np.zeros((4, 2, 2, 2), np.uint8)
    assert hidden(flow, 1, 3)[:, 0, 0, 0].tolist() == [0, *[int(no_motion((1, 1, 2))[0, 0, 0])] * 2, 0]


def test_the_fall_of_a_frame_is_the_mean_of_its_windows():
    scores = lambda clips, total: np.array([0.9, 0.5, 0.7])[: len(list(clips))] * (total == 3)  # noqa: E731
    curve = occlusion_curve(np.zeros((8, 2, 2, 3), np.uint8), scores, score=0.9, length=4)
    assert curve.windows == ((0, 4), (2, 6), (4, 8))
    assert curve.drops_T == pytest.approx([0, 0, 0.2, 0.2, 0.3, 0.3, 0.2, 0.2])
    assert curve.peak == 1


def bright_corner(values_THW):
    """Scores of a map of a view whose label rests on the first of four quarters: the brightness there."""
    view_THWC = np.zeros((4, 8, 8, 3), np.uint8)
    view_THWC[:, :4, :4] = 240
    score = lambda clips, _: np.array([clip[:, :4, :4].mean() / 240 for clip in clips])  # noqa: E731
    activation = ActivationMap("layer", values_THW.astype(np.float32), (4, 8, 8))
    return perturbation_scores(activation, view_THWC, score, score=1.0, num_random=6, seed=3)


def test_a_right_map_is_better_than_random_maps_and_a_wrong_one_is_not():
    right = np.zeros((2, 4, 4))
    right[:, :2, :2] = 1
    good, bad = bright_corner(right), bright_corner(1 - right)
    assert good.is_better
    assert good.deletion < good.random_deletion_R.min()
    assert good.insertion > good.random_insertion_R.max()
    assert "where the action is" in good.verdict
    assert bad.worse_in == ("deletion", "insertion")
    assert "do not take it for the place of the action" in bad.lines[-1]
    assert bright_corner(right).lines == good.lines  # the seed decides


def test_places_are_ranked_and_enlarged():
    rng = np.random.default_rng(0)
    assert ranks_of(np.array([[[0.1, 0.9], [0.5, 0.2]]]), rng).tolist() == [[[3, 0], [1, 2]]]
    ties = {tuple(ranks_of(np.zeros((1, 2, 2)), rng).ravel().tolist()) for _ in range(30)}
    assert len(ties) > 5
    cells = np.arange(8).reshape(2, 2, 2)
    assert at_pixels(cells, (5, 2, 4))[:, 0, 0].tolist() == [0, 0, 0, 4, 4]
    assert at_pixels(cells, (5, 2, 4))[0, 1].tolist() == [2, 2, 3, 3]
    map_THW = np.arange(8.0).reshape(2, 2, 2)
    for _ in range(20):
        other = moved(map_THW, rng)
        assert sorted(other.ravel()) == sorted(map_THW.ravel())
        assert (other != map_THW).any()


def test_which_layer():
    shapes = {"a": (8, 112, 112), "b": (4, 14, 14), "c": (4, 14, 14), "d": (2, 7, 7), "e": (1, 1, 1)}
    assert choose_layer(shapes, None, side=224) == "c"
    assert choose_layer(shapes, "d", side=224) == "d"
    assert choose_layer({"e": (1, 1, 1), "d": (2, 2, 2)}, None, side=224) == "d"
    with pytest.raises(InputError, match=r"no such layer; choose from a \(8x112x112\), b .* d \(2x7x7\)$"):
        choose_layer(shapes, "logits", side=224)
    with pytest.raises(InputError, match="its map is one place for the whole frame; choose from a"):
        choose_layer(shapes, "e", side=224)
    with pytest.raises(InputError, match="no layer of this network has one"):
        choose_layer({"e": (1, 1, 1)}, None, side=32)


@needs_captum
@pytest.mark.slow
def test_all_is_printed_and_drawn(place, tmp_path, monkeypatch):
    words_drawn, plain = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda pen, at, text, **how: words_drawn.append(text) or plain(pen, at, text, **how),
    )
    words = ("--plot", tmp_path / "why.png", "--random-maps", 2, "--seed", 5)
    result = explain(place, "--json", "--out", tmp_path / "why.gif", *words)
    explained = json.loads(result.stdout)
    assert explained["map"]["layer"] == "layer3"
    assert explained["map"]["resolution"] == [1, 4, 4]
    assert np.array(explained["map"]["values"]).shape == (1, 4, 4)
    assert explained["map"]["random_maps"]["seed"] == 5
    assert len(explained["map"]["random_maps"]["deletion"]) == 2
    assert explained["view"]["seconds"][0] == pytest.approx(8 / 25, abs=0.05)
    assert is_drawing(tmp_path / "why.png")
    with Image.open(tmp_path / "why.gif") as image:
        assert image.n_frames == 8
    seconds = [f"{moment:.2f} s" for moment in explained["view"]["seconds"]]
    assert words_drawn[-8:] == seconds  # one below each mark
    assert words_drawn[-10:-8] == [seconds[0], seconds[-1]]
    assert "fall of the score, in points of 100, with 1 frame hidden" in words_drawn
    assert "0" in words_drawn
    head = " ".join(words_drawn[:6])
    assert explained["map"]["meaning"] in head
    printed = explain(place, "--out", tmp_path / "why.mp4", "--force", *words).stdout
    assert "Grad-CAM of layer3, 1x4x4 for a view of 8x64x64: a number stands for 8 frames of 16 x 16 pixels" in printed
    assert explained["map"]["meaning"] in printed
    assert explained["curve"]["meaning"] in printed
    assert "of 2 random maps" in printed
    with av.open(str(tmp_path / "why.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 8
    refused = explain(place, "--out", tmp_path / "why.mp4", expected=2).stderr
    assert "the file exists" in refused


@needs_captum
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mean", "maxima", "non-local", "multi-label", "windows", "flow", "mmaction2"])
def test_every_kind_of_network(place, tmp_path, kind):
    """The map is of the network that `predict` runs: its logits are those of the score."""
    settings = {"depth": 18, "base_channels": 4, "num_classes": 3}
    match kind:
        case "flow":
            model = place / "flow.safetensors"
        case "mmaction2":
            recipe = tmp_path / "tiny.yaml"
            recipe.write_text(TINY)
            foreign = tiny_checkpoint(tmp_path / "mmaction2.pth", classes=3)
            model = tmp_path / "m.safetensors"
            i3d.convert(str(foreign), model, recipe=str(recipe), labels=("a", "b", "c"))
        case "maxima":
            network = ResNetSettings(**settings, head_pooling="maxima")
            model = save_model(tmp_path / "m.safetensors", network=network, protocol=CLIP, crop=64)
        case "non-local":
            network = ResNetSettings(**settings, non_local=((0,), (0, 1), (0, 1), (0,)))
            model = save_model(tmp_path / "m.safetensors", network=network, protocol=CLIP, crop=64)
        case "windows":
            protocol = WindowProtocol(fps=20.0, max_window_frames=8)
            model = save_model(tmp_path / "m.safetensors", protocol=protocol, crop=64)
        case _:
            model = save_model(tmp_path / "m.safetensors", protocol=CLIP, crop=64, multi_label=kind == "multi-label")
    clip = str(place / "clip.mp4")
    explained = i3d.explain(clip, model=model, device="cpu", random_maps=1)
    assert explained.top1 == i3d.predict(clip, model=model, device="cpu").top1.label
    assert explained.score == pytest.approx(i3d.predict(clip, model=model, device="cpu").top1.score, abs=1e-5)
    assert explained.map.layer == "layer3"
    assert explained.map.is_empty == (explained.trust is None)
    assert np.isfinite(explained.curve.scores_S).all()
    for suffix in (".png", ".gif"):
        draw_explanation(explained, tmp_path / f"why{suffix}")


@pytest.mark.slow
def test_the_middle_view_is_explained_unless_another_is_named(place):
    ours = explain(place, "--curve-only", model="views")
    assert (
        "view: 6 of 9, the middle crop of the middle clip, 6 frames" in ours.stdout
    )  # the third crop of MMAction2's order is the middle
    first = explain(place, "--curve-only", "--view", 1, model="views")
    assert "view: 1 of 9, 6 frames" in first.stdout
    refused = explain(place, "--curve-only", "--view", 10, model="views", expected=2).stderr
    assert "view 10: " in refused
    assert "has 9 views; choose one from 1 to 9" in refused


def test_noise_has_no_bars_and_one_frame_no_curve(place, capsys):
    explained = i3d.explain(str(place / "clip.mp4"), model=place / "one.safetensors", device="cpu", curve_only=True)
    noise = OcclusionCurve(0.5, ((0, 4), (2, 6), (4, 8)), 0.5 - np.array([0.0004, -0.0004, 0.0]), 8)
    print_explanation(replace(explained, curve=noise), json=False)
    printed = capsys.readouterr().out
    assert (printed.count("+0.000"), "#" in printed, "-0.000" in printed) == (3, False, False)
    one = replace(explained.view, num_repeated=len(explained.view.clip_THWC) - 1)
    print_explanation(replace(explained, view=one), json=False)
    printed = capsys.readouterr().out
    assert "curve: one frame: no curve\n" in printed
    assert "hidden frames" not in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "d"], "--label 'd': the network has no such class; it has 'a', 'b', 'c'"),
        (["--label", "A"], "--label 'A': the network has no such class; did you mean 'a'"),
        (["--layer", "logits"], "--layer 'logits': this network has no such layer; choose from conv1 ("),
        (["--layer", "layer4", "--model", "views"], "--layer 'layer4': its map is one place for the whole frame"),
        (["--layer", "layer3", "--curve-only"], "--layer 'layer3': is of the map, which is left out"),
        (["--label", "b", "--model", "doubled"], "--label 'b': 2 classes of the network have this name"),
        (["--random-maps", 9, "--curve-only"], "--random-maps 9: are beside the map, which is left out"),
        (["--seed", 3, "--curve-only"], "--seed 3: is of random maps, which are left out"),
        (["--hide-frames", 8], "--hide-frames 8: must be at least 1 and below the frames of the view, 8"),
        (["--view", 0], "--view 0: must be at least 1"),
        (["--random-maps", 0], "--random-maps 0: must be at least 1"),
        (["--flow-method", "dis"], "--flow-method dis: the network takes RGB; leave it out"),
        (["--out", "why.avi"], "--out why.avi: the name must end in .gif or .mp4"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_the_video_is_read(place, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"not read")
    model = words.pop() if "--model" in words else "one"
    words = [word for word in words if word != "--model"]
    for name in ("one", "views", "doubled"):
        (tmp_path / f"{name}.safetensors").symlink_to(place / f"{name}.safetensors")
    line = explain(tmp_path, *words, model=model, expected=2).stderr
    assert message in line
    assert line.count("\n") == 1


def test_a_damaged_video_is_one_line(place, tmp_path):
    (tmp_path / "clip.mp4").write_bytes((place / "clip.mp4").read_bytes()[:900])
    (tmp_path / "one.safetensors").symlink_to(place / "one.safetensors")
    result = explain(tmp_path, "--curve-only", "--plot", tmp_path / "why.png", expected=3)
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert not (tmp_path / "why.png").exists()


def test_the_scale_beside_a_moving_curve_has_round_numbers():
    curve = OcclusionCurve(0.9, ((0, 1), (1, 2), (2, 3)), np.array([0.9, 0.42, 1.1]), 3)
    axes = CurveAxes(curve, (np.array([1.0, 1.5, 3.0]), True), left=40, right=240, top=10)
    assert axes._ticks() == pytest.approx([0, -0.2, 0.5])
    assert [axes.x(place) for place in range(3)] == [40, 90, 240]  # as far apart as in time
    assert axes.bottom > axes.y(-0.2) > axes.y(0.0) > axes.y(0.48) > axes.top


def test_without_captum_there_is_the_curve(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.delitem(sys.modules, "captum.attr", raising=False)
    refused = explain(place, expected=2).stderr
    assert "needs captum, which is not installed; pip install 'i3d[explain]', or leave the map out" in refused
    result = explain(place, "--curve-only", "--plot", tmp_path / "why.png", "--out", tmp_path / "why.mp4")
    assert "curve: " in result.stdout
    assert "map: " not in result.stdout


def test_another_label_than_that_of_the_video_is_named(place):
    top1 = i3d.predict(str(place / "clip.mp4"), model=place / "one.safetensors", device="cpu").top1.label
    other = next(label for label in "abc" if label != top1)
    result = explain(place, "--curve-only", "--label", other)
    assert f"the video's label is '{top1}', not '{other}', which is explained" in result.stderr


def test_one_video_at_a_time(place):
    with pytest.raises(InputError, match="stands for many videos; name one"):
        i3d.explain(place, model=place / "one.safetensors")
    result = run_here(["i3d", "explain", "-", "--model", place / "one.safetensors"])
    assert "an explanation reads a file; name one" in result.stderr
