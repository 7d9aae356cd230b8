"""Files, folders, patterns and lists become paths. (users.md: paths with spaces, BOM, CRLF; faults.md A6, A7)"""

import re

import pytest
from PIL import Image

from i3d.data.formats.inputs import expand_inputs
from i3d.data.formats.read import read_annotations
from i3d.errors import InputError
from i3d.inference.sources import expand, is_many


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [
        "b/clip10.mp4",
        "b/clip2.MP4",
        "a/x (1).mkv",
        "a/notes.txt",
        "top.webm",
        "a/.hidden.mp4",
        "a/poster.jpg",
    ]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "shots" / "one").mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (4, 4)).save(tmp_path / "shots" / "one" / f"{i}.png")
    return tmp_path


def test_a_folder_is_its_videos_and_frame_folders_in_natural_order(tree):
    paths = [p.removeprefix(f"{tree}/") for p in expand_inputs([str(tree)])]
    assert paths == ["top.webm", "a/x (1).mkv", "b/clip2.MP4", "b/clip10.mp4", "shots/one"]


def test_a_folder_of_frames_is_one_video(tree):
    assert expand_inputs(["shots/one"]) == ["shots/one"]
    assert expand_inputs(["shots"]) == ["shots/one"]
    assert expand_inputs(["shots/one/%d.png"]) == ["shots/one/%d.png"]


def test_the_order_of_arguments(tree):
    assert expand_inputs(["top.webm", "b"]) == ["top.webm", "b/clip2.MP4", "b/clip10.mp4"]
    assert expand_inputs(["gone.mp4", "top.webm"]) == ["gone.mp4", "top.webm"]


def test_patterns(tree):
    assert expand_inputs(["b/*"]) == ["b/clip2.MP4", "b/clip10.mp4"]
    assert expand_inputs(["**/*.mkv"]) == ["a/x (1).mkv"]
    assert expand_inputs(["a/x (1).mkv"]) == ["a/x (1).mkv"]
    (tree / "[1].mp4").write_bytes(b"")
    assert expand_inputs(["[1].mp4"]) == ["[1].mp4"]
    with pytest.raises(InputError, match="no file matches"):
        expand_inputs(["*.nothing"])


def test_lists_of_paths_and_of_mmaction2(tree):
    text = "\ufefftop.webm\r\n\r\na/x (1).mkv 17\r\nshots/one 3 5\r\nabsent.mp4 1\r\n"
    (tree / "list.txt").write_text(text, encoding="utf-8")
    assert expand_inputs(["list.txt"]) == ["top.webm", "a/x (1).mkv", "shots/one", "absent.mp4 1"]


@pytest.mark.parametrize(("name", "delimiter"), [("l.csv", ","), ("l.csv", ";"), ("l.tsv", "\t")])
def test_tables_with_a_path_column(tree, name, delimiter):
    rows = [["label", "file"], ["x", "top.webm"], ["y", '"b/clip2.MP4"']]
    (tree / name).write_text("\n".join(delimiter.join(row) for row in rows))
    assert expand_inputs([name]) == ["top.webm", "b/clip2.MP4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the list is empty"),
        (b"a.mp4\nb\xff.mp4\n", "list.txt:2: not UTF-8"),
    ],
)
def test_bad_lists(tree, content, message):
    (tree / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        expand_inputs(["list.txt"])


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("ava_val_v2.2.csv", "1j20qq1JyX4,0902,0.002,0.118,0.714,0.977,12,0\n", "annotations of AVA"),
        ("a.txt", "1j20qq1JyX4,0902,0.002,0.118,0.714,0.977,12,0\n", "annotations of AVA"),
        ("thumos14_proposal_list.txt", "# 0\nvideo_1\n5666\n1\n5\n8 1 9\n", "a proposal list"),
    ],
)
def test_lists_of_other_tasks_are_named(tree, name, content, what):
    (tree / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}:1: {what}.*; give the videos, their folder, or a list with a path"):
        expand_inputs([name])


def test_a_table_without_a_path_column(tree):
    (tree / "l.csv").write_text("name,label\nx,1\n")
    with pytest.raises(InputError, match=r"l.csv:1: 'name, label': no column path, file, video; rename"):
        expand_inputs(["l.csv"])


def test_a_line_without_a_path_is_named(tree):
    (tree / "l.csv").write_text("path,label\ntop.webm,1\n,3\n\n")
    with pytest.raises(InputError, match=r"l.csv:3: '': the column path is empty; write a path, or remove the line"):
        expand_inputs(["l.csv"])


def test_missing_files_and_empty_folders(tree):
    (tree / "void").mkdir()
    with pytest.raises(InputError, match="void: the folder contains no video and no frames"):
        expand_inputs(["void"])
    with pytest.raises(InputError, match="gone.mp4: no such file"):
        expand_inputs(["gone.mp4"])


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["clip", "b.foo", "c.FOO", "d.bin"], "4 files are left out, .* (1 without a suffix, 1 .bin, 2 .foo); rename"),
        (["clip"], "1 file is left out, with names that are not those of videos (1 without a suffix); rename the"),
        (["a.txt", "b.json", ".hidden", "README", "f.npy", "p.png", "m.safetensors", "c.srt"], ""),
    ],
)
def test_files_that_may_be_videos_are_not_left_out_in_silence(tree, caplog, names, what):
    (tree / "set" / "run").mkdir(parents=True)
    for name in ("a.mp4", *names):
        (tree / "set" / "run" / name).write_bytes(b"")
    assert expand_inputs(["set"]) == ["set/run/a.mp4"]
    warnings = read_annotations(tree / "set").warnings
    for message in (*(record.getMessage().removeprefix("set: ") for record in caplog.records), *warnings):
        assert not what or re.match(re.escape(what).replace(r"\.\*", ".*"), message) or "one class" in message
    assert len(caplog.records) == len(warnings) - 1 == bool(what)
    (tree / "set" / "run" / "a.mp4").unlink()
    for read in (read_annotations, lambda path: expand_inputs([str(path)])):
        with pytest.raises(InputError, match="left out, with names" if what else "no video and no f"):
            read(tree / "set")
    caplog.clear()
    assert is_many("set/../b")
    assert list(expand("b")) == ["b/clip2.MP4", "b/clip10.mp4"]
    (tree / "b" / "clip").write_bytes(b"")
    list(expand("b"))
    assert len(caplog.records) == 1


COMMENTED = {  # lists with a comment in every place, and the paths of their clips
    "l.txt": ("# made by me\ntop.webm 0\n  # second\nb/clip2.MP4 1\n# \n", ["top.webm", "b/clip2.MP4"]),
    "frames.txt": ("# folders\nshots/one 3 0\n", ["shots/one"]),
    "testlist01.txt": ("# ucf\nArchery/v_Archery_g01_c01.avi\n", ["Archery/v_Archery_g01_c01.avi"]),
    "something-v1-train.csv": ("# first\n12;a b\n# 13;c\n", ["12"]),
}


@pytest.mark.parametrize("name", COMMENTED)
def test_comments_are_no_clips_in_lists_of_one_clip_a_line(tree, name):
    text, paths = COMMENTED[name]
    (tree / name).write_text(text)
    assert [clip.path for clip in read_annotations(tree / name)] == paths
    if name in ("l.txt", "frames.txt"):
        assert expand_inputs([name]) == paths


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "path,start,end\ntop.webm,1,2\n", "these columns are not read: start, end; whole videos are"),
        ("l.csv", "path,label,end_frame\ntop.webm,x,2\n", "these columns are not read: end_frame; whole videos are"),
        ("l.txt", "top.webm 3\n", "the numbers behind its paths (frames, labels) are not read: whole clips are"),
        ("l.txt", "shots/one 1 2 5\n", "the numbers behind its paths (frames, labels) are not read: whole clips are"),
        ("l.csv", "path,label\ntop.webm,x\n", ""),
        ("l.txt", "top.webm\n", ""),
    ],
)
def test_what_a_list_of_videos_holds_beside_them_is_named(tree, caplog, name, text, message):
    (tree / name).write_text(text)
    with caplog.at_level("INFO", "i3d"):
        assert len(expand_inputs([name])) == 1
    assert [record.getMessage() for record in caplog.records] == ([f"{name}: {message}"] if message else [])
