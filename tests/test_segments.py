"""Segments of videos in every format: written, read again, and read by the libraries of these formats."""

import html
import itertools
import json
import logging
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import quoteattr

import av
import jsonschema
import pysubs2
import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st
from pympi.Elan import Eaf

from i3d.data.segments.read import read_segments
from i3d.data.segments.segment import UNKNOWN, Segment, VideoSegments
from i3d.data.segments.write import write_segments
from i3d.errors import InputError, VideoError
from i3d.video.reader import open_video
from support.examples import examples
from support.rendering import render

SUFFIX = {
    "activitynet": ".json",
    "csv": ".csv",
    "tsv": ".tsv",
    "srt": ".srt",
    "vtt": ".vtt",
    "eaf": ".eaf",
    "label-studio": ".json",
}
FORMATS = list(SUFFIX)
OF_ONE = ("srt", "vtt", "eaf")
RUN = VideoSegments(
    "day 1/ü.mp4",
    (Segment(0, 1.234, "run", 0.5), Segment(1, 2.001, "walk & jump", 0.25), Segment(7261.5, 7262, "run")),
    seconds=9000.0,
    fps=25.0,
)


def an_object(optional=(), **properties):
    """The schema of an object with these properties, and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def one_of(items):
    return {"type": "array", "minItems": 1, "maxItems": 1, "items": items}


TEXT, SCORE, FRAME = (
    {"type": "string", "minLength": 1},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"minimum": 1, "type": "integer"},
)
RESULT = an_object(
    id=TEXT,
    type={"const": "timelinelabels"},
    from_name={"const": "timelineLabels"},
    to_name={"const": "video"},
    score=SCORE,
    meta={"type": "object"},
    value=an_object(timelinelabels=one_of(TEXT), ranges=one_of(an_object(start=FRAME, end=FRAME))),
)
TASK = an_object(
    data=an_object(
        optional=["duration"],
        video={"type": "string", "pattern": "^/data/local-files/[?]d="},
        fps={"type": "number", "exclusiveMinimum": 0},
        duration={"type": "number"},
    ),
    predictions=one_of(an_object(model_version=TEXT, score=SCORE, result={"type": "array", "items": RESULT})),
)
LABEL_STUDIO = {"type": "array", "items": TASK}


LABELS = st.sampled_from(["run", UNKNOWN, "walk & <jump>", '日本, "x"', "7", "a\tb"])


@st.composite
def timelines(draw):
    """Segments to the millisecond; those of one label do not overlap, as ELAN requires."""
    segments = []
    for label in draw(st.lists(LABELS, unique=True, max_size=3)):
        times = sorted(draw(st.lists(st.integers(0, 10_000_000), unique=True, max_size=6)))
        for start, stop in zip(times[::2], times[1::2], strict=False):
            score = draw(st.integers(0, 1_000_000)) / 1_000_000
            segments.append(Segment(start / 1000, stop / 1000, label, score))
    fps = draw(st.sampled_from([25.0, 30000 / 1001, 59.94, 12.5, None]))
    return tuple(segments), fps


def plain(video):
    return [(one.start, one.stop, one.label) for one in video.segments]


@pytest.mark.parametrize("kind", FORMATS)
@examples(40)
@given(drawn=st.lists(timelines(), min_size=1, max_size=3))
def test_round_trip(tmp_path_factory, kind, drawn):
    folder = tmp_path_factory.mktemp("r")
    videos = [VideoSegments(f"{k} é/v{k}.mp4", segments, fps=fps) for k, (segments, fps) in enumerate(drawn)]
    written = [one for video in videos for one in video.segments]
    if kind in OF_ONE and any("\t" in one.label for one in written) and kind != "eaf":
        return
    if kind == "srt" and any("<" in one.label for one in written):
        return
    files = write_segments(folder if kind in OF_ONE else folder / f"s{SUFFIX[kind]}", videos, format=kind)
    assert len(files) == (len(videos) if kind in OF_ONE else 1)
    read = read_segments(folder if kind in OF_ONE else files[0])
    listed = [video for video in videos if video.segments] if kind in ("csv", "tsv") else videos
    assert [plain(video) for video in read] == [plain(video) for video in listed]
    if kind not in OF_ONE:
        assert [video.video for video in read] == [video.video for video in listed]
        assert [one.score for video in read for one in video.segments] == [one.score for one in written]


def written(tmp_path, kind, videos):
    """The one file of these videos."""
    (file,) = write_segments(tmp_path / f"s{SUFFIX[kind]}", videos, format=kind)
    return file


def test_subtitles_are_read_by_other_libraries(tmp_path):
    expected = [(0, 1234, "run"), (1000, 2001, "walk & jump"), (7261500, 7262000, "run")]
    for kind in ("srt", "vtt"):
        subtitles = pysubs2.load(str(written(tmp_path, kind, [RUN])))
        texts = [html.unescape(one.plaintext) if kind == "vtt" else one.plaintext for one in subtitles]
        assert [(one.start, one.end, text) for one, text in zip(subtitles, texts, strict=True)] == expected
    captions = webvtt.read(str(tmp_path / "s.vtt"))
    assert [(one.start, one.end) for one in captions][-1] == ("02:01:01.500", "02:01:02.000")
    assert [html.unescape(one.text) for one in captions] == ["run", "walk & jump", "run"]


def test_elan_is_read_by_another_library(tmp_path):
    eaf = Eaf(str(written(tmp_path, "eaf", [RUN])))
    annotations = {tier: [one[:3] for one in eaf.get_annotation_data_for_tier(tier)] for tier in eaf.get_tier_names()}
    assert annotations == {
        "run": [(0, 1234, "run"), (7261500, 7262000, "run")],
        "walk & jump": [(1000, 2001, "walk & jump")],
    }
    (media,) = eaf.media_descriptors
    assert media["MIME_TYPE"] == "video/mp4"
    assert media["MEDIA_URL"].endswith("/day%201/%C3%BC.mp4")
    for tier in eaf.get_tier_names():  # ELAN refuses overlaps
        pairs = itertools.pairwise(sorted(annotations[tier]))
        assert all(before[1] <= after[0] for before, after in pairs)


def test_label_studio_tasks_have_the_form_of_its_schema(tmp_path, caplog):
    videos = [RUN, VideoSegments("b.mp4", (Segment(0, 0.01, "x"),), fps=30000 / 1001, seconds=5.0)]
    with caplog.at_level(logging.INFO, "i3d"):
        tasks = json.loads(written(tmp_path, "label-studio", videos).read_text())
    jsonschema.validate(tasks, LABEL_STUDIO)
    ranges = [one["value"]["ranges"][0] for one in tasks[0]["predictions"][0]["result"]]
    assert ranges[:2] == [{"start": 1, "end": 31}, {"start": 26, "end": 51}]  # frame 31 begins at 1.2 s
    assert tasks[1]["predictions"][0]["result"][0]["value"]["ranges"] == [{"start": 1, "end": 1}]
    assert 'frameRate="$fps"' in caplog.text
    caplog.clear()
    videos = [VideoSegments("c.mp4", (Segment(1, 2, "x"),), is_variable=True), VideoSegments("d.mp4", ())]
    (tmp_path / "s.json").unlink()
    with caplog.at_level(logging.WARNING, "i3d"):
        written(tmp_path, "label-studio", videos)
    assert "1 video of variable frame rate, such as c.mp4: Label Studio counts its frames as 25 a second" in caplog.text
    assert "1 video of unknown frame rate, such as d.mp4" in caplog.text


def test_label_studio_accepts_its_tasks_beside_the_configuration_of_the_docs(tmp_path):
    """By Label Studio's own validator: docs/dependencies.md has how to install it, and why it is not among `dev`."""
    sdk = pytest.importorskip("label_studio_sdk.label_interface", exc_type=ImportError)
    page = (Path(__file__).parent.parent / "docs" / "timeline.md").read_text()
    (example,) = re.findall(r"```xml\n(<View>.*?)```", page, re.DOTALL)
    names = "".join(f"<Label value={quoteattr(name)}/>" for name in sorted({one.label for one in RUN.segments}))
    interface = sdk.LabelInterface(re.sub(r"<Label value.*/>", lambda _: names, example))
    interface.validate()
    videos = [RUN, VideoSegments("b.mp4", (), fps=30000 / 1001, seconds=5.0)]
    tasks = json.loads(written(tmp_path, "label-studio", videos).read_text())
    prediction_of_run = tasks[0]["predictions"][0]
    for task in tasks:
        (prediction,) = task.pop("predictions")
        assert interface.validate_task(task)
        assert interface.validate_prediction(prediction, return_errors=True) == []
    del tasks[0]["data"]["video"]
    assert not interface.validate_task(tasks[0])
    (error,) = sdk.LabelInterface(example).validate_prediction(prediction_of_run, return_errors=True)
    assert "walk & jump" in error


def test_detections_have_the_form_of_activitynet(tmp_path):
    """Read as `eval_detection.py` of ActivityNet reads them: each label is looked up among those of the truth."""
    between = (Segment(1.234, 2.5, UNKNOWN, 0.125), Segment(9, 10, UNKNOWN, 0.25))
    video = replace(RUN, segments=(*RUN.segments, *between))
    file = written(tmp_path, "activitynet", [video])
    content = json.loads(file.read_text())
    assert all(field in content for field in ("results", "version", "external_data"))
    activity_index = {"run": 0, "walk & jump": 1}
    assert [activity_index[one["label"]] for listed in content["results"].values() for one in listed] == [0, 1, 0]
    assert read_segments(file) == (video,)
    rows = [
        (video, float(one["segment"][0]), float(one["segment"][1]), one["label"], one["score"])
        for video, listed in content["results"].items()
        for one in listed
    ]
    assert rows == [
        ("ü", 0.0, 1.234, "run", 0.5), ("ü", 1.0, 2.001, "walk & jump", 0.25), ("ü", 7261.5, 7262.0, "run", 1.0)
    ]  # fmt: skip


def test_videos_of_one_name_have_their_paths_as_ids(tmp_path):
    videos = [VideoSegments(f"{k}/a.mp4", (Segment(k, k + 1, "x"),)) for k in range(2)]
    file = written(tmp_path, "activitynet", videos)
    assert set(json.loads(file.read_text())["results"]) == {"0/a.mp4", "1/a.mp4"}
    assert list(read_segments(file)) == videos
    with pytest.raises(InputError, match=r"2 videos would be written to a\.srt; write a table"):
        write_segments(tmp_path, videos, format="srt")


ODD = [
    "a\nb", "a\r\nb", "a-->b", "a --> b", "a,b", "a\tb", "<b>", "&amp;", 'a"b', "'", "😀👨\u200d👩", " a", "a ", "\x00",
    "1", "\x1b[1m", "{x}", "NOTE", "WEBVTT", "a|b", '{"a": 1}', "\ufeff", "\u2028", "]]>", "=1+1", "-", "a\n\n2",
    "00:00:01,000 --> 00:00:02,000",
]  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("label", ODD)
def test_odd_labels_are_the_same_or_refused(tmp_path, kind, label):
    videos = [VideoSegments("a.mp4", (Segment(0, 1, label), Segment(1, 2, "run")), fps=25.0)]
    try:
        file = written(tmp_path, kind, videos)
    except InputError as error:
        assert "\n" not in str(error)
        assert "label" in str(error)
        assert not list(tmp_path.iterdir())
        assert label not in ("a,b", "😀👨\u200d👩", "1", "'", "=1+1", "-", 'a"b', "NOTE", "WEBVTT", "a|b")
        assert kind not in ("activitynet", "label-studio")
        return
    assert [plain(video) for video in read_segments(file)] == [plain(video) for video in videos]
    if kind == "eaf":
        assert ET.parse(file).getroot().tag == "ANNOTATION_DOCUMENT"


def packets(path):
    with av.open(str(path)) as container:
        return [(one.stream_index, one.pts, one.dts, bytes(one)) for one in container.demux() if one.dts is not None]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chapters_are_written_into_a_copy(tmp_path, suffix, caplog):
    source = render(tmp_path / f"a{suffix}", num_frames=50)
    video = VideoSegments(
        str(source),
        (Segment(0.2, 0.601, "run"), Segment(0.601, 1, "日本 & <x>"), Segment(1.5, 1.9, "run")),
        seconds=2.0,
    )
    (out,) = write_segments(tmp_path / "out.mp4", [video], format="chapters")
    with av.open(str(out)) as container:
        chapters = [
            (one["start"] * one["time_base"], one["end"] * one["time_base"], one["metadata"]["title"])
            for one in container.chapters()
        ]
    dash = "\N{EM DASH}"
    assert [(round(float(start), 3), round(float(stop), 3), title) for start, stop, title in chapters] == [
        (0, 0.2, dash), (0.2, 0.601, "run"), (0.601, 1, "日本 & <x>"), (1, 1.5, dash), (1.5, 1.9, "run"), (1.9, 2, dash)
    ]  # fmt: skip
    if suffix == ".mp4":
        assert packets(out) == packets(source)
    with open_video(source) as first, open_video(out) as second:
        assert [frame.seconds for frame in first.decode_frames()] == [frame.seconds for frame in second.decode_frames()]
    (read,) = read_segments(out)
    assert plain(read) == plain(video)
    assert not caplog.records


def test_overlapping_chapters_are_cut(tmp_path, caplog):
    source = render(tmp_path / "a.mp4", num_frames=50)
    segments = (Segment(0, 1, "low", 0.4), Segment(0.5, 1.5, "high", 0.9), Segment(0.6, 0.7, "lost", 0.1))
    with caplog.at_level(logging.WARNING, "i3d"):
        (out,) = write_segments(tmp_path / "o.mp4", [VideoSegments(str(source), segments)], format="chapters")
    assert "chapters cannot overlap: 2 segments cut or left out where another scores higher" in caplog.text
    (read,) = read_segments(out)
    assert plain(read) == [(0, 0.5, "low"), (0.5, 1.5, "high")]
    with pytest.raises(InputError, match="the file exists"):
        write_segments(out, [VideoSegments(str(source), segments)], format="chapters")
    for label in ("\N{EM DASH}", "a ", "x" * 300):
        with pytest.raises(InputError, match="label"):
            write_segments(tmp_path / "n.mp4", [VideoSegments(str(source), (Segment(0, 1, label),))], format="chapters")
    with pytest.raises(InputError, match="a video without chapters"):
        read_segments(source)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "o.mp4"}


def test_what_no_mp4_can_hold_is_an_error(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    wrong = VideoSegments(str(tmp_path / "a.mp4"), (Segment(0, 1, "x"),))
    with pytest.raises(VideoError, match="it is text, not a video"):
        read_segments(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match="a.mp4"):
        write_segments(tmp_path / "b.mp4", [wrong], format="chapters")
    assert not (tmp_path / "b.mp4").exists()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


def places(value, path=()):
    """The paths of all values in parsed JSON."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["activitynet", "label-studio", "truth", "export"])
@examples(80)
@given(data=st.data())
def test_json_with_any_value_in_any_place_is_read_or_an_error(tmp_path_factory, kind, data):
    file = tmp_path_factory.mktemp("j") / "s.json"
    if kind in ("activitynet", "label-studio"):
        write_segments(file, [RUN, VideoSegments("b.mp4", ())], format=kind)
        content = json.loads(file.read_text())
    elif kind == "truth":
        annotations = [{"label": "x", "segment": [0, 1]}]
        content = {"database": {"a": {"subset": "training", "duration": 3, "annotations": annotations}}}
    else:
        result = {"value": {"ranges": [{"start": 1, "end": 2}], "timelinelabels": ["x"]}, "meta": {"start_seconds": 0}}
        content = [{"data": {"video": "a.mp4", "fps": 25}, "annotations": [{"result": [result]}]}]
    *parents, last = data.draw(st.sampled_from([path for path in places(content) if path]))
    holder = content
    for key in parents:
        holder = holder[key]
    holder[last] = data.draw(ANYTHING)
    file.write_text(json.dumps(content))
    try:
        for video in read_segments(file):
            assert all(0 <= one.start < one.stop for one in video.segments)
    except InputError as error:
        assert "s.json" in str(error)


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", FORMATS)
@examples(30)
@given(data=st.data())
def test_damaged_files_are_read_or_an_error(tmp_path_factory, kind, data):
    (file,) = write_segments(tmp_path_factory.mktemp("d") / f"s{SUFFIX[kind]}", [RUN], format=kind)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    file.write_bytes(bytes(content))
    try:
        read_segments(file)
    except InputError as error:
        assert file.name in str(error)


def test_overlaps_of_one_label_are_merged_for_elan(tmp_path, caplog):
    segments = (Segment(0, 2, "a", 0.5), Segment(1, 3, "a", 0.7), Segment(1, 2, "b"), Segment(3, 4, "a"))
    with caplog.at_level(logging.WARNING, "i3d"):
        file = written(tmp_path, "eaf", [VideoSegments("a.mp4", segments)])
    assert "1 segment of one label that overlap another are merged with it: ELAN refuses them" in caplog.text
    (read,) = read_segments(file)
    assert plain(read) == [(0, 3, "a"), (1, 2, "b"), (3, 4, "a")]


def test_files_are_replaced_by_force_only_and_all_or_none(tmp_path):
    videos = [VideoSegments(f"{name}.mp4", (Segment(0, 1, "x"),)) for name in "ab"]
    (tmp_path / "b.vtt").write_text("mine")
    with pytest.raises(
        InputError, match=r"b\.vtt: the file exists; choose another name, or replace it with force=True"
    ):
        write_segments(tmp_path, videos, format="vtt")
    assert not (tmp_path / "a.vtt").exists()
    assert len(write_segments(tmp_path, videos, format="vtt", force=True)) == 2
    with pytest.raises(InputError, match=r"\.srt holds one video, not 2; name a folder"):
        write_segments(tmp_path / "s.srt", videos)
    with pytest.raises(InputError, match=r"no such folder; create it, or name a file that ends in \.eaf"):
        write_segments(tmp_path / "new", videos, format="eaf")
    with pytest.raises(InputError, match=r"the name must end in \.json"):
        write_segments(tmp_path / "s.csv", videos, format="activitynet")
    with pytest.raises(InputError, match="the name must end in .json, .csv, .*; or name the format"):
        write_segments(tmp_path / "s.xlsx", videos)
    with pytest.raises(InputError, match=r"a\.mp4: is listed more than once; unite its segments"):
        write_segments(tmp_path / "s.csv", [videos[0], videos[0]])
    with pytest.raises(InputError, match="its name is not UTF-8"):
        write_segments(tmp_path / "s.csv", [VideoSegments("\udcff.mp4", ())])
    (tmp_path / "a.srt").write_text("")
    with pytest.raises(InputError, match="files of several formats"):
        read_segments(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.vtt", "b.vtt", "a.srt"}


def test_videos_without_segments(tmp_path, caplog):
    videos = [VideoSegments("a.mp4", (Segment(0, 1, "x"),), fps=25.0), VideoSegments("b.mp4", (), fps=25.0)]
    for kind in FORMATS:
        if kind not in OF_ONE:
            assert len(read_segments(written(tmp_path, kind, videos))) == (1 if kind in ("csv", "tsv") else 2)
            (tmp_path / f"s{SUFFIX[kind]}").unlink()
    assert "no row for 1 video without segments, such as b.mp4; JSON holds these too" in caplog.text
    assert len(write_segments(tmp_path, videos, format="eaf")) == 2
    assert [len(video.segments) for video in read_segments(tmp_path)] == [1, 0]
