"""Each layout of the field from its files on disk to the pixels and labels of a batch.

The frames of rendered clip k are numbered 16k, 16k + 1 ...: a clip that comes from a mistaken file shows.
"""

import functools
import json
import re
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from i3d.data.class_files import class_names
from i3d.data.formats.read import read_annotations
from i3d.data.frame_folders import FrameNaming, open_frames
from i3d.data.labels import dataset_labels
from i3d.data.loading.dataset import ClipDataset, TestView, TrainView
from i3d.data.loading.loader import ClipLoader
from i3d.data.pack import pack_dataset
from i3d.errors import InputError, VideoError
from i3d.recipes.augmentation import Augmentation, CenterCrop, TrainSampling
from i3d.recipes.settings import ClipProtocol, Preprocessing
from support.commands import run
from support.rendering import encode, numbered_frame, read_number

LENGTH, SIDE = 16, 64  # frames of a rendered clip, and their height and width
TRAINING = TrainView(
    TrainSampling(clip_len=4, frame_interval=2), Augmentation(resize=None, crop=CenterCrop(), size=SIDE, flip=0.0)
)
TESTING = TestView(
    ClipProtocol(clip_len=4, frame_interval=2, num_clips=2, crops="center"), Preprocessing(short_side=SIDE, crop=SIDE)
)
CODECS = {".webm": "libvpx", ".avi": "mpeg4"}
KINETICS = "label,youtube_id,time_start,time_end,split\n"


def rendered_frames(numbers):
    return [numbered_frame(LENGTH * k + i, height=SIDE, width=SIDE) for k in numbers for i in range(LENGTH)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Puts a video of rendered clips, one after the other, where it is wanted; each is encoded once."""
    store = tmp_path_factory.mktemp("videos")

    @functools.cache
    def encoded(numbers, suffix):
        codec = CODECS.get(suffix, "libx264")
        return encode(store / f"{numbers}{suffix}", rendered_frames(numbers), codec=codec, options={"g": "8"})

    def put(path, *numbers):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(encoded(numbers, path.suffix.lower()), path)

    return put


def frames(folder, *numbers, template="img_{:05d}.jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame_HWC in enumerate(rendered_frames(numbers), start=1):
        assert cv2.imwrite(str(folder / template.format(i)), frame_HWC[..., ::-1])


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def loaded(annotations, *, multi_label=False, workers=0):
    """(path, number of the rendered clip, label) of every clip, the same in training and in testing."""
    rows_of_views = []
    for view in (TRAINING, TESTING):
        dataset = ClipDataset(annotations, view, seed=1, multi_label=multi_label)
        rows = {}
        for batch in ClipLoader(dataset, batch_size=3, num_workers=workers).batches():
            clips = batch.clips_NVTHWC[:, 0] if view is TRAINING else [v.clips(0, 1)[0] for v in batch.views_N]
            for index, clip_THWC, label in zip(batch.indices_N.tolist(), clips, batch.labels_N.tolist(), strict=True):
                first, *others = (read_number(frame) for frame in clip_THWC.numpy())
                assert others == [first + 2, first + 4, first + 6]
                assert first // LENGTH == others[-1] // LENGTH  # within what is listed
                rows[index] = (annotations.path(index), first // LENGTH, label)
        rows_of_views.append([rows[index] for index in range(len(annotations))])
    assert rows_of_views[0] == rows_of_views[1]
    return rows_of_views[0]


def assert_clips(annotations, expected, tmp_path, *, multi_label=False):
    """From the files, and again from shards of them."""
    assert loaded(annotations, multi_label=multi_label) == expected
    pack_dataset(annotations, tmp_path / "packed")
    packed = read_annotations(tmp_path / "packed", multi_label=multi_label)
    assert packed.classes == annotations.classes
    assert [replace(clip, line=0) for clip in packed] == [replace(clip, line=0) for clip in annotations]
    assert loaded(packed, multi_label=multi_label, workers=1) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("between", "mark", "line", "end"),
    [(" ", "", "\n", "\n\n\n"), ("\t", "\ufeff", "\r\n", "\r\n"), (",", "", "\n", ""), (", ", "\ufeff", "\n", "\n")],
)
def test_mmaction2_videos(tmp_path, video, between, mark, line, end):
    names = ["some dir/drinking (31).mp4", "küche/日本 ü.mp4", "12 34.mp4"]
    for k, name in enumerate(names):
        video(tmp_path / "videos" / name, k)
    text = mark + line.join(f"{name}{between}{2 - k}" for k, name in enumerate(names)) + end
    annotations = read_annotations(write(tmp_path / "lists/train.txt", text), root=tmp_path / "videos")
    assert annotations.classes == ("class 0", "class 1", "class 2")
    assert_clips(annotations, [(name, k, 2 - k) for k, name in enumerate(names)], tmp_path)


@pytest.mark.parametrize("between", [" ", "\t", ","])
def test_mmaction2_frames(tmp_path, between):
    frames(tmp_path / "raw/k (7) ü", 4)
    frames(tmp_path / "raw/clip 12", 5)
    source = write(tmp_path / "l.txt", f"clip 12{between}16{between}0\r\nk (7) ü{between}16{between}1")
    annotations = read_annotations(source, root=tmp_path / "raw")
    assert_clips(annotations, [("clip 12", 5, 0), ("k (7) ü", 4, 1)], tmp_path)
    source = write(tmp_path / "m.txt", f"clip 12{between}16{between}2{between}1\n")
    several = read_annotations(source, root=tmp_path / "raw", multi_label=True)
    assert loaded(several, multi_label=True) == [("clip 12", 5, [0, 1, 1])]


@pytest.mark.parametrize("between", [" ", "\t", ","])
def test_mmaction2_frames_with_offsets(tmp_path, between):
    frames(tmp_path / "long", 1, 2, 3)
    lines = [between.join(("long", str(first), "16", str(label))) for first, label in ((32, 0), (0, 1), (16, 0))]
    annotations = read_annotations(write(tmp_path / "l.txt", "\n".join(lines)), format="frames-offset")
    assert loaded(annotations) == [("long", 3, 0), ("long", 1, 1), ("long", 2, 0)]
    with pytest.raises(InputError, match=r"l\.txt:1: 'long': has frames from the middle of a folder"):
        pack_dataset(annotations, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize("between", [" ", "\t", ","])
def test_mmaction2_several_labels(tmp_path, video, between):
    video(tmp_path / "a b.mp4", 6)
    video(tmp_path / "c.mp4", 7)
    source = write(tmp_path / "l.txt", f"a b.mp4{between}3{between}0\nc.mp4{between}2")
    expected = [("a b.mp4", 6, [1, 0, 0, 1]), ("c.mp4", 7, [0, 0, 1, 0])]
    assert_clips(read_annotations(source, multi_label=True), expected, tmp_path, multi_label=True)


@pytest.mark.parametrize("place", ["{name}", "{label}/{name}", "{split}/{name}", "{split}/{label}/{name}"])
@pytest.mark.parametrize("blank", [" ", "_"])
def test_kinetics(tmp_path, video, place, blank):
    paths, text = [], KINETICS
    clips = [("-a_B", "playing guitar", "train"), ("-a_B", "playing guitar", "val"), ("x", "yoga", "test")]
    for k, (youtube_id, label, split) in enumerate(clips):
        start = 1 if "{split}" in place else k  # the same clip in two splits: the folder decides
        name = f"{youtube_id}_{start:06d}_{start + 10:06d}.mp4"
        paths.append(place.format(name=name, label=label.replace(" ", blank), split=split))
        text += f'"{label}",{youtube_id},{start},{start + 10},{split}\n'
        video(tmp_path / "k" / paths[-1], k)
    annotations = read_annotations(write(tmp_path / "kinetics.csv", text), root=tmp_path / "k")
    assert annotations.classes == ("playing guitar", "yoga")
    assert [(clip.split, clip.group) for clip in annotations] == [("train", "-a_B"), ("val", "-a_B"), ("test", "x")]
    assert_clips(annotations, [(paths[0], 0, 0), (paths[1], 1, 0), (paths[2], 2, 1)], tmp_path)


def test_the_mindspore_port(tmp_path, video):
    root, name = tmp_path / "kinetics-400", "x_000001_000011.mp4"  # in all splits: the folder decides
    for k, (split, label) in enumerate([("train", "yoga"), ("val", "archery"), ("test", "")]):
        video(root / split / name, k)
        write(root / f"kinetics-400_{split}.csv", f"{KINETICS}{label},x,1,11,{split}\n")
    write(root / "cls2index.json", '{"yoga": 0, "archery": 1}')
    annotations = read_annotations(root, need_labels=False)
    assert annotations.classes == ("yoga", "archery")
    assert sorted(loaded(annotations)) == [(f"test/{name}", 2, -1), (f"train/{name}", 0, 0), (f"val/{name}", 1, 1)]
    assert_clips(read_annotations(root, split="val"), [(f"val/{name}", 1, 1)], tmp_path)


@pytest.mark.parametrize("splits", [("",), ("train", "val")])
@pytest.mark.parametrize("of_frames", [False, True])
def test_class_folders(tmp_path, video, splits, of_frames):
    expected = []
    for split in splits:
        for label, name in enumerate(("run (fast)", "wälk")):
            for clip in ("clip 2", "clip 10"):
                path = "/".join(filter(None, (split, name, clip))) + ("" if of_frames else ".mp4")
                expected.append((path, len(expected), label))
                (frames if of_frames else video)(tmp_path / "data" / path, expected[-1][1])
    annotations = read_annotations(tmp_path / "data")
    assert (annotations.classes, annotations.is_frames) == (("run (fast)", "wälk"), of_frames)
    assert [clip.split for clip in annotations] == [split for split in splits for _ in range(4)]
    assert_clips(annotations, expected, tmp_path)


@pytest.fixture
def ascend(tmp_path, video):
    root = tmp_path / "ascend"
    clips = [("train/archery/a.mp4", 1), ("train/yoga/b (1).mp4", 2), ("val/yoga/a.mp4", 3)]
    for path, k in clips:
        video(root / path, k)
    write(root / "train_label", "archery/a.mp4 5\nyoga/b (1).mp4 2")
    write(root / "val_label", "yoga/a.mp4 2\n")
    return root


def test_the_ascend_port(tmp_path, ascend):
    annotations = read_annotations(ascend)
    assert [clip.split for clip in annotations] == ["train", "train", "val"]
    expected = [("train/archery/a.mp4", 1, 5), ("train/yoga/b (1).mp4", 2, 2), ("val/yoga/a.mp4", 3, 2)]
    assert_clips(annotations, expected, tmp_path)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("column", ["path", "file", "video"])
def test_tables(tmp_path, video, kind, column):
    long = "day 1/long ü.mp4"
    video(tmp_path / "v" / long, 1, 2, 3)
    video(tmp_path / "v/whole.mkv", 4)
    rows = [  # a rendered clip lasts 0.64 s
        ("x", long, "run", 0.64, 1.28, "train", "day 1"), ("", long, "walk", "", 0.64, "train", "day 1"),
        ("x", long, "run", 1.28, "", "training", "day 1"), ("", "whole.mkv", "walk", "", "", "validation", "day 2"),
    ]  # fmt: skip
    header = ("note", column, "label", "start", "end", "split", "group")
    if kind == "jsonl":
        filled = [{key: value for key, value in zip(header, row, strict=True) if value != ""} for row in rows]
        lines = map(json.dumps, filled)
    else:
        lines = [("\t" if kind == "tsv" else ",").join(map(str, row)) for row in (header, *rows)]
    annotations = read_annotations(write(tmp_path / f"clips.{kind}", "\n".join(lines)), root=tmp_path / "v")
    assert [(clip.split, clip.group) for clip in annotations] == [*[("train", "day 1")] * 3, ("val", "day 2")]
    assert_clips(annotations, [(long, 2, 0), (long, 1, 1), (long, 3, 0), ("whole.mkv", 4, 1)], tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_tables_with_several_labels(tmp_path, video, name):
    for k in (1, 2):
        video(tmp_path / f"{k}.mp4", k)
    csv = "path,label\n1.mp4,run|a\n2.mp4,b\n"
    jsonl = '{"path": "1.mp4", "label": ["run", "a"]}\n{"path": "2.mp4", "label": "b"}\n'
    annotations = read_annotations(write(tmp_path / name, csv if name == "t.csv" else jsonl), multi_label=True)
    assert_clips(annotations, [("1.mp4", 1, [1, 0, 1]), ("2.mp4", 2, [0, 1, 0])], tmp_path, multi_label=True)


@pytest.fixture
def ucf101(tmp_path, video):
    clips = ["ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "ApplyLipstick/v_ApplyLipstick_g09_c02.avi",
             "ApplyLipstick/v_ApplyLipstick_g01_c01.avi"]  # fmt: skip
    for k, path in enumerate(clips, start=1):
        video(tmp_path / "UCF-101" / path, k)
    lists = tmp_path / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 ApplyEyeMakeup\r\n2 ApplyLipstick\r\n")
    write(lists / "trainlist01.txt", f"{clips[0]} 1\r\n{clips[1]} 2\r\n")
    write(lists / "testlist01.txt", f"{clips[2]}\r\n")
    return lists, clips


def test_ucf101(tmp_path, ucf101):
    lists, clips = ucf101
    annotations = read_annotations(lists, root=tmp_path / "UCF-101")
    assert annotations.classes == ("ApplyEyeMakeup", "ApplyLipstick")
    assert [(clip.split, clip.group) for clip in annotations] == [
        ("train", "v_ApplyEyeMakeup_g08"), ("train", "v_ApplyLipstick_g09"), ("test", "v_ApplyLipstick_g01"),
    ]  # fmt: skip
    assert_clips(annotations, [(clips[0], 1, 0), (clips[1], 2, 1), (clips[2], 3, 1)], tmp_path)
    assert loaded(read_annotations(lists / "testlist01.txt", root=tmp_path / "UCF-101")) == [(clips[2], 3, 1)]


def test_hmdb51(tmp_path, video):
    lists, root = tmp_path / "testTrainMulti_7030_splits", tmp_path / "hmdb51_org"
    names = ["April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", "a b.avi", "c.avi"]
    for k, (label, name) in enumerate(zip(("brush_hair", "clap", "clap", "clap"), names, strict=True), start=1):
        video(root / label / name, k)
    write(lists / "brush_hair_test_split1.txt", f"{names[0]} 1 \n")
    write(lists / "clap_test_split1.txt", f"{names[1]} 2 \n{names[2]} 1 \n{names[3]} 0 \n")
    write(lists / "clap_test_split2.txt", f"{names[3]} 1 \n")
    annotations = read_annotations(lists, root=root)
    assert [clip.split for clip in annotations] == ["train", "test", "train"]
    expected = [(f"brush_hair/{names[0]}", 1, 0), (f"clap/{names[1]}", 2, 1), (f"clap/{names[2]}", 3, 1)]
    assert_clips(annotations, expected, tmp_path)
    second = read_annotations(lists, root=root, fold=2, classes=dataset_labels("hmdb51"))
    assert loaded(second) == [(f"clap/{names[3]}", 4, dataset_labels("hmdb51").index("clap"))]


@pytest.fixture
def something_v1(tmp_path):
    for k, name in enumerate(("100218", "7", "24413"), start=1):
        frames(tmp_path / "20bn-something-something-v1" / name, k, template="{:05d}.jpg")
    train = "100218;Throwing something; then catching it\n24413;Folding something\n"
    write(tmp_path / "something-something-v1-train.csv", train)
    write(tmp_path / "something-something-v1-validation.csv", "7;Folding something\n")
    write(tmp_path / "something-something-v1-labels.csv", "Throwing something; then catching it\nFolding something\n")
    return tmp_path


def test_something_something_v1(tmp_path, something_v1):
    root = tmp_path / "20bn-something-something-v1"
    classes = class_names(str(tmp_path / "something-something-v1-labels.csv"))
    train, val = (
        read_annotations(tmp_path / f"something-something-v1-{split}.csv", root=root, classes=classes)
        for split in ("train", "validation")
    )
    assert (train[0].split, val[0].split, val.is_frames) == ("train", "val", True)
    assert_clips(train, [("100218", 1, 0), ("24413", 3, 1)], tmp_path)
    assert loaded(val) == [("7", 2, 1)]


@pytest.mark.slow
def test_something_something_v2(tmp_path, video):
    clips = [
        {"id": "78687", "label": "holding cup by pan", "template": "Holding [something] by [something]"},
        {"id": "42", "label": "folding shirt", "template": "Folding [something]"},
    ]
    root = tmp_path / "20bn-something-something-v2"
    for k, clip in enumerate(clips, start=1):
        video(root / f"{clip['id']}.webm", k)
    video(root / "9.webm", 3)
    source = write(tmp_path / "something-something-v2-train.json", json.dumps(clips))
    names = {"Holding something by something": "0", "Folding something": "1"}
    labels = write(tmp_path / "something-something-v2-labels.json", json.dumps(names))
    annotations = read_annotations(source, root=root, classes=class_names(str(labels)))
    assert {clip.split for clip in annotations} == {"train"}
    assert_clips(annotations, [("78687.webm", 1, 0), ("42.webm", 2, 1)], tmp_path)
    test = write(tmp_path / "something-something-v2-test.json", '[{"id": "9"}]')
    assert loaded(read_annotations(test, root=root, need_labels=False)) == [("9.webm", 3, -1)]


# the commands


def commands(source, *options, count):
    """Check the layout, measure it, write it as a list; what that list gives."""
    checked = run("data", "check", source, "--workers", "1", "--near-duplicates", "none", *options)
    assert (checked.returncode, checked.stdout) == (0, f"{count} of {count} clips are sound\n"), checked.stderr
    speed = run(
        "benchmark", "data", source, "--num-clips", "2", "--batch-size", "2", "--workers", "0", "--json", *options
    )
    assert speed.returncode == 0, speed.stderr
    assert json.loads(speed.stdout)["clips_per_second"]["0"] > 0
    out = source.parent / "out.csv"
    listed = run("data", "list", source, "--out", out, *options)
    assert listed.returncode == 0, listed.stderr
    root = options[options.index("--root") + 1] if options else source
    annotations = read_annotations(out, root=root, classes=class_names(str(out.with_suffix(".classes.txt"))))
    return [(k, label) for _, k, label in loaded(annotations)]


@pytest.mark.slow
def test_commands_on_the_ascend_port(ascend):
    assert commands(ascend, count=3) == [(1, 5), (2, 2), (3, 2)]


@pytest.mark.slow
def test_commands_on_ucf101(tmp_path, ucf101):
    assert commands(ucf101[0], "--root", tmp_path / "UCF-101", count=3) == [(1, 0), (2, 1), (3, 1)]


@pytest.mark.slow
def test_commands_on_something_something_v1(something_v1):
    source, root = something_v1 / "something-something-v1-train.csv", something_v1 / "20bn-something-something-v1"
    assert commands(source, "--root", root, count=2) == [(1, 1), (3, 0)]


@pytest.mark.parametrize(
    ("text", "command", "code", "message"),
    [
        ("a.mp4 0\nb.mp4 7\n", "data list l.txt --out o.csv --classes c.txt", 2, r"error: l\.txt:2: '7': there are 2 "),
        ("", "data list l.txt --out o.csv", 2, r"error: l\.txt: it lists no clip; "),
        ("a.mp4 0\ngöne.mp4 1\n", "benchmark data l.txt", 2, r"error: l\.txt:2: 'göne\.mp4': no such file below "),
        ("a.mp4 only\n", "data list l.txt --out o.csv", 0, r"warning: all clips are of one class, 'only': there is no"),
    ],
)  # fmt: skip
def test_ugly_lists_are_one_line(tmp_path, monkeypatch, video, text, command, code, message):
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "a.mp4", 1)
    write(tmp_path / "l.txt", text)
    write(tmp_path / "c.txt", "run\nwalk\n")
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}  # A23
    result = run(*command.split(), env=env)
    assert result.returncode == code
    assert re.match(message, result.stderr)
    assert len(result.stderr.splitlines()) == (1 if code else 2)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [  # A5, A8, A12, A23 of the catalogue of faults
        ("l.txt", "~/a.mp4 0\n", r":1: '~/a\.mp4': none of 1 clip is below"),
        ("l.txt", "$HOME/a.mp4 0\n", r":1: '\$HOME/a\.mp4': none of 1 clip is below"),
        ("l.txt", "file:///etc/a.mp4 0\n", r":1: 'file:///etc/a\.mp4': none of 1 clip is below"),
        ("l.txt", "\\\\host\\a.mp4 0\n", r":1: .*host.*: none of 1 clip is below"),
        ("l.txt", "a/../../a.mp4 0\n", r":1: 'a/\.\./\.\./a\.mp4': leads out of the root"),
        ("l.csv", "path,label\na.mp4,ru\u202en\n", r":2: 'ru\\u202en': a class name with invisible characters"),
        ("l.csv", "path;label;start\na.mp4;run;1,5\n", r":2: '1,5': start is not a time in seconds"),
        ("k.csv", f"{KINETICS}run,../../a,1,2,train\n", r":2: '\.\./\.\./a_000001_000002\.mp4': leads out of the root"),
        ("k.csv", f"{KINETICS}run,a,1,x,train\n", r":2: 'x': time_end is not a time in seconds"),
        ("v1.csv", "1;a\nx;b\n", r":2: 'x;b': not `id;label`"),
        ("v1.csv", "1;a\n2\n", r":2: '2': has no label"),
        ("v2.json", "{}", ": not a list of clips"),
        ("v2.json", '[{"id": "1", "label": "a"}, {"label": "a"}]', ": clip 1: no id"),
        ("v2.json", '[{"id": "../../x", "label": "a"}]', r": '\.\./\.\./x\.webm': leads out of the root"),
        ("v2.json", '[{"id": "1", "id": "2"}]', r": not JSON \(a key is repeated"),
        ("v2.json", "[" * 60_000, ": not JSON"),
        ("trainlist01.txt", "YoYo/v_a.avi 101\nNo/v_b.avi 1\n", r":2: 'No/v_b\.avi 1': not a line"),
        ("run_test_split1.txt", "a.avi 1\nb.avi 3\n", r":2: 'b\.avi 3': not a line"),
    ],
)  # fmt: skip
def test_ugly_layouts_name_file_line_and_value(tmp_path, name, text, message):
    with pytest.raises(InputError, match=f"{re.escape(name)}{message}") as error:
        ClipDataset(read_annotations(write(tmp_path / name, text)), TRAINING)
    assert "\n" not in str(error.value)


def test_ugly_class_files(tmp_path):
    for text in ('{"a": 1}', '{"a": 0, "b": 0}', "[0]"):
        with pytest.raises(InputError, match=r"cls2index\.json: not classes numbered from 0"):
            class_names(str(write(tmp_path / "cls2index.json", text)))
    write(tmp_path / "trainlist01.txt", "A/v_a.avi 1\n")
    write(tmp_path / "classInd.txt", "1 A\n3 B\n")
    with pytest.raises(InputError, match=r"classInd\.txt:2: '3 B': expected `2 Name`"):
        read_annotations(tmp_path / "trainlist01.txt")


@pytest.mark.parametrize(("y_side", "template"), [(48, "flow_{axis}_{:05d}.jpg"), (64, "flow_{:05d}.jpg")])
def test_ugly_flow(tmp_path, y_side, template):  # A22: axes of two sizes, and grey where x is red and y is green
    for name, side in (("flow_x_00001.jpg", 64), ("flow_y_00001.jpg", y_side), ("flow_00001.jpg", 64)):
        cv2.imwrite(str(tmp_path / name), np.full((side, 64), 90, np.uint8))
    flow, reason = FrameNaming(template, 1, "flow"), r"flow_y_00001\.jpg: .*, x has|flow_00001\.jpg: it is grey"
    with open_frames(tmp_path, flow, num_frames=1) as clip, pytest.raises(VideoError, match=reason):
        clip.frames_at([0])


# what misled once


def case(name, files, source, is_expected):
    return pytest.param(files, source, is_expected, id=name)


def places(*paths):
    return lambda annotations: [(c.path, c.first_frame) for c in annotations] == [(path, 0) for path in paths]


@pytest.mark.parametrize(
    ("files", "source", "is_expected"),
    [
        case("a folder without videos beside those of splits, as in MMAction2's own tree, makes these to classes",
              {"videos_train/run/a.mp4": "", "videos_val/walk/b.mp4": "", "annotations/kinetics_train.csv": ""}, "",
              lambda clips: clips.classes == ("run", "walk") and [c.split for c in clips] == ["train", "val"]),
        case("HMDB51's classes are in the order of file names (sword_exercise_test, sword_test), not the published",
              {f"{name}_test_split1.txt": "a.avi 1 \n" for name in dataset_labels("hmdb51")}, "",
              lambda clips: clips.classes == dataset_labels("hmdb51")),
        case("start and end of a table beside train/ are retained",
             {"train/a.mp4": "", "train.csv": "path,label,start,end\na.mp4,run,1,2\n"}, "",
             lambda clips: [(c.start_seconds, c.end_seconds) for c in clips] == [(1, 2)]),
        case("start and end of Kinetics are retained where the file is the whole video, ID.mp4",
             {"x.mp4": "", "k.csv": f"{KINETICS}run,x,0,1,train\nwalk,x,2,3,train\n"}, "k.csv",
             lambda clips: [(c.start_seconds, c.end_seconds) for c in clips] == [(0, 1), (2, 3)]),
        case("of several lists in a folder, an error names the list of its line",
             {"train/a.mp4": "", "val/b.mp4": "", "train_label": "a.mp4 0\n", "val_label": "b.mp4 1\n"}, "",
             lambda clips: clips.where(1).endswith("val_label:1")),
        case("val.txt is left out, and validation.txt is read with the files of val/",
              {f"{name}{end}": "1.mp4 0\n" for name in ("train", "val", "validation") for end in (".txt", "/1.mp4")},
              "",
              places("train/1.mp4", "val/1.mp4", "validation/1.mp4")),
        case("a list with offsets is taken for folders `a 0`",
              {"a/img_00001.jpg": "", "l.txt": "a 0 16 0\n"}, "l.txt", places("a")),
        case("the comma of a folder whose name ends in a number becomes a blank",
              {"c,12/img_00001.jpg": "", "l.txt": "c,12 16 0\n"}, "l.txt", places("c,12")),
        case("two blanks before the number at the end of a folder's name become one",
              {"c  12/img_00001.jpg": "", "l.txt": "c  12 16 0\n"}, "l.txt", places("c  12")),
        case("a first folder `video`, `file` or `path` is taken for the header of a table",
              {"video/img_00001.jpg": "", "l.txt": "video,16,0\n"}, "l.txt", places("video")),
        case("A8: a class that is only in val is a warning",
             {"l.csv": "path,label,split\na.mp4,run,train\nb.mp4,jump,val\n"}, "l.csv",
             lambda clips: any("jump" in remark for remark in clips.warnings)),
        case("A8: class names that are confusable in two alphabets are a warning",
              {"l.csv": "path,label\na.mp4,run\nb.mp4,r\u0443n\n"}, "l.csv",
              lambda clips: any("CYRILLIC" in remark for remark in clips.warnings)),
    ],
)  # fmt: skip
def test_layouts_that_mislead(tmp_path, files, source, is_expected):
    for name, content in files.items():
        write(tmp_path / name, content)
    assert is_expected(read_annotations(tmp_path / source))
