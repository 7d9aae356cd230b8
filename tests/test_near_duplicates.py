"""Clips of one source are detected by their features, stay on one side of a split, or the risk is measured."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.evaluation.intervals import proportion_interval
from i3d.finetuning import near_duplicates as module
from i3d.finetuning.near_duplicates import near_duplicates
from i3d.finetuning.shared_sources import SharedSources, accuracy_without
from support.evaluations import make_evaluation
from support.examples import examples
from support.finetuning_runs import make_clip, save_tiny, splits_in, train, write_csv
from support.pages import Page


def features(scenes, *, num_views=2, num_channels=64, classes=None, seed=0, noise=0.3):
    """Features of clips that show these scenes: of a scene, a class, and noise, with that of a mirror image."""
    random = np.random.default_rng(seed)
    of_scene = random.normal(size=(max(scenes, default=0) + 1, num_channels))
    of_class = 3 * random.normal(size=(9, num_channels))
    values_NVC = of_scene[list(scenes)][:, None] + noise * random.normal(size=(len(scenes), num_views, num_channels))
    if classes is not None:
        values_NVC += of_class[list(classes)][:, None]
    return values_NVC.astype(np.float32)


def pairs_of(scenes, *, classes=None, groups=None, **options):
    labels = [(k,) for k in classes] if classes is not None else [(0,)] * len(scenes)
    groups_N = np.arange(len(scenes)) if groups is None else np.array(groups)
    return list(near_duplicates(features(scenes, classes=classes, **options), labels, groups_N))


def same(scenes):
    return {(a, b) for b in range(len(scenes)) for a in range(b) if scenes[a] == scenes[b]}


SCENES = [*range(20), 3, 7, 7, 19]


@pytest.mark.parametrize("num_views", [1, 2, 4])
@pytest.mark.parametrize("classes", [None, [n % 3 for n in range(24)]])
def test_clips_of_one_scene_are_pairs_whatever_their_class(classes, num_views):
    assert set(pairs_of(SCENES, classes=classes, num_views=num_views)) == same(SCENES)


def test_clips_of_one_group_are_no_pair_and_the_most_alike_come_first():
    groups = list(range(24))
    groups[20] = 3
    pairs = pairs_of(SCENES, groups=groups)
    assert set(pairs) == same(SCENES) - {(3, 20)}
    values_NVC = features(SCENES)
    values_NVC[23] = values_NVC[19]
    degrees = near_duplicates(values_NVC, [(0,)] * 24, np.arange(24))
    assert next(iter(degrees)) == (19, 23)
    assert list(degrees.values()) == sorted(degrees.values(), reverse=True)
    assert degrees[19, 23] > 1


@pytest.mark.parametrize("number", [4, 6, 10, 40, 300])
def test_unrelated_clips_are_no_alarm(number):
    """Pairs by chance are one in twenty sets at most."""
    classes = [n % 2 for n in range(number)]
    assert sum(bool(pairs_of(range(number), seed=seed, classes=classes)) for seed in range(20)) <= 1


def test_clips_of_one_camera_are_no_alarm():
    """All clips share most of what they show: only what differs counts."""
    values_NVC = features(range(40)) + 10 * np.random.default_rng(1).normal(size=64).astype(np.float32)
    assert near_duplicates(values_NVC, [(0,)] * 40, np.arange(40)) == {}


def test_the_number_of_clips_in_a_block_changes_nothing(monkeypatch):
    whole = pairs_of(SCENES)
    monkeypatch.setattr(module, "BLOCK", 5)
    assert pairs_of(SCENES) == whole


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_too_few_clips_are_no_pairs(number):
    assert near_duplicates(np.ones((number, 2, 8), np.float32), [(0,)] * number, np.arange(number)) == {}


def test_blank_clips_are_no_pairs():
    assert near_duplicates(np.ones((9, 2, 8), np.float32), [(0,)] * 9, np.arange(9)) == {}


@examples(30)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), st.integers(0, 5))
def test_pairs_are_of_different_groups(groups, seed):
    pairs = pairs_of([n // 2 for n in range(len(groups))], groups=groups, seed=seed)
    assert all(a < b < len(groups) and groups[a] != groups[b] for a, b in pairs)
    assert len(set(pairs)) == len(pairs)


# what follows


def test_pairs_across_a_split_and_across_folds():
    shared = SharedSources(((0, 4), (1, 2), (3, 5)))
    assert shared.across([4, 5], [0, 1, 2, 3]) == [(4, 0), (5, 3)]
    assert shared.across_folds(np.array([0, 0, 0, 1, 1, 1])) == [(0, 4), (4, 0)]
    assert shared.without({1: "lost", 0: "lost"}, 6).pairs == ((1, 3),)


def test_the_accuracy_without_near_duplicates_has_its_own_interval():
    evaluation = make_evaluation(np.eye(2)[[0, 0, 1, 1, 0]], [0, 0, 1, 1, 1])
    sentence, metrics = accuracy_without(evaluation, [10, 11, 12, 13, 14], [(10, 3), (11, 3), (11, 4)])
    low, high = proportion_interval(2, 3)
    assert sentence.startswith(
        "Without the 2 clips that are near-duplicates or copies of training clips, the top-1 is 0.6667 on 3 "
    )
    assert f"(95 % interval {np.floor(low * 1000) / 1000:.3f} to {np.ceil(high * 1000) / 1000:.3f})" in sentence
    assert sentence.endswith("with all clips it is 0.8000.")
    assert (metrics["num_clips"], round(metrics["top1"], 4)) == (3, 0.6667)
    assert accuracy_without(evaluation, range(5), []) is None
    assert accuracy_without(evaluation, range(5), [(n, 9) for n in range(5)]) is None


# runs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve clips of two classes; 10 is clip 2, and 11 is clip 3, with two more frames: no duplicates by content."""
    root = tmp_path_factory.mktemp("sources")
    for n in range(12):
        scene = {10: 2, 11: 3}.get(n, n)
        make_clip(root / "clips" / f"{n}.mp4", scene % 2, number=100 + scene, num_frames=12 if n < 10 else 14)
    save_tiny(root / "tiny.safetensors")
    return root


def listed(root, name, split):
    return write_csv(root / name, [f"clips/{n}.mp4,{'ab'[n % 2]},{split(n)}" for n in range(12)], "path,label,split")


def start(root, data, work_dir, *more, **options):
    flags = ("--head", "prototype", "--views", 1, "--no-overfit-check", *more)
    output = train(data, root / work_dir, root / "tiny.safetensors", *flags, **options)
    return output, json.loads((root / work_dir / "finetune.json").read_text())


@pytest.fixture
def two_pairs(monkeypatch):
    """A search that finds these pairs: features of a random network do not."""
    searched = []

    def search(values_NVC, labels, groups_N):
        searched.append(values_NVC.shape)
        return {pair: 0.6 for pair in ((2, 10), (3, 11)) if groups_N[pair[0]] != groups_N[pair[1]]}

    monkeypatch.setattr("i3d.finetuning.shared_sources.near_duplicates", search)
    return searched


def test_a_split_that_is_drawn_has_near_duplicates_on_one_side(root, two_pairs):
    output, record = start(root, listed(root, "drawn.csv", lambda _: ""), "drawn", draw=True)
    assert "2 pairs of near-duplicate clips, perhaps of one source (clips/2.mp4 ~ clips/10.mp4, clips/3" in output
    assert "each pair stays on one side of the split and in one fold; 12 groups become 10" in output
    page = Page((root / "drawn/report.html").read_text(encoding="utf-8")).text
    assert "Near-duplicates 2 pairs of near-duplicate clips, perhaps of one source (clips/2.mp4 ~ clips" in page
    assert "12 groups become 10" in page
    assert "issue was found" not in page
    splits = {row["path"]: row["split"] for row in splits_in(root / "drawn")}
    assert splits["clips/2.mp4"] == splits["clips/10.mp4"]
    assert splits["clips/3.mp4"] == splits["clips/11.mp4"]
    assert [row["names"] for row in record["near_duplicates"]] == [
        ["clips/2.mp4", "clips/10.mp4"], ["clips/3.mp4", "clips/11.mp4"],
    ]  # fmt: skip
    assert record["without_near_duplicates"] == {}
    assert "2 pairs of near-duplicates were detected by features" in " ".join(record["diagnosis"])
    before = (root / "drawn/split.csv").read_bytes()
    again, _ = start(root, root / "drawn.csv", "drawn")
    assert len(two_pairs) == 1  # a resumed run takes the pairs from its record
    assert (root / "drawn/split.csv").read_bytes() == before
    assert "2 pairs of near-duplicate clips" in again


def test_a_split_that_is_drawn_again_is_reported_with_its_own_numbers(root, monkeypatch):
    """All clips of b are near-duplicates: the class is on one side of the split and in one fold."""
    chain = {(n, n + 2): 0.6 for n in range(1, 10, 2)}
    monkeypatch.setattr("i3d.finetuning.shared_sources.near_duplicates", lambda *_: chain)
    data = listed(root, "again.csv", lambda _: "")
    output, record = start(root, data, "again")
    assert "12 clips in 12 groups, split into 10 for training, 2 for validation" in output
    splits = [row["split"] for row in splits_in(root / "again")]
    num_train, num_val = splits.count("train"), splits.count("val")
    assert num_val not in (0, 2)
    assert f"divided again, into {num_train} for training, {num_val} for validation; the settings above are" in output
    assert "val has no clip of 1 class, which has too few groups: 'b'" in output
    assert "1 class has all clips in one fold, so that cross-validation never predicts it: 'b'" in output
    held_out = f"only {num_val} clip{'s are' if num_val > 1 else ' is'} held out: "
    (reason,) = (row["reason"] for row in record["decisions"] if row["flag"] == "--cv-folds")
    assert reason.startswith(held_out)
    before = (root / "again/finetune.json").read_bytes()
    start(root, data, "again")
    after = json.loads((root / "again/finetune.json").read_bytes())
    assert after["decisions"] == json.loads(before)["decisions"]


def test_with_a_split_that_was_given_the_accuracy_without_near_duplicates_is_printed(root, two_pairs):
    data = listed(root, "given.csv", lambda n: "val" if n in (0, 1, 4, 10, 11) else "train")
    output, record = start(root, data, "given")
    warning = "2 of 5 held-out clips are near-duplicates of training clips (clips/10.mp4 ~ clips/2.mp4, clips/11.mp4 ~"
    assert warning in output
    assert "without your split, the one that is drawn has them on one side" in output
    assert "next: Train without the split of your list" in output
    assert "near-duplicates" in [issue["kind"] for issue in record["issues"]]
    assert record["without_near_duplicates"]["test"]["num_clips"] == 3
    (sentence,) = (line for line in record["diagnosis"] if line.startswith("Without the 2 clips"))
    assert "on 3 clips (95 % interval " in sentence
    assert any("The scores may be too high" in line for line in record["diagnosis"])


def test_pairs_that_chain_most_clips_change_no_group(root, monkeypatch):
    chain = {(n, n + 1): 0.6 for n in range(9)}
    monkeypatch.setattr("i3d.finetuning.shared_sources.near_duplicates", lambda *_: chain)
    output, record = start(root, root / "drawn.csv", "chained")
    assert "they chain 10 of 12 clips into one group, so that groups ignore them" in output
    assert "of 12 clips are near-duplicates of clips in another fold (clips/0.mp4 ~ clips/1.mp4, " in output
    assert len(record["near_duplicates"]) == 9
    assert "next: Train without" not in output  # the list has no split, and a drawn one does not help


@pytest.mark.parametrize(("degree", "is_doubtful"), [(0.95, True), (0.8, False)])
def test_labels_are_doubtful_if_clips_of_two_classes_are_as_alike_as_views(root, monkeypatch, degree, is_doubtful):
    monkeypatch.setattr("i3d.finetuning.shared_sources.near_duplicates", lambda *_: {(4, 7): degree})
    output, record = start(root, root / "drawn.csv", f"classes{degree}")
    line = (
        "1 pair of near-duplicates is as alike as two views of a clip, and of two classes (clips/4.mp4 ~ clips/7.mp4)"
    )
    assert (f"{line}: one label may be wrong" in output) == is_doubtful
    assert ("next: Check the near-duplicates of two classes" in output) == is_doubtful
    assert "Correct the labels" not in output
    assert not any("scores may be too high" in line for line in record["diagnosis"])


def test_folds_of_the_whole_training_have_near_duplicates_together(root, two_pairs):
    output, record = start(root, root / "drawn.csv", "folds", "--cv-folds", 2)
    assert "each pair stays on one fold" not in output
    assert "each pair stays in one fold" in output
    assert record["without_near_duplicates"] == {}


def test_copies_are_left_out_with_near_duplicates_and_not_counted_as_such():
    shared = SharedSources(pairs=((0, 5),), copies=((1, 6), (7, 8))).without({7: "lost"}, 9)
    assert shared.across([0, 1, 2], [5, 6, 7]) == [(0, 5)]
    assert shared.with_copies.across([0, 1, 2], [5, 6]) == [(0, 5), (1, 6)]
    assert shared.copies == ((1, 6),)
