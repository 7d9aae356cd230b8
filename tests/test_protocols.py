"""Several protocols from one pass: the same scores as each alone, and as a plain loop over views; probes; formats."""

import base64
import csv
import io
import json
import os
import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import i3d
from i3d.data.formats.read import read_annotations
from i3d.data.frame_folders import FrameNaming
from i3d.data.loading.dataset import ClipDataset, TestView
from i3d.evaluation.evaluate import evaluate_protocols, select_protocols
from i3d.evaluation.frame_orders import compare_frame_orders, summarize_frame_orders
from i3d.evaluation.intervals import format_interval
from i3d.evaluation.occlusion import MeanOcclusion, OcclusionCurve
from i3d.evaluation.result import cheapest_protocol, compute_metrics
from i3d.evaluation.result_file import read_evaluation, read_evaluations, write_evaluations
from i3d.evaluation.scorer import EvaluationOptions
from i3d.evaluation.scoring import softmax
from i3d.finetuning.features import Backbone, Clips, clip_features
from i3d.models.engine.forward import forward
from i3d.models.factory import build_network
from i3d.models.prepack import fold_norms
from i3d.recipes.named import named_recipe
from i3d.recipes.protocols import protocol_name, with_average, with_protocol
from i3d.recipes.recipe import Recipe
from i3d.recipes.settings import ClipProtocol, InceptionSettings, Preprocessing
from i3d.training.validation import score
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig
from i3d.video.reader import open_video
from i3d.video.sampling import protocol_clips
from i3d.video.transforms import center_crop
from i3d.weights.load import build_model, load_weights
from i3d.weights.pretrained import DEFAULT
from support.commands import run_here
from support.evaluation_runs import make_clips, save_model, save_models
from support.evaluations import make_evaluation
from support.rendering import encode, numbered_frame
from support.resizing import resize_short_side

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
from render_tour import frames as tour_frames
from render_tour import scenes

HERE = ComputeConfig(device="cpu", num_workers=0)
DENSE = ClipProtocol(clip_len=6, frame_interval=1, num_clips=2, crops="center", placement="dense", sample_range=12)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("models"))


def list_with_a_bad_clip(folder, rows):
    """A list whose last clip cannot be read: after its test, the resume log stays."""
    (folder / "bad.mp4").write_bytes(b"x")
    (folder / "l.csv").write_text("\n".join(["path,label", *rows, f"{folder / 'bad.mp4'},a", ""]))
    return folder / "l.csv", "--allow-outside", "--max-bad", "60%"


def run(command, *arguments, expected=0):
    result = run_here(["i3d", command, *arguments])
    assert result.returncode == expected, result
    return result.stderr if expected == 2 else (result.stdout, result.stderr)


def try_test(model, data, *options, expected=0):
    return run("test", model, "--data", data, "--device", "cpu", "--workers", "0", *options, expected=expected)


# which views


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "crop"),
    [
        (ClipProtocol(clip_len=6, frame_interval=2, num_clips=2, crops="ten"), 28),
        (ClipProtocol(clip_len=6, frame_interval=1, num_clips=10, crops="three"), 32),
        (DENSE, 32),
        (ClipProtocol(clip_len=6, frame_interval=2, num_clips=3, crops="three", placement="end_to_end"), 24),
    ],
    ids=["ten", "three", "dense", "three within"],
)  # fmt: skip
def test_scores_are_those_of_a_plain_loop_over_views(clips, tmp_path, protocol, crop):
    """Each view by itself: its frames one by one, resized and cropped here, through the network, averaged."""
    import cv2

    model = save_model(tmp_path / "m.safetensors", protocol=protocol, crop=crop)
    annotations = read_annotations(clips / "clips.csv").select([0, 3])
    evaluation = i3d.evaluate(model, annotations, compute=HERE)
    net = i3d.load_model(model)
    for n, file in enumerate(evaluation.files_N):
        with open_video(file) as video:
            frames = [cv2.resize(frame, (43, 32)) for frame in video.stream()]
        probabilities = []
        for indices in protocol_clips(len(frames), protocol):
            for top, left, mirrored in places(protocol.crops, crop):
                view = [frames[i][top : top + crop, left : left + crop] for i in indices]
                view = np.stack([frame[:, ::-1] if mirrored else frame for frame in view])
                x = (torch.from_numpy(view).float() - 127.5) / 60
                with torch.inference_mode():
                    probabilities.append(net(x.permute(3, 0, 1, 2)[None]).double().softmax(1)[0].numpy())
        assert len(probabilities) == protocol.num_views == evaluation.num_views_N[n]
        assert np.allclose(evaluation.scores_NK[n], np.mean(probabilities, axis=0), rtol=0, atol=1e-6)


def places(crops, size, height=32, width=43):
    """(top, left, mirrored) of the crops of a frame of 32 x 43, as MMAction2 cuts them."""
    if crops == "center":
        return [((height - size) // 2, (width - size) // 2, False)]
    if crops == "three":
        step = (width - size) // 2
        return [((height - size) // 2, left, False) for left in (0, 2 * step, step)]
    y, x = (height - size) // 4, (width - size) // 4
    corners = [(0, 0), (0, 4 * x), (4 * y, 0), (4 * y, 4 * x), (2 * y, 2 * x)]
    return [(*corner, mirrored) for corner in corners for mirrored in (False, True)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clips", "windows"])
def test_one_pass_gives_what_each_protocol_gives_alone(clips, models, kind):
    annotations = read_annotations(clips / "clips.csv")
    weights = load_weights(models[kind])
    names = ["1x1", "3x1", "3x3"] + (["windows"] if kind == "windows" else [])
    options = {"settings": ["preprocessing.crop=28"], "protocols": names}
    chosen = EvaluationOptions(select_protocols(weights, **options))
    together = evaluate_protocols(weights, annotations, chosen, compute=HERE)
    assert [e.name for e in together] == names
    for e in together:
        one = EvaluationOptions(select_protocols(weights, **options | {"protocols": [e.name]}))
        (alone,) = evaluate_protocols(weights, annotations, one, compute=HERE)
        assert np.allclose(alone.scores_NK, e.scores_NK, rtol=1e-5, atol=1e-5)
        assert (alone.protocol, alone.num_views_N, alone.gflops) == (e.protocol, e.num_views_N, e.gflops)
    assert together[1].num_views_N == (3,) * 6
    assert together[2].num_views_N == (9,) * 6
    assert together[2].gflops == pytest.approx(9 * together[0].gflops)
    if kind == "clips":  # 64 frames are longer than these videos, and begin nowhere but at their start
        assert not np.allclose(together[0].scores_NK, together[1].scores_NK, atol=1e-4)


def test_each_view_and_frame_occurs_once(clips):
    annotations = read_annotations(clips / "clips.csv")
    recipe = named_recipe("i3d_r50_32x2x1_100e_kinetics400_rgb")
    own = recipe.protocol.model_copy(update={"clip_len": 4})
    recipe = Recipe(**dict(recipe) | {"protocol": own, "preprocessing": Preprocessing(short_side=32, crop=32)})
    first, *others = [with_protocol(recipe, name).protocol for name in ("1x1", "3x1", "10x1", "10x3")]
    views = ClipDataset(annotations, TestView(first, recipe.preprocessing, tuple(others)))[0, 0].views_N[0]
    assert [len(group) for group in views.groups] == [1, 3, 10, 30]
    assert views.groups[2] == views.groups[3][2::3]  # the middle crops
    assert len(views) == 30 + 3  # the only clip of 1x1 is the middle one of 3x1
    assert views.groups[0] == views.groups[1][1:2]
    shown = {(tuple(row.tolist()), box) for row, box in zip(views.indices_VT, views.boxes_V, strict=True)}
    assert len(shown) == len(views)
    assert len(views.frames_DHWC) <= 26


def test_names_of_protocols():
    recipe = named_recipe("i3d_r50_32x2x1_100e_kinetics400_rgb")
    assert protocol_name(recipe.protocol) == "10x3"
    assert with_protocol(recipe, "10x3").protocol == recipe.protocol
    assert with_protocol(recipe, "1x10").protocol.num_views == 10
    dense = named_recipe("i3d_r50_dense_32x2x1_100e_kinetics400_rgb")
    assert protocol_name(dense.protocol) == "10x3"
    assert with_protocol(dense, "20x1").protocol.num_views == 20
    with pytest.raises(i3d.InputError, match="samples densely, 10 clips at a time"):
        with_protocol(dense, "1x1")
    inception = named_recipe("inception_rgb_kinetics400")
    assert protocol_name(inception.protocol) == "windows"
    clip = with_protocol(inception, "3x1").protocol
    assert (clip.clip_len, clip.target_fps, clip.num_clips, clip.average) == (64, 25.0, 3, "score")
    assert "probabilities averaged" in with_average(inception, "prob").protocol_line
    for name in ("0x1", "3", "3x4", "x", "-1x1", "10x3 "):
        with pytest.raises(i3d.InputError, match="write CLIPSxCROPS"):
            with_protocol(recipe, name)


def test_settings_of_clips_for_networks_of_windows(clips, models, tmp_path):
    options = ("--protocols", "3x1", "--set", "protocol.clip_len=6", "--set", "protocol.frame_interval=2")
    out, _ = try_test(models["windows"], clips / "clips.csv", *options)
    assert "3 clips of 6 frames x stride 2 in the middle of segments at 20 fps" in out
    message = try_test(models["windows"], clips / "clips.csv", "--set", "protocol.clip_len=6", expected=2)
    assert "protocol has no 'clip_len'" in message


@pytest.mark.slow
def test_reports_of_ours_are_replaced_and_others_are_not(clips, models, tmp_path):
    report = tmp_path / "r.html"
    report.write_text("<p>mine</p>")
    message = try_test(models["clips"], clips / "clips.csv", "--report", report, expected=2)
    assert "r.html: the file exists; choose another name, or replace it with --force" in message
    assert report.read_text() == "<p>mine</p>"
    try_test(models["clips"], clips / "clips.csv", "--report", report, "--force")
    first = report.read_text()
    try_test(models["clips"], clips / "clips.csv", "--report", report, "--protocols", "1x1")
    assert report.read_text() != first


@pytest.mark.slow
def test_the_command_prints_costs_and_the_cheapest(clips, models, tmp_path):
    out, err = try_test(
        models["clips"], clips / "clips.csv", "--protocols", "1x1,3x1,3x3", "--out", tmp_path / "r.json",
        "--report", tmp_path / "r.html",
    )  # fmt: skip
    rows = [line.split() for line in out.splitlines() if line.startswith((" 1x1", " 3x1", " 3x3"))]
    evaluations = read_evaluations(tmp_path / "r.json")
    for row, e, num_views in zip(rows, evaluations, (1, 3, 9), strict=True):
        metrics = compute_metrics(e)
        assert row[:2] == [e.name, str(num_views)]
        assert float(row[3]) == pytest.approx(metrics.top1, abs=1e-4)
        assert " ".join(row[4:7]) == format_interval(metrics.top1_interval)
        assert f"{e.name}: {e.protocol}" in out
    assert (
        f"the cheapest within half a point of the best: "
        f"{cheapest_protocol([(e, compute_metrics(e)) for e in evaluations]).name}" in out
    )
    page = (tmp_path / "r.html").read_text()
    assert "Test protocols" in page
    assert all(e.protocol in page for e in evaluations)
    assert "r.json" in err
    assert "r.html" in err


def test_the_cheapest_of_the_good_ones():
    truth = [0] * 200 + [1]

    def with_accuracy(right, gflops):
        scores_NK = np.eye(2)[[0 if n < right else 1 for n in range(200)] + [1]]
        e = make_evaluation(scores_NK, truth, gflops=gflops)
        return e, compute_metrics(e)

    tested = [with_accuracy(197, 1.0), with_accuracy(199, 10.0), with_accuracy(200, 30.0)]
    assert cheapest_protocol(tested) is tested[1][0]  # 197 are more than half a point worse
    assert cheapest_protocol(tested[:1]) is tested[0][0]
    assert cheapest_protocol([with_accuracy(5, None)]) is None


# averages and files


@pytest.mark.slow
def test_averages_of_views(clips, models, tmp_path):
    data = clips / "clips.csv"
    plain, _ = try_test(models["clips"], data, "--out", tmp_path / "prob.json")
    try_test(models["clips"], data, "--average-clips", "score", "--out", tmp_path / "score.json")
    out, err = try_test(models["clips"], data, "--average-clips", "none", "--out", tmp_path / "none.json")
    assert out == ""
    assert "`i3d score" in err
    prob, score = read_evaluation(tmp_path / "prob.json"), read_evaluation(tmp_path / "score.json")
    raw = read_evaluation(tmp_path / "none.json")
    assert [views.logits_VK.shape for views in raw.views_N] == [(9, 3)] * 6
    assert np.allclose(prob.scores_NK, [softmax(v.logits_VK).mean(axis=0) for v in raw.views_N], atol=1e-12)
    assert np.allclose(score.scores_NK, [v.logits_VK.mean(axis=0) for v in raw.views_N], atol=1e-12)
    assert np.array_equal(raw.scores_NK, prob.scores_NK)  # the recipe's own average
    for average, expected in (("prob", prob), ("score", score)):
        again = read_evaluation(tmp_path / "none.json", average=average)
        assert np.array_equal(again.scores_NK, expected.scores_NK)
        assert again.protocol == expected.protocol
    assert run("score", tmp_path / "none.json")[0] == plain
    assert (
        run("score", tmp_path / "none.json", "--average-clips", "score")[0]
        .splitlines()[-1]
        .endswith("logits averaged; fp32")
    )
    again, _ = run("score", tmp_path / "none.json", "--average-clips", "score", "--out", tmp_path / "s.json")
    assert "top-1" in again
    assert np.array_equal(read_evaluation(tmp_path / "s.json").scores_NK, score.scores_NK)
    assert not read_evaluation(tmp_path / "s.json").views_N
    message = run("score", tmp_path / "prob.json", "--average-clips", "score", expected=2)
    assert "its scores are averaged already (probabilities averaged)" in message
    try_test(
        models["clips"], data, "--average-clips", "none", "--out", tmp_path / "l.json", "--out-format", "mmaction2"
    )
    assert np.allclose(json.loads((tmp_path / "l.json").read_text()), [v.logits_VK for v in raw.views_N])


@pytest.mark.slow
def test_windows_weigh_by_their_frames(clips, models, tmp_path):
    try_test(models["windows"], clips / "clips.csv", "--average-clips", "none", "--out", tmp_path / "n.json")
    raw = read_evaluation(tmp_path / "n.json")
    plain = i3d.evaluate(models["windows"], read_annotations(clips / "clips.csv"), compute=HERE)
    assert max(len(set(v.num_frames_V)) for v in raw.views_N) > 1
    assert np.array_equal(raw.scores_NK, plain.scores_NK)


@pytest.mark.slow
def test_formats(clips, models, tmp_path):
    data = clips / "clips.csv"
    for name in ("r.json", "r.yaml", "r.csv"):
        try_test(models["clips"], data, "--protocols", "1x1,3x3", "--out", tmp_path / name)
    evaluations = read_evaluations(tmp_path / "r.json")
    for one, other in zip(evaluations, read_evaluations(tmp_path / "r.yaml"), strict=True):
        assert np.array_equal(one.scores_NK, other.scores_NK)
        assert {**vars(one), "scores_NK": 0} == {**vars(other), "scores_NK": 0}
    plain = yaml.safe_load((tmp_path / "r.yaml").read_text())
    assert plain["clips"][0]["scores"]["3x3"] == evaluations[1].scores_NK[0].tolist()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert len(rows) == 12
    assert [(row["clip"], row["labels"]) for row in rows[6:]] == [(f"{i}.mp4", "abc"[i % 3]) for i in range(6)]
    assert [[float(row[name]) for name in "abc"] for row in rows[6:]] == evaluations[1].scores_NK.tolist()
    assert all(
        row["predicted"] == "abc"[int(s.argmax())] for row, s in zip(rows[6:], evaluations[1].scores_NK, strict=True)
    )
    assert {row["protocol"] for row in rows} == {e.protocol for e in evaluations}
    assert "several protocols; it has 1x1, 3x3" in run(
        "score", tmp_path / "r.json", "--metrics", "per_class", expected=2
    )
    out, _ = run("score", tmp_path / "r.json", "--metrics", "top_k_accuracy", "--top-k", "1,2", "--protocol", "3x3")
    assert f"top1 {compute_metrics(evaluations[1]).top1:.4f}" in out
    right = [np.argsort(-scores)[:2].tolist().count(i % 3) for i, scores in enumerate(evaluations[1].scores_NK)]
    assert f"top2 {np.mean(right):.4f}" in out


@pytest.mark.slow
def test_the_form_of_mmaction2_retains_the_places_of_bad_clips(clips, models, tmp_path):
    for i in range(6):
        os.link(clips / f"{i}.mp4", tmp_path / f"{i}.mp4")
    (tmp_path / "2.mp4").unlink()
    (tmp_path / "2.mp4").write_bytes(b"")
    (tmp_path / "clips.csv").write_text((clips / "clips.csv").read_text())
    for name in ("r.json", "r.yaml"):
        options = ("--max-bad", "50%", "--out", tmp_path / name, "--out-format", "mmaction2")
        _, err = try_test(models["clips"], tmp_path / "clips.csv", *options, expected=3)
        assert "1 clip could not be read; null stands in place of the scores" in err
        document = yaml.safe_load((tmp_path / name).read_text())
        whole = i3d.evaluate(models["clips"], read_annotations(clips / "clips.csv"), compute=HERE)
        assert document[2] is None
        for i in (0, 1, 3, 4, 5):
            assert np.allclose(document[i], whole.scores_NK[i], atol=1e-12)
    _, err = try_test(
        models["clips"], tmp_path / "clips.csv", "--max-bad", "50%", "--out", tmp_path / "b.csv", expected=3
    )
    rows = list(csv.DictReader(io.StringIO((tmp_path / "b.csv").read_text())))
    assert [row["status"] for row in rows] == ["ok"] * 5 + ["error"]
    assert "empty" in rows[-1]["error"]


@pytest.mark.slow
def test_folded_batch_norms_give_the_same(clips, models):
    non_local = named_recipe("i3d_nl_gaussian_r50_32x2x1_100e_kinetics400_rgb").network
    for settings in (InceptionSettings(num_classes=5), non_local):
        torch.manual_seed(0)
        net = build_network(settings)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
        with pytest.raises(ValueError, match="eval"):
            fold_norms(net.train())
        net.eval()
        clip = torch.randn(1, 3, 10, 200, 200)
        with torch.inference_mode():
            before = net(clip)
            norms = sum(isinstance(module, torch.nn.BatchNorm3d) for module in net.modules())
            assert fold_norms(net) == norms > 50
            after = net(clip)
        assert torch.allclose(before, after, rtol=1e-4, atol=1e-4 * before.abs().max())


def test_how_many_views_run_at_once_changes_nothing(clips, models):
    annotations = read_annotations(clips / "clips.csv").select([0, 1])
    evaluated = [
        i3d.evaluate(models["clips"], annotations, EvaluationOptions(max_views=most), compute=HERE).scores_NK
        for most in (1, 4, None)
    ]
    assert np.allclose(evaluated[0], evaluated[1], rtol=0, atol=1e-6)
    assert np.allclose(evaluated[0], evaluated[2], rtol=0, atol=1e-6)


# frame orders


@pytest.mark.slow
def test_frames_of_each_view_are_reordered(clips, models):
    annotations = read_annotations(clips / "clips.csv")
    weights = load_weights(models["clips"])
    options = EvaluationOptions(select_protocols(weights, protocols=["1x1"]))
    comparison = compare_frame_orders(weights, annotations, options, compute=HERE)
    net, protocol = build_model(weights), with_protocol(weights.card.recipe, "1x1").protocol
    dataset = ClipDataset(annotations, TestView(protocol, weights.card.recipe.preprocessing))
    shuffle = np.random.default_rng((0, 3, 0)).permutation(6).tolist()
    orders = {"forward": range(6), "shuffled": shuffle, "reversed": range(5, -1, -1), "frozen": [3] * 6}
    clip = (dataset[0, 3].views_N[0].clips().float() - 127.5) / 60
    for order, frames in orders.items():
        with torch.inference_mode():
            expected = net(clip[:, list(frames)].permute(0, 4, 1, 2, 3)).softmax(1)[0].numpy()
        assert np.allclose(comparison.evaluations[order].scores_NK[3], expected, atol=1e-6), order
    again = compare_frame_orders(weights, annotations, replace(options, seed=1), compute=HERE)
    assert not np.array_equal(again.evaluations["shuffled"].scores_NK, comparison.evaluations["shuffled"].scores_NK)
    assert np.array_equal(again.evaluations["reversed"].scores_NK, comparison.evaluations["reversed"].scores_NK)


def test_conclusions_from_frame_orders():
    labels = [n % 2 for n in range(40)]
    right, half = np.eye(2)[labels], np.eye(2)[[0] * 40]
    uses_motion = summarize_frame_orders(
        {"forward": make_evaluation(right, labels), "shuffled": make_evaluation(right, labels),
         "reversed": make_evaluation(right, labels), "frozen": make_evaluation(half, labels)}
    )  # fmt: skip
    assert uses_motion.accuracy == {"forward": 1.0, "shuffled": 1.0, "reversed": 1.0, "frozen": 0.5}
    low, high = uses_motion.drop_intervals["shuffled"]
    assert -0.15 < low < 0 < high < 0.15
    low, high = uses_motion.drop_intervals["frozen"]
    assert 0.3 < low < 0.5 < high < 0.7
    assert uses_motion.recall_K["frozen"] == [1.0, 0.0]
    shuffled, _, frozen = uses_motion.conclusions
    assert shuffled == "no significant dependence on the order of the frames on these clips"
    assert frozen.startswith("the model depends on motion: without it, accuracy drops by 50.0 points (95 % interval ")


def test_frame_orders_are_not_saved():
    """That is refused before clips are looked for."""
    result = run_here(["i3d", "test", DEFAULT, "--frame-order", "reversed", "--out", "r.json"])
    assert (result.returncode, result.stderr) == (
        2, "error: --out: does not go with --frame-order; leave it out, and save what --json prints\n"
    )  # fmt: skip


@pytest.mark.slow
def test_frame_orders_of_the_command(clips, models):
    orders = ("--frame-order", "shuffled,reversed,frozen,occluded")
    options = ("--data", clips / "clips.csv", "--device", "cpu", "--workers", "0", "--protocols", "3x1", *orders)
    out, _ = run("test", models["clips"], *options)
    header = next(line for line in out.splitlines() if "forward" in line)
    assert header.split() == ["class", "clips", "forward", "shuffled", "reversed", "frozen"]
    output = json.loads(run("test", models["clips"], *options, "--json")[0])
    row = next(line for line in out.splitlines() if line.split()[:1] == ["all"])
    assert row.split()[2:] == [f"{value:.3f}" for value in output["accuracy"].values()]
    assert output["protocols"]["frozen"].endswith("the middle frame repeated; fp32")
    assert len(output["by_class"]) == 3
    assert [sentence in out for sentence in output["conclusions"]] == [True] * 4
    assert [f"{abs(value):.3f}" in out for value in output["occlusion"]["drops"]] == [True] * 8


@pytest.mark.slow
def test_probe_of_classes_that_go_together(clips, tmp_path):
    model = save_model(tmp_path / "multi.safetensors", multi_label=True)
    (tmp_path / "l.csv").write_text("path,label\n0.mp4,a|c\n1.mp4,b\n2.mp4,b|c\n3.mp4,a\n")
    options = ("--data", tmp_path / "l.csv", "--root", clips, "--device", "cpu", "--workers", "0")
    orders = ("--frame-order", "shuffled,reversed,frozen,occluded")
    out, _ = run("test", model, *options, *orders)
    assert "mean average precision" in out
    assert "points" in out
    output = json.loads(run("test", model, *options, *orders, "--json")[0])
    assert output["metric"] == "mean_average_precision"
    assert output["by_class"] == []


def test_the_mean_curve_of_hidden_frames():
    late = OcclusionCurve(0.8, ((0, 2), (2, 4)), np.array([0.8, 0.2]), 4)
    flat = OcclusionCurve(0.4, tuple((frame, frame + 1) for frame in range(16)), np.full(16, 0.4), 16)
    assert late.drops_P == pytest.approx([0, 0, 0, 0, 0.6, 0.6, 0.6, 0.6])
    few, many = MeanOcclusion.from_curves([late, flat]), MeanOcclusion.from_curves([late, flat] * 20)
    assert few.score == pytest.approx(0.6)
    assert few.drops_P == pytest.approx([0, 0, 0, 0, 0.3, 0.3, 0.3, 0.3])
    assert many.drops_P == pytest.approx(few.drops_P)
    assert few.intervals_P == (None,) * 8
    low, high = many.intervals_P[5]
    assert 0.15 < low < 0.3 < high < 0.45
    assert many.intervals_P[0] is None  # the draws have one value
    assert few.conclusion.startswith("of all parts, 50 to 62.5 % of the view matters most: without it, ")
    assert few.conclusion.endswith("probability falls by 0.300 from 0.600")
    assert "no part of the view matters by itself" in MeanOcclusion.from_curves([flat]).conclusion


@pytest.mark.slow
def test_the_mean_curve_peaks_where_the_clips_move(tmp_path):
    """Each object stands still, moves in the middle third, and stands still; the label is the network's own."""
    tested = [scene for _, scene in scenes(4, seed=0)][:2]
    lines = ["path,label"]
    for number, scene in enumerate(tested):
        moving = [frame[16:240, 16:240] for frame in tour_frames(scene, "side")[::4]]
        path = tmp_path / f"{number}.mkv"
        encode(path, [moving[0]] * 4 + moving + [moving[-1]] * 4, codec="ffv1", pix_fmt="bgr0")
        lines.append(f'{number}.mkv,"{i3d.predict(str(path), device="cpu").top1.label}"')
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    options = ("--data", tmp_path / "list.csv", "--device", "cpu", "--workers", "0", "--frame-order", "occluded")
    out, err = run("test", DEFAULT, *options, "--json")
    assert "17 more forward passes of the middle view for each clip, 34 for 2 clips (fewer" in err
    curve = json.loads(out)["occlusion"]
    assert curve["clips"] == 2
    assert curve["peak"] in [[2 / 8, 3 / 8], [3 / 8, 4 / 8], [4 / 8, 5 / 8], [5 / 8, 6 / 8]]
    assert max(map(abs, curve["drops"][:2] + curve["drops"][-2:])) < 0.1 * max(curve["drops"])


# resuming


@pytest.mark.slow
def test_an_interrupted_test_resumes(clips, models, tmp_path, monkeypatch):
    out = tmp_path / "r.json"
    data = list_with_a_bad_clip(tmp_path, [f"{clips / str(i)}.mp4,{'abc'[i % 3]}" for i in range(6)])
    from i3d.evaluation.scorer import Scorer

    real, calls = Scorer.__call__, []

    def counted(self, views, name, *, index, **options):
        calls.append(index)
        if calls == [0, 1, 2, 3] and not out.exists():
            raise KeyboardInterrupt
        return real(self, views, name, index=index, **options)

    monkeypatch.setattr(Scorer, "__call__", counted)
    start = ["test", str(models["clips"]), "--data", *data, "--device", "cpu", "--workers", "0"]
    ended = run_here(["i3d", *start, "--protocols", "1x1,3x1", "--out", out])
    assert not out.exists()
    stored = f"interrupted; 3 results are stored in {tmp_path / '.r.json.resume'}; to resume: i3d test "
    assert stored in ended.stderr
    assert ended.stderr.endswith(f" --out {out}\n")
    assert calls == [0, 1, 2, 3]
    options = ("--protocols", "1x1,3x1", "--out")
    try_test(models["clips"], *data, *options, out, expected=3)
    assert calls[4:] == [3, 4, 5]
    try_test(models["clips"], *data, *options, tmp_path / "whole.json", expected=3)
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()
    calls.clear()
    first, second = (try_test(models["clips"], *data, *options, out, expected=3)[0] for _ in range(2))
    assert first == second
    assert calls == []
    message = try_test(models["clips"], *data, "--out", out, expected=2)
    assert re.search(r"made with other settings \(variants\.\S+ was .*, now ", message)
    (tmp_path / "few.csv").write_text(f"path,label\n{clips / '0.mp4'},a\n")
    message = try_test(models["clips"], tmp_path / "few.csv", *options, out, "--allow-outside", expected=2)
    assert "which is not in this run" in message
    (tmp_path / "bad.mp4").write_bytes((clips / "0.mp4").read_bytes())
    try_test(models["clips"], *data, *options, out)
    assert calls == [6]
    assert not (tmp_path / ".r.json.resume").exists()  # every clip has scores
    assert "the file exists" in try_test(models["clips"], *data, *options, out, expected=2)
    try_test(models["clips"], *data, "--out", out, "--force")
    assert [e.name for e in read_evaluations(out)] == ["3x3"]


def test_a_clip_that_changed_is_tested_again(clips, models, tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.mp4").write_bytes((clips / f"{i}.mp4").read_bytes())
    data = list_with_a_bad_clip(tmp_path, ["0.mp4,a", "1.mp4,b", "2.mp4,c"])
    try_test(models["clips"], *data, "--out", tmp_path / "r.json", expected=3)
    before = read_evaluation(tmp_path / "r.json")
    (tmp_path / "1.mp4").write_bytes((clips / "5.mp4").read_bytes())
    try_test(models["clips"], *data, "--out", tmp_path / "r.json", expected=3)
    after = read_evaluation(tmp_path / "r.json")
    assert (after.scores_NK != before.scores_NK).any(axis=1).tolist() == [False, True, False]


@pytest.mark.slow
def test_other_frames_of_the_same_folders_are_other_clips(models, tmp_path):
    import cv2

    for prefix, step in (("img", 1), ("alt", 2)):
        for k in range(24):
            (tmp_path / "v").mkdir(exist_ok=True)
            frame = numbered_frame(step * k, height=36, width=48)
            cv2.imwrite(str(tmp_path / "v" / f"{prefix}_{k + 1:05d}.png"), frame)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.png").write_bytes(b"x")
    (tmp_path / "l.txt").write_text("v 24 0\nempty 24 0\n")
    options = ("--max-bad", "50%", "--out", tmp_path / "r.json", "--template")
    try_test(
        models["clips"], tmp_path / "l.txt", *options, "img_{:05d}.png", "--classes", classes(tmp_path), expected=3
    )
    message = try_test(
        models["clips"], tmp_path / "l.txt", *options, "alt_{:05d}.png", "--classes", classes(tmp_path), expected=2
    )
    assert "made with other settings" in message
    (tmp_path / "l.txt").write_text("v 12 0\nempty 24 0\n")
    message = try_test(
        models["clips"], tmp_path / "l.txt", *options, "img_{:05d}.png", "--classes", classes(tmp_path), expected=2
    )
    assert "holds results of v (24 frames), which is not in this run" in message
    (tmp_path / "l.txt").write_text("v 24 0\nempty 24 0\n")
    options = ("--out", tmp_path / "r.json", "--template", "img_{:05d}.png", "--classes", classes(tmp_path))
    message = try_test(models["clips"], tmp_path / "l.txt", *options, "--out-format", "mmaction2", expected=2)
    assert "made with other settings" in message


def classes(folder):
    (folder / "classes.txt").write_text("a\nb\nc\n")
    return folder / "classes.txt"


def test_stills_are_of_the_clip(clips, models, tmp_path):
    """Of parts, of folders with several kinds of images, of shards, of flow."""
    import cv2

    from i3d.data.pack import pack_dataset
    from i3d.evaluation.hardest_clips import read_stills, select_hardest_clips

    def numbers(clip):
        return [cv2.imdecode(np.frombuffer(still.jpeg, np.uint8), 1) for still in clip.stills]

    (tmp_path / "l.csv").write_text("path,label,start,end\n0.mp4,a,0,0.3\n0.mp4,b,0.7,1\n")
    evaluation = i3d.evaluate(models["clips"], read_annotations(tmp_path / "l.csv", root=clips), compute=HERE)
    one, other = (
        numbers(clip) for clip in sorted(select_hardest_clips(evaluation, max_clips=2), key=lambda clip: clip.name)
    )
    with open_video(clips / "0.mp4") as video:
        frames = list(video.stream())
    for stills, expected in ((one, [1, 3, 5, 7]), (other, [18, 20, 22, 24])):
        for still, number in zip(stills, expected, strict=True):
            near = [np.abs(still[..., ::-1].astype(int) - frame).mean() for frame in frames]
            assert abs(int(np.argmin(near)) - number) <= 1
    packed = tmp_path / "packed"
    pack_dataset(read_annotations(clips / "clips.csv"), packed)
    evaluation = i3d.evaluate(models["clips"], read_annotations(packed), compute=HERE)
    assert all(len(clip.stills) == 4 for clip in select_hardest_clips(evaluation, max_clips=6))
    (tmp_path / "v").mkdir()
    for k in range(8):
        for axis in "xy":
            cv2.imwrite(str(tmp_path / "v" / f"flow_{axis}_{k + 1:05d}.png"), np.full((36, 48), 255, np.uint8))
        cv2.imwrite(str(tmp_path / "v" / f"img_{k + 1:05d}.png"), np.zeros((36, 48, 3), np.uint8))
    rgb = read_stills(str(tmp_path / "v"), naming=FrameNaming("img_{:05d}.png", 1, "rgb"))
    flow = read_stills(str(tmp_path / "v"), naming=FrameNaming("flow_{axis}_{:05d}.png", 1, "flow"))
    assert cv2.imdecode(np.frombuffer(rgb[0].jpeg, np.uint8), 1).max() < 9
    assert cv2.imdecode(np.frombuffer(flow[0].jpeg, np.uint8), 1).max() > 200


@pytest.mark.slow
def test_names_that_are_not_utf8(clips, models, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.mp4"
    os.link(clips / "0.mp4", name)
    (tmp_path / "x").mkdir()
    os.rename(name, os.fsencode(tmp_path) + b"/x/\xff.mp4")
    os.link(clips / "1.mp4", tmp_path / "x" / "b.mp4")
    one = save_model(tmp_path / "m.safetensors", labels=("x", "y"))
    for out in ("r.json", "r.yaml", "r.csv"):
        try_test(one, tmp_path, "--out", tmp_path / out, "--root", tmp_path)
    assert read_evaluation(tmp_path / "r.yaml").names_N == read_evaluation(tmp_path / "r.json").names_N


@pytest.mark.slow
def test_edited_scores_of_a_resume_log_are_computed_again(clips, models, tmp_path):
    data = list_with_a_bad_clip(tmp_path, [f"{clips / '0.mp4'},a", f"{clips / '1.mp4'},b"])
    try_test(models["clips"], *data, "--out", tmp_path / "r.json", expected=3)
    before = (tmp_path / "r.json").read_bytes()
    (tmp_path / "r.json").unlink()
    journal = tmp_path / ".r.json.resume"
    header, *rows, _ = journal.read_text().splitlines()
    record = json.loads(rows[0])
    record["row"]["3x3"]["values"] = base64.b64encode(np.ones(2).tobytes()).decode()
    journal.write_text("\n".join([header, json.dumps(record), ""]))
    _, message = try_test(models["clips"], *data, "--out", tmp_path / "r.json", expected=3)
    assert f".r.json.resume: 1 line damaged or edited (line 2: {clips / '0.mp4'}); dropped" in message
    assert (tmp_path / "r.json").read_bytes() == before
    (tmp_path / "r.json").unlink()
    journal.write_text("\n".join([header, *rows])[:-20])  # the last line was cut off by a kill
    try_test(models["clips"], *data, "--out", tmp_path / "r.json", expected=3)


def test_parts_of_one_file_have_names_of_their_own(clips, models, tmp_path):
    (tmp_path / "l.csv").write_text("path,label,start,end\n0.mp4,a,0,0.5\n0.mp4,b,0.5,\n0.mp4,c,,\n")
    try_test(models["clips"], tmp_path / "l.csv", "--root", clips, "--out", tmp_path / "r.json")
    evaluation = read_evaluation(tmp_path / "r.json")
    assert evaluation.names_N == ("0.mp4 [0 s to 0.5 s]", "0.mp4 [0.5 s to its end]", "0.mp4")
    assert len({tuple(row) for row in evaluation.scores_NK.tolist()}) == 3
    write_evaluations(tmp_path / "again.json", [(evaluation, compute_metrics(evaluation))])
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "r.json").read_bytes()


# duplicate views of a protocol


@pytest.fixture
def short(tmp_path):
    """A video of nine frames: ten clips of eight begin at two places, unevenly often."""
    encode(tmp_path / "short.mp4", [numbered_frame(9 * k, height=36, width=48) for k in range(9)])
    (tmp_path / "l.csv").write_text("path,label\nshort.mp4,a\n")
    protocol = ClipProtocol(clip_len=8, frame_interval=1, num_clips=3, crops="center")
    indices_VT = protocol_clips(9, protocol)
    assert len(np.unique(indices_VT, axis=0)) == 2
    return read_annotations(tmp_path / "l.csv"), protocol, indices_VT


def every_clip(annotations, indices_VT):
    with open_video(annotations.file(0)) as video:
        frames = resize_short_side(np.stack(list(video.stream())), short_side=32)
    return torch.from_numpy(np.stack([center_crop(frames[indices_T], size=32) for indices_T in indices_VT]))


def test_duplicate_views_count_twice_in_validation(models, short):
    annotations, protocol, indices_VT = short
    weights = load_weights(models["clips"])
    net, pre = build_model(weights), weights.card.recipe.preprocessing
    views = ClipDataset(annotations, TestView(protocol, pre))[0, 0].views_N[0]
    parts = SimpleNamespace(
        net=net,
        device=torch.device("cpu"),
        accelerator=SimpleNamespace(autocast=nullcontext),
        recipe=weights.card.recipe,
        training=SimpleNamespace(validation=protocol),
    )
    with torch.inference_mode():
        expected_VK = forward(net, every_clip(annotations, indices_VT), pre).softmax(dim=1).numpy()
        assert np.allclose(score(parts, views), expected_VK.mean(axis=0), atol=1e-6)
    assert not np.allclose(expected_VK.mean(axis=0), np.unique(expected_VK.round(7), axis=0).mean(axis=0), atol=1e-5)


def test_duplicate_views_have_features_twice(models, short, tmp_path):
    annotations, protocol, indices_VT = short
    weights = load_weights(models["clips"])
    pre = weights.card.recipe.preprocessing
    trunk = Backbone(build_model(weights), pre, device=torch.device("cpu"), precision="fp32")
    features = clip_features(
        trunk, Clips(annotations, ("x",)), TestView(protocol, pre), cache=Cache(tmp_path / "cache"), num_workers=0
    )
    assert features.values_NVC.shape[:2] == (1, 3)
    assert np.allclose(features.values_NVC[0], trunk(every_clip(annotations, indices_VT)), atol=1e-6)
