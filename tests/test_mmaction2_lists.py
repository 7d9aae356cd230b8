"""The lists that MMAction2's tools write, from files written by hand in their form: read, compared, refused."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.data import read_annotations
from i3d.data.class_files import read_labels
from i3d.data.labels import dataset_labels
from i3d.errors import InputError
from support.commands import run_here
from support.examples import examples

UCF, HMDB = dataset_labels("ucf101"), dataset_labels("hmdb51")
MAKEUP, ARCHERY = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "Archery/v_Archery_g01_c07"
BRUSH, WAVE = "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0", "wave/20060723sfjffbitemebaby_wave_f_cm_np1_ba_med_0"


def read(folder, name, content, **options):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return read_annotations(folder / name, **options)


def rows(annotations):
    """(path, labels, first frame, frames) of every clip."""
    return [(clip.path, clip.labels, clip.first_frame, clip.num_frames) for clip in annotations]


def class_index(names):
    return "".join(f"{number} {name}\n" for number, name in enumerate(names, start=1))


FORMS = [  # name of the list, content, how it is read, rows
    ("a.txt", "a/b.mp4 3\nc.mp4 0\n", {}, [("a/b.mp4", (3,), 0, None), ("c.mp4", (0,), 0, None)]),
    ("a.txt", "a/b.mp4 3 17 42\nc.mp4 0\n", {"multi_label": True},
     [("a/b.mp4", (3, 17, 42), 0, None), ("c.mp4", (0,), 0, None)]),
    ("a.txt", "a.mp4,1,0,12,3,2,7,8\n", {"multi_label": True}, [("a.mp4", (1, 0, 12, 3, 2, 7, 8), 0, None)]),
    ("a.txt", "a/b 250 1\nc 30 0\n", {}, [("a/b", (1,), 0, 250), ("c", (0,), 0, 30)]),
    ("a.txt", "a/b 250 1 5\nc 30 0\n", {"multi_label": True, "format": "frames"},
     [("a/b", (1, 5), 0, 250), ("c", (0,), 0, 30)]),
    ("a.txt", "a/b 30 250 1\na/b 280 9 0\n", {"format": "frames-offset"},
     [("a/b", (1,), 30, 250), ("a/b", (0,), 280, 9)]),
    ("a.txt", "a/b 30 250 1 2\n", {"format": "frames-offset", "multi_label": True}, [("a/b", (1, 2), 30, 250)]),
    ("a.json", [{"filename": "a/b c.mp4", "label": [3]}], {}, [("a/b c.mp4", (3,), 0, None)]),
    ("a.json", [{"filename": "a.mp4", "label": 3}], {"format": "videos"}, [("a.mp4", (3,), 0, None)]),
    ("a.json", [{"frame_dir": "a", "total_frames": 9, "label": [3, 1]}], {"format": "frames", "multi_label": True},
     [("a", (3, 1), 0, 9)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "expected"), FORMS)
def test_forms(tmp_path, name, content, options, expected):
    assert rows(read(tmp_path, name, content, **options)) == expected


NAMES = st.text(st.sampled_from("ab1é_-()"), min_size=1, max_size=8).map(lambda name: f"x{name}x")
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6, unique=True)


@examples(60)
@given(paths=PATHS, data=st.data(), multi=st.booleans(), kind=st.sampled_from(["videos", "frames", "frames-offset"]))
def test_whatever_the_tools_write_is_read(tmp_path_factory, paths, data, multi, kind):
    """The lines of `build_file_list.py` and the JSON of `anno_txt2json.py` give the same clips."""
    labels = st.lists(st.integers(0, 399), min_size=1, max_size=3 if multi else 1, unique=True).map(tuple)
    number = st.integers(1, 999)
    clips = [(path, data.draw(labels), data.draw(number), data.draw(number)) for path in paths]
    suffix, is_frames = ".mp4" if kind == "videos" else "", kind != "videos"
    counts = {"videos": slice(0, 0), "frames": slice(1, 2), "frames-offset": slice(0, 2)}[kind]
    lines = [" ".join(map(str, (path + suffix, *c[counts], *of_clip))) for path, of_clip, *c in clips]
    expected = [
        (path + suffix, of_clip, first if kind == "frames-offset" else 0, count if is_frames else None)
        for path, of_clip, first, count in clips
    ]
    folder = tmp_path_factory.mktemp("lists")
    assert rows(read(folder, "a.txt", "\n".join(lines), format=kind, multi_label=multi)) == expected
    if kind == "frames-offset":
        return
    content = [
        {"frame_dir": path, "total_frames": count, "label": list(of_clip)}
        if is_frames
        else {"filename": path + suffix, "label": list(of_clip)}
        for path, of_clip, _, count in clips
    ]
    assert rows(read(folder, "a.json", content, multi_label=multi)) == expected


# one clip on several lines


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a.mp4 3\nb.mp4 1\na.mp4 0\n", [("a.mp4", (3, 0)), ("b.mp4", (1,))]),
        ("a.mp4 3 1\n./a.mp4 3 0\na.mp4 3\n", [("a.mp4", (3, 1, 0))]),
    ],
)
def test_a_clip_on_several_lines_has_the_labels_of_all(tmp_path, content, expected):
    annotations = read(tmp_path, "a.txt", content, multi_label=True)
    assert [(clip.path, clip.labels) for clip in annotations] == expected
    assert annotations.warnings[0].startswith(
        "1 clip on several lines, such as a.mp4: each is one clip with the labels"
    )
    assert annotations[0].line == 1
    with pytest.raises(
        InputError, match=r"a\.txt:\d: '(\./)?(a\.mp4|\d)': (is also on line 1 with another|a second) label"
    ):
        read(tmp_path, "a.txt", content)


def test_repeated_lines_stay_clips_of_their_own(tmp_path):
    annotations = read(tmp_path, "a.txt", "a.mp4 3 1\na.mp4 1 3\n", multi_label=True)
    assert len(annotations) == 2
    with pytest.raises(InputError, match=r"a\.txt:2: 'a': is also on line 1 with another number of frames"):
        read(tmp_path, "a.txt", "a 20 3\na 21 1\n", multi_label=True, format="frames")


# UCF101 and HMDB51


@pytest.mark.parametrize("suffix", ["txt", "json"])
@pytest.mark.parametrize("place", ["", "annotations", None])
@pytest.mark.parametrize(
    ("dataset", "names", "clips"),
    [("ucf101", UCF, {MAKEUP: 0, ARCHERY: 2}), ("hmdb51", HMDB, {BRUSH: 0, WAVE: 50})],
)
@pytest.mark.parametrize("kind", ["videos", "rawframes"])
def test_lists_of_ucf101_and_hmdb51_have_the_class_names(tmp_path, suffix, place, dataset, names, clips, kind):
    if place is not None:
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "classInd.txt").write_text(class_index(names))
    if suffix == "txt":
        between = ".avi" if kind == "videos" else " 120"
        content = "".join(f"{path}{between} {label}\n" for path, label in clips.items())
    elif kind == "videos":
        content = [{"filename": f"{path}.avi", "label": [label]} for path, label in clips.items()]
    else:
        content = [{"frame_dir": path, "total_frames": 120, "label": [label]} for path, label in clips.items()]
    annotations = read(tmp_path, f"{dataset}_train_split_1_{kind}.{suffix}", content)
    assert annotations.classes == names
    assert [clip.labels for clip in annotations] == [(label,) for label in clips.values()]
    assert annotations.is_frames is (kind == "rawframes")


def test_a_label_of_another_folder_is_named(tmp_path):
    name, content = "ucf101_val_split_3_rawframes.txt", f"{MAKEUP} 120 0\n{ARCHERY} 99 3\n"
    annotations = read(tmp_path, name, content)  # a part of the classes, numbered by itself
    assert annotations.classes == ("class 0", "class 1", "class 2", "class 3")
    why = "its label is not 2, that of Archery in UCF101: classes stay without names"
    assert f"{name}:2: '{ARCHERY}': {why}" in annotations.warnings[0]
    (tmp_path / "classInd.txt").write_text(class_index(UCF))
    with pytest.raises(InputError, match=rf"{name}:2: '{ARCHERY}': its label is not 2, that of Archery counted from 0"):
        read(tmp_path, name, content)
    (tmp_path / "classInd.txt").write_text("1 ApplyEyeMakeup\n3 Archery\n")
    with pytest.raises(InputError, match=r"classInd\.txt:2: '3 Archery': expected `2 Name`"):
        read(tmp_path, name, content)


# maps of class numbers


@pytest.mark.parametrize("text", ["0 abseiling\n1 air drumming\n", "abseiling 0\nair drumming 1\n",
                                  "1 air drumming\n0 abseiling\n", "air drumming 1\nabseiling 0"])  # fmt: skip
def test_class_maps_in_either_order(tmp_path, text):
    (tmp_path / "kinetics_class2ind.txt").write_text(text)
    assert read_labels(tmp_path / "kinetics_class2ind.txt") == ("abseiling", "air drumming")


def test_the_class_index_of_ucf101_counts_from_1(tmp_path):
    for name in ("classInd.txt", "ClassInd.txt"):
        (tmp_path / name).write_text(class_index(UCF))
        assert read_labels(tmp_path / name) == UCF
    (tmp_path / "other.txt").write_text(class_index(UCF))
    with pytest.raises(InputError, match="must be 0 to 100"):
        read_labels(tmp_path / "other.txt")
    (tmp_path / "classInd.txt").write_text("0 a\n1 b\n")
    assert read_labels(tmp_path / "classInd.txt") == ("a", "b")
    (tmp_path / "classInd.txt").write_text("1 a\n3 b\n")
    with pytest.raises(InputError, match="the numbers beside the names must be"):
        read_labels(tmp_path / "classInd.txt")


# damaged and other files

WRONG = [
    ("a.txt", "a.mp4 0\nb.mp4\n", {"format": "videos"}, r":2: 'b\.mp4': has no label"),
    ("a.txt", "a/k7 9 0\nb 9 0\n", {"format": "videos"}, r":1: 'a/k7 9 0': a folder, the number of its frames and a"),
    ("a.txt", "a.mp4 0\nb.mp4 0\n", {"format": "frames"}, r":1: 'a.mp4 0': a video, and the list is read as one of fo"),
    ("a.txt", "a 9 0\nb 0\n", {"format": "frames"}, r":2: 'b 0': not a line of the form `folder frames label`"),
    ("a.txt", "a 9 0\nb 0 1\n", {"format": "frames"}, r":2: 'b 0 1': not a line of the form"),
    ("a.txt", "a 1 9 0\nb 9 1\n", {"format": "frames-offset"}, ":2: 'b': has no label"),
    ("a.txt", "a 1 9 0\nb 1\n", {"format": "frames-offset"}, ":2: 'b 1': not a line of the form `folder first frames"),
    ("a.txt", "a.mp4 0\nb.mp4 1.5\n", {}, r":2: '1\.5': not a class number"),
    ("a.txt", "a.mp4 0\nb.mp4 -1\n", {}, r":2: '-1': not a class number|:2: '?-1'?: class numbers count from 0"),
    ("a.txt", "a.mp4 0 1\n", {}, r":1: '1': a second label; pass --multi-label"),
    ("a.txt", "a.mp4 1 1\n", {"multi_label": True}, r":1: '1': the clip has a label twice"),
    ("a.json", [{"filename": "a.mp4", "label": [0]}, {"label": [1]}], {}, ": clip 1: has no filename"),
    ("a.json", [{"filename": "a.mp4", "label": [0, 1]}], {}, ": clip 0: '1': a second label"),
    ("a.json", [{"filename": "a.mp4", "label": [0.5]}], {}, r": clip 0: label '\[0\.5\]': not a class number"),
    ("a.json", [{"filename": "a.mp4", "label": []}], {}, ": clip 0|'a.mp4': has no label"),
    ("a.json", [{"frame_dir": "a", "total_frames": 0, "label": [0]}], {}, ": clip 0: total_frames '0': must be"),
    ("a.json", [{"frame_dir": "a", "label": [0]}], {}, ": clip 0: total_frames '-1': must be"),
    ("a.json", [{"frame_dir": "a", "total_frames": 3, "label": [0]}], {"format": "videos"}, "it lists folders of fr"),
    ("a.json", [{"id": "1"}], {"format": "videos"}, "not a list of clips with filename or frame_dir"),
    ("hvu_train_video.json", [{"filename": "a.mp4", "label": {"action": [2], "scene": [7]}}], {},
     r": clip 0: labels by category \(action, scene\), as in HVU; choose one category"),
    ("ava_train_v2.1.csv", "-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1\n", {}, ":1: annotations of AVA"),
    ("ava_val_v2.2.csv", "1j20qq1JyX4,0902,0.002,0.118,0.714,0.977,12,0\n", {"format": "videos"}, ":1: annotations"),
    ("x.csv", "1j20qq1JyX4,902,0.002,0.118,1.000,0.977,12\n", {}, ":1: annotations of AVA"),
    ("ava_train_excluded_timestamps_v2.1.csv", "-5KQ66BBWC4,0902\n", {}, ":1: annotations of AVA"),
    ("thumos14_tag_val_proposal_list.txt", "# 0\nvideo_validation_0000202\n5666\n1\n5\n8 1 9\n", {}, ":1: a proposal"),
    ("train.json", {"a": {"annotations": {"label": "x", "segment": [1, 2]}, "duration": 1}}, {},
     r": annotations of Kinetics in JSON; give the \.csv"),
    ("charades.json", {"v0": {"subset": "training", "duration": 3.0, "actions": [[12, 0.0, 1.2]]}}, {},
     ": annotations of Charades, segments of actions"),
    ("gym99.json", {"a": {"E_1": {"event": 1}}}, {}, ": not a list of clips; give MMAction2's"),
    ("ava_dense_proposals_train.FAIR.recall_93.9.pkl", "x", {}, ": a pickle, which can run any code"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "message"), WRONG)
def test_damaged_and_other_files_are_refused_by_name(tmp_path, name, content, options, message):
    with pytest.raises(InputError) as error:
        read(tmp_path, name, content, **options)
    assert re.match(f"{re.escape(str(tmp_path / name))}(: )?({message})", str(error.value)), error.value
    assert "\n" not in str(error.value)
    assert "; " in str(error.value)  # the next step


def test_other_keys_are_reported(tmp_path):
    annotations = read(tmp_path, "a.json", [{"filename": "a.mp4", "label": 0, "url": "x"}])
    assert annotations.warnings[0] == "keys that are not read: url"


def test_a_command_reads_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("v/Archery").mkdir(parents=True)
    Path(f"v/{ARCHERY}.avi").touch()
    Path("ucf101_val_split_1_videos.txt").write_text(f"{ARCHERY}.avi 2\n")
    result = run_here(["i3d", "data", "list", "ucf101_val_split_1_videos.txt", "--root", "v", "--out", "o.csv"])
    assert result.returncode == 0, result.stderr
    assert f"{ARCHERY}.avi,Archery" in Path("o.csv").read_text().replace('"', "")
