"""Timelines of rendered videos whose segments are known."""

import json
import zlib
from fractions import Fraction
from importlib.util import find_spec

import numpy as np
import pytest

import i3d
from i3d.cli.checks import comma_names
from i3d.data.segments.read import read_segments
from i3d.inference import Predictor
from i3d.recipes.settings import WindowProtocol
from i3d.timelines.find import TimelineFinder, TimelineOptions
from i3d.utils.cache import Cache
from i3d.utils.device import ComputeConfig
from i3d.utils.outputs import is_drawing
from support.commands import run_here
from support.finetuning_runs import frames_of, make_folder, save_tiny, train
from support.rendering import encode

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model of three colours."""
    folder = tmp_path_factory.mktemp("timeline")
    data = make_folder(folder / "data", COLOURS, per_class=6, num_frames=20)
    train(data, folder / "run", save_tiny(folder / "tiny.safetensors"))
    return folder / "run"


def make_video(path, parts, *, fps=Fraction(25)):
    """A video of coloured parts: pairs of colour and seconds."""
    frames = []
    for place, (colour, seconds) in enumerate(parts):
        number = zlib.crc32(f"{path.name}{place}".encode())
        frames += frames_of(number, COLOURS.index(colour), num_frames=round(seconds * fps))
    return encode(path, frames, options={"g": "25", "crf": "15"}, fps=fps)


PARTS = (("red", 4), ("green", 3), ("red", 5), ("blue", 4))


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)], ids=["25", "29.97"])
def test_a_trained_network_finds_the_parts_to_half_a_window(model, tmp_path, fps):
    """It learned whole parts only: what it makes of windows of two colours is its own. Exact scores stand in
    `test_timeline_formats.py`, where each boundary is within a stride."""
    video = make_video(tmp_path / "long.mp4", PARTS, fps=fps)
    result = run_here(["i3d", "timeline", video, "--model", model, "--out", tmp_path / "s.csv", "--device", "cpu"])
    assert result.returncode == 0, result.stderr
    (timeline,) = read_segments(tmp_path / "s.csv")
    starts = np.cumsum([0, *(seconds for _, seconds in PARTS)])
    known = [segment for segment in timeline.segments if segment.label != "unknown"]
    assert [segment.label for segment in known] == [colour for colour, _ in PARTS], result.stdout
    window = 16 / 25
    assert [segment.start for segment in known] == pytest.approx(starts[:-1], abs=window / 2)
    assert known[-1].stop == pytest.approx(starts[-1], abs=0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.mp4", "a.mp4", "--out", "o.csv"], "a.mp4: is named more than once"),
        (
            ["a.mp4", "b.mp4", "--out", "o.srt"],
            "o.srt: holds one video, not 2; name a .csv, .tsv or .json, or a folder",
        ),
        (["a.mp4", "b.mp4", "--annotate", "o.mp4"], "--annotate o.mp4: is one file, and 2 videos were given"),
        (
            ["a.mp4", "--segment-format", "label-studio", "--out", "o.csv"],
            "o.csv has another suffix; name a file that ends",
        ),
        (["a.mp4", "--segment-format", "srt", "--out", "o.csv"], "name a file that ends in .srt or a folder"),
        (["a.mp4", "--segment-format", "srt"], "--segment-format srt: is of files; name one with --out"),
        (
            ["a.mp4", "--out", "o"],
            "choose the format of its files with --segment-format srt, vtt, eaf or chap",
        ),
        (["a.mp4", "--out", "o", "--segment-format", "activitynet"], "one file holds all videos; name a .json"),
        (["x/a.mp4", "y/a.mp4", "--out", "o", "--segment-format", "srt"], "2 videos would be written to a.srt"),
        (
            ["a.mp4", "--out", "o", "--segment-format", "chapters", "--annotate", "o"],
            "o/a.mp4: would be written by",
        ),
        (["-", "--annotate", "o.mp4"], "-: a timeline reads files"),
        (["images", "--annotate", "o.mp4"], "images have no times; give their rate with --frames-fps"),
        (["images", "--out", "o.mp4"], "chapters are of video files, not of images"),
        (["a.mp4", "--labels", "red,red"], "--labels: 'red' is named more than once"),
        (["a.mp4", "--labels", 'red,"green'], "with quotes around a name that has a comma"),
        (["a.mp4", "--enter", 0.2, "--leave", 0.3], "--leave 0.3: is above the score from which a label begins, 0.2"),
        (["a.mp4", "--stride-seconds", 0], "--stride-seconds 0: must be above 0"),
    ],
)
def test_what_no_output_can_hold_is_refused_before_any_work(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4", "x/a.mp4", "y/a.mp4", "images/1.png", "images/2.png", "m.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not read")
    result = run_here(["i3d", "timeline", *words, "--model", "m.safetensors"])
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr
    assert not list(tmp_path.glob("o.*"))


def test_labels_with_a_comma_stand_in_quotes():
    assert comma_names("--labels", 'run, "turn left, slowly",walk') == ["run", "turn left, slowly", "walk"]


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("openvino"), reason="i3d[export]")
def test_a_runtime_is_built_for_the_window(tmp_path):
    """The network takes up to 250 frames of a video, and windows of 64."""
    protocol = WindowProtocol(fps=25.0, max_window_frames=250)
    model = save_tiny(tmp_path / "tiny.safetensors", labels=COLOURS, protocol=protocol)
    video = make_video(tmp_path / "long.mp4", PARTS[:1])
    compute = ComputeConfig("cpu", runtime="openvino", cache=Cache(tmp_path))
    finder = TimelineFinder(Predictor(model, compute=compute), TimelineOptions(step=2.0))
    scored = finder.score(str(video))
    assert finder.predictor.engine.used_runtimes == {"openvino"}
    plain = TimelineFinder(Predictor(model, compute=ComputeConfig("cpu")), TimelineOptions(step=2.0))
    np.testing.assert_allclose(scored.scores_WK, plain.score(str(video)).scores_WK, atol=1e-4)


def test_a_stride_below_the_time_of_a_frame_is_refused_at_once(tmp_path):
    model = save_tiny(tmp_path / "tiny.safetensors", protocol=WindowProtocol(fps=25.0, max_window_frames=250))
    with pytest.raises(i3d.InputError, match=r"stride 0.01 s: is below the time of a frame, 0.04 s"):
        i3d.timeline(str(tmp_path / "absent.mp4"), model=model, stride_seconds=0.01, device="cpu")


def test_from_python(model, tmp_path):
    video = make_video(tmp_path / "long.mp4", PARTS)
    one = i3d.timeline(str(video), model=model, device="cpu")
    both = i3d.timeline([str(video), str(tmp_path / "absent.mp4")], model=model, device="cpu")
    assert both[0] == one
    assert (both[1].segments, "no such file" in both[1].error) == ((), True)
    with pytest.raises(i3d.InputError, match="only_labels 'pink': the network has no such class; it has 'blue'"):
        i3d.timeline(str(video), model=model, only_labels=["pink"], device="cpu")


def test_labels_restrict_and_json_has_all(model, tmp_path):
    video = make_video(tmp_path / "long.mp4", PARTS)
    result = run_here(
        [
            "i3d",
            "timeline",
            video,
            "--model",
            model,
            "--labels",
            "green",
            "--json",
            "--device",
            "cpu",
            "--plot",
            tmp_path / "plot.png",
        ]
    )
    assert is_drawing(tmp_path / "plot.png")
    (row,) = json.loads(result.stdout)
    assert {segment["label"] for segment in row["segments"]} == {"green", "unknown"}
    assert "1 label of 3, scores as among all" in row["protocol"]
