"""`i3d test` and `i3d.evaluate`: clips become scores and metrics, the same scores as `i3d predict` gives."""

import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

import i3d
from i3d.data.formats.read import read_annotations
from i3d.data.loading.dataset import ClipDataset, TestView
from i3d.data.pack import pack_dataset
from i3d.evaluation.evaluate import evaluate
from i3d.evaluation.result import BadClip, compute_metrics
from i3d.evaluation.result_file import read_evaluation, write_evaluations
from i3d.evaluation.scorer import EvaluationOptions
from i3d.evaluation.scoring import softmax
from i3d.inference.predictor import Predictor
from i3d.recipes.settings import ClipProtocol, Preprocessing, WindowProtocol
from i3d.utils.device import ComputeConfig
from i3d.video.reader import open_video
from i3d.video.transforms import center_crop
from support.commands import run_here
from support.evaluation_runs import CLIPS, make_clips, save_model, save_models
from support.rendering import read_number, render_tinted
from support.resizing import resize_short_side

FOREIGN = Path(__file__).parent / "golden" / "foreign" / "mmaction2_v1_tiny_epoch_2.pth"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("models"))


def run(*arguments, expected=0):
    result = run_here(["i3d", "test", *arguments, "--device", "cpu", "--workers", "0"])
    assert result.returncode == expected, result
    return result.stderr if expected == 2 else (result.stdout, result.stderr)


def score_clips(model, annotations, *, num_workers=0, recipe=None, **options):
    compute = ComputeConfig(device="cpu", num_workers=num_workers)
    return evaluate(model, annotations, EvaluationOptions(**options), recipe=recipe, compute=compute)


def predicted(predictor, file):
    """The probabilities that `predict` gives, in the order of the classes."""
    scores = {p.label: p.score for p in predictor(file, top_k=1000).predictions}
    return [scores[label] for label in predictor.card.labels]


# the same scores as predict


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["clips", "windows"])
@pytest.mark.parametrize("workers", [0, 1])
def test_scores_are_those_of_predict(clips, models, protocol, workers):
    evaluation = score_clips(models[protocol], read_annotations(clips / "clips.csv"), num_workers=workers)
    predictor = Predictor(models[protocol], compute=ComputeConfig(device="cpu"))
    expected_NK = [predicted(predictor, file) for file in evaluation.files_N]
    assert np.allclose(evaluation.probabilities_NK, expected_NK, rtol=0, atol=1e-6)
    assert evaluation.probabilities_NK.std(axis=0).max() > 1e-2  # the clips do differ
    assert evaluation.protocol == predictor.protocol_line
    assert evaluation.weights_sha256 == predictor.weights.sha256
    assert evaluation.average == ("prob" if protocol == "clips" else "score")
    assert [len(views) for views in views_of(clips / "clips.csv", models[protocol])][:2] == (
        [9, 9] if protocol == "clips" else [3, 6]
    )


def views_of(source, model):
    card = Predictor(model, compute=ComputeConfig(device="cpu")).card
    dataset = ClipDataset(read_annotations(source), TestView(card.recipe.protocol, card.recipe.preprocessing))
    return [dataset[0, index].views_N[0] for index in range(len(dataset))]


@pytest.mark.slow
def test_foreign_weights_are_tested_as_they_are(clips, tmp_path):
    """MMAction2's file by its path: its classes have numbers, and so has the list."""
    predictor = Predictor(FOREIGN, compute=ComputeConfig(device="cpu"))
    num_classes = len(predictor.card.labels)
    source = tmp_path / "list.txt"
    source.write_text(f"1.mp4 {num_classes - 1}\n")
    evaluation = score_clips(FOREIGN, read_annotations(source, root=clips))
    expected_NK = [predicted(predictor, file) for file in evaluation.files_N]
    assert np.allclose(evaluation.probabilities_NK, expected_NK, rtol=0, atol=1e-6)
    assert evaluation.labels_N == ((num_classes - 1,),)
    assert evaluation.model == str(FOREIGN)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["clips", "windows"])
def test_folders_of_frames_and_shards_are_scored_alike(clips, models, tmp_path, protocol):
    with open_video(clips / "0.mp4") as video:
        frames = list(video.stream())
    (tmp_path / "0").mkdir()
    for k, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / "0" / f"img_{k + 1:05d}.png"), frame[..., ::-1])
    (tmp_path / "list.csv").write_text("path,label\n0,a\n")
    evaluation = score_clips(models[protocol], read_annotations(tmp_path / "list.csv"))
    predictor = Predictor(models[protocol], compute=ComputeConfig(device="cpu"))
    assert np.allclose(evaluation.probabilities_NK[0], predicted(predictor, tmp_path / "0"), rtol=0, atol=1e-6)
    videos = read_annotations(clips / "clips.csv")
    pack_dataset(videos, tmp_path / "packed")
    packed = score_clips(models[protocol], read_annotations(tmp_path / "packed"))
    assert np.array_equal(packed.scores_NK, score_clips(models[protocol], videos).scores_NK)


# windows of a dataset


def test_windows_of_a_part_hold_its_frames(clips, tmp_path):
    source = tmp_path / "parts.csv"
    source.write_text("path,label,start,end\n0.mp4,a,0.2,0.6\n0.mp4,a,,0.36\n0.mp4,a,0,2\n0.mp4,a,,\n0.mp4,b,7,8\n")
    annotations = read_annotations(source, root=clips)
    view = TestView(WindowProtocol(fps=25.0, max_window_frames=8), Preprocessing(short_side=36, crop=36))
    dataset = ClipDataset(annotations, view)
    with open_video(clips / "0.mp4") as video:
        frames = list(video.stream(fps=25.0))
    cropped = center_crop(resize_short_side(np.stack(frames), short_side=36), size=36)
    for index, (first, stop) in enumerate([(5, 15), (0, 9), (0, 26), (0, 26)]):
        views = dataset[0, index].views_N[0]
        assert sum(views.num_frames_V) == stop - first
        shown = [clip for run in views.runs(2) for clips_THWC in views.clips(*run) for clip in clips_THWC]
        assert np.array_equal(torch.stack(shown).numpy(), cropped[first:stop])
    assert views.num_frames_V == (8, 8, 5, 5)
    assert "the part begins at 7.000 s" in dataset[0, 4].bad[0].reason


def test_a_part_at_another_rate_begins_with_its_own_first_frame(clips):
    with open_video(clips / "0.mp4") as video:
        numbers = [read_number(frame) for frame in video.stream(fps=12.5, between=(10, 18))]
        whole = [read_number(frame) for frame in video.stream(fps=50.0)]
    assert numbers == [10, 12, 14, 16]
    assert whole == [k // 2 for k in range(52)]


def test_windows_show_a_frame_that_is_held_once(clips, models):
    views = views_of(clips / "clips.csv", models["windows"])[1]
    assert len(views.frames_DHWC) == 27  # of a video at 12 fps, in slots of 1/20 s
    assert sum(views.num_frames_V) == 45


def test_runs_are_of_one_length():
    from i3d.data.loading.batch import Views

    clips = [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [6, 7], [7, 8]]
    views = Views.from_protocols(torch.zeros(9, 4, 4, 3), [(clips, [(0, 0, False)])], size=4)
    assert list(views.runs(2)) == [(0, 2), (2, 3), (3, 5)]
    assert list(views.runs(9)) == [(0, 3), (3, 5)]
    assert views.num_frames_V == (4, 4, 4, 2, 2)


@pytest.mark.slow
def test_folders_of_flow(tmp_path):
    """A network of two channels, clips and windows: the scores are those of the frames, put in by hand."""
    rng = np.random.default_rng(0)
    flow_DHW2 = rng.integers(0, 256, (10, 32, 40, 2), dtype=np.uint8)
    (tmp_path / "x").mkdir()
    for k, frame in enumerate(flow_DHW2):
        for axis in (0, 1):
            cv2.imwrite(str(tmp_path / "x" / f"flow_{'xy'[axis]}_{k + 1:05d}.png"), frame[..., axis])
    (tmp_path / "list.txt").write_text("x 10 1\n")
    annotations = read_annotations(tmp_path / "list.txt")
    for protocol in (
        WindowProtocol(max_window_frames=10),
        ClipProtocol(clip_len=10, frame_interval=1, num_clips=1, crops="center"),
    ):
        model = save_model(tmp_path / "flow.safetensors", labels=("a", "b"), channels=2, protocol=protocol)
        evaluation = score_clips(model, annotations)
        net = i3d.load_model(model)
        clip_THWC = torch.from_numpy(flow_DHW2[:, :, 4:36]).float()
        with torch.inference_mode():
            logits_VK = net(((clip_THWC - 127.5) / 60).permute(3, 0, 1, 2)[None]).numpy()
        assert np.allclose(evaluation.probabilities_NK, softmax(logits_VK), atol=1e-5)
    out, _ = run(model, "--data", tmp_path / "list.txt", "--template", "flow_{}_{:05d}.png")
    assert "top-1" in out


# classes


def test_classes_are_matched_by_name(clips, models, tmp_path):
    other = save_model(tmp_path / "other.safetensors", labels=("c", "more", "a", "b"))
    annotations = read_annotations(clips / "clips.csv")
    evaluation = score_clips(other, annotations)
    assert evaluation.classes == ("c", "more", "a", "b")
    assert evaluation.labels_N == ((2,), (3,), (0,), (2,), (3,), (0,))
    few = read_annotations(clips / "clips.csv").select([1, 4])
    assert score_clips(models["clips"], few).labels_N == ((1,), (1,))


def test_whose_classes_numbers_without_names_are_is_logged(clips, models, tmp_path, caplog):
    (tmp_path / "numbers.txt").write_text("0.mp4 0\n1.mp4 2\n")
    with caplog.at_level("INFO", "i3d"):
        evaluation = score_clips(models["clips"], read_annotations(tmp_path / "numbers.txt", root=clips))
    assert evaluation.labels_N == ((0,), (2,))
    assert "numbers.txt: its class numbers have no names; they are those of" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "i3d"):
        score_clips(models["clips"], read_annotations(clips / "clips.csv"))
    assert "class numbers" not in caplog.text


@pytest.mark.slow
def test_classes_that_do_not_match_are_an_error(clips, models, tmp_path):
    other = save_model(tmp_path / "other.safetensors", labels=("a", "x", "y", "z"))
    message = run(other, "--data", clips / "clips.csv", expected=2)
    assert "clips.csv: classes that" in message
    assert "does not have: 'b', 'c'; it has 'a', 'x', 'y', 'z'" in message
    (tmp_path / "numbers.txt").write_text("0.mp4 0\n1.mp4 1\n")
    message = run(models["clips"], "--data", tmp_path / "numbers.txt", "--root", clips, expected=2)
    assert "numbers its 2 classes" in message
    assert "name them with --classes" in message
    nameless = save_model(tmp_path / "nameless.safetensors", labels=("class 0", "class 1", "class 2"))
    assert "i3d convert --classes" in run(nameless, "--data", clips / "clips.csv", expected=2)
    (tmp_path / "names.txt").write_text("c\nb\n")
    options = ("--data", tmp_path / "numbers.txt", "--root", clips, "--classes", tmp_path / "names.txt", "--out")
    run(models["clips"], *options, tmp_path / "named.json")
    assert read_evaluation(tmp_path / "named.json").labels_N == ((2,), (1,))


def test_clips_without_a_class_or_with_several_are_an_error(clips, models, tmp_path):
    (tmp_path / "l.csv").write_text("path,label\n0.mp4,a\n1.mp4,\n2.mp4,b\n3.mp4,c\n")
    assert "l.csv:3: '1.mp4': has no label" in run(
        models["clips"], "--data", tmp_path / "l.csv", "--root", clips, expected=2
    )
    (tmp_path / "m.csv").write_text("path,label\n0.mp4,a|b\n1.mp4,c\n")
    message = run(models["clips"], "--data", tmp_path / "m.csv", "--root", clips, "--multi-label", expected=2)
    assert "has 2 labels; the recipe 'tiny' is single-label" in message


@pytest.mark.slow
def test_classes_that_go_together(clips, tmp_path):
    model = save_model(tmp_path / "multi.safetensors", multi_label=True)
    (tmp_path / "l.csv").write_text("path,label\n0.mp4,a|c\n1.mp4,b\n2.mp4,b|c\n3.mp4,a\n")
    out, _ = run(model, "--data", tmp_path / "l.csv", "--root", clips, "--out", tmp_path / "r.json")
    evaluation = read_evaluation(tmp_path / "r.json")
    assert evaluation.multi_label
    assert evaluation.labels_N == ((0, 2), (1,), (1, 2), (0,))
    expected_NK = [
        predicted(Predictor(model, compute=ComputeConfig(device="cpu")), file) for file in evaluation.files_N
    ]
    assert np.allclose(evaluation.probabilities_NK, expected_NK, rtol=0, atol=1e-6)
    precisions = []
    for k in range(3):
        shown = [n for n in range(4) if k in evaluation.labels_N[n]]
        ranks = [[m for m in range(4) if evaluation.scores_NK[m, k] >= evaluation.scores_NK[n, k]] for n in shown]
        precisions.append(np.mean([np.mean([m in shown for m in rank]) for rank in ranks]))
    assert f"mean average precision {np.mean(precisions):.4f} (95 % interval " in out
    assert "of 4 clips\n" in out
    assert "top-1" not in out
    assert "--bad-as-wrong" in run(model, "--data", tmp_path / "l.csv", "--bad-as-wrong", expected=2)


# output and metrics


def test_the_table_and_its_metrics(clips, models, tmp_path):
    out, err = run(models["clips"], "--data", clips / "clips.csv", "--out", tmp_path / "r.json")
    evaluation = read_evaluation(tmp_path / "r.json")
    right = [int(scores.argmax()) == i % 3 for i, scores in enumerate(evaluation.scores_NK)]
    assert f"top-1 {np.mean(right):.4f} (95 % interval " in out
    assert "of 6 clips\n" in out
    called = [int(scores.argmax()) for scores in evaluation.scores_NK]
    recalls = [np.mean([right[k], right[k + 3]]) for k in range(3)]
    assert f"mean recall {np.mean(recalls):.4f}" in out
    rows = {words[0]: words[1:] for line in out.splitlines() if (words := line.split()) and words[0] in "abc"}
    for k, name in enumerate("abc"):
        num_right = right[k] + right[k + 3]
        precision = f"{num_right / called.count(k):.3f}" if k in called else "-"
        assert rows[name] == ["2", precision, f"{num_right / 2:.3f}", f"{2 * num_right / (called.count(k) + 2):.3f}"]
    assert 'always "a" would give 0.3333' in out
    assert ('the model is no better than always naming "a"' in out) == (np.mean(right) <= 1 / 3)
    assert "top-5" not in out  # of three classes
    assert f"protocol: tiny: {CLIPS.line}" in out
    assert "r.json" in err


def test_numbers_by_hand(clips, models):
    evaluation = score_clips(models["clips"], read_annotations(clips / "clips.csv"))
    scores_NK = np.eye(3)[[0, 1, 2, 0, 1, 0]] * 0.7 + 0.1
    metrics = compute_metrics(replace(evaluation, scores_NK=scores_NK))
    assert metrics.top1 == pytest.approx(5 / 6)
    assert metrics.calibration == pytest.approx(5 / 6 - 0.8)
    assert metrics.largest_class == pytest.approx(1 / 3)
    assert metrics.by_class.precision_K.tolist() == pytest.approx([2 / 3, 1, 1])
    assert metrics.by_class.recall_K.tolist() == pytest.approx([1, 1, 1 / 2])
    assert metrics.confusion_KK.tolist() == [[2, 0, 0], [0, 2, 0], [1, 0, 1]]


def test_of_many_classes_the_worst_are_shown(clips, models, capsys):
    from i3d.cli.output import print_evaluation

    evaluation = score_clips(models["clips"], read_annotations(clips / "clips.csv").select([0]))
    names = tuple(f"name {k:02d}" for k in range(30))
    labels = tuple((k,) for k in range(30))
    scores_NK = np.eye(30)[[*range(20), *range(10)]] * 0.7 + 0.01
    more = {"files_N": ("x",) * 30, "names_N": ("x",) * 30, "num_views_N": (9,) * 30}
    many = replace(evaluation, classes=names, labels_N=labels, scores_NK=scores_NK, **more)
    print_evaluation(many, compute_metrics(many))
    out = capsys.readouterr().out
    assert "the 10 classes with the lowest F1, of 30" in out
    shown = [line.split()[1] for line in out.splitlines() if line.startswith(" name ")]
    assert shown == [f"{k:02d}" for k in range(20, 30)]
    assert "top-5" in out


def test_json_names_its_protocol(clips, models):
    out, _ = run(models["windows"], "--data", clips / "clips.csv", "--json")
    metrics = json.loads(out)
    assert metrics["protocol"].startswith("tiny: all frames at 20 fps in windows of at most 8")
    assert metrics["num_clips"] == 6
    assert len(metrics["by_class"]) == len(metrics["confusion"]) == 3


@pytest.mark.slow
def test_which_split_is_tested(clips, models):
    source = clips / "splits.csv"
    _, err = run(models["clips"], "--data", source)
    assert "testing on the split test, 2 of 6 clips" in err
    out, err = run(models["clips"], "--data", source, "--split", "train")
    assert "of 2 clips" in out
    assert "tested is" not in err
    text = source.read_text()
    source.with_name("val.csv").write_text(text.replace(",test", ",train"))
    assert "the split val, 2 of 6" in run(models["clips"], "--data", source.with_name("val.csv"))[1]
    source.with_name("all.csv").write_text(text.replace(",test", ",train").replace(",val", ",train"))
    out, err = run(models["clips"], "--data", source.with_name("all.csv"))
    assert "all 6 clips are tested, those of train too" in err
    assert "of 6 clips" in out


# what goes wrong


@pytest.fixture
def some_bad(clips, tmp_path):
    for i in range(6):
        os.link(clips / f"{i}.mp4", tmp_path / f"{i}.mp4")
    (tmp_path / "4.mp4").unlink()
    (tmp_path / "4.mp4").write_bytes(b"<html>404</html>")
    (tmp_path / "clips.csv").write_text((clips / "clips.csv").read_text())
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["clips", "windows"])
def test_bad_clips_are_counted_and_named(some_bad, models, protocol):
    data = some_bad / "clips.csv"
    message = run(models[protocol], "--data", data, expected=2)
    assert "1 of 6 clips cannot be read, more than --max-bad 1% allows; the first: " in message
    options = (models[protocol], "--data", data, "--max-bad", "20%", "--out", some_bad / "r.json")
    out, err = run(*options, expected=3)
    assert "of 5 clips (1 unreadable, left out)" in out
    assert "4.mp4: it is a web page" in err
    evaluation = read_evaluation(some_bad / "r.json")
    assert [(Path(bad.file).name, bad.labels) for bad in evaluation.bad] == [("4.mp4", (1,))]
    assert "web page" in evaluation.bad[0].reason
    top1 = compute_metrics(evaluation).top1
    out, err = run(*options, "--bad-as-wrong", expected=3)
    assert "5 of 6 clips were done before (r.json)" in err
    assert f"top-1 {top1 * 5 / 6:.4f}" in out
    wrong = compute_metrics(replace(evaluation, bad_as_wrong=True))
    assert wrong.by_class.num_clips_K.tolist() == [2, 2, 2]
    assert wrong.largest_class == pytest.approx(2 / 6)  # of the same clips as the accuracy
    assert wrong.mean_recall == pytest.approx(np.mean(wrong.by_class.recall_K))  # all classes are there
    assert wrong.by_class.recall_K[1] == pytest.approx(compute_metrics(evaluation).by_class.recall_K[1] / 2)
    assert "of 6 clips (1 unreadable, counted as wrong)" in out


def test_missing_files_and_nothing_to_score(some_bad, models):
    (some_bad / "3.mp4").unlink()
    assert "3.mp4" in run(models["clips"], "--data", some_bad / "clips.csv", "--max-bad", "100%", expected=2)
    only = read_annotations(some_bad / "clips.csv").select([4])
    with pytest.raises(i3d.InputError, match="none of 1 clip can be read; the first: .*web page"):
        score_clips(models["clips"], only, max_bad=1.0)


def test_scores_that_are_no_numbers_name_the_clip(clips, tmp_path):
    def overflow(state):
        state["fc.weight"] = torch.full_like(state["fc.weight"], 3e38)

    model = save_model(tmp_path / "nan.safetensors", change=overflow)
    message = run(model, "--data", clips / "clips.csv", expected=2)
    assert "0.mp4: the network gave NaN or infinity in fp32" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "r.txt"), "the name must end in .json or .yaml or .yml or .csv"),
        (("--out", "nowhere/r.json"), "there is no folder nowhere"),
        (("--out", "r.pkl"), "a pickle can run any code when it is read"),
        (("--out-format", "xml"), "is not one of i3d, mmaction2"),
        (("--out", "r.csv", "--out-format", "mmaction2"), "a list of lists; use .json or .yaml"),
        (
            ("--out", "r.json", "--out-format", "mmaction2", "--protocols", "1x1,3x1"),
            "holds the scores of one protocol",
        ),
        (("--report", "r.pdf"), "the name must end in .html"),
        (("--average-clips", "none"), "give --out"),
        (("--average-clips", "none", "--out", "r.csv"), "cannot hold the logits of every view"),
        (("--average-clips", "max"), "--average-clips 'max': is not one of prob, score, none"),
        (("--protocols", "1x4"), "write CLIPSxCROPS with 1, 2, 3 or 10 crops"),
        (("--protocols", ""), "--protocols: the value is empty"),
        (("--set", "protocol.clip_len=0"), "protocol.clip_len: Input should be greater than or equal to 1, got '0'"),
        (
            ("--set", "protocol.placement=foo"),
            "protocol.placement: Input should be 'centred', 'end_to_end', 'dense' or",
        ),
        (("--set", "protocol.crops=five"), "protocol.crops: Input should be 'center', 'two', 'three' or 'ten'"),
        (("--set", "preprocessing.crop=500"), "crop 500 is larger than short_side 32; see docs/testing.md"),
        (("--set", "network.depth=50"), "a test can change protocol and preprocessing, nothing else"),
        (("--set", "protocol.clips=3"), "protocol has no 'clips'"),
        (("--max-bad", "much"), "is not a fraction"),
        (("--split", "best"), "split 'best': is not one of train, val, test"),
        (("--precision", "fp16"), "precision fp16: a CPU has no fast float16"),
    ],
)
def test_bad_options(clips, models, options, message):
    assert message in run(models["clips"], "--data", clips / "clips.csv", *options, expected=2)


def test_other_frames_than_the_network_takes(clips, tmp_path):
    four = save_model(tmp_path / "four.safetensors", channels=4)
    error = run(four, "--data", clips / "clips.csv", expected=2)
    assert "its frames have 3 channels, the network of" in error
    assert "takes 4; list other frames, or set --template" in error


# the file


def test_a_score_counts_unreadable_clips_as_the_test_did(clips, models, tmp_path):
    good = score_clips(models["windows"], read_annotations(clips / "clips.csv"))
    bad = (BadClip("x.mp4", "x.mp4", (0,), "x.mp4: empty; copy it again", 6),)
    for is_wrong in (False, True):
        evaluation = replace(good, bad=bad, bad_as_wrong=is_wrong)
        file = tmp_path / f"{is_wrong}.json"
        write_evaluations(file, [(evaluation, compute_metrics(evaluation))])
        assert read_evaluation(file).bad_as_wrong == is_wrong
        for more in ([], ["--bad-as-wrong"]):
            result = run_here(["i3d", "score", file, *more])
            assert f"of {6 + (is_wrong or bool(more))} clips (1 unreadable, " in result.stdout
            assert "warning: x.mp4: empty" in result.stderr
            assert "error" not in result.stderr
    file.write_text(file.read_text().replace('"bad_as_wrong": true', '"bad_as_wrong": false', 1))
    assert "its digest is of other" in run_here(["i3d", "score", file]).stderr


def test_the_file_round_trips(clips, models, tmp_path):
    evaluation = score_clips(models["windows"], read_annotations(clips / "clips.csv"))
    write_evaluations(tmp_path / "r.json", [(evaluation, compute_metrics(evaluation))])
    again = read_evaluation(tmp_path / "r.json")
    assert np.array_equal(again.scores_NK, evaluation.scores_NK)
    assert all(getattr(again, name) == value for name, value in vars(evaluation).items() if name != "scores_NK")
    document = json.loads((tmp_path / "r.json").read_text())
    assert (document["format"], document["version"], document["sha256"]) == (
        "i3d evaluation",
        3,
        evaluation.weights_sha256,
    )
    assert document["protocols"]["windows"]["metrics"]["top1"] == compute_metrics(evaluation).top1
    assert document["counts"] == {"clips": 6, "unreadable": 0}
    assert document["clips"][0]["file"].endswith("0.mp4")


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_file_that_was_edited_is_refused(some_bad, models, tmp_path, suffix):
    """Removed, doubled and changed clips, labels, scores and classes, which change the metrics in silence."""
    annotations = read_annotations(some_bad / "clips.csv")
    evaluation = evaluate(models["clips"], annotations, EvaluationOptions(max_bad=1.0))
    path = tmp_path / f"r.{suffix}"
    write_evaluations(path, [(evaluation, compute_metrics(evaluation))])
    good = json.loads(path.read_text()) if suffix == "json" else yaml.safe_load(path.read_text())
    assert read_evaluation(path).names_N == evaluation.names_N
    clips, bad = good["clips"], good["bad"]
    assert bad
    (name,) = clips[0]["scores"]
    other = {**clips[0], "scores": {name: clips[0]["scores"][name][::-1]}}
    metrics = good["protocols"][name]["metrics"]
    for change in (
        {"clips": clips[1:]},
        {"clips": [*clips, clips[0]]},
        {"clips": clips[::-1]},
        {"clips": [clips[1], *clips[1:]]},
        {"clips": [other, *clips[1:]]},
        {"clips": [{**clips[0], "labels": [(clips[0]["labels"][0] + 1) % 3]}, *clips[1:]]},
        {"clips": [{**clips[0], "views": {name: 1}}, *clips[1:]]},
        {"bad": bad[1:]},
        {"bad": []},
        {"classes": good["classes"][::-1]},
        {"counts": {"clips": 1, "unreadable": 0}},
        {"digest": "0" * 64},
        {"protocols": {name: {**good["protocols"][name], "average": "score"}}},
        {"protocols": {name: {**good["protocols"][name], "protocol": "another protocol"}}},
        {"sha256": "0" * 64},
        {"counts": {**good["counts"], "wrong": 0}},
        {"frame_naming": {"template": "x_{:05}.jpg", "first": 1, "modality": "rgb"}},
        {"protocols": {name: {**good["protocols"][name], "metrics": {**metrics, "top1": 0.99}}}},
        {"protocols": {name: {**good["protocols"][name], "metrics": None}}},
        {"note": "of another test"},
        {"clips": [{**clips[0], "comment": "x"}, *clips[1:]]},
    ):
        path.write_text(json.dumps({**good, **change}))  # which is YAML too
        with pytest.raises(i3d.InputError, match=rf"r\.{suffix}: damaged \(.*write it again with"):
            read_evaluation(path)
    if suffix == "yaml":
        path.write_text(yaml.safe_dump({**good, 3: "a key that JSON does not have"}))
        with pytest.raises(i3d.InputError, match=r"r\.yaml: damaged \("):
            read_evaluation(path)


def test_files_that_are_no_evaluation_are_refused(clips, models, tmp_path):
    evaluation = score_clips(models["clips"], read_annotations(clips / "clips.csv").select([0]))
    path = tmp_path / "r.json"
    with pytest.raises(i3d.InputError, match="cannot be read"):
        read_evaluation(path)
    write_evaluations(path, [(evaluation, compute_metrics(evaluation))])
    good = json.loads(path.read_text())
    clip = good["clips"][0]
    for change, message in [
        ({"version": 1}, "version '1' of the format, only 3 is supported"),
        ({"format": "x"}, "not an evaluation"),
        ({"classes": ["a", "b"]}, "damaged"),
        ({"clips": [{**clip, "labels": [7]}]}, "damaged .labels"),
        ({"clips": [{**clip, "labels": ["0"]}]}, "damaged .*labels"),
        ({"clips": [{**clip, "labels": [True]}]}, "damaged .*labels"),
        (
            {"clips": [{**clip, "scores": {name: [str(x) for x in row] for name, row in clip["scores"].items()}}]},
            "damaged .*scores",
        ),
        (
            {"clips": [{**clip, "scores": {"3x3": [0.1, float("nan"), 0.7]}}]},
            "0.scores.3x3.1: .* finite number, got 'nan'",
        ),
        ({"clips": [{**clip, "scores": {"3x3": [0.1, 2, 0.7]}}]}, "probabilities lie between 0 and 1"),
        ({"clips": [{**clip, "scores": {"9x9": [0.1, 0.2, 0.7]}}]}, "damaged .'3x3' is missing"),
        ({"clips": [{"file": "x", "name": "x", "labels": [0]}]}, "damaged .0.views is missing"),
        ({"model": 3}, "damaged .model: Input should be a valid string, got '3'"),
        ({"multi_label": "no"}, "damaged .multi_label: Input should be a valid boolean, got 'no'"),
        ({"protocols": {}}, "damaged .protocols: .* at least 1 item"),
        ({"clips": []}, "damaged .clips: .* at least 1 item"),
        ({"clips": [{**clip, "labels": [0, 1]}]}, "damaged .labels"),
        ({"clips": [{**clip, "scores": {"3x3": [1, 1, 1]}}]}, "do not sum to 1"),
        (
            {"protocols": {"3x3": {**good["protocols"]["3x3"], "gflops_per_video": float("nan")}}},
            "gflops_per_video: .* finite number, got 'nan'",
        ),
        (
            {"frame_naming": {"template": "x", "first": 1, "modality": "depth"}},
            "damaged .frame_naming.modality: Input should be 'rgb' or 'flow', got 'depth'",
        ),
        ({"protocols": []}, "damaged"),
    ]:
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(i3d.InputError, match=message):
            read_evaluation(path)
    path.write_text("{")
    with pytest.raises(i3d.InputError, match="not JSON"):
        read_evaluation(path)


def test_damaged_clips_are_in_the_log_and_in_every_result(tmp_path, models):
    for i, name in enumerate(("whole.mkv", "cut.mkv")):
        path = render_tinted(tmp_path / name, first=10 * i, num_frames=30, channel=i)
        path.write_bytes(path.read_bytes()[: -100 * i or None])
    (tmp_path / "list.csv").write_text("path,label\nwhole.mkv,a\ncut.mkv,b\n")
    for model in models.values():
        for suffix in ("json", "csv"):
            out = tmp_path / f"{model.stem}.{suffix}"
            _, stderr = run(model, "--data", tmp_path / "list.csv", "--out", out)
            assert "1 clip is damaged; the first: cut.mkv: at least" in stderr
            assert "`i3d data check` lists all" in stderr
            rows = json.loads(out.read_text())["clips"] if suffix == "json" else out.read_text().splitlines()[1:]
            assert ["truncated?" in str(row) for row in rows] == [False, True]
        assert read_evaluation(out.with_suffix(".json")).clip_notes[0].startswith("cut.mkv: at least")
    result = run_here(["i3d", "score", tmp_path / "clips.json"])
    assert result.returncode == 0, result.stderr
