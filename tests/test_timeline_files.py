"""What `i3d timeline` writes of each video: files of segments in a folder, chapters, and copies with labels."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from i3d.data.segments import folder as folders
from i3d.data.segments.read import read_segments
from i3d.data.segments.segment import Segment
from i3d.errors import InputError
from i3d.inference.annotate_folder import RECORD as COPIES
from i3d.recipes.named import named_recipe
from i3d.timelines import scores
from i3d.timelines.drawing import draw_timelines, ticks
from i3d.timelines.find import Timeline
from i3d.timelines.scores import check_windows
from i3d.video.reader import open_video
from support.commands import run_here
from support.finetuning_runs import frames_of, save_tiny
from support.long_videos import COLOURS, LABELS, scores_of_colours
from support.processes import locked_in_another_process
from support.rendering import encode, render, set_display_matrix

RECORD, LOG = folders.RECORD, ".timelines.resume"
SUFFIX = {"srt": ".srt", "vtt": ".vtt", "eaf": ".eaf", "chapters": ".mp4"}


@pytest.fixture
def timeline(tmp_path, monkeypatch):
    """`i3d timeline` with a network of colours, in a folder with two videos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scores, "forward", scores_of_colours)
    Path("clips").mkdir()
    for name, seconds in (("a.mp4", (3, 2)), ("b.mkv", (2, 4))):
        frames = [np.full((48, 64, 3), COLOURS[label], np.uint8) for label in ("run", "7")]
        encode(Path("clips") / name, [frame for frame, s in zip(frames, seconds, strict=True) for _ in range(25 * s)])
    model = save_tiny(tmp_path / "tiny.safetensors", labels=LABELS)

    def run(*words, model=model):
        return run_here(["i3d", "timeline", *words, "--model", model, "--device", "cpu", "--smooth", 0.3])

    return run


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def labels_in(file):
    return [one.label for one in read_segments(file)[0].segments]


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_folder_has_a_file_of_each_video(timeline, kind):
    assert timeline("clips", "--out", "s.csv").returncode == 0
    result = timeline("clips", "--out", "new/files", "--segment-format", kind)
    assert result.returncode == 0, result.stderr
    assert "timelines of 2 of 2 videos, in new/files\n" in result.stderr
    assert names("new/files") == [RECORD, f"a{SUFFIX[kind]}", f"b{SUFFIX[kind]}"]
    for video in read_segments("s.csv"):
        (read,) = read_segments(Path("new/files") / f"{Path(video.video).stem}{SUFFIX[kind]}")
        assert [(one.start, one.stop, one.label) for one in read.segments] == [
            (one.start, one.stop, one.label) for one in video.segments
        ]
    before = {name: Path("new/files", name).read_bytes() for name in names("new/files")}
    assert timeline("clips", "--out", "new/files", "--segment-format", kind).returncode == 0  # our own files
    assert before == {name: Path("new/files", name).read_bytes() for name in names("new/files")}


def test_edited_files_stay_without_force(timeline):
    words = ["clips", "--out", "subs", "--segment-format", "srt"]
    assert timeline(*words).returncode == 0
    Path("subs/b.srt").write_text("corrected by hand")
    result = timeline(*words)
    assert result.returncode == 2
    assert "replace it with --force; it was edited since it was written, and the edits would be lost" in result.stderr
    assert Path("subs/b.srt").read_text() == "corrected by hand"
    assert timeline(*words, "--force").returncode == 0
    assert labels_in("subs/b.srt") == ["run", "7"]


def test_a_stopped_run_into_a_folder_resumes(timeline, monkeypatch):
    words = ["clips", "--out", "subs", "--segment-format", "vtt"]
    write, score, scored = folders.SegmentFolder.write, scores.forward, []

    def counting(*arguments):
        scored.append(1)
        return score(*arguments)

    def interrupted(folder, video):
        if video.video == "clips/b.mkv":
            raise KeyboardInterrupt
        return write(folder, video)

    monkeypatch.setattr(scores, "forward", counting)
    monkeypatch.setattr(folders.SegmentFolder, "write", interrupted)
    result = timeline(*words)
    assert (result.returncode, names("subs")) == (130, [RECORD, LOG, "a.vtt"])
    assert "scores so far are stored beside subs" in result.stderr or LOG in result.stderr
    monkeypatch.setattr(folders.SegmentFolder, "write", write)
    scored.clear()
    result = timeline(*words, "--window-seconds", 1)
    assert result.returncode == 2
    assert "holds results made with other settings (span was not set, now 1.0)" in result.stderr
    assert (timeline(*words).returncode, scored) == (0, [])
    assert names("subs") == [RECORD, "a.vtt", "b.vtt"]


def test_an_unreadable_video_does_not_stop_the_others(timeline):
    Path("clips/bad.mp4").write_bytes(b"x" * 999)
    result = timeline("clips", "--out", "ch", "--segment-format", "chapters", "--annotate", "drawn")
    assert result.returncode == 3, result.stderr
    assert "timelines of 2 of 3 videos, in ch" in result.stderr
    assert "warning: ch: has no segments of 1 video that cannot be read: clips/bad.mp4" in result.stderr
    assert "labels drawn on 2 of 3 videos, in drawn" in result.stderr
    assert names("ch") == [RECORD, LOG, "a.mp4", "b.mp4"]
    assert names("drawn") == [COPIES, "a.mp4", "b.mp4"]
    shutil.copy("clips/a.mp4", "clips/bad.mp4")
    result = timeline("clips", "--out", "ch", "--segment-format", "chapters", "--annotate", "drawn")
    assert result.returncode == 0, result.stderr
    assert "labels drawn on 3 of 3 videos, 2 reused, in drawn" in result.stderr
    assert names("ch") == [RECORD, "a.mp4", "b.mp4", "bad.mp4"]


def test_chapters_are_in_a_copy(timeline):
    source = Path("clips/a.mp4").read_bytes()
    result = timeline("clips/a.mp4", "--out", "o.mp4", "--annotate", "drawn.mp4")
    assert result.returncode == 0, result.stderr
    with av.open("o.mp4") as copy, av.open("clips/a.mp4") as video:
        assert [one["metadata"]["title"] for one in copy.chapters()] == ["run", "7"]
        assert [bytes(one) for one in copy.demux(video=0)] == [bytes(one) for one in video.demux(video=0)]
    with open_video("drawn.mp4") as drawn, open_video("clips/a.mp4") as video:
        assert list(drawn.timetable()) == list(video.timetable())
    assert Path("clips/a.mp4").read_bytes() == source
    assert "o.mp4: the file exists" in timeline("clips/a.mp4", "--out", "o.mp4").stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clips/a.mp4", "--out", "clips/a.mp4"], "--out clips/a.mp4: is what the command reads"),
        (["only", "--out", "only/a.mp4"], "--out only/a.mp4: is the video itself"),
        (["clips/a.mp4", "--out", "clips", "--segment-format", "chapters"], "clips/a.mp4: is the video itself"),
        (["clips", "--out", "clips/new", "--segment-format", "chapters"], "clips/new: lies in clips, which is read"),
        (
            ["c.webm", "--out", "o.mp4"],
            "c.webm: cannot be copied into an mp4 ('mp4' format does not",
        ),
        (["only", "c.webm", "--out", "o", "--segment-format", "chapters"], "c.webm: cannot be copied into an mp4"),
        (["clips/a.mp4", "--annotate", "clips/a.mp4"], "--annotate clips/a.mp4: is what the command reads"),
        (["clips/a.mp4", "--out", "file", "--segment-format", "srt"], "--out file: is a file; name a folder"),
        (["clips/a.mp4", "--out", "o.txt"], "must end in .csv or .tsv or .json"),
    ],
)
def test_places_and_videos_that_make_no_sense_are_refused(timeline, monkeypatch, words, message):
    monkeypatch.setattr(scores, "forward", None)
    Path("only").mkdir()
    shutil.copy("clips/a.mp4", "only/a.mp4")
    Path("file").write_text("")
    render(Path("c.webm"), num_frames=8, codec="libvpx")
    before = {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}
    result = timeline(*words, "--force")
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")} == before


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("a <b>", ["--out", "o", "--segment-format", "srt"]),
        ("\N{EM DASH}", ["--out", "o.mp4"]),
        ("x" * 256, ["--out", "o.mp4"]),
    ],
)
def test_labels_that_a_format_cannot_hold_are_refused_before_any_work(timeline, tmp_path, label, words):
    model = save_tiny(tmp_path / "odd.safetensors", labels=("run", label, "z"))
    result = timeline("clips/a.mp4", *words, model=model)
    assert result.returncode == 2
    assert "label" in result.stderr
    assert not list(tmp_path.glob("o*.*4")) + list(tmp_path.glob("o/*"))


def test_two_runs_do_not_write_to_one_folder(timeline, tmp_path):
    Path("subs").mkdir()
    with locked_in_another_process(tmp_path / "subs" / RECORD):
        result = timeline("clips", "--out", "subs", "--segment-format", "srt")
    assert result.returncode == 2
    assert "subs: another run is writing it" in result.stderr


def test_a_turned_video_stays_turned(timeline):
    turned = set_display_matrix(shutil.copy("clips/a.mp4", Path("turned.mp4")), (0, 1, -1, 0))
    assert timeline(turned, "--out", "o.mp4", "--annotate", "drawn.mp4").returncode == 0
    for copy in ("o.mp4", "drawn.mp4"):
        with open_video(copy) as video:
            assert next(iter(video.stream())).shape == (64, 48, 3)


def test_frames_with_a_rate_are_drawn_on(timeline):
    Path("frames").mkdir()
    for number, frame_HWC in enumerate(frames_of(1, 0, num_frames=30)):
        Image.fromarray(frame_HWC).save(f"frames/img_{number:03}.png")
    result = timeline("frames", "--annotate", "o.gif", "--frames-fps", 10)
    assert result.returncode == 0, result.stderr
    with open_video("o.gif") as video:
        assert video.num_frames == 30


def test_what_a_plot_leaves_out_is_printed(timeline):
    for number in range(22):
        shutil.copy("clips/a.mp4", f"clips/c{number:02}.mp4")
    result = timeline("clips", "--plot", "t.png", "--stride-seconds", 0.5)
    assert result.returncode == 0, result.stderr
    assert "t.png: the first 20 of 24 videos are drawn; name fewer" in result.stderr


def test_a_plot_of_videos_without_segments_is_empty(tmp_path):
    labels = [Segment(k, k + 1, f"class {k}", 0.5) for k in range(32)]
    many = Timeline("b.mp4", tuple(labels), "protocol", 32.0)
    notes = draw_timelines(tmp_path / "t.png", [Timeline("a.mp4", (), "protocol", 3.0), many])
    assert notes == ("b.mp4: the 30 labels that last longest, of 32, are drawn; choose some (--labels)",)
    assert np.asarray(Image.open(tmp_path / "t.png")).std() > 0


def test_the_axis_has_each_time_once():
    assert ticks(0.05) == [0]
    assert ticks(0.4) == [0, 0.1, 0.2, 0.3, 0.4]
    assert ticks(3.0) == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert ticks(4.9) == [0, 1, 2, 3, 4]
    assert ticks(95.0) == [0, 15, 30, 45, 60, 75, 90]
    assert [len(ticks(hours * 3600.0)) for hours in (1, 8, 9, 100)] == [7, 9, 5, 8]


def test_a_method_of_flow_for_a_network_of_rgb_is_refused(timeline):
    result = timeline("clips/a.mp4", "--flow-method", "dis", "--out", "s.csv")
    assert (result.returncode, result.stderr) == (
        2, "error: --flow-method dis: the network takes RGB; leave it out\n"
    )  # fmt: skip


def test_a_class_with_the_name_of_no_class_is_named(timeline, tmp_path):
    model = save_tiny(tmp_path / "unknown.safetensors", labels=(*LABELS[:-1], "unknown"))
    result = timeline("clips/a.mp4", model=model)
    assert "the network has a class unknown: what no label is certain of has the same label" in result.stderr


def test_a_window_with_fewer_frames_than_the_network_takes_is_refused():
    recipe = named_recipe("inception_rgb_kinetics400")
    check_windows(recipe, 0.36, None, min_frames=9)
    with pytest.raises(InputError, match=r"window 0\.1 s: has 2 of the 9 frames .*; give 0\.36 s or more"):
        check_windows(recipe, 0.1, None, min_frames=9)
