"""Expected minutes: of features from the first clips, of layers from the steps of the overfit check."""

import json
import logging

import pytest

from i3d.finetuning import estimates
from i3d.finetuning.estimates import FeaturePace, StepTimes, describe_training, shorter_features, training_work
from i3d.recipes.settings import ClipProtocol
from i3d.recipes.training import Training
from i3d.utils.durations import format_minutes, format_seconds
from support.finetuning_runs import make_folder, save_tiny, train


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "under a minute"), (59, "under a minute"), (60, "about 1 minute"), (370, "about 6 minutes"),
        (569, "about 9 minutes"), (571, "about 10 minutes"), (1500, "about 25 minutes"), (5249, "about 85 minutes"),
        (5251, "about 1.5 hours"), (8000, "about 2 hours"), (36_000, "about 10 hours"), (130_000, "about 2 days"),
    ],
)  # fmt: skip
def test_durations_are_rounded(seconds, words):
    assert format_minutes(seconds) == words


def test_measured_seconds_have_two_digits():
    assert [format_seconds(s) for s in (0.0123, 0.8, 1.234, 12.3, 123.4)] == [
        "0.012 s",
        "0.8 s",
        "1.2 s",
        "12 s",
        "123 s",
    ]


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(estimates, "time", clock)
    return clock


def lines_of(caplog, clock, num_clips, seconds, **options):
    """The lines that are logged while clips take so many seconds; the first takes ten times as long."""
    with caplog.at_level(logging.INFO, "i3d"):
        pace = FeaturePace("features", num_clips, num_cached=24, **options)
        for n in range(num_clips):
            clock.now += seconds * (1 if n else 10)
            pace.count_clip()
    return caplog.messages


def test_minutes_are_logged_once_and_do_not_count_the_warm_up(caplog, clock):
    lines = lines_of(caplog, clock, 224, 1.6, num_views=2, num_workers=2)
    assert lines == ["features: 448 views to compute, about 6 minutes (0.8 s a view; 24 are in the cache)"]


def test_a_flag_is_named_where_it_takes_long(caplog, clock):
    (line,) = lines_of(caplog, clock, 2000, 1.6, num_views=2, num_workers=0, shorter="--flip off takes half of it")
    assert line.startswith("features: 4,000 views to compute, about 55 minutes (0.8 s a view; ")
    assert line.endswith("); --flip off takes half of it")


@pytest.mark.parametrize("num_clips", [0, 1, 5])
def test_few_clips_are_only_counted(caplog, clock, num_clips):
    words = {0: [], 1: ["features: 1 view to compute (24 are in the cache)"]}
    words[5] = ["features: 5 views to compute (24 are in the cache)"]
    assert lines_of(caplog, clock, num_clips, 1, num_views=1, num_workers=0) == words[num_clips]


@pytest.mark.parametrize(
    ("settings", "device", "words"),
    [
        ({"num_clips": 3}, "cpu", "--test-clips 1 takes 1/3 of it"),
        ({"num_clips": 1, "crops": "two"}, "cpu", "--flip off takes half of it"),
        ({"num_clips": 1}, "cpu", ""),
        ({"num_clips": 3}, "cuda", ""),
    ],
)
def test_what_shortens_features(settings, device, words):
    assert shorter_features(ClipProtocol(clip_len=8, frame_interval=1, **settings), device) == words


TRAINING = Training(init="x", batch_size=4, accumulate=2, epochs=6, validate_every=1)
TIMES = StepTimes(step=0.8, load=0.2, is_parallel=False)


def test_a_training_takes_its_epochs_and_validations(tmp_path):
    work = training_work(TRAINING, "all", tmp_path, 100, 40)
    validation = 40 * TRAINING.validation.num_views * (0.2 + 0.35 * 0.8)
    assert work.seconds(TIMES) == pytest.approx(6 * 100 + 7 * validation)  # of the start too
    assert describe_training(work, TIMES, device="cuda") == "training: 6 epochs of 13 steps, about 10 minutes"
    assert "; --train-layers head takes seconds" in describe_training(work, TIMES, device="cpu")
    folds = describe_training(work, TIMES, num_trainings=5, device="cuda")
    assert folds == "training: 5 folds, each 6 epochs of 13 steps, about 60 minutes"
    assert StepTimes(0.2, 0.8, is_parallel=True).clip == 0.8
    assert StepTimes(0.2, 0.8, is_parallel=False).clip == 1.0


def test_what_an_earlier_run_did_takes_no_time(tmp_path):
    lines = [{"step": 13, "epoch": 0, "loss": 1.0}, {"step": 26, "epoch": 1, "loss": 1.0}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    work = training_work(TRAINING, "all", tmp_path, 100, 0)
    assert work.seconds(TIMES) == pytest.approx(4 * 100)
    assert describe_training(work, TIMES, device="cpu").startswith(
        "training: 6 epochs of 13 steps, of which 2 are complete, about 7 minutes"
    )
    (tmp_path / "run.json").write_text(json.dumps({"done": True}))
    assert training_work(TRAINING, "all", tmp_path, 100, 0).is_complete


@pytest.mark.slow
def test_a_run_reports_the_minutes_of_features_and_of_layers(tmp_path):
    make_folder(tmp_path / "clips", ("a", "b"), 4)
    tiny = save_tiny(tmp_path / "tiny.safetensors")
    options = ("--views", 1, "--head", "prototype", "--train-layers", "last", "--epochs", 1, "--cv-folds", 2)
    output = train(tmp_path / "clips", tmp_path / "my", tiny, *options)
    assert "features: 16 views to compute, under a minute (" in output
    assert "training: 2 folds, each 1 epoch of 1 step, under a minute" in output
    assert "training: 1 epoch of 1 step, under a minute" in output
    again = train(tmp_path / "clips", tmp_path / "my", tiny, *options)
    assert "to compute" not in again
    assert "training: " not in again
