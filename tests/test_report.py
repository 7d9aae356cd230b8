"""The HTML report of a test and the plot of its confusion matrix."""

import base64
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from i3d.evaluation.confusion import confusions, draw_confusion, most_confused, row_fractions
from i3d.evaluation.hardest_clips import middle_frames, read_stills, select_hardest_clips
from i3d.evaluation.intervals import format_interval
from i3d.evaluation.metrics import (
    accuracy_above,
    average_precisions,
    calibration_bins,
    calibration_error,
    mean_average_precision,
)
from i3d.evaluation.report import matrix_classes, write_report
from i3d.evaluation.result import BadClip, compute_metrics
from i3d.utils.drawing import DPI
from support.evaluations import make_evaluation
from support.pages import Page
from support.rendering import render

HOSTILE = '<script>alert("1")</script>'


def evaluation_of(num_classes=3, num_clips=60, *, classes=None, files=None, bad=(), multi_label=False, seed=0):
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(num_classes, size=num_clips)
    scores_NK = rng.normal(size=(num_clips, num_classes))
    scores_NK[np.arange(num_clips), labels_N] += 2
    second_N = (labels_N + np.arange(num_clips) % 2) % num_classes if multi_label else labels_N
    labels = [tuple({int(one), int(other)}) for one, other in zip(labels_N, second_N, strict=True)]
    return make_evaluation(
        scores_NK,
        labels,
        model="best.safetensors",
        weights_sha256="ab" * 32,
        recipe="some_recipe",
        protocol="10 clips x 3 crops of 32 x 2 frames",
        data="list.txt",
        classes=tuple(classes or (f"class {k}" for k in range(num_classes))),
        files_N=tuple(files or (f"gone/{i}.mp4" for i in range(num_clips))),
        average="score",
        multi_label=multi_label,
        bad=tuple(bad),
    )


def report_of(tmp_path, evaluation, **more):
    out = tmp_path / "report.html"
    write_report(out, evaluation, **more)
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


def percent(share):
    return "–" if np.isnan(share) else f"{100 * share:.1f} %"


def test_every_number_is_that_of_the_evaluation(tmp_path):
    evaluation = evaluation_of(8, 100)
    metrics = compute_metrics(evaluation)
    _, page = report_of(tmp_path, evaluation, title="My test", notes=["First.\nSecond."])
    assert f"Top-1 accuracy {percent(metrics.top1)}" in page.text
    assert f"{round(100 * metrics.top1)} of 100 clips correct" in page.text
    assert f"95 % confidence interval {format_interval(metrics.top1_interval, factor=100, digits=1)} %" in page.text
    assert f"predicting the largest class for every clip gives {percent(metrics.largest_class)}" in page.text
    assert f"Top-5 accuracy {percent(metrics.top5)}" in page.text
    assert f"Mean recall {percent(metrics.mean_recall)}" in page.text
    assert f"Calibration error {percent(metrics.calibration)}" in page.text
    for words in (evaluation.protocol, evaluation.recipe, evaluation.model, evaluation.data, "My test", "Second."):
        assert words in page.text
    pairs, matrix, thresholds, classes = page.tables
    rows = accuracy_above(evaluation.probabilities_NK, evaluation.class_N)
    assert [row[:2] for row in thresholds[1:]] == [
        [str(row.min_score), percent(row.num_clips / 100)] for row in rows if row.num_clips
    ]
    assert [row[:4] for row in pairs[1:]] == [
        [f"class {p.true}", f"class {p.predicted}", str(p.num_clips), percent(p.fraction)]
        for p in confusions(metrics.confusion_KK)[:20]
    ]
    shown_KK = [[int(cell or 0) for cell in row[1:-1]] for row in matrix[1:]]
    assert shown_KK == metrics.confusion_KK.tolist()
    by_class = metrics.by_class
    order = np.argsort(by_class.f1_K, kind="stable")
    of_class = (by_class.precision_K, by_class.recall_K, by_class.f1_K)
    assert classes[1:] == [
        [f"class {k}", str(by_class.num_clips_K[k]), *(percent(values_K[k]) for values_K in of_class)] for k in order
    ]


def test_all_text_is_escaped_and_nothing_is_loaded(tmp_path):
    classes = [HOSTILE, '" onmouseover="x', "{{ 7 * 7 }} & a\nb\x1b"]
    file = 'clips/"><img src=http://evil.example/x onerror=alert(1)>\udcff.mp4'
    bad = [BadClip(f"{HOSTILE}.mp4", HOSTILE, (0,), f"cannot be read {HOSTILE}", 0)]
    evaluation = evaluation_of(classes=classes, files=[file] * 60, bad=bad)
    draw_confusion(tmp_path / "confusion.png", evaluation)
    images = {HOSTILE: (tmp_path / "confusion.png").read_bytes()}
    text, page = report_of(tmp_path, evaluation, title=HOSTILE, notes=[HOSTILE], images=images)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert HOSTILE not in text
    assert page.text.count(HOSTILE) >= 5
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(value.startswith("data:image/") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href"))
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "object", "form", "base"})
    assert not re.search(r"url\(|@import|https?://(?!evil\.example)", text)
    assert "{{ 7 * 7 }} & a\\nb\\x1b" in page.text
    assert base64.b64encode(images[HOSTILE]).decode() in text


def test_the_policy_allows_the_script_of_the_page_and_no_other(tmp_path):
    import hashlib

    text, _ = report_of(tmp_path, evaluation_of())
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    of_script = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{of_script}'" in text


def test_the_worst_clips_have_stills_and_unreadable_ones_their_reason(tmp_path):
    whole = render(tmp_path / "whole.mp4", num_frames=12, height=240, width=320)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:300])
    files = [str((whole, cut, tmp_path / "gone.mp4", "nul\0.mp4")[i % 4]) for i in range(60)]
    evaluation = evaluation_of(
        files=files, bad=[BadClip("empty.mp4", "empty.mp4", (1,), "the file is empty (0 bytes)", 0)]
    )
    worst = select_hardest_clips(evaluation, max_clips=24)
    wrong = [i for i in range(60) if evaluation.scores_NK[i].argmax() != evaluation.class_N[i]]
    num_wrong = len(wrong)
    assert sorted(clip.file for clip in worst[:num_wrong]) == sorted(files[i] for i in wrong)
    probabilities = [clip.confidence for clip in worst]
    assert probabilities[:num_wrong] == sorted(probabilities[:num_wrong], reverse=True)
    assert [clip.is_correct for clip in worst] == [n >= num_wrong for n in range(24)]
    assert probabilities[num_wrong:] == sorted(probabilities[num_wrong:])
    for clip in worst[:num_wrong]:
        assert clip.predicted not in clip.labels
        assert (len(clip.stills) == 4 and not clip.note) if clip.file == str(whole) else (not clip.stills and clip.note)
    still = next(clip for clip in worst if clip.stills).stills[0]
    assert (still.width, still.height) == (160, 120)
    assert cv2.imdecode(np.frombuffer(still.jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)
    _, page = report_of(tmp_path, evaluation)
    assert len(page.values("src")) == 4 * sum(bool(clip.stills) for clip in worst)
    assert page.text.count("No stills: ") == sum(not clip.stills for clip in worst)
    assert "empty.mp4 class 1 the file is empty (0 bytes)" in page.text
    assert "1 clip is unreadable and left out." in page.text


def test_stills_of_folders_and_of_upright_and_short_videos(tmp_path):
    upright = render(tmp_path / "a.mp4", num_frames=2, height=320, width=160)
    assert [still.height for still in read_stills(str(upright))] == [160, 160]
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(5):
        cv2.imwrite(str(folder / f"{i:05d}.jpg"), np.full((32, 48, 3), 40 * i, np.uint8))
    assert [(still.width, still.height) for still in read_stills(str(folder))] == [(48, 32)] * 4
    assert middle_frames(40, num_parts=4).tolist() == [5, 15, 25, 35]
    assert middle_frames(2, num_parts=4).tolist() == [0, 0, 1, 1]


@pytest.mark.slow
def test_many_classes_show_those_that_are_confused_most(tmp_path):
    evaluation = evaluation_of(400, 3000)
    text, page = report_of(tmp_path, evaluation)
    assert "The 20 of 400 classes that are most often confused with each other." in page.text
    pairs, matrix, _, classes = page.tables
    assert (len(pairs), len(matrix), len(matrix[0]), len(classes)) == (21, 21, 22, 401)
    assert len(text) < 2e6
    draw_confusion(tmp_path / "confusion.png", evaluation)
    height, width = cv2.imread(str(tmp_path / "confusion.png")).shape[:2]
    assert 900 < width < 1600
    assert 900 < height < 1600


def test_classes_that_go_together_have_average_precisions(tmp_path):
    evaluation = evaluation_of(4, 50, multi_label=True)
    metrics = compute_metrics(evaluation)
    targets_NK = np.array([[k in labels for k in range(4)] for labels in evaluation.labels_N])
    precisions_K = average_precisions(evaluation.scores_NK, targets_NK)
    assert metrics.mean_average_precision == pytest.approx(precisions_K.mean())
    _, page = report_of(tmp_path, evaluation)
    assert f"Mean average precision {percent(metrics.mean_average_precision)}" in page.text
    (classes,) = page.tables
    assert classes[1:] == [
        [f"class {k}", str(targets_NK[:, k].sum()), percent(precisions_K[k])]
        for k in np.argsort(precisions_K, kind="stable")
    ]
    assert "Top-1" not in page.text
    with pytest.raises(ValueError, match="multi-label"):
        draw_confusion(tmp_path / "confusion.png", evaluation)


def test_a_result_no_better_than_the_largest_class_has_a_warning(tmp_path):
    evaluation = evaluation_of(2, 12, seed=1)
    scores_NK = np.random.default_rng(0).normal(size=(12, 2))
    weak = replace(evaluation, scores_NK=scores_NK)
    warning = "not significantly better than predicting the largest class"
    assert warning in report_of(tmp_path, weak)[1].text
    assert warning not in report_of(tmp_path, evaluation_of(8, 100))[1].text


def test_when_all_is_right_and_classes_are_empty(tmp_path):
    labels = ((0,), (0,), (1,))
    scores_NK = np.eye(3)[[0, 0, 1]]
    evaluation = make_evaluation(scores_NK, labels, classes=("a", "b", "never"))
    _, page = report_of(tmp_path, evaluation)
    assert "No clip is misclassified." in page.text
    assert "These are correctly classified clips, least confident first." in page.text
    assert page.tables[-1][-1] == ["never", "0", "–", "–", "–"]
    draw_confusion(tmp_path / "confusion.png", evaluation)


def test_a_report_that_fails_leaves_the_old_one(tmp_path):
    out = tmp_path / "report.html"
    out.write_text("old")
    with pytest.raises(ValueError, match="PNG"):
        write_report(out, evaluation_of(), images={"curves": b"GIF89a"}, force=True)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("classes", [("run", "walk"), ("太极拳" * 20, "$\\alpha_$", "🤸 \n", "a" * 300)])
def test_the_confusion_figure_of_any_names(tmp_path, classes):
    draw_confusion(tmp_path / "confusion.png", evaluation_of(len(classes), classes=classes))
    pixels = cv2.imread(str(tmp_path / "confusion.png"))
    height, width = pixels.shape[:2]
    assert 3 * DPI < height < 12 * DPI
    assert 6 * DPI < width < 12 * DPI
    assert (pixels == 255).all(axis=-1).mean() > 0.3


def test_the_most_confused_pairs():
    confusion_KK = np.array([[5, 0, 2, 0], [0, 9, 0, 0], [3, 0, 7, 0], [1, 0, 0, 8]])
    assert most_confused(confusion_KK, most=2).tolist() == [0, 2]
    assert most_confused(confusion_KK, most=4).tolist() == [0, 2, 3]
    assert most_confused(np.diag([1, 3, 2]), most=2).tolist() == [1, 2]
    assert [(p.true, p.predicted, p.num_clips) for p in confusions(confusion_KK)] == [(2, 0, 3), (0, 2, 2), (3, 0, 1)]
    assert confusions(confusion_KK)[0].fraction == 0.3
    assert row_fractions(np.array([[1, 3], [0, 0]])).tolist() == [[0.25, 0.75], [0, 0]]
    assert matrix_classes(np.eye(60, dtype=np.int64)) == list(range(60))
    assert matrix_classes(np.eye(61, dtype=np.int64)) == list(range(20))


def test_bins_and_average_precisions_make_their_means():
    probabilities_NK = np.array([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6]])
    bins = calibration_bins(probabilities_NK, [0, 1, 1], num_bins=10)
    assert bins.num_clips_B.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 1, 1]
    assert bins.accuracy_B[[5, 8, 9]].tolist() == [1, 1, 0]
    assert calibration_error(probabilities_NK, [0, 1, 1], num_bins=10) == pytest.approx((0.4 + 0.1 + 0.95) / 3)
    precisions_K = average_precisions([[0.9, 0.1], [0.1, 0.2]], [[1, 0], [0, 0]])
    assert precisions_K[0] == 1
    assert np.isnan(precisions_K[1])
    assert mean_average_precision([[0.9, 0.1], [0.1, 0.2]], [[1, 0], [0, 0]]) == 1


def test_many_classes_without_a_mistake(tmp_path):
    labels = [3, 3, 7]
    _, page = report_of(tmp_path, make_evaluation(np.eye(100)[labels], labels))
    assert "The 2 of 100 classes with most clips." in page.text
    assert [row[0] for row in page.tables[-1][1:]] == ["class 3", "class 7"]
    assert "No clip is misclassified. These are correctly classified clips, least confident first." in page.text


def test_bad_clips_that_count_as_wrong(tmp_path):
    bad = tuple(BadClip("x", "x", (0,), "empty", 60 + k) for k in range(20))
    _, page = report_of(tmp_path, replace(evaluation_of(bad=bad), bad_as_wrong=True))
    assert "20 clips are unreadable and counted as wrong." in page.text
    assert "They have no scores and count as wrong." in page.text
    right = re.search(r"the accuracy is ([\d.]+) %", page.text)[1]
    plain = compute_metrics(evaluation_of(bad=bad))
    assert float(right) == pytest.approx(100 * plain.top1, abs=0.05)
