"""`i3d timeline --tune`: settings that are chosen on videos with known segments, and written into the checkpoint."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

import i3d
from i3d.data.segments.segment import Segment, VideoSegments
from i3d.data.segments.write import write_segments
from i3d.evaluation import score_segments
from i3d.evaluation.segment_pairs import pair_segments
from i3d.evaluation.weighted_metrics import weighted_metric
from i3d.recipes.segments import SegmentSettings, TunedSegments, completed, origin
from i3d.timelines.find import ScoredVideo
from i3d.timelines.scores import SlidingWindows, score_blocks
from i3d.timelines.segmentation import find_segments
from i3d.timelines.tune import DEFAULT, GRID, search, settings_at, tune_settings
from i3d.weights.checkpoint import load_checkpoint
from i3d.weights.load import load_weights
from support.commands import run_here
from support.finetuning_runs import frames_of, make_folder, save_tiny, train
from support.rendering import encode

WINDOWS = SlidingWindows(fps=4.0, frames=4, interval=1, stride=1)
LABELS = ("a", "b")
METRICS = ["f1@10", "f1@25", "f1@50", "event_f1", "edit_score", "frame_accuracy", "mean_average_precision"]


def scored(name, parts, *, high=0.9, noise=0.0, seed=0):
    """Scores of a video of parts: pairs of label ("" for nothing) and windows; and its true segments."""
    random, rows, segments, start = np.random.default_rng(seed), [], [], 0
    for label, length in parts:
        rows += [[high if label == one else 0.03 for one in LABELS]] * length
        if label:
            segments.append(Segment(start / 4, (start + length) / 4, label))
        start += length
    scores_WK = np.clip(np.array(rows) + random.normal(0, noise, (len(rows), 2)), 0, 1).astype(np.float32)
    seconds = start / 4
    return ScoredVideo(name, scores_WK, WINDOWS, seconds, 4.0, ()), VideoSegments(name, tuple(segments), seconds)


PARTS = [
    [("", 12), ("a", 16), ("", 9), ("b", 20), ("", 10)],
    [("b", 14), ("", 20), ("a", 12), ("", 8), ("a", 13)],
    [("", 6), ("a", 18), ("", 12), ("b", 10), ("", 15)],
]


def test_the_defaults_are_in_the_grid():
    assert settings_at(DEFAULT) == SegmentSettings()
    assert [name for name, _ in GRID] == list(SegmentSettings.model_fields)


def test_low_scores_need_a_low_threshold_and_the_choice_holds_on_a_left_out_video():
    videos, truth = zip(*(scored(f"{n}", parts, high=0.35) for n, parts in enumerate(PARTS)), strict=True)
    tuning = tune_settings(videos, truth, LABELS)
    assert (tuning.default, tuning.num_videos, tuning.num_segments) == (0, 3, 7)
    assert tuning.settings.enter <= 0.3
    assert tuning.value == tuning.held_out == 1


def test_settings_that_are_equally_good_are_the_defaults():
    videos, truth = zip(*(scored(f"{n}", parts) for n, parts in enumerate(PARTS)), strict=True)
    tuning = tune_settings(videos, truth, LABELS)
    assert (tuning.settings, tuning.value) == (SegmentSettings(), 1)


def test_noise_needs_smoothing():
    videos, truth = zip(*(scored(f"{n}", p, high=0.6, noise=0.6, seed=n) for n, p in enumerate(PARTS)), strict=True)
    tuning = tune_settings(videos, truth, LABELS)
    assert tuning.value > tuning.default
    predicted = [
        VideoSegments(v.path, find_segments(v.scores_WK.astype(float), LABELS, tuning.settings,
                                            step=0.25, seconds=v.seconds), v.seconds)
        for v in videos
    ]  # fmt: skip
    assert score_segments(predicted, truth).value("f1@50") == pytest.approx(tuning.value)


def test_held_out_is_worse_where_the_videos_contradict_each_other():
    pairs = [
        scored(f"{n}", parts, high=high) for n, (parts, high) in enumerate(zip(PARTS, (0.9, 0.9, 0.12), strict=True))
    ]
    videos, truth = zip(*pairs, strict=True)
    tuning = tune_settings(videos, truth, LABELS)
    assert tuning.value == 1
    assert tuning.held_out < 0.9  # by the first two, the third gets no segments


@pytest.mark.parametrize("num_videos", [1, 2])
def test_of_few_videos_nothing_is_held_out(num_videos):
    videos, truth = zip(*(scored(f"{n}", parts) for n, parts in enumerate(PARTS[:num_videos])), strict=True)
    assert tune_settings(videos, truth, LABELS).held_out is None


@pytest.mark.parametrize("name", METRICS)
def test_the_metrics_are_those_of_scores(name):
    videos, truth = zip(*(scored(f"{n}", p, high=0.6, noise=0.6, seed=n) for n, p in enumerate(PARTS)), strict=True)
    predicted = [
        VideoSegments(v.path, find_segments(v.scores_WK.astype(float), LABELS, SegmentSettings(),
                                            step=0.25, seconds=v.seconds), v.seconds)
        for v in videos
    ]  # fmt: skip
    metric = weighted_metric(name, pair_segments(predicted, truth).pairs)
    assert metric(np.ones(3)) == pytest.approx(score_segments(predicted, truth).value(name), abs=1e-12)
    without = metric(np.array([1.0, 0, 1]))
    assert without == pytest.approx(score_segments(predicted[::2], truth[::2]).value(name), abs=1e-12)


def test_the_search_finds_the_best_of_a_grid_whose_settings_are_independent():
    goal = (4, 2, 4, 1, 3)
    assert search(lambda place: -sum(abs(a - b) for a, b in zip(place, goal, strict=True))) == goal


def test_what_is_not_given_is_tuned_or_a_default():
    tuned = TunedSegments(
        settings=SegmentSettings(enter=0.2, leave=0.1, smooth=2), metric="f1@50", value=0.5, num_videos=1
    )
    given = SegmentSettings(enter=0.9)
    assert completed(given, tuned) == SegmentSettings(enter=0.9, leave=0.1, smooth=2)
    assert completed(given, None) == SegmentSettings(enter=0.9)
    assert origin(given, tuned) == "enter as given, else tuned on 1 video by f1@50 (0.50 there)"
    assert (origin(SegmentSettings(), None), origin(SegmentSettings(**dict(SegmentSettings())), tuned)) == (
        "defaults", "as given",
    )  # fmt: skip
    only_enter = SegmentSettings.model_construct({"enter"}, enter=0.2)
    assert completed(only_enter, None) == SegmentSettings(enter=0.2, leave=0.2)
    with pytest.raises(i3d.InputError, match=r"leave 0.6: is above .* begins, 0.5; give enter too"):
        completed(SegmentSettings.model_construct({"leave"}, leave=0.6), None)


COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a tiny model of three colours, videos of them, and their segments."""
    folder = tmp_path_factory.mktemp("tune")
    train(make_folder(folder / "data", COLOURS, per_class=6, num_frames=20), folder / "run",
          save_tiny(folder / "tiny.safetensors"))  # fmt: skip
    (folder / "v").mkdir()
    truth = []
    for number, order in enumerate(((0, 1, 2), (1, 0, 2), (2, 0, 1))):
        frames = [frame for place, c in enumerate(order) for frame in frames_of(9 * number + place, c, num_frames=50)]
        encode(folder / "v" / f"{number}.mp4", frames, options={"g": "25", "crf": "15"})
        parts = tuple(Segment(2 * place, 2 * place + 2, COLOURS[c]) for place, c in enumerate(order))
        truth.append(VideoSegments(f"v/{number}.mp4", parts, 6.0))
    write_segments(folder / "gt.json", truth)
    return folder


@pytest.fixture
def place(run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*words):
    return run_here(["i3d", "timeline", *words, "--device", "cpu"])


def test_the_checkpoint_gets_the_settings_and_the_timeline_uses_them(place):
    model = place / "run" / "best.safetensors"
    before, card = load_file(model), load_weights(model).card
    before = {key: tensor.clone() for key, tensor in before.items()}
    assert card.timeline is None
    assert "(defaults)" in command("v/0.mp4", "--model", "run").stdout
    result = command("v", "--model", "run", "--tune", "gt.json", "--stride-seconds", 0.2, "--json")
    assert result.returncode == 0, result.stderr
    row = json.loads(result.stdout)
    assert row["default"] <= row["value"]
    assert (row["num_videos"], row["num_segments"], row["metric"]) == (3, 9, "f1@50")
    after = load_file(model)
    assert after.keys() == before.keys()
    assert all(after[key].dtype == before[key].dtype and after[key].equal(before[key]) for key in before)
    tuned = load_checkpoint(model)[1]
    assert dict(tuned.timeline.settings) == row["settings"]
    assert tuned.timeline.stride_seconds == 0.2
    assert tuned.model_copy(update={"timeline": None}) == card
    protocol = command("v/0.mp4", "--model", "run").stdout
    assert f"every 0.2 s; smoothed over {row['settings']['smooth']:g} s" in protocol
    assert "tuned on 3 videos by f1@50 (" in protocol
    assert "held out)" in protocol
    protocol = command("v/0.mp4", "--model", "run", "--smooth", 3, "--stride-seconds", 0.4).stdout
    assert "smoothed over 3 s" in protocol
    assert "(smooth as given, else tuned on 3 videos by f1@50" in protocol
    assert "with other windows)" in protocol
    assert not [path for path in (place / "run").iterdir() if "lock" in path.name]


def test_a_run_whose_model_was_tuned_still_knows_its_files(place):
    assert command("v", "--model", "run", "--tune", "gt.json").returncode == 0
    assert "best.safetensors" in json.loads((place / "run" / "finetune.json").read_text())["written"]
    result = run_here(["i3d", "test", "run", "--device", "cpu", "--workers", 0])
    assert result.returncode == 0, result.output


def test_weights_that_cannot_be_written_need_a_copy(place):
    plain = place / "tiny.safetensors"
    labels = place / "names.txt"
    labels.write_text("red\ngreen\nblue\n")
    words = ["v", "--tune", "gt.json", "--model"]
    assert "comes with i3d and stays as it is; name a copy" in command(*words[:3]).stderr
    assert "with class names of the command" in command(*words, plain, "--classes", labels).stderr
    result = command(*words, plain, "--classes", labels, "--tune-out", "copy.safetensors")
    assert result.returncode == 0, result.stderr
    copied = load_weights("copy.safetensors")
    assert copied.card.labels == COLOURS
    assert copied.card.timeline.num_videos == 3
    assert load_weights(plain).card.timeline is None
    link = place / "link.safetensors"
    link.symlink_to(plain)
    assert "is a link to" in command(*words, link).stderr


def segments(**changes):
    parts = tuple(Segment(2 * n, 2 * n + 2, colour) for n, colour in enumerate(COLOURS))
    return replace(VideoSegments("v/0.mp4", parts, 6.0), **changes)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ([segments(video="v/9.mp4")], "has no segments of 1 given video ('v/0.mp4'); add them"),
        ([segments(segments=())], "has no segments in 1 given video; annotate some"),
        ([segments(segments=(Segment(0, 2, "pink"),))], "the network has no class 'pink'; it has 'blue', "),
        ([segments(seconds=60.0)], "'v/0.mp4' lasts 60.0 s there, and v/0.mp4 6.0 s; annotate this file"),
        ([segments(segments=(Segment(0, 40, "red"),), seconds=None)], "has a segment until 40.0 s, and v/0.mp4 lasts"),
    ],
    ids=["other video", "empty", "label", "length", "beyond the end"],
)  # fmt: skip
def test_annotations_that_do_not_fit_are_refused_before_any_window_is_scored(place, monkeypatch, truth, message):
    monkeypatch.setattr("i3d.timelines.find.score_blocks", None)
    write_segments(place / "bad.csv" if truth[0].seconds is None else place / "bad.json", truth)
    before = (place / "run" / "best.safetensors").read_bytes()
    bad = next(place.glob("bad.*"))
    result = command("v/0.mp4", "--model", "run", "--tune", bad)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert message in result.stderr
    assert (place / "run" / "best.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tune", "gt.json", "--enter", 0.4], "--enter: is chosen by --tune; omit it"),
        (["--tune", "gt.json", "--out", "s.csv"], "--out: --tune writes no segments"),
        (["--tune", "gt.json", "--labels", "red"], "--labels: --tune compares all labels"),
        (["--tune", "gt.json", "v/0.mp4"], "the videos: 'v/0.mp4' is named more than once"),
        (["--tune", "run/finetune.json"], "not segments"),
        (["--tune", "absent.json"], "no such file"),
        (["--tune", "gt.json", "--force"], "--force: replaces the file of --tune-out, which is not given; omit it"),
        (["--tune", "gt.json", "--list-fps", 25], "--list-fps 25: is not used, as gt.json can be read without it"),
        (["--tune-by", "f1@50"], "--tune-by: goes with --tune FILE"),
        (["--tune-out", "x.safetensors"], "--tune-out: goes with --tune FILE"),
    ],
)
def test_options_that_do_not_fit_are_refused(place, words, message):
    result = command("v", "--model", "run", *words)
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr


def test_a_video_that_cannot_be_read_ends_the_choice(place):
    (place / "v" / "2.mp4").write_bytes(b"no video")
    before = (place / "run" / "best.safetensors").read_bytes()
    result = command("v", "--model", "run", "--tune", "gt.json")
    assert (result.returncode, result.stdout) == (3, ""), result.stderr
    assert "v/2.mp4" in result.stderr
    assert (place / "run" / "best.safetensors").read_bytes() == before


def test_an_interrupted_choice_resumes(place, monkeypatch):
    scored, interrupted = [], [True]

    def score_some(predictor, video, windows, **options):
        scored.append(video.name)
        if interrupted[0] and len(scored) == 3:
            raise KeyboardInterrupt
        return score_blocks(predictor, video, windows, **options)

    monkeypatch.setattr("i3d.timelines.find.score_blocks", score_some)
    words = ["v", "--model", "run", "--tune", "gt.json", "--window-seconds", 0.6]
    result = command(*words)
    assert result.returncode == 130, result.stderr
    assert re.search(r"\d+ results are stored in run/\.best\.safetensors\.tune-.*; to resume: ", result.stderr)
    interrupted[0] = False
    result = command(*words)
    assert result.returncode == 0, result.stderr
    assert scored == ["v/0.mp4", "v/1.mp4", "v/2.mp4", "v/2.mp4"]
    assert not [*(place / "run").glob(".*.resume")]
    assert "protocol: finetune_head: windows of 0.64 s (16 x 1 frames), every 0.16 s; fp32" in result.stdout
    assert "warning: window 0.6 s: is 0.64 s, as the network takes 16 frames, at 25 a second" in result.stderr


def test_annotated_videos_that_are_not_given_and_those_of_training_are_named(place):
    truth = [segments(split="train"), segments(video="v/1.mp4"), segments(video="v/2.mp4")]
    data = {"database": {one.video: {"subset": one.split or "validation", "duration": 6.0, "annotations": [
        {"segment": [s.start, s.stop], "label": s.label} for s in one.segments]} for one in truth}}  # fmt: skip
    (place / "all.json").write_text(json.dumps(data))
    result = command("v/0.mp4", "--model", "run", "--tune", "all.json")
    assert "2 videos not given, and not used ('v/1.mp4', 'v/2.mp4')" in result.stderr, result.stderr
    assert "1 video of the split train: the network may know them" in result.stderr
    assert "held out: unknown, fewer than 3 videos have segments" in result.stdout


def test_from_python(place):
    tuning = i3d.tune_timeline(["v/0.mp4", "v/1.mp4"], "gt.json", model="run", by="event_f1", device="cpu")
    assert (tuning.metric, tuning.num_videos, tuning.held_out) == ("event_f1", 2, None)
    assert i3d.timeline("v/0.mp4", model="run", device="cpu").protocol.count("tuned on 2 videos by event_f1") == 1
    with pytest.raises(i3d.InputError, match="comes with i3d"):
        i3d.tune_timeline("v", "gt.json", model="inception_rgb_kinetics400", device="cpu")
