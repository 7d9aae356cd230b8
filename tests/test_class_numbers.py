"""A list that i3d writes gives the same classes when it is read, whatever the names of the classes are."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from i3d.data.annotations import build_annotations
from i3d.data.class_files import NAME_HEADERS, NUMBER_HEADERS, classes_file, read_labels
from i3d.data.formats.read import read_annotations
from i3d.data.formats.write import write_annotations, write_classes
from i3d.data.labels import clean_label, is_class_name
from i3d.data.pack import pack_dataset
from i3d.data.rows import Rows
from i3d.data.split import split_annotations
from i3d.errors import InputError
from i3d.evaluation.evaluate import match_classes
from support.commands import run
from support.examples import examples
from support.processes import locked_in_another_process
from support.rendering import render

SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")
NUMBERED = [[str(k) for k in range(12)], ["0", "1", "2", "10"], ["3", "2", "1", "0", "x"], ["class 0", "class 1"]]
# Digits, blanks, what separates fields in some format, letters of several scripts, and invisible characters.
LETTERS = st.sampled_from([*"0123456789  \t,;:|\"'#-.{aBéß日٣²\u00a0\u200b\u2028\x85", "e\u0301"])
SEPARATORS = [" ", ", ", ",", ";", "; ", ", x, "]  # of the fields of a header
NAMES = st.one_of(
    st.integers(-3, 20).map(str),
    st.integers(0, 9).map(lambda number: f"class {number}"),
    st.sampled_from(["id", "name", "label", "path", "run", "run 0", "0 run", "1.5", "train", "nan", "true", "# x"]),
    st.tuples(*[st.sampled_from(sorted({*NUMBER_HEADERS, *NAME_HEADERS}))] * 2, st.sampled_from(SEPARATORS)).map(
        lambda header: header[2].join(header[:2])
    ),
    st.lists(LETTERS, min_size=1, max_size=6).map("".join),
)
LABELS = st.sampled_from(["x", None])
CLASSES = st.lists(NAMES, min_size=1, max_size=12, unique_by=clean_label)


@pytest.fixture(scope="module", autouse=True)
def _without_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def is_name(path):
    return path.strip().strip(".") != ""


def build(names, numbers, *, frames=False, prefix="", multi_label=False):
    """Annotations as the reader of class folders builds them: labels are names."""
    rows = Rows(is_frames=frames, classes=tuple(names))
    for i, of_clip in enumerate(numbers):
        path = f"{prefix}{i}" if frames else f"{prefix}{i}.mp4"
        rows.add(path, tuple(names[number] for number in of_clip), num_frames=7 if frames else -1)
    return build_annotations(rows, source=Path("made-up"), root=Path("/nowhere"), multi_label=multi_label)


def classes_of(annotations):
    return {(clip.path, *sorted(annotations.classes[label] for label in clip.labels)) for clip in annotations}


def written_and_read(annotations, folder, suffix, **options):
    """The annotations from a list as `i3d data list` writes it, with its classes beside it."""
    source = folder / f"list{suffix}"
    write_annotations(annotations, source, force=True)
    write_classes(annotations.classes, source.with_suffix(".classes.txt"))
    return read_annotations(source, root=folder, **options)


@examples(25)
@given(CLASSES, st.data())
@example(NUMBERED[0], None)
@example(NUMBERED[2], None)
@example(["0 a", "1 b"], None)
@example(["0: class", "1: class"], None)
@example(["0", '"0"'], None)
def test_every_list_that_is_written_is_read_with_the_same_classes(tmp_path_factory, names, data):
    if not all(map(is_class_name, names)):
        with pytest.raises(InputError, match="invisible characters"):
            build(names, [[0]])
        return
    numbers = [[number] for number in range(len(names))]
    if data is not None:
        numbers = [[number] for number in data.draw(st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=9))]
    folder = tmp_path_factory.mktemp("lists")
    for frames in (False, True):
        annotations = build(names, numbers, frames=frames)
        for suffix in SUFFIXES:
            again = written_and_read(annotations, folder, suffix)
            assert again.classes == annotations.classes, suffix
            assert classes_of(again) == classes_of(annotations), suffix
    split = split_annotations(build(names, [[number] for number in range(len(names))] * 4)).annotations
    for suffix in SUFFIXES[:3]:
        again = written_and_read(split, folder, suffix)
        assert (classes_of(again), again.splits_N.tolist()) == (classes_of(split), split.splits_N.tolist())


@examples(20)
@given(CLASSES.filter(lambda names: all(map(is_class_name, names))), st.data())
def test_several_labels_are_read_as_they_were_written(tmp_path_factory, names, data):
    draw = st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=3, unique=True)
    annotations = build(names, data.draw(st.lists(draw, min_size=1, max_size=5)), multi_label=True)
    folder = tmp_path_factory.mktemp("lists")
    for suffix in SUFFIXES:
        try:
            is_several = len(annotations.labels) > len(annotations)
            again = written_and_read(annotations, folder, suffix, multi_label=is_several)
        except InputError as error:
            assert "`|`" in str(error)
            assert any("|" in name for name in names)
        else:
            assert (again.classes, classes_of(again)) == (annotations.classes, classes_of(annotations))


@examples(100)
@example(["class label", "run"])
@example(["Number, action", "run", "walk"])
@given(CLASSES.filter(lambda names: all(map(is_class_name, names))))
def test_files_of_class_names_are_read_as_they_were_written(tmp_path_factory, names):
    """Also where the first ones look like a header: `id name`, `class label`, `number, action`."""
    file = tmp_path_factory.mktemp("classes") / "c.txt"
    file.write_bytes(classes_file(tuple(names)))
    assert read_labels(file) == tuple(names)


@pytest.mark.parametrize("names", NUMBERED, ids="_".join)
def test_class_folders_after_every_list(tmp_path, monkeypatch, names):
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(names):
        for clip in ("a", "b"):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name / f"{clip}.mp4").write_bytes(f"{k}{clip}".encode())
    for suffix in SUFFIXES:
        result = run("data", "list", "set", "--out", f"set/list{suffix}")
        assert result.returncode == 0, result.stderr
        again = read_annotations(tmp_path / f"set/list{suffix}")
        assert classes_of(again) == {(f"{name}/{clip}.mp4", name) for name in names for clip in ("a", "b")}
    pack_dataset(read_annotations(tmp_path / "set"), tmp_path / "packed")
    for source in (tmp_path / "packed", tmp_path / "packed/clips.csv"):
        again = read_annotations(source)
        assert again.classes == read_annotations(tmp_path / "set").classes
        assert classes_of(again) == {(f"{name}/{clip}.mp4", name) for name in names for clip in ("a", "b")}


@pytest.mark.parametrize("names", [["3", "2", "10", "x"], ["run", "walk"]], ids="_".join)
def test_lists_of_extracted_frames_have_the_names_of_the_classes(tmp_path, monkeypatch, names):
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(names):
        (tmp_path / "set" / name).mkdir(parents=True)
        render(tmp_path / "set" / name / "a.mp4", num_frames=2 + k)
    options = ("--short-side", "16", "--workers", "0")
    assert run("data", "extract-frames", "set", "--out", "frames", *options).returncode == 0
    expected = {(f"{name}/a", name) for name in names}
    for source in ("frames/list.txt", "frames"):
        again = read_annotations(source)
        assert (again.classes, classes_of(again)) == (tuple(sorted(names)), expected)
    assert run("data", "pack", "frames/list.txt", "--out", "packed").returncode == 0
    assert classes_of(read_annotations("packed")) == expected


def test_the_classes_of_mindspore_may_be_numbers(tmp_path):
    (tmp_path / "k_train.csv").write_text("label,youtube_id,time_start,time_end\n2,a,1,11\n10,b,1,11\n0,c,1,11\n")
    (tmp_path / "cls2index.json").write_text(json.dumps({"10": 0, "2": 1, "0": 2}))
    again = read_annotations(tmp_path / "k_train.csv")
    assert (again.classes, again.labels.tolist()) == (("10", "2", "0"), [1, 0, 2])


def test_without_a_class_file_the_mindspore_port_numbers_classes_by_first_appearance(tmp_path):
    for split, labels in [("train", ["yoga", "archery", "yoga"]), ("val", ["bowling", "archery"])]:
        rows = "".join(f"{label},{split}{k},1,11\n" for k, label in enumerate(labels))
        (tmp_path / split).mkdir()
        (tmp_path / f"kinetics-400_{split}.csv").write_text(f"label,youtube_id,time_start,time_end\n{rows}")
    for source in (tmp_path, tmp_path / "kinetics-400_val.csv"):
        clips = read_annotations(source)
        assert clips.classes == ("yoga", "archery", "bowling")
        (note,) = [text for text in clips.warnings if "cls2index.json" in text]
        assert note.endswith("as they first appear in kinetics-400_train.csv, as in the MindSpore port; 0 is 'yoga'")
    assert read_annotations(tmp_path, split="val").labels.tolist() == [2, 1]
    (tmp_path / "val.csv").write_text((tmp_path / "kinetics-400_val.csv").read_text())  # a list of others
    assert read_annotations(tmp_path / "val.csv").classes == ("archery", "bowling")
    (tmp_path / "val.csv").unlink()
    (tmp_path / "cls2index.json").write_text(json.dumps({"bowling": 0, "archery": 1, "yoga": 2}))
    assert read_annotations(tmp_path, split="val").labels.tolist() == [0, 1]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize(
    ("name", "header", "lines"),
    [
        ("a.txt", "", ["a.mp4 3", "b.mp4 run"]),
        ("a.csv", "path,label\n", ["a.mp4,3", "b.mp4,run"]),
        ("a.jsonl", "", ['{"path": "a.mp4", "label": 3}', '{"path": "b.mp4", "label": "run"}']),
    ],
)
def test_a_list_of_names_and_numbers_is_refused_in_any_order(tmp_path, name, header, lines, order):
    source = tmp_path / name
    source.write_text(header + "".join(f"{lines[i]}\n" for i in order))
    line = 2 + bool(header)
    for classes in (None, ("3", "run"), ("run", "3")):
        with pytest.raises(InputError, match=rf"{name}:{line}: '(3|run)': .*(unlike|, as) the labels before it"):
            read_annotations(source, classes=classes)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_lists_of_mmaction2_hold_numbers_in_any_order(tmp_path, order):
    lines = ["a.mp4 0", "b.mp4 2", "c.mp4 1"]
    (tmp_path / "l.txt").write_text("".join(f"{lines[i]}\n" for i in order))
    clips = read_annotations(tmp_path / "l.txt", classes=("7", "1", "0"))
    assert classes_of(clips) == {("a.mp4", "7"), ("b.mp4", "0"), ("c.mp4", "1")}


def test_several_splits_are_not_written_to_a_list_without_splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.csv").write_text("path,label,split\na.mp4,run,train\nb.mp4,walk,val\n")
    refused = run("data", "list", "d.csv", "--out", "d.txt")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: d.txt: the clips are of several splits, which MMAction")
    assert not (tmp_path / "d.txt").exists()
    assert run("data", "list", "d.csv", "--split", "val", "--out", "v.txt").returncode == 0
    assert classes_of(read_annotations(tmp_path / "v.txt")) == {("b.mp4", "walk")}


@examples(50)
@given(st.lists(LETTERS, min_size=1, max_size=6).map("".join).filter(is_name), st.booleans(), LABELS)
@example(" a", False, "x")
@example("# a", False, "x")
@example("a 12", True, "x")
@example("a 12", True, None)
@example("a,", True, "x")
@example("a\nb", False, "x")
@example("a\rb", False, "x")
@example("a\tb 3", True, "x")
@example("b x.avi", True, "x")
def test_names_of_clips_are_read_as_written_or_refused(tmp_path_factory, name, frames, label):
    table, folder = Rows(is_frames=frames), tmp_path_factory.mktemp("clips")
    for path, of_clip in [(name, label), ("other", "y")]:
        labels = () if of_clip is None else (of_clip,)
        table.add(path if frames else f"{path}.mp4", labels, num_frames=3 if frames else -1)
        (folder / path).mkdir(exist_ok=True)
    annotations = build_annotations(table, source=Path("made-up"), root=folder)
    for suffix in SUFFIXES:
        try:
            again = written_and_read(annotations, folder, suffix, need_labels=False)
        except InputError as error:
            assert "which this list cannot hold" in str(error)
            assert suffix != ".jsonl"
        else:
            assert classes_of(again) == classes_of(annotations)
            assert np.array_equal(again.num_frames_N, annotations.num_frames_N)


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        ("v.txt", {"v.txt": "a.mp4 0\nb.mp4 1\n", "v.classes.txt": "walk\nhop\n"}, [2, 0]),
        ("v.csv", {"v.csv": "path,label\na.mp4,walk\nb.mp4,hop\n"}, [2, 0]),
        ("v.txt", {"v.txt": "a.mp4 0\nb.mp4 1\n"}, [0, 1]),  # numbers of the training list
        ("w.csv", {"w.csv": "path,label\na.mp4,walk\nb.mp4,hope\n"}, r"w\.csv:3: 'hope': is not one of the 3 cl"),
        ("v.txt", {"v.txt": "a.mp4 0\nb.mp4 3\n"}, r"v\.txt:2: 'class 3': is not one of the 3 classes; correct it"),
    ],
)
def test_classes_of_two_lists_are_matched_by_name(tmp_path, name, files, expected):
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    clips = read_annotations(tmp_path / name)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            clips.with_classes(("hop", "run", "walk"))
    else:
        again = clips.with_classes(("hop", "run", "walk"))
        assert (again.classes, again.labels.tolist()) == (("hop", "run", "walk"), expected)


NUMERIC = tuple(sorted(map(str, range(12))))  # 0, 1, 10, 11, 2 ...: class 2 is named 10


def numbered(folder, *, column="label"):
    (folder / "n.csv").write_text(f"path,{column}\n" + "".join(f"{k}.mp4,{k}\n" for k in range(12)))
    return read_annotations(folder / "n.csv")


def test_numbers_are_refused_where_classes_are_named_by_other_numbers(tmp_path):
    """10 of 12 clips would get another class: number 2 is the class 10, or the class named 2."""
    annotations = numbered(tmp_path)
    for use in (lambda: match_classes(annotations, NUMERIC, "m"), lambda: annotations.with_classes(NUMERIC)):
        with pytest.raises(InputError, match="its labels are numbers, and class 2 is named '10': .*label_name"):
            use()
    named = numbered(tmp_path, column="label_name")
    assert [NUMERIC[number] for number in match_classes(named, NUMERIC, "m")] == list(named.classes)
    in_order = tuple(map(str, range(12)))
    assert match_classes(annotations, in_order, "m") == tuple(range(12))
    assert match_classes(annotations, tuple("abcdefghijkl"), "m") == tuple(range(12))


def test_two_lists_share_one_file_of_classes_only_one_at_a_time(tmp_path):
    numbered(tmp_path)
    with locked_in_another_process(tmp_path / "o.classes.txt"):
        result = run("data", "list", tmp_path / "n.csv", "--out", tmp_path / "o.csv")
    assert result.returncode == 2
    assert "o.classes.txt: another run is writing it" in result.stderr
    assert not (tmp_path / "o.csv").exists()
