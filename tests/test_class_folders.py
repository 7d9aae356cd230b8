"""Folders of classes that mislead: hidden folders, classes one level deeper, names that differ only in the suffix."""

import pytest

from i3d.data.check.dataset import check_dataset
from i3d.data.formats.inputs import expand_inputs
from i3d.data.formats.read import read_annotations
from i3d.errors import InputError
from i3d.features.extract import feature_files

HIDDEN = (".ipynb_checkpoints", ".stversions", ".git", "__MACOSX", "@eaDir")


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("place", ["", "left/", "left/a/"])
def test_hidden_folders_are_passed_over_by_every_reader(tmp_path, hidden, place):
    touch(tmp_path, "left/1.mp4", "left/a/2.mp4", "right/3.mp4", f"{place}{hidden}/4.mp4", f"{place}{hidden}/x/5.mp4")
    expected = {"left/1.mp4", "left/a/2.mp4", "right/3.mp4"}
    assert {clip.path for clip in read_annotations(tmp_path)} == expected
    assert read_annotations(tmp_path).classes == ("left", "right")
    assert set(expand_inputs([str(tmp_path)])) == {str(tmp_path / path) for path in expected}
    assert {row.path for row in check_dataset(tmp_path, num_workers=0).rows} == expected
    (tmp_path / "k.csv").write_text("label,youtube_id,time_start,time_end\nrun,4,0,1\n")
    touch(tmp_path, f"{place}{hidden}/4_000000_000001.mp4")
    assert [clip.path for clip in read_annotations(tmp_path / "k.csv")] == ["4_000000_000001.mp4"]


def test_a_hidden_folder_that_is_named_is_read(tmp_path):
    touch(tmp_path, ".set/left/1.mp4", ".set/right/2.mp4")
    assert len(read_annotations(tmp_path / ".set")) == len(expand_inputs([str(tmp_path / ".set")])) == 2


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("p1/run/a.mp4", "p1/walk/b.mp4", "p2/run/c.mp4"), "'run', 'walk'"),
        (("Part-1/Abuse/a.mp4", "Part-2/Burglary/b.mp4"), "'Abuse', 'Burglary'"),
        (("set/run/a.mp4", "set/walk/b.mp4"), "'run', 'walk'"),
        (("train/p1/run/a.mp4", "val/p1/walk/b.mp4"), "'run', 'walk'"),
        (("p1/run/a/1.jpg", "p2/walk/b/1.jpg"), "'run', 'walk'"),
        (("run/a.mp4", "walk/b.mp4"), ""),
        (("run/a.mp4", "walk/x/b.mp4", "walk/y/c.mp4"), ""),
        (("run/a/1.jpg", "walk/b/1.jpg"), ""),
        (("train/run/a.mp4", "val/walk/b.mp4"), ""),
        (("run/clips/a.mp4", "walk/clips/b.mp4"), ""),
    ],
)
def test_folders_below_those_of_the_classes_are_named(tmp_path, paths, names):
    touch(tmp_path, *paths)
    warnings = [text for text in read_annotations(tmp_path).warnings if text.startswith("all clips are in folders")]
    if names:
        assert warnings == [
            f"all clips are in folders below those of the classes: {names}; if these are the classes, give a list, or "
            "move them up"
        ]
    else:
        assert warnings == []


def test_videos_that_differ_only_in_the_suffix_are_named(tmp_path):
    touch(tmp_path, "same/a.mp4", "same/a.avi", "x/b.mp4", "y/b.mp4")
    with pytest.raises(InputError, match=r"both would write .*/a\.npy; rename one, as they differ only in the suffix"):
        feature_files([str(tmp_path / "same")], tmp_path / "out", "npy")
    with pytest.raises(InputError, match="name a common folder of both, or use two --out"):
        feature_files([str(tmp_path / "x/b.mp4"), str(tmp_path / "y/b.mp4")], tmp_path / "out", "npy")
