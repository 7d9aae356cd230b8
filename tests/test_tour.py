"""The clips of `make tour`: the same every time, opposite classes of the same frames, held-out scenes of their own."""

import csv
import sys
from pathlib import Path

import av
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

from render_tour import CLASSES, MOTIONS, NUM_FRAMES, SHAPES, frames, render, scenes

MOST_LOSS = 6.0  # grey levels by which H.264 may change a frame, in the mean


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    out = tmp_path_factory.mktemp("tour")
    render(out, clips_per_class=2, seed=0)
    return out


def rows_of(out):
    with (out / "clips.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.int16)


def differences(one_THWC, other_THWC):
    """Mean absolute differences (T, T) of all frames of two clips."""
    return np.array([[np.abs(a - b).mean() for b in other_THWC[:, ::4, ::4]] for a in one_THWC[:, ::4, ::4]])


def test_the_same_seed_gives_the_same_frames(rendered, tmp_path):
    render(tmp_path, clips_per_class=2, seed=0)
    for row in rows_of(rendered):
        np.testing.assert_array_equal(decoded(rendered / row["path"]), decoded(tmp_path / row["path"]))


def test_another_seed_gives_other_scenes():
    for (_, one), (_, other) in zip(scenes(2, seed=0), scenes(2, seed=1), strict=True):
        assert np.abs(one.ground_HWC - other.ground_HWC).mean() > 10


def test_a_scene_does_not_depend_on_how_many_there_are():
    few, many = ({each.name: each for _, each in scenes(n, seed=0)} for n in (2, 5))
    for name, each in few.items():
        np.testing.assert_array_equal(each.ground_HWC, many[name].ground_HWC)


def test_opposite_classes_have_the_same_frames_in_reverse_order(rendered):
    for forward, backward in MOTIONS.values():
        for name in ("train00.mp4", "test00.mp4"):
            differences_TT = differences(decoded(rendered / forward / name), decoded(rendered / backward / name))
            assert differences_TT.shape == (NUM_FRAMES, NUM_FRAMES)
            assert differences_TT[:, ::-1].diagonal().max() < MOST_LOSS
            assert (differences_TT.argmin(axis=1) == np.arange(NUM_FRAMES)[::-1]).all()


def test_before_encoding_the_middle_frame_is_the_same_in_all_classes():
    for _, each in scenes(2, seed=0):
        first, *others = (frames(each, motion)[NUM_FRAMES // 2] for motion in MOTIONS)
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_what_moves_where(rendered):
    """The first class of a motion goes where its name says: the centre of a white disc on black is followed."""
    from dataclasses import replace

    for _, each in scenes(2, seed=0):
        white = replace(
            each, ground_HWC=np.zeros_like(each.ground_HWC), object_HWC=np.full_like(each.object_HWC, 255), x=180, y=128
        )
        y_HW, x_HW = np.mgrid[:256, :256]
        ends = {
            motion: [frame[..., 0] / 255 for frame in frames(white, motion)[:: NUM_FRAMES - 1]] for motion in MOTIONS
        }
        x = {motion: [(end * x_HW).sum() / end.sum() for end in both] for motion, both in ends.items()}
        y = {motion: [(end * y_HW).sum() / end.sum() for end in both] for motion, both in ends.items()}
        assert x["side"][1] > x["side"][0] + 30
        assert y["height"][1] < y["height"][0] - 30
        assert ends["depth"][1].sum() > 2 * ends["depth"][0].sum()


def test_scenes_are_on_one_side_and_classes_even(rendered):
    rows = rows_of(rendered)
    groups = {split: {row["group"] for row in rows if row["split"] == split} for split in ("train", "test")}
    assert groups["train"]
    assert groups["test"]
    assert not groups["train"] & groups["test"]
    assert not set(SHAPES["train"]) & set(SHAPES["test"])
    for split in groups:
        labels = [row["label"] for row in rows if row["split"] == split]
        assert {labels.count(name) for name in CLASSES} == {len(groups[split])}
