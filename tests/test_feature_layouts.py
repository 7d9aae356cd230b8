"""Layouts of features: the reader of each code base, rebuilt from its published description, finds the right second.

The network is replaced by one whose row is the middle of its window, in seconds: a reader that finds the row of a time
has to find that time in it.
"""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from i3d.data.segments.read import read_segments
from i3d.errors import InputError, VideoError
from i3d.features.extract import load_extractor
from i3d.features.extractor import FeatureExtractor, Row, VideoFeatures
from i3d.features.layouts.layout import LAYOUTS, SETTINGS, layout_settings
from i3d.features.layouts.rescale import mean_between, rescale
from i3d.features.layouts.write import RECORD, extract_layout
from i3d.recipes.features import FeatureSettings
from i3d.utils.device import ComputeConfig
from support.commands import run_here
from support.evaluation_runs import save_model
from support.rendering import BITS, encode, numbered_frame

FPS = 25  # of the videos
FRAME = 1 / FPS
SEGMENTS = {"one": [(0.6, 1.48, "run"), (2.0, 3.6, "jump")], "two": [(0.44, 1.0, "run")], "quiet": []}
SPLITS = {"one": "training", "two": "validation", "quiet": "training"}
SMALL = {
    "actionformer": {"annotations.json", "config.yaml"},
    "opentad": {"annotations.json", "category_idx.txt", "config.py"},
    "rtfm": {"train.list", "test.list", "gt.npy", "config.txt"},
    "mmaction2-localizer": {"config.py", *(f"anet_anno_{part}.json" for part in ("train", "val", "test", "full"))},
}


def number_of(frame_HWC):
    """The number that `numbered_frame` wrote, of a resized frame."""
    upper = frame_HWC[: frame_HWC.shape[0] // 2].mean(axis=(0, 2))
    places = ((np.arange(BITS) + 0.5) / BITS * len(upper)).astype(int)
    return sum(int(upper[place] > 128) << bit for bit, place in enumerate(places))


def middle_of_window(self, windows, _networks, _video):
    """Rows (C) or (V, C), for C = 4, whose first number is the middle of a window in seconds."""
    crops = {"center": 1, "ten": 10}[self.settings.crops]
    rows = []
    for window in windows:
        row = np.float32([(np.mean([number_of(frame) for frame in window]) + 0.5) / FPS, 0, 1, 2])
        rows.append(row if crops == 1 else np.tile(row, (crops, 1)))
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("layouts")
    (place / "videos" / "more").mkdir(parents=True)
    for name, num_frames in {"one": 97, "more/two": 41, "quiet": 50}.items():
        frames = [numbered_frame(k, height=36, width=48) for k in range(num_frames)]
        encode(place / "videos" / f"{name}.mp4", frames, fps=FPS)
    save_model(place / "m.safetensors")
    write_truth(place / "truth.json", SEGMENTS)
    return place


def write_truth(path, videos, **more):
    database = {
        name: {
            "subset": SPLITS.get(name, "training"),
            "annotations": [{"segment": [start, stop], "label": label} for start, stop, label in segments],
            **more,
        }
        for name, segments in videos.items()
    }
    path.write_text(json.dumps({"database": database}))
    return path


@pytest.fixture
def timed(monkeypatch):
    monkeypatch.setattr(FeatureExtractor, "_rows", middle_of_window)


def run(place, out, layout, *options, sources=("videos",), expected=0):
    words = [place / source for source in sources]
    words = ["i3d", "features", *words, "--out", out, "--layout", layout, "--model", place / "m.safetensors"]
    result = run_here([*words, "--device", "cpu", *options])
    assert result.returncode == expected, result.stderr
    return result.stderr


def truth_of(place):
    return "--segments", place / "truth.json"


def value_at(rows, place):
    """Between two rows, the line through them."""
    return np.interp(place, np.arange(len(rows)), rows)


# the readers, each from the published code that it names


def read_actionformer(out):
    """`libs/datasets/anet.py`: (id, features, grid, segments on it) of each video of the splits."""
    config = yaml.safe_load((out / "config.yaml").read_text())
    data = config["dataset"]
    database = json.loads(Path(data["json_file"]).read_text())["database"]
    classes = {a["label"]: a["label_id"] for entry in database.values() for a in entry["annotations"]}
    assert sorted(classes.values()) == list(range(len(classes)))
    assert data["num_classes"] == len(classes)
    for name, entry in database.items():
        assert entry["subset"].lower() in config["train_split"] + config["val_split"]
        feats = np.load(Path(data["feat_folder"]) / f"{data['file_prefix'] or ''}{name}{data['file_ext']}")
        assert feats.shape[1] == data["input_dim"]

        def grid(seconds):
            return (seconds * data["default_fps"] - 0.5 * data["num_frames"]) / data["feat_stride"]

        yield name, feats, grid, [a["segment"] for a in entry["annotations"]], entry["duration"]


def read_opentad(out):
    """`opentad/datasets/thumos.py`, ThumosPaddingDataset: whole frames; a class a line (`builder.py`)."""
    config = runpy.run_path(str(out / "config.py"))
    for part in ("train", "val"):
        data = config["dataset"][part]
        database = json.loads(Path(data["ann_file"]).read_text())["database"]
        classes = [line.rstrip("\n") for line in Path(data["class_map"]).read_text().splitlines()]
        assert config["model"]["rpn_head"]["num_classes"] == len(classes)
        assert data["block_list"] is None
        for name, entry in database.items():
            if entry["subset"] not in data["subset_name"]:
                continue
            feats = np.load(Path(data["data_path"]) / f"{name}.npy")
            assert feats.shape[1] == config["model"]["projection"]["in_channels"]
            assert all(a["label"] in classes for a in entry["annotations"])

            def grid(seconds, entry=entry, data=data):
                frame = int(seconds / entry["duration"] * entry["frame"])
                return (frame - data["offset_frames"]) / (data["feature_stride"] * data["sample_stride"])

            yield name, feats, grid, [a["segment"] for a in entry["annotations"]], entry["duration"]


def read_mmaction2(out):
    """`ActivityNetDataset`, `LoadLocalizationFeature`, `GenerateLocalizationLabels`; `post_processing`."""
    config = runpy.run_path(str(out / "config.py"))
    for part in ("train", "val"):
        data = config[f"{part}_dataloader"]["dataset"]
        for name, entry in json.loads(Path(data["ann_file"]).read_text()).items():
            path = f"{data['data_prefix']['video']}/{name}.csv"
            feats = np.loadtxt(path, dtype=np.float32, delimiter=",", skiprows=1)
            assert feats.shape == (100, config["model"]["feat_dim"])
            seconds = entry["feature_frame"] / entry["duration_frame"] * entry["duration_second"]
            predicted = entry["duration_frame"] // 16 * 16 / entry["duration_frame"] * entry["duration_second"]
            assert seconds == pytest.approx(predicted)

            def grid(time, seconds=seconds):  # anchor k begins at k / 100, and its row is there
                return min(max(time / seconds, 0), 1) * 100 - 0.5

            yield name.removeprefix("v_"), feats, grid, [a["segment"] for a in entry["annotations"]], seconds


READERS = {"actionformer": read_actionformer, "opentad": read_opentad, "mmaction2-localizer": read_mmaction2}
OTHER_SETTINGS = {
    "its own": (),
    "another stride": ("--window", "10", "--stride", "6", "--fps", "25"),
    "centred": ("--window", "9", "--stride", "3", "--fps", "25", "--window-align", "centre"),
    "repeated": ("--window", "12", "--stride", "5", "--fps", "25", "--padding", "repeat", "--window-align", "centre"),
    "each frame": ("--dense", "--window", "8", "--fps", "25"),
    "half the rate": ("--window", "4", "--stride", "2", "--fps", "12.5"),
}


@pytest.mark.parametrize("kind", OTHER_SETTINGS)
@pytest.mark.parametrize("layout", READERS)
def test_the_reader_finds_the_right_second(place, tmp_path, timed, layout, kind):
    run(place, tmp_path / "o", layout, *truth_of(place), *OTHER_SETTINGS[kind])
    videos = list(READERS[layout](tmp_path / "o"))
    quiet = {"quiet"} if layout == "opentad" else set()  # the others cannot train on it
    assert {name for name, *_ in videos} == {"one", "two"} | quiet
    for name, feats, grid, segments, seconds in videos:
        assert feats.dtype == np.float32
        assert [(start, stop) for start, stop in segments] == [s[:2] for s in sorted(SEGMENTS[name])]
        times = feats[:, 0]
        inside = [t for t in np.arange(0.4, seconds - 0.4, 0.02) if 1 <= grid(t) <= len(times) - 2]
        assert len(inside) > 20
        wrong = max(abs(value_at(times, grid(t)) - t) for t in inside)
        frame = 2 * FRAME if kind == "half the rate" else FRAME  # of which the first half of two is taken
        assert wrong <= (1.01 if layout == "opentad" else 0.51 if kind == "half the rate" else 0.03) * frame


def test_a_row_earlier_or_later_would_be_noticed(place, tmp_path, timed):
    run(place, tmp_path / "o", "actionformer", *truth_of(place))
    config = tmp_path / "o" / "config.yaml"
    config.write_text(config.read_text().replace("num_frames: 16", "num_frames: 8"))
    for _, feats, grid, *_ in read_actionformer(tmp_path / "o"):
        assert abs(value_at(feats[:, 0], grid(0.9)) - 0.9) > 2 * FRAME


@pytest.mark.parametrize("options", [(), ("--window", "8", "--stride", "8", "--fps", "25"), ("--padding", "repeat")])
def test_rtfm_compares_each_frame_with_its_label(place, tmp_path, timed, options):
    """`dataset.py`: a path a line, (T, 10, F); `test_10crop.py`: each score is repeated for the frames of its row."""
    out = tmp_path / "o"
    run(place, out, "rtfm", *truth_of(place), *options)
    (stride,) = {int(options[3])} if "--stride" in options else {16}
    training = [np.load(line, allow_pickle=True) for line in (out / "train.list").read_text().splitlines()]
    assert all(feats.shape[1:] == (10, 4) for feats in training)
    assert [line.rsplit("/", 1)[1] for line in (out / "train.list").read_text().splitlines()] == [
        "one.npy", "quiet.npy"
    ]  # fmt: skip
    assert "self.list = self.list[1:]  # is_normal" in (out / "config.txt").read_text()
    assert ("np.repeat(np.array(pred), 8)" in (out / "config.txt").read_text()) == (stride == 8)
    (line,) = (out / "test.list").read_text().splitlines()
    feats, labels = np.load(line), np.load(out / "gt.npy")
    times = np.repeat(feats[:, 0, 0], stride)
    assert len(times) == len(labels)
    assert len(feats) == (-(-41 // stride) if options[:1] == ("--padding",) else 41 // stride)
    frames = np.minimum(np.arange(len(labels)), 40)
    assert np.abs(times - (frames + 0.5) / FPS)[: 41 // stride * stride].max() <= stride / 2 * FRAME
    (segment,) = SEGMENTS["two"]
    middles = (frames + 0.5) / FPS
    assert labels.tolist() == ((segment[0] <= middles) & (middles < segment[1])).astype(float).tolist()
    assert 0 < labels.sum() < len(labels)


def test_rtfm_has_a_crop_of_one(place, tmp_path, timed):
    err = run(place, tmp_path / "o", "rtfm", "--crops", "1")
    assert np.load(tmp_path / "o" / "features" / "one.npy").shape == (6, 1, 4)
    assert "rows have 1 x 4 numbers (crops, channels), and RTFM's model.py is written for 10 x 2048" in err
    assert (tmp_path / "o" / "train.list").read_text() == ""
    assert len((tmp_path / "o" / "test.list").read_text().splitlines()) == 3


# 100 rows


@given(st.integers(1, 40), st.integers(0, 30), st.floats(-3, 3), st.floats(-3, 3))
def test_means_of_a_line_are_its_middles(num_places, shift, slope, offset):
    """Also more rows than places, and fewer; beyond the places the values are repeated."""
    places, ends = np.arange(num_places) * 7.0 + shift, np.linspace(0, 300, 101)
    values = mean_between(places, (slope * places + offset)[:, None], ends)[:, 0]
    inside = (ends[:-1] >= places[0]) & (ends[1:] <= places[-1])
    assert np.allclose(values[inside], (slope * (ends[:-1] + ends[1:]) / 2 + offset)[inside])
    assert np.allclose(values[ends[1:] <= places[0]], slope * places[0] + offset)
    assert np.allclose(values[ends[:-1] >= places[-1]], slope * places[-1] + offset)


def test_means_against_a_fine_sum():
    places, rng = np.sort(np.random.default_rng(1).uniform(0, 90, 37)), np.random.default_rng(2)
    values, ends = rng.normal(size=(37, 3)), np.linspace(0, 96, 101)
    fine = np.linspace(0, 96, 960_001)
    curve = np.stack([np.interp((fine[1:] + fine[:-1]) / 2, places, values[:, c]) for c in range(3)], axis=-1)
    assert np.allclose(mean_between(places, values, ends), curve.reshape(100, 9600, 3).mean(1), atol=1e-4)


def test_a_video_without_a_unit_of_16_frames():
    features = VideoFeatures(np.zeros((1, 2), np.float32), (Row(0, 8),), ((0.0, 0.32),), 15, ())
    with pytest.raises(VideoError, match="it has 15 frames, and MMAction2's localizers count in units of 16"):
        rescale(features, "a.mp4", fps=25.0)


# names, annotations


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unreadable_and_short_videos_are_not_listed(place, tmp_path, timed, layout):
    for name in ("broken", "short", "one"):
        (tmp_path / f"{name}.mp4").write_bytes(b"" if name != "one" else (place / "videos/one.mp4").read_bytes())
    encode(tmp_path / "short.mp4", [numbered_frame(k) for k in range(9)], fps=FPS)
    truth = write_truth(tmp_path / "t.json", {name: [(0.1, 0.3, "run")] for name in ("broken", "short", "one")})
    (tmp_path / "m.safetensors").write_bytes((place / "m.safetensors").read_bytes())
    err = run(tmp_path, tmp_path / "o", layout, "--segments", truth, sources=(".",), expected=3)
    assert "broken.mp4: the file is empty" in err
    assert "short.mp4: it has " in err
    assert "warning: 2 videos without features not listed" in err
    assert "features of 1 of 3 videos" in err
    texts = "".join(path.read_text() for path in (tmp_path / "o").iterdir() if path.suffix in (".json", ".list"))
    texts = texts.replace(str(tmp_path), "")
    assert "one" in texts
    assert "broken" not in texts
    assert "short" not in texts
    assert SMALL[layout] == {path.name for path in (tmp_path / "o").iterdir() if path.is_file()} - {RECORD}
    names = {path.stem for path in (tmp_path / "o" / "features").iterdir()}
    assert names == ({"v_one"} if layout == "mmaction2-localizer" else {"one"})


def test_all_videos_unreadable(place, tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"")
    (tmp_path / "m.safetensors").write_bytes((place / "m.safetensors").read_bytes())
    err = run(tmp_path, tmp_path / "o", "opentad", sources=("b.mp4",), expected=3)
    assert "features of 0 of 1 video" in err
    assert not (tmp_path / "o" / "annotations.json").exists()


def test_two_videos_of_one_name_are_refused(place, tmp_path):
    for folder, name in (("a", "x.mp4"), ("b", "x.mp4"), ("c", "v_x.mp4")):
        (tmp_path / "videos" / folder).mkdir(parents=True)
        (tmp_path / "videos" / folder / name).write_bytes(b"")
    (tmp_path / "m.safetensors").write_bytes((place / "m.safetensors").read_bytes())
    err = run(tmp_path, tmp_path / "o", "actionformer", expected=2)
    assert "b/x.mp4 and " in err
    assert "a/x.mp4: both are x in the layout actionformer, which has one folder; rename one" in err
    (tmp_path / "videos" / "b" / "x.mp4").unlink()
    err = run(tmp_path, tmp_path / "o", "mmaction2-localizer", expected=2)  # whose names begin with v_
    assert "both are v_x in the layout mmaction2-localizer" in err
    assert not (tmp_path / "o").exists()


def test_a_list_with_segments_is_the_ground_truth(place, tmp_path, timed):
    """A table with splits, and JSON whose names have no suffix; the annotations of the layout are read again."""
    root = place / "videos"
    rows = [f"{'more/' if name == 'two' else ''}{name}.mp4,{label},{start},{stop},{SPLITS[name]}"
            for name, segments in SEGMENTS.items() for start, stop, label in segments]  # fmt: skip
    (root / "list.csv").write_text("\n".join(["video,label,start,stop,split", *rows]) + "\n")
    write_truth(root / "list.json", SEGMENTS)
    try:
        err = run(place, tmp_path / "table", "actionformer", sources=("videos/list.csv",))
        assert "columns are not read" not in err
        run(place, tmp_path / "json", "actionformer", sources=("videos/list.json",))
    finally:
        (root / "list.csv").unlink()
        (root / "list.json").unlink()
    for name in ("table", "json"):
        videos = {video.video: video for video in read_segments(tmp_path / name / "annotations.json")}
        assert videos.keys() == {"one", "two"}
        for video in videos.values():
            assert [(s.start, s.stop, s.label) for s in video.segments] == sorted(SEGMENTS[video.video])
            assert {"train": "training", "val": "validation"}[video.split] == SPLITS[video.video]


def test_annotations_that_do_not_fit(place, tmp_path, timed):
    videos = {"one": [(3.5, 9.0, "run"), (20, 21, "run")], "v_elsewhere": [(0, 1, "jump")]}
    truth = write_truth(tmp_path / "t.json", videos, duration=30.0, subset="")
    err = run(place, tmp_path / "o", "opentad", "--segments", truth)
    for note in (
        "warning: 1 annotated video not among those given: v_elsewhere; not listed",
        "warning: 1 annotated video without a split: listed as training",
        "one.mp4: 1 segment begins after its end: left out",
        "one.mp4: 1 segment ends after its end: cut there",
        "one.mp4: its annotations are of a video of 30.0 s",
        "one.mp4: it is 3.9 s long; check that these are its annotations",
        "warning: 2 videos without annotations, such as ",
    ):
        assert note in err, err
    database = json.loads((tmp_path / "o" / "annotations.json").read_text())["database"]
    assert database.keys() == {"one"}
    assert [a["segment"] for a in database["one"]["annotations"]] == [[3.5, pytest.approx(3.9, abs=0.05)]]
    write_truth(tmp_path / "t.json", {"elsewhere": []})
    err = run(place, tmp_path / "p", "opentad", "--segments", tmp_path / "t.json", expected=2)
    assert "the annotations are of none of these videos, such as elsewhere; name the videos as they do" in err
    write_truth(tmp_path / "t.json", {"a/one": [], "b/one.mp4": []})
    err = run(place, tmp_path / "p", "opentad", "--segments", tmp_path / "t.json", expected=2)
    assert "a/one and b/one.mp4: both are annotations of " in err


def test_predictions_and_ambiguous_labels_are_reported(place, tmp_path, timed):
    listed = [
        {"label": "Ambiguous", "score": 0.5, "segment": [0, 1]},
        {"label": "unknown", "score": 0.2, "segment": [1, 2]},
    ]
    (tmp_path / "p.json").write_text(json.dumps({"version": "x", "results": {"one": listed}, "external_data": {}}))
    err = run(place, tmp_path / "o", "opentad", "--segments", tmp_path / "p.json")
    assert "1 segment labelled unknown left out" in err
    assert "1 segment with scores below 1 (the lowest 0.5): predictions become the ground truth" in err
    assert "segments labelled Ambiguous are left out by OpenTAD's data sets of THUMOS" in err
    assert (tmp_path / "o" / "category_idx.txt").read_text() == "Ambiguous\n"


def test_without_annotations_all_videos_are_of_the_subset_testing(place, tmp_path, timed):
    run(place, tmp_path / "o", "actionformer")
    database = json.loads((tmp_path / "o" / "annotations.json").read_text())["database"]
    assert {entry["subset"] for entry in database.values()} == {"testing"}
    assert yaml.safe_load((tmp_path / "o" / "config.yaml").read_text())["val_split"] == ["testing"]
    run(place, tmp_path / "m", "mmaction2-localizer")
    assert len(json.loads((tmp_path / "m" / "anet_anno_test.json").read_text())) == 3
    config = runpy.run_path(str(tmp_path / "m" / "config.py"))
    assert config["test_dataloader"]["dataset"]["ann_file"].endswith("anet_anno_test.json")


def test_videos_without_segments_are_in_no_training_list(place, tmp_path, timed):
    err = run(place, tmp_path / "o", "mmaction2-localizer", *truth_of(place))
    of_actionformer = run(place, tmp_path / "a", "actionformer", *truth_of(place))
    assert "1 training video without segments within its rows not listed, such as quiet" in of_actionformer
    write_truth(tmp_path / "t.json", {"one": [(3.83, 3.86, "late")], "quiet": [(0.5, 1, "run")]})
    run(place, tmp_path / "b", "actionformer", "--segments", tmp_path / "t.json")
    assert [name for name, *_ in read_actionformer(tmp_path / "b")] == ["quiet"]  # also checks the class numbers
    assert "1 video without segments only in anet_anno_full.json: MMAction2 cannot train or evaluate on them" in err
    assert json.loads((tmp_path / "o" / "anet_anno_train.json").read_text()).keys() == {"v_one"}
    assert json.loads((tmp_path / "o" / "anet_anno_full.json").read_text()).keys() == {"v_one", "v_two", "v_quiet"}


# files of others, resume


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_rerun_gives_the_same_bytes_and_edited_files_stay(place, tmp_path, timed, layout):
    out = tmp_path / "o"
    run(place, out, layout, *truth_of(place))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert SMALL[layout] <= {path.name for path in before}
    assert "3 reused" in run(place, out, layout, *truth_of(place))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    for name in SMALL[layout]:
        (out / name).write_bytes(b"mine")
        err = run(place, out, layout, *truth_of(place), expected=2)
        assert f"{name}: was edited since it was written, or is of another run; move it away, or replace it" in err
        assert (out / name).read_bytes() == b"mine"
        run(place, out, layout, *truth_of(place), "--force")
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_files_of_others_and_other_layouts(place, tmp_path, timed):
    out = tmp_path / "o"
    out.mkdir()
    (out / "annotations.json").write_text("{}")
    assert "annotations.json: was edited since it was written" in run(place, out, "opentad", expected=2)
    (out / "annotations.json").unlink()
    (out / "config.py").symlink_to(tmp_path / "gone")
    assert "config.py: is a link; move it away" in run(place, out, "opentad", "--force", expected=2)
    (out / "config.py").unlink()
    run(place, out, "opentad")
    err = run(place, out, "actionformer", "--force", expected=2)
    assert "holds the layout opentad; choose another --out" in err
    (out / RECORD).write_text("{")
    assert f"{RECORD}: is damaged; choose another --out" in run(place, out, "opentad", expected=2)


def test_a_video_that_is_added_or_goes(place, tmp_path, timed):
    out = tmp_path / "o"
    run(place, out, "opentad", sources=("videos/one.mp4",))
    assert "1 reused" in run(place, out, "opentad", sources=("videos/one.mp4", "videos/quiet.mp4"))
    assert json.loads((out / "annotations.json").read_text())["database"].keys() == {"one", "quiet"}
    run(place, out, "opentad", sources=("videos/quiet.mp4",))
    assert json.loads((out / "annotations.json").read_text())["database"].keys() == {"quiet"}


# options


@pytest.mark.parametrize(
    ("layout", "options", "message"),
    [
        ("actionformer", ["--fps", "native"], "needs one frame rate of all videos"),
        ("opentad", ["--crops", "10"], "has one crop in a row; leave --crops and --mirror-crops out"),
        ("opentad", ["--preset", "anomaly-10crop-16"], "has one crop in a row"),
        ("mmaction2-localizer", ["--mirror-crops"], "has one crop in a row"),
        ("actionformer", ["--grid", "--layer", "layer4"], "a row is one vector; leave --grid out"),
        ("rtfm", ["--window", "32"], "its row r is frames r x 16 to r x 16 + 15; set --window 16 and --stride 16"),
        ("rtfm", ["--dense"], "its row r is frames r x 1 to r x 1 + 0; set --window 1 and --stride 1"),
        ("actionformer", ["--array-format", "h5"], "--array-format h5: the layout actionformer has arrays as .npy"),
        ("mmaction2-localizer", ["--array-format", "npy"], "the layout mmaction2-localizer has arrays as .csv"),
        ("actionformer", ["--segments", "MODEL"], "not a file of segments"),
    ],
)
def test_options_that_a_layout_cannot_hold(place, tmp_path, layout, options, message):
    options = [place / "m.safetensors" if word == "MODEL" else word for word in options]
    assert message in run(place, tmp_path / "o", layout, *options, expected=2)
    assert not (tmp_path / "o").exists()


def test_segments_need_a_layout(place, tmp_path):
    words = ["i3d", "features", place / "videos", "--out", tmp_path / "o", "--segments", place / "truth.json"]
    result = run_here(words)
    assert result.returncode == 2
    assert "--segments: is the ground truth of a layout; name that with --layout, or leave it out" in result.stderr


def test_a_json_that_is_no_list_of_segments(place, tmp_path):
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "m.safetensors").write_bytes((place / "m.safetensors").read_bytes())
    err = run(tmp_path, tmp_path / "o", "opentad", sources=("x.json",), expected=2)
    assert "x.json: is no list of segments" in err


def test_from_python(place, tmp_path, timed):
    assert layout_settings("opentad") == FeatureSettings(window=16, stride=4, fps=30.0)
    assert {layout_settings(name) for name in LAYOUTS} <= set(SETTINGS.values())
    with pytest.raises(InputError, match="layout 'x': there are actionformer, opentad, rtfm, mmaction2-localizer"):
        layout_settings("x")
    extractor = load_extractor(place / "m.safetensors", layout_settings("opentad"), compute=ComputeConfig("cpu"))
    results = extract_layout(
        "opentad", [str(place / "videos")], tmp_path / "o", extractor, segments=place / "truth.json"
    )
    assert [row.error for row in results] == [""] * 3
    assert {name for name, *_ in read_opentad(tmp_path / "o")} == set(SEGMENTS)
    sidecar = json.loads((tmp_path / "o" / "features" / "one.json").read_text())
    assert sidecar["made_with"]["layout"] == "opentad"


def test_the_network_is_what_a_row_is(place, tmp_path):
    """Without a layout the rows are the same."""
    settings = ("--window", "8", "--stride", "8", "--fps", "25")
    run(place, tmp_path / "o", "actionformer", *settings, sources=("videos/one.mp4",))
    run_here(
        ["i3d", "features", place / "videos/one.mp4", "--out", tmp_path / "p", *settings, "--device", "cpu", "--model",
         place / "m.safetensors"]
    )  # fmt: skip
    assert (tmp_path / "o" / "features" / "one.npy").read_bytes() == (tmp_path / "p" / "one.npy").read_bytes()


def test_a_video_of_a_table_has_one_split(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("video,label,start,stop,split\na.mp4,x,0,1,val\na.mp4,y,1,2,Validation\nb.mp4,x,0,1,\n")
    assert [(video.video, video.split) for video in read_segments(path)] == [("a.mp4", "val"), ("b.mp4", "")]
    path.write_text("video,label,start,stop,split\na.mp4,x,0,1,val\na.mp4,y,1,2,train\n")
    with pytest.raises(InputError, match=r"t.csv:3: 'a.mp4': splits 'val' and 'train'; a video has one"):
        read_segments(path)
