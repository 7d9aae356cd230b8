"""The clips of `make tour`: the same every time, opposite classes of the same frames, held-out scenes of their own."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

import tour
from i3d.finetuning.defaults import choose
from i3d.finetuning.inspect_data import DatasetStats
from i3d.finetuning.options import FinetuneOptions
from i3d.recipes.named import named_recipe
from i3d.video.sampling import protocol_clips
from render_tour import CLASSES, MOTIONS, NUM_FRAMES, TIMES_T, frames, render, scenes, strip

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


@pytest.mark.slow
def test_the_same_seed_gives_the_same_frames(rendered, tmp_path):
    render(tmp_path, clips_per_class=2, seed=0)
    for row in rows_of(rendered):
        np.testing.assert_array_equal(decoded(rendered / row["path"]), decoded(tmp_path / row["path"]))


def test_another_seed_gives_other_scenes():
    for (_, one), (_, other) in zip(scenes(2, seed=0), scenes(2, seed=1), strict=True):
        assert np.abs(one.ground_HWC - other.ground_HWC).mean() > 10


def test_a_scene_does_not_depend_on_the_number_of_scenes():
    few, many = ({each.name: each for _, each in scenes(n, seed=0)} for n in (2, 5))
    for name, each in few.items():
        np.testing.assert_array_equal(each.ground_HWC, many[name].ground_HWC)


def test_the_network_reads_each_frame_of_a_clip_once(rendered):
    """So that a motion and its opposite show it one and the same set of frames."""
    stats = DatasetStats(CLASSES, (36,) * len(CLASSES), seconds=NUM_FRAMES / 25, num_frames=NUM_FRAMES)
    recipe = named_recipe("inception_rgb_kinetics400")
    config = choose(FinetuneOptions(), stats, recipe=recipe, device="cpu", has_fast_bf16=True)
    assert config.views == 1
    indices_VT = protocol_clips(NUM_FRAMES, config.protocol, fps=25.0)
    np.testing.assert_array_equal(indices_VT, [np.arange(NUM_FRAMES)])
    assert {len(decoded(rendered / row["path"])) for row in rows_of(rendered)} == {NUM_FRAMES}


@pytest.mark.slow
def test_opposite_classes_have_the_same_frames_in_reverse_order(rendered):
    for forward, backward in MOTIONS.values():
        for name in ("train00.mp4", "test00.mp4"):
            differences_TT = differences(decoded(rendered / forward / name), decoded(rendered / backward / name))
            assert differences_TT.shape == (NUM_FRAMES, NUM_FRAMES)
            assert differences_TT[:, ::-1].diagonal().max() < MOST_LOSS
            np.testing.assert_array_equal(TIMES_T[differences_TT.argmin(axis=1)], TIMES_T[::-1])  # the middle is twice


@pytest.mark.slow
def test_before_encoding_the_middle_frames_are_the_same_in_all_classes():
    for _, each in scenes(2, seed=0):
        first, *others = (frames(each, motion) for motion in MOTIONS)
        np.testing.assert_array_equal(first[NUM_FRAMES // 2 - 1], first[NUM_FRAMES // 2])
        for other in others:
            np.testing.assert_array_equal(first[NUM_FRAMES // 2], other[NUM_FRAMES // 2])


@pytest.mark.slow
def test_each_class_moves_in_its_direction():
    """The first class of a motion goes where its name promises: the centre of a white disc on black is followed."""
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
        assert ends["depth"][1].sum() > 1.5 * ends["depth"][0].sum()


def test_scenes_are_on_one_side_and_classes_even(rendered):
    rows = rows_of(rendered)
    groups = {split: {row["group"] for row in rows if row["split"] == split} for split in ("train", "test")}
    assert groups["train"]
    assert groups["test"]
    assert not groups["train"] & groups["test"]
    for split in groups:
        labels = [row["label"] for row in rows if row["split"] == split]
        assert {labels.count(name) for name in CLASSES} == {len(groups[split])}


@pytest.mark.slow
def test_the_strip_has_a_row_for_each_class(rendered, tmp_path):
    strip(rendered / "clips.csv", tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as image:
        assert image.height % len(CLASSES) == 0
    assert (tmp_path / "strip.png").stat().st_size < 200_000


@pytest.fixture
def stubbed(monkeypatch, tmp_path):
    """The tour with commands that do nothing but record themselves; `tested` is the accuracy that `i3d test` writes."""
    commands = []

    def run(tested, *, status=0):
        def stub(command, *, check):
            commands.append([str(word) for word in command[1:]])
            if "test" in command:
                out = {"protocols": {"windows": {"metrics": {"top1": tested}}}}
                Path(command[command.index("--out") + 1]).write_text(json.dumps(out))
            return SimpleNamespace(returncode=status)

        monkeypatch.setattr(tour.subprocess, "run", stub)
        monkeypatch.setattr(sys, "argv", ["tour.py", str(tmp_path)])
        tour.main()
        return commands

    return run


def test_the_tour_prints_its_commands_and_its_output(stubbed, capsys, tmp_path):
    commands = stubbed(0.95)
    assert [words[0] if words[0] != "-m" else words[2] for words in commands] == [
        "tools/render_tour.py",
        "train",
        "test",
        "predict",
    ]
    printed = capsys.readouterr().out
    for start in ("$ python tools/render_tour.py", "$ i3d train", "$ i3d test", "$ i3d predict"):
        assert start in printed
    assert str(tmp_path / "run" / "report.html") in printed
    assert str(tmp_path / "run" / "confusion.png") in printed


def test_the_tour_fails_below_95_percent(stubbed):
    with pytest.raises(SystemExit, match="error: the test accuracy is 94.4%, below 95%"):
        stubbed(0.944)


def test_the_tour_stops_at_the_first_command_that_fails(stubbed):
    with pytest.raises(SystemExit, match="error: exit status 3 of: python tools/render_tour.py"):
        stubbed(1.0, status=3)
