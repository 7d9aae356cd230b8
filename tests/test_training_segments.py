"""Segments of long videos as a list to learn from: every format gives the same clips, and what lies between them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.data.check.dataset import check_annotations
from i3d.data.formats.read import read_annotations
from i3d.data.formats.training_segments import MIN_BACKGROUND, gaps
from i3d.data.segments.segment import Segment, VideoSegments
from i3d.data.segments.write import SUFFIXES, write_segments
from i3d.errors import InputError
from support.commands import run_here
from support.examples import examples
from support.finetuning_runs import frames_of, save_tiny, splits_in, train
from support.rendering import encode

NAMES = ("a", "b", "c", "d")
ORDER = [
    ("between", 30),
    ("red", 24),
    ("between", 26),
    ("blue", 24),
    ("between", 28),
    ("red", 20),
]  # frames of 25 a second
COLOURS = {"red": 0, "blue": 1, "between": 2}
LENGTH = sum(number for _, number in ORDER) / 25


def timeline(name, *, folder=""):
    segments, first = [], 0
    for label, number in ORDER:
        if label != "between":
            segments.append(Segment(first / 25, (first + number) / 25, label))
        first += number
    return VideoSegments(f"{folder}{name}.mp4", tuple(segments), seconds=LENGTH, fps=25.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Long videos in which the colour is the class."""
    root = tmp_path_factory.mktemp("long")
    (root / "videos").mkdir()
    for number, name in enumerate(NAMES):
        frames = [
            frame
            for k, (label, count) in enumerate(ORDER)
            for frame in frames_of(100 * number + k, COLOURS[label], num_frames=count)
        ]
        encode(root / "videos" / f"{name}.mp4", frames, options={"g": "10", "crf": "15"})
    return root


def truth(root, videos=None, *, subset="training", **more):
    """Annotations as ActivityNet's: IDs without suffix."""
    videos = [timeline(name) for name in NAMES] if videos is None else videos
    database = {
        video.video.removesuffix(".mp4"): {
            "subset": subset,
            "duration": video.seconds,
            "annotations": [{"label": one.label, "segment": [one.start, one.stop]} for one in video.segments],
            **more,
        }
        for video in videos
    }
    file = root / "truth.json"
    file.write_text(json.dumps({"version": "1.3", "database": database}))
    return file


def clips(annotations):
    return [
        (clip.path, clip.start_seconds, clip.end_seconds, annotations.classes[clip.labels[0]]) for clip in annotations
    ]


@pytest.mark.parametrize("kind", ["activitynet", "csv", "tsv", "eaf", "label-studio", "srt", "vtt", "chapters"])
def test_every_format_is_a_list_of_the_same_clips(root, tmp_path, kind, monkeypatch):
    videos = [timeline(name, folder="videos/") for name in NAMES]
    monkeypatch.chdir(root)
    if kind in ("eaf", "srt", "vtt", "chapters"):
        files = write_segments(tmp_path, videos, format=kind)
        source = tmp_path if kind == "eaf" else files[0]
        videos = videos if kind == "eaf" else videos[:1]
    else:
        (source,) = write_segments(tmp_path / f"s{SUFFIXES[kind]}", videos, format=kind)
    if kind == "chapters":
        with pytest.raises(InputError, match="is a video; give a list.*for its chapters, --list-format segments"):
            read_annotations(source, root=root)
    annotations = read_annotations(source, root=root, format="segments" if kind == "chapters" else "auto")
    expected = [
        (f"videos/{video.video[7:]}", one.start, one.stop, one.label) for video in videos for one in video.segments
    ]
    assert clips(annotations) == expected
    assert {clip.group for clip in annotations} <= {"", *(video.video for video in videos)}
    if kind not in ("csv", "tsv"):
        assert (
            "what lies between the segments is left out; --background adds it as a class background"
            in annotations.warnings
        )


def test_ids_are_found_below_the_root(root, tmp_path):
    annotations = read_annotations(truth(root))
    assert {clip.path for clip in annotations} == {f"videos/{name}.mp4" for name in NAMES}
    assert {clip.split for clip in annotations} == {"train"}
    assert {clip.group for clip in annotations} == {f"videos/{name}.mp4" for name in NAMES}
    (tmp_path / "v_x.mp4").touch()
    source = truth(tmp_path, [VideoSegments("x", (Segment(0, 1, "run"),))])
    assert [clip.path for clip in read_annotations(source)] == ["v_x.mp4"]
    (tmp_path / "more").mkdir()
    (tmp_path / "more/v_x.mkv").touch()
    with pytest.raises(InputError, match=r"truth\.json: 'x': may be 'v_x\.mp4', 'more/v_x\.mkv'; write its path"):
        read_annotations(source)
    (tmp_path / "t.csv").write_text("video,label,start,stop\nelsewhere/v_x.mkv,run,0,1\n")
    annotations = read_annotations(tmp_path / "t.csv")
    assert annotations[0].path == "more/v_x.mkv"
    assert (
        f"1 video found by name, not by path, below {tmp_path}: elsewhere/v_x.mkv is more/v_x.mkv"
        in annotations.warnings
    )
    (tmp_path / "t.csv").write_text("video,label,start,stop\ny.mp4,run,0,1\n")
    assert run_here(["i3d", "data", "list", tmp_path / "t.csv", "--out", tmp_path / "o.csv"]).stderr.count("y.mp4") == 1


def test_another_file_of_the_name_is_not_chosen(tmp_path, monkeypatch):
    """A list below a folder, with paths from the current one, as `i3d timeline acts/a.mp4 --out o/m.json` writes."""
    for name in ("acts/a.mp4", "o/old/a.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"not read")
    write_segments(tmp_path / "o" / "m.json", [timeline("a", folder="acts/")], format="activitynet")
    monkeypatch.chdir(tmp_path)
    message = r"acts/a.mp4': is a file of the current folder, and not below o, where 'old/a.mp4' has its name; .*--root"
    with pytest.raises(InputError, match=message):
        read_annotations(Path("o/m.json"))
    (tmp_path / "o" / "old" / "a.mp4").unlink()
    with pytest.raises(InputError, match=r"and not below o; if the list was written here, give --root \."):
        read_annotations(Path("o/m.json"))
    assert {clip.path for clip in read_annotations(Path("o/m.json"), root=Path())} == {"acts/a.mp4"}


def test_background_is_what_lies_between(root):
    for stated in (True, False):
        videos = [
            VideoSegments(one.video, one.segments, seconds=LENGTH if stated else None) for one in map(timeline, NAMES)
        ]
        annotations = read_annotations(truth(root, videos), background=True)
        assert annotations.classes == ("background", "blue", "red")
        between = [clip for clip in clips(annotations) if clip[3] == "background"]
        assert between[:3] == [
            ("videos/a.mp4", 0, 1.2, "background"), ("videos/a.mp4", 2.16, 3.2, "background"),
            ("videos/a.mp4", 4.16, 5.28, "background"),
        ]  # fmt: skip
        assert len(between) == 12
        assert {clip.group for clip in annotations if annotations.classes[clip.labels[0]] == "background"} == {
            f"videos/{name}.mp4" for name in NAMES
        }
        what = "12 clips of the class background added, 13.4 s between segments; gaps below 1 s are left out"
        assert what in annotations.warnings


@examples(100)
@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 5000)), max_size=8),
    st.integers(1, 20_000),
)
def test_gaps_and_segments_fill_the_video(drawn, length):
    """Against a count of each millisecond."""
    parts = [(start, min(start + duration, 20_000)) for start, duration in drawn if start < 20_000]
    covered = np.zeros(length, bool)
    for start, stop in parts:
        covered[start:stop] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[1], covered, [1]]).astype(int)))
    pairs = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 1000 * MIN_BACKGROUND]
    got = [(round(a * 1000), round(b * 1000)) for a, b in gaps([(a / 1000, b / 1000) for a, b in parts], length / 1000)]
    close = [pair for pair in {*got} ^ {*pairs} if abs(pair[1] - pair[0] - 1000) > 1]  # of exactly the minimum
    assert close == []


def test_overlaps_of_labels_are_reported(root):
    segments = (Segment(0, 2, "red"), Segment(1, 3, "blue"), Segment(3, 4, "red"), Segment(5, 6, "red"))
    warnings = read_annotations(truth(root, [VideoSegments("a.mp4", segments)])).warnings
    assert "2 segments overlap one of another label: each is a clip of its own, with its own label alone" in warnings
    assert not any("overlap" in warning for warning in read_annotations(truth(root)).warnings)


def test_a_class_named_background_is_the_same_class(root):
    video = timeline("a")
    own = VideoSegments("a.mp4", (*video.segments, Segment(2.3, 2.6, "background")), seconds=LENGTH)
    annotations = read_annotations(truth(root, [own]), background=True)
    assert annotations.classes == ("background", "blue", "red")
    assert "the list has 1 segment of a class background: both are one class" in annotations.warnings


def test_what_background_needs(root, tmp_path):
    (tmp_path / "x.mp4").touch()
    source = truth(tmp_path, [VideoSegments("x", (Segment(0, 1, "run"),))])
    warnings = read_annotations(source, background=True).warnings
    assert "no background of 1 video whose length is unknown, such as x.mp4" in warnings
    (tmp_path / "t.csv").write_text("path,label\na.mp4,run\nb.mp4,walk\n")
    with pytest.raises(InputError, match=r"t\.csv: clips without start and end, between which nothing lies; omit --b"):
        read_annotations(tmp_path / "t.csv", background=True)
    (tmp_path / "t.csv").write_text("path,label_id,start,end\nx.mp4,1,0,1\nx.mp4,0,1,2\n")
    with pytest.raises(InputError, match="its labels are numbers, background is a name"):
        read_annotations(tmp_path / "t.csv", background=True)
    (tmp_path / "t.csv").write_text("path,label,start,end\nx.mp4,1,0,1\nx.mp4,0,1,2\n")
    with pytest.raises(InputError, match="its labels are numbers, background is a name"):
        read_annotations(tmp_path / "t.csv", background=True)


def test_videos_without_segments_are_background_unless_they_are_a_test_set(root):
    videos = [timeline("a"), VideoSegments("b.mp4", (), seconds=LENGTH)]
    annotations = read_annotations(truth(root, videos), background=True)
    assert ("videos/b.mp4", 0, None, "background") in clips(annotations)
    source = truth(root, videos)
    content = json.loads(source.read_text())
    content["database"]["b"]["subset"] = "testing"
    source.write_text(json.dumps(content))
    annotations = read_annotations(source, background=True)
    assert not any(clip.path == "videos/b.mp4" for clip in annotations)
    assert any(warning.startswith("no background of 1 video") for warning in annotations.warnings)


def test_predictions_are_reported_and_unknown_is_left_out(root, tmp_path):
    """Nor is what was unknown background."""
    segments = (Segment(0, 1.2, "unknown", 0.2), Segment(1.2, 2.16, "red", 0.625), Segment(3.2, 4.16, "blue"))
    for kind in ("activitynet", "csv", "label-studio"):
        video = VideoSegments("videos/a.mp4", segments, seconds=LENGTH, fps=25.0)
        (source,) = write_segments(tmp_path / f"{kind}{SUFFIXES[kind]}", [video], format=kind)
        annotations = read_annotations(source, root=root, background=True)
        assert clips(annotations) == [
            ("videos/a.mp4", 1.2, 2.16, "red"), ("videos/a.mp4", 3.2, 4.16, "blue"),
            ("videos/a.mp4", 2.16, 3.2, "background"), ("videos/a.mp4", 4.16, None, "background"),
        ]  # fmt: skip
        assert "1 segment labelled unknown left out" in annotations.warnings
        what = "1 segment with scores below 1 (the lowest 0.62): predictions are read as labels; correct them first"
        assert what in annotations.warnings
    assert "unknown" in read_annotations(truth(root, [VideoSegments("a.mp4", segments)])).classes
    only = VideoSegments("videos/a.mp4", segments[:1])
    (source,) = write_segments(tmp_path / "o.json", [only])
    with pytest.raises(InputError, match=r"o\.json: no segment to learn from; add one"):
        read_annotations(source, root=root)


LABEL_STUDIO = [{
    "id": 7,
    "file_upload": "0a1b2c3d-a.mp4",
    "data": {"video": "/data/upload/1/0a1b2c3d-a.mp4"},
    "predictions": [{"model_version": "x", "result": []}],
    "annotations": [{"was_cancelled": True, "result": []}, {"ground_truth": False, "result": [
        {"id": "a", "type": "timelinelabels", "from_name": "t", "to_name": "video",
         "value": {"ranges": [{"start": 31, "end": 54}, {"start": 133, "end": 152}], "timelinelabels": ["red"]}},
        {"id": "b", "type": "timelinelabels", "from_name": "t", "to_name": "video",
         "value": {"ranges": [{"start": 81, "end": 104}], "timelinelabels": ["blue"]}},
        {"id": "b", "type": "timelinelabels", "value": {"sequence": [], "framesCount": 152, "duration": 6.08,
                                                        "timelinelabels": ["blue"]}},
        {"id": "c", "type": "choices", "value": {"choices": ["x"]}},
    ]}],
}]  # fmt: skip


def export(root, change):
    content = json.loads(json.dumps(LABEL_STUDIO))
    change(content[0])
    (root / "export.json").write_text(json.dumps(content))
    return root / "export.json"


def annotate_twice(task):
    task["annotations"][0]["was_cancelled"] = False


@pytest.mark.parametrize(
    "change",
    [
        lambda task: task["data"].update(fps=25),
        lambda task: task["data"].update(framesCount=152, duration=6.08),
        lambda task: task["annotations"][1]["result"][0]["value"].update(framesCount=152, duration=6.08),
        lambda task: task["data"].update(fps="25"),
        lambda task: (
            task["data"].update(fps=25),
            annotate_twice(task),
            task["annotations"][1].update(ground_truth=True),
        ),
    ],
)
def test_an_export_of_label_studio(root, change):
    annotations = read_annotations(export(root, change))
    assert clips(annotations) == [
        ("videos/a.mp4", one.start, one.stop, one.label) for one in sorted(timeline("a").segments)
    ]
    assert "2 results that are no ranges of a timeline left out" in annotations.warnings


def test_the_frame_rate_of_an_export_goes_before_a_given_one(root):
    source = export(root, lambda task: task["data"].update(fps=25))
    assert clips(read_annotations(source, fps=50)) == clips(read_annotations(source))


def test_an_export_in_short_form(root):
    ranges = [{"ranges": [{"start": 31, "end": 54}], "timelinelabels": ["red"]}]
    (root / "min.json").write_text(json.dumps([{"id": 1, "video": "s3://bucket/a.mp4", "tl": ranges, "annotator": 1}]))
    with pytest.raises(InputError, match='the frame rate is unknown, which turns its frames into seconds; add "fps"'):
        read_annotations(root / "min.json")
    assert clips(read_annotations(root / "min.json", fps=25)) == [("videos/a.mp4", 1.2, 2.16, "red")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda _: None,
            'task 7: the frame rate is unknown.*add "fps" to the data of the task, or give.*--list-fps',
        ),
        (annotate_twice, "task 7: 2 annotations, and none marked as the ground truth; mark one"),
        (lambda task: task["data"].clear(), "task 7: its data names no video"),
        (lambda task: task["annotations"][1].update(result=None), "task 7: has no list of results"),
        (
            lambda task: (
                task["data"].update(fps=25),
                task["annotations"][1]["result"][0]["value"].update(ranges=[{"start": 0, "end": 3}]),
            ),
            "task 7: .*not a range of frames from 1",
        ),
        (
            lambda task: (
                task["data"].update(fps=25),
                task["annotations"][1]["result"][0]["value"].update(timelinelabels=[]),
            ),
            "task 7: a range has no label",
        ),
    ],
)
def test_wrong_exports_are_errors(root, change, message):
    with pytest.raises(InputError, match=message):
        read_annotations(export(root, change))


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ([2, 1], r"truth\.json: a: segment 0: run: from 2 to 1 s is no segment; correct it"),
        ([1, 1], "from 1 to 1 s is no segment"),
        ([-1, 1], "from -1 to 1 s is no segment"),
        (["x", 1], "start 'x': not a number"),
        ([1], r'segment 0: has no "segment": \[start, stop\]'),
        ([None, 1], "start 'None': not a number"),
    ],
)
def test_wrong_segments_are_errors(root, segment, message):
    source = truth(root, [timeline("a")])
    content = json.loads(source.read_text())
    content["database"]["a"]["annotations"] = [{"label": "run", "segment": segment}]
    source.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_annotations(source)


def test_a_segment_behind_the_end_of_its_video_is_an_error_of_the_check(root):
    source = truth(root, [VideoSegments("a.mp4", (Segment(0, 1, "red"), Segment(7, 9, "blue")))])
    report = check_annotations(read_annotations(source), num_workers=0)
    assert report.num_bad == 1
    assert "the part begins at 7.000 s, the video ends at 6.080 s" in report.rows[1].reason


EAF = """<?xml version="1.0" encoding="UTF-8"?>{doctype}
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="{units}">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///D:/a.wav" MIME_TYPE="audio/x-wav"/>
<MEDIA_DESCRIPTOR MEDIA_URL="file:///D:/my%20data/a.mp4" MIME_TYPE="video/mp4"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1200"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2160"/>
<TIME_SLOT TIME_SLOT_ID="ts3"/></TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="l" TIER_ID="person 1">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>red &amp; x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
<ANNOTATION_VALUE>x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER LINGUISTIC_TYPE_REF="l" PARENT_REF="person 1" TIER_ID="notes">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1"><ANNOTATION_VALUE>n</ANNOTATION_VALUE>
</REF_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>
"""


def test_a_file_of_elan(root):
    source = root / "e.eaf"
    source.write_text(EAF.format(doctype="", units="milliseconds"))
    annotations = read_annotations(source, multi_label=True)
    assert [clip.path for clip in annotations] == ["videos/a.mp4"]  # one clip with both labels
    assert annotations.classes == ("person 1", "red & x")
    assert "2 annotations without times of their own are left out" in annotations.warnings
    assert "1 annotation without a value: the label is the name of the tier" in annotations.warnings
    with pytest.raises(InputError, match=r"e\.eaf: 'videos/a\.mp4': is also listed with another label; remove one"):
        read_annotations(source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            EAF.format(doctype='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', units="milliseconds"),
            "a document type",
        ),
        (EAF.format(doctype="", units="NTSC-frames"), "its times are NTSC-frames"),
        ("<a/>", "its root is a, not ANNOTATION_DOCUMENT"),
        ("<a", "not XML"),
        ("", "not XML"),
    ],
)
def test_wrong_files_of_elan_are_errors(tmp_path, content, message):
    (tmp_path / "e.eaf").write_text(content)
    with pytest.raises(InputError, match=message):
        read_annotations(tmp_path / "e.eaf")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.srt", "hello\n", "no subtitles"),
        ("a.srt", "1\n00:01 --> 00:02\nx\n", r"a\.srt:2: '00:01 --> 00:02': not the times of a cue"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\n\n", r"a\.srt:3: the cue has no text"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nx\ny\n", "two lines"),
        (
            "a.srt",
            "1\n00:00:01,000 --> 00:00:02,000\nx\n\ny\n",
            r"a\.srt:5: 'y': is in no cue; write it below the times",
        ),
        ("a.srt", "1\n00:00:02,000 --> 00:00:01,000\nx\n", r"a\.srt:2: x: from 2 to 1 s is no segment"),
        (
            "a.vtt",
            "WEBVTT - by me\n\nNOTE\nnot read\n\nname\n00:01.000 --> 00:02.000\nx\n\nrun\n",
            r"a\.vtt:10: 'run': is in no cue",
        ),
        ("a.vtt", "1\n00:00:01.000 --> 00:00:02.000\nx\n", "does not begin with WEBVTT"),
        ("a.json", '{"results": {"a": 3}}', "not a list of segments"),
        ("a.json", '{"results": {"a": [{"segment": [0, 1]}]}}', "label 'None': not a name"),
        (
            "a.json",
            '{"results": {"a": [{"label": "x", "segment": [0, 1], "score": 2}]}}',
            "the score 2 is not from 0 to 1",
        ),
        ("a.json", '{"database": {"a": {"annotations": [], "subset": "x"}}}', "subset 'x': not one of"),
        ("a.json", '{"database": {"a": {"annotations": [], "duration": -1}}}', "duration '-1': not a positive number"),
        ("a.csv", "video,label,start,stop,score\na.mp4,x,0,1,7\n", r"a\.csv:2: '7': not a score from 0 to 1"),
    ],
)
def test_wrong_files_are_errors(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_annotations(tmp_path / name)
    assert str(error.value).count(name) == 1


@pytest.mark.slow
def test_a_network_learns_from_segments(root, tmp_path):
    source = truth(root)
    content = json.loads(source.read_text())
    content["database"]["d"]["subset"] = "validation"
    source.write_text(json.dumps(content))
    tiny = save_tiny(tmp_path / "tiny.safetensors")
    printed = train(source, tmp_path / "w", tiny, "--background", "--train-layers", "head")
    assert "12 clips of the class background added" in printed
    rows = splits_in(tmp_path / "w")
    assert {row["label"] for row in rows} == {"background", "blue", "red"}
    by_video = {}
    for row in rows:
        by_video.setdefault(row["path"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in by_video.values())  # parts of one video stay together
    result = run_here(
        ["i3d", "test", tmp_path / "w", "--data", source, "--background", "--out", tmp_path / "r.json", "--workers", 0,
         "--device", "cpu"]
    )  # fmt: skip
    assert result.returncode == 0, result.output
    assert len(json.loads((tmp_path / "r.json").read_text())["clips"]) == 6  # of the validation split
    listed = run_here(["i3d", "data", "list", source, "--background", "--out", tmp_path / "l.csv", "--root", root])
    assert listed.returncode == 0, listed.output
    again = read_annotations(tmp_path / "l.csv", root=root)
    assert clips(again) == clips(read_annotations(source, background=True))


def test_nothing_is_nan():
    assert gaps([], 0.5) == []
    assert gaps([(0, math.inf)], 9.0) == []
