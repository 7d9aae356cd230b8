"""Columns of tables under the field's names: read, refused by name, or named in a warning; never ignored in silence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3d.data.check.dataset import check_annotations
from i3d.data.formats.inputs import expand_inputs
from i3d.data.formats.read import read_annotations
from i3d.errors import InputError
from support.commands import run
from support.evaluation_runs import save_model
from support.examples import examples
from support.rendering import render

KINDS = ("csv", "tsv", "jsonl")


def table(tmp_path, columns, rows, *, kind="csv"):
    """A table of these columns, in one of the formats."""
    if kind == "jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
    else:
        lines = [("\t" if kind == "tsv" else ",").join(map(str, row)) for row in (columns, *rows)]
    source = tmp_path / f"t.{kind}"
    source.write_text("\n".join(lines) + "\n")
    return source


def parts(annotations):
    return [(clip.start_seconds, clip.end_seconds) for clip in annotations]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("start", "end"), ("start", "stop"), ("begin", "end"), ("start_sec", "end_sec"), ("start_time", "end_time"),
        ("Start Time", "End Time"), ("time_start", "time_end"), ("start_seconds", "stop_seconds"), ("t_start", "t_end"),
        ("start_timestamp", "stop_timestamp"), ("starttime", "endtime"), ("clip_start", "clip_end"),
        ("Begin Time - ss.msec", "End Time - ss.msec"),
        ("start (s)", "end (s)"), ("segment_start", "segment_end"), ("onset", "finish"), ("begin_time", "stop"),
    ],
)  # fmt: skip
def test_the_ends_of_parts_are_read_under_many_names(tmp_path, kind, start, end):
    rows = [("a.mp4", "run", 0.5, 1), ("a.mp4", "walk", 1, 2)]
    source = table(tmp_path, ("path", "label", start, end), rows, kind=kind)
    annotations = read_annotations(source)
    assert parts(annotations) == [(0.5, 1), (1, 2)]
    assert annotations.warnings == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "columns",
    [
        ("start_ms", "end_ms"), ("start_time_ms", "end_time_ms"), ("start_us", "end_us"),
        ("start_milliseconds", "end_milliseconds"), ("start_idx", "end_idx"),
        ("time_stamp",), ("ts", "te"),
        ("timestamp",), ("time",), ("segment",), ("frame",), ("frame_id",), ("start_frame",), ("interval",),
        ("start_min", "end_min"), ("start_pts", "end_pts"), ("time_range",),
    ],
)  # fmt: skip
def test_other_times_and_frame_numbers_are_refused_by_name(tmp_path, kind, columns):
    source = table(tmp_path, ("path", "label", *columns), [("a.mp4", "run", *range(1, 1 + len(columns)))], kind=kind)
    with pytest.raises(InputError, match=rf"t\.{kind}:1: '{', '.join(columns)}': times are read .*start and end, in s"):
        read_annotations(source)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", ["start", "stop", "end_time", "begin"])
def test_one_end_alone_is_refused(tmp_path, kind, column):
    for other in ((), ("duration",), ("end_frame",) if column != "end_time" else ("start_frame",)):
        source = table(tmp_path, ("path", "label", column, *other), [("a.mp4", "run", 1, *[1] * len(other))], kind=kind)
        with pytest.raises(InputError, match=rf":1: '{column}': a table needs both ends of a part"):
            read_annotations(source)


def test_an_end_may_be_empty(tmp_path):
    source = table(tmp_path, ("path", "label", "start", "end"), [("a.mp4", "run", 1, ""), ("a.mp4", "walk", "", 1)])
    assert parts(read_annotations(source)) == [(1, None), (None, 1)]
    short = tmp_path / "short.csv"
    short.write_text("path,label,start,end\na.mp4,run,1\n")
    with pytest.raises(InputError, match=r"short\.csv:2: 'a\.mp4,run,1': 3 fields, the header has 4"):
        read_annotations(short)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("column", "values", "classes", "labels"),
    [
        *((c, ["run", "jump"], ("jump", "run"), [1, 0]) for c in ("label", "class", "Class", "action", "category",
                                                                  "activity", "label_name", "class name", "target")),
        *((c, ["10", "2"], ("10", "2"), [0, 1]) for c in ("label_name", "class_name", "category_name")),
        *((c, ["1", "0"], ("class 0", "class 1"), [1, 0]) for c in ("label_id", "class_index", "label_idx", "classid")),
    ],
)  # fmt: skip
def test_labels_are_read_under_many_names(tmp_path, kind, column, values, classes, labels):
    rows = list(zip(("a.mp4", "b.mp4"), values, strict=True))
    annotations = read_annotations(table(tmp_path, ("path", column), rows, kind=kind))
    assert (annotations.classes, annotations.labels.tolist()) == (classes, labels)
    assert annotations.warnings == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_without_labels_names_its_columns(tmp_path, kind):
    source = table(tmp_path, ("path", "movement"), [("a.mp4", "run")], kind=kind)
    with pytest.raises(InputError, match=r"'a\.mp4': no column label \(there are path, movement\); rename the column"):
        read_annotations(source)
    unlabelled = read_annotations(source, need_labels=False)
    assert unlabelled.warnings == ("these columns are not read: movement",)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_are_not_read_are_named(tmp_path, kind):
    row = ("a.mp4", 3, "run", "x", 25.0)
    annotations = read_annotations(table(tmp_path, ("path", "label_id", "label_name", "note", "fps"), [row], kind=kind))
    assert annotations.classes == ("run",)
    assert "these columns are not read: label_id, note, fps" in annotations.warnings
    for two in (("label", "class"), ("start", "begin"), ("split", "subset")):
        source = table(tmp_path, ("path", "end", *two), [("a.mp4", 1, 0, 0)], kind=kind)
        with pytest.raises(InputError, match=f"columns {', '.join(two)} mean the same; remove all but one"):
            read_annotations(source)
    source = table(tmp_path, ("path", "video", "label"), [("a.mp4", "b.mp4", "run")], kind=kind)
    readers = [read_annotations, *([] if source.suffix == ".jsonl" else [lambda path: expand_inputs([str(path)])])]
    for read in readers:
        with pytest.raises(InputError, match="columns path, video mean the same; remove all but one"):
            read(source)


@pytest.mark.parametrize("column", ["split", "subset", "partition", "set", "data_split"])
@pytest.mark.parametrize("kind", KINDS)
def test_splits_are_read_under_many_names(tmp_path, kind, column):
    rows = [("a.mp4", "run", "training"), ("b.mp4", "run", "validation"), ("c.mp4", "run", "test")]
    annotations = read_annotations(table(tmp_path, ("path", "label", column), rows, kind=kind))
    assert [clip.split for clip in annotations] == ["train", "val", "test"]


def test_rows_of_json_name_a_column_alike(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"path": "a.mp4", "label": "run"}\n{"path": "b.mp4", "label_name": "walk"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:2: 'label_name': in rows before it this column is label; use one"):
        read_annotations(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text('{"path": "a.mp4", "label": "x"}\n{"path": "b.mp4", "label": "x", "end_ms": 3}\n')
    with pytest.raises(InputError, match="'end_ms': times are read"):
        read_annotations(tmp_path / "b.jsonl")


def test_a_list_in_another_form_is_described(tmp_path):
    (tmp_path / "a.csv").write_text("a.mp4,run\nb.mp4,walk\n")
    with pytest.raises(InputError, match=r"a\.csv:1: 'a\.mp4,run': a clip, where the names of the columns should be;"):
        read_annotations(tmp_path / "a.csv")
    (tmp_path / "a.json").write_text('[{"path": "a.mp4", "label": "run"}]')
    with pytest.raises(InputError, match=r"a\.json: clip 0: no id.*; write one object a line, as \.jsonl"):
        read_annotations(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("start", "end", "is_sound"),
    [(0, 0.4, True), (0.2, "", True), (0, 0.5, True), (0, 3, False), (10, 20, False), (5, "", False), (0, 8e5, False)],
)
def test_a_part_behind_the_end_of_its_video_is_an_error_of_the_check(tmp_path, start, end, is_sound):
    render(tmp_path / "a.mp4", num_frames=12)  # of 25 a second
    source = table(tmp_path, ("path", "label", "start", "end"), [("a.mp4", "run", start, end)])
    report = check_annotations(read_annotations(source), num_workers=0)
    assert (report.num_bad == 0) == is_sound, report
    if not is_sound:
        assert "the video ends at 0.480 s; " in report.rows[0].reason


@pytest.mark.parametrize("kind", KINDS)
def test_times_that_are_hardly_seconds_are_a_warning(tmp_path, kind):
    source = table(tmp_path, ("path", "label", "start", "end"), [("a.mp4", "run", 0, 2866667)], kind=kind)
    what = "times up to 2,866,667, 796 hours if they are seconds; convert them if they are milliseconds"
    assert f"{what} or frame numbers" in read_annotations(source).warnings
    source = table(tmp_path, ("path", "label", "start", "end"), [("a.mp4", "run", 0, 7200)], kind=kind)
    assert not any("hours" in warning for warning in read_annotations(source).warnings)


@pytest.mark.parametrize("header", [",path,label", ",path,label,num_frames", ",path"])
def test_a_column_of_row_numbers_without_a_name_is_no_other_column(tmp_path, header):
    """As pandas and R write it first: it is neither a split, nor a group, nor a label."""
    columns = header.split(",")
    (tmp_path / "f").mkdir()
    values = {"": "{0}", "path": "f", "label": "a", "num_frames": "9"}
    rows = [",".join(values[name].format(number) for name in columns) for number in range(3)]
    (tmp_path / "t.csv").write_text("\n".join([header, *rows, ""]))
    annotations = read_annotations(tmp_path / "t.csv", need_labels=False)
    assert annotations.classes == (("a",) if "label" in columns else ())
    assert not any(annotations.group_names)
    assert (annotations.splits_N < 0).all()
    assert {clip.num_frames for clip in annotations} == {9 if "num_frames" in columns else None}


@pytest.mark.parametrize(("value", "group"), [(0, "0"), ("0", "0"), (None, ""), ("", "")])
def test_a_group_of_number_0_is_a_group(tmp_path, value, group):
    (tmp_path / "t.jsonl").write_text(json.dumps({"path": "a.mp4", "label": "x", "group": value}) + "\n")
    assert read_annotations(tmp_path / "t.jsonl")[0].group == group


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "column",
    [
        "fold",
        "Fold",
        "kfold",
        "cv_fold",
        "fold_id",
        "usage",
        "Phase",
        "is_test",
        "is_train",
        "isval",
        "eval",
        "test",
        "in_test",
    ],
)
def test_columns_that_may_be_a_split_are_refused_without_a_split(tmp_path, kind, column):
    source = table(tmp_path, ("path", "label", column), [("a.mp4", "run", 1)], kind=kind)
    with pytest.raises(
        InputError, match=rf"t\.{kind}:1: '{column.lower()}': may be a split, .* rename it, or remove it"
    ):
        read_annotations(source)
    source = table(tmp_path, ("path", "label", column, "split"), [("a.mp4", "run", 1, "val")], kind=kind)
    annotations = read_annotations(source)
    assert annotations[0].split == "val"
    assert f"these columns are not read: {column.lower()}" in annotations.warnings


@pytest.mark.parametrize("words", ["predict", "features --out out", "flow --out out"])
@pytest.mark.parametrize("columns", [("start", "end"), ("in", "out"), ("start_timecode", "end_timecode")])
def test_whole_videos_are_reported_once_where_times_are_not_read_with_quiet_too(tmp_path, monkeypatch, words, columns):
    monkeypatch.chdir(tmp_path)
    render(tmp_path / "a.mp4", num_frames=9)
    table(tmp_path, ("path", *columns), [("a.mp4", 0, 1)])
    options = "--flow-method dis" if "flow" in words else "--model m.safetensors"
    save_model(tmp_path / "m.safetensors")
    for quiet in ([], ["-q"]):
        result = run(*quiet, *words.split(), "t.csv", *options.split(), "--force")
        warning = f"warning: t.csv: these columns are not read: {', '.join(columns)}; whole videos are\n"
        assert result.stderr.count(warning) == 1, result.output


PAIRS = ["from,to", "min,max", "t0,t1", "tmin,tmax", "first,last", "offset,duration", "start_hms,end_hms"]
PAIRS += ["in,out", "t1,t2", "st,et", "beginning,ending", "from_sec,to_sec", "time_in,time_out", "tc_in,tc_out"]
PAIRS += ["in_point,out_point", "t_on,t_off", "beg,fin", "lo,hi", "start_frm,end_frm", "phase_start,phase_end"]


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_of_times_under_other_names_are_refused(tmp_path, pair):
    (tmp_path / "t.csv").write_text(f"path,label,{pair}\na.mp4,a,1,2\n")
    with pytest.raises(InputError, match="times are read from the columns start and end, in seconds"):
        read_annotations(tmp_path / "t.csv")
    for alone in pair.split(","):  # such as the length of a video
        (tmp_path / "t.csv").write_text(f"path,label,{alone}\na.mp4,a,1\n")
        assert f"these columns are not read: {alone}" in read_annotations(tmp_path / "t.csv").warnings


BOUNDS = (
    ["start", "begin", "starting", "started", "beg", "onset", "on", "from", "lo"],
    ["end", "stop", "finish", "ending", "ended", "fin", "offset", "off", "to", "hi"],
)


@examples(60)
@given(
    st.sampled_from(["", "t", "time", "gesture", "boundary", "activity", "x y"]),
    st.tuples(*map(st.sampled_from, BOUNDS)),
    st.sampled_from(["", "at", "pos", "stamp", "point", "hour", "clock", "date", "fr", "offset s", "hh:mm:ss:ff"]),
    st.sampled_from("_ -"),
)
def test_names_that_differ_by_a_word_of_the_ends_are_read_or_refused(tmp_path_factory, prefix, words, suffix, between):
    pair = [between.join(filter(None, (prefix, word, suffix))) for word in words]
    source = table(tmp_path_factory.mktemp("t"), ("path", "label", *pair), [("a.mp4", "x", 1, 2)])
    try:
        annotations = read_annotations(source)
    except InputError as error:
        assert any(part in str(error) for part in ("times are read from", "needs both ends", "mean the same"))
    else:
        assert parts(annotations) == [(1, 2)]


@pytest.mark.parametrize("pair", ["seg_start,seg_end", "shot_begin,shot_end", "temporal_start,temporal_end"])
def test_parts_of_segments_and_shots_are_read(tmp_path, pair):
    (tmp_path / "t.csv").write_text(f"path,label,{pair}\na.mp4,a,1,2\n")
    clip = read_annotations(tmp_path / "t.csv")[0]
    assert (clip.start_seconds, clip.end_seconds) == (1.0, 2.0)


FRAMES = [
    ("start_frame", "end_frame"), ("start_frame", "stop_frame"), ("frame_start", "frame_end"),
    ("startframe", "endframe"), ("first_frame", "last_frame"), ("begin_frame_id", "end_frame_id"),
    ("Start Frame", "End Frame"),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", FRAMES)
def test_frame_numbers_are_read_with_a_rate(tmp_path, kind, columns):
    """From a column, from an option, or from the video."""
    rows = [("a.mp4", "run", 1, 10, 20), ("a.mp4", "walk", 11, 20, 20)]
    source = table(tmp_path, ("path", "label", *columns, "fps"), rows, kind=kind)
    annotations = read_annotations(source)
    assert parts(annotations) == [(0, 0.5), (0.5, 1)]
    (warning,) = annotations.warnings
    assert warning.startswith("frame numbers count from 1, as the list has no frame 0; of frames 1 to 10, the last one")
    source = table(tmp_path, ("path", "label", *columns), [row[:4] for row in rows], kind=kind)
    assert parts(read_annotations(source, fps=10)) == [(0, 1), (1, 2)]
    with pytest.raises(
        InputError, match=r":\d: 'a\.mp4': its frame rate is unknown \(no such file\); add a column fps"
    ):
        read_annotations(source)
    render(tmp_path / "a.mp4", num_frames=20)
    assert parts(read_annotations(source)) == [(0, 0.4), (0.4, 0.8)]


def test_frame_numbers_from_0_that_share_their_ends(tmp_path):
    source = table(tmp_path, ("path", "label", "start_frame", "end_frame"), [("a", "x", 0, 10), ("a", "y", 10, 20)])
    annotations = read_annotations(source, fps=10)
    assert parts(annotations) == [(0, 1), (1, 2)]
    assert (
        "count from 0, as the list has a frame 0; of frames 0 to 10, the last one is the first of"
        in annotations.warnings[0]
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.mp4", "x", 5, 4), "'4': the last frame is before the first one, 5"),
        (("a.mp4", "x", "", 4), "'': not the number of a frame"),
        (("a.mp4", "x", 1.5, 4), "'1.5': not the number of a frame"),
        (("a.mp4", "x", 1, 40), "'a.mp4': frames 1 to 40, of 20 in the video"),
    ],
)
def test_wrong_frame_numbers_are_errors(tmp_path, row, message):
    render(tmp_path / "a.mp4", num_frames=20)
    source = table(tmp_path, ("path", "label", "start_frame", "end_frame"), [row])
    with pytest.raises(InputError) as error:
        read_annotations(source)
    assert message in str(error.value)
    assert str(error.value).count("t.csv") == 1


def test_frames_of_folders_need_no_rate(tmp_path):
    (tmp_path / "f").mkdir()
    source = table(tmp_path, ("path", "label", "start_frame", "end_frame"), [("f", "x", 1, 10), ("f", "y", 11, 20)])
    clips = list(read_annotations(source))
    assert [(clip.first_frame, clip.num_frames, clip.is_frames) for clip in clips] == [(0, 10, True), (10, 10, True)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("columns", "values"),
    [
        (("onset", "duration"), (0.5, 1)), (("onset", "offset"), (0.5, 1.5)), (("onset_sec", "duration_sec"), (0.5, 1)),
        (("start_timestamp", "stop_timestamp"), ("00:00:00.5", "00:00:01.50")),
        (("Begin Time - hh:mm:ss.ms", "End Time - hh:mm:ss.ms"), ("00:00:00.500", "00:00:01.500")),  # ELAN's own table
    ],
)  # fmt: skip
def test_ends_in_other_forms_are_read(tmp_path, kind, columns, values):
    annotations = read_annotations(table(tmp_path, ("path", "label", *columns), [("a", "x", *values)], kind=kind))
    assert parts(annotations) == [(0.5, 1.5)]
    assert not any("read" in warning for warning in annotations.warnings)


def test_seconds_are_read_where_frames_stand_beside_them(tmp_path):
    columns = ("path", "label", "start", "stop", "start_frame", "stop_frame")
    annotations = read_annotations(table(tmp_path, columns, [("a", "x", 0.5, 1, 12, 25)]))
    assert parts(annotations) == [(0.5, 1)]
    assert "these columns are not read: start_frame, stop_frame" in annotations.warnings
